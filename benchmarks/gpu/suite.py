"""The suites that run on every engine, on those that compute on a GPU; what cannot run is a failure.

pytest gets options of its own, since the machine need not have the plugins that the project's settings ask for. A
kernel that falls back warns with a RuntimeWarning, which is an error here; what libraries deprecate is not.
"""

import subprocess
import sys
import time
from pathlib import Path

SECONDS = 440  # for everything
ENGINES = "CuPy or fused-gpu"  # as pytest -k takes it: the names of engines in the tests' names
FILES = (  # the cheapest first: a mistake shows soon
    "tests/test_truth.py",
    "tests/gpu/test_both_directions_gpu.py",
    "tests/gpu/test_persistent_gpu.py",
    "tests/test_poison.py",
    "tests/test_gradient.py",
    "tests/test_trajectory.py",
    "tests/layers",
    "tests/ops",
    "tests/debug",
    "tests/train",
    "tests/test_properties.py",
    "tests/test_same_for_all.py",
)


def command(out: Path, python: str = sys.executable) -> list[str]:
    """pytest over all files at once."""
    return [
        python, "-m", "pytest", "-o", "addopts=", "--import-mode=importlib", "--strict-markers", "-rfE",
        "--require-gpu", "-k", ENGINES, "--maxfail=40", "--durations=25", f"--junitxml={out / 'tests.xml'}",
        "-W", "default", "-W", "error::RuntimeWarning", *FILES,
    ]  # fmt: skip


def main(out: Path) -> int:
    started = time.monotonic()
    with (out / "tests.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command(out), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        stopped = False
        for line in process.stdout:  # on the screen and in the file, as it comes
            print(line, end="", flush=True)
            log.write(line)
            if not stopped and time.monotonic() - started > SECONDS:
                process.terminate()
                stopped = True
        code = process.wait()
        if stopped:
            message = f"stopped after {SECONDS} s: what ran before stands above, the rest did not run\n"
            print(message, end="")
            log.write(message)
            return 1
    return code
