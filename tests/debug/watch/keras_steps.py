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
    """A random linear function of all that the layer gives."""
    given = {"mask": mask} if mask is not None else {}
    given |= {"initial_state": state} if state is not None else {}
    out = layer(x, training=training, **given)
    total = 0
    for k, part in enumerate(out if isinstance(out, list | tuple) else [out]):
        weights = np.resize(np.roll(WEIGHTS, k), tuple(part.shape)).astype(keras.backend.standardize_dtype(part.dtype))
        total = total + keras.ops.sum(keras.ops.multiply(part, weights))
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


def built(kind=keras.layers.LSTM, **options):
    """A layer with weights that are not as it begins with them. kind: its class, or what makes it."""
    keras.utils.set_random_seed(1)
    layer = kind(H, **options)
    layer.build((B, T, I))
    for weight in layer.trainable_variables:
        weight.assign(keras.ops.convert_to_numpy(weight) + 0.1 * RNG.normal(size=weight.shape).astype("float32"))
    return layer


def both(kind=keras.layers.LSTM, merge_mode="concat", **options):
    return lambda units: keras.layers.Bidirectional(kind(units, **options), merge_mode=merge_mode)


@keras.saving.register_keras_serializable()
class Scaled(keras.layers.LSTM):
    """A layer that is not quite an LSTM: its outputs are one per cent too large, and so are its gradients."""

    def call(self, *args, **kwargs):
        return super().call(*args, **kwargs) * 1.01


class DetachedLSTM(keras.layers.LSTMCell):
    """A cell with a mistake: no gradient goes back through h."""

    def call(self, inputs, states, training=False):
        return super().call(inputs, [keras.ops.stop_gradient(states[0]), states[1]], training)


class DetachedGRU(keras.layers.GRUCell):
    def call(self, inputs, states, training=False):
        return super().call(inputs, [keras.ops.stop_gradient(states[0])], training)


def around(cell, **options):
    return lambda units: keras.layers.RNN(cell(units), return_sequences=True, **options)


def told(seen):
    return {
        "ok": seen.ok,
        "names": [row.name for row in seen.rows],
        "errors": [row.error for row in seen.rows],
        "wrong": [row.name for row in seen.rows if not row.ok],
        "text": str(seen),
        "calls": len(seen.calls),
    }


def main():
    answers = {}
    sequences, gru, rnn, one = {"return_sequences": True}, keras.layers.GRU, keras.layers.SimpleRNN, STATE[:1]
    lstm, dropped, trained = keras.layers.LSTM, sequences | {"dropout": 0.4}, {"training": True}
    cases = {
        "all outputs": (lstm, sequences, None, None, {}),
        "not compiled": (lstm, sequences, STATE, RIGHT, {"compiled": False}),
        "last output": (lstm, {}, None, None, {}),
        "states": (lstm, sequences | {"return_state": True}, STATE, None, {}),
        "no bias": (lstm, sequences | {"use_bias": False}, STATE, None, {}),
        "backwards": (lstm, sequences | {"go_backwards": True}, STATE, None, {}),
        "right padding": (lstm, sequences, STATE, RIGHT, {}),
        "right padding, last output": (lstm, {"return_state": True}, STATE, RIGHT, {}),
        "right padding, zeros": (lstm, sequences | {"zero_output_for_mask": True}, STATE, RIGHT, {}),
        "left padding": (lstm, sequences, STATE, LEFT, {}),
        "gaps": (lstm, sequences, STATE, GAPS, {}),
        "backwards with padding": (lstm, sequences | {"go_backwards": True}, None, RIGHT, {}),
        "dropout in evaluation": (lstm, sequences | {"dropout": 0.5}, None, None, {}),
        "dropout": (lstm, dropped, STATE, None, trained),
        "GRU dropout": (gru, dropped, one, RIGHT, trained),
        "RNN dropout": (rnn, dropped, one, GAPS, trained),
        "GRU": (gru, sequences, one, RIGHT, {}),
        "GRU before": (gru, sequences | {"reset_after": False}, one, GAPS, {}),
        "GRU no bias, backwards": (gru, {"use_bias": False, "go_backwards": True}, None, RIGHT, {}),
        "RNN": (rnn, sequences, one, GAPS, {}),
        "RNN relu": (rnn, {"activation": "relu"}, None, RIGHT, {}),
        "other activations": (lstm, {"recurrent_activation": "hard_sigmoid", "activation": "relu"}, None, None, {}),
        "RNN around a cell": (around(keras.layers.LSTMCell), {}, STATE, GAPS, {}),
        "stateful": (lstm, sequences | {"stateful": True}, None, None, {}),
        "bfloat16": (lstm, sequences | {"dtype": "mixed_bfloat16"}, None, None, {}),
        "Bidirectional": (both(**sequences), {}, [*STATE, *STATE[::-1]], GAPS, {}),
        "Bidirectional sum": (both(gru, "sum", **sequences), {}, None, RIGHT, {}),
        "Bidirectional ave": (both(rnn, "ave", **sequences), {}, None, RIGHT, {}),
        "Bidirectional mul": (both(lstm, "mul", **sequences), {}, None, GAPS, {}),
        "Bidirectional None": (both(lstm, None, **sequences), {}, None, LEFT, {}),
        "Bidirectional last": (both(lstm, return_state=True), {}, None, RIGHT, {}),
        "Bidirectional dropout": (both(gru, dropout=0.4), {}, None, RIGHT, trained),
        "mistake: outputs": (Scaled, sequences, None, None, {}),
        "mistake: h detached": (around(DetachedLSTM), {}, None, None, {}),
        "mistake: h detached, GRU": (around(DetachedGRU), {}, None, RIGHT, {}),
        "mistake: a direction": (both(Scaled, **sequences), {}, None, None, {}),
    }
    left_out = json.loads(sys.argv[1])
    for name in left_out:
        cases.pop(name, None)
    for name, (kind, options, state, mask, how) in cases.items():
        layer = built(kind, **options)
        if name == "stateful":
            layer(X)  # begins with what this left
        with lc.debug.watch(layer) as seen:
            step(layer, X, state, mask, **how)
        answers[name] = told(seen)

    inside = {
        "inside a Bidirectional": (built(both(merge_mode="sum", **sequences)), "backward_layer", X, RIGHT),
        "inside a TimeDistributed": (
            keras.layers.TimeDistributed(keras.layers.LSTM(H)), "layer", np.stack([X, -X], axis=1), None,
        ),
    }  # fmt: skip
    for name in inside.keys() - left_out:
        outer, part, x, mask = inside[name]
        outer.build(x.shape)
        with lc.debug.watch(getattr(outer, part)) as seen:
            step(outer, x, None, mask)
        answers[name] = told(seen)

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
        "mish": lambda: built(activation="mish"),
        "a function": lambda: built(activation=lambda x: x),
        "stacked": lambda: built(lambda units: keras.layers.RNN([keras.layers.LSTMCell(units)])),
        "zeros at the end": lambda: built(zero_output_for_mask=True),
        "turned": lambda: built(
            lambda units: keras.layers.Bidirectional(
                keras.layers.LSTM(units, go_backwards=True), backward_layer=keras.layers.LSTM(units)
            )
        ),
        "convolutional": lambda: keras.layers.ConvLSTM2D(3, 3),
        "a model": lambda: model,
        "Dense": lambda: keras.layers.Dense(3),
        "unlike": lambda: built(
            lambda units: keras.layers.Bidirectional(
                keras.layers.GRU(units), backward_layer=keras.layers.LSTM(units, go_backwards=True)
            )
        ),
    }
    for name, make in complaints.items():
        try:
            with lc.debug.watch(make()):
                pass
        except (TypeError, ValueError) as error:
            answers[name] = f"{type(error).__name__}: {error}"
    noisy = built(recurrent_dropout=0.5)
    for name, layer, run in (
        ("never called", built(), lambda layer: None),
        ("recurrent dropout", noisy, lambda layer: step(layer, X, None, None, training=True)),
        ("no gradient", built(), lambda layer: layer(X)),
    ):
        try:
            with lc.debug.watch(layer):
                run(layer)
        except RuntimeError as error:
            answers[name] = str(error)
        assert "call" not in vars(layer)
    if "recurrent dropout in evaluation" not in left_out:
        with lc.debug.watch(noisy) as seen:
            step(noisy, X, None, None)
        answers["recurrent dropout in evaluation"] = told(seen)
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
