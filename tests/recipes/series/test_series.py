"""Series: what is read from a file, what a naive forecast is, and that a rolled-out forecast reads itself."""

import json
from dataclasses import replace

import numpy as np
import pytest
from command import here_and_now
from typer.testing import CliRunner

from lstmcore.cli import app
from lstmcore.recipes import series
from lstmcore.recipes.series import Options

SMALL = Options(hidden=8, window=30, horizon=10, epochs=15, batch=8)


def sine(n: int = 400, period: int = 10) -> np.ndarray:
    return 5 + 2 * np.sin(2 * np.pi * np.arange(n) / period)


@pytest.mark.parametrize("season", [0, 321])
def test_a_season_that_nobody_has_seen(season):
    with pytest.raises(ValueError, match=f"`season` should be 1 to 320, the steps that are learnt from; got {season}"):
        series.run(sine(), replace(SMALL, season=season), progress=False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (sine(70), "the series is too short: 70 values, of which the first 56 are learnt from"),
        (np.ones(400), "does not vary where it is learnt from"),
    ],
)
def test_series_that_cannot_be_forecast(values, message):
    with pytest.raises(ValueError, match=message):
        series.run(values, SMALL, progress=False)


def test_the_length_that_the_complaint_asks_for_is_enough():
    with pytest.raises(ValueError, match="need at least") as error:
        series.check(sine(5), SMALL)
    enough = int(str(error.value).split()[-1])
    assert series.check(sine(enough), SMALL) == enough - round(0.2 * enough)


@pytest.mark.parametrize("period", [2, 7, 24, 60])
def test_the_season_is_found(period):
    noise = np.random.default_rng(0).standard_normal(400)
    wave = np.cos(2 * np.pi * np.arange(400) / period)
    assert series.find_season(5 + wave + 0.1 * noise) == period


def test_no_season_in_a_straight_line_and_in_noise():
    assert series.find_season(np.ones(50)) == 1
    assert series.find_season(np.random.default_rng(0).standard_normal(400)) == 1


def test_naive_forecasts_on_a_repeating_series():
    values = np.arange(40) % 4 * 1.0
    origins = np.array([33, 35])
    forecasts = series.naive(values, 32, 4, origins, 5)
    np.testing.assert_array_equal(forecasts["season before"].one_step, values[32:])
    np.testing.assert_array_equal(forecasts["season before"].rolled, [values[33:38], values[35:40]])
    np.testing.assert_array_equal(forecasts["last value"].one_step, values[31:39])
    np.testing.assert_array_equal(forecasts["last value"].rolled, [[0] * 5, [2] * 5])
    np.testing.assert_array_equal(forecasts["mean"].rolled, np.full((2, 5), 1.5))


def test_rolled_out_is_step_by_step_over_its_own_values():
    """Each forecast again by hand: the whole history in one pass, then one value after the other."""
    result = series.run(sine(), SMALL, progress=False)
    x = series.inputs(result.values, result.scales, known=False)
    z = x[:, 0]
    origins = result.origins[[0, 3, -1]]
    one_step, rolled = series.forecast(result.model, x, result.learnt, origins, 5)
    assert result.origins[0] == result.learnt == 320
    assert result.origins[-1] == 390
    for k, origin in enumerate(origins):
        told = list(z[:origin])
        for _ in range(5):
            y, _ = result.model.predict(np.array(told, np.float32)[:, None, None])
            told.append(told[-1] + y[-1, 0, 0])
        # the same float32 sums of at most 9 terms in another order, 5 times each reading the one before
        np.testing.assert_allclose(rolled[k], told[origin:], rtol=0, atol=5 * 9 * 2.0**-23)
        # the first value of a rolled-out forecast is that of the next value
        assert rolled[k, 0] == pytest.approx(one_step[origin - result.learnt], abs=9 * 2.0**-23)


def test_a_sine_is_forecast_better_than_its_last_value(tmp_path):
    result = series.run(sine(), SMALL, progress=False)
    assert result.one_step_error("lstm") < 0.3 * result.one_step_error("last value")
    assert result.rolled_error("lstm").shape == (10,)
    assert result.rolled_error("lstm").mean() < 0.5 * result.rolled_error("mean").mean()
    assert result.one_step_error("season before") < 1e-12  # equal values but for the sine's own rounding
    assert result.season == 10
    metrics = series.metrics(result, SMALL)
    assert json.loads(json.dumps(metrics)) == metrics
    series.save(tmp_path, result, SMALL)
    series.draw(tmp_path / "picture.png", result)
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"


# ---- values that are missing -----------------------------------------------------------------------------------------


def gappy(n: int = 400) -> np.ndarray:
    """The sine without a sixth of its values, single ones and runs."""
    values = sine(n)
    values[np.random.default_rng(3).choice(n, n // 10, replace=False)] = np.nan
    values[150:160] = values[300:306] = values[340:350] = np.nan
    return values


def test_what_is_missing_is_neither_learnt_nor_counted():
    """NaN reaches no weight and no error; what stands in the place of a missing value changes no bit."""
    values = gappy()
    batches = series.job(values, SMALL).batches
    assert batches.mask is not None
    assert not np.isnan(batches.x[batches.mask]).any()
    assert not np.isnan(batches.targets[batches.mask]).any()
    result = series.run(values, SMALL, progress=False)
    assert not result.history["diverged"]
    for name in result.forecasts:
        assert np.isfinite(result.one_step_error(name))
        assert np.isfinite(result.rolled_error(name)).all()
    assert not np.isnan(values[result.origins - 1]).any()
    assert series.metrics(result, SMALL)["missing"] == np.isnan(values).sum()
    assert result.one_step_error("lstm") < 0.5 * result.one_step_error("last value")


def test_errors_over_what_is_there_by_hand():
    values = np.arange(10.0)
    values[8] = np.nan
    told = series.Forecasts(np.array([5, 6, 7, np.nan]), np.full((1, 3), 6.0))  # nothing is told from the missing 8
    forecasts = {"lstm": told} | series.naive(values, 6, 2, np.array([7]), 3)
    result = series.Result(None, {}, values, 6, 2, np.array([7]), forecasts, np.eye(1, 2, 1), "", 0)
    assert result.one_step_error("last value") == 1  # of 6 and 7; 8 is not there, and 9 follows nothing
    np.testing.assert_array_equal(result.rolled_error("last value")[[0, 2]], [1, 3])
    assert np.isnan(result.rolled_error("last value")[1])  # one origin, and that value is not there


def test_a_forecast_carries_its_state_over_what_is_missing():
    """As a network does that reads only the values that are there."""
    values = gappy()
    learnt = series.check(values, SMALL)
    x = series.inputs(values, series.scales_of(values, learnt), known=False)
    z = x[:, 0]
    net = series.job(values, SMALL).model
    one_step, rolled = series.forecast(net, x, learnt, np.array([333]), 2)
    y, _ = net.predict(z[:333][~np.isnan(z[:333])][:, None, None])
    assert rolled[0, 0] == pytest.approx(z[332] + y[-1, 0, 0], abs=2.0**-20)  # the same steps, of other batch shapes
    assert np.array_equal(np.isnan(one_step), np.isnan(z[learnt - 1 : -1]))


@pytest.mark.parametrize("gone", [np.s_[::2], np.s_[320:]])
def test_too_much_is_missing(gone):
    values = sine()
    values[gone] = np.nan
    with pytest.raises(ValueError, match=r"too much is missing: \d+ of 400 values; .* \(--missing fill\?\)"):
        series.run(values, SMALL, progress=False)


def test_what_comes_next(tmp_path):
    """From the end of the series, each value read as if it had come: as the rolled-out forecasts of the training. The
    band holds four of five true values of the test part, by steps ahead."""
    values = sine()
    values[[100, 222, 390]] = np.nan
    result = series.run(values, SMALL, progress=False)
    series.save(tmp_path, result, SMALL)
    forecaster = series.load(tmp_path)
    for k in (0, len(result.origins) - 1):
        origin = int(result.origins[k])
        told = forecaster.ahead(values[:origin], 10)
        np.testing.assert_allclose(told, result.forecasts["lstm"].rolled[k], rtol=0, atol=1e-4)  # float32, rounded
        later = forecaster.ahead(np.append(values[:origin], [np.nan] * 3), 7)  # missing at the end: three steps later
        np.testing.assert_allclose(later, told[3:], rtol=0, atol=1e-4)
    errors = np.abs(result.forecasts["lstm"].rolled - values[result.origins[:, None] + np.arange(10)])
    within = np.mean(errors <= forecaster.band + 1e-9, axis=0, where=~np.isnan(errors))
    assert (within >= 0.8 - 0.05).all()
    assert (within < 1).any()
    assert np.abs(forecaster.ahead(values, 10) - sine(410)[400:]).max() < 0.5  # it has learnt the sine
    for bad, words in (((values, 0), "`steps` should be 1 to"), ((np.full(9, np.nan), 3), "two values at least")):
        with pytest.raises(ValueError, match=words):
            forecaster.ahead(*bad)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    del metrics["band"]
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="does not hold what `train series` leaves"):
        series.load(tmp_path)


# ---- columns beside the series ---------------------------------------------------------------------------------------

BESIDE = replace(SMALL, beside=("wind",))
KNOWN = replace(BESIDE, known=True)


def driven(n: int = 400) -> np.ndarray:
    """(n, 2): a value follows the wind of its own step; the wind is noise, so that the past tells nothing of it."""
    wind = np.random.default_rng(5).standard_normal(n)
    return np.stack([10 + 3 * wind, wind], axis=1)


def test_what_is_read_at_a_step():
    """Columns known ahead are read one step before their time: the last step then has none."""
    values = np.array([[1.0, 10.0, 5.0], [3.0, np.nan, 6.0], [5.0, 30.0, 7.0]])
    scales = np.array([[3.0, 2.0], [20.0, 10.0], [6.0, 1.0]])
    np.testing.assert_array_equal(series.inputs(values, scales, False), [[-1, -1, -1], [0, np.nan, 0], [1, 1, 1]])
    early = [[-1, np.nan, 0], [0, 1, 1], [1, np.nan, np.nan]]
    np.testing.assert_array_equal(series.inputs(values, scales, True), early)
    np.testing.assert_array_equal(series.scales_of(values, 2)[:, 0], [2, 10, 5.5])  # nothing of what is tested on


def test_a_column_that_is_known_ahead_tells_what_the_past_cannot(tmp_path):
    """The rolled-out forecasts again by hand; what is saved forecasts as they do, and asks for what it needs."""
    values = driven()
    values[[50, 333], [1, 0]] = np.nan
    result = series.run(values, KNOWN, progress=False)
    deviation = result.scales[0, 1]
    assert series.run(values, BESIDE, progress=False).one_step_error("lstm") > 0.9 * deviation
    assert result.one_step_error("lstm") < 0.3 * deviation
    assert result.rolled_error("lstm")[-1] < 0.3 * deviation
    x = series.inputs(values, result.scales, known=True)
    origin = int(result.origins[-1])
    there = ~np.isnan(x[:origin]).any(axis=1)
    told, read = list(x[:origin][there]), []
    for step in range(10):
        y, _ = result.model.predict(np.array(told, np.float32)[:, None])
        read.append(told[-1][0] + y[-1, 0, 0])
        told.append(np.array([read[-1], x[origin + step, 1]]))
    expected = result.scales[0, 0] + deviation * np.array(read)
    np.testing.assert_allclose(result.forecasts["lstm"].rolled[-1], expected, rtol=0, atol=1e-4)  # float32, rounded
    series.save(tmp_path, result, KNOWN)
    forecaster = series.load(tmp_path)
    ahead = values.copy()
    ahead[origin:, 0] = np.nan  # the rows after the last value tell the wind alone
    np.testing.assert_allclose(forecaster.ahead(ahead, 10), result.forecasts["lstm"].rolled[-1], rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match=r"11 steps ahead need as many rows .* which tell wind .*; there are 10"):
        forecaster.ahead(ahead, 11)
    ahead[origin + 3, 1] = np.nan
    assert forecaster.ahead(ahead, 3).shape == (3,)
    with pytest.raises(ValueError, match="wind is missing 4 steps after the last value"):
        forecaster.ahead(ahead, 4)
    with pytest.raises(ValueError, match=r"`values` should have 2 columns, the series, wind; got 1"):
        forecaster.ahead(values[:, 0], 3)


def test_a_step_without_its_column_is_masked():
    """No bit depends on what stands there, nothing is told from there, and no forecast begins there."""
    values = gappy()
    values = np.stack([values, np.cos(np.arange(400.0))], axis=1)
    values[40:50, 1] = values[330:340, 1] = values[380, 1] = np.nan
    batches = series.job(values, BESIDE).batches
    assert not np.isnan(batches.x[batches.mask]).any()
    assert not np.isnan(batches.targets[batches.mask]).any()
    result = series.run(values, BESIDE, progress=False)
    assert not result.history["diverged"]
    assert np.isnan(result.forecasts["lstm"].one_step[11:20]).all()  # of the values 331 to 339
    assert not np.isnan(values[result.origins - 1]).any()
    for name in result.forecasts:
        assert np.isfinite(result.one_step_error(name))
        assert np.isfinite(result.rolled_error(name)).all()


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (driven()[:, 0], BESIDE, "`values` should have 2 columns, as `beside` says; got 1"),
        (driven() * [1, 0], BESIDE, "the column 'wind' does not vary where it is learnt from: leave it out"),
        (np.where([True, False], driven(), np.nan), BESIDE, "the column 'wind' does not vary"),
        (np.where(np.arange(400)[:, None] < [400, 300], driven(), np.nan), BESIDE, "too much is missing"),
    ],
)
def test_columns_of_no_use(values, options, message):
    with pytest.raises(ValueError, match=message):
        series.run(values, options, progress=False)


def test_the_commands_with_columns(tmp_path, monkeypatch):
    """From a file of weather to a forecast, by rows behind its last value; what they say where it does not fit."""
    monkeypatch.chdir(tmp_path)
    head, values = "day,MW,wind,gust", driven(300)
    rows = [f"{k},{MW:.4f},{wind:.4f},{wind * wind:.4f}" for k, (MW, wind) in enumerate(values)]
    (tmp_path / "load.csv").write_text("\n".join([head, *rows]))
    (tmp_path / "next.csv").write_text("\n".join([head, *rows, "300,,0.5,0.1", "301,,-0.5,0.1"]))
    few = ["--hidden", "4", "--window", "30", "--horizon", "4", "--epochs", "2", "--engine", "reference"]
    train = ["train", "series", "load.csv", "--column", "MW", *few]
    assert here_and_now([*train, "--with", "wind", "--with", "gust", "--known", "--out", "known"]) == (0, "")
    assert here_and_now([*train, "--with", "wind", "--out", "held"]) == (0, "")
    assert here_and_now(["train", "series", "load.csv", "--column", "MW", "--from", "known", "--out", "more"])[0] == 0
    assert json.loads((tmp_path / "more" / "metrics.json").read_text())["options"]["beside"] == ["wind", "gust"]
    told = CliRunner().invoke(
        app, ["predict", "series", "known", "next.csv", "--column", "MW", "--steps", "2", "--json"]
    )
    assert len(json.loads(told.stdout)["forecast"]) == 2
    assert here_and_now(["predict", "series", "held", "load.csv", "--column", "MW"]) == (0, "")
    for words, message in (
        (["predict", "series", "known", "load.csv", "--column", "MW"], "there are 0"),
        (["predict", "series", "known", "next.csv", "--column", "MW", "--steps", "3"], "there are 2"),
        ([*train, "--with", "wnd"], "has no column 'wnd' (did you mean 'wind'?)"),
        ([*train, "--with", "MW"], "the columns beside 'MW' (--with) should be others, each once; got MW"),
        ([*train, "--with", "wind", "--with", "wind"], "each once; got wind, wind"),
        ([*train, "--known"], "--known says something of the columns of --with"),
        (["train", "series", "--with", "wind", *few], "--with needs the FILE that the column is in"),
        (
            [*train, "--from", "held", "--with", "gust", "--with", "wind", "--out", "other"],
            "leave out the options that",
        ),
    ):
        status, said = here_and_now(words)
        assert status == 2, words
        assert message in said
        assert len(said.strip().splitlines()) <= 2  # what was understood of the file, and what is wrong


def test_the_command_that_forecasts(tmp_path):
    lines = ["t,MW", *(f"{k},{value:.4f}" for k, value in enumerate(sine(), 1))]
    (tmp_path / "load.csv").write_text("\n".join(lines))
    run, data = str(tmp_path / "run"), str(tmp_path / "load.csv")
    train = ["train", "series", data, "--column", "MW", "--out", run]
    assert here_and_now([*train, *["--hidden", "8", "--window", "30", "--horizon", "4", "--epochs", "3"]])[0] == 0
    answer = CliRunner().invoke(app, ["predict", "series", run, data, "--column", "MW", "--steps", "6", "--json"])
    told = json.loads(answer.stdout)
    assert [len(told[name]) for name in ("forecast", "low", "high")] == [6, 6, 6]
    assert all(low <= value <= high for low, value, high in zip(told["low"], told["forecast"], told["high"][:4]))
    assert told["low"][4:] == [None, None]  # beyond the horizon nobody has looked
    assert here_and_now(["predict", "series", run, data, "--column", "MW"]) == (0, "")
    assert here_and_now(["predict", "series", run, data, "--column", "GW"])[0] == 2
    assert here_and_now(["predict", "series", str(tmp_path), data])[0] == 2
