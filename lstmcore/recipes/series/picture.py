"""The next value, one rolled-out forecast, and errors by steps ahead."""

from pathlib import Path

import numpy as np

from lstmcore.debug.show.picture import legend, panels
from lstmcore.recipes import job as finished
from lstmcore.recipes.series.forecasts import Result


def draw(path: Path, result: Result) -> None:
    """The next value, one rolled-out forecast, and errors by steps ahead. Raises ImportError without matplotlib."""
    figure, (one_step, rolled, errors) = panels(2.8, 3.0, 3.0)
    shown = slice(result.learnt, min(len(result.values), result.learnt + 4 * max(25, result.season)))
    t = np.arange(shown.start, shown.stop)
    one_step.plot(t, result.values[shown], "k.", ms=3, label="true")
    one_step.plot(t, result.forecasts["lstm"].one_step[: len(t)], label="next value, lstm")
    one_step.set(xlabel="step", ylabel="one step ahead")
    origin, horizon = int(result.origins[0]), result.forecasts["lstm"].rolled.shape[1]
    before = np.arange(max(0, origin - horizon), origin)
    after = np.arange(origin, origin + horizon)
    rolled.plot(np.append(before, after), result.values[np.append(before, after)], "k.", ms=3, label="true")
    for name, forecasts in result.forecasts.items():
        rolled.plot(after, forecasts.rolled[0], label=name, lw=2 if name == "lstm" else 0.8)
        errors.plot(np.arange(1, horizon + 1), result.rolled_error(name), label=name, lw=2 if name == "lstm" else 0.8)
    rolled.set(xlabel="step", ylabel="rolled out")
    errors.set(xlabel=f"steps ahead, over {len(result.origins)} origins", ylabel="root mean square error")
    for axis in (one_step, rolled, errors):
        legend(axis, columns=3)
    finished.write_picture(path, figure)
