"""What a layer of one's own says of itself."""

import pytest

import lstmcore as lc


class Own(lc.layers.Layer):
    params = lc.Linear(1, 1, seed=0).params


class Scale(Own):
    def __init__(self, factor, offset=0.0, *, sign):
        self.factor, self.offset, self.sign = factor, offset, sign


class Behind(Own):
    """Its argument stands behind a property."""

    def __init__(self, factor):
        self._factor = factor

    @property
    def factor(self):
        return self._factor


class Any(Own):
    def __init__(self, factor, *rest, **options):
        self.factor = factor


class Renamed(Own):
    def __init__(self, factor):
        self.by = factor


class Step(Own):
    """Its arguments have the names of methods, which are no values of theirs."""

    def __init__(self, step, predict=None):
        self.every = step


class Steps(Own):
    def __init__(self, step, predict=None):
        vars(self).update(step=step)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (Scale(2, sign=1), "Scale(2, sign=1)"),
        (Scale(2, 3.0, sign=(1,)), "Scale(2, offset=3.0, sign=[1])"),
        (Behind(2), "Behind(2)"),
        (Any(2, 3, shift=4), "Any(2)"),
        (Steps(2), "Steps(2)"),
        (Renamed(2), None),
        (Step(2), None),
    ],
)
def test_it_is_what_builds_it_or_its_place_in_memory(layer, said):
    assert repr(layer) == (said or object.__repr__(layer))
    assert repr(lc.Stack([layer])) == f"Stack([{said or object.__repr__(layer)}])"
