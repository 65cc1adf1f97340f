"""The benchmark of `flow`'s verdicts: what it calls fine and what not, and its rows, which say what the page says."""

import csv
from pathlib import Path

import numpy as np
import pytest

import lstmcore as lc
from benchmarks import flow_verdicts
from benchmarks.flow_verdicts import apart, broken, fresh, slope, table, trained

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("rate", [0.5, 1.0, 1.2])
def test_states_come_apart_by_the_rate(rate):
    """An RNN in tanh's linear part: h moves by W_hh, orthogonal times the rate; 1 - tanh'(1e-5) is 1e-10, float32's
    rounding of W_hh 1e-7 in each of ten steps."""
    layer = lc.RNN(2, 8, seed=0)
    layer.params["W_hh"] *= np.float32(rate)
    x = np.full((11, 3, 2), 1e-8, "float32")
    np.testing.assert_allclose(apart(layer, x), rate**10, rtol=3e-6)


def test_the_slope_of_gates():
    """A fresh layer over zeros: gates i and o at 1/2, where the slope is steepest, f at sigmoid(1), g at 0."""
    f = 1 / (1 + np.exp(-1.0))
    want = np.mean([1, 4 * f * (1 - f), 1, 1])
    np.testing.assert_allclose(slope(lc.LSTM(2, 3, seed=0), np.zeros((1, 2, 2), "float32")), want, rtol=1e-6)


def test_verdicts_on_a_few_models():
    """The first of each kind: silence about those that are fine, and the right word about those that are not."""
    fine = [*map(fresh, range(6)), trained(0)]
    assert all(v is not None and not v.alarm for v in fine)
    bad = [v for v in map(broken, range(12)) if v is not None]
    assert {v.kind for v in bad} == {"shut", "exploding", "saturated"}
    assert all(v.right for v in bad)
    assert f"| **not fine** | {len(bad)} | {len(bad)} | {len(bad)} |" in table([*fine, *bad])


def test_the_page_says_what_the_rows_say():
    with open(ROOT / "benchmarks" / "results" / "flow_verdicts.csv", newline="") as file:
        found = list(csv.DictReader(file))
    groups = [[r for r in found if r["group"] == group] for group in ("fresh", "trained")]
    groups += [[r for r in found if r["kind"] == kind] for kind in ("shut", "exploding", "saturated")]
    page = (ROOT / "docs" / "find-the-bug.md").read_text(encoding="utf-8")
    cells = [line.split("|")[2:4] for line in page.partition("| models | number |")[2].split("\n")[2:7]]
    assert [[int(a), int(b)] for a, b in cells] == [[len(g), sum(r["alarm"] == "True" for r in g)] for g in groups]
    assert len(found) == 3 * flow_verdicts.EACH
