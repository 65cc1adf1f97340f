"""Mistakes seen in other people's programs, one row each, planted in programs that know nothing of lstmcore."""

import pytest

from tests.debug.strangers.planted import run
from tests.debug.strangers.scores import diagnose

CARRIED, END = "dprev_h = da.dot(Wh.T)", "case = {\n"
PARTS = "enumerate(zip((dai, daf, dao, dag), (i * (1 - i), f * (1 - f), o * (1 - o), 1 - g * g)))"
BLOCK = "Wh[:, k * H : (k + 1) * H]"
LATE = ("    i, f, o, g = act[t]\n    s =", "    i, f, o, g = act[t]\n    late = dh, dc\n    s =")
ROWS = {
    "the last output's gradient enters at every step (dy_{T-1} for dy_t)":
        [("dh_all[:, t] + dprev_h", "dh_all[:, -1] + dprev_h")],
    "the forget gate's gradient has the wrong sign": [("daf = df * f", "daf = -df * f")],
    "sigma' is taken after W_hh^T, not before (operator precedence)":
        [(CARRIED, f"dprev_h = sum((d / s).dot({BLOCK}.T) * s for k, (d, s) in {PARTS})")],
    "a parenthesis leaves sigma' of the forget gate off what came along c, after its product": [
        ("df = dnext_c * pc", "along = dprev_c\n    df = dnext_c * pc"),
        ("daf = df * f * (1 - f)", "daf = along * pc + (df - along * pc) * f * (1 - f)")],
    "c is changed in place: every cached c is the last one":
        [("next_c = caches[t]\n", "next_c = caches[t]\n    pc = next_c = prev_c\n")],
    "c_{t-1} at step 0 wraps round to the last c (index -1)":
        [("df = dnext_c * pc", "df = dnext_c * (pc if t else prev_c)")],
    "weight decay of 0.01 is in the gradients":
        [(END, f"dWx, dWh, db = dWx + 0.01 * Wx, dWh + 0.01 * Wh, db + 0.01 * b\n{END}")],
    "the gradients of the weights are clipped by value at 0.25, after the loop":
        [(END, f"dWx, dWh, db = (np.clip(v, -0.25, 0.25) for v in (dWx, dWh, db))\n{END}")],
    "the gradients of the weights are clipped by norm at 0.5, after the loop":
        [(END, f"dWx, dWh, db = (v * min(1, 0.5 / np.linalg.norm(v)) for v in (dWx, dWh, db))\n{END}")],
    "Wx, Wh, b is 0.3 times the right one (clipped by its norm? averaged? a learning rate in it?)":
        [(END, f"dWx, dWh, db = (0.3 * v for v in (dWx, dWh, db))\n{END}")],
    "the norm of the carried gradient of h is clipped to 0.5":
        [(CARRIED, f"{CARRIED}\n    dprev_h = dprev_h / max(1, np.linalg.norm(dprev_h) / 0.5)")],
    "dx takes what comes through the input gate alone":
        [("dx[:, t] = da.dot(Wx.T)", "dx[:, t] = dai.dot(Wx[:, :H].T)")],
    "dh0 and dc0 one step late: what step 1 gave": [LATE, ('"h0": dh', '"h0": late[0]'), ('"c0": dc', '"c0": late[1]')],
    "dh0 one step late: what step 1 gave": [LATE, ('"h0": dh', '"h0": late[0]')],
    "the output gate's gradient takes dy alone, not what was carried":
        [("do = dnext_h * tanh_c", "do = dh_all[:, t] * tanh_c")],
    "W_hh not transposed on the way back, block by block":
        [(CARRIED, f"dprev_h = sum(d.dot({BLOCK}) for k, (d, _) in {PARTS})")],
    "gate i is given the bias of gate f":
        [("prev_h.dot(Wh) + b", "prev_h.dot(Wh) + np.concatenate([b[H : 2 * H], b[H:]])")],
    "dh_{t-1} takes the first H rows of [x; h] for W_hh": [(CARRIED, "dprev_h = da.dot(np.vstack([Wx, Wh])[:H].T)")],
    "means of means: rows of unequal lengths weigh the same":
        [("dh = dh + dout[:, t]", "dh = dh + dout[:, t] * (m.sum() / (m.sum(1) * B))[:, None]")],
}  # fmt: skip
PROGRAMS = {"dh0": "einsum.py", "means": "padded.py"}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_named(name, nightly):
    """By day every third."""
    if not nightly and list(ROWS).index(name) % 3:
        pytest.skip("nightly: every third is tried by day")
    answer = diagnose(run(PROGRAMS.get(name.split()[0], "fused.py"), None, *ROWS[name]))
    assert name in answer.names, str(answer)
