"""What an array is, and which library it belongs to: looked up by the data, never by a global switch.

`Array` is NumPy's own type, so that editors and type checkers know what can be done with one. The arrays of CuPy, and
of any library that follows the array API standard, go wherever `Array` stands; their functions come from `namespace`.
"""

import functools
import sys
from types import EllipsisType, ModuleType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeGuard, TypeVar

import numpy as np

if TYPE_CHECKING:
    from typing_extensions import CapsuleType  # types.CapsuleType, before Python 3.13

Array: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[Any]]  # as numpy.typing.NDArray[Any]
Maybe = TypeVar("Maybe", Array, Array | None)
Dtype: TypeAlias = str | type | np.dtype  # what names one: "float32", numpy.float32, ...
Place: TypeAlias = int | slice | np.ndarray | EllipsisType | None
Index: TypeAlias = Place | tuple[Place, ...]  # what stands in the brackets behind an array
State: TypeAlias = tuple["Array | State | None", ...]  # (B, H) per state of a cell; a container: one entry per part
Plain: TypeAlias = dict[str, Any]  # plain data by name: numbers, texts, lists and dicts, as JSON holds them

FLOAT32_OR_64 = frozenset({np.dtype("float32"), np.dtype("float64")})  # of this machine's byte order


class HasNamespace(Protocol):
    """What knows its own library."""

    def __array_namespace__(self) -> ModuleType: ...


class HasDlpack(Protocol):
    """What lends its memory to other libraries."""

    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __dlpack__(self, *, stream: None = None) -> "CapsuleType": ...


class OnGpu(Protocol):
    """CuPy's array, or one of its numbers."""

    def get(self) -> Array: ...


def is_array(value: object) -> TypeGuard[Array]:
    """True for an array of a library that this package computes with (NumPy, CuPy, array-API libraries)."""
    return isinstance(value, np.ndarray) or _is_cupy(value) or hasattr(value, "__array_namespace__")


def namespace(value: HasNamespace) -> ModuleType:
    """The library whose functions work on `value`: `numpy`, `cupy` or an array-API library."""
    if isinstance(value, np.ndarray):  # first and alone: it decides nearly always, and runs many times in every call
        return np
    if isinstance(value, np.generic):
        return np
    if _is_cupy(value):
        return sys.modules["cupy"]
    return value.__array_namespace__()


def library_name(value: object) -> str:
    """The name of the array's library, for messages: "numpy", "cupy", "torch", "list", ..."""
    kind: type = type(value)
    return _library(kind)


@functools.cache  # asked for several times in every call of a layer
def _library(kind: type) -> str:
    return kind.__module__.split(".")[0] if kind.__module__ != "builtins" else kind.__name__


def dtype_name(dtype: object) -> str:
    """A dtype of any array library as NumPy spells it: "float32"."""
    return _spelt(dtype) if isinstance(dtype, np.dtype) else str(dtype).split(".")[-1]


@functools.cache  # NumPy spells a dtype anew each time, in several microseconds
def _spelt(dtype: np.dtype) -> str:
    return dtype.name


def is_float32_or_64(dtype: object) -> bool:
    """True for float32 and float64 of NumPy and CuPy in this machine's byte order: compiled code computes in these."""
    return dtype in FLOAT32_OR_64  # asked several times in every call: quicker than to compare names


def real(value: Array) -> Array:
    """The real part; the array itself where it is real. Comparisons in complex-safe code look at this."""
    xp = namespace(value)
    return xp.real(value) if is_complex(value) else value


def is_complex(value: Array) -> bool:
    """True if the array's dtype is complex, as in a complex-step derivative."""
    kind = getattr(value.dtype, "kind", None)  # NumPy's and CuPy's letter; asked for in the loop over time
    return kind == "c" if kind else dtype_name(value.dtype).startswith("complex")


def is_recorded(value: object) -> bool:
    """True while what is done with `value` is not done now but recorded, as a CUDA graph, on CuPy's current stream.

    Then it has no values yet, and nothing may depend on one. Outside a recording: False.
    """
    return _is_cupy(value) and sys.modules["cupy"].cuda.get_current_stream().is_capturing()


def to_numpy(value: object) -> Array:
    """A copy on the host (or the array itself, if it is NumPy's)."""
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    if _is_cupy(value):
        return value.get()
    return np.asarray(value)


def to_library(value: object, library: str) -> Array:
    """`value` as an array of the named library, "numpy" or "cupy".

    Raises ValueError for another name, ImportError where CuPy is not installed.
    """
    if library == "numpy":
        return to_numpy(value)
    if library == "cupy":
        return _cupy().asarray(value)
    raise ValueError(f'`array` should be "numpy" or "cupy"; got {library!r}')


def from_dlpack(value: HasDlpack) -> Array:
    """An array over the same memory as `value`, an array of another library (a torch tensor, say): nothing is copied.

    What lies on the host becomes a NumPy array, what lies on a CUDA GPU a CuPy array. The way back is the other
    library's own from_dlpack: torch.from_dlpack(array). Raises TypeError for what has no DLPack or lies elsewhere,
    ImportError where CuPy is not installed; torch refuses a tensor that requires a gradient: pass tensor.detach().
    """
    if not hasattr(value, "__dlpack_device__"):
        raise TypeError(f"`value` should be an array with DLPack (torch, JAX, ...); got {type(value).__name__}")
    device = int(value.__dlpack_device__()[0])
    if device in (1, 3):  # the host's memory; 3: pinned
        return np.from_dlpack(value)
    if device in (2, 13):  # a CUDA GPU's; 13: managed
        return _cupy().from_dlpack(value)
    raise TypeError(f"`value` should lie on the host or on a CUDA GPU; got DLPack's device type {device}")


def _cupy() -> ModuleType:
    try:
        import cupy
    except ImportError as error:
        raise ImportError('arrays on a GPU need CuPy: pip install "lstmcore[gpu]"') from error
    return cupy


def _is_cupy(value: object) -> TypeGuard[OnGpu]:
    return library_name(value) == "cupy"
