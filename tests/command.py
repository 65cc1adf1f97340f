"""The command line in a process of its own, as somebody in a shell meets it."""

import os
import subprocess
import sys


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
