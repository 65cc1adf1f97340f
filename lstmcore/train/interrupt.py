"""Ctrl-C at a moment when nothing is half done."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible(ask_to_stop: Callable[[], None]) -> Iterator[None]:
    """Inside, the first Ctrl-C calls `ask_to_stop` in place of raising KeyboardInterrupt; the second one raises.

    An update writes into the parameters in place, so an exception in its middle would leave them half moved. Where
    Ctrl-C has another handler already, or outside the main thread, nothing is changed.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before not in (
        signal.default_int_handler,
        signal.SIG_DFL,
    ):
        yield
        return

    def first(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ask_to_stop()

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def die_at_once() -> None:
    """From here on, wherever it is not `interruptible`, Ctrl-C ends the process, in place of raising KeyboardInterrupt.

    For programs that have nothing to tidy up. Python drops a KeyboardInterrupt that comes while C code calls back, in
    imports and in compiling: such a Ctrl-C would be lost. Where it has another handler, or is ignored (nohup), nothing
    is changed.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
