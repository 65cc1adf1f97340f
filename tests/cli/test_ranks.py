"""What `lstmcore train` refuses on ranks of MPI, and without them: in one line, said once."""

import sys
from importlib import import_module
from types import SimpleNamespace

import pytest
from command import called

from lstmcore.cli import ranks, talk
from lstmcore.cli.train import common
from lstmcore.train import Ranks


class Alike:
    """A communicator whose ranks all say the same."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size

    def allgather(self, value):
        return [value] * self.size

    Sendrecv = Abort = None  # nothing is trained


@pytest.fixture
def on_rank(monkeypatch):
    """Makes this process one of so many."""

    def begin(rank, size):
        these = Ranks(Alike(rank, size))
        for module in (ranks, common, import_module("lstmcore.cli.train")):
            monkeypatch.setattr(module, "started", lambda: these)
        for stream in (talk.out, talk.err):
            monkeypatch.setattr(stream, "quiet", False)

    return begin


@pytest.mark.parametrize("option", ["--exact", "--no-exact"])
def test_ranks_that_are_not_there(option):
    answer = called("train", option, "count")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == f"lstmcore: {option} is for several ranks: mpiexec -n N lstmcore train {option} ...\n"


@pytest.mark.parametrize(
    ("words", "size", "complaint"),
    [
        (
            ("--exact", "count", "--out", "run"), 3,
            "on 3 ranks the sum cannot be exact in 8 shares: start 1, 2, 4, ... up to 8 ranks, or do without `exact`",
        ),
        (("count",), 2, "several ranks need a folder, where the first of them writes: --out FOLDER"),
    ],
)  # fmt: skip
def test_the_first_alone_complains(on_rank, tmp_path, words, size, complaint):
    for rank in range(size):
        on_rank(rank, size)
        answer = called("train", *words, cwd=tmp_path)
        assert (answer.returncode, answer.stdout) == (2, "")
        assert answer.stderr == ("" if rank else f"lstmcore: {complaint}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("mpi4py", "complaint"),
    [
        (None, "several ranks need mpi4py and its MPI: pip install 'lstmcore[mpi]' ("),
        (
            SimpleNamespace(MPI=SimpleNamespace(COMM_WORLD=SimpleNamespace(size=1))),
            "mpiexec has started 2 ranks and mpi4py sees 1: they belong to two MPIs (",
        ),
    ],
)
def test_an_mpi_that_is_not_there_or_another(monkeypatch, tmp_path, mpi4py, complaint):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", mpi4py)
    ranks.started.cache_clear()
    answer = called("train", "count", cwd=tmp_path)
    assert (answer.returncode, answer.stdout, answer.stderr.count("\n")) == (2, "", 1)
    assert answer.stderr.startswith(f"lstmcore: {complaint}")
