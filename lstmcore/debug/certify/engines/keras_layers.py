"""Keras 3: keras:torch and keras:jax with gradients, keras:numpy and others outputs alone; :unroll unrolls the loop,
keras:jax:kernel takes the way for accelerators, over JAX's own stand-in for their kernel.

The worker is started with KERAS_BACKEND set to the second word. zero_output_for_mask is on: then y is promised to be
zero at masked steps, and what else stands there is wrong.
"""

import functools
import sys
from functools import partial
from types import ModuleType
from typing import TypeAlias

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.debug.certify.engines import Run, Theirs
from lstmcore.debug.certify.engines.jax_layers import compiled
from lstmcore.debug.certify.engines.weights import dy, only, ours, states, theirs
from lstmcore.debug.certify.pack import Golden
from lstmcore.debug.certify.verdict import Refused

FUNCTIONS = ("tanh", "sigmoid", "relu", "softsign", "softplus", "elu", "linear")
KINDS = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}
Told: TypeAlias = tuple[tuple[str, object], ...]  # the keywords of a layer


def engine(kind: str, dtype: str, backend: str = "", *words: str) -> tuple[str, Run]:
    if not backend:
        raise ValueError("a backend should stand behind it, as in keras:torch or keras:jax:unroll")
    import keras

    backend = keras.config.backend()
    if set(words) - ({"unroll", "kernel"} if backend == "jax" else {"unroll"}):
        raise ValueError(f"after the backend may stand unroll, after jax also kernel; got {':'.join(words)}")
    if "kernel" in words:
        _with_kernel()
    keras.config.set_floatx(dtype)
    if backend == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    run = partial(_run, keras, backend, dtype, "unroll" in words)
    return f"{keras.__version__} on {backend}", partial(_by_kernel, run) if "kernel" in words else run


def _with_kernel() -> None:
    """Keras on JAX takes its way for accelerators, with what JAX itself puts in the place of their kernel."""
    from jax.experimental import rnn

    def kernel(x: Theirs, h: Theirs, c: Theirs, weights: Theirs, lengths: Theirs, **sizes: Theirs) -> Theirs:
        shapes = {name: value for name, value in sizes.items() if name != "dropout"}
        return rnn.lstm_ref(x, h, c, *rnn.unpack_lstm_weights(weights, **shapes), lengths, **sizes)

    way: Theirs = sys.modules["keras.src.backend.jax.rnn"]
    way._is_gpu_available = lambda: True
    theirs: Theirs = rnn
    theirs.lstm = kernel


def _by_kernel(run: Run, case: Golden) -> dict[str, object]:
    if case.cell != "lstm" or case.mask is not None or case.options:
        raise Refused("the way for accelerators is for plain LSTMs without a mask")
    return dict(run(case))


def _function(case: Golden, option: str, usual: str) -> str:
    spec = case.options.get(option, usual)
    parts: list[Theirs] = [spec] if isinstance(spec, str) else list(spec)
    name, *numbers = parts
    if name == "hard_sigmoid" and numbers and abs(numbers[0] - 1 / 6) < 1e-12:
        return "hard_sigmoid"
    if name not in FUNCTIONS or numbers:
        raise Refused(f"no {option} {' '.join(map(str, parts))}")
    return str(name)


def _told(dtype: str, unroll: bool, case: Golden) -> Plain:
    """What the case's layers are made with."""
    told: Plain = {
        "activation": _function(case, "activation", "tanh"),
        "use_bias": case.options.get("bias", True),
        "return_sequences": True,
        "return_state": True,
        "go_backwards": case.direction == "reverse",
        "zero_output_for_mask": True,
        "unroll": unroll,
        "dtype": dtype,
    }
    if case.cell != "rnn":
        told["recurrent_activation"] = _function(case, "gate_activation", "sigmoid")
    if case.cell == "lstm" and _function(case, "cell_activation", "tanh") != told["activation"]:
        raise Refused("no cell_activation of its own")
    if case.cell == "gru":
        told["reset_after"] = case.options.get("reset") != "before"
    return told


@functools.cache
def _layer(keras: ModuleType, kind: str, H: int, both: bool, shape: tuple[int, ...], told: Told, at: int) -> Theirs:
    """The layer at a place of a stack, built for inputs of a shape; the next case that has the same takes it again."""
    layer = getattr(keras.layers, KINDS[kind])(H, **dict(told))
    if both:
        layer = keras.layers.Bidirectional(layer, merge_mode="concat")
    layer.build(shape)
    return layer


@functools.cache
def _by_itself(keras: ModuleType, *made: Theirs) -> Theirs:
    """A layer of Keras on JAX as a compiled function of its weights too, one for all places and cases.

    Not where the loop is unrolled: each of its steps would be compiled, and one by one its operations are known to JAX.
    """
    import jax

    layer = _layer(keras, *made, 0)
    fixed = [v.value for v in layer.non_trainable_variables]

    def call(weights: Theirs, x: Theirs, initial_state: Theirs, mask: Theirs) -> Theirs:
        return layer.stateless_call(weights, fixed, x, initial_state=initial_state, mask=mask)[0]

    return call if dict(made[-1])["unroll"] else compiled(jax, call)


def _run(keras: ModuleType, backend: str, dtype: str, unroll: bool, case: Golden) -> dict[str, object]:
    only(case, "activation", "gate_activation", "cell_activation", "bias", "reset")
    if case.topology == "towers":
        raise Refused("no independent towers")
    widths = [case.I] + [case.H * (2 if case.direction == "bidirectional" else 1)] * (case.layers - 1)
    both, told = case.direction == "bidirectional", tuple(_told(dtype, unroll, case).items())
    made = [(case.cell, case.H, both, (case.B, case.T, width), told) for width in widths]
    layers = [_layer(keras, *one, k) for k, one in enumerate(made)]
    per = len(case.places) // case.layers
    where = []  # (place, key, variable)
    for k, layer in enumerate(layers):
        variables = layer.trainable_variables
        each = len(variables) // per
        for d in range(per):
            place = case.places[k * per + d]
            for (key, value), variable in zip(
                theirs(case, place, "keras").items(), variables[d * each : (d + 1) * each]
            ):
                variable.assign(value.astype(dtype))
                where.append((place, key, variable))
    given = [s for pair in zip(*states(case, "state0", dtype)) for s in pair]  # by place, h and c side by side
    many = len(case.states) * per

    def forward(x: Theirs, initial: list[Theirs], weights: list[Theirs]) -> tuple[Theirs, list[Theirs]]:
        last: list[Theirs] = []
        mask = None if case.mask is None else keras.ops.convert_to_tensor(case.mask.T)
        for k, layer in enumerate(layers):
            begin = initial[k * many : (k + 1) * many]
            if backend == "jax":
                answer = _by_itself(keras, *made[k])(weights[k], x, begin, mask)
            else:
                answer = layer(x, initial_state=begin, mask=mask)
            x, last = answer[0], [*last, *answer[1:]]
            x = keras.ops.flip(x, 1) if case.direction == "reverse" else x
        return x, last

    upstream = [dy(case, dtype).swapaxes(0, 1)] + [s for pair in zip(*states(case, "dstate", dtype)) for s in pair]
    x = np.ascontiguousarray(case.x.astype(dtype).swapaxes(0, 1))
    weights = [[v.value for v in layer.trainable_variables] for layer in layers]
    if backend == "torch":
        y, last, dx, dstate0, dweights = _by_torch(forward, x, given, upstream, weights)
    elif backend == "jax":
        y, last, dx, dstate0, dweights = _by_jax(forward, x, given, upstream, weights)
    else:
        y, last = forward(keras.ops.convert_to_tensor(x), [keras.ops.convert_to_tensor(s) for s in given], weights)
        dx, dstate0, dweights = None, [], []
    y = np.asarray(keras.ops.convert_to_numpy(y)).swapaxes(0, 1)
    found: dict[str, object] = {"y": y}
    if case.mask is not None and np.any(y[~case.mask] != 0):
        found["broken"] = "zero_output_for_mask=True: y is not zero at masked steps"
    names = [f"{place}.{s}" for place in case.places for s in case.states]
    found |= {f"state/{name}": np.asarray(keras.ops.convert_to_numpy(s)) for name, s in zip(names, last)}
    found |= {f"dstate0/{name}": np.asarray(s) for name, s in zip(names, dstate0)}
    if dx is not None:
        found["dx"] = np.asarray(dx).swapaxes(0, 1)
        for place in case.places:
            got = {key: np.asarray(g) for (at, key, _), g in zip(where, dweights) if at == place}
            found |= ours(case, place, "keras", got)
    return found


def _by_torch(forward: Theirs, x: Theirs, given: Theirs, upstream: Theirs, weights: Theirs) -> Theirs:
    import torch

    inputs = [torch.tensor(a, requires_grad=True) for a in (x, *given)]
    y, last = forward(inputs[0], inputs[1:], weights)
    wanted = [*inputs, *(w for layer in weights for w in layer)]
    dx, *rest = torch.autograd.grad([y, *last], wanted, [torch.tensor(a) for a in upstream])
    arrays = [a.detach().numpy() for a in rest]
    return y.detach(), [a.detach() for a in last], dx.numpy(), arrays[: len(given)], arrays[len(given) :]


def _by_jax(forward: Theirs, x: Theirs, given: Theirs, upstream: Theirs, weights: Theirs) -> Theirs:
    import jax

    def pure(x: Theirs, given: Theirs, weights: Theirs) -> Theirs:
        y, last = forward(x, given, weights)
        return [y, *last]

    outputs, back = jax.vjp(pure, x, given, weights)
    dx, dstate0, dweights = back([jax.numpy.asarray(a) for a in upstream])
    return outputs[0], outputs[1:], dx, dstate0, [a for layer in dweights for a in layer]
