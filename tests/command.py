"""The command line in a process of its own, as somebody in a shell meets it; or in this one, which costs no second."""

import contextlib
import io
import os
import subprocess
import sys
import traceback

from lstmcore import cli


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
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **environment},
    )


def here_and_now(words: list[str]) -> tuple[int, str]:
    """The exit code of a command run in this process, and what a failure says on stderr; code -1 and a traceback."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    before, sys.argv = sys.argv, ["lstmcore", *words]
    try:
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            cli.main()
    except SystemExit as error:
        streams[1].seek(0)
        return (int(error.code), streams[1].read()) if error.code else (0, "")
    except BaseException:
        return -1, traceback.format_exc()
    finally:
        sys.argv = before
    return 0, ""
