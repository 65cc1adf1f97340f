"""The padding proof: it holds for every layer, and names the rule that a broken function breaks."""

import numpy as np
import pytest
from cases import LAYERS, MASKS, Problem, recurrent_parts

import lstmcore as lc
from lstmcore.debug.mistakes import MISTAKES, mutant

PADDED = [mask for mask in MASKS if mask not in ("none", "full", "no step at all")]
T, B, I, H = 7, 4, 3, 5
MASK = lc.mask_from_lengths([7, 3, 5, 1], T)


@pytest.mark.parametrize("mask", PADDED)
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_keeps_every_rule(engine, name, mask):
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(LAYERS[name])})
    problem = Problem(LAYERS[name], 5, 3, mask, seed=1)
    x, state, dy, dstate, where = map(
        engine.array, (problem.x, problem.state, problem.dy, problem.dstate, problem.mask)
    )
    proof = lc.debug.padding(engine.place(problem.layer()), x, dy, state=state, mask=where, dstate=dstate)
    assert proof.ok, str(proof)
    assert len(proof.rules) == 4
    assert proof.findings == ("padding changes nothing: every rule holds",)
    assert not proof.wrong.any()
    assert min(rule.checked for rule in proof.rules if "zero" not in rule.name) >= 5


def test_a_model_over_indices_with_a_mask_of_its_own():
    model = lc.Stack([lc.Embedding(6, 4, seed=0), lc.Bidirectional(lc.LSTM(4, 3, seed=1), lc.GRU(4, 3, seed=2)),
                      lc.Dropout(0.5), lc.Linear(6, 2, seed=3)])  # fmt: skip
    proof = lc.debug.padding(model, np.random.default_rng(1).integers(0, 6, (9, 4)))
    assert proof.ok, str(proof)
    assert not proof.mask.all()


# ---- somebody else's functions -----------------------------------------------------------------------------


def layers(*seeds):
    found = [lc.LSTM(I, H, dtype="float64", seed=seed) for seed in seeds]
    for layer, seed in zip(found, seeds):
        layer.params["b"][...] = np.random.default_rng(seed).standard_normal(4 * H)  # so that zeros move a state too
    return found if len(found) > 1 else found[0]


def selected(a, mask):
    return np.where(mask[..., None], a, 0.0)


def right(x, mask, dy):
    lstm = layers(1)
    y, state, cache = lstm.forward(x, mask=mask)
    dx, _, grads = lstm.backward(dy, cache)
    return {"y": y, "state h": state[0], "dx": dx, **grads}


def runs_on(x, mask, dy):
    """Outputs are masked, the state is not: it runs on over zeros."""
    lstm = layers(1)
    y, state, cache = lstm.forward(selected(x, mask))
    dx, _, grads = lstm.backward(selected(dy, mask), cache)
    return {"y": selected(y, mask), "state h": state[0], "dx": selected(dx, mask), **grads}


def last_of_the_padding(x, mask, dy):
    """A last-output head that reads step T-1, whatever the length."""
    lstm = layers(1)
    y, _, cache = lstm.forward(selected(x, mask))
    full = np.zeros_like(y)
    full[-1] = dy
    return {"y": y[-1], **lstm.backward(full, cache)[2]}


def starts_in_the_padding(x, mask, dy):
    """The backward direction is flipped with its padding in front."""
    both = lc.Bidirectional(*layers(1, 2))
    y, _, cache = both.forward(selected(x, mask))
    dx, _, grads = both.backward(selected(dy, mask), cache)
    return {"y": selected(y, mask), "dx": selected(dx, mask), **grads}


def copies_the_last(x, mask, dy):
    """Padded outputs repeat the last real one, so their upstream gradients pile up on it."""
    lstm = layers(1)
    _, _, cache = lstm.forward(x, mask=mask)
    total, last = selected(dy, mask), mask.sum(0) - 1
    for b in range(x.shape[1]):
        total[last[b], b] += dy[last[b] + 1 :, b].sum(0)
    dx, _, grads = lstm.backward(total, cache)
    return {"y": cache.states[0][1:], "dx": dx, **grads}


def mean_over_all(x, mask, targets):
    """A masked squared error, divided by T B in place of the number of real steps."""
    lstm = layers(1)
    y, _, cache = lstm.forward(x, mask=mask)
    difference = selected(y - targets, mask)
    dx, _, grads = lstm.backward(2 * difference / difference.size, cache)
    return {"y": y, "loss": np.mean(difference**2), "dx": dx, **grads}


def mean_over_real(x, mask, targets):
    lstm = layers(1)
    y, _, cache = lstm.forward(x, mask=mask)
    loss, dy = lc.squared_error(y, targets, mask)
    dx, _, grads = lstm.backward(dy, cache)
    return {"y": y, "loss": loss, "dx": dx, **grads}


def multiplies(x, mask, dy):
    """Padding is multiplied by zero, which NaN survives."""
    lstm = layers(1)
    real = mask[..., None].astype(float)
    y, _, cache = lstm.forward(x, mask=mask)
    dx, _, grads = lstm.backward(dy, cache)
    return {"y": y, "dx": dx, "W": np.einsum("tbi,tbj->ij", x * real, y), **grads}


def batch(width=H, seed=3):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((T, B, I)), rng.standard_normal((T, B, width))


@pytest.mark.parametrize("function", [right, mean_over_real])
def test_right_functions_pass(function):
    x, dy = batch()
    proof = lc.debug.padding(function, x, dy, mask=MASK)
    assert proof.ok, str(proof)


@pytest.mark.parametrize(
    ("function", "width", "said"),
    [
        (runs_on, H, "the state runs on through padding: state h as if there were no mask"),
        (starts_in_the_padding, 2 * H, "the backward direction starts in the padding: columns 5 to 9 of y"),
        (copies_the_last, H, "padded outputs copy the last real one, and their upstream gradients pile up on it"),
        (mean_over_all, H, "the loss is divided by the padded count: T B steps, in place of the real ones"),
        (multiplies, H, "padding is multiplied out, not selected out"),
    ],
)
def test_a_broken_rule_is_named(function, width, said):
    x, dy = batch(width)
    proof = lc.debug.padding(function, x, dy, mask=MASK)
    assert not proof.ok
    assert proof.findings[0].startswith(said), str(proof)
    assert said in str(proof)
    assert "BROKEN" in str(proof)


def test_a_head_that_reads_the_last_step_of_the_padding():
    x, dy = batch()
    proof = lc.debug.padding(last_of_the_padding, x, dy[0], mask=MASK)
    assert proof.findings[0].startswith("the state runs on through padding: y as if there were no mask"), str(proof)


def test_the_wrong_places_are_shown():
    x, dy = batch(2 * H)
    proof = lc.debug.padding(starts_in_the_padding, x, dy, mask=MASK)
    assert proof.wrong[:, 1:].any(0).all()  # padded rows
    assert not proof.wrong[:, 0].any()  # a row without padding
    assert not proof.wrong[~MASK].any()


@pytest.mark.parametrize(
    "name",
    [
        "the state is set to zero on padding, forward and backward",
        "the mask holds h but not c, forward and backward",
        "the gradient of the state stops at a masked step",
        "padded outputs pile their gradients on the last real step",
    ],
)
def test_engines_with_a_wrong_mask(name):
    mistake = next(m for m in MISTAKES if m.name == name)
    layer = lc.LSTM(I, H, dtype="float64", seed=1, engine=mutant(mistake))
    layer.params["b"][...] = np.random.default_rng(1).standard_normal(4 * H)
    rng = np.random.default_rng(2)
    mask = rng.random((T, B)) < 0.6
    state = tuple(rng.standard_normal((B, H)) for _ in range(2))
    proof = lc.debug.padding(layer, *batch(), mask=mask, state=state, dstate=state)
    assert not proof.ok


def test_what_cannot_be_proved():
    layer, (x, dy) = lc.LSTM(I, H, dtype="float64", seed=1), batch()
    with pytest.raises(ValueError, match="`mask` should hold padding and real steps; got no padding"):
        lc.debug.padding(layer, x, dy, mask=np.ones((T, B), bool))
    with pytest.raises(ValueError, match=r"in float64 .* or take model.to\(engine='fused-cpu'\)"):
        lc.debug.padding(lc.LSTM(3, 4, engine="fused-cpu-bf16"), np.zeros((5, 2, 3), "float32"))
    with pytest.raises(ValueError, match="got no real step"):
        lc.debug.padding(layer, x, dy, mask=np.zeros((T, B), bool))
    with pytest.raises(ValueError, match="should return a result named 'y'; got z"):
        lc.debug.padding(lambda x, mask, dy: {"z": x}, x, dy, mask=MASK)
    layer.params["b"][0] = np.nan
    proof = lc.debug.padding(layer, x, dy, mask=MASK)
    assert not proof.ok
    assert "ask the tripwire first" in proof.findings[0]


def test_picture():
    pytest.importorskip("matplotlib")
    x, dy = batch()
    assert len(lc.debug.padding(runs_on, x, dy, mask=MASK).picture().axes) == 1
