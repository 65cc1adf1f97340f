"""Layers of Keras 3, read and run beside it; its gradients are those of torch's autograd.

Keras computes in float32 (its own products do, whatever the dtype of a layer), lstmcore in float64 over the same
numbers, so what differs is the rounding of Keras: some 20 roundings of 2^-24 at each of 5 steps, in products of at most
9 terms, so below 1e-5 of an array's largest entry. At masked steps Keras repeats the last output, or gives zero
(zero_output_for_mask); what is compared, and what the loss weighs, are the real steps alone.
"""

from itertools import product

import numpy as np
import pytest
from cases import flatten, worst_relative_error

import lstmcore as lc
from lstmcore.interop import read, to_lstmcore
from lstmcore.interop.read.keras_config import CELLS, KEYS

I, H, T, B = 3, 4, 5, 3
CLOSE = 1e-5
MASKS = {
    "none": None,
    "right": np.arange(T)[:, None] < [4, T, 1],
    "left": np.arange(T)[:, None] >= [3, 0, 4],
    "gaps": np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0]], bool),
}  # fmt: skip
OPTIONS = {
    "plain": {},
    "without biases": {"use_bias": False},
    "unrolled": {"unroll": True},
    "zero where masked": {"zero_output_for_mask": True},
}
LAYERS = {
    "lstm": ("LSTM", {}),
    "lstm, hard": ("LSTM", {"recurrent_activation": "hard_sigmoid", "activation": "softsign"}),
    "gru": ("GRU", {"reset_after": True}),
    "gru, before": ("GRU", {"reset_after": False}),
    "rnn": ("SimpleRNN", {"activation": "relu"}),
}

# what Keras deprecates in itself is not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def filled(layer):
    layer.build((B, T, I))
    rng = np.random.default_rng(0)
    for variable in layer.trainable_weights:
        variable.assign(rng.uniform(-1, 1, variable.shape))
    return layer


def proved(layer):
    """The model of a layer, in float64."""
    said = []
    model = read(layer, tell=said.append).to(dtype="float64", engine="reference")
    assert "; proved: " in said[0]
    return model


def drawn(rng, shape):
    """Numbers that float32 has."""
    return rng.standard_normal(shape).astype("float32").astype("float64")


def of_keras(torch, array):
    """Batch first, in float32."""
    array = np.ascontiguousarray(array.swapaxes(0, 1))
    return torch.tensor(array if array.dtype == bool else array.astype("float32"))


def in_time(torch, answer, flipped):
    """An output of Keras, time first and in its order."""
    y = torch.stack(answer, -2) if isinstance(answer, tuple) else answer
    return (y.flip(1) if flipped else y).swapaxes(0, 1) if y.ndim > 2 else y


def beside(torch, layer, mask, flipped=False):
    """Keras's results and lstmcore's, each by name: y, dx, and the gradients of all weights.

    flipped: the outputs of Keras stand in flipped order.
    """
    model, rng = proved(layer), np.random.default_rng(1)
    x = drawn(rng, (T, B, I))
    y, _, cache = model.forward(x, mask=mask)
    shown = mask if mask is not None and y.ndim > 2 else np.ones(y.shape[:-1], bool)
    shown = shown.reshape(*shown.shape, *[1] * (y.ndim - shown.ndim))
    dy = drawn(rng, y.shape) * shown
    dx, _, grads = model.backward(dy, cache)
    given = of_keras(torch, x).requires_grad_()
    theirs = in_time(torch, layer(given, mask=None if mask is None else of_keras(torch, mask)), flipped)
    weights = [variable.value for variable in layer.trainable_weights]
    found = torch.autograd.grad((theirs * torch.from_numpy(dy)).sum(), [given, *weights])
    dx_theirs, *grads_theirs = [g.numpy() for g in found]
    want = {"y": theirs.detach().numpy() * shown, "dx": dx_theirs.swapaxes(0, 1)}
    return want | named(layer, grads_theirs, model), {"y": y, "dx": dx} | grads


def named(layer, arrays, model):
    """Gradients of Keras by the names of lstmcore's parameters."""
    if hasattr(layer, "forward_layer"):
        half = len(arrays) // 2
        both = zip(("fw", "bw"), (layer.forward_layer, layer.backward_layer), (arrays[:half], arrays[half:]))
        return {f"{way}.{k}": g for way, one, some in both for k, g in named(one, some, model.parts[way]).items()}
    if "bw" in model.parts:
        return {f"bw.{k}": g for k, g in named(layer, arrays, model.bw).items()}
    cell = CELLS[type(layer).__name__]
    options = {"bias": layer.use_bias} | ({"reset": "before"} if not getattr(layer, "reset_after", True) else {})
    _, grads = to_lstmcore(dict(zip(KEYS, arrays)), "keras", cell, gradients=True, options=options)
    return {name: grads[name] for name in model.params}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers(keras, torch, name, mask):
    kind, said = LAYERS[name]
    for options, sequences, back in product(OPTIONS.values(), (True, False), (True, False)):
        if options.get("unroll") and back:
            continue  # with a mask, which the proof has, Keras on torch raises there
        if options.get("zero_output_for_mask") and not sequences and MASKS[mask] is not None:
            continue  # test_what_is_told has it
        made = getattr(keras.layers, kind)(H, return_sequences=sequences, go_backwards=back, **said, **options)
        want, got = beside(torch, filled(made), MASKS[mask], flipped=back)
        error = worst_relative_error(got, want)
        assert error[0] < CLOSE, (options, sequences, back, error)


@pytest.mark.parametrize("mask", MASKS)
def test_both_directions(keras, torch, mask):
    L = keras.layers
    for k, (merge, sequences) in enumerate(product(("concat", "sum", "ave", "mul", None), (True, False))):
        if merge is None and not sequences:
            continue
        kind = (L.LSTM, L.GRU, L.SimpleRNN)[k % 3]
        layer = filled(L.Bidirectional(kind(H, return_sequences=sequences), merge_mode=merge))
        error = worst_relative_error(*beside(torch, layer, MASKS[mask]))
        assert error[0] < CLOSE, (merge, sequences, kind, error)


@pytest.mark.parametrize("mask", MASKS)
def test_stateful_over_three_batches(keras, torch, mask):
    """Values alone: Keras on torch writes over the states that its autograd needs."""
    L, said = keras.layers, {"stateful": True, "return_sequences": True}
    given = {} if MASKS[mask] is None else {"mask": of_keras(torch, MASKS[mask])}
    for made in (L.LSTM(H, **said), L.GRU(H, go_backwards=True, **said), L.Bidirectional(L.LSTM(H, **said))):
        layer, flipped = filled(made), getattr(made, "go_backwards", False)
        model, rng, state = proved(layer), np.random.default_rng(2), None
        for _ in range(3):
            x = drawn(rng, (T, B, I))
            y, state = model.predict(x, state, MASKS[mask])
            with torch.no_grad():
                theirs = in_time(torch, layer(of_keras(torch, x), **given), flipped).numpy()
            shown = slice(None) if MASKS[mask] is None else MASKS[mask]
            np.testing.assert_allclose(y[shown], theirs[shown], rtol=0, atol=CLOSE)


@pytest.mark.parametrize("mask", MASKS)
def test_a_given_state(keras, torch, mask):
    """Its gradient, and that of the final state."""
    for kind in ("LSTM", "GRU", "SimpleRNN"):
        layer = filled(getattr(keras.layers, kind)(H, return_state=True))
        model, rng = proved(layer), np.random.default_rng(3)
        x, n = drawn(rng, (T, B, I)), len(model.states)
        state, dstate = ([drawn(rng, (B, H)) for _ in range(n)] for _ in range(2))
        _, last, cache = model.forward(x, tuple(state), MASKS[mask])
        dx, dstate0, _ = model.backward(None, cache, tuple(dstate))
        given = [of_keras(torch, x), *(torch.tensor(s.astype("float32")) for s in state)]
        given = [tensor.requires_grad_() for tensor in given]
        more = {} if MASKS[mask] is None else {"mask": of_keras(torch, MASKS[mask])}
        _, *theirs = layer(given[0], initial_state=given[1:], **more)
        loss = sum((torch.from_numpy(d) * s).sum() for d, s in zip(dstate, theirs, strict=True))
        dx_theirs, *dstate0_theirs = torch.autograd.grad(loss, given)
        want = {"dx": dx_theirs.numpy().swapaxes(0, 1), "state": [s.detach().numpy() for s in theirs]}
        got = {"dx": dx, "state": last, "dstate0": dstate0}
        error = worst_relative_error(flatten(got), flatten(want | {"dstate0": [d.numpy() for d in dstate0_theirs]}))
        assert error[0] < CLOSE, (kind, error)


def test_a_stateful_layer_keeps_its_state(keras):
    layer = filled(keras.layers.LSTM(H, stateful=True))
    layer(np.ones((B, T, I)))
    before = [state.numpy().copy() for state in layer.states]
    said = []
    read(layer, tell=said.append)
    assert "; proved: " in said[0]
    assert "stateful there: here pass the state on" in said[0]
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, layer.states, strict=True))
    assert before[0].any()


def test_layers_that_go_backwards_one_after_the_other(keras, tmp_path):
    """What one leaves in flipped order the next reads from the end."""
    L = keras.layers
    made = keras.Sequential([
        keras.Input((T, I)), L.LSTM(H, go_backwards=True, return_sequences=True), L.Dense(3),
        L.GRU(5, return_sequences=True, go_backwards=True), L.SimpleRNN(2, return_sequences=True, go_backwards=True),
        L.Bidirectional(L.LSTM(2, return_sequences=True)), L.LSTM(3, return_sequences=True),
    ])  # fmt: skip
    said = []
    model = read(made, tell=said.append)
    made.save(tmp_path / "a.keras")
    read(tmp_path / "a.keras", tell=said.append)
    assert all("; proved: " in text and "outputs in flipped order there (go_backwards=True)" in text for text in said)
    kinds = [lc.Reversed, lc.Linear, lc.GRU, lc.Reversed, lc.Reversed, lc.Reversed]
    assert [type(layer) for layer in model.layers] == kinds


def test_what_is_told(keras):
    """What Keras does otherwise is said, or refused, by its name."""
    L, said = keras.layers, []
    read(filled(L.LSTM(H, zero_output_for_mask=True, name="mine")), tell=said.append)
    assert "`mine` gives zero there where the last step is masked (zero_output_for_mask=True)" in said[-1]
    read(filled(L.LSTM(H, dtype="mixed_bfloat16")), tell=said.append)
    assert "unproved: it computes in bfloat16 there, too coarse to tell one reading from another" in said[-1]
    with pytest.raises(ValueError, match=r"gives two final states \(merge_mode=None, return_sequences=False\)"):
        read(filled(L.Bidirectional(L.LSTM(H), merge_mode=None)))
