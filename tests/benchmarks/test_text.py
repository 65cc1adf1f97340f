"""The character model raced: who trains it in another way is found out in the first updates, and not timed."""

import random

import numpy as np
import pytest

from benchmarks import race as run
from benchmarks import rows, text
from benchmarks.peers.lstmcore import Peer
from benchmarks.worker import Worker
from lstmcore.recipes import text as writing

SLOPPY = """
class Peer(Base):
    def writer(self, text):
        return super().writer(text._replace(rates=0.99 * text.rates))
"""
SMALL = writing.Options(hidden=8, embedding=4, batch=4, steps=10, epochs=2, lr=0.02)


class Other(Peer):
    """The reference, but for what is changed of the job."""

    def __init__(self, **changes):
        super().__init__(1, "reference")
        self.changes = changes

    def writer(self, text):
        return super().writer(text._replace(**self.changes))


class Forgetful(Peer):
    """The reference, but that each piece starts from zeros."""

    def writer(self, text):
        writer = super().writer(text)
        update = writer.update
        writer.update = lambda piece: update(piece._replace(first=True))
        return writer


class Here(Worker):
    """A contestant's worker without a process of its own."""

    def __init__(self, name, peer):
        self.name, self.peer = name, peer

    def ask(self, command, *arguments):
        return getattr(self, command)(*arguments)


@pytest.fixture
def book(tmp_path):
    """2,400 letters of a nonsense that has a rule: after each vowel comes a consonant, and the other way round."""
    draw = random.Random(0)
    letters = [draw.choice("aeiou") if k % 2 else draw.choice("bcdfg") for k in range(2400)]
    (tmp_path / "book.txt").write_text("".join(letters))
    return tmp_path / "book.txt"


def test_a_race_of_two_seeds(book, contestant, tmp_path):
    """Rows as in the file; who learns a hundredth slower has no turn."""
    sloppy = contestant("sloppy", SLOPPY)
    entrants = [*run.contestants(["reference"], []), sloppy]
    written = text.measured(entrants, book, SMALL, seeds=2, threads=1, out=tmp_path / "rows.csv")
    assert len(rows.read(tmp_path / "rows.csv", rows.Written)) == len(written) == 4
    for own, sloppy in zip(written[::2], written[1::2]):
        assert (own.T, own.B, own.E, own.H, own.characters, own.updates) == (10, 4, 4, 8, 2400, 2 * 54)
        assert 0 <= own.error <= 1
        assert (own.note, own.ratio) == ("", 1)
        assert own.seconds > 0
        assert own.nats < np.log(10)  # that is ten letters, all as likely
        assert sloppy.note.startswith("wrong: losses is off by")
        assert sloppy.nats is sloppy.seconds is sloppy.ratio is None
    first, second = (row.nats for row in written[::2])
    assert first != second
    lines = text.table(written).splitlines()
    mean, spread = (first + second) / 2, abs(first - second) / 2**0.5
    assert f"| lstmcore reference {written[0].version} | 2 | 108 | {mean:.4f} +- {spread:.4f} |" in lines[2]
    assert lines[3].startswith("| sloppy | wrong: losses is off by")


def test_who_trains_in_another_way_is_found_out(book):
    """In the first updates, on the job with one thing changed; a twin of the reference passes."""
    symbols, learnt, _ = writing.split(writing.read(book), SMALL)
    job, pieces = text.job(symbols, learnt, SMALL)
    others = {
        "twin": Other(),
        "faster": Other(rates=1.01 * job.rates),
        "unclipped": Other(clip=1e9),
        "undecayed": Other(weight_decay=0.0),
        "of a longer memory": Other(beta2=0.999),
        "forgetful": Forgetful(1, "reference"),
    }
    found = text.check([Here(name, peer) for name, peer in others.items()], job, pieces)
    assert 0 <= found.pop("twin") <= 1
    assert {name for name, reason in found.items() if str(reason).startswith("wrong: losses is off by")} == found.keys()
    assert len(found) == 5


def test_torch_trains_the_same_model(torch, book):
    """The first losses within what rounding explains, and the weights come back to where they were."""
    from benchmarks.peers.torch import Peer as TorchPeer

    symbols, learnt, _ = writing.split(writing.read(book), SMALL)
    job, pieces = text.job(symbols, learnt, SMALL)
    job = job._replace(dropout=0.0)
    writer = TorchPeer(1, "").writer(job)
    assert {name: w.tolist() for name, w in writer.weights().items()} == {k: w.tolist() for k, w in job.params.items()}
    first = pieces[: text.FIRST]
    losses = np.array([writer.update(writer.place(piece)) for piece in first])
    assert 0 < text.truth(job, first).check({"losses": losses}) <= 1


def test_the_job_is_the_recipes(book):
    """Batches, rates, optimizer and dropout: the losses of an epoch are those that `lstmcore train text` reports."""
    options = writing.Options(**{**vars(SMALL), "engine": "reference"})
    symbols, learnt, held_back = writing.split(writing.read(book), SMALL)
    job, pieces = text.job(symbols, learnt, options)
    writer = Peer(1, "reference").writer(job._replace(dropout=0.0))
    losses = [writer.update(piece) for _ in range(options.epochs) for piece in pieces]
    result = writing.run(writing.read(book), writing.Options(**{**vars(options), "dropout": 0.0}), progress=False)
    sizes = [piece.x.size for piece in pieces]  # the last piece of an epoch is shorter
    own = np.average(np.reshape(losses, (2, -1)), axis=1, weights=sizes)
    assert own.tolist() == pytest.approx([row["loss"] for row in result.history["epochs"]], rel=1e-12)
    assert text.nats(writer.weights(), held_back) == pytest.approx(result.nats, rel=1e-6)  # another engine judges
