"""The answer, rung by rung: understood, forward, precision, mistakes with their lines, what next; text and JSON."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from command import called

import lstmcore as lc
from lstmcore.debug import Case, save_case
from lstmcore.debug.diagnose.beside import SECTIONS, lines_of
from lstmcore.debug.mistakes import MISTAKES
from lstmcore.debug.mistakes.mistake import LSTM

T, B, I, H = 7, 2, 3, 4
PAGE = Path(__file__).parents[3] / "docs" / "derivation.md"


@pytest.fixture
def step():
    rng = np.random.default_rng(0)
    lstm = lc.LSTM(I, H, dtype="float64", seed=0, engine="reference")
    x, dy = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, H))
    y, _, cache = lstm.forward(x)
    return lstm.params, x, dy, lstm.backward(dy, cache)[2], y


def test_sections_are_those_of_the_page():
    listed = re.findall(r"^ ?(\d+)\. \[(.*?)\](.*)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    there = [
        (int(a), int(b), f"{number}. {title.split(':')[0]}")
        for number, title, rest in listed
        for a, b in re.findall(r"\((\d+)\)-\((\d+)\)", rest)
    ]
    assert set(SECTIONS) <= set(there)


def test_every_line_of_the_step_has_its_equation():
    """All mistakes are shown; of those in the LSTM's step all but its definitions have the equation of their line."""
    shown = [(mistake, line) for mistake in MISTAKES for line in lines_of(mistake)]
    inside = [line for mistake, line in shown if mistake.module == LSTM and line.file.endswith("cells/lstm.py")]
    with_equation = [line for line in inside if line.equation]
    assert len(with_equation) > 0.9 * len(inside)
    assert all(line.section.startswith(("4. ", "5. ")) for line in with_equation)
    line = next(line for line in inside if line.right.startswith("df = dc * c_prev"))
    assert (line.equation, line.section) == (13, "5. LSTM, backward")


def test_each_rung(step):
    weights, x, dy, grads, y = step
    answer = lc.debug.diagnose(weights, x, dy, grads, y=y)
    assert str(answer).splitlines()[0] == "forward: right"
    assert "is rounding (float64)" in str(answer)
    assert answer.next.startswith("the layer is right")
    assert lc.debug.diagnose(weights, x, dy, grads).next.startswith("bring your outputs y as well")

    wrong = grads | {"b": grads["b"] * np.repeat([1, 2, 1, 1], H)}
    words: list[tuple[float, str]] = []
    begun = time.process_time()
    answer = lc.debug.diagnose(
        weights, x, dy, wrong, y=y, tell=lambda said: words.append((time.process_time() - begun, said)), search=False
    )
    assert (answer.where.arrays, answer.where.gates) == (("b",), ("f",))
    assert "off: b; right are W_ih, W_hh" in str(answer)
    when, first = words[0]
    assert first == "none of the known ones; it starts at step 0 in gate f (off: b; right are W_ih, W_hh)"
    assert when < 1.0  # seconds of the processor: the place comes first


def test_json_and_exit_codes(tmp_path, step):
    weights, x, dy, grads, y = step
    case = Case(dict(weights), x, dy, grads, {}, None, {}, steps={"y": y})
    path = tmp_path / "case.npz"
    save_case(path, case)
    ended = called("diagnose", str(path), "--json")
    code, said = ended.returncode, ended.stdout
    answer = json.loads(said)
    assert (code, answer["ok"], answer["forward"], answer["mistakes"]) == (0, True, "right", [])
    save_case(path, case._replace(grads={**grads, "W_hh": -grads["W_hh"]}))
    ended = called("diagnose", str(path), "--json")
    code, said = ended.returncode, ended.stdout
    answer = json.loads(said)
    assert (code, answer["ok"], answer["where"]["arrays"]) == (1, False, ["W_hh"])
    assert answer["mistakes"][0][0]["name"] == "dW_hh is of the wrong sign"
    assert answer["mistakes"][0][0]["lines"][0]["file"] == "lstmcore/debug/diagnose/training_step.py"
    assert answer["next"].startswith("mend it")
    path.write_text("nothing")
    assert called("diagnose", str(path), "--json").returncode == 2
