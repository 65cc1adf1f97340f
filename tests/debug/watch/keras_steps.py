"""Run by test_watch_keras.py in a process of its own, since Keras takes its backend when it is imported.

Trains one step of each kind under the watch, and prints one JSON object: name -> what was seen. Argument: the names of
kinds to leave out, as a JSON list.
"""

import json
import sys

import keras
import numpy as np

import lstmcore as lc

B, T, I, H = 3, 6, 4, 5
LENGTHS = (4, 6, 1)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(B, T, I)).astype("float32")
STATE = [RNG.normal(size=(B, H)).astype("float32") for _ in range(2)]
WEIGHTS = RNG.normal(size=(B, T, H)).astype("float32")  # of the outputs in the loss
RIGHT = np.arange(T) < np.array(LENGTHS)[:, None]
LEFT, GAPS = RIGHT[:, ::-1].copy(), np.array([[1, 0, 1, 1, 0, 1], [1, 1, 0, 0, 1, 0], [1, 1, 1, 1, 1, 1]], bool)


def loss(layer, x, state, mask, training=False):
    out = layer(x, initial_state=state, mask=mask, training=training)
    parts = list(out) if isinstance(out, list | tuple) else [out]
    shape = (B, T, H) if layer.return_sequences else (B, H)
    weights = WEIGHTS if layer.return_sequences else WEIGHTS[:, 0]
    assert tuple(parts[0].shape) == shape
    total = keras.ops.sum(keras.ops.multiply(parts[0], weights))
    for k, part in enumerate(parts[1:]):
        total = total + (k + 1) * keras.ops.sum(keras.ops.multiply(part, WEIGHTS[:, k]))
    return total


def step(layer, x, state, mask, compiled=True, training=False):
    """Forward and backward: gradients by weights, x and initial state. `compiled` is for JAX: several times faster."""
    if keras.backend.backend() == "torch":
        import torch

        x = torch.tensor(x, requires_grad=True)
        state = None if state is None else [torch.tensor(s, requires_grad=True) for s in state]
        loss(layer, x, state, None if mask is None else torch.tensor(mask), training).backward()
        return
    import jax

    def of_weights(variables, x, state):
        with keras.StatelessScope(list(zip(layer.trainable_variables, variables))):
            return loss(layer, x, state, mask, training)

    gradient = jax.grad(of_weights, argnums=(0, 1) if state is None else (0, 1, 2))
    (jax.jit(gradient) if compiled else gradient)([v.value for v in layer.trainable_variables], x, state)


def built(**options):
    keras.utils.set_random_seed(1)
    layer = keras.layers.LSTM(H, **options)
    layer.build((B, T, I))
    layer.set_weights([w + 0.1 * RNG.normal(size=w.shape) for w in layer.get_weights()])
    return layer


class Scaled(keras.layers.LSTM):
    """A layer that is not quite an LSTM: its outputs are one per cent too large, and so are its gradients."""

    def call(self, *args, **kwargs):
        return super().call(*args, **kwargs) * 1.01


def told(seen):
    return {
        "ok": seen.ok,
        "names": [row.name for row in seen.rows],
        "errors": [row.error for row in seen.rows],
        "text": str(seen),
        "calls": len(seen.calls),
    }


def main():
    answers = {}
    cases = {
        "all outputs": ({"return_sequences": True}, None, None, {}),
        "not compiled": ({"return_sequences": True}, STATE, RIGHT, {"compiled": False}),
        "last output": ({}, None, None, {}),
        "states": ({"return_sequences": True, "return_state": True}, STATE, None, {}),
        "no bias": ({"return_sequences": True, "use_bias": False}, STATE, None, {}),
        "backwards": ({"return_sequences": True, "go_backwards": True}, STATE, None, {}),
        "right padding": ({"return_sequences": True}, STATE, RIGHT, {}),
        "right padding, last output": ({"return_state": True}, STATE, RIGHT, {}),
        "right padding, zeros": ({"return_sequences": True, "zero_output_for_mask": True}, STATE, RIGHT, {}),
        "left padding": ({"return_sequences": True}, STATE, LEFT, {}),
        "gaps": ({"return_sequences": True}, STATE, GAPS, {}),
        "backwards with padding": ({"return_sequences": True, "go_backwards": True}, None, RIGHT, {}),
        "dropout in evaluation": ({"return_sequences": True, "dropout": 0.5}, None, None, {}),
    }
    for name in json.loads(sys.argv[1]):
        del cases[name]
    for name, (options, state, mask, how) in cases.items():
        layer = built(**options)
        with lc.debug.watch(layer) as seen:
            step(layer, X, state, mask, **how)
        answers[name] = told(seen)

    both = keras.layers.Bidirectional(keras.layers.LSTM(H, return_sequences=True), merge_mode="sum")
    both.build((B, T, I))
    with lc.debug.watch(both.backward_layer) as seen:
        step(both, X, None, RIGHT)
    answers["inside a Bidirectional"] = told(seen)

    layer = Scaled(H, return_sequences=True)
    layer.build((B, T, I))
    with lc.debug.watch(layer) as seen:
        step(layer, X, None, None)
    answers["a layer with a mistake"] = told(seen)

    model = keras.Sequential(
        [keras.layers.Masking(), keras.layers.LSTM(H, return_sequences=True), keras.layers.Dense(2)]
    )
    model.compile("sgd", "mse", run_eagerly=keras.backend.backend() == "torch")
    padded = np.where(RIGHT[..., None], X, 0)
    model.train_on_batch(padded, WEIGHTS[..., :2])
    model.make_train_function(force=True)
    with lc.debug.watch(model.layers[1]) as seen:
        model.train_on_batch(padded, WEIGHTS[..., :2])
    answers["a model in training"] = told(seen)

    complaints = {
        "not built": lambda: keras.layers.LSTM(H),
        "stateful": lambda: built_stateful(),
        "relu": lambda: built(activation="relu"),
        "gru": lambda: keras.layers.GRU(H),
    }
    for name, make in complaints.items():
        try:
            with lc.debug.watch(make()):
                pass
        except (TypeError, ValueError) as error:
            answers[name] = f"{type(error).__name__}: {error}"
    for name, layer, run in (
        ("never called", built(), lambda layer: None),
        ("dropout in training", built(dropout=0.5), lambda layer: step(layer, X, None, None, training=True)),
        ("no gradient", built(), lambda layer: layer(X)),
    ):
        try:
            with lc.debug.watch(layer):
                run(layer)
        except RuntimeError as error:
            answers[name] = str(error)
        assert "call" not in vars(layer)
    json.dump(answers, sys.stdout)


def built_stateful():
    layer = keras.layers.LSTM(H, stateful=True)
    layer.build((B, T, I))
    return layer


if __name__ == "__main__":
    main()
