"""Work on a GPU, recorded as a CUDA graph and done again by one launch.

A graph works on the very memory that was used while it was recorded. So that nobody else gets that memory for something
of his own, everything that the work makes comes from a pool which the graph keeps.
"""

from collections.abc import Callable
from contextlib import suppress

import cupy

from lstmcore.arrays import Array


class Graph:
    """Records `work()` and gives what it gives as `result`; on the GPU nothing is done before a launch.

    All its kernels must have run before, since none can be loaded while recording. What the work reads and did not make
    must stay where it is. Raises RuntimeError for what cannot be recorded: work that asks for a value, or calls a
    library that refuses.
    """

    def __init__(self, work: Callable[[], Array]):
        self._pool = cupy.cuda.MemoryPool()
        stream = cupy.cuda.Stream(non_blocking=True)  # the default one cannot record, and would wait for others
        with cupy.cuda.using_allocator(self._pool.malloc), stream:
            stream.begin_capture()
            try:
                self.result: Array = work()
            except BaseException:
                with suppress(RuntimeError):  # of a recording that is spoilt already
                    stream.end_capture()
                raise
            self._graph = stream.end_capture()

    def launch(self) -> None:
        """Does the work, on the current stream."""
        self._graph.launch()
