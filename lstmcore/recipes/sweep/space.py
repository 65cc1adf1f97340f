"""What is tried: values of options, told in words, turned into the types of the recipe's Options."""

import difflib
import hashlib
import itertools
import json
import math
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lstmcore.arrays import Plain
from lstmcore.recipes.sweep.jobs import RECIPES
from lstmcore.train.files.decoded import content


class Point(NamedTuple):
    """One trial: the swept options with their values, and the seed."""

    values: dict[str, object]
    seed: int

    def __str__(self) -> str:
        return " ".join(f"{name}={told(value)}" for name, value in [*self.values.items(), ("seed", self.seed)])


@dataclass(frozen=True)
class Space:
    """All trials of a sweep: every combination of the swept values, with every seed."""

    recipe: str
    swept: dict[str, tuple[object, ...]]  # option -> its values
    fixed: dict[str, object]  # options that are the same in all trials; those of neither kind have the recipe's values
    inputs: dict[str, object]  # what the recipe reads beside its options
    seeds: tuple[int, ...]
    metric: str
    data: str = ""  # a checksum of the file that is read

    def points(self) -> Iterator[Point]:
        """All values with the first seed, then with the next: what is cut short has tried every value."""
        for seed in self.seeds:
            for values in itertools.product(*self.swept.values()):
                yield Point(dict(zip(self.swept, values)), seed)

    def words(self, point: Point) -> Plain:
        """All that decides the outcome of a trial, as plain words: what a worker is told, and how a trial is known."""
        options = RECIPES[self.recipe].make(**self.fixed, **point.values, seed=point.seed)
        return {
            "recipe": self.recipe,
            "options": {name: told(value) for name, value in vars(options).items()},
            "inputs": {name: told(value) for name, value in self.inputs.items()},
            "data": self.data,
        }

    def name(self, point: Point) -> str:
        """A folder's name for a trial: readable, and its own whatever else lies there."""
        readable = "".join(c if c.isalnum() or c in "=.+-_" else "," for c in str(point))
        return f"{readable[:80]}-{digest(self.words(point))}"


def digest(plain: object) -> str:
    """Eight letters that tell plain data apart."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]


def read(
    recipe: str,
    params: Sequence[str],
    fixed: Sequence[str] = (),
    seeds: int = 1,
    metric: str | None = None,
    file: Path | None = None,
) -> Space:
    """The space of `--param NAME=VALUE,VALUE` and `--set NAME=VALUE`.

    Raises ValueError for what makes no sense, OSError for a file that cannot be read.

    seeds: how many, from 0 on, or from that of `--set seed=...` on. file: what the recipe reads, where it reads a file.
    A parameter with a single value is a fixed option.
    """
    if recipe not in RECIPES:
        raise ValueError(f"the recipe should be one of {', '.join(RECIPES)}; got {recipe!r}")
    job = RECIPES[recipe]
    metric = metric or job.metrics[0]
    if metric not in job.metrics:
        raise ValueError(f"`metric` of {recipe} should be one of {', '.join(job.metrics)}; got {metric!r}")
    if seeds < 1:
        raise ValueError(f"`seeds` should be at least 1; got {seeds}")
    if file is not None and "file" not in job.inputs:
        raise ValueError(f"{recipe} reads no file; got {file}")
    known = {name: kind for name, kind in {**job.options, **job.inputs, "seed": int}.items() if name != "file"}
    values: dict[str, tuple[object, ...]] = {} if file is None else {"file": (file.absolute(),)}
    for word in [*params, *fixed]:
        name, equals, listed = word.partition("=")
        if not equals or not listed:
            raise ValueError(f"a parameter should be NAME=VALUE or NAME=VALUE,VALUE; got {word!r}")
        if name not in known:
            raise ValueError(_unknown(recipe, name, known))
        if name in values:
            raise ValueError(f"`{name}` is told twice")
        values[name] = tuple(convert(name, known[name], text) for text in listed.split(","))
        if len(set(values[name])) < len(values[name]):
            raise ValueError(f"`{name}` has a value twice: {listed}")
        swept = word in params and name in job.options
        if len(values[name]) > 1 and not swept:
            hint = "how many: --seeds 5" if name == "seed" else "only options can be swept, by --param"
            raise ValueError(f"`{name}` should have one value; got {listed} ({hint})")
    first = values.pop("seed", (0,))[0]
    assert isinstance(first, int)  # the type of `seed` in `known`
    found = Space(
        recipe,
        swept={name: tried for name, tried in values.items() if len(tried) > 1},
        fixed={name: tried[0] for name, tried in values.items() if len(tried) == 1 and name in job.options},
        inputs={name: tried[0] for name, tried in values.items() if name in job.inputs},
        seeds=tuple(range(first, first + seeds)),
        metric=metric,
        data="" if file is None else hashlib.sha256(content(file)).hexdigest()[:16],
    )
    for point in found.points():
        found.words(point)  # a recipe may refuse some of them
    return found


def _unknown(recipe: str, name: str, known: Iterable[str]) -> str:
    near = "".join(f" (did you mean {word!r}?)" for word in difflib.get_close_matches(name, known, n=1))
    return f"{recipe} has no option {name!r}{near}; it has {', '.join(known)}"


# ---- values and words ------------------------------------------------------------------------------------------------


def convert(name: str, kind: type | types.UnionType, text: str) -> object:
    """The value of type `kind` that the text tells; `told` is the way back. Raises ValueError.

    int, float (finite), str, Path, bool (true, false), a Literal, a tuple of these (256+128, or nothing), one or None.
    """
    parts = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        return None if text == "none" else convert(name, next(part for part in parts if part is not type(None)), text)
    if typing.get_origin(kind) is tuple:
        return tuple(convert(name, parts[0], part) for part in text.split("+") if text)
    if typing.get_origin(kind) is typing.Literal:
        allowed: Sequence[object] = parts
    elif kind is bool:
        allowed = (True, False)
    else:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if isinstance(value, float) and not math.isfinite(value):
            wanted = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
            raise ValueError(f"`{name}` should be {wanted}; got {text!r}")
        return value
    for value in allowed:
        if told(value) == text:
            return value
    raise ValueError(f"`{name}` should be one of {', '.join(map(told, allowed))}; got {text!r}")


def told(value: object) -> str:
    """A value in the words that `convert` reads."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "+".join(map(told, value))
    return str(value)
