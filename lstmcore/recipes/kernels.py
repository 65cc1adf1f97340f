"""Compiles ahead what trainings and their models ask for: into the package's own folder, for whoever will use it.

A container image that is made by root serves every user then, and a wheel can hold the kernels too (docs/cpu.md). They
are compiled for levels of processors, and not for the one that is here: what the image or the wheel will run on may be
another.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import lstmcore as lc
from lstmcore.layers import Layer
from lstmcore.ops.cpu import disk
from lstmcore.ops.cpu.compiler import HOW, has_compiler
from lstmcore.recipes.child import same_package
from lstmcore.train.metrics import Loss
from lstmcore.train.update.optimizer import Optimizer

OPTIMIZERS: tuple[Callable[[], Optimizer], ...] = (
    lc.SGD,
    lc.Momentum,
    lc.Nesterov,
    lc.Adam,
    lc.AdamW,
    lc.RMSProp,
    lc.Adagrad,
    lc.Adadelta,
)
LOSSES_OF_NUMBERS = (lc.squared_error, lc.absolute_error, lc.huber, lc.binary_cross_entropy)


def build(folder: Path) -> tuple[disk.Usage, tuple[str, ...]]:
    """Fills the folder, which takes minutes: what lies there then, and for which levels of processors: those that this
    one reaches, for kernels are compiled by running them.

    Raises OSError where there is no compiler, the folder cannot be written, or a kernel cannot be compiled.
    """
    if not has_compiler():
        raise OSError(f"there is nothing to compile with: {HOW}")
    from lstmcore.ops.cpu.target import levels

    if not levels():
        raise OSError("this processor reaches no level that kernels are compiled for: each process compiles its own")
    with disk.filling(folder):
        disk.writable().chmod(0o755)  # for all who may read the package, whatever this user's umask
    with tempfile.TemporaryDirectory(disk.UNFINISHED, dir=folder) as new:
        Path(new).chmod(0o755)
        for level in levels():
            done = subprocess.run(
                [sys.executable, "-P", "-m", "lstmcore.recipes.kernels", new],
                env=os.environ | same_package() | {"NUMBA_CPU_NAME": level, "NUMBA_CPU_FEATURES": ""},
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                umask=0o022,
            )
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
                raise OSError(f"compiling for {level} ended with code {done.returncode}: {last}")
        disk.refill(folder, Path(new))
    return disk.usage(folder), levels()


def fill(folder: Path) -> None:
    """Runs once all that is to be compiled, on small arrays."""
    from lstmcore.ops.cpu.threads import watcher

    with disk.filling(folder):
        watcher()
        for name in ("float32", "float64"):
            dtype = np.dtype(name)
            for layer in (lc.LSTM, lc.GRU, lc.RNN):
                recurrent = layer(1, 24, dtype=name, seed=0, engine="fused-cpu")
                x = np.zeros((2, 3, 1), dtype)
                _train(lc.Stack([recurrent, lc.Linear(24, 2, dtype=name, seed=0)]), x, lc.SGD, lc.squared_error)
                frozen = lc.freeze(recurrent)
                for _ in range(2):  # the first call packs the weights, and the second begins with them
                    frozen.predict(x)
            _train(lc.Linear(64, 300, dtype=name, seed=0), np.zeros((64, 64), dtype), lc.SGD, lc.softmax_cross_entropy)
            small, x = lc.Linear(1, 2, dtype=name, seed=0), np.zeros((3, 1), dtype)
            for loss in LOSSES_OF_NUMBERS:
                _train(small, x, lc.SGD, loss)
            for optimizer in OPTIMIZERS:
                _train(small, x, optimizer, lc.squared_error)


def _train(model: Layer, x: np.ndarray, optimizer: Callable[[], Optimizer], loss: Loss) -> None:
    """One update."""
    y, _ = model.predict(x)
    targets = np.zeros(y.shape[:-1], np.int64) if loss is lc.softmax_cross_entropy else np.zeros_like(y)
    lc.fit(model, loss, [(x, targets)], optimizer(), epochs=1, clip=1.0, progress=False)


if __name__ == "__main__":
    fill(Path(sys.argv[1]))
