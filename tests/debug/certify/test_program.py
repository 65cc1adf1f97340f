"""The pack without Python: a reader and an LSTM in C, compiled here; and programs that go wrong."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lstmcore.debug.certify import read_pack
from lstmcore.debug.certify.pack import HERE
from lstmcore.debug.certify.program import Refused, run, split

PACK = read_pack()
C = Path(__file__).parents[2] / "golden"


def compiled(name, folder, *options):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = folder / name
    flags = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", *options]
    subprocess.run([compiler, *flags, "-o", program, C / f"{name}.c", "-lm"], check=True)
    return program


def test_a_reader_in_c(tmp_path):
    """All plain cases of one layer in one direction; and a pack with one wrong number is seen to be wrong."""
    assert len((C / "read_pack.c").read_text().splitlines()) <= 100
    program = compiled("read_pack", tmp_path)
    done = subprocess.run([program, HERE, HERE.with_suffix(".safetensors")], capture_output=True, text=True, check=True)
    wanted = [c.name for c in PACK.values() if c.cell == "lstm" and not c.options and c.layers == 1]
    wanted = [name for name in wanted if PACK[name].direction != "bidirectional"]
    assert len(wanted) > 20
    assert done.stdout.splitlines() == [f"{name} ok" for name in wanted]

    whole = bytearray(HERE.with_suffix(".safetensors").read_bytes())
    at = whole.find(PACK["lstm-lengths"].results["y"].tobytes())  # of the first of those that end in the same outputs
    whole[at : at + 8] = np.float64(0.123).tobytes()
    (tmp_path / "damaged").write_bytes(whole)
    done = subprocess.run([program, HERE, tmp_path / "damaged"], capture_output=True, text=True)
    assert done.returncode == 1
    (said,) = (line for line in done.stdout.splitlines() if line.endswith("wrong"))
    assert said.startswith("lstm-lengths")


def test_an_lstm_in_c_with_its_gradients(tmp_path):
    assert len((C / "lstm.c").read_text().splitlines()) < 200
    program = str(compiled("lstm", tmp_path))
    mine = [c for c in PACK.values() if c.cell == "lstm" and not c.options and c.layers == 1]
    assert len(mine) > 40
    for case in mine:
        got = run([program], case)
        assert got.keys() == case.results.keys()
        for name, want in case.results.items():
            room = case.tolerance["float64"][name.split("/")[0]]
            assert np.all(np.abs(got[name] - want) <= room), (case.name, name)
    with pytest.raises(Refused, match="one layer of the plain LSTM is all that there is"):
        run([program], PACK["gru-lengths"])


def test_a_wrong_line_in_c_is_found(tmp_path):
    program = str(compiled("lstm", tmp_path, "-DBUG"))
    case = PACK["lstm-lengths-state0"]
    got = run([program], case)
    room = case.tolerance["float64"]
    off = {n for n, want in case.results.items() if np.any(np.abs(got[n] - want) > room[n.split("/")[0]])}
    assert off == {n for n in case.results if n.split("/")[0] not in ("y", "state")}


def test_the_words_of_a_command():
    assert split("'my program' --fast", posix=True) == ["my program", "--fast"]
    assert split(r'"C:\Program Files\lstm.exe" --fast C:\x', posix=False) == [
        r"C:\Program Files\lstm.exe", "--fast", r"C:\x",
    ]  # fmt: skip


def test_programs_that_go_wrong():
    """What is said of each."""
    case = PACK["lstm"]
    for text, seconds, said in (
        ("import sys; sys.exit('no memory')", 10, r"ended with status 1: no memory"),
        ("import os; os.kill(os.getpid(), 11)", 10, r"ended with status -11: no word"),
        ("pass", 10, r"should write result.safetensors; got"),
        ("import sys; open(sys.argv[1] + '/result.safetensors', 'w').write('no')", 10, r"should write result.saf"),
        ("import time; time.sleep(60)", 0.5, r"was still running after 0.5 seconds"),
    ):
        with pytest.raises(RuntimeError, match=said):
            run([sys.executable, "-S", "-c", text], case, seconds)
    with pytest.raises(OSError, match="no-such-program"):
        run("./no-such-program --fast", case)
