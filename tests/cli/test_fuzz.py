"""Every verb with options and files at random: an answer, or a word about what is wrong, and never a traceback.

The whole command line runs in this process, as `main` runs it. Trial k draws from the seed k: a red one can be repeated
by its number.
"""

import contextlib
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import typer
from command import here_and_now
from recipes.loops.backbone import chain, structure
from typer.models import OptionInfo

import lstmcore as lc
from lstmcore import cli
from lstmcore.ops.cpu import disk
from lstmcore.recipes import alphabet, kernels, sweep
from lstmcore.recipes.loops import generator, npz

TRIALS, NIGHTLY = 60, 2000

SMALL_TEXT = "--hidden 2 --layers 1 --embedding 2 --batch 2 --steps 9 --epochs 1"

# For each verb: the smallest job that it can be given, and the file, or the folder, that it reads.
TINY = {
    "train count": ("--engine reference --hidden 2 --epochs 1 --batch 500 --examples 500", ""),
    "train alphabet": ("--engine reference --hidden 2 --epochs 1", ""),
    "train text": (f"book.txt {SMALL_TEXT}", "book.txt"),
    "train text --resume": (f"book.txt {SMALL_TEXT} --out text", "text"),
    "train series": ("load.csv --column MW --hidden 2 --window 9 --horizon 3 --epochs 1", "load.csv"),
    "train loops": ("--data loops.npz --widths 2 --batch 8 --epochs 1", "loops.npz"),
    "train loops --pdb": ("pdb --cut chains --widths 2 --epochs 1", "pdb"),
    "predict count": ("count 01010101010101010101", "count"),
    "predict text": ("text --length 9", "text"),
    "predict loops": ("loops GYTLIEIS", "loops"),
    "predict series": ("series load.csv --column MW --steps 3", "series"),
    "convert": ("text/model.safetensors model.safetensors --to torch", "text"),
    "check": ("--input 2 --hidden 2 --steps 2 --batch 2", ""),
    "diagnose": ("case.npz", "case.npz"),
    "debug": ("case.npz", "case.npz"),
    "exercise": ("backward.py", ""),
    "explain": ("", ""),
    "info": ("", ""),
    "docs": ("index", ""),
    "sweep": ("series load.csv --param hidden=1,2 --out sweep", ""),
}
NOT_HERE = {"bench", "certify"}  # each hands its words on to a program of its own
ENDLESS = ("epochs", "layers", "length", "seeds", "jobs", "threads", "steps", "directions")  # run as long as told
INTEGERS = ["1", "2", "3", "-1", "0", "²", "x", "", "7", "1_0", "0x10", "1e3", "9" * 20]
FLOATS = ["-1", "0", "0.5", "1", "1e-30", "5e-324", "1e308", "-1e308", "1e999", "nan", "inf", "-inf", "1,5", "x", ""]
TEXTS = [
    *("", " ", "x", "1", "-", "--", "[plot]", "[/]", "{0}%s", "a=b", "nan", "none", ";", "tab", ",", "MW", "NA", "\n"),
    *("ä€😀", "\udcff", "~", "/", ".", "nowhere/file", "a" * 300, "01" * 10, "GPA", "2,2", "0", "page.html", "p.txt"),
    *("hidden=1,2", "hidden=", "lr=nan", "=", "[x]=1", "column=MW", "seed=3", "book.txt", "load.csv", "loops.npz"),
    *("pdb", "case.npz", "count", "text", "loops", "run", "series", "reference", "fused-cpu", "fused-gpu"),
]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Path:
    """What the verbs read, each of it right: data, a case, and the runs that `predict` goes on from."""
    shelf = tmp_path_factory.mktemp("shelf")
    rng = np.random.default_rng(0)
    (shelf / "book.txt").write_text("to be or not to be, that is the question. ist größer 🐈\n" * 20, encoding="utf-8")
    rows = [f"2026-01-{1 + t // 24:02} {t % 24:02}:00,{t},{100 + 9 * np.sin(t / 4):.3f}" for t in range(160)]
    (shelf / "load.csv").write_text("\n".join(["time,step,MW", *rows]) + "\n")
    npz.write(shelf / "loops.npz", generator.generate(40))
    (shelf / "pdb").mkdir()
    for k, name in enumerate(("a.pdb", "b.pdb", "c.cif", "d.cif")):
        angles = rng.uniform(-180, 180, (12, 2))
        built = structure(chain("A", "ACDEFGHIKLMN"[k:], angles[k:]))
        text = built.make_pdb_string() if name.endswith(".pdb") else built.make_mmcif_document().as_string()
        (shelf / "pdb" / name).write_text(text)
    lstm = lc.LSTM(2, 3, dtype="float64", seed=0, engine="reference")
    x, dy = rng.standard_normal((4, 2, 2)), rng.standard_normal((4, 2, 3))
    _, _, cache = lstm.forward(x)
    _, _, grads = lstm.backward(dy, cache)
    weights = {f"weights.{name}": w for name, w in lstm.params.items()}
    np.savez(shelf / "case.npz", x=x, dy=dy, **weights, **{f"grads.{name}": g for name, g in grads.items()})
    with contextlib.chdir(shelf):
        for verb in ("count", "text", "loops", "series"):
            answer = here_and_now(f"train {verb} {TINY[f'train {verb}'][0]} --out {verb}".split())
            assert answer == (0, ""), answer
    return shelf


@pytest.fixture
def small(monkeypatch):
    """The recipes' own sizes made small, and what would reach beyond the folder of a trial kept away."""
    monkeypatch.setattr(alphabet, "UPDATES", 3)
    monkeypatch.setattr(disk, "clear", disk.usage)  # the compiled kernels of whoever runs this
    monkeypatch.setattr(kernels, "build", _no_processes)
    monkeypatch.setattr(sweep, "run", _no_processes)
    monkeypatch.setenv("COLUMNS", "200")
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def _no_processes(*_: object) -> None:
    raise OSError("here the trials would begin, each in a process of its own")


class Option(NamedTuple):
    """One option of a verb."""

    name: str  # as it is typed
    kind: object


def options(verb: Callable[..., None]) -> list[Option]:
    """What the function behind a verb says of its options."""
    found = []
    for name, hint in get_type_hints(verb, include_extras=True).items():
        info = next((part for part in get_args(hint) if isinstance(part, OptionInfo)), None)
        if info is not None:
            kind = get_args(hint)[0]
            typed = next(
                (part for part in (info.default, *(info.param_decls or ())) if str(part).startswith("--")), None
            )
            kind = get_args(kind)[0] if get_origin(kind) in (UnionType, Union) else kind  # int | None is an int
            found.append(Option(typed or f"--{name.replace('_', '-')}", kind))
    return found


def verbs(app: typer.Typer, words: str = "") -> dict[str, list[Option]]:
    """All verbs of the command line, by their words, with their options."""
    found = {f"{words} {command.name}".strip(): options(command.callback) for command in app.registered_commands}
    for group in app.registered_groups:
        found |= verbs(group.typer_instance, f"{words} {group.name or ''}".strip())
    return found


VERBS = verbs(cli.app)


def value(option: Option, rng: random.Random) -> str:
    """A value of the option's type, more often wrong than right."""
    if get_origin(option.kind) is Literal:
        return rng.choice([*get_args(option.kind), "x", ""])
    if isinstance(option.kind, type) and issubclass(option.kind, StrEnum):
        return rng.choice([*(member.value for member in option.kind), "x", ""])
    if option.kind is int:
        return rng.choice(INTEGERS[:8] if option.name[2:] in ENDLESS else INTEGERS)
    return rng.choice(FLOATS if option.kind is float else TEXTS)


def drawn(verb: str, rng: random.Random) -> list[str]:
    """The tiny job of a verb, with up to three options more; sometimes another argument."""
    words = TINY[verb][0].split()
    if rng.random() < 0.15 and words:
        words[rng.randrange(min(2, len(words)))] = rng.choice(TEXTS)
    options = VERBS[verb.partition(" --")[0]]
    for option in rng.choices(options, k=rng.randrange(4)) if options else []:
        words += [option.name] + ([] if option.kind is bool else [value(option, rng)])
    if rng.random() < 0.1:
        words.insert(rng.randrange(len(words) + 1), rng.choice(TEXTS))
    return [*verb.split(), *words]


def damaged(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """The content of a file after a mishap."""
    at, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    mishap = rng.randrange(10)
    if mishap == 0:
        return content[:at]
    if mishap == 1:
        return content[:at] + content[end:]
    if mishap == 2:
        return content[:end] + content[at:end] + content[end:]
    if mishap == 3:
        return content[:at] + rng.randbytes(rng.randrange(1, 20)) + content[at:]
    if mishap == 4:
        return content[:at] + bytes([rng.choice([0, 255])]) * (end - at) + content[end:]
    if mishap == 5:
        return rng.choice([b"", b"\0", b"\xef\xbb\xbf", *others])
    if mishap == 6:
        coding = rng.choice(["utf-16", "utf-16-le", "utf-8-sig", "utf-32", "cp500"])
        return content.decode("latin-1").encode(coding, errors="replace")
    if mishap == 7:
        lines = content.split(b"\n")
        rng.shuffle(lines)
        return b"\n".join(lines)
    if mishap == 8:
        old, new = (rng.choice([b"1", b"0", b",", b".", b"\n", b'"', b"A", b":", b"9" * 30, b"-", b"e"]) for _ in "on")
        return content.replace(old, new, rng.choice([1, 5, -1]))
    broken = bytearray(content)
    for _ in range(min(len(broken), rng.choice([1, 3, 30]))):
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
    return bytes(broken)


def test_every_verb_is_tried():
    assert {verb.partition(" --")[0] for verb in TINY} | NOT_HERE == set(VERBS)


def test_the_tiny_jobs_are_right(shelf, small, tmp_path):
    """What is then made wrong is right at first."""
    shutil.copytree(shelf, tmp_path / "here")
    with contextlib.chdir(tmp_path / "here"):
        for verb, (words, _) in TINY.items():
            code, told = here_and_now(f"{verb} {words}".split())
            assert (code == 0) == (verb != "sweep"), (verb, told)


def tried(trial: int, shelf: Path, here: Path, others: list[bytes]) -> tuple[list[str], int, str]:
    """One trial, in a folder of its own: what was typed, the exit code, and the words of a failure."""
    rng = random.Random(trial)
    verb = [*TINY][trial % len(TINY)]
    verb = "train series" if verb == "train count" and rng.random() < 0.7 else verb  # it is tested on a million strings
    words, reads = drawn(verb, rng), TINY[verb][1]
    shutil.copytree(shelf, here)
    if reads and rng.random() < 0.6:
        files = [path for path in sorted([here / reads, *(here / reads).rglob("*")]) if path.is_file()]
        broken = rng.choice(files)
        broken.write_bytes(damaged(broken.read_bytes(), rng, others))
    with contextlib.chdir(here):
        answer = here_and_now(words)
    shutil.rmtree(here)
    return words, *answer


def is_red(code: int, told: str) -> bool:
    """A traceback; an exit code that means nothing; or bad input without a word."""
    return code not in (0, 1, 2, 130) or "Traceback" in told or (code == 2 and not told.strip())


def test_no_traceback(shelf, small, tmp_path, nightly):
    others = [path.read_bytes() for path in sorted(shelf.rglob("*")) if path.is_file() and path.stat().st_size < 20_000]
    red, codes = [], Counter()
    for trial in range(NIGHTLY if nightly else TRIALS):
        words, code, told = tried(trial, shelf, tmp_path / str(trial), others)
        codes[code] += 1
        if is_red(code, told):
            red.append(f"trial {trial}: {words}\n{told}")
    assert not red, f"{len(red)} of {codes.total()}\n" + "\n".join(red)
    assert codes[2] > codes.total() / 4  # many were wrong
    assert codes[0] > codes.total() / 20  # and some were not
