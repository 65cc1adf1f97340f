"""Forecast a series of numbers: the next value, and many values ahead, beside forecasts that cost nothing.

An LSTM reads the values one by one and tells the difference to the next. A forecast of many steps is rolled out: what
was told is read as if it had come. Three naive forecasts stand beside it: the last value for ever, the value of one
season before, and, to be told from a network that has merely learnt it, the mean.

A value that is missing is NaN. The network's step over it is masked, so that its state is carried through; it is no
target, and no forecast of it, or from it, is counted.

Columns beside the series help where they tell something of it: `values` (N, 1 + K) is the series and K columns. The
step to the next value reads what they were at the last value; or, if they are known ahead as a calendar is, what they
will be at the next one. In forecasts that are rolled out they stay at their last values; or, if known, are read as they
come. A step at which one is missing is masked as well.

read.py       a series out of a file: table.py (rows and columns), numbers.py (decimal signs, marks), times.py (steps)
values.py     what is read of it, and learnt from       forecasts.py  what is forecast of the rest
forecaster.py what goes on with a series afterwards     picture.py
"""

from pathlib import Path

import numpy as np

from lstmcore import layers, train
from lstmcore.arrays import Plain
from lstmcore.layers import tree
from lstmcore.ops.losses import squared_error
from lstmcore.recipes import job as finished
from lstmcore.recipes.series.forecaster import Forecaster, load
from lstmcore.recipes.series.forecasts import Forecasts, Result, forecast, forecasts, naive
from lstmcore.recipes.series.picture import draw
from lstmcore.recipes.series.read import read
from lstmcore.recipes.series.values import Options, check, find_season, inputs, noisy_sine, scales_of, windows_of
from lstmcore.train.callbacks.watchers import Tell, warn


def job(values: np.ndarray, options: Options) -> finished.Job[train.Batches]:
    """What is trained: windows from the first 80 % of the series. Raises ValueError as `check`.

    values: (N,), or (N, 1 + K) with the columns that `options.beside` names. One generator, seeded by `options.seed`,
    draws weights and batches.
    """
    learnt = check(values, options)
    rng = np.random.default_rng(options.seed)
    z = inputs(values, scales_of(values, learnt), options.known)
    starts = np.arange(0, learnt - options.window, max(1, options.window // 10))
    windows = windows_of(z, starts, options.window + 1).swapaxes(0, 1)  # (window + 1, windows, 1 + K)
    x, targets = windows[:-1], windows[1:, :, :1] - windows[:-1, :, :1]
    mask = ~np.isnan(x).any(axis=2) & ~np.isnan(targets[..., 0])  # all that is read is there, and the successor
    kept = mask.any(axis=0)
    lstm = layers.LSTM(x.shape[2], options.hidden, seed=rng, engine=options.engine)
    net = layers.Stack([lstm, layers.Linear(options.hidden, 1, seed=rng)])
    data = x[:, kept], targets[:, kept], None if mask.all() else mask[:, kept]
    batches = train.Batches(*data, batch_size=options.batch, seed=rng, per_step=True)
    fit = {"epochs": options.epochs, "schedule": train.Cosine(options.lr, options.epochs * len(batches)), "clip": 1.0}
    about = finished.about("series", options, values)
    return finished.Job(about, net, squared_error, batches, train.Adam(options.lr), fit)


def run(
    values: np.ndarray,
    options: Options,
    progress: bool | None = None,
    tell: Tell = warn,
    keep: finished.Keep | None = None,
) -> Result:
    """Trains on the first 80 % of the series, and forecasts the rest, its values being read as they come.

    values: as in `job`. tell: is called with what the watchers see. keep: where the run is saved, and whether it goes
    on.
    """
    training = job(values, options)
    net = training.model
    batch = training.batches._batch(np.arange(1), 0, 1)
    engine = tree.engine(net.forward(batch.x, mask=batch.mask)[2])  # compiles kernels, before the clock runs
    history = training.fit(train.watchers(tell), keep, progress)
    return forecasts(net, values, options, history, engine)


def metrics(result: Result, options: Options) -> Plain:
    """Plain data: what `--json` prints and metrics.json holds. Errors are root mean squares, in the series' units."""
    return {
        **finished.outcome("series", options, result.history, result.engine),
        "one_step": {name: result.one_step_error(name) for name in result.forecasts},
        "rolled_out": {name: float(np.sqrt(np.mean(result.rolled_error(name) ** 2))) for name in result.forecasts},
        "rolled_out_by_step": {name: result.rolled_error(name).tolist() for name in result.forecasts},
        "band": result.band().tolist(),
        "season": result.season,
        "learnt": result.learnt,
        "tested": len(result.values) - result.learnt,
        "missing": int(np.isnan(result.values).sum()),
        "scales": result.scales.tolist(),
    }


def save(folder: Path, result: Result, options: Options) -> None:
    """Writes the files of a run (recipes/job.py) into the folder."""
    finished.save(folder, result.model, metrics(result, options), result.history)


__all__ = [
    "Forecaster", "Forecasts", "Options", "Result", "check", "draw", "find_season", "forecast", "forecasts", "inputs",
    "job", "load", "metrics", "naive", "noisy_sine", "read", "run", "save",
]  # fmt: skip
