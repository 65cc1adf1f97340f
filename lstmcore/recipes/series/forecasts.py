"""What a network forecasts of the part that it has not learnt from, beside forecasts that cost nothing."""

import warnings
from dataclasses import dataclass

import numpy as np

from lstmcore import layers
from lstmcore.recipes import job as finished
from lstmcore.recipes.series.values import (
    Options,
    after_a_value,
    check,
    columns_of,
    filled,
    find_season,
    inputs,
    scales_of,
    windows_of,
)

ORIGINS = 50  # points of the test part from which forecasts are rolled out, at most
SURE = 0.8  # of the forecasts on the test part lie within the band


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
    scales: np.ndarray  # (1 + K, 2) of `scales_of`
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
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # NaN where there is no true value
            return np.nanquantile(np.abs(self._rolled("lstm")), SURE, axis=0)

    def _rolled(self, name: str) -> np.ndarray:
        """(origins, horizon): forecast less truth."""
        return self.forecasts[name].rolled - windows_of(self.values, self.origins, self.forecasts[name].rolled.shape[1])


def forecasts(
    net: layers.Layer, values: np.ndarray, options: Options, history: finished.History, engine: str
) -> Result:
    """What a trained model forecasts of the rest of the series. history, engine: of its training."""
    learnt, series = check(values, options), columns_of(values)[:, 0]
    scales = scales_of(values, learnt)
    x = inputs(values, scales, options.known)
    season = find_season(series[:learnt]) if options.season is None else options.season
    last = len(series) - options.horizon
    origins = np.unique(np.linspace(learnt, last, min(ORIGINS, last - learnt + 1)).astype(int))
    origins = after_a_value(x, origins)
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


def _mean(squares: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Over the first axis, of what is there; NaN where nothing is."""
    with np.errstate(invalid="ignore"):
        return np.where(there, squares, 0).sum(axis=0) / there.sum(axis=0)
