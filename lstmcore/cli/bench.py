"""`lstmcore bench`: how fast it is, against everybody else."""

import subprocess
import sys
from pathlib import Path

import typer

import lstmcore
from lstmcore.cli.talk import fail

EPILOG = "Example: lstmcore bench --shapes count --peers torch"
SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def bench(context: typer.Context) -> None:
    """Race the engines against torch, jax, tensorflow and onnxruntime, in a checkout: see benchmarks/README.md.

    Paths among its options start from the root of the checkout.
    """
    root = Path(lstmcore.__file__).parent.parent
    if not (root / "benchmarks" / "race.py").is_file():
        fail("the benchmarks are not installed with the library: clone the repository and run this there", 2)
    raise typer.Exit(subprocess.run([sys.executable, "-m", "benchmarks", *context.args], cwd=root).returncode)
