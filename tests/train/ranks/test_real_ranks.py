"""Ranks of mpiexec: killed, stopped, on the command line."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
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


def complaints(said):
    """Its lines that are the program's own, but for the one of a machine that has no kernels yet."""
    return [line for line in said.splitlines() if line.startswith("lstmcore:") and "compiling kernels" not in line]


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


ALPHABET = ["train", "alphabet", "--cure", "--epochs=1", "--hidden=2", "--out=run"]
SECOND_TEST = """
import os, signal
from lstmcore.__main__ import main
from lstmcore.cli.ranks import started
from lstmcore.recipes import alphabet
ranks, tests = started(), []
ranks.pulse.patience = 2.0
def fail():
    raise OSError("no such disk")
def tested(*given, before=alphabet._test):
    tests.append(given)
    if len(tests) == 2 and ranks.rank == 1:
        open("trouble", "w").close()
        {trouble}
    return before(*given)
alphabet._test = tested
main()
"""
FULL_DISK = """
import resource
from mpi4py import MPI  # which writes when it begins
from lstmcore.__main__ import main
from lstmcore.train import Checkpoints
def full():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
def begun(self, run, before=Checkpoints.on_start):
    before(self, run)
    full()
{begin}
main()
"""
BAD_NUMBERS = """
import hashlib, sys
import numpy as np
from mpi4py import MPI
import lstmcore as lc
from thread_ranks import data, model_of

ranks, done = lc.Ranks(MPI.COMM_WORLD), []

def loss(y, targets, mask):
    value, dy = lc.softmax_cross_entropy(y, targets, mask)
    bad = np.float32(np.nan if len(done) == 2 and ranks.rank == ranks.size - 1 else 1)
    return (value * bad, dy) if sys.argv[2] == "loss" else (value, dy * bad)

class Count(lc.Callback):
    def on_batch(self, run):
        done.append(run.step)

model = model_of(True)
history = lc.fit(model, loss, data(True), lc.SGD(0.1), epochs=2, clip=0.5, rng=3, ranks=ranks, progress=False,
                 callbacks=[Count(), lc.Checkpoints(sys.argv[1], every_steps=1)])
weights = hashlib.sha256(b"".join(w.tobytes() for w in model.params.values())).hexdigest()
said = ranks.comm.gather((history["ended"], weights))
if ranks.first:
    print(len(said), len(set(said)), said[0][0])
"""
BETWEEN = """
from mpi4py import MPI
import lstmcore as lc
from thread_ranks import data, model_of

ranks = lc.Ranks(MPI.COMM_WORLD)
for turn in range(2):
    lc.fit(model_of(True), lc.softmax_cross_entropy, data(True), lc.SGD(0.1), epochs=1, ranks=ranks, progress=False)
    if ranks.rank == 1:
        raise OSError("no such disk")
"""


def test_a_rank_that_fails_between_two_trainings(mpi4py, tmp_path):
    """Of one command: after the second of its trainings. Of a program: where mpi4py runs it."""
    for trouble, words in (
        ("fail()", "rank 1 of 2 could not go on: no such disk"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "rank 1 of 2 has given no sign of life for 2 s (stopped, or cut off?),"
            " so all end; what was saved last stands."),
    ):  # fmt: skip
        code, said, errors = mpiexec(2, "-c", SECOND_TEST.format(trouble=trouble), *ALPHABET, "--overwrite",
                                     folder=tmp_path, limit=120)  # fmt: skip
        assert code not in (0, 9), errors
        assert time.time() - (tmp_path / "trouble").stat().st_mtime < 30
        assert complaints(said + errors) == [f"lstmcore: {words}"]
        assert len(list(tmp_path.glob("run/trials/*/checkpoints/step-*"))) >= 2
    (tmp_path / "program.py").write_text(BETWEEN)
    code, said, errors = mpiexec(2, "-m", "mpi4py", "program.py", folder=tmp_path, limit=120)
    assert code not in (0, 9)
    assert errors.count("OSError: no such disk") == 1


@pytest.mark.parametrize("when", ["from the start", "later"])
def test_a_full_disk_of_the_first_rank(mpi4py, tmp_path, when):
    """From the start: nobody begins. Later the training goes on, as without ranks, for its weights would be lost; all
    end in one line, and from what was saved before a run on another number of ranks goes on."""
    words = ["train", "count", "--hidden=8", "--epochs=2", "--batch=500", "--examples=2000", "--out=run"]
    program = FULL_DISK.format(begin="full()" if when == "from the start" else "Checkpoints.on_start = begun")
    code, said, errors = mpiexec(
        1, "-c", program, *words, ":", "-n", 1, sys.executable, "-m", "lstmcore", *words, folder=tmp_path, limit=120
    )
    assert code == 2, errors
    file = "checkpoints/step-0000000000" if when == "from the start" else "model"
    assert complaints(said + errors) == [
        f"lstmcore: run/{file}.safetensors: could not be saved (File too large); what was there before is untouched"
    ]
    assert not list(tmp_path.glob("run/model*"))
    checkpoints = [path.name for path in tmp_path.glob("run/checkpoints/*")]
    assert checkpoints == ([] if when == "from the start" else ["step-0000000000.safetensors"])
    if when == "later":
        code, said, errors = mpiexec(3, "-m", "lstmcore", *words, "--resume", folder=tmp_path, limit=120)
        assert code == 0, errors
        assert (tmp_path / "run" / "checkpoints" / "step-0000000008.safetensors").exists()


@pytest.mark.parametrize(
    ("size", "what", "words"),
    [
        (3, "loss", "the loss is nan in step 3, epoch 1: no update was made"),
        (2, "norm", "the gradient's norm is nan in step 3, epoch 1: no update"),
    ],
)
def test_bad_numbers_on_one_rank_end_all_alike(mpi4py, tmp_path, size, what, words):
    code, said, errors = mpiexec(size, "-c", BAD_NUMBERS, tmp_path, what, limit=120)
    assert code == 0, errors
    assert said.strip() == f"{size} 1 {words}"  # one end, and the same weights
    assert lc.Checkpoints(tmp_path).last()["counts"]["step"] == 2


def test_the_validation_of_real_ranks_is_that_of_one(mpi4py, tmp_path):
    """Losses and metrics of every epoch, of a text whose state is carried on: to the same bits."""
    (tmp_path / "a.txt").write_text("to be or not to be, that is the question. " * 60)
    words = ["-m", "lstmcore", "train", "--exact", "text", "a.txt", "--hidden=4", "--epochs=3", "--batch=9"]
    found = []
    for size in (1, 2, 4):
        code, _, errors = mpiexec(size, *words, f"--out=run{size}", folder=tmp_path, limit=120)
        assert code == 0, errors
        rows = [json.loads(line) for line in (tmp_path / f"run{size}" / "epochs.jsonl").read_text().splitlines()]
        found.append([(row["loss"], row["validation"], row["perplexity"]) for row in rows])
    assert len(found[0]) == 3
    assert found == [found[0]] * 3
