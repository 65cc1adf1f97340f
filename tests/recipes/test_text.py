"""Text: nothing is lost between file, classes and samples; a short training beats counting."""

import json
import math

import numpy as np
import pytest

from lstmcore.recipes import text
from lstmcore.recipes.text import Options

SMALL = Options(hidden=24, embedding=8, batch=4, steps=16, epochs=4, lr=0.02, dropout=0.0)


def rhyme(n: int) -> str:
    """Words of three letters whose last letter is the first one again: pairs of symbols do not tell that."""
    rng = np.random.default_rng(0)
    words = [first + middle + first for first in "abcd" for middle in "xyz"]
    return "".join(words[k] for k in rng.integers(0, len(words), n))


def test_split_keeps_every_symbol():
    symbols, learnt, held_back = text.split(rhyme(500))
    assert symbols == "abcdxyz"
    assert (len(learnt), len(held_back)) == (1350, 150)
    assert "".join(symbols[k] for k in np.append(learnt, held_back)) == rhyme(500)


@pytest.mark.parametrize(("short", "found"), [("ab" * 400, "800, of 2"), ("a" * 2000, "2,000, of 1")])
def test_what_is_hardly_a_text_is_refused(short, found):
    with pytest.raises(ValueError, match=rf"should have at least 1,000 characters.*; got {found}"):
        text.split(short)


def test_symbols_beyond_ascii():
    assert text.encode("aß字😀", "aß字😀").tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"the text learnt from has no '\?', 'é'; its symbols are 'ab'"):
        text.encode("aé?", "ab")


def test_reading(tmp_path):
    (tmp_path / "text").write_text("für ever", encoding="utf-8")
    assert text.read(tmp_path / "text") == "für ever"
    assert text.read(tmp_path / "text", limit=2) == "fü"
    (tmp_path / "no text").write_bytes(b"ab\xff\xfe")
    with pytest.raises(ValueError, match="should be text in UTF-8; byte 2 is none"):
        text.read(tmp_path / "no text")
    told = []
    for encoding, words in (("utf-8-sig", "1 byte order mark"), ("utf-16", "in UTF-16, 1"), ("utf-32", "in UTF-32, 1")):
        (tmp_path / "marked").write_bytes("für 🐈\r\never".encode(encoding))
        assert text.read(tmp_path / "marked", tell=told.append) == "für 🐈\never"
        assert told.pop().startswith(f"{tmp_path / 'marked'}: {words}")
    (tmp_path / "joined").write_text("\ufeffone\n\ufefftwo\n", encoding="utf-8")
    assert text.read(tmp_path / "joined", tell=told.append) == "one\ntwo\n"
    assert told.pop().endswith("joined: 2 byte order marks left out")
    for encoding in ("utf-16-le", "utf-16-be"):
        (tmp_path / "bare").write_bytes("für ever".encode(encoding))
        with pytest.raises(ValueError, match=r"should be text in UTF-8"):
            text.read(tmp_path / "bare")
    (tmp_path / "bare").write_bytes("for ever".encode("utf-16-le"))
    with pytest.raises(ValueError, match=r"symbol 1 is a zero \(UTF-16 without a byte order mark\? iconv"):
        text.read(tmp_path / "bare")
    with pytest.raises(OSError, match="nowhere"):
        text.read(tmp_path / "nowhere")
    standard = text.read(None, limit=100_000)
    assert len(standard) == 100_000
    assert "import" in standard


def test_counting_by_hand():
    """a b a b a: each symbol seen 3 + 1 and 2 + 1 times, ab 2.1 of 2.2 times, ba 2.1 of 2.2."""
    learnt, held_back = np.array([0, 1, 0, 1, 0]), np.array([0, 1, 1])
    unigram, bigram = text.counted(learnt, held_back, 2)
    assert unigram == pytest.approx(-math.log(3 / 7))
    assert bigram == pytest.approx(-(math.log(2.1 / 2.2) + math.log(0.1 / 2.2)) / 2)


def test_learns_what_pairs_do_not_tell(tmp_path):
    """A third of the letters is drawn from four, a third from three, the last repeats the first: log 12 / 3 nats."""
    result = text.run(rhyme(3000), SMALL, progress=False)
    assert math.log(12) / 3 < result.nats < 0.9 < 1.1 < result.bigram < result.unigram
    assert result.nats == result.history["epochs"][-1]["validation"]
    assert result.bits == pytest.approx(result.nats / math.log(2))

    text.save(tmp_path, result, SMALL)
    text.draw(tmp_path / "picture.png", result)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == text.metrics(result, SMALL)
    net, symbols = text.load(tmp_path)
    assert symbols == result.symbols
    one, two, other = ("".join(text.sample(net, symbols, 60, 0.5, seed, "axa")) for seed in (1, 1, 2))
    assert one == two != other
    words = [one[k : k + 3] for k in range(0, 60, 3)]
    assert sum(word[0] == word[2] for word in words) >= 15  # at this temperature; guessing gets 5 of 20

    (tmp_path / "metrics.json").write_text('{"symbols": "abc"}')
    with pytest.raises(ValueError, match="does not hold the symbols of the model beside it"):
        text.load(tmp_path)


def test_sampling_goes_by_the_temperature():
    net = text.model(SMALL, 3, np.random.default_rng(0))
    net.params["3.b"][...] = [0, 1, 2]
    net.params["3.W"][...] = 0
    draws = "".join(text.sample(net, "abc", 4000, 0.5, seed=0, start="a"))
    p = np.exp(np.array([0, 2, 4]))
    p /= p.sum()
    shares = [draws.count(symbol) / 4000 for symbol in "abc"]
    np.testing.assert_allclose(shares, p, atol=5 * 0.5 / 4000**0.5)  # 5 deviations of at most 0.5 / sqrt(n)
    assert "".join(text.sample(net, "abc", 5, 0, start="a")) == "ccccc"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": ""}, "`start` should hold at least one symbol"),
        ({"start": "x"}, "the text learnt from has no 'x'"),
        ({"start": "a", "temperature": -1.0}, "`temperature` should be a number from 0 up; got -1"),
        ({"start": "a", "temperature": math.nan}, "`temperature` should be a number from 0 up; got nan"),
    ],
)
def test_samples_that_make_no_sense(options, message):
    net = text.model(SMALL, 3, np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        list(text.sample(net, "abc", 5, **options))


def test_a_sample_goes_on_from_the_whole_start():
    """Symbol by symbol, each after a full pass over all before it."""
    net = text.model(SMALL, 3, np.random.default_rng(0))
    told = "ab" + "".join(text.sample(net, "abc", 6, 0, start="ab"))
    for k in range(2, 8):
        y, _ = net.predict(text.encode(told[:k], "abc")[:, None])
        assert told[k] == "abc"[int(y[-1, 0].argmax())]
