"""A series as a network reads it: what is learnt from, scaled, with what is missing; and its season."""

import math
import warnings
from dataclasses import dataclass

import numpy as np

TEST = 0.2  # the last part of the series, which is not learnt from


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
    columns = columns_of(values).shape[1]
    if columns != 1 + len(options.beside):
        raise ValueError(f"`values` should have {1 + len(options.beside)} columns, as `beside` says; got {columns}")
    for name, deviation in zip(("", *options.beside), scales_of(values, learnt)[:, 1]):
        if not deviation > 0:
            what = f"the column {name!r}" if name else "the series"
            end = "leave it out" if name else "there is nothing to forecast"
            raise ValueError(f"{what} does not vary where it is learnt from: {end}")
    read = ~np.isnan(inputs(values, np.tile([0.0, 1.0], (columns, 1)), options.known)).any(axis=1)[:-1]
    told = read & ~np.isnan(columns_of(values)[1:, 0])  # steps that tell the next value
    if not told[: learnt - 1].any() or not told[learnt - 1 :].any():
        raise ValueError(
            f"too much is missing: {np.count_nonzero(np.isnan(values)):,} of {values.size:,} values; to learn and to "
            "test, there should be values that follow each other in the first 80 % and in the rest (--missing fill?)"
        )
    return learnt


def scales_of(values: np.ndarray, learnt: int) -> np.ndarray:
    """(1 + K, 2): mean and standard deviation of the series, and of the columns beside it, where it is learnt from."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # NaN where there is no value
        columns = columns_of(values)[:learnt]
        return np.stack([np.nanmean(columns, axis=0), np.nanstd(columns, axis=0)], axis=1)


def inputs(values: np.ndarray, scales: np.ndarray, known: bool) -> np.ndarray:
    """(N, 1 + K) float32, scaled: what is read at each step, NaN where it is missing. Columns that are known ahead are
    read one step before their time."""
    z = (columns_of(values) - scales[:, 0]) / scales[:, 1]
    if known:
        z[:, 1:] = np.append(z[1:, 1:], np.full_like(z[:1, 1:], np.nan), axis=0)
    return z.astype(np.float32)


def columns_of(values: np.ndarray) -> np.ndarray:
    """(N, 1 + K) of the series and what is beside it."""
    return values[:, None] if values.ndim == 1 else values


def after_a_value(x: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """Each origin, moved back to the next one before it that follows a step with all that is read, x (N, 1 + K)."""
    there = np.flatnonzero(~np.isnan(x).any(axis=1)) + 1
    return np.unique(there[np.searchsorted(there, origins, side="right") - 1])


def windows_of(values: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """(starts, length): pieces of the series."""
    return values[starts[:, None] + np.arange(length)]
