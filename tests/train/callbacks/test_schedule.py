"""Schedules against their closed forms."""

import copy
import json
import math

import pytest

from lstmcore.train import Constant, Cosine, Exponential, Plateau, Step, WarmUp


def close(value: float) -> object:
    """The forms below are the same up to the order of a handful of roundings, so to 16 of them in float64."""
    return pytest.approx(value, rel=16 * 2.0**-53, abs=0)


def test_constant():
    assert {Constant(0.3)(step) for step in (0, 1, 10**6)} == {0.3}


def test_step():
    schedule = Step(0.8, factor=0.5, every=10)
    assert [schedule(step) for step in (0, 9, 10, 19, 20, 35)] == [0.8, 0.8, 0.4, 0.4, 0.2, 0.1]


def test_exponential():
    schedule = Exponential(0.8, factor=0.5, every=10)
    assert schedule(5) == close(0.8 / math.sqrt(2))
    for step in (0, 10, 20, 30):  # it goes through the corners of the staircase
        assert schedule(step) == close(Step(0.8, 0.5, 10)(step))
    assert schedule(7) / schedule(6) == close(0.5 ** (1 / 10))


def test_cosine():
    schedule = Cosine(0.8, steps=100, last=0.2)
    assert schedule(0) == 0.8
    assert schedule(50) == close(0.5)  # half way, in the middle
    assert schedule(25) == close(0.2 + 0.6 * math.cos(math.pi / 8) ** 2)  # (1 + cos 2a) / 2 = cos^2 a
    assert [schedule(step) for step in (100, 101, 10**6)] == [0.2, 0.2, 0.2]
    assert Cosine(0.8, steps=100)(100) == 0.0


def test_a_cosine_of_the_largest_rate_is_finite():
    schedule = Cosine(math.nextafter(math.inf, 0), steps=10)
    assert schedule(0) == schedule.lr
    assert all(math.isfinite(schedule(step)) for step in range(20))


def test_warm_up_composes():
    schedule = WarmUp(4, Cosine(1.0, steps=100))
    assert [schedule(step) for step in range(4)] == [close(k / 5) for k in (1, 2, 3, 4)]
    assert [schedule(4 + step) for step in (0, 30, 100)] == [Cosine(1.0, steps=100)(step) for step in (0, 30, 100)]
    schedule.observe(1.0)  # a schedule without memory takes no notice
    assert schedule(4) == 1.0


def test_plateau():
    schedule = Plateau(0.8, factor=0.5, patience=3)
    rates = []
    for loss in (5.0, 4.0, 4.0, 4.0, 3.9, 3.9, 4.1, 3.9, 4.0, 4.0, 4.0, 2.0):
        schedule.observe(loss)
        rates.append(schedule(0))
    #   improvements: 5, 4, 3.9, 2; the third epoch in a row without one cuts, and the waiting starts anew
    assert rates == [0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2]


def test_plateau_asks_for_more_than_the_threshold():
    schedule = Plateau(1.0, patience=1, threshold=0.01)
    for loss, rate in ((100.0, 1.0), (99.5, 0.5), (98.9, 0.5), (-1.0, 0.5), (-1.005, 0.25), (-1.02, 0.25)):
        schedule.observe(loss)
        assert schedule(0) == rate


def test_plateau_never_falls_below_its_last_value():
    schedule = Plateau(1.0, factor=0.1, patience=1, last=0.05)
    for _ in range(5):
        schedule.observe(1.0)
    assert schedule(0) == 0.05


def test_plateau_counts_nan_as_no_improvement():
    schedule = Plateau(1.0, factor=0.5, patience=2)
    for loss in (math.nan, math.nan):
        schedule.observe(loss)
    assert schedule(0) == 0.5
    schedule.observe(3.0)
    assert schedule.state["best"] == 3.0


def test_plateau_goes_on_from_its_state():
    one, two = Plateau(1.0, patience=2), Plateau(1.0, patience=2)
    for loss in (3.0, 3.0):
        one.observe(loss)
    two.state = copy.deepcopy(one.state)
    for loss in (3.0, 3.0, 3.0, 1.0):
        one.observe(loss)
        two.observe(loss)
        assert one.state == two.state
    assert one(0) == 0.25


def test_warm_up_passes_losses_on_to_a_plateau():
    schedule = WarmUp(2, Plateau(1.0, patience=1))
    for loss in (1.0, 1.0):
        schedule.observe(loss)
    assert schedule(2) == 0.5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Step(1.0, 0.5, 0), "`every` should be a positive number of steps; got 0"),
        (lambda: Exponential(1.0, 0.5, -1), "`every` should be"),
        (lambda: Cosine(1.0, 1.5), "`steps` should be"),
        (lambda: WarmUp(0, Constant(1.0)), "`steps` should be"),
        (lambda: Plateau(1.0, factor=1.0), "`factor` should lie between 0 and 1; got 1.0"),
        (lambda: Plateau(1.0, patience=0), "`patience` should be"),
    ],
)
def test_numbers_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_memory_of_a_plateau_behind_a_rise():
    """It can be saved and put back; a schedule without a memory has none."""
    one, two = (WarmUp(2, Plateau(1.0, patience=1)) for _ in range(2))
    for loss in (3.0, 2.0, 2.5):
        one.observe(loss)
    two.state = json.loads(json.dumps(one.state))
    assert two.state == one.state == {"lr": 0.5, "best": 2.0, "waited": 0}
    assert two(7) == one(7) == 0.5
    assert WarmUp(2, Cosine(1.0, 5)).state is None
    for state in (
        {"lr": 1.0, "best": 1.0},
        {"lr": None, "best": 1.0, "waited": 0},
        {"lr": 1, "best": 1, "waited": 0.5},
    ):
        with pytest.raises((KeyError, TypeError)):
            two.state = state
    assert two(7) == 0.5
