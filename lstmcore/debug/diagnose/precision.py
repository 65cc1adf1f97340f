"""To which digits was an array written? Read off its numbers, array by array.

A float64 number has 53 bits. If every number of an array has only 24, it was float32 once; if all end after six
decimals, they were printed with six. Few numbers may look so by chance: a format counts only where that chance is below
2^-40, or where arrays that came with them have it.
"""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

FORMATS = {8: "bfloat16", 11: "float16", 24: "float32", 53: "float64"}  # by the bits that a number has
EVIDENCE = 40  # bits
FEW = 3  # distinct numbers, zero aside: fewer may have been typed in
PRINTED = 1e-9  # who prints so few digits, relative to the largest number, may have computed in float32


class Precision(NamedTuple):
    """How numbers were written: with how many bits, and in text with how many decimals or significant digits."""

    bits: int = 53
    decimals: int | None = None
    digits: int | None = None

    def __str__(self) -> str:
        if self.decimals is None and self.digits is None:
            return FORMATS[self.bits]
        what = f"{self.decimals} decimals" if self.decimals is not None else f"{self.digits} digits"
        return f"the {what} that were written"

    @property
    def text(self) -> bool:
        return self.decimals is not None or self.digits is not None

    def moved(self, a: np.ndarray | float) -> np.ndarray:
        """How far writing them down may have moved numbers like these: half a unit of the last place."""
        units = _units(np.abs(np.asarray(a)), self)
        return units / 2 + 2.0**-self.bits * np.abs(a) + (2.0**-25 if self.bits == 11 else 0)

    def fits(self, a: np.ndarray) -> bool:
        """Whether the numbers can have been written like this."""
        numbers = np.abs(a[a != 0])
        if not self.text:
            return bool(np.all(np.ldexp(np.frexp(numbers)[0], self.bits) % 1 == 0))
        units = _units(numbers, self)
        return bool(np.all(np.abs(np.round(numbers / units) * units - numbers) <= 4 * 2.0**-self.bits * numbers))


Told: TypeAlias = dict[tuple[int, bytes], Precision | None]  # by bits, and by the numbers that an array holds


def precisions(arrays: Mapping[str, np.ndarray], told: Told | None = None) -> dict[str, Precision]:
    """How each array was written; one that does not tell, like the coarsest of the others that fits it.

    told: what others told, to be added to: the same numbers in another order are not looked at again.
    """
    told = {} if told is None else told
    found = {name: _precision(a, told) for name, a in arrays.items()}
    together = _precision(np.concatenate([a.ravel() for a in arrays.values()]), told) if arrays else None
    others = sorted({p for p in (*found.values(), together) if p is not None}, key=lambda p: (not p.text, p.bits))
    answer = {}
    for name, a in arrays.items():
        own, wide = found[name], a.astype(np.float64)
        fitting = [p for p in others if (own is None or p.text > own.text) and p.fits(wide)]
        answer[name] = fitting[0] if fitting else own or Precision()
    return answer


def computed(arrays: Mapping[str, np.ndarray], written: Mapping[str, Precision]) -> float:
    """The unit roundoff of the computation that these arrays came from: the coarsest that one of them tells."""
    units = [2.0 ** -written[name].bits for name in arrays if not written[name].text]
    for name, a in arrays.items() if not units else ():
        largest = np.max(np.abs(a), initial=0)
        coarse = largest > 0 and np.max(written[name].moved(a)) > PRINTED * largest
        units.append(2.0**-24 if coarse else 2.0 ** -written[name].bits)
    return max(units)


def _precision(a: np.ndarray, told: Told) -> Precision | None:
    bits = {"float16": 11, "float32": 24}.get(str(a.dtype), 53)
    numbers = np.unique(np.abs(a[a != 0]).astype(np.float64))
    key = bits, hashlib.sha256(numbers.tobytes()).digest()
    if key not in told:
        told[key] = _format(bits, numbers)
    return told[key]


def _format(bits: int, numbers: np.ndarray) -> Precision | None:
    """The coarsest format, of so many bits at most, that holds these numbers; None if they are too few to tell."""
    if len(numbers) < FEW:
        return None if bits == 53 else Precision(bits)
    for fewer in FORMATS:
        if fewer < bits and (bits - fewer) * len(numbers) >= EVIDENCE and Precision(fewer).fits(numbers):
            bits = fewer
    decimals = next((p for n in range(13) if _told(p := Precision(bits, decimals=n), numbers)), None)
    digits = next((p for n in range(2, 14) if _told(p := Precision(bits, digits=n), numbers)), None)
    found = [p for p in (decimals, digits) if p is not None]
    if not found:
        return Precision(bits)
    text = max(found, key=lambda p: np.sum(np.log2(_units(numbers, p))))  # the shorter text explains more
    half = next((bits for bits in (8, 11) if _kept_with(bits, text, numbers)), None)
    float32 = np.all(np.abs(numbers.astype(np.float32) - numbers) <= text.moved(numbers))
    return text._replace(bits=half or 24) if half or float32 else text


def _kept_with(bits: int, text: Precision, numbers: np.ndarray) -> bool:
    """Whether printed numbers had so few bits before: each lies as near to one of these as printing moves it."""
    grid = np.ldexp(1.0, np.frexp(numbers)[1] - bits)
    moved = text.moved(numbers)
    chance = np.minimum(2 * moved / grid, 1.0)
    near = np.abs(np.round(numbers / grid) * grid - numbers) <= moved
    return bool(np.all(near) and -np.sum(np.log2(chance)) >= EVIDENCE)


def _units(numbers: np.ndarray, p: Precision) -> np.ndarray:
    """The unit of the last digit of each number; zero where no digits were lost."""
    if p.decimals is not None:
        return np.full(numbers.shape, 10.0**-p.decimals)
    if p.digits is None:
        return np.zeros(numbers.shape)
    exponents = np.floor(np.log10(np.where(numbers > 0, numbers, 1)) + 2.0**-40)
    return np.where(numbers > 0, 10.0 ** (exponents - p.digits + 1), 0)


def _told(p: Precision, numbers: np.ndarray) -> bool:
    """Whether the numbers fit, and would not all fit by chance."""
    if not p.fits(numbers[:FEW]):  # most do not
        return False
    chance = np.minimum(8 * 2.0**-p.bits * numbers / _units(numbers, p), 1.0)
    return bool(-np.sum(np.log2(chance)) >= EVIDENCE and chance.min() < 1 / 8 and p.fits(numbers))
