"""Words of two bfloat16 numbers, put together and taken apart with the means of NumPy."""

import numpy as np


def halves(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Words as float32 -> the numbers in their lower and in their upper halves, as float32."""
    bits = words.view(np.uint32)
    return (bits << np.uint32(16)).view(np.float32), (bits & np.uint32(0xFFFF0000)).view(np.float32)


def together(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """The way back, of numbers that are bfloat16 already."""
    lower, upper = (np.ascontiguousarray(half, np.float32).view(np.uint32) for half in (lower, upper))
    assert not ((lower | upper) & np.uint32(0xFFFF)).any()
    return (lower >> np.uint32(16) | upper).view(np.float32)
