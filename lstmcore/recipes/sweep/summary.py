"""What a sweep says: mean and spread over the seeds, whether the best is better than the next, rows and a picture."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lstmcore.debug.show.picture import COLOURS, legend, panels
from lstmcore.recipes import job as finished
from lstmcore.recipes.sweep.memory import Trial
from lstmcore.recipes.sweep.space import Space, told
from lstmcore.train.files.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Configuration:
    """Swept values with all their seeds."""

    values: dict[str, object]
    trials: list[Trial]

    @property
    def scores(self) -> list[float]:
        """The metric of each finished trial."""
        return [trial.value for trial in self.trials if trial.value is not None]

    @property
    def mean(self) -> float:
        """NaN if nothing is finished, infinite if a training diverged."""
        return float(np.mean(self.scores)) if self.scores else math.nan

    @property
    def spread(self) -> float:
        """The standard deviation over the seeds, n - 1 in the denominator; NaN for fewer than two."""
        if len(self.scores) < 2 or math.isinf(self.mean):
            return math.nan
        return float(np.std(self.scores, ddof=1))

    @property
    def seconds(self) -> float:
        """Mean time of a finished trial; NaN if there is none."""
        took = [trial.seconds for trial in self.trials if trial.state == "finished" and trial.seconds is not None]
        return float(np.mean(took)) if took else math.nan

    def count(self, state: str) -> int:
        """How many trials are in a state."""
        return sum(trial.state == state for trial in self.trials)

    def __str__(self) -> str:
        return " ".join(f"{name}={told(value)}" for name, value in self.values.items()) or "the recipe as it is"


def configurations(trials: list[Trial]) -> list[Configuration]:
    """The best first; those of which nothing is finished last."""
    groups: dict[tuple[str, ...], list[Trial]] = {}
    for trial in trials:
        groups.setdefault(tuple(map(told, trial.point.values.values())), []).append(trial)
    found = [Configuration(group[0].point.values, group) for group in groups.values()]
    return sorted(found, key=lambda c: (math.isnan(c.mean), c.mean))


def verdict(found: list[Configuration]) -> str:
    """The best, and whether it is better than the next by more than chance explains: a sentence."""
    done = [c for c in found if math.isfinite(c.mean)]
    if not done:
        return "nothing has finished with a number"
    best = done[0]
    words = f"best: {best}, {best.mean:.4g}"
    if len(done) < 2:
        return words
    second = done[1]
    gap = second.mean - best.mean
    if math.isnan(best.spread) or math.isnan(second.spread):
        return f"{words}; how much of the difference to {second} is chance, only more seeds can tell"
    error = math.sqrt(sum(c.spread**2 / len(c.scores) for c in (best, second)))  # of a difference of two means
    if gap <= 2 * error:
        return f"{words}; {second} may be as good: {gap:.2g} apart, with a standard error of {error:.2g}"
    return f"{words}; better than {second} by {gap:.2g}, with a standard error of {error:.2g}"


def write_csv(path: Path, space: Space, trials: list[Trial]) -> None:
    """All trials, a row each. Raises OSError."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*space.swept, "seed", "state", space.metric, "seconds", "ended", "folder", "machine"])
    for trial in trials:
        values = [told(value) for value in trial.point.values.values()]
        numbers = ["" if v is None else v for v in (trial.value, trial.seconds)]
        writer.writerow([*values, trial.point.seed, trial.state, *numbers, trial.ended, trial.folder, trial.machine])
    write_atomically(path, text.getvalue().encode())


def draw(path: Path, space: Space, found: list[Configuration]) -> None:
    """A panel per swept option: every trial a point, a line through the means of what differs in nothing else.

    Raises ImportError without matplotlib.
    """
    figure, axes = panels(*[3.4] * max(1, len(space.swept)))
    for axis, name in zip(axes, space.swept or {"": ()}):
        _panel(axis, name, space, [c for c in found if math.isfinite(c.mean)])
    finished.write_picture(path, figure)


def _panel(axis: "Axes", name: str, space: Space, found: list[Configuration]) -> None:
    tried = space.swept.get(name, ())
    numbers = [value for value in tried if isinstance(value, int | float) and not isinstance(value, bool)]
    numeric = len(numbers) == len(tried) > 0
    places: dict[str, float] = dict(zip(map(told, tried), numbers if numeric else range(len(tried))))
    lines: dict[str, list[Configuration]] = {}
    for c in found:
        rest = " ".join(f"{other}={told(value)}" for other, value in c.values.items() if other != name)
        lines.setdefault(rest, []).append(c)
    for k, (rest, line) in enumerate(sorted(lines.items())):
        line.sort(key=lambda c: places.get(told(c.values.get(name)), 0))
        at = [places.get(told(c.values.get(name)), 0) for c in line]
        colour, style = COLOURS[k % len(COLOURS)], ("-", "--", ":")[k // len(COLOURS) % 3]  # the colours, and again
        axis.plot(at, [c.mean for c in line], style, color=colour, label=rest or None)
        for x, c in zip(at, line):
            axis.plot([x] * len(c.scores), c.scores, ".", color=colour, alpha=0.5)
    if numeric and min(places.values()) > 0 and max(places.values()) >= 10 * min(places.values()):
        axis.set_xscale("log")
    if not numeric:
        axis.set_xticks(list(places.values()), list(places))
    scores = [score for c in found for score in c.scores]
    if scores and min(scores) > 0 and max(scores) >= 10 * min(scores):
        axis.set_yscale("log")
    axis.set(xlabel=name, ylabel=f"{space.metric} (points: seeds; line: mean)")
    legend(axis)
