"""What goes wrong around a training costs nothing of it: consoles, readers, disks, folders, numbers without bounds."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import called, lstmcore
from rich.table import Table

from lstmcore.cli import talk
from lstmcore.cli.train import common
from lstmcore.recipes import alphabet
from lstmcore.recipes.lock import locked

VERSE = "to be or not to be, that is the question. [bold] or [/i] ist größer 🐈 :smile: "
TEXT = ("--hidden", 4, "--embedding", 3, "--steps", 20, "--batch", 4, "--epochs", 1, "--engine", "reference")
ALPHABET = ("train", "alphabet", "--hidden", 3, "--epochs", 1, "--engine", "reference")


@pytest.fixture
def verse(tmp_path):
    (tmp_path / "verse").write_text(VERSE * 30, encoding="utf-8")
    return tmp_path


def test_a_command_is_shown_as_it_would_be_typed():
    words = ["lstmcore", "predict", "my run"]
    assert talk.typed(words, posix=True) == "lstmcore predict 'my run'"
    assert talk.typed(words, posix=False) == 'lstmcore predict "my run"'


def assert_saved(run: Path) -> dict:
    assert (run / "model.safetensors").stat().st_size > 0
    assert (run / "picture.png").read_bytes()[:4] == b"\x89PNG"
    return json.loads((run / "metrics.json").read_text(), parse_constant=pytest.fail)


def test_a_console_that_cannot_show_the_sample_loses_nothing(verse):
    answer = lstmcore("train", "text", "verse", *TEXT, "--out", "run", cwd=verse, PYTHONIOENCODING="ascii")
    assert answer.returncode == 0, answer.stderr
    assert_saved(verse / "run")
    assert "bits per character" in answer.stdout
    told = lstmcore("predict", "text", "run", "--start", "🐈", "--length", 5, cwd=verse, PYTHONIOENCODING="ascii")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("\\U0001f408")


@pytest.mark.skipif(os.name != "posix", reason="a pipe whose reader has gone away, as POSIX has it")
def test_a_reader_that_goes_away_loses_nothing(verse):
    read, write = os.pipe()
    os.close(read)
    answer = lstmcore("train", "text", "verse", *TEXT, "--out", "run", "--json", cwd=verse, stdout=write)
    os.close(write)
    assert answer.returncode == 0, answer.stderr
    assert "Traceback" not in answer.stderr
    assert "Exception ignored" not in answer.stderr
    assert_saved(verse / "run")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_behind_the_output_is_told_and_loses_nothing(verse):
    with open("/dev/full", "wb") as full:
        answer = lstmcore("train", "text", "verse", *TEXT, "--out", "run", cwd=verse, stdout=full)
    assert answer.returncode == 0, answer.stderr
    assert "what is printed is lost (No space left on device); the work goes on" in answer.stderr
    assert_saved(verse / "run")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize(
    "words", [("--help",), ("info", "--json"), ("docs", "tutorial"), ("check", "--engine", "reference")]
)
def test_an_answer_that_cannot_be_printed_is_no_success_and_no_traceback(words):
    """141, as of a program that a closed pipe has ended, where nobody reads on; 2 and a line for a full disk."""
    read, write = os.pipe()
    os.close(read)
    gone = lstmcore(*words, stdout=write)
    os.close(write)
    assert gone.returncode == 141
    assert "lost" not in gone.stderr
    with open("/dev/full", "wb") as full:
        answer = lstmcore(*words, stdout=full)
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[-1] == "lstmcore: what is printed is lost (No space left on device)"
    for told in (gone, answer):
        assert "Traceback" not in told.stderr
        assert "Exception ignored" not in told.stderr


@pytest.mark.skipif(os.name != "posix", reason="streams that are closed, as POSIX has them")
@pytest.mark.parametrize("closed", [1, 2])
@pytest.mark.parametrize(("verb", "code"), [("info", 0), ("sweep", 2)])
def test_a_stream_that_is_closed_is_no_mistake(closed, verb, code):
    """`>&-` and `2>&-` of a shell: what would be printed is not wanted."""
    begin = (
        f"import os, sys; os.close({closed}); os.execv(sys.executable, [sys.executable, '-m', 'lstmcore', {verb!r}])"
    )
    answer = subprocess.run([sys.executable, "-c", begin], capture_output=True, text=True, timeout=300)
    assert answer.returncode == code
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "picture.png"), "no picture: picture.png: No space left on device"),
        (ImportError("matplotlib"), "no picture: pip install 'lstmcore[plot]'"),
        (ValueError("[red] is no colour"), "no picture: [red] is no colour"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_a_line(tmp_path, capsys, error, words):
    def draw(path):
        raise error

    assert talk.picture(draw, tmp_path / "picture.png") == []
    assert capsys.readouterr().err == words + "\n"


def test_what_cannot_be_saved_is_shown_all_the_same(tmp_path, capsys):
    class Recipe:
        @staticmethod
        def metrics(result, options):
            return {"recipe": "none", "ended": "all 1 epochs done", "diverged": False, "loss": float("nan")}

        @staticmethod
        def save(folder, result, options):
            raise OSError(28, "No space left on device", "model.safetensors")

    keep = common.Keep(tmp_path)
    with pytest.raises(talk.typer.Exit) as exit:
        common.hand_over(Recipe, None, None, keep, True, lambda result, options: talk.say("[shown]"))
    assert exit.value.exit_code == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == "[shown]"
    assert json.loads(printed.out.splitlines()[1])["loss"] is None
    assert printed.err == "lstmcore: model.safetensors: No space left on device\n"


def test_the_sample_and_folders_keep_their_brackets(verse):
    """And the command that is told can be pasted into a shell."""
    answer = lstmcore("train", "text", "verse", *TEXT, "--out", "my [red]run", cwd=verse)
    assert "my [red]run: model.safetensors, metrics.json, history.json, picture.png" in answer.stdout
    assert "; try: lstmcore predict text 'my [red]run' --temperature 0.5" in answer.stdout
    again = called("train", "text", "verse", *TEXT, "--out", "my [red]run", cwd=verse)
    assert again.returncode == 2
    assert "my [red]run holds a run; go on with it: lstmcore train text verse" in again.stderr
    assert "--out 'my [red]run' --resume; or begin anew" in again.stderr


def test_a_complaint_has_an_end(capsys):
    """However long what was typed is: its beginning is told, and the advice behind it."""
    with pytest.raises(talk.typer.Exit):
        talk.fail(f"got {'1' * 10**6}; 20 bits are wanted", 2)
    told = capsys.readouterr().err
    assert len(told) < 2100
    assert told.startswith("lstmcore: got 111")
    assert told.endswith("; 20 bits are wanted\n")


def test_messages_are_plain_text(capsys):
    for speak, stream in ((talk.say, "out"), (talk.tell, "err")):
        speak("[plot] [/b] :smile: [link=x]")
        assert getattr(capsys.readouterr(), stream) == "[plot] [/b] :smile: [link=x]\n"
    talk.out.print(Table("[a]", box=None))
    assert "[a]" in capsys.readouterr().out


@pytest.mark.parametrize("recipe", ["count", "series", "loops", "text", "alphabet"])
def test_a_training_that_diverges_says_so(verse, recipe):
    """Exit code 1, one line at the end, the files written, no warning, and no NaN in what --json prints."""
    small = {
        "count": ("--hidden", 3, "--examples", 200, "--batch", 50, "--epochs", 2, "--optimizer", "sgd"),
        "series": ("--hidden", 3, "--window", 30, "--horizon", 5, "--epochs", 2),
        "loops": ("--widths", "3", "--epochs", 2),
        "text": ("verse", *TEXT[:-2]),
        "alphabet": ("--hidden", 3, "--epochs", 1),
    }[recipe]
    words = ("train", recipe, *small, "--lr", "1e300", "--engine", "reference")
    answer = called(*words, "--out", "run", "--json", cwd=verse, warn="error")
    assert answer.returncode == 1, answer.stderr
    assert "Traceback" not in answer.stderr
    assert "no picture" not in answer.stderr
    last = answer.stderr.splitlines()[-1]
    assert last.startswith("lstmcore: the training diverged: ")
    assert last.endswith("; a lower --lr may help")
    metrics = json.loads(answer.stdout.splitlines()[-1], parse_constant=pytest.fail)
    assert metrics["diverged"] is True
    assert assert_saved(verse / "run") == metrics
    json.loads((verse / "run" / "history.json").read_text(), parse_constant=pytest.fail)
    if recipe == "text":
        answer = lstmcore("predict", "text", "run", cwd=verse)
        assert answer.returncode in (0, 2)
        assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("name", ["lr", "noise", "momentum"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_options_are_finite_numbers(name, value):
    answer = called(*ALPHABET, f"--{name}", value)
    assert answer.returncode == 2
    assert f"Invalid value for '--{name}'" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_noise_without_measure_is_a_divergence():
    answer = called(*ALPHABET, "--noise", "1e308")
    assert answer.returncode == 1
    assert "lstmcore: the training diverged: " in answer.stderr
    assert "Traceback" not in answer.stderr


def test_noise_is_uniform_in_units_of_the_mean_weight():
    """Of both signs, reaching nearly to scale * mean |w| and never beyond."""
    run = type("Run", (), {})()
    run.model = type("Model", (), {"params": {"W": alphabet.np.full((100, 100), -3.0)}})
    run.grads = {"W": alphabet.np.zeros((100, 100))}
    alphabet.WeightNoise(0.5, alphabet.np.random.default_rng(0)).on_gradients(run)
    assert 1.49 < run.grads["W"].max() <= 1.5
    assert -1.5 <= run.grads["W"].min() < -1.49


def test_a_network_without_memory_for_it_is_a_line():
    answer = called("train", "count", "--hidden", 10**8, "--engine", "reference")
    assert answer.returncode == 2
    assert "lstmcore: not enough memory" in answer.stderr


# ---- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [ALPHABET, ("sweep", "count", "--param", "lr=1,2"), ("debug", "case.npz")])
@pytest.mark.parametrize("name", ["", " "])
def test_a_folder_has_a_name(words, name, tmp_path):
    answer = called(*words, "--out", name, cwd=tmp_path)
    assert answer.returncode == 2
    assert "should have a name; got an empty one" in answer.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_file_in_the_place_of_a_folder(tmp_path, place):
    (tmp_path / "file").touch()
    answer = called(*ALPHABET, "--out", place, cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr == f"lstmcore: {place}: a folder is wanted here, and a file is in the way\n"


def test_a_folder_belongs_to_one_training_at_a_time(tmp_path):
    """One is at work there: others are refused before anything is deleted or written."""
    run = tmp_path / "run"
    long = [*map(str, ALPHABET[:4]), "--epochs", "100000", "--out", str(run)]
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from lstmcore.cli import main; main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *long], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not list(run.glob("trials/*/checkpoints/step-*")):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        before = {path for path in run.rglob("*") if "checkpoints" in path.parts}
        for words in ((), ("--resume",), ("--overwrite",), ("--find-lr",)):
            answer = called(*ALPHABET, "--out", run, *words)
            assert answer.returncode == 2
            assert answer.stderr == f"lstmcore: {run}: another training or sweep is at work there\n"
            assert before <= set(run.rglob("*"))
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert called(*ALPHABET, "--out", run, "--overwrite").returncode == 0  # and free again


def test_the_lock_is_free_after_a_kill(tmp_path):
    code = (
        "from pathlib import Path; from lstmcore.recipes.lock import locked\n"
        f"with locked(Path({str(tmp_path)!r})): print(1, flush=True); input()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    process.stdout.readline()
    with pytest.raises(OSError, match="another training or sweep is at work there"), locked(tmp_path):
        pass
    process.kill()
    process.communicate()
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("name", ["what?mode=memory#x", "{SCHEMA_VERSION}", "50% [red]"])
def test_a_sweep_stays_in_its_folder_whatever_that_is_called(tmp_path, name):
    """Its database is there, and knows the second time that all is done."""
    words = ("sweep", "alphabet", "--set", "epochs=1", "--set", "hidden=2", "--seeds", 1, "--jobs", 1, "--out", name)
    for kept in (0, 1):
        answer = called(*words, "--json", cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
        assert json.loads(answer.stdout.splitlines()[-1])["kept"] == kept
        assert f"{name}: trials.csv, picture.png" in answer.stdout
    assert (tmp_path / name / "sweep.db").stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
