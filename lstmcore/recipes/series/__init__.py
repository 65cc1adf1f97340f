"""Forecast a series of numbers: the next value, and many values ahead, beside forecasts that cost nothing.

An LSTM reads the values one by one and tells the difference to the next. A forecast of many steps is rolled out: what
was told is read as if it had come. Three naive forecasts stand beside it: the last value for ever, the value of one
season before, and, to be told from a network that has merely learnt it, the mean.

A value that is missing is NaN. The network's step over it is masked, so that its state is carried through; it is no
target, and no forecast of it, or from it, is counted.

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


@dataclass(frozen=True)
class Forecasts:
    """One kind of forecast on the test part, in the units of the series."""

    one_step: np.ndarray  # (M,) of each test value, from all values before it
    rolled: np.ndarray  # (origins, horizon)


@dataclass(frozen=True)
class Result:
    """What came of it."""

    model: layers.Layer
    history: finished.History
    values: np.ndarray  # (N,) the series
    learnt: int  # how many of them were learnt from
    season: int
    origins: np.ndarray  # index of the first value of each rolled-out forecast
    forecasts: dict[str, Forecasts]  # "lstm", "last value", "season before", "mean"
    scale: tuple[float, float]  # mean and standard deviation of the part learnt from
    engine: str
    train_seconds: float

    def one_step_error(self, name: str) -> float:
        """Root mean square error of the next value."""
        told = ~np.isnan(self.values[self.learnt - 1 : -1]) & ~np.isnan(self.values[self.learnt :])
        return float(np.sqrt(_mean((self.forecasts[name].one_step - self.values[self.learnt :]) ** 2, told)))

    def rolled_error(self, name: str) -> np.ndarray:
        """(horizon,): root mean square error 1, 2, ... steps ahead, over all origins."""
        errors = self._rolled(name)
        return np.sqrt(_mean(errors**2, ~np.isnan(errors)))

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
    spectrum = np.abs(np.fft.rfft(centred, 2 * n)) ** 2  # zeros behind, so that the end does not meet the beginning
    correlation = np.fft.irfft(spectrum)[: n // 3 + 1]
    negative = np.flatnonzero(correlation < 0)
    if len(negative) == 0:
        return 1
    lag = int(negative[0] + np.argmax(correlation[negative[0] :]))
    return lag if correlation[lag] > 0.2 * correlation[0] else 1


def check(values: np.ndarray, options: Options) -> int:
    """How many values are learnt from, once there are found to be enough. Raises ValueError."""
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
    there = ~np.isnan(values)
    if not (there[: learnt - 1] & there[1:learnt]).any() or not (there[learnt - 1 : -1] & there[learnt:]).any():
        raise ValueError(
            f"too much is missing: {np.count_nonzero(~there):,} of {len(values):,} values; to learn and to test, there "
            "should be values that follow each other in the first 80 % and in the rest (--missing fill?)"
        )
    if np.ptp(values[:learnt][there[:learnt]]) == 0:
        raise ValueError("the series does not vary where it is learnt from: there is nothing to forecast")
    return learnt


def scaled(values: np.ndarray, learnt: int) -> tuple[np.ndarray, float, float]:
    """(N,) float32, less the mean of the part learnt from, over its standard deviation; and these two."""
    mean, deviation = float(np.nanmean(values[:learnt])), float(np.nanstd(values[:learnt]))
    return ((values - mean) / deviation).astype(np.float32), mean, deviation


def job(values: np.ndarray, options: Options) -> finished.Job[train.Batches]:
    """What is trained: windows from the first 80 % of the series. Raises ValueError as `check`.

    One generator, seeded by `options.seed`, draws weights and batches.
    """
    learnt = check(values, options)
    rng = np.random.default_rng(options.seed)
    z, _, _ = scaled(values, learnt)
    starts = np.arange(0, learnt - options.window, max(1, options.window // 10))
    windows = _windows(z, starts, options.window + 1).T[..., None]  # (window + 1, windows, 1)
    mask = ~np.isnan(windows[:-1, :, 0]) & ~np.isnan(windows[1:, :, 0])  # both the value and its successor are there
    windows, mask = windows[:, mask.any(axis=0)], mask[:, mask.any(axis=0)]
    net = layers.Stack(
        [layers.LSTM(1, options.hidden, seed=rng, engine=options.engine), layers.Linear(options.hidden, 1, seed=rng)]
    )
    batches = train.Batches(
        windows[:-1],
        windows[1:] - windows[:-1],
        None if mask.all() else mask,
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

    tell: is called with what the watchers see. keep: where the run is saved, and whether it goes on.
    """
    training = job(values, options)
    learnt, net = check(values, options), training.model
    z, mean, deviation = scaled(values, learnt)
    batch = training.batches._batch(np.arange(1))
    engine = tree.engine(net.forward(batch.x, mask=batch.mask)[2])  # compiles kernels, before the clock runs
    history = training.fit(train.watchers(tell), keep, progress)
    season = find_season(values[:learnt]) if options.season is None else options.season
    last = len(values) - options.horizon
    origins = np.unique(np.linspace(learnt, last, min(ORIGINS, last - learnt + 1)).astype(int))
    origins = _after_a_value(values, origins)
    forecasts = naive(values, learnt, season, origins, options.horizon)
    told = forecast(net, z, learnt, origins, options.horizon)
    forecasts = {"lstm": Forecasts(*(mean + deviation * part.astype(float) for part in told))} | forecasts
    scale = (mean, deviation)
    return Result(net, history, values, learnt, season, origins, forecasts, scale, engine, history["seconds"])


def forecast(
    net: layers.Layer, z: np.ndarray, learnt: int, origins: np.ndarray, horizon: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scaled values z (N,) -> the next value at each test step (M,), and forecasts (origins, horizon)."""
    there = ~np.isnan(z)
    differences, _ = net.predict(z[:-1, None, None], mask=None if there.all() else there[:-1, None])
    # (N - 1, 1, 1): step t tells z[t + 1] - z[t]
    one_step = z[learnt - 1 : -1] + differences[learnt - 1 :, 0, 0]
    longest = int(origins[-1])
    history = np.zeros((longest, len(origins), 1), np.float32)
    mask = np.arange(longest)[:, None] >= longest - origins  # (longest, origins): each history ends at the last step
    for k, origin in enumerate(origins):
        history[longest - origin :, k, 0] = z[:origin]
        mask[longest - origin :, k] &= there[:origin]
    differences, state = net.predict(history, mask=mask)
    value = history[-1] + differences[-1]  # (origins, 1)
    rolled = [value]
    for _ in range(horizon - 1):
        difference, state = net.step(value, state)
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


def _after_a_value(values: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """Each origin, moved back to the next one before it that follows a value; what is learnt from ends in one."""
    there = np.flatnonzero(~np.isnan(values)) + 1
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
        "mean": result.scale[0],
        "deviation": result.scale[1],
        "train_seconds": result.train_seconds,
        "engine": result.engine,
        "seed": options.seed,
        "updates": result.history["step"],
        "ended": result.history["ended"],
        "diverged": result.history["diverged"],
        "options": asdict(options),
    }


def save(folder: Path, result: Result, options: Options) -> None:
    """Writes the files of a run (recipes/job.py) into the folder."""
    finished.save(folder, result.model, metrics(result, options), result.history)


@dataclass(frozen=True)
class Forecaster:
    """What `save` has left of a training: a model, the scale of its series, and how far its forecasts were off."""

    model: layers.Layer
    mean: float
    deviation: float
    band: np.ndarray  # (horizon,) of `Result.band`

    def ahead(self, values: np.ndarray, steps: int) -> np.ndarray:
        """(steps,): what follows the series (N,), NaN where a value is missing. Each forecast reads those before it.

        Raises ValueError for a series without two values, and for none or more than 100,000 steps.
        """
        if not 1 <= steps <= 100_000:
            raise ValueError(f"`steps` should be 1 to 100,000; got {steps}")
        if np.count_nonzero(~np.isnan(values)) < 2:
            raise ValueError("a series should have two values at least to go on from")
        z = ((values - self.mean) / self.deviation).astype(np.float32)
        origin = _after_a_value(values, np.array([len(values)]))
        behind = len(values) - int(origin[0])  # steps at the end without a value are forecast too, and not shown
        _, rolled = forecast(self.model, z, 1, origin, behind + steps)
        return self.mean + self.deviation * rolled[0, behind:].astype(float)


def load(folder: Path, engine: str | None = None) -> Forecaster:
    """What `save` wrote into the folder. Raises OSError and ValueError for what is none."""
    net = train.load(folder / finished.FILES[0], engine)
    try:
        told = json.loads((folder / finished.FILES[1]).read_text(encoding="utf-8"))
        band = np.array([np.nan if error is None else error for error in told["band"]], float)
        if told["recipe"] != "series" or band.ndim != 1 or not told["deviation"] > 0:
            raise ValueError(told["recipe"])
        return Forecaster(net, float(told["mean"]), float(told["deviation"]), band)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / finished.FILES[1]} does not hold what `train series` leaves") from error


def draw(path: Path, result: Result) -> None:
    """The next value, one rolled-out forecast, and errors by steps ahead. Raises ImportError without matplotlib."""
    figure, (one_step, rolled, errors) = finished.figure(panels=3)
    shown = slice(result.learnt, min(len(result.values), result.learnt + 4 * max(25, result.season)))
    t = np.arange(shown.start, shown.stop)
    one_step.plot(t, result.values[shown], "k.", ms=3, label="true")
    one_step.plot(t, result.forecasts["lstm"].one_step[: len(t)], label="next value, lstm")
    one_step.set(xlabel="step", title="one step ahead")
    origin, horizon = int(result.origins[0]), result.forecasts["lstm"].rolled.shape[1]
    before = np.arange(max(0, origin - horizon), origin)
    after = np.arange(origin, origin + horizon)
    rolled.plot(np.append(before, after), result.values[np.append(before, after)], "k.", ms=3, label="true")
    for name, forecasts in result.forecasts.items():
        rolled.plot(after, forecasts.rolled[0], label=name, lw=2 if name == "lstm" else 0.8)
        errors.plot(np.arange(1, horizon + 1), result.rolled_error(name), label=name, lw=2 if name == "lstm" else 0.8)
    rolled.set(xlabel="step", title="rolled out")
    errors.set(xlabel="steps ahead", ylabel="root mean square error", title=f"over {len(result.origins)} origins")
    for axis in (one_step, rolled, errors):
        axis.legend(fontsize="x-small")
    finished.write_picture(path, figure)
