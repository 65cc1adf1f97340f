"""Contestants in processes of their own: who is timed, who is not, and in which order."""

import numpy as np
import pytest

from benchmarks.measure import Absent, Contestant, Failed, Process, Result, race, ratios, start
from benchmarks.problem import make
from benchmarks.shapes import Shape
from benchmarks.truth import truth

SHAPE = Shape(4, 3, 2, 5)
FLOOR = Contestant("product", "benchmarks.peers.product")

HONEST = """
class Peer(Base):
    def full(self, problem):
        job = super().full(problem)
        def call():
            with open(FOLDER / "calls", "a") as calls:
                calls.write(__name__ + "\\n")
            return job.call()
        return Job(call, job.results)
"""
WRONG = """
class Peer(Base):
    def full(self, problem):
        job, count = super().full(problem), 0
        def call():
            nonlocal count
            count += 1
            if count > 2:
                (FOLDER / "timed").touch()
            return job.call()
        def results(outcome):
            values = job.results(outcome)
            values["dW_hh"][0, 0] *= 1.001
            return values
        return Job(call, results)
"""
BROKEN = """
class Peer(Base):
    def full(self, problem):
        raise RuntimeError("no such luck")
"""
DYING = """
import os
class Peer(Base):
    def full(self, problem):
        os._exit(3)
"""
FORWARD_ONLY = """
class Peer(Base):
    modes = ("forward",)
"""


def test_who_is_timed(contestant, tmp_path):
    sources = {"one": HONEST, "wrong": WRONG, "broken": BROKEN, "dying": DYING, "partial": FORWARD_ONLY, "two": HONEST}
    entrants = [contestant(name, source) for name, source in sources.items()]
    processes, absent = start([FLOOR, *entrants], threads=1)
    assert absent == {}
    floor, *processes = processes
    problem = make(SHAPE)
    floor.ask("prepare", problem, "forward")
    results, product = race(processes, floor, problem, "full", truth(problem, "full", 1), rounds=3, seconds=0)
    for process in [floor, *processes]:
        process.close()

    # A wrong gradient, by a thousandth in one entry, is told and never timed; the others are.
    assert results["wrong"].note.startswith("wrong: dW_hh is off by")
    assert not (tmp_path / "timed").exists()
    assert results["broken"].note == "failed: RuntimeError: no such luck"
    assert results["dying"].note == "failed: the process ended with code 3"
    assert results["partial"].note == "cannot: no full in partial"
    assert all(results[name].turns == [] for name in ("wrong", "broken", "dying", "partial"))
    for name in ("one", "two"):
        assert [len(turn) for turn in results[name].turns] == [3, 3, 3]
        assert np.all(np.concatenate(results[name].turns) > 0)
        assert 0 < results[name].error <= 0.25  # the reference itself
    assert len(product.turns) == 3

    # Two calls to be checked; then turns of one call that warms up and three that count, first one first, then two.
    calls = (tmp_path / "calls").read_text().split()
    turns = ["one", "two", "two", "one", "one", "two"]
    assert calls == ["one"] * 2 + ["two"] * 2 + [name for name in turns for _ in range(4)]


def test_who_is_absent(contestant):
    here = contestant("here", HONEST)
    missing = contestant("missing", "import a_library_that_nobody_has")
    nowhere = here._replace(name="nowhere", python="no/such/python")
    processes, absent = start([missing, here, nowhere], threads=1)
    assert [process.name for process in processes] == ["here"]
    processes[0].close()
    assert absent == {
        "missing": "No module named 'a_library_that_nobody_has'",
        "nowhere": "no/such/python: No such file or directory",
    }


def test_an_engine_that_is_not_there_is_absent():
    with pytest.raises(Absent, match=r"`engine` should be one of 'reference'.*got 'steam'"):
        Process(Contestant("lstmcore steam", "benchmarks.peers.lstmcore", "steam"), 1)


def test_what_a_contestant_prints_is_in_nobodys_way(contestant):
    noisy = contestant("noisy", "import os\nprint('hello')\nos.system('echo hello')\n" + HONEST)
    with Process(noisy, 1) as process:
        assert process.ask("prepare", make(SHAPE), "full").keys() == {"y", "dx", "dW_ih", "dW_hh", "db"}
        with pytest.raises(Failed, match="AttributeError"):
            process.ask("no_such_command")
        assert process.ask("turn", 0, 1)  # it goes on


def test_ratios():
    """Medians of each turn, divided round by round: a round twice as slow for both changes nothing."""
    base = Result([[1.0, 1.0, 9.0], [2.0, 2.0, 2.0], [1.0, 1.0, 1.0]])
    other = Result([[3.0, 3.0, 3.0], [6.0, 6.0, 0.1], [4.0, 4.0, 4.0]])
    assert ratios(other, base) == pytest.approx([3.0, 3.0, 3.6])
    assert ratios(base, base) == pytest.approx([1.0, 1.0, 1.0])
    assert other.quantiles()[1] == 4.0
