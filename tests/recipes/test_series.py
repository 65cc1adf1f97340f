"""Series: what is read from a file, what a naive forecast is, and that a rolled-out forecast reads itself."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lstmcore.recipes import series
from lstmcore.recipes.series import Options

SMALL = Options(hidden=8, window=30, horizon=10, epochs=15, batch=8)


def sine(n: int = 400, period: int = 10) -> np.ndarray:
    return 5 + 2 * np.sin(2 * np.pi * np.arange(n) / period)


def test_reading(tmp_path):
    file = tmp_path / "load.csv"
    file.write_text('hour,load,"outside, °C"\n0,1.5,20\n1,-2e3,21\n2, 7 ,22\n')
    np.testing.assert_array_equal(series.read(file, "load"), [1.5, -2000, 7])
    np.testing.assert_array_equal(series.read(file, "outside, °C"), [20, 21, 22])
    (tmp_path / "one.csv").write_text("\ufeffvalue\n1\n2\n", encoding="utf-8")
    np.testing.assert_array_equal(series.read(tmp_path / "one.csv", None), [1, 2])


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        ("a,b\n1,2\n", "c", "has no column 'c'; it has a, b"),
        ("a,b\n1,2\n", None, "has the columns a, b; say which one with --column"),
        ("", "a", "has no column 'a'; it has none"),
        ("a,b\n1,2\n3,high\n", "b", "line 3: column 'b' should hold a finite number; got 'high'"),
        ("a,b\n1,2\n3,\n", "b", "line 3: column 'b' should hold a finite number; got nothing"),
        ("a,b\n1,2\n3\n", "b", "line 3: column 'b' should hold a finite number; got nothing"),
        ("a\nnan\n", "a", "line 2: column 'a' should hold a finite number; got 'nan'"),
        ("a\n1e999\n", "a", "should hold a finite number; got '1e999'"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, column, message):
    file = tmp_path / "data.csv"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        series.read(file, column)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "data.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    with pytest.raises(ValueError, match="should be a CSV file in UTF-8"):
        series.read(tmp_path / "data.csv", "a")


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
    mean, deviation = result.scale
    z = ((result.values - mean) / deviation).astype(np.float32)
    origins = result.origins[[0, 3, -1]]
    one_step, rolled = series.forecast(result.model, z, result.learnt, origins, 5)
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
