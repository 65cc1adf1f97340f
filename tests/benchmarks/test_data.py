"""Public sets as jobs: files as they are published, only smaller, and the same problem on both sides."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import lstmcore as lc
from benchmarks import rows, sets
from lstmcore.recipes import text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every file, of a few rows each."""
    there, rng = tmp_path_factory.mktemp("sets"), np.random.default_rng(0)

    def utterance(k):
        T = rng.integers(3, 9)
        numbers = rng.standard_normal((12, T)) + k % 3
        return ":".join([",".join(f"{x:.4f}" for x in row) for row in numbers] + [str(1 + k % 3)])

    for part, N in (("TRAIN", 40), ("TEST", 12)):
        lines = ["#about", "@problemName JapaneseVowels", "@data", *map(utterance, range(N))]
        (there / f"JapaneseVowels_{part}.ts").write_text("\n".join(lines))
    chorale = [[[60, 64, 67], [62, 65], [], [108, 21]], [[60], [62]], [[61, 62, 63]] * 5]
    (there / "jsb-chorales-quarter.json").write_text(json.dumps(dict.fromkeys(("train", "valid", "test"), chorale)))
    hours = ["No,pm2.5,DEWP,TEMP,PRES,Iws"]
    for k in range(400):
        dust = "NA" if k % 50 in (3, 4) else f"{80 + 30 * np.sin(k / 4):.0f}"
        hours.append(f"{k + 1},{dust},{k % 7},{k % 24},{1000 + k % 5},{k % 11}.5")
    (there / "pollution.csv").write_text("\n".join(hours))
    for part in ("train", "valid", "test"):
        (there / f"ptb.{part}.txt").write_text(" the <unk> sat on a mat N times \n" * 750)
    return there


@pytest.fixture
def data(torch, monkeypatch):
    """The jobs, whose other side is torch; the text's models smaller."""
    from benchmarks import data

    options = text.Options(hidden=4, embedding=3, batch=4, steps=20, epochs=2, dropout=0.0)
    monkeypatch.setitem(data.SETS, "ptb-characters", lambda folder: sets.ptb(folder, "character", 6000, options))
    monkeypatch.setitem(data.SETS, "ptb-words", lambda folder: sets.ptb(folder, "word", 6750, options))
    return data


@pytest.mark.parametrize("name", ["vowels", "jsb", "pm25", "pm25-weather", "ptb-characters", "ptb-words"])
def test_both_sides_have_the_same_problem(data, folder, name):
    """The first losses agree to float32, over sums of at most 20,000 terms: 1e-5; and so do the weights of one update,
    without dropout, of which each has moved by the rate or less."""
    found = data.SETS[name](folder)
    short = found._replace(work=lambda seed: found.work(seed)._replace(epochs=1))
    written = data.measured(name, short, seed=1)
    assert {row.contestant for row in written} == {"lstmcore", "torch"}
    assert all(row.start <= 1e-5 and np.isfinite(row.score) and row.floors for row in written)
    assert written[0].metric == written[len(written) // 2].metric
    own, other = (found.work(1) for _ in range(2))
    twin = data.Twin(other, found.loss)
    one = [next(iter(own.batches))]
    if any(isinstance(layer, lc.Dropout) and layer.p for layer in own.model.layers):
        return
    twin.work = other._replace(batches=one, epochs=1, validation=None)
    twin.train()
    there = lc.from_torch(twin.module, tell=lambda words: None)
    lc.fit(own.model, found.loss, one, lc.Adam(), epochs=1, schedule=own.schedule, clip=data.CLIP)
    rate = own.schedule(0)
    for key, w in own.model.params.items():
        apart = np.abs(w - there.params[key])
        assert np.mean(apart > 0.01 * rate) < 0.01, (
            key
        )  # where g is near zero its sign, and so Adam's step, is rounding


def test_what_is_learnt_from_is_not_tested_on(data, folder):
    """And the parts are those of the set."""
    assert data.SETS["vowels"](folder).items == "36, 4, 12 utterances"
    assert data.SETS["jsb"](folder).items == "3, 3, 3 chorales"
    assert data.SETS["pm25"](folder).items == "320, 0, 80 hours"
    assert data.SETS["ptb-words"](folder).items == "6,750, 1,687, 6,750 words"


def test_gaps_are_taken_out_before_torch_reads(data):
    mask = np.array([[True, False], [False, True], [True, True]])
    x, targets = np.arange(6.0).reshape(3, 2, 1), np.arange(6).reshape(3, 2)
    got, wanted, lengths = data.compressed((lc.train.Batch)(x, targets, mask))
    assert lengths.tolist() == [2, 2]
    assert got[:2, :, 0].T.tolist() == [[0, 4], [3, 5]]
    assert wanted[:2].T.tolist() == [[0, 4], [3, 5]]
    assert data.compressed(lc.train.Batch(x, targets[0], mask))[1].tolist() == [0, 1]  # one target for a row


def test_the_command(data, folder, tmp_path, monkeypatch):
    """Rows in a file and a table; a set that is not there is named, and is an exit code of 1."""
    import typer

    app = typer.Typer()
    app.command()(data.command)
    full = data.SETS["jsb"](folder)
    monkeypatch.setitem(
        data.SETS, "jsb", lambda folder: full._replace(work=lambda seed: full.work(seed)._replace(epochs=1))
    )
    run = CliRunner().invoke(app, [str(folder), "--sets", "jsb", "--seeds", "1", "--out", str(tmp_path / "rows.csv")])
    assert run.exit_code == 0, run.output
    assert "| jsb | nats per chord |" in run.stdout
    written = rows.read(tmp_path / "rows.csv", data.Learnt)
    assert [(row.seed, row.contestant) for row in written] == [(0, who) for who in ("lstmcore", "torch")]
    run = CliRunner().invoke(app, [str(tmp_path), "--sets", "vowels", "--out", str(tmp_path / "rows.csv")])
    assert run.exit_code == 1
    assert "vowels is left out, for" in run.stderr
    run = CliRunner().invoke(app, [str(folder), "--sets", "jbs"])
    assert run.exit_code == 2
    assert "there is no set jbs; there are vowels, jsb" in run.stderr
