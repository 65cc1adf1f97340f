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

read.py      a series out of a file: table.py (rows and columns), numbers.py (decimal signs, marks), times.py (steps)
"""

import json
import math
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lstmcore import layers, train
from lstmcore.arrays import Plain
from lstmcore.debug.show.picture import legend, panels
from lstmcore.layers import tree
from lstmcore.ops.losses import squared_error
from lstmcore.recipes import job as finished
from lstmcore.recipes.series.read import read as read
from lstmcore.train.callbacks.watchers import Tell, warn

TEST = 0.2  # the last part of the series, which is not learnt from
ORIGINS = 50  # points of the test part from which forecasts are rolled out, at most
SURE = 0.8  # of the forecasts on the test part lie within the band


@dataclass(frozen=True)
class Options:
    """What `lstmcore train series` can be told."""

    hidden: int = 32
    window: int = 100  # steps of a training sequence
    horizon: int = 50  # steps of a rolled-out forecast
    season: int | None = None  # steps; None: found in the part that is learnt from
    batch: int = 16
    epochs: int = 50
    lr: float = 0.01  # the first rate of a cosine that ends at zero
    engine: str | None = None
    seed: int = 0
    beside: tuple[str, ...] = ()  # the names of the columns beside the series
    known: bool = False  # they are known ahead


@dataclass(frozen=True)
class Forecasts:
    """One kind of forecast on the test part, in the units of the series."""

    one_step: np.ndarray  # (M,) of each test value, from all values before it; NaN where the step before is masked
    rolled: np.ndarray  # (origins, horizon)


@dataclass(frozen=True)
class Result:
    """What came of it."""

    model: layers.Layer
    history: finished.History
    values: np.ndarray  # (N,) the series, without the columns beside it
    learnt: int  # how many of them were learnt from
    season: int
    origins: np.ndarray  # index of the first value of each rolled-out forecast
    forecasts: dict[str, Forecasts]  # "lstm", "last value", "season before", "mean"
    scales: (
        np.ndarray
    )  # (1 + K, 2): mean and standard deviation, of the part learnt from, of the series and each column
    engine: str
    train_seconds: float

    def one_step_error(self, name: str) -> float:
        """Root mean square error of the next value."""
        told = ~np.isnan(self.forecasts["lstm"].one_step) & ~np.isnan(self.values[self.learnt :])
        return float(np.sqrt(_mean((self.forecasts[name].one_step - self.values[self.learnt :]) ** 2, told)))

    def rolled_error(self, name: str) -> np.ndarray:
        """(horizon,): root mean square error 1, 2, ... steps ahead, over all origins."""
        return np.sqrt(_mean(self._rolled(name) ** 2, ~np.isnan(self._rolled("lstm"))))

    def band(self) -> np.ndarray:
        """(horizon,): the distance from the truth within which SURE of the forecasts 1, 2, ... steps ahead lay."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # NaN where there is no true value
            return np.nanquantile(np.abs(self._rolled("lstm")), SURE, axis=0)

    def _rolled(self, name: str) -> np.ndarray:
        """(origins, horizon): forecast less truth."""
        return self.forecasts[name].rolled - _windows(self.values, self.origins, self.forecasts[name].rolled.shape[1])


def noisy_sine(seed: int, n: int = 2000, period: int = 25, noise: float = 0.1) -> np.ndarray:
    """(n,): sin(2 pi t / period) plus independent normal noise of this standard deviation."""
    t = np.arange(n)
    return np.sin(2 * np.pi * t / period) + noise * np.random.default_rng(seed).standard_normal(n)


def filled(values: np.ndarray) -> np.ndarray:
    """Straight lines across what is missing."""
    there = ~np.isnan(values)
    return np.interp(np.arange(len(values)), np.flatnonzero(there), values[there])


def find_season(values: np.ndarray) -> int:
    """The lag, from 2 to a third of the values, at which they resemble themselves most.

    That is the largest autocorrelation after the first lag where it is negative: before it, everything that moves
    slowly resembles itself. 1 if there is none above 0.2: then the season before is the last value.
    """
    values = filled(values)
    centred = values - values.mean()
    n = len(centred)
    spectrum = np.abs(np.fft.rfft(centred, 2 * n)) ** 2  # zeros after the end, so that it does not meet the beginning
    correlation = np.fft.irfft(spectrum)[: n // 3 + 1]
    negative = np.flatnonzero(correlation < 0)
    if len(negative) == 0:
        return 1
    lag = int(negative[0] + np.argmax(correlation[negative[0] :]))
    return lag if correlation[lag] > 0.2 * correlation[0] else 1


def check(values: np.ndarray, options: Options) -> int:
    """How many values are learnt from. Raises ValueError if they are too few."""
    learnt = len(values) - round(TEST * len(values))
    needed = options.window + 1
    if learnt < 2 * needed or len(values) - learnt <= options.horizon:
        raise ValueError(
            f"the series is too short: {len(values)} values, of which the first {learnt} are learnt from; a window of "
            f"{options.window} and a horizon of {options.horizon} need at least "
            f"{max(math.ceil(2 * needed / (1 - TEST)), math.ceil((options.horizon + 1) / TEST)) + 2}"
        )
    if options.season is not None and not 1 <= options.season <= learnt:
        raise ValueError(f"`season` should be 1 to {learnt}, the steps that are learnt from; got {options.season}")
    columns = 1 if values.ndim == 1 else values.shape[1]
    if columns != 1 + len(options.beside):
        raise ValueError(f"`values` should have {1 + len(options.beside)} columns, as `beside` says; got {columns}")
    for name, deviation in zip(("", *options.beside), scales_of(values, learnt)[:, 1]):
        if not deviation > 0:
            what = f"the column {name!r}" if name else "the series"
            end = "leave it out" if name else "there is nothing to forecast"
            raise ValueError(f"{what} does not vary where it is learnt from: {end}")
    series, there = _columns(values)[:, 0], ~np.isnan(values)
    read = ~np.isnan(inputs(values, np.tile([0.0, 1.0], (columns, 1)), options.known)).any(axis=1)[:-1]
    told = read & ~np.isnan(series[1:])  # steps that tell the next value
    if not told[: learnt - 1].any() or not told[learnt - 1 :].any():
        raise ValueError(
            f"too much is missing: {np.count_nonzero(~there):,} of {values.size:,} values; to learn and to test, there "
            "should be values that follow each other in the first 80 % and in the rest (--missing fill?)"
        )
    return learnt


def scales_of(values: np.ndarray, learnt: int) -> np.ndarray:
    """(1 + K, 2): mean and standard deviation of the series, and of the columns beside it, where it is learnt from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN where there is no value
        columns = _columns(values)[:learnt]
        return np.stack([np.nanmean(columns, axis=0), np.nanstd(columns, axis=0)], axis=1)


def inputs(values: np.ndarray, scales: np.ndarray, known: bool) -> np.ndarray:
    """(N, 1 + K) float32, scaled: what is read at each step, NaN where it is missing. Columns that are known ahead are
    read one step before their time."""
    z = (_columns(values) - scales[:, 0]) / scales[:, 1]
    if known:
        z[:, 1:] = np.append(z[1:, 1:], np.full_like(z[:1, 1:], np.nan), axis=0)
    return z.astype(np.float32)


def job(values: np.ndarray, options: Options) -> finished.Job[train.Batches]:
    """What is trained: windows from the first 80 % of the series. Raises ValueError as `check`.

    values: (N,), or (N, 1 + K) with the columns that `options.beside` names. One generator, seeded by `options.seed`,
    draws weights and batches.
    """
    learnt = check(values, options)
    rng = np.random.default_rng(options.seed)
    z = inputs(values, scales_of(values, learnt), options.known)
    starts = np.arange(0, learnt - options.window, max(1, options.window // 10))
    windows = _windows(z, starts, options.window + 1).swapaxes(0, 1)  # (window + 1, windows, 1 + K)
    x, targets = windows[:-1], windows[1:, :, :1] - windows[:-1, :, :1]
    mask = ~np.isnan(x).any(axis=2) & ~np.isnan(targets[..., 0])  # all that is read is there, and the successor
    kept = mask.any(axis=0)
    K = len(options.beside)
    net = layers.Stack(
        [
            layers.LSTM(1 + K, options.hidden, seed=rng, engine=options.engine),
            layers.Linear(options.hidden, 1, seed=rng),
        ]
    )
    batches = train.Batches(
        x[:, kept],
        targets[:, kept],
        None if mask.all() else mask[:, kept],
        batch_size=options.batch,
        seed=rng,
        per_step=True,
    )
    schedule = train.Cosine(options.lr, options.epochs * len(batches))
    return finished.Job(
        finished.about("series", options, values),
        net,
        squared_error,
        batches,
        train.Adam(options.lr),
        {"epochs": options.epochs, "schedule": schedule, "clip": 1.0},
    )


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


def forecasts(
    net: layers.Layer, values: np.ndarray, options: Options, history: finished.History, engine: str
) -> Result:
    """What a trained model forecasts of the rest of the series. history, engine: of its training."""
    learnt, series = check(values, options), _columns(values)[:, 0]
    scales = scales_of(values, learnt)
    x = inputs(values, scales, options.known)
    season = find_season(series[:learnt]) if options.season is None else options.season
    last = len(series) - options.horizon
    origins = np.unique(np.linspace(learnt, last, min(ORIGINS, last - learnt + 1)).astype(int))
    origins = _after_a_value(x, origins)
    told = forecast(net, x, learnt, origins, options.horizon, options.known)
    mean, deviation = scales[0]
    found = {"lstm": Forecasts(*(mean + deviation * part.astype(float) for part in told))}
    found |= naive(series, learnt, season, origins, options.horizon)
    return Result(net, history, series, learnt, season, origins, found, scales, engine, history["seconds"])


def forecast(
    net: layers.Layer, x: np.ndarray, learnt: int, origins: np.ndarray, horizon: int, known: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """What is read, x (N, 1 + K) of `inputs` -> the next value at each test step (M,), NaN where it is not told from
    all of them, and forecasts (origins, horizon), both scaled."""
    there = ~np.isnan(x).any(axis=1)
    differences, _ = net.predict(x[:-1, None], mask=None if there[:-1].all() else there[:-1, None])
    # (N - 1, 1, 1): step t tells the next value less that of t
    one_step = np.where(there[:-1], x[:-1, 0] + differences[:, 0, 0], np.nan)[learnt - 1 :]
    longest = int(origins[-1])
    history = np.zeros((longest, len(origins), x.shape[1]), np.float32)
    mask = np.arange(longest)[:, None] >= longest - origins  # (longest, origins): each history ends at the last step
    for k, origin in enumerate(origins):
        history[longest - origin :, k] = x[:origin]
        mask[longest - origin :, k] &= there[:origin]
    differences, state = net.predict(history, mask=mask)
    value = history[-1, :, :1] + differences[-1]  # (origins, 1)
    rolled = [value]
    for step in range(horizon - 1):
        beside = x[origins + step if known else origins - 1, 1:]  # (origins, K)
        difference, state = net.step(np.concatenate([value, beside], axis=1), state)
        value = value + difference
        rolled.append(value)
    return one_step, np.concatenate(rolled, axis=1)


def naive(values: np.ndarray, learnt: int, season: int, origins: np.ndarray, horizon: int) -> dict[str, Forecasts]:
    """Forecasts that cost nothing: the last value, the value of one season before, the mean of the part learnt from."""
    ahead = np.arange(horizon)
    t = np.arange(learnt, len(values))
    mean = np.nanmean(values[:learnt])
    values = filled(values)
    return {
        "last value": Forecasts(values[t - 1], np.repeat(values[origins - 1][:, None], horizon, axis=1)),
        "season before": Forecasts(values[t - season], values[origins[:, None] - season + ahead % season]),
        "mean": Forecasts(np.full(len(t), mean), np.full((len(origins), horizon), mean)),
    }


def _columns(values: np.ndarray) -> np.ndarray:
    """(N, 1 + K) of the series and what is beside it."""
    return values[:, None] if values.ndim == 1 else values


def _after_a_value(x: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """Each origin, moved back to the next one before it that follows a step with all that is read, x (N, 1 + K)."""
    there = np.flatnonzero(~np.isnan(x).any(axis=1)) + 1
    return np.unique(there[np.searchsorted(there, origins, side="right") - 1])


def _windows(values: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """(starts, length): pieces of the series."""
    return values[starts[:, None] + np.arange(length)]


def _mean(squares: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Over the first axis, of what is there; NaN where nothing is."""
    with np.errstate(invalid="ignore"):
        return np.where(there, squares, 0).sum(axis=0) / there.sum(axis=0)


def metrics(result: Result, options: Options) -> Plain:
    """Plain data: what `--json` prints and metrics.json holds. Errors are root mean squares, in the series' units."""
    return {
        "recipe": "series",
        "one_step": {name: result.one_step_error(name) for name in result.forecasts},
        "rolled_out": {name: float(np.sqrt(np.mean(result.rolled_error(name) ** 2))) for name in result.forecasts},
        "rolled_out_by_step": {name: result.rolled_error(name).tolist() for name in result.forecasts},
        "band": result.band().tolist(),
        "season": result.season,
        "learnt": result.learnt,
        "tested": len(result.values) - result.learnt,
        "missing": int(np.isnan(result.values).sum()),
        "scales": result.scales.tolist(),
        "train_seconds": result.train_seconds,
        "engine": result.engine,
        "seed": options.seed,
        "updates": result.history["step"],
        "ended": result.history["ended"],
        "diverged": result.history["diverged"],
        "options": {**asdict(options), "beside": list(options.beside)},
    }


def save(folder: Path, result: Result, options: Options) -> None:
    """Writes the files of a run (recipes/job.py) into the folder."""
    finished.save(folder, result.model, metrics(result, options), result.history)


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
        columns = _columns(values)
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
        origin = _after_a_value(x, np.array([end]))
        behind = end - int(origin[0])  # steps at the end without a value are forecast too, and not shown
        _, rolled = forecast(self.model, x, 1, origin, behind + steps, self.known)
        return self.scales[0, 0] + self.scales[0, 1] * rolled[0, behind:].astype(float)


def load(folder: Path, engine: str | None = None) -> Forecaster:
    """What `save` wrote into the folder. Raises OSError and ValueError for what is none."""
    net = train.load(folder / finished.FILES[0], engine)
    try:
        told = json.loads((folder / finished.FILES[1]).read_text(encoding="utf-8"))
        band = np.array([np.nan if error is None else error for error in told["band"]], float)
        scales, beside = np.array(told["scales"], float), tuple(told["options"]["beside"])
        if told["recipe"] != "series" or band.ndim != 1 or scales.shape != (1 + len(beside), 2):
            raise ValueError(told["recipe"])
        return Forecaster(net, scales, band, beside, bool(told["options"]["known"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / finished.FILES[1]} does not hold what `train series` leaves") from error


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
