"""Text: nothing is lost between file, classes and samples; a short training beats counting."""

import json
import math

import numpy as np
import pytest
from command import here_and_now

from lstmcore.recipes import text
from lstmcore.recipes.text import Options

SMALL = Options(hidden=24, embedding=8, batch=4, steps=16, epochs=4, lr=0.02, dropout=0.0)


def rhyme(n: int) -> str:
    """Words of three letters whose last letter is the first one again: pairs of symbols do not tell that."""
    rng = np.random.default_rng(0)
    words = [first + middle + first for first in "abcd" for middle in "xyz"]
    return "".join(words[k] for k in rng.integers(0, len(words), n))


def test_split_keeps_every_symbol():
    symbols, learnt, held_back = text.split(rhyme(500), SMALL)
    assert symbols == "abcdxyz"
    assert (len(learnt), len(held_back)) == (1350, 150)
    assert "".join(symbols[k] for k in np.append(learnt, held_back)) == rhyme(500)


@pytest.mark.parametrize(("short", "found"), [("ab" * 400, "800, of 2"), ("a" * 2000, "2,000, of 1")])
def test_what_is_hardly_a_text_is_refused(short, found):
    with pytest.raises(ValueError, match=rf"should have at least 1,000 characters.*; got {found}"):
        text.split(short, SMALL)


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
    assert result.nats == min(row["validation"] for row in result.history["epochs"])
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
        ({"start": "a", "top_k": 0}, "`top_k` should be at least 1; got 0"),
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


def test_draws_from_the_likeliest_alone():
    net = text.model(SMALL, 3, np.random.default_rng(0))
    net.params["3.b"][...] = [0, 1, 0.9]
    net.params["3.W"][...] = 0
    draws = "".join(text.sample(net, "abc", 2000, 1.0, seed=0, start="a", top_k=2))
    assert set(draws) == {"b", "c"}
    share = 1 / (1 + math.exp(-0.1))
    assert abs(draws.count("b") / 2000 - share) <= 5 * 0.5 / 2000**0.5  # 5 deviations
    assert set(text.sample(net, "abc", 50, 1.0, seed=0, start="a", top_k=1)) == {"b"}
    assert set(text.sample(net, "abc", 500, 1.0, seed=0, start="a", top_k=9)) == {"a", "b", "c"}


def nursery(lines: int) -> str:
    """Lines of words: who, what they do, and, after the end of the line, who again in the same order."""
    rng = np.random.default_rng(0)
    return "".join(f"{who} {rng.choice(['sings', 'sleeps'])} well\n" for _ in range(lines) for who in ("Ann", "Bob"))


def test_words(tmp_path):
    """Of eight words three of four follow from the one before them, or the one two before; the fourth is tossed: log 2
    / 4 nats. Words beyond the most frequent ones are one, and lines end with a word of their own."""
    read = nursery(400)
    few = Options(hidden=24, embedding=8, batch=4, steps=16, epochs=6, lr=0.02, dropout=0.0, level="word", words=8)
    symbols, learnt, held_back = text.split(read, few)
    assert symbols == ["\n", "<unk>", "Ann", "Bob", "sings", "sleeps", "well"]
    assert (len(learnt), len(held_back)) == (2880, 320)
    result = text.run(read, few, progress=False)
    assert math.log(2) / 4 < result.nats < 0.2 < 0.3 < result.bigram < result.unigram
    assert result.perplexity == math.exp(result.nats)
    text.save(tmp_path, result, few)
    net, again = text.load(tmp_path)
    assert again == symbols
    written = "Ann" + "".join(text.sample(net, symbols, 7, 0.1, 1, "Ann"))
    first, second = written.split("\n")[:2]
    assert (first.split()[0], second.split()[0]) == ("Ann", "Bob")
    assert first in ("Ann sings well", "Ann sleeps well")
    with pytest.raises(ValueError, match="the text learnt from has no 'Cat'"):
        next(text.sample(net, symbols, 7, 1.0, 1, "Cat"))
    symbols, learnt, _ = text.split(read, Options(level="word", words=4))
    assert len(symbols) == 4
    assert "<unk>" in symbols
    assert (learnt == symbols.index("<unk>")).any()


def test_the_best_epoch_is_kept():
    """Noise cannot be foreseen: what learns it by heart gets worse, and the run ends before its time."""
    rng = np.random.default_rng(0)
    noise = "".join(rng.choice(list("abcdefgh"), 1200))
    options = Options(hidden=48, embedding=8, batch=4, steps=32, epochs=60, patience=3, lr=0.05, dropout=0.0)
    result = text.run(noise, options, progress=False)
    losses = [row["validation"] for row in result.history["epochs"]]
    assert result.nats == min(losses) < losses[-1]
    assert len(losses) == losses.index(min(losses)) + 4 < 60
    assert result.history["ended"].startswith("stopped early")


def test_goes_on_from_a_finished_training(tmp_path):
    """The weights and symbols of the first, and all its options but those that are said; other data, other rates."""
    (tmp_path / "one.txt").write_text(rhyme(1000))
    (tmp_path / "two.txt").write_text(rhyme(700)[:1500])
    start = f"train text {tmp_path}/one.txt --out {tmp_path}/one --json --hidden 12 --embedding 4 --batch 2 --steps 16"
    assert here_and_now([*start.split(), "--epochs", "2"]) == (0, "")
    first, _ = text.load(tmp_path / "one")
    go_on = ["train", "text", str(tmp_path / "two.txt"), "--from", str(tmp_path / "one"), "--out"]
    assert here_and_now([*go_on, str(tmp_path / "still"), "--epochs", "1", "--lr", "0"])[0] == 0
    second, symbols = text.load(tmp_path / "still")
    assert symbols == "abcdxyz"
    for name, w in first.params.items():
        np.testing.assert_array_equal(second.params[name], w)
    options = json.loads((tmp_path / "still" / "metrics.json").read_text())["options"]
    assert (options["hidden"], options["steps"], options["epochs"], options["lr"]) == (12, 16, 1, 0)

    code, words = here_and_now([*go_on, str(tmp_path / "b"), "--hidden", "13"])
    assert code == 2
    assert "leave out the options that differ" in words
    assert here_and_now(go_on[:-1]) == (2, "lstmcore: --from needs a folder for what becomes of it: --out FOLDER\n")
    assert "should differ" in here_and_now([*go_on, str(tmp_path / "one"), "--overwrite"])[1]
    code, words = here_and_now(["train", "count", "--from", str(tmp_path / "one"), "--out", str(tmp_path / "c")])
    assert (code, words) == (2, f"lstmcore: {tmp_path / 'one'} holds a run of `train text`\n")
    (tmp_path / "odd.txt").write_text(rhyme(700) + "Q")
    code, words = here_and_now(
        ["train", "text", str(tmp_path / "odd.txt"), "--from", str(tmp_path / "one"), "--out", str(tmp_path / "d")]
    )
    assert code == 2
    assert "the text learnt from has no 'Q'" in words
    code, words = here_and_now(["train", "text", "--from", str(tmp_path / "none"), "--out", str(tmp_path / "e")])
    assert code == 2
    assert "metrics.json" in words
