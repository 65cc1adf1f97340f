"""Whether there is a compiler. Where there is none everything runs in array code: the same results, more slowly."""

import functools
import threading

HOW = "pip install numba"
_LOCK = threading.Lock()  # threads that ask at once shall hear of it once


@functools.cache
def has_compiler() -> bool:
    """True where Numba can be imported. Asked when something is to be computed, for the import takes a while.

    Where it cannot, a warning of the logger "lstmcore" says so, once in a process.
    """
    with _LOCK:
        return _import_numba()


@functools.cache
def _import_numba() -> bool:
    try:
        import numba  # noqa: F401
    except (ImportError, OSError) as error:  # OSError: its LLVM does not load here
        import logging  # a good part of `import lstmcore`, were it above

        logging.getLogger("lstmcore").warning(
            "Numba cannot be imported (%s): computing in array code, with the reference engine, which is slower; "
            "for the engines 'fused-cpu' and 'fused-cpu-bf16': %s",
            error,
            HOW,
        )
        return False
    return True
