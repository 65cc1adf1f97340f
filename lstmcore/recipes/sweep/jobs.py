"""What a trial of each recipe does: the same training as `lstmcore train`, told by options and inputs."""

import inspect
import math
import typing
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from lstmcore.arrays import Plain
from lstmcore.recipes import alphabet, count, loops, series, text
from lstmcore.recipes.job import FILES, Keep
from lstmcore.recipes.loops import generator, npz, pdb
from lstmcore.train.callbacks.watchers import Tell
from lstmcore.train.files.decoded import parsed


def _count(options: count.Options, tell: Tell, keep: Keep) -> count.Result:
    return count.run(options, False, tell, keep)


def _alphabet(options: alphabet.Options, tell: Tell, keep: Keep) -> alphabet.Result:
    return alphabet.run(options, False, False, tell, keep)


def _text(
    options: text.Options, tell: Tell, keep: Keep, file: Path | None = None, limit: int | None = None
) -> text.Result:
    return text.run(text.read(file, limit, tell), options, False, tell, keep)


def _series(
    options: series.Options,
    tell: Tell,
    keep: Keep,
    file: Path | None = None,
    column: str | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    missing: str = "mask",
    na: str | None = None,
    time: str | None = None,
) -> series.Result:
    if file is None:
        return series.run(series.noisy_sine(options.seed), options, False, tell, keep)
    marks = () if na is None else (na,)
    values = series.read(file, column, tell, delimiter=delimiter, decimal=decimal, missing=missing, na=marks, time=time)
    return series.run(values, options, False, tell, keep)


def _loops(
    options: loops.Options, tell: Tell, keep: Keep, file: Path | None = None, folder: Path | None = None
) -> loops.Result:
    found = generator.generate() if file is None else npz.read(file, tell)
    return loops.run(found if folder is None else pdb.read(folder, "loops", tell), options, False, tell, keep=keep)


def _loops_options(model: str = "per-step", **values: Any) -> loops.Options:
    """The model says what is not told."""
    if model not in loops.MODELS:
        raise ValueError(f"`model` should be one of {', '.join(loops.MODELS)}; got {model!r}")
    return replace(loops.MODELS[model], **values)


@dataclass(frozen=True)
class Recipe:
    """A recipe as a sweep sees it. Its module has Options, metrics() and save()."""

    module: ModuleType
    run: Callable[..., object]  # (options, tell, keep, **inputs) -> what metrics() and save() take
    metrics: tuple[str, ...]  # what can be minimised, the first by default: see `outcome`
    make: Callable[..., object]  # field=value, ... -> Options

    @property
    def options(self) -> Plain:
        """The fields of its Options, but for the seed, with their types."""
        kinds = typing.get_type_hints(self.module.Options)
        return {field.name: kinds[field.name] for field in fields(self.module.Options) if field.name != "seed"}

    @property
    def inputs(self) -> Plain:
        """What it reads beside its options, with their types."""
        kinds = typing.get_type_hints(self.run)
        return {name: kinds[name] for name in list(inspect.signature(self.run).parameters)[3:]}


RECIPES = {
    "count": Recipe(count, _count, ("test_error",), count.Options),
    "alphabet": Recipe(alphabet, _alphabet, ("loss",), alphabet.Options),
    "text": Recipe(text, _text, ("nats", "bits"), text.Options),
    "loops": Recipe(loops, _loops, ("validation", "mse", "phi", "psi"), _loops_options),
    "series": Recipe(series, _series, ("one_step.lstm", "rolled_out.lstm"), series.Options),
}


def outcome(recipe: str, folder: Path) -> tuple[dict[str, float], str]:
    """The metrics of a finished run, and how it ended, from its files. Raises OSError, ValueError, KeyError.

    A dot leads into a part of metrics.json; "validation" is the lowest validation loss of any epoch, for a recipe that
    keeps its best epoch. What is no number is infinite.
    """
    found, history = (parsed(folder / name) for name in FILES[1:])
    losses = [row["validation"] for row in history.get("epochs", []) if row.get("validation") is not None]
    found["validation"] = min(losses, default=None)
    values = {name: _below(found, name.split(".")) for name in RECIPES[recipe].metrics}
    return {name: math.inf if v is None or not math.isfinite(v) else v for name, v in values.items()}, found["ended"]


def _below(tree: Plain, path: list[str]) -> float | None:
    return _below(tree[path[0]], path[1:]) if len(path) > 1 else tree[path[0]]
