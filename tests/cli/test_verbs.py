"""Every verb in a fresh folder, as somebody meets it: what is right goes through, and what is wrong is one line that
names its cause, with exit code 2, and changes nothing that is there."""

import json
import os

import numpy as np
import pytest
from command import called, lstmcore

REFERENCE = ("--engine", "reference")
TEXT = ("--hidden", 4, "--embedding", 3, "--steps", 40, "--batch", 8, "--epochs", 1, *REFERENCE)
SERIES = ("--column", "MW", "--hidden", 4, "--window", 30, "--horizon", 4, "--epochs", 1, *REFERENCE)
ALPHABET = ("train", "alphabet", "--epochs", 1, *REFERENCE)
LOOPS = ("--epochs", 1, "--widths", "4", *REFERENCE)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Files to learn from, and a run of each recipe."""
    folder = tmp_path_factory.mktemp("fresh")
    (folder / "book.txt").write_text("the quick brown fox jumps over the lazy dog. " * 120)
    rows = [f"{k},{5 + 2 * np.sin(k / 3):.4f},{np.cos(k / 3):.4f}" for k in range(300)]
    (folder / "load.csv").write_text("\n".join(["t,MW,wind", *rows]))
    (folder / "empty").write_text("")
    (folder / "bytes").write_bytes(bytes(range(256)) * 10)
    (folder / "folder.pt").mkdir()
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "zero").symlink_to("/dev/zero")
    for words in (
        ("text", "book.txt", *TEXT, "--out", "text"),
        ("text", "book.txt", *TEXT, "--level", "word", "--out", "words"),
        ("series", "load.csv", *SERIES, "--with", "wind", "--out", "series"),
        ("loops", *LOOPS, "--out", "loops"),
    ):
        assert called("train", *words, cwd=folder).returncode == 0
    return folder


def test_the_way_through_in_processes_of_their_own(shelf, tmp_path, request):
    """Train, refuse to lose it, use it, go on from it, hand it to torch and back: the same answers."""
    (tmp_path / "book.txt").write_text((shelf / "book.txt").read_text())
    train = ("train", "text", "book.txt", *TEXT, "--out", "run")
    assert lstmcore(*train, cwd=tmp_path).returncode == 0
    again = lstmcore(*train, cwd=tmp_path)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "run holds a run; go on with it: lstmcore train text" in again.stderr
    more = lstmcore("train", "text", "book.txt", "--from", "run", "--lr", "0.001", "--out", "more", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    options = json.loads((tmp_path / "more" / "metrics.json").read_text())["options"]
    assert (options["hidden"], options["lr"]) == (4, 0.001)
    answers = []
    for name in ("more", "back"):
        told = lstmcore("predict", "text", name, "--length", 20, "--seed", 1, cwd=tmp_path)
        assert told.returncode == 0, told.stderr
        answers.append(told.stdout)
        if name == "more":
            request.getfixturevalue("torch")
            theirs = called("convert", "more/model.safetensors", "torch.safetensors", cwd=tmp_path)
            assert theirs.returncode == 0, theirs.stderr
            (tmp_path / "back").mkdir()
            (tmp_path / "back" / "metrics.json").write_bytes((tmp_path / "more" / "metrics.json").read_bytes())
            back = called("convert", "torch.safetensors", "back/model.safetensors", cwd=tmp_path)
            assert back.returncode == 0, back.stderr
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "text", "text", "--length", 3, "--seed", 1, "--top-k", 3),
        ("predict", "text", "words", "--length", 3, "--start", "the quick"),
        ("predict", "series", "series", "load.csv", "--column", "MW", "--steps", 3),
        ("predict", "loops", "loops", "GYTL"),
        ("train", "text", "book.txt", *TEXT, "--out", "text", "--resume"),
        ("train", "series", "load.csv", *SERIES, "--with", "wind", "--out", "series", "--resume"),
        ("train", "series", "load.csv", "--column", "MW", "--from", "series", "--out", "more-series"),
    ],
)
def test_what_is_right(shelf, words):
    answer = called(*words, cwd=shelf)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip()


WRONG = {
    # predict
    "`start` should hold at least one symbol": ("predict", "text", "text", "--start", ""),
    "the text learnt from has no 'Z'": ("predict", "text", "text", "--start", "Z"),
    "the text learnt from has no 'xyzzy'": ("predict", "text", "words", "--start", "xyzzy"),
    "does not hold the symbols of the model": ("predict", "text", "series"),
    "nowhere/model.safetensors: there is no such file": ("predict", "text", "nowhere"),
    "does not hold what `train series` leaves": ("predict", "series", "text", "load.csv"),
    "columns t, MW, wind; say which one with --column": ("predict", "series", "series", "load.csv"),
    "the columns beside 'wind' (--with) should be others": (
        *("predict", "series", "series", "load.csv"), "--column", "wind",
    ),
    "empty holds no rows": ("predict", "series", "series", "empty"),
    "bytes should be text in UTF-8": ("predict", "series", "series", "bytes"),
    "`steps` should be 1 to 100,000": (
        *("predict", "series", "series", "load.csv"), "--column", "MW", "--steps", 10**6,
    ),
    "--time should name another column than those that are read; got 'MW'": (
        *("predict", "series", "series", "load.csv"), "--column", "MW", "--time", "MW",
    ),
    "text holds a run of `train text`": ("predict", "count", "text", "10" * 10),
    "should hold letters of": ("predict", "loops", "loops", "G1"),
    "does not hold the alphabet": ("predict", "loops", "text", "GY"),
    # resume
    "options.hidden was 4, and is 5 now": (
        *("train", "text", "book.txt", *TEXT), "--hidden", 5, "--out", "text", "--resume",
    ),
    "is of another training: data was": ("train", "text", "load.csv", *TEXT, "--out", "text", "--resume"),
    "--resume needs the folder of the run": ("train", "text", "book.txt", *TEXT, "--resume"),
    "one of the two": ("train", "text", "book.txt", *TEXT, "--out", "text", "--resume", "--overwrite"),
    "options.beside was ['wind'], and is [] now": (
        *("train", "series", "load.csv", *SERIES), "--out", "series", "--resume",
    ),
    "recipe was 'text', and is 'series' now": ("train", "series", "load.csv", *SERIES, "--out", "text", "--resume"),
    # from
    "the text learnt from has no '\\n', ','": ("train", "text", "load.csv", "--from", "text", "--out", "new"),
    "leave out the options that differ": ("train", "text", "book.txt", "--from", "text", "--hidden", 9, "--out", "new"),
    "--from needs a folder": ("train", "text", "book.txt", "--from", "text"),
    "--from RUN and --out FOLDER should differ": ("train", "text", "book.txt", "--from", "text", "--out", "text"),
    "series holds a run of `train series`": ("train", "text", "book.txt", "--from", "series", "--out", "new"),
    "nowhere/metrics.json: No such file": ("train", "text", "book.txt", "--from", "nowhere", "--out", "new"),
    # convert
    "text is a folder; the model of a run is the file text/model.safetensors": ("convert", "text", "new.onnx"),
    "is what is read, and would be lost: give OUT another name": (
        "convert", "text/model.safetensors", "text/model.safetensors",
    ),
    "new.xyz should end in": ("convert", "text/model.safetensors", "new.xyz"),
    "nowhere.safetensors: there is no such file": ("convert", "nowhere.safetensors", "new.onnx"),
    "book.txt should end in": ("convert", "book.txt", "new.onnx"),
    "folder.pt is a folder without one *.index.json": ("convert", "folder.pt", "new.onnx"),
    "pipe.safetensors: it is no file": ("convert", "pipe.safetensors", "new.onnx"),
    # pages and exercises
    "book.txt: it cannot be run (SyntaxError: invalid syntax (book.txt, line 1))": ("exercise", "book.txt"),
    "zero should be a file; it is a device, which may have no end": ("exercise", "zero"),
    "an exercise should be one of": ("exercise", "new.py", "--which", ""),
    "`cell` should be one of lstm": ("explain", "--cell", "", "--out", "new.html"),
    "nowhere/lstm.html: could not be saved (there is no such folder)": ("explain", "--out", "nowhere/lstm.html"),
    "an option should be NAME=VALUE; got 'cell'": ("convert", "text/model.safetensors", "new.onnx", "--option", "cell"),
    # train
    "nowhere: No such file": ("train", "text", "nowhere"),
    "should have at least 1,000 characters": ("train", "text", "empty"),
    "say which one with --column": ("train", "series", "load.csv"),
    "zero should be a file; it is a device": ("train", "text", "zero"),
    "`hidden_size` should be a positive int below 2^63; got 99999999999": (*ALPHABET, "--hidden", "9" * 20),
    "the series is too short": ("train", "series", "load.csv", "--column", "MW", "--window", 1000),
    "got 'turbo'": ("train", "series", "load.csv", "--column", "MW", "--engine", "turbo"),
}  # fmt: skip


def held(folder):
    """All that lies there, but the locks of folders in which a training was about to begin."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


@pytest.mark.parametrize(
    "words",
    [
        ("convert", "", "new.onnx"), ("predict", "count", "", "10" * 10), ("predict", "text", ""),
        ("predict", "loops", "", "GY"), ("predict", "series", "", "load.csv"),
        ("train", "count", "--from", "", "--epochs", 1),
    ],
)  # fmt: skip
def test_an_empty_name_is_not_this_folder(shelf, words):
    answer = called(*words, cwd=shelf)
    assert answer.returncode == 2
    assert "it should have a name; got an empty one" in " ".join(answer.stderr.replace("│", "").split())


@pytest.mark.parametrize(("message", "words"), WRONG.items())
def test_what_is_wrong(shelf, message, words):
    before = held(shelf)
    answer = called(*words, cwd=shelf)
    assert answer.returncode == 2
    said = answer.stderr.strip().splitlines()
    assert message in said[-1]
    assert len(said) <= 2  # what was understood of a table comes before
    assert "Traceback" not in answer.stderr
    assert held(shelf) == before
