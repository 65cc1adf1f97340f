"""Where and when it was measured, and the command lines' common frame."""

import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import typer


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def now() -> str:
    """UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def cli(command: Callable) -> None:
    """Runs a function as a command line, with plain tracebacks."""
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(command)
    app()
