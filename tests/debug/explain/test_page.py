"""The page over the examples; in a notebook."""

import re

import pytest
from explorer_data import data

import lstmcore as lc


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


def test_an_unknown_cell_is_refused():
    with pytest.raises(ValueError, match=r"`cell` should be one of lstm, gru, rnn, .*; got 'ltsm'"):
        lc.debug.explain("ltsm")
