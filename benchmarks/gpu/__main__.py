"""python -m benchmarks.gpu tests|race|bench --out DIR: one part of what only a GPU can show.

Needs a checkout, and no installation of it: CuPy, NumPy and Numba; pytest and hypothesis for `tests`, PyTorch for
`bench`. No network.
"""

import argparse
import importlib
import sys
from pathlib import Path

PARTS = {"tests": "benchmarks.gpu.suite", "race": "benchmarks.gpu.race", "bench": "benchmarks.gpu.speed"}
NEEDS = {
    "tests": ("numpy", "numba", "cupy", "pytest", "hypothesis"),
    "race": ("numpy", "cupy"),
    "bench": ("numpy", "cupy", "torch"),
}


def missing(part: str) -> list[str]:
    """What this machine lacks for a part, in words; empty if it lacks nothing."""
    lacks = []
    for name in NEEDS[part]:
        try:
            importlib.import_module(name)
        except ImportError as error:
            lacks.append(f"{name} ({error})")
    if "cupy" in NEEDS[part] and not any(lack.startswith("cupy") for lack in lacks):
        cupy = importlib.import_module("cupy")
        try:
            cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            lacks.append(f"a GPU ({error})")
    return lacks


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, required=True, help="folder for logs and CSV rows")
    options = parser.parse_args(arguments)
    lacks = missing(options.part)
    if lacks:
        print(f"{options.part}: this machine lacks {'; '.join(lacks)}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    return importlib.import_module(PARTS[options.part]).main(options.out)


if __name__ == "__main__":
    sys.exit(main())
