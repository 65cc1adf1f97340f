"""What compilers made is made once, by whoever asks first; and what failed is not kept."""

import os
import threading
import time

import pytest
from children import in_threads
from gpu import kept


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A function that asks for an answer, and the list of those that were made."""
    monkeypatch.setattr(kept, "_folder", tmp_path)
    calls = []

    def ask(*origin, text="answer"):
        def make(path):
            calls.append(origin)
            path.write_text(text)

        return kept.kept(make, *origin).read_text()

    return ask, calls


def test_the_same_origin_is_made_once(made):
    ask, calls = made
    assert [ask("text", "-O1"), ask("text", "-O1", text="another")] == ["answer", "answer"]
    assert ask("text", "-O2", text="another") == "another"
    assert ask("text-O", "1", text="a third") == "a third"  # words do not run into each other
    assert calls == [("text", "-O1"), ("text", "-O2"), ("text-O", "1")]


def test_what_fails_is_not_kept(made, tmp_path):
    ask, _ = made

    def fail(path):
        path.write_text("half")
        raise ValueError("no such word")

    with pytest.raises(ValueError, match="no such word"):
        kept.kept(fail, "text")
    assert ask("text") == "answer"
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", ".lock"]


def test_one_waits_for_the_other(tmp_path, monkeypatch):
    """Both ask at once: the second begins when the first is done, and finds its answer."""
    pytest.importorskip("fcntl", reason="files cannot be locked here")
    monkeypatch.setattr(kept, "_folder", tmp_path)
    within, calls, told = threading.Event(), [], []

    def make(path):
        calls.append(path)
        within.wait(10)
        path.write_text("answer")

    def ask(delay):
        if delay:
            while not calls:
                time.sleep(0.001)
            within.set()
        told.append(kept.kept(make, "text").read_text())

    in_threads(ask, [(False,), (True,)])
    assert (told, len(calls)) == (["answer"] * 2, 1)


def test_old_answers_go(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "_folder", None)
    for name, age in (("old", kept.MONTH + 60), ("young", 60)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    kept.keep_in(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["young"]
