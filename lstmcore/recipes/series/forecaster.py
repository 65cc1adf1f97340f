"""What a training leaves: a model that goes on with a series, and how far its forecasts were off."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstmcore import layers, train
from lstmcore.recipes import job as finished
from lstmcore.recipes.series.forecasts import forecast
from lstmcore.recipes.series.values import after_a_value, columns_of, inputs
from lstmcore.train.files.decoded import parsed


@dataclass(frozen=True)
class Forecaster:
    """What `save` has left of a training: a model, how its inputs are scaled, and how far its forecasts were off."""

    model: layers.Layer
    scales: np.ndarray  # (1 + K, 2)
    band: np.ndarray  # (horizon,) of `Result.band`
    beside: tuple[str, ...]  # the columns that are read beside the series
    known: bool

    def ahead(self, values: np.ndarray, steps: int) -> np.ndarray:
        """(steps,): what follows the series (N,), NaN where a value is missing. Each forecast reads those before it.

        values: (N, 1 + K) for a model that reads columns beside the series. Where they are known ahead, the series ends
        with its last value, and the rows after it tell the columns at the steps that are forecast.

        Raises ValueError for a series with less than two values, for columns that are missing where they are read, and
        for none or more than 100,000 steps.
        """
        if not 1 <= steps <= 100_000:
            raise ValueError(f"`steps` should be 1 to 100,000; got {steps}")
        columns = columns_of(values)
        if columns.shape[1] != len(self.scales):
            named = ", ".join(("the series", *self.beside))
            raise ValueError(f"`values` should have {len(self.scales)} columns, {named}; got {columns.shape[1]}")
        x = inputs(values, self.scales, self.known)
        read = ~np.isnan(x).any(axis=1)
        if np.count_nonzero(read) < 2:
            raise ValueError("a series should have two values at least to go on from")
        end = len(values)
        if self.beside and self.known:
            end = int(np.flatnonzero(~np.isnan(columns[:, 0]))[-1]) + 1
            gone = np.isnan(columns[end : end + steps, 1:])
            if len(gone) < steps:
                raise ValueError(
                    f"{steps} steps ahead need as many rows after the last value of the series, which tell "
                    f"{', '.join(self.beside)} at these steps; there are {len(gone)}"
                )
            if gone.any():
                row, column = np.argwhere(gone)[0]
                raise ValueError(f"{self.beside[column]} is missing {row + 1} steps after the last value of the series")
        origin = after_a_value(x, np.array([end]))
        behind = end - int(origin[0])  # steps at the end without a value are forecast too, and not shown
        _, rolled = forecast(self.model, x, 1, origin, behind + steps, self.known)
        return self.scales[0, 0] + self.scales[0, 1] * rolled[0, behind:].astype(float)


def load(folder: Path, engine: str | None = None) -> Forecaster:
    """What `save` wrote into the folder. Raises OSError and ValueError for what is none."""
    net = train.load(folder / finished.FILES[0], engine)
    try:
        told = parsed(folder / finished.FILES[1])
        band = np.array([np.nan if error is None else error for error in told["band"]], float)
        scales, beside = np.array(told["scales"], float), tuple(told["options"]["beside"])
        if told["recipe"] != "series" or band.ndim != 1 or scales.shape != (1 + len(beside), 2):
            raise ValueError(told["recipe"])
        return Forecaster(net, scales, band, beside, bool(told["options"]["known"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / finished.FILES[1]} does not hold what `train series` leaves") from error
