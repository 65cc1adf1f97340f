"""The report: one page, complete in itself, that says first what is wrong; read and clicked in a browser."""

import re

import browser
import numpy as np
import pytest
from command import called

import lstmcore as lc

T, B = 12, 4
MASK = lc.mask_from_lengths([12, 5, 8, 3], T)


def model():
    both = lc.Bidirectional(lc.LSTM(3, 4, seed=1), lc.GRU(3, 4, seed=2))
    return lc.Stack([both, lc.Dropout(0.3), lc.Linear(8, 2, seed=3), lc.Tanh()])


def data():
    rng = np.random.default_rng(4)
    x, targets = rng.standard_normal((T, B, 3), dtype="float32"), rng.standard_normal((T, B, 2), dtype="float32")
    return x, lambda y: lc.squared_error(y, targets, MASK)


def reported(layer, **options):
    x, loss = data()
    return lc.debug.report(layer, x, loss, mask=MASK, dropout_seed=5, title="Loops <1 & 2>", **options)


def shut():
    layer = model()
    layer.params["0.fw.b"][4:8] = -9
    return layer


def lost():
    layer = model()
    layer.params["2.W"][3, 1] = np.nan
    return layer


def test_nothing_wrong():
    found = reported(model(), optimizer=lc.Adam())
    worries = [finding for finding in found.findings if not finding.good]
    assert {finding.tool for finding in found.findings} == {"tripwire", "padding", "flow", "ledger"}
    assert {finding.tool for finding in worries} <= {"flow"}  # small random nets forget, and are told so
    assert found.ledger.ok
    assert found.tripwire.ok
    assert found.padding.ok
    assert "float32" in found.about
    assert "loss 0." in found.about or "loss 1." in found.about


@pytest.mark.parametrize(
    ("layer", "tool", "text"),
    [(shut, "flow", "0.fw: forget gate closed: "), (lost, "tripwire", "2.W is NaN first in the forward pass, layer 2")],
)
def test_what_is_wrong_stands_first(layer, tool, text):
    found = reported(layer())
    assert not found.ok
    at = next(k for k, f in enumerate(found.findings) if f.tool == tool and f.text.startswith(text))
    assert not any(f.good for f in found.findings[: at + 1])
    words, page = str(found), found.html()
    assert words.index(text) < words.index("=== tripwire ===")
    assert page.index(text) < page.index("<details")


def test_the_page_is_complete_in_itself():
    """No address that a browser would fetch, no script, everything escaped."""
    page = reported(shut()).html()
    assert not re.search(r"\ssrc\s*=|url\([^#]|@import|<script|<link|<iframe", page)
    assert (
        "No explorer: 0.fw, 0.bw: the page shows T * H &lt;= 12; this step has T = 12 and H = 4: keep the first 3"
        in page
    )
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in re.findall(r'href="([^"]*)', page))
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not addresses
    assert set(re.findall(r"https?://[^\s\"']+", page)) == names
    assert "Loops &lt;1 &amp; 2&gt;" in page
    assert page.count("<svg") == page.count("</svg>") == 3  # nothing is wrong: no picture of the tripwire
    assert page.count("<details") == page.count("</details>") == 8
    for weight in ("d0.fw.W_hh", "d0.bw.b_hn", "d2.b"):
        assert weight in page


def test_save(tmp_path):
    found = lc.debug.report(lc.LSTM(3, 2, seed=1), data()[0])
    assert found.save(tmp_path / "page.html").read_text(encoding="utf-8") == found.html()
    assert found.save(str(tmp_path / "page.txt")).read_text(encoding="utf-8") == str(found)


def test_without_a_mask_there_is_no_padding_to_prove():
    x, _ = data()
    found = lc.debug.report(lc.LSTM(3, 4, seed=1), x)
    assert found.padding is None
    assert 'id="padding"' not in found.html()
    assert reported(model(), prove_padding=False).padding is None


def test_an_engine_without_float64_gets_no_proof():
    """And the reason in its place, which says on what engine there is one."""
    x, _ = data()
    layer = lc.LSTM(3, 4, seed=1, engine="fused-cpu-bf16")
    found = lc.debug.report(layer, x, mask=MASK)
    assert found.padding.startswith("The proof is left out: it is made in float64, and engine 'fused-cpu-bf16' cannot")
    assert found.padding.endswith("take model.to(engine='fused-cpu').")
    assert found.padding in str(found)
    assert lc.debug.report(layer.to(engine="fused-cpu"), x, mask=MASK).padding.ok


def test_the_batch_may_come_first():
    x, _ = data()
    layer, dy = lc.LSTM(3, 4, seed=1), np.ones((T, B, 4), "float32")
    turned = lc.debug.report(lc.BatchFirst(layer), x.swapaxes(0, 1), dy.swapaxes(0, 1), mask=MASK.T)
    assert turned.padding.ok
    assert str(turned.padding) == str(lc.debug.report(layer, x, dy, mask=MASK).padding)


def test_a_case_with_dropout_between_layers(tmp_path):
    """Padding, and a mask that was drawn for this batch: no proof, and the reason in its place."""
    layers = [lc.LSTM(2, 3, dtype="float64", seed=1), lc.LSTM(3, 2, dtype="float64", seed=2)]
    rng = np.random.default_rng(7)
    x, drawn, dy = (rng.standard_normal((3, 2, n)) for n in (2, 3, 2))
    mask, drawn = lc.mask_from_lengths([3, 2], 3), (drawn < 0.5) / 0.5
    h, _, below = layers[0].forward(x, mask=mask)
    _, _, above = layers[1].forward(h * drawn, mask=mask)
    dh, _, second = layers[1].backward(dy, above)
    both = (layers[0].backward(dh * drawn, below)[2], second)
    weights, grads = (
        {f"{k}.{name}": a for k, of in enumerate(arrays) for name, a in of.items()}
        for arrays in ([layer.params for layer in layers], both)
    )
    case = lc.debug.Case(weights, x, dy, grads, {}, mask, {}, dropout={"0": drawn})
    found = lc.debug.report_case(case)
    assert "Stack([LSTM(2, 3), dropped as drawn, LSTM(3, 2)])" in found.about
    why = "The proof is left out: it runs each row alone and the batch with more steps, and the masks of dropout"
    assert f"=== padding ===\n{why}" in str(found)
    assert f"<p>{why}" in found.html()
    lc.debug.save_case(tmp_path / "case.npz", case)
    ended = called("debug", str(tmp_path / "case.npz"))
    assert why in ended.stdout, ended.stderr


def test_a_long_sequence_keeps_the_page_small():
    x = np.random.default_rng(6).standard_normal((2000, 1, 2), dtype="float32")
    page = lc.debug.report(lc.LSTM(2, 3, seed=1), x).html()
    assert len(page) < 2_000_000
    assert "step 0..16, " in page  # 2,000 steps as 118 squares


def test_a_small_step_is_opened_in_the_explorer():
    x = np.random.default_rng(6).standard_normal((3, 2, 1), dtype="float32")
    both = lc.Bidirectional(*(kind(1, 2, seed=1, engine="reference") for kind in (lc.LSTM, lc.GRU)))
    found = lc.debug.report(lc.Stack([both, lc.Linear(4, 1, seed=3)]), x, title="<small>")
    assert found.explorer.steps.keys() == {"0.fw", "0.bw"}
    text = found.html()
    assert "<script" not in text  # it stands in a frame of its own
    assert text.count("<iframe") == 1
    assert "Open in the explorer" in text
    assert "<iframe" not in found._repr_html_()  # a notebook shows it when it is asked: lc.debug.explain_step


@pytest.fixture(scope="module")
def page(request):
    reason = browser.missing()
    if reason and request.config.getoption("--require-peers"):
        pytest.fail(f"{reason} (--require-peers was given)", pytrace=False)
    if reason:
        pytest.skip(reason)
    with browser.browser() as page:
        yield page


def test_a_reader_sees_the_findings_and_folds_the_rest(page, tmp_path):
    found = reported(shut())
    page.open(found.save(tmp_path / "page.html").as_uri())
    assert page.text("h1") == "Loops <1 & 2>"
    seen = page.text("#findings")
    for finding in found.findings:
        assert finding.text in seen
    top, height = page.script(
        "const box = document.querySelector('#findings li.bad').getBoundingClientRect(); return [box.top, innerHeight]"
    )
    assert 0 < top < height  # a worry stands on the first screen
    for section in ("ledger", "flow", "padding", "tripwire"):
        open_before = page.script("return document.getElementById(arguments[0]).open", section)
        page.click(f"#{section} > summary")
        assert page.script("return document.getElementById(arguments[0]).open", section) is not open_before
        page.click(f"#{section} > summary")
    shown = "return document.querySelector('#ledger pre').checkVisibility()"
    assert page.script(shown) is False
    page.click("#ledger details > summary")
    assert page.script(shown) is True
    assert "the parts against the engine's total" in page.text("#ledger pre")


def test_a_reader_asks_a_number_of_a_small_step(page, tmp_path):
    x = np.random.default_rng(6).standard_normal((3, 2, 1), dtype="float32")
    layer = lc.LSTM(1, 2, seed=1, engine="reference")
    y, _, _ = layer.forward(x)
    page.open(lc.debug.report(layer, x).save(tmp_path / "small.html").as_uri())
    page.click("#explorer > summary")
    page.enter("#explorer iframe")
    page.click(".num[data-name='h[2,0]']")
    value = float(page.text("#inspector [data-role=value]").replace("\u2212", "-"))
    assert abs(value - y[2, 0, 0]) <= 4 * np.finfo("float32").eps * np.abs(y).max()


def test_the_drawings_show_the_numbers(page, tmp_path):
    """Squares for steps that are all padding are empty; the brightest square says the largest norm."""
    x, loss = data()
    mask = MASK.copy()
    mask[9:] = False
    found = lc.debug.report(model(), x, loss, mask=mask, title="short")
    page.open(found.save(tmp_path / "page.html").as_uri())
    squares = page.script(
        "return [...document.querySelectorAll('#ledger g#squares-0 path')]"
        ".map(r => [r.querySelector('title').textContent, r.style.fill, r.getBoundingClientRect().width])"
    )
    assert len(squares) == T * 7  # i f g through h and along c, o through h
    assert all(width > 5 for _, _, width in squares)
    for title, fill, _ in squares:
        step, norm = re.match(r"step (\d+), .*: ([\d.e+-]+)$", title).groups()
        assert (fill == "none") == (int(step) >= 9 or norm == "0")
    (brightest,) = {title for title, fill, _ in squares if fill == "rgb(253, 231, 37)"}
    largest = found.ledger["0.fw.W_ih"].norms.max()
    assert float(brightest.split(": ")[1]) == pytest.approx(largest, rel=5e-3)  # 3 digits
    letters = page.script(
        "return [...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
    )
    assert min(letters) > 8
    assert page.script("return document.querySelectorAll('#flow path').length") >= 8
