"""What a notebook shows of the tools' answers."""

import re
import sys

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.show.page import told

X = np.random.default_rng(0).standard_normal((5, 2, 3), dtype="float32")
MASK = lc.mask_from_lengths([5, 3], 5)


def lstm():
    return lc.LSTM(3, 4, seed=1)


ANSWERS = {
    "ledger": lambda: lc.debug.ledger(lstm(), X, mask=MASK),
    "flow": lambda: lc.debug.flow(lstm(), X),
    "tripwire": lambda: lc.debug.tripwire(lstm(), X),
    "padding": lambda: lc.debug.padding(lstm(), X, mask=MASK),
    "memory": lambda: lc.debug.memory(lstm(), X),
    "compare": lambda: lc.debug.compare(lstm(), "fused-cpu", X),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_findings_picture_and_text(name):
    answer = ANSWERS[name]()
    page = answer._repr_html_()
    assert page.startswith('<div class="lstmcore"><style>')
    assert page.count("<li") == len(answer.findings)
    assert page.count("<svg") == (name != "tripwire")  # where all is finite there is nothing to be seen
    assert "<pre>" in page
    assert not re.search(r"<script|src=|@import", page)


def test_what_is_wrong_is_marked():
    layer = lstm()
    layer.params["W_hh"][0, 0] = np.nan
    found = lc.debug.tripwire(layer, X)
    assert [finding.good for finding in told(found)] == [False]
    assert found._repr_html_().count('<li class="bad">') == 1
    assert 'class="bad"' not in lc.debug.tripwire(lstm(), X)._repr_html_()


def test_every_answer_that_prints_is_shown_in_a_notebook():
    answers = [each for each in map(lc.debug.__dict__.get, lc.debug.__all__) if isinstance(each, type)]
    printing = [each for each in answers if "__str__" in vars(each)]
    assert {lc.debug.Truncation, lc.debug.Watch, lc.debug.Record, lc.debug.Exercise, lc.debug.Report} <= {*printing}
    assert [each.__name__ for each in printing if not hasattr(each, "_repr_html_")] == []
    shown = lc.debug.truncation(lstm(), X, np.ones((5, 2, 4), "float32"), 2)._repr_html_()
    assert "every 2 steps, 2 steps back" in shown
    assert 'class="bad"' not in shown


def test_an_answer_of_text_alone_has_the_colour_of_its_verdict():
    right = lc.debug.gradcheck(lstm(), X)
    assert "every gradient is right" in right._repr_html_()
    assert '<div class="good"><pre>array' in right._repr_html_()
    wrong = lc.debug.gradcheck_function(lambda v: float((v["w"] ** 2).sum()), {"w": np.ones(2)}, {"w": np.ones(2)})
    assert '<div class="bad"><pre>array' in wrong._repr_html_()


def test_a_diagnosis():
    layer = lc.LSTM(3, 4, dtype="float64", seed=1)
    dy = np.ones((5, 2, 4))
    _, _, cache = layer.forward(X.astype(float))
    _, _, grads = layer.backward(dy, cache)
    weights = dict(layer.params)
    assert '<div class="good"><pre>' in lc.debug.diagnose(weights, X.astype(float), dy, grads)._repr_html_()


def test_a_report_is_its_page_without_the_frame():
    found = lc.debug.report(lc.Linear(3, 1, seed=1), X, title="a <title>")
    inside = found._repr_html_()
    assert inside in found.html()
    assert "a &lt;title&gt;" in inside


def test_without_matplotlib_a_line_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    page = ANSWERS["flow"]()._repr_html_()
    assert "pictures need matplotlib: pip install" in page
    assert "<svg" not in page
    assert "<pre>" in page
