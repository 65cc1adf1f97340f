"""What goes around what: every ordered pair of wrappers, options of cells within each, and towers drawn at random.

Each is proved by complex step, and keeps what padding holds away from every bit; or it is refused, in words that name
both sides. REFUSED says which, so that nothing is refused by mistake.
"""

from collections.abc import Callable

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.layers import Layer

T, B, H = 4, 3, 3  # I = H, so that everything fits into everything
MASK = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 0, 0]], bool)  # gaps
PROVED = 1e-12

WRAPPERS: dict[str, Callable[[Layer], Layer]] = {
    "BatchFirst": lc.BatchFirst,
    "Reversed": lc.Reversed,
    "Bidirectional": lambda layer: lc.Bidirectional(layer, other(layer), merge="mean"),
    "Residual": lc.Residual,
    "LearnedState": lc.LearnedState,
    "RecurrentDropout": lambda layer: lc.RecurrentDropout(layer, h=0.3, zoneout_h=0.2),
    "RecurrentDropout(W_hh)": lambda layer: lc.RecurrentDropout(layer, W_hh=0.3),
    "Stack": lambda layer: lc.Stack([layer, lc.Dropout(0.3, per_sequence=True)]),
}
NO_STEPS = {"Reversed", "Bidirectional", "Residual", "LearnedState", "RecurrentDropout", "BatchFirst", "Stack"}
REFUSED = (
    {(outer, "BatchFirst") for outer in ("BatchFirst", "Reversed", "Bidirectional", "LearnedState")}
    | {("LearnedState", inner) for inner in ("LearnedState", "Bidirectional", "Stack")}
    | {("RecurrentDropout", inner) for inner in NO_STEPS}
)
OPTIONS: dict[str, Callable[..., Layer]] = {
    "peepholes": lambda **said: lc.LSTM(H, H, peepholes=True, **said),
    "coupled": lambda **said: lc.LSTM(H, H, coupled="i", **said),
    "clip_c": lambda **said: lc.LSTM(H, H, clip_c=0.7, **said),
    "clip_a": lambda **said: lc.GRU(H, H, clip_a=0.9, **said),
    "activation": lambda **said: lc.RNN(H, H, activation="relu", **said),
    "gate_activation": lambda **said: lc.LSTM(H, H, gate_activation=("hard_sigmoid", 0.2), **said),
    "bias": lambda **said: lc.LSTM(H, H, bias=False, **said),
    "proj_size": lambda **said: lc.LSTM(H, 2 * H, proj_size=H, **said),
    "layer_norm": lambda **said: lc.LSTM(H, H, layer_norm=True, **said),
    "recompute": lambda **said: lc.LSTM(H, H, recompute=2, **said),
    "reset": lambda **said: lc.GRU(H, H, reset="before", **said),
    "return_sequences": lambda **said: lc.LSTM(H, H, return_sequences=False, **said),
}
NOT_IN = {
    ("RecurrentDropout", "return_sequences"), ("RecurrentDropout(W_hh)", "return_sequences"),
    ("RecurrentDropout(W_hh)", "reset"), ("Residual", "return_sequences"),
}  # fmt: skip


def cell(kind: type = lc.LSTM, seed: int = 1, **options) -> Layer:
    return kind(H, H, dtype="float64", engine="reference", seed=seed, **options)


def other(layer: Layer) -> Layer:
    """Its like, with other weights."""
    twin, rng = layer.to(), np.random.default_rng(9)
    for name, value in twin.params.items():
        twin.params[name] = rng.standard_normal(value.shape) / 2
    return twin


def shaken(layer: Layer) -> Layer:
    """With numbers in all parameters that begin at zero."""
    rng = np.random.default_rng(5)
    for value in layer.params.values():
        value += rng.uniform(-0.5, 0.5, value.shape)
    return layer


def prove(layer: Layer) -> None:
    """By complex step, its noise replayed; and NaN in the padding changes no bit."""
    first = isinstance(layer, lc.BatchFirst)
    shaken(layer)
    x = np.random.default_rng(2).standard_normal((T, B, H))
    x, mask = (x.swapaxes(0, 1).copy(), MASK.T) if first else (x, MASK)
    check = lc.debug.gradcheck(layer, x, mask=mask, seed=0, dropout_seed=3, directions=2)
    assert check.worst < PROVED, (layer, check)
    results, poison = [], np.where(mask[..., None], 0, np.nan)
    for more in (0, poison):
        y, last, cache = layer.forward(x + more, mask=mask, rng=np.random.default_rng(4))
        dy = np.random.default_rng(6).standard_normal(y.shape)
        dx, dstate0, grads = layer.backward(dy + (more if y.ndim > 2 else 0), cache)
        results.append([a.tobytes() for a in (y, dx, *arrays(last), *arrays(dstate0), *grads.values())])
    assert results[0] == results[1], layer


def arrays(tree) -> list:
    if isinstance(tree, tuple):
        return [a for part in tree for a in arrays(part)]
    return [] if tree is None else [tree]


def name_of(wrapper: str) -> str:
    return wrapper.partition("(")[0]


def is_refused(outer: str, inner: str) -> bool:
    return (name_of(outer), name_of(inner)) in REFUSED


@pytest.mark.parametrize("outer", WRAPPERS)
def test_every_ordered_pair(outer):
    for inner in WRAPPERS:
        if is_refused(outer, inner):
            with pytest.raises((TypeError, ValueError)) as refusal:
                WRAPPERS[outer](WRAPPERS[inner](cell()))
            said = str(refusal.value)
            named = [name_of(outer) in said, f"{name_of(inner)}(" in said, "put " in said]  # and what to do
            assert all(named), said
        else:
            prove(WRAPPERS[outer](WRAPPERS[inner](cell())))


@pytest.mark.parametrize("option", OPTIONS)
def test_options_within_each_wrapper(option):
    said = {"dtype": "float64", "engine": "reference", "seed": 1}
    for wrapper in WRAPPERS:
        if (wrapper, option) not in NOT_IN:
            prove(WRAPPERS[wrapper](OPTIONS[option](**said)) if (wrapper, option) != ("Stack", "return_sequences")
                  else lc.Stack([OPTIONS[option](**said), lc.Linear(H, H, dtype="float64")]))  # fmt: skip
            continue
        with pytest.raises((TypeError, ValueError)) as refusal:
            WRAPPERS[wrapper](OPTIONS[option](**said)).forward(np.zeros((T, B, H)))
        assert option in str(refusal.value)
        assert name_of(wrapper) in str(refusal.value) or "`W_hh`" in str(refusal.value)


def test_triples_and_random_towers(nightly):
    """50 towers of one to three wrappers around a cell with an option or two, all proved; by night 500."""
    rng, proved, refused = np.random.default_rng(0), 0, 0
    while proved < (500 if nightly else 50):
        chosen = [list(WRAPPERS)[k] for k in rng.integers(len(WRAPPERS), size=1 + rng.integers(3))]
        option = list(OPTIONS)[rng.integers(len(OPTIONS) - 1)]  # all outputs
        model = OPTIONS[option](dtype="float64", engine="reference", seed=int(rng.integers(99)))
        pairs = [(a, b) for k, a in enumerate(chosen) for b in chosen[k + 1 :]]
        expected = any(is_refused(a, b) for a, b in pairs) or any((wrapper, option) in NOT_IN for wrapper in chosen)
        try:
            for wrapper in reversed(chosen):
                model = WRAPPERS[wrapper](model)
        except (TypeError, ValueError):
            if not expected:
                raise
            refused += 1
            continue
        prove(model)
        proved += 1
    assert refused


def test_combinations_are_saved(tmp_path):
    """Three wrappers around each other, in a file and back."""
    model = shaken(lc.LearnedState(lc.Residual(lc.RecurrentDropout(cell(), h=0.2, g=0.1))))
    lc.save(tmp_path / "a.safetensors", model)
    back = lc.load(tmp_path / "a.safetensors", engine="reference")
    x = np.random.default_rng(0).standard_normal((T, B, H))
    assert repr(back) == repr(model)
    assert np.array_equal(back.predict(x, mask=MASK)[0], model.predict(x, mask=MASK)[0])
    assert list(model.params)[:2] == ["h0", "c0"]
    y, state, streamed = model.predict(x)[0], None, []
    for step in x:
        y_t, state = model.step(step, state)
        streamed.append(y_t)
    np.testing.assert_allclose(np.stack(streamed), y, rtol=0, atol=1e-14)
