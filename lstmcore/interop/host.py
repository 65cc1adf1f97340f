"""Arrays of any library, brought to the host in a dtype that lstmcore computes in."""

from collections.abc import Mapping

import numpy as np

from lstmcore.arrays import to_numpy

HALVES = ("float16", "bfloat16")
COMPUTED = ("float32", "float64", "complex64", "complex128")


def on_host(arrays: Mapping[str, object], dtype: str | None = None) -> dict[str, np.ndarray]:
    """Every array as NumPy's: tensors are detached, what lies on a GPU is copied.

    dtype: "float32" or "float64", what they are read into; None leaves them as they are. Raises TypeError for float16
    and bfloat16 without it, since lstmcore does not compute in these, and for what are no floating-point numbers.
    """
    if dtype not in (None, "float32", "float64"):
        raise ValueError(f'`dtype` should be "float32" or "float64"; got {dtype!r}')
    return {key: _on_host(key, value, dtype) for key, value in arrays.items()}


def _on_host(key: str, given: object, dtype: str | None) -> np.ndarray:
    value = _held(given)
    name = str(getattr(value, "dtype", type(value).__name__)).rpartition(".")[2]  # torch.float16
    name = value.dtype.name if isinstance(value, np.ndarray) else name  # in whatever order of bytes
    if name in HALVES and dtype is None:
        raise TypeError(
            f'`{key}` is {name}, in which lstmcore does not compute: pass dtype="float32", which holds every {name} '
            "exactly"
        )
    try:
        value = value.detach().cpu() if hasattr(value, "detach") else value
        if name == "bfloat16" and hasattr(value, "float"):
            value = value.float()  # of torch, for which NumPy has no dtype
        array = to_numpy(value)
    except (NotImplementedError, RuntimeError, TypeError) as error:  # of torch: without data, or sparse
        raise TypeError(f"`{key}` cannot be read as an array: {error}") from error
    if not hasattr(value, "dtype") or array.dtype.name not in (*HALVES, *COMPUTED):
        raise TypeError(f"`{key}` should hold floating-point numbers; got {name}")
    if dtype is not None and array.dtype.kind == "c" and np.dtype(dtype).kind != "c":
        raise TypeError(f"`{key}` is {name}: as {dtype} it would lose its imaginary part")
    return array.astype(array.dtype.newbyteorder("=") if dtype is None else dtype, copy=dtype is not None)


def shape(value: object) -> tuple[int, ...]:
    """The shape of an array of any library; () of a number."""
    return tuple(getattr(_held(value), "shape", ()))


def _held(value: object) -> object:
    """What a variable of Flax or Keras holds; another value itself."""
    return value.get_value() if hasattr(value, "get_value") else getattr(value, "value", value)


def float_dtype(dtype: str | None) -> None:
    """Raises ValueError for what weights are not written as: "float16", "bfloat16", "float32", "float64", or None."""
    if dtype not in (None, *HALVES, *COMPUTED[:2]):
        raise ValueError(f"`dtype` should be float16, bfloat16, float32 or float64; got {dtype!r}")


def in_dtype(array: np.ndarray, dtype: str | None) -> np.ndarray:
    """The way back: rounded to "float16" or "bfloat16" (the nearest, ties to even), "float32" or "float64"."""
    float_dtype(dtype)
    if dtype == "bfloat16":
        try:
            from ml_dtypes import bfloat16
        except ImportError:
            raise ImportError("NumPy writes bfloat16 with ml_dtypes: pip install ml_dtypes") from None
        return array.astype(bfloat16)
    return array if dtype is None else array.astype(dtype)
