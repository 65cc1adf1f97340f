"""The page over a step of one's own; what does not fit is refused, and told how to be cut."""

import re
from pathlib import Path

import numpy as np
import pytest
from command import called
from explorer_data import data

import lstmcore as lc
from lstmcore.layers.params import joined
from lstmcore.ops.cells import Cell


def made(T=3, H=2, B=2, both=False, mask=None):
    """A case of an LSTM, and the layer that it comes from."""
    rng = np.random.default_rng(0)
    lstm = lc.LSTM(1, H, dtype="float64", seed=0, engine="reference")
    layer = lc.Bidirectional(lstm, lc.LSTM(1, H, dtype="float64", seed=1, engine="reference")) if both else lstm
    x, dy = rng.standard_normal((T, B, 1)), rng.standard_normal((T, B, H * (1 + both)))
    y, _, cache = layer.forward(x, mask=mask)
    dx, _, grads = layer.backward(dy, cache)
    return lc.debug.Case(dict(layer.params), x, dy, grads | {"x": dx}, {}, mask, {}), y


def test_a_case_is_shown(tmp_path):
    mask = np.array([[True, True], [True, False], [True, True]])
    for given in (None, mask):
        case, y = made(mask=given)
        found = lc.debug.explain_case(case, row=1)
        title, plain, masked = found.steps["own"]
        assert list(data(found.html())["steps"]) == ["own", "lstm"]  # the tour needs the LSTM of the examples
        assert title == "your own step"
        assert (plain is None) == (given is not None)
        for traced in (plain, masked):
            if traced is not None:
                assert abs(traced.value("y[2,1]") - y[2, 1, 1]) <= 1e-15
                assert abs(traced.value("dx[0,0]") - case.grads["x"][0, 1, 0]) <= 1e-15
        assert data(found.save(tmp_path / "own.html").read_text(encoding="utf-8"))["first"] == "own"


def test_each_direction_is_shown_by_itself():
    case, y = made(both=True)
    found = lc.debug.explain_case(case)
    assert {key: step.title for key, step in found.steps.items()} == {
        "fw": "your own step: fw", "bw": "your own step: bw, backward in time",
    }  # fmt: skip
    assert abs(found.steps["bw"].plain.value("y[2,1]") - y[0, 0, 3]) <= 1e-15


def test_a_cell_of_ones_own_is_shown():
    """Its numbers, under its own names, and the lines of its own file."""

    def make_step(maths):
        sigmoid, tanh, one = maths

        def step_forward(a_f, a_n, h_prev):
            f = sigmoid(a_f)
            n = tanh(a_n)
            h = (one - f) * h_prev + f * n
            return f, n, h

        def step_backward(dh, f, n, h_prev):
            dn = dh * f
            dh_prev = dh * (one - f)
            df = dh * (n - h_prev)
            da_n = dn * (one - n * n)
            da_f = df * f * (one - f)
            return da_f, da_n, dh_prev

        return step_forward, step_backward

    class Leaky(lc.Recurrent):
        cell = Cell("leaky", ("h",), ("f", "n"), (0, 1), (0, 1), {"b": (0, 1)}, ("h",), (), make_step)

    layer, x = Leaky(2, 2, dtype="float64", seed=0, engine="reference"), np.ones((3, 1, 2))
    y, _, cache = layer.forward(x)
    grads = layer.backward(np.ones_like(y), cache)[2]
    traced = lc.debug.explain_step(layer, x, np.ones_like(y)).steps["own"].plain
    assert abs(traced.value("dW_hh[1,2]") - grads["W_hh"][1, 2]) <= 1e-15
    assert traced.blocks == ("a_f", "a_n")
    (line, *_) = traced.lines(traced.names["df[1,0]"][0])
    assert line.file == __file__
    assert Path(__file__).read_text(encoding="utf-8").splitlines()[line.line - 1].strip() == "df = dh * (n - h_prev)"


def test_rows_of_a_batch_that_comes_first():
    """x (B, T, I): there are B rows, be T more or fewer."""
    layer = lc.BatchFirst(lc.LSTM(1, 2, dtype="float64", seed=0, engine="reference"))
    for B, T in ((4, 2), (2, 4)):
        x = np.random.default_rng(0).standard_normal((B, T, 1))
        y, _, _ = layer.forward(x)
        (step,) = lc.debug.explain_step(layer, x, row=B - 1).steps.values()
        assert abs(step.plain.value(f"y[{T - 1},1]") - y[B - 1, T - 1, 1]) <= 1e-15
        with pytest.raises(ValueError, match=f"one of the batch, 0 to {B - 1}; got {B}"):
            lc.debug.explain_step(layer, x, row=B)


class Named(lc.Stack):
    """A stack whose parts have names, that of an example among them."""

    def __init__(self, **parts):
        super().__init__(parts.values())
        self.parts = parts
        self.params = joined(parts)

    def rebuilt(self, parts):
        return type(self)(**parts)


def test_a_part_with_the_name_of_an_example_leaves_the_example():
    layer = Named(lstm=lc.LSTM(1, 1, dtype="float64", seed=0, engine="reference"))
    shown = lc.debug.explain_step(layer, np.ones((2, 1, 1))).plain()
    assert shown["first"] == "own lstm"
    titles = {key: step["title"] for key, step in shown["steps"].items()}
    assert titles == {"own lstm": "your own step", "lstm": "LSTM"}


class Scaled(lc.LSTM):
    """One of whose gradients is not that of its cell."""

    def __init__(self, which, factor=2.0):
        super().__init__(1, 2, dtype="float64", seed=0, engine="reference")
        self.which, self.factor = which, factor

    def backward(self, dy, cache, dstate=None):
        dx, (dh0, dc0), grads = super().backward(dy, cache, dstate)
        found = {"x": dx, "h0": dh0, "c0": dc0, **grads}
        found[self.which] = self.factor * found[self.which]
        return found.pop("x"), (found.pop("h0"), found.pop("c0")), found

    def __repr__(self):
        return f"LSTM with another d{self.which}"


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("which", ["x", "h0", "c0", "W_ih", "W_hh", "b"])
def test_any_gradient_of_its_own_is_refused(which, row):
    """Rounding in float64 explains some 1e-14: a part in a billion is another function."""
    x = np.random.default_rng(0).standard_normal((3, 2, 1))
    for factor in (2.0, 1 + 1e-9):
        with pytest.raises(ValueError, match=f"another d{which} computes something else than the steps of its cell"):
            lc.debug.explain_step(Scaled(which, factor), x, row=row)
    assert lc.debug.explain_step(Scaled(which, 1.0), x, row=row).steps


@pytest.mark.parametrize("engine", ["fused-cpu", "fused-cpu-bf16"])
def test_a_layer_is_held_to_the_precision_that_its_engine_computes_in(engine):
    """What rounding explains where products are of bfloat16 numbers, it does not in float32."""
    layer = lc.LSTM(3, 3, seed=0, engine=engine)
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype("float32")
    assert lc.debug.explain_step(layer, x).steps

    class Rounder(lc.LSTM):
        def backward(self, dy, cache, dstate=None):
            dx, dstate0, grads = super().backward(dy, cache, dstate)
            return dx, dstate0, grads | {"W_ih": grads["W_ih"] * np.float32(1 + 2**-8)}

    rounder = Rounder(3, 3, seed=0, engine=engine)
    if engine.endswith("bf16"):
        assert lc.debug.explain_step(rounder, x).steps
    else:
        with pytest.raises(ValueError, match="computes something else than the steps of its cell"):
            lc.debug.explain_step(rounder, x)


def test_dropped_weights_are_shown_as_they_were_drawn():
    plain, x = lc.LSTM(1, 2, seed=0, engine="reference"), np.ones((3, 1, 1), "float32")
    layer = lc.RecurrentDropout(plain, W_hh=0.5)
    (step,) = lc.debug.explain_step(layer, x, dropout_seed=3).steps.values()
    factors = {step.plain.value(f"W_hh[{k},{j}]") / float(plain.params["W_hh"][k, j]) for k, j in np.ndindex(2, 8)}
    assert {round(factor, 5) for factor in factors} == {0.0, 2.0}
    with pytest.raises(ValueError, match="layer: it is called 3 times, step by step"):
        lc.debug.explain_step(lc.RecurrentDropout(plain, h=0.5), x, dropout_seed=3)


def test_what_is_not_finite_is_shown_as_it_is():
    layer = lc.LSTM(1, 2, dtype="float64", seed=0, engine="reference")
    layer.params["b"][:2] = np.nan, -np.inf
    held = data(lc.debug.explain_step(layer, np.ones((2, 1, 1))).html())["steps"]["own"]["plain"]
    assert [held["of"][held["names"][f"b[{k}]"][0]] for k in range(3)] == ["NaN", "-Infinity", 1.0]


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (lc.Linear(1, 2, seed=0), r"steps of a recurrent layer; Linear\(1, 2\) has none"),
        (lc.LSTM(1, 4, proj_size=2, seed=0), "states of one width"),
        (lc.LSTM(1, 2, layer_norm=True, seed=0), "the page does not show layer normalisation"),
        (lc.LSTM(1, 2, dtype="complex128", seed=0, engine="reference"), "real numbers; these are complex128"),
    ],
)
def test_a_layer_that_it_cannot_follow_is_refused(layer, text):
    x = np.ones((3, 1, 1), "complex128" if "complex" in text else "float32")
    for mask in (None, np.array([[True], [True], [False]])):
        with pytest.raises(ValueError, match=text):
            lc.debug.explain_step(layer, x, mask=mask)


def test_a_layer_of_many_inputs_is_refused():
    layer = lc.LSTM(200, 2, seed=0, engine="reference")
    with pytest.raises(
        ValueError, match="shows 700 weights and inputs; this step has 2024, for 200 inputs and 2 units"
    ):
        lc.debug.explain_step(layer, np.ones((2, 1, 200), "float32"))


@pytest.mark.parametrize(
    ("options", "row", "text"),
    [
        ({"T": 7}, 0, r"the page shows T \* H <= 12; this step has T = 7 and H = 2: keep the first 6: x\[:6\]"),
        ({"H": 13, "T": 1}, 0, r"this step has T = 1 and H = 13: save a step of a layer with 12 units or fewer"),
        ({}, 2, r"`row` should be one of the batch, 0 to 1; got 2"),
        ({}, "a", r"`row` should be one of the batch, 0 to 1; got 'a'"),
        ({}, 0.5, r"`row` should be one of the batch, 0 to 1; got 0.5"),
        ({}, True, r"`row` should be one of the batch, 0 to 1; got True"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(options, row, text):
    case, _ = made(**options)
    with pytest.raises(ValueError, match=text):
        lc.debug.explain_case(case, row)


@pytest.mark.parametrize("batch_first", [False, True])
def test_the_advice_for_a_long_step_can_be_followed(batch_first):
    """T = 7 of the 6 that a page shows for H = 2, and as many rows: what is kept are steps."""
    lstm = lc.LSTM(3, 2, dtype="float64", seed=0, engine="reference")
    layer, x = lc.BatchFirst(lstm) if batch_first else lstm, np.random.default_rng(0).standard_normal((7, 7, 3))
    mask = np.ones((7, 7), bool)
    with pytest.raises(ValueError, match=r"keep the first 6: x\[(:, )?:6\], and dy and mask likewise$") as refused:
        lc.debug.explain_step(layer, x, mask=mask)
    advice = re.search(r"x(\[.*\])", str(refused.value))[1]
    kept = {name: eval(name + advice, {"x": x, "mask": mask}) for name in ("x", "mask")}
    (step,) = lc.debug.explain_step(layer, **kept, row=6).steps.values()
    y, _, _ = lstm.forward(x.swapaxes(0, 1) if batch_first else x)
    nearest = np.abs(y - step.masked.value("h[5,1]")).argmin()
    assert np.unravel_index(nearest, y.shape) == (5, 6, 1)


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
