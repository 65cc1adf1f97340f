"""Programs as people write them, each with none, one or two of its lines replaced: what `diagnose` says of them.

The programs know nothing of lstmcore. C and JavaScript are compiled and run, where there are gcc and Node.
"""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import lstmcore as lc

HERE = Path(__file__).parent
PROGRAMS = ["columns.py", "fused.py", "classes.py", "lists.py", "joint.py", "plain_rnn.py", "by_hand.c", "browser.js"]

ONE = {  # program -> (right, wrong, the mistake's name)
    "columns.py": [
        ("da_f = dc * c_old * f * (1 - f)", "da_f = dc * c * f * (1 - f)", "c_t for c_{t-1} in the forget gate"),
        ("    dh_next = dz[:n_h]\n", "", "the carry of dh is dropped"),
        (" + np.dot(Wo.T, da_o)", "", "dh_{t-1} and dx miss what comes through the output gate"),
        ("dc_next = f * dc", "dc_next = dc", "the carry of dc forgets the forget gate"),
        ("dbf += da_f", "dbf += da_i", "db: gate f holds a copy of gate i"),
    ],
    "fused.py": [
        ("dnext_c = dnext_c + dnext_h * o *", "dnext_c = dnext_h * o *", "what came along c is dropped"),
        ("dag = dg * (1 - g * g)", "dag = dg * (1 - g)", "tanh' of the candidate without its square (1 - g)"),
        ("dWh += ph.T.dot(da)", "dWh += hs[:, t].T.dot(da)", "h_t for h_{t-1} in dW_hh"),
        ("dWx += xt.T.dot(da)", "dWx = xt.T.dot(da)",
         "dW_ih is overwritten at each step, not added up: only step 0 is left"),
    ],
    "classes.py": [
        ("* th * o * (1 - o)", "* self.c[t + 1] * o * (1 - o)", "c for tanh(c) in the output gate"),
        ("dc * g * i * (1 - i)", "dc * g * i * (1 - i**2)", "sigma' of the input gate as s (1 - s^2)"),
        ("dh = dh + dout[t]", "dh = dh + dout[T - 1 - t]",
         "dy read in the order of the loop back (dy_{T-1-t} for dy_t)"),
    ],
    "lists.py": [
        ("s * tc * o[j] * (1 - o[j])", "s * tc * (1 - o[j] ** 2)", "tanh' where sigma' belongs (output gate)"),
        ("for t in range(T - 1, -1, -1):", "for t in range(T - 1, 0, -1):",
         "the loop back stops before the first step"),
    ],
    "joint.py": [
        ("d_bias += d_a.sum(axis=0)", "d_bias += d_a.mean(axis=0)", "db is averaged over the batch"),
        ("d_f = d_new * state * f * (1 - f)", "d_f = d_new * state", "sigma' of the forget gate is missing"),
    ],
    "plain_rnn.py": [("dhraw = (1 - hs[t] * hs[t]) * dh", "dhraw = dh", "RNN: tanh' is missing")],
    "by_hand.c": [("da[2 * H + j] = e * i *", "da[2 * H + j] = e * g *", "g for i in the product rule (dg)")],
    "browser.js": [
        ("const e = dh[j] + dy[t][j]", "const e = dh[j] + (t === T - 1 ? dy[t][j] : 0)",
         "only the last output has a gradient"),
    ],
}  # fmt: skip


def run(program, folder, *edits):
    """The program's case, with lines replaced."""
    text = (HERE / program).read_text()
    for right, wrong in edits:
        assert text.count(right) == 1, right
        text = text.replace(right, wrong)
    if program.endswith(".py"):
        names = {}
        exec(compile(text, program, "exec"), names)
        return names["case"]
    source = folder / program
    source.write_text(text)
    needed = {".c": "gcc", ".js": "node"}[source.suffix]
    if shutil.which(needed) is None:
        pytest.skip(f"{needed} is not installed")
    command = ["node", source]
    if needed == "gcc":
        subprocess.run(["gcc", "-O2", "-o", folder / "program", source, "-lm"], check=True)
        command = [folder / "program"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def diagnose(case, **options):
    return lc.debug.diagnose(case["weights"], case["x"], case["dy"], case["grads"], **options)


@pytest.mark.parametrize("program", PROGRAMS)
def test_right_code_is_never_accused(program, tmp_path):
    """With its outputs, and without; as it computes, and printed with six decimals."""
    case = run(program, tmp_path)
    for answer in (diagnose(case, y=case["y"]), diagnose(case)):
        assert answer.ok, str(answer)
    printed = {name: np.round(np.asarray(value, float), 6) for name, value in case["grads"].items()}
    answer = diagnose(case | {"grads": printed}, y=case["y"])
    assert answer.ok, str(answer)


@pytest.mark.parametrize("program", PROGRAMS)
def test_one_mistake_is_named(program, tmp_path, nightly):
    for right, wrong, name in ONE[program][: None if nightly else 1]:
        case = run(program, tmp_path, (right, wrong))
        answer = diagnose(case, y=case["y"])
        assert not answer.ok
        assert answer.forward == "right"
        assert name in answer.names, f"{name}: {answer}"
