"""CUDA graphs for the stand-in for CuPy: streams that record what is done, and do it again when a graph is launched.

As strict as a GPU. While a stream records, nothing runs: what an operation would give is NaN, and no array changes.
Whoever asks for a value, sends one from the host, calls cuBLAS, or takes memory that is not a pool's own, is refused.
A launched graph works on the very memory that was recorded: what was made while recording belongs to the graph, and
whatever else it reads or writes must still be there.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

LIBRARY = {"matmul", "dot", "vdot", "inner", "outer", "tensordot", "einsum", "__matmul__"}  # CuPy asks cuBLAS
ASKS = {"nonzero", "unique", "item", "tolist", "argwhere"}  # the size or the value of the result is the host's
EMPTY = {"empty", "empty_like"}
CHANGES = {"setitem", "at"}  # no result: an argument changes


class CUDARuntimeError(RuntimeError):
    pass


class Lent(NamedTuple):
    """An array that is not the graph's own: where it lies, in memory that somebody else must keep."""

    owner: weakref.ref
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    strides: tuple[int, ...]

    @classmethod
    def of(cls, array: np.ndarray) -> "Lent":
        owner = _owner(array)
        offset = array.ctypes.data - owner.ctypes.data
        return cls(weakref.ref(owner), array.shape, array.dtype, offset, array.strides)

    def array(self) -> np.ndarray:
        owner = self.owner()
        assert owner is not None, "the graph works on memory that was given back"
        return np.ndarray(self.shape, self.dtype, owner.ravel("K"), self.offset, self.strides)


class Graph:
    """Operations in their order."""

    def __init__(self) -> None:
        self.operations: list[Callable[[], None]] = []
        self.own: dict[int, np.ndarray] = {}  # by identity: the memory that was made while recording
        self.launches: list[str] = []  # the kernels of ours among the operations

    def launch(self, stream: "Stream | None" = None) -> None:
        with np.errstate(all="ignore"):
            for operation in self.operations:
                operation()

    # ---- recording -------------------------------------------------------------------------------------------------

    def add(self, function: Callable, arguments: tuple, options: dict[str, Any]) -> Any:
        """Records a function of NumPy's: its result, of which only the shape is known; a view of what it was given."""
        name = function.__name__
        if isinstance(getattr(function, "__self__", None), np.ndarray):  # a method: its array is an argument, too
            function, arguments = getattr(np.ndarray, name), (function.__self__, *arguments)
        if name in LIBRARY:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        if name in ASKS or (name == "getitem" and any(a.dtype == bool for a in _arrays(arguments[1]))):
            raise _refused()
        if name in CHANGES:
            return self._later(function, arguments)
        (out,) = options.get("out") or (None,)
        options = {key: value for key, value in options.items() if key != "out"}
        with np.errstate(all="ignore"):
            shape = np.asarray(function(*arguments, **options))
        if any(_same_memory(shape, a) for a in _arrays((arguments, options))):
            assert out is None
            return shape
        result = self._new(shape) if out is None else out
        kept, kept_options, target = self._keep(arguments), self._keep(options), self._keep(result)

        def operation() -> None:
            to = _back(target)
            if name in EMPTY:
                _poison(to)
            else:
                np.copyto(to, function(*_back(kept), **_back(kept_options)), casting="same_kind")

        self.operations.append(operation)
        return result

    def kernel(self, entry: str, launch: Callable, arguments: tuple) -> None:
        self.launches.append(entry)
        self._later(launch, arguments)

    def _later(self, function: Callable, arguments: tuple) -> None:
        """What changes its arguments."""
        kept = self._keep(arguments)
        self.operations.append(lambda: function(*_back(kept)) and None)

    def _new(self, like: np.ndarray) -> np.ndarray:
        assert _pools[-1] is not None, "a temporary of a recorded step lies in memory that others use as well"
        made = np.empty_like(like, subok=False)
        _poison(made)
        self.own[id(made)] = made
        return made

    def _keep(self, tree: Any) -> Any:
        """The graph's own memory as it is, and a note of where other memory lies."""
        if isinstance(tree, np.ndarray):
            return tree if id(_owner(tree)) in self.own or tree.dtype.kind == "V" else Lent.of(tree)
        if isinstance(tree, tuple | list):
            return type(tree)(map(self._keep, tree))
        return {name: self._keep(part) for name, part in tree.items()} if isinstance(tree, dict) else tree


def _back(tree: Any) -> Any:
    if isinstance(tree, Lent):
        return tree.array()
    if isinstance(tree, tuple | list):
        return type(tree)(map(_back, tree))
    return {name: _back(part) for name, part in tree.items()} if isinstance(tree, dict) else tree


def _owner(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _arrays(tree: Any) -> Iterator[np.ndarray]:
    if isinstance(tree, np.ndarray):
        yield tree
    elif isinstance(tree, tuple | list | dict):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _arrays(part)


def _same_memory(result: np.ndarray, given: np.ndarray) -> bool:
    return _owner(result) is _owner(given)


def _poison(array: np.ndarray) -> None:
    array[...] = np.nan if array.dtype.kind in "fc" else 0


def _refused() -> CUDARuntimeError:
    return CUDARuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")


# ---- what CuPy shows of it -----------------------------------------------------------------------------------------


class Stream:
    """`null` is the one that is there at first."""

    null: "Stream"

    def __init__(self, null: bool = False, non_blocking: bool = False):
        self.is_non_blocking, self.graph = non_blocking, None

    def __enter__(self) -> "Stream":
        _streams.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert _streams.pop() is self

    def begin_capture(self) -> None:
        if self is Stream.null:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        assert self.is_non_blocking, "the default stream would wait for this one"
        self.graph = Graph()

    def end_capture(self) -> Graph:
        graph, self.graph = self.graph, None
        return graph

    def is_capturing(self) -> bool:
        return self.graph is not None

    def synchronize(self) -> None:
        if self.is_capturing():
            raise _refused()


class MemoryPool:
    def malloc(self, size: int) -> None:
        raise NotImplementedError("the stand-in only remembers whose turn it is")


Stream.null = Stream(null=True)
_streams = [Stream.null]
_pools: list[Any] = [None]


def get_current_stream() -> Stream:
    return _streams[-1]


@contextlib.contextmanager
def using_allocator(malloc: Any) -> Iterator[None]:
    _pools.append(malloc)
    try:
        yield
    finally:
        _pools.pop()


def recording() -> Graph | None:
    """The graph that the current stream records, if it does."""
    return _streams[-1].graph


def ask() -> None:
    """Called wherever the host wants to know a value, or sends one."""
    if recording() is not None:
        raise _refused()


def run(function: Callable, arguments: tuple, options: dict[str, Any]) -> Any:
    """A function of NumPy's over bare arrays: now, or, while the current stream records, whenever its graph is."""
    graph = recording()
    return function(*arguments, **options) if graph is None else graph.add(function, arguments, options)
