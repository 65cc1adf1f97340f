"""The commands as a shell meets them: a race over two shapes, the tutorial and the memory of a process."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks import memory, problem, rows, shapes, tutorial
from benchmarks import race as run
from benchmarks.measure import ROOT, start
from benchmarks.truth import truth


def shell(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)


def test_a_race(tmp_path):
    """Two shapes, two modes, three contestants: twelve rows, each with a time or with the reason why there is none."""
    out = tmp_path / "rows.csv"
    done = shell(
        "benchmarks", "--shapes", "count8,B1", "--modes", "forward,full", "--engines", "reference", "--threads", 1,
        "--peers", "torch,jax", "--python", "jax=no/such/python", "--rounds", 2, "--seconds", 0, "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = rows.read(out)
    assert [(r.shape, r.mode) for r in written[::3]] == [
        (shape, mode) for shape in ("count8", "B1") for mode in ("forward", "full")
    ]
    for own, torch, jax in zip(written[::3], written[1::3], written[2::3]):
        assert (own.contestant, torch.contestant, jax.contestant) == ("lstmcore reference", "torch", "jax")
        assert own.ratio == 1
        assert own.calls == 6
        assert own.q20_ms <= own.median_ms <= own.q80_ms
        assert own.gflops > 0
        assert own.product_gflops > own.gflops
        if torch.note:  # it need not be installed
            assert torch.note == "absent: No module named 'torch'"
            assert torch.median_ms is torch.ratio is None
        else:
            assert torch.ratio > 0
            assert torch.base == "lstmcore reference"
        assert jax.note == "absent: no/such/python: No such file or directory"
        assert f"{own.shape:<14}{own.mode}" in done.stderr
    assert "jax is absent: no/such/python: No such file or directory" in done.stderr
    assert "**full, float32**" in done.stdout


def test_a_race_with_less(tmp_path):
    """Two numbers of threads, a frozen model, and no instructions beyond AVX2."""
    out = tmp_path / "rows.csv"
    done = shell(
        "benchmarks", "--shapes", "served-1-1-64", "--modes", "forward", "--engines", "reference,reference-frozen",
        "--threads", "1,2", "--peers", "onnxruntime", "--isa", "avx2", "--rounds", 1, "--seconds", 0, "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = rows.read(out)
    assert [(r.threads, r.contestant) for r in written] == [
        (threads, f"lstmcore {engine}") for threads in (1, 2) for engine in ("reference", "reference-frozen")
    ]  # onnxruntime cannot be told
    for row in written:
        assert row.machine.endswith(", as avx2")
        assert row.ratio > 0
        assert (row.T, row.B, row.I, row.H) == (1, 1, 32, 64)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--shapes", "count9"), "got 'count9'"),
        (("--modes", "sideways"), "`modes` should be some of forward, full, train"),
        (
            ("--peers", "theano"),
            "a peer should be one of torch, jax, tensorflow, tensorflow-xla, onnxruntime, torch-bf16; got 'theano'",
        ),
        (("--isa", "sse9"), "`isa` should be one of avx2; got 'sse9'"),
        (("--threads", "2,0"), "`threads` should be 1 or more; got 2,0"),
        (("--python", "torch"), "`python` should be LIBRARY=PATH"),
    ],
)
def test_options_that_do_not_fit(options, complaint, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *options])
    with pytest.raises(SystemExit) as end:
        run.main()
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err


def test_the_fastest_engine_is_the_default():
    from lstmcore.ops.recurrence import ENGINES

    assert run.fastest_engine() in ENGINES


SLOPPY = """
class Peer(Base):
    def trainer(self, problem, recipe):
        return super().trainer(problem, recipe._replace(lr=1.01 * recipe.lr))
"""


def test_the_tutorial(contestant, monkeypatch):
    """Two turns of one epoch; who learns a hundredth faster is found out in the first ten updates, and not timed."""
    monkeypatch.setattr(tutorial, "BATCH", 100)  # a tenth of the work
    monkeypatch.setattr(tutorial, "EXAMPLES", 1000)
    entrants = [*run.contestants(["reference"], []), contestant("sloppy", SLOPPY)]
    processes, _ = start(entrants, threads=1)
    results = tutorial.race(processes, "float32", epochs=2, chunk=1, first=1)
    for process in processes:
        process.close()
    assert [len(turn) for turn in results["lstmcore reference"].turns] == [1, 1]
    assert results["lstmcore reference"].note.startswith("2 epochs took ")
    assert results["sloppy"].turns == []
    assert results["sloppy"].note.startswith("wrong: losses is off by")


def test_the_tutorials_network_learns():
    """From ln 21 = 3.04, which is what guessing costs."""
    losses = tutorial.losses(*tutorial.job("float32"), epochs=2)
    assert losses.shape == (20,)
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05


GREEDY = """
import numpy as np
class Peer(Base):
    def full(self, problem):
        job = super().full(problem)
        if problem.batch.x.shape[0] > 2:
            def call(inner=job.call):
                np.ones(64 * 2**20, np.uint8)
                return inner()
            job = job._replace(call=call)
        return job
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc, which only Linux has")
def test_memory(contestant):
    """A peer that holds 64 MiB for a moment is seen to; the problem itself has a hundredth of that."""
    shape = shapes.Shape(5, 4, 3, 6)
    entrants = [*run.contestants(["reference"], []), contestant("greedy", GREEDY)]
    own, greedy = memory.measured(entrants, "small", shape, "float32", threads=1)
    assert own.added_mib < 8
    assert 63 < greedy.added_mib < 64 + 8  # a little may go where memory is held already
    assert greedy.peak_mib > greedy.added_mib
    assert "| small | greedy" in memory.table([own, greedy])
    right = truth(problem.make(shape), "full", 1)
    version, peak, added = memory.measure(entrants[1], shape, "float32", 1, right)
    assert version == own.version
    assert peak > added > 63 * memory.MIB  # memory held before is used first
