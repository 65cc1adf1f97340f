"""The page: over the examples, over a case of one's own; what does not fit is refused, and told how to be cut."""

import json
import re

import numpy as np
import pytest
from command import called

import lstmcore as lc


def made(T=3, H=2, B=2, both=False, mask=None):
    """A case of an LSTM, and the layer that it comes from."""
    rng = np.random.default_rng(0)
    lstm = lc.LSTM(1, H, dtype="float64", seed=0, engine="reference")
    layer = lc.Bidirectional(lstm, lc.LSTM(1, H, dtype="float64", seed=1, engine="reference")) if both else lstm
    x, dy = rng.standard_normal((T, B, 1)), rng.standard_normal((T, B, H * (1 + both)))
    y, _, cache = layer.forward(x, mask=mask)
    dx, _, grads = layer.backward(dy, cache)
    return lc.debug.Case(dict(layer.params), x, dy, grads | {"x": dx}, {}, mask, {}), y


def data(html):
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html)
    return json.loads(found)


def test_the_page_holds_the_examples_and_needs_no_network():
    html = lc.debug.explain("GRU").html()
    assert len(html.encode()) < 400_000
    held = data(html)
    assert held["first"] == "gru"
    assert list(held["steps"]) == list(lc.debug.EXAMPLES)
    assert held["sources"]["lstmcore/ops/cells/lstm.py"][0] is None  # far from every line that made a number
    assert any("# (8) undoes (7)" in (line or "") for line in held["sources"]["lstmcore/ops/cells/lstm.py"])
    assert not re.search(r"""(src|href)=["']?https?:|@import|url[(]http""", html)


def test_in_a_notebook_it_is_a_frame_and_its_text_is_short():
    page = lc.debug.explain()
    shown = page._repr_html_()
    assert shown.startswith("<iframe ")
    assert shown.count("<") == 2  # all of the page is escaped
    assert "every number answers" in shown
    assert repr(page) == '<Explanation of LSTM, GRU, plain RNN, LSTM with peepholes: save("lstm.html") writes the page>'


def test_a_case_is_shown(tmp_path):
    mask = np.array([[True, True], [True, False], [True, True]])
    for given in (None, mask):
        case, y = made(mask=given)
        found = lc.debug.explain_case(case, row=1)
        title, plain, masked = found.steps["own"]
        assert title == "your own step"
        assert (plain is None) == (given is not None)
        for traced in (plain, masked):
            if traced is not None:
                assert abs(traced.value("y[2,1]") - y[2, 1, 1]) <= 1e-15
                assert abs(traced.value("dx[0,0]") - case.grads["x"][0, 1, 0]) <= 1e-15
        assert data(found.save(tmp_path / "own.html").read_text(encoding="utf-8"))["first"] == "own"


@pytest.mark.parametrize(
    ("options", "row", "text"),
    [
        ({"T": 7}, 0, r"the page shows T \* H <= 12; this case has 7 steps of 2 units: keep the first 6: x\[:6\]"),
        ({"H": 13, "T": 1}, 0, r"this case has 1 steps of 13 units: save a step of a layer with 12 units or fewer"),
        ({"both": True}, 0, "one layer in one direction; this case is a Bidirectional: save a case of one"),
        ({}, 2, r"`row` should be one of the batch, 0 to 1; got 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(options, row, text):
    case, _ = made(**options)
    with pytest.raises(ValueError, match=text):
        lc.debug.explain_case(case, row)


def test_an_unknown_cell_is_refused():
    with pytest.raises(ValueError, match=r"`cell` should be one of lstm, gru, rnn, .*; got 'ltsm'"):
        lc.debug.explain("ltsm")


def test_the_command_loses_no_case_and_passes_over_no_option(tmp_path):
    case, _ = made()
    path = tmp_path / "case.npz"
    lc.debug.save_case(path, case)
    before = path.read_bytes()
    for words, complaint in (
        ((path, "--out", path), "is the case itself: the page needs a file of its own"),
        ((path, "--cell", "gru"), "--cell is for the page without a case"),
        (("--row", "1"), "--row is of a case"),
    ):
        ended = called("explain", *map(str, words))
        assert ended.returncode == 2
        assert complaint in ended.stderr.replace("\n", " ")
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["case.npz"]
