"""Ctrl-C at a moment when nothing is half done."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interruptible(ask_to_stop: Callable[[], None]) -> Iterator[None]:
    """Inside, the first Ctrl-C calls `ask_to_stop` in place of raising KeyboardInterrupt; the second one raises.

    An update writes into the parameters in place, so an exception in its middle would leave them half moved. Where
    somebody else has taken Ctrl-C already, or outside the main thread, nothing is changed.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return

    def first(signum: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ask_to_stop()

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
