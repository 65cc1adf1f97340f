"""Ranks of mpiexec: killed, stopped, on the command line."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from children import started

import lstmcore as lc

TRAINING = """
import hashlib, os, signal, sys, time
import numpy as np
from mpi4py import MPI
import lstmcore as lc
from thread_ranks import data, model_of

folder, what, step = sys.argv[1], sys.argv[2], int(sys.argv[3])
ranks = lc.Ranks(MPI.COMM_WORLD, exact=True, patience=2.0)

class Trouble(lc.Callback):
    def on_gradients(self, run):
        if run.step == step and ranks.rank == ranks.size - 1:
            if what == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(4)  # a long update, as long as it lives
            if what == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)

keep = lc.Checkpoints(folder, every_steps=1, every_seconds=None)
model = model_of(True)
lc.fit(model, lc.softmax_cross_entropy, data(True), lc.Adam(), epochs=4, clip=0.5, rng=3, ranks=ranks, progress=False,
       callbacks=[Trouble(), keep], resume=keep.last())
all_of_them = ranks.comm.gather(hashlib.sha256(b"".join(w.tobytes() for w in model.params.values())).hexdigest())
if ranks.first:
    print(*all_of_them)
"""


def mpiexec(size, *words, folder=None, limit=240):
    """What the processes say, and how they end."""
    tests = Path(__file__).parents[2]
    paths = os.pathsep.join(map(str, (tests, tests.parent)))
    launcher = Path(sys.executable).with_name("mpiexec")  # beside this Python: the one that mpi4py belongs to
    with started(
        launcher, "-n", size, sys.executable, *words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=os.environ | {"PYTHONPATH": paths, "NUMBA_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        said, errors = process.communicate(timeout=limit)
    return process.returncode, said, errors


def test_real_ranks_are_killed_and_go_on(mpi4py, nightly, tmp_path):
    """The last one is killed, at some update of 16: all end, and what another number makes of it are the bits of one
    rank alone."""
    code, want, errors = mpiexec(1, "-c", TRAINING, tmp_path / "alone", "well", -1)
    assert code == 0, errors
    rng = random.Random(0)
    for k in range(20 if nightly else 2):
        step, first, then = rng.randrange(1, 16), *rng.sample([2, 4] if nightly else [1, 2], 2)
        folder, began = tmp_path / f"{k}", time.monotonic()
        code, said, _ = mpiexec(max(first, 2), "-c", TRAINING, folder, "killed", step)
        assert code == 9
        assert said.count("BAD TERMINATION") == 1  # the launcher's own words
        assert time.monotonic() - began < 30
        assert lc.Checkpoints(folder).last()["counts"]["step"] in (step, step + 1)  # the first may have gone on
        code, said, errors = mpiexec(then, "-c", TRAINING, folder, "well", -1)
        assert code == 0, errors
        assert said.split() == want.split() * then


def test_a_real_rank_that_stands_still(mpi4py, tmp_path):
    """A pause longer than the patience, of a rank that lives, is none; a stopped process ends all, in one line."""
    began = time.monotonic()
    code, said, errors = mpiexec(2, "-c", TRAINING, tmp_path, "stopped", 3, limit=60)
    assert code not in (0, 9)
    assert "lstmcore: rank 1 of 2 has given no sign of life for 2 s (stopped, or cut off?), so all end; what was " in (
        said + errors
    )
    assert 6 < time.monotonic() - began < 36
    assert lc.Checkpoints(tmp_path).last()["counts"]["step"] in (3, 4)


def test_the_command_line_on_ranks(mpi4py, tmp_path):
    """The first rank writes and speaks; a folder that holds a run ends all, in one line."""
    options = {"hidden": 2, "epochs": 1, "batch": 500, "examples": 500, "out": "run"}
    words = ["-m", "lstmcore", "train", "count", *(f"--{name}={value}" for name, value in options.items())]
    code, said, errors = mpiexec(2, *words, folder=tmp_path)
    assert code == 0, errors
    assert said.count("test error") == 1
    assert errors.count("2 ranks of MPI, every batch in shares: 4; the same bits on 1, 2, 4\n") == 1
    assert lc.load(tmp_path / "run" / "model.safetensors").params
    code, said, errors = mpiexec(2, *words, folder=tmp_path)
    assert code == 2
    assert (said + errors).count("holds a run") == 1


def test_a_command_that_fails_on_one_rank_fails_on_all(mpi4py, tmp_path):
    """Another machine, on which the text is missing; one where an option differs."""
    (tmp_path / "a.txt").write_text("to be or not to be, " * 100)
    train = ["-m", "lstmcore", "train"]
    options = ["--hidden=2", "--epochs=1", "--out=run"]
    for other, words in (
        (["text", "b.txt", *options], "b.txt: No such file or directory"),
        (["text", "a.txt", *options, "--lr=0.5"], "should be the same on all ranks; on rank 1 it differs from"),
    ):
        code, said, errors = mpiexec(
            1, *train, "text", "a.txt", *options, ":", "-n", 1, sys.executable, *train, *other,
            folder=tmp_path,
        )  # fmt: skip
        assert code == 2, errors
        assert words in said + errors
        assert not list(tmp_path.glob("run/model*"))
