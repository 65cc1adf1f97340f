"""A sweep on several machines: three processes that share a real PostgreSQL, or a journal, and one that is killed."""

import csv
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from children import started
from typer.testing import CliRunner

from lstmcore import recipes
from lstmcore.cli import app
from lstmcore.recipes import sweep
from lstmcore.recipes.sweep.memory import Memory

TINY = ("hidden=3", "epochs=2")  # of the alphabet: 200 updates
PATIENCE = 8  # seconds; a busy machine must not look dead


@pytest.fixture(scope="module")
def postgresql(request, tmp_path_factory):
    """The URL of an empty database on a server of its own."""
    found = shutil.which("initdb") or max(glob.glob("/usr/lib/postgresql/*/bin/initdb"), default=None)
    if found is None:
        complaint = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
        (pytest.fail if request.config.getoption("--require-peers") else pytest.skip)(complaint)
    programs = os.path.dirname(os.path.realpath(found))
    home = tmp_path_factory.mktemp("postgresql")
    user = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        shutil.chown(home, "postgres")
        for folder in list(home.parents)[:-2]:  # all below /tmp
            folder.chmod(folder.stat().st_mode | 0o011)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    make = [
        f"{programs}/initdb",
        "-D",
        home / "data",
        "-U",
        "ada",
        "-A",
        "trust",
        "--no-sync",
        "-E",
        "UTF8",
        "--locale=C",
    ]
    subprocess.run(make, check=True, capture_output=True, cwd=home, **user)
    server = [f"{programs}/postgres", "-D", home / "data", "-h", "127.0.0.1", "-p", port, "-k", home, "-F"]
    with started(*server, cwd=home, stderr=subprocess.DEVNULL, **user) as running:
        while subprocess.run([f"{programs}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode:
            assert running.poll() is None
            time.sleep(0.1)
        yield f"postgresql://ada:secret@127.0.0.1:{port}/postgres"
        running.send_signal(signal.SIGINT)  # "fast": connections are closed
        running.wait()


def machine(*words):
    """A sweep's process, which may start and stop as one on another machine would."""
    command = [sys.executable, "-c", "from lstmcore.cli import main; main()", "sweep", *words]
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    return started(*command, stdout=-1, stderr=-1, text=True, env=environment)


@pytest.mark.parametrize("kind", ["postgresql", "journal"])
def test_three_machines_one_of_which_dies(kind, request, nightly, tmp_path):
    """Every trial is once in every table, with the same number; what the dead one had begun is taken up."""
    if kind == "journal" and not nightly:
        pytest.skip("with --nightly: the same again, 17 s; by day other tests here share a journal")
    storage = request.getfixturevalue("postgresql") if kind == "postgresql" else str(tmp_path / "sweep.journal")
    words = ["alphabet", "--param", "lr=1e-3,1e-2", "--set", "hidden=3", "--set", "epochs=4", "--seeds", 2]
    words += ["--jobs", 1, "--storage", storage, "--patience", PATIENCE, "--out", tmp_path / "shared", "--json"]
    with ExitStack() as stack:
        three = [stack.enter_context(machine(*words)) for _ in range(3)]
        deadline = time.monotonic() + 120
        while not (begun := list((tmp_path / "shared").glob("trials/*/trials"))):  # a worker trains
            assert time.monotonic() < deadline
            assert three[0].poll() is None
            time.sleep(0.05)
        three[0].kill()
        three[0].communicate()
        ends = [process.communicate(timeout=240) for process in three[1:]]
    assert begun
    answers = []
    for process, (stdout, stderr) in zip(three[1:], ends):
        assert process.returncode == 0, stderr
        assert "Traceback" not in stderr
        answers.append(json.loads(stdout.splitlines()[-1]))
    for answer in answers:
        assert (answer["finished"], answer["failed"], answer["open"], answer["trials"]) == (4, 0, 0, 4)
        assert answer["ended"] == "all trials done"
    assert answers[0]["configurations"] == answers[1]["configurations"]
    with open(tmp_path / "shared" / "trials.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sorted((row["lr"], row["seed"]) for row in rows) == [(lr, s) for lr in ("0.001", "0.01") for s in "01"]
    assert all((tmp_path / "shared" / row["folder"] / "model.safetensors").is_file() for row in rows)
    by_hand = recipes.alphabet.run(
        recipes.alphabet.Options(hidden=3, epochs=4, lr=0.01, seed=1), progress=False, tell=lambda message: None
    )
    (row,) = [row for row in rows if (row["lr"], row["seed"]) == ("0.01", "1")]
    assert float(row["loss"]) == by_hand.trials[0].loss  # bit for bit, whoever trained it, and wherever it was resumed


def memories(tmp_path, number, patience=PATIENCE):
    space = sweep.read("alphabet", ["lr=1e-3,1e-2"], TINY, seeds=2)
    return [Memory(space, tmp_path, str(tmp_path / "sweep.journal"), patience) for _ in range(number)]


def test_points_enqueued_twice_are_taken_once(tmp_path):
    """Two machines find an empty study at the same moment, and both enqueue everything."""
    one, two = memories(tmp_path, 2)
    one.look()
    two.look()
    one.fill()
    two.fill()
    taken = []
    while found := [m.take() for m in (one, two)]:
        if not any(found):
            break
        taken += [str(point) for trial, point in filter(None, found)]
        one.look()
        two.look()
    assert sorted(taken) == sorted(f"lr={lr} seed={seed}" for lr in ("0.001", "0.01") for seed in (0, 1))


def test_a_machine_that_slept_leaves_its_trial_to_who_has_it(tmp_path, monkeypatch):
    """No beat for longer than the patience: the other one gives the trial up, takes it, and its number counts."""
    one, two = memories(tmp_path, 2, patience=10.0)
    one.prepare()
    trial, point = one.take()
    now = time.monotonic()
    monkeypatch.setattr("lstmcore.recipes.sweep.memory.time.monotonic", lambda: now)
    assert one.beat(trial)
    two.prepare()
    key = trial.user_attrs["key"]
    now += 9.0
    two.look()
    assert two.trials[key].machine  # still at work, for all that is known
    assert one.beat(trial)
    now += 9.0
    two.look()
    assert two.trials[key].machine  # it has shown that it lives
    now += 11.0
    two.look()
    two.look()
    assert (two.trials[key].state, two.trials[key].machine) == ("open", "")
    two.fill()
    again = {str(p): t for t, p in iter(two.take, None)}
    assert str(point) in again
    assert not one.beat(trial)


def test_a_server_that_is_not_there_is_one_line_without_the_password(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        storage = f"postgresql://ada:secret@127.0.0.1:{free.getsockname()[1]}/sweeps"
        words = ["sweep", "alphabet", "--set", "epochs=1", "--storage", storage, "--out", str(tmp_path / "run")]
        answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 2
    assert "postgresql://ada:***@127.0.0.1" in answer.output
    assert "secret" not in answer.output
    assert "refused" in answer.output
    assert len(answer.output.strip().splitlines()) <= 3


def test_without_the_driver_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    words = ["sweep", "alphabet", "--storage", "postgresql://ada@127.0.0.1/sweeps", "--out", str(tmp_path)]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 2
    assert "pip install 'lstmcore[postgresql]'" in answer.output
    assert len(answer.output.strip().splitlines()) == 1
