"""Work on a GPU, recorded as a CUDA graph and done again by one launch.

A graph works on the very memory that was used while it was recorded. So that nobody else gets that memory for something
of his own, everything that the work makes comes from a pool which the graph keeps.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import cupy


class Graph:
    """First `rehearse`, then `record`, then `launch` as often as you like."""

    def __init__(self) -> None:
        self._pool = cupy.cuda.MemoryPool()
        self._stream = cupy.cuda.Stream(non_blocking=True)  # the default one cannot record, and would wait for others
        self._graph: Any = None

    @contextmanager
    def _own_place(self) -> Iterator[None]:
        with cupy.cuda.using_allocator(self._pool.malloc), self._stream:
            yield

    def rehearse(self, work: Callable[[], Any]) -> Any:
        """Does the work once as it is: kernels are compiled and loaded, which must not happen while recording."""
        cupy.cuda.get_current_stream().synchronize()  # what the work reads is there
        with self._own_place():
            result = work()
            self._stream.synchronize()
        return result

    def record(self, work: Callable[[], Any]) -> Any:
        """Records the work, and gives what it gives; on the GPU nothing is done. Raises RuntimeError if it cannot be
        recorded: it asks for a value, or calls a library that refuses."""
        with self._own_place():
            self._stream.begin_capture()
            try:
                result = work()
            except BaseException:
                with suppress(RuntimeError):  # of a recording that is spoilt already
                    self._stream.end_capture()
                raise
            self._graph = self._stream.end_capture()
        return result

    def launch(self) -> None:
        """Does the work again, on the current stream."""
        self._graph.launch()
