"""The command line: in a process of its own, as somebody in a shell meets it; or called here, which is done sooner."""

import contextlib
import io
import os
import subprocess
import sys
import traceback
import warnings

import pytest

from lstmcore.cli import main

PLAIN = {"COLUMNS": "200", "NO_COLOR": "1"}


def lstmcore(*words, cwd=None, stdout=subprocess.PIPE, **environment):
    """Runs the command, its output piped, or written to `stdout`."""
    return subprocess.run(
        [sys.executable, "-c", "from lstmcore.cli import main; main()", *map(str, words)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        timeout=300,
        env={**os.environ, **PLAIN, **environment},
    )


def called(*words, cwd=None, warn="default"):
    """What the command answers, in this process: where starting, signals and pipes are not in question.

    warn: what becomes of warnings; "error" as elsewhere in these tests.
    """
    printed, told = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PLAIN.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["lstmcore", *map(str, words)])
        if cwd is not None:
            patch.chdir(cwd)
        status: object = None
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told), warnings.catch_warnings():
            warnings.simplefilter(warn)
            try:
                main()
            except SystemExit as end:
                status = end.code
    streams = (stream.buffer.getvalue().decode("utf-8") for stream in (printed, told))
    return subprocess.CompletedProcess(words, status or 0, *streams)


def here_and_now(words: list[str]) -> tuple[int, str]:
    """The exit code of a command called here, and what a failure says on stderr; code -1 and a traceback."""
    try:
        answer = called(*words, warn="error")
    except BaseException:
        return -1, traceback.format_exc()
    return answer.returncode, answer.stderr if answer.returncode else ""
