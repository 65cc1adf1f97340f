"""What came of a training on loops."""

from dataclasses import dataclass

import numpy as np

from lstmcore import layers
from lstmcore.recipes import job as finished
from lstmcore.recipes.loops import split
from lstmcore.recipes.loops.scores import Score


@dataclass(frozen=True)
class Result:
    """What came of it. Arrays of predictions are (N, T, 4), of the loops tested."""

    model: layers.Layer
    history: finished.History
    parts: split.Split
    predicted: np.ndarray
    score: Score
    floors: dict[str, Score]  # by name, on the same loops
    leaked: int
    engine: str
    train_seconds: float
