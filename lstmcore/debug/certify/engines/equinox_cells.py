"""Equinox's cells in jax.lax.scan, as its documentation runs them; a cell knows no masks and no directions."""

from functools import partial
from types import ModuleType

import numpy as np

from lstmcore.debug.certify.engines import Run, Theirs
from lstmcore.debug.certify.engines.weights import dy, only, ours, states, theirs
from lstmcore.debug.certify.pack import Golden
from lstmcore.debug.certify.verdict import Refused


def engine(kind: str, dtype: str) -> tuple[str, Run]:
    import equinox
    import jax

    jax.config.update("jax_enable_x64", True)
    return equinox.__version__, partial(_run, equinox, jax, dtype)


def _run(equinox: ModuleType, jax: ModuleType, dtype: str, case: Golden) -> dict[str, object]:
    only(case, "bias")
    if case.cell == "rnn" or case.mask is not None or case.direction != "forward" or case.layers > 1:
        raise Refused("a cell: no masks, no directions, no stacks" if case.cell != "rnn" else "no plain RNN")
    kind = {"lstm": equinox.nn.LSTMCell, "gru": equinox.nn.GRUCell}[case.cell]
    (place,) = case.places
    bias = case.options.get("bias", True)
    cell = kind(case.I, case.H, use_bias=bias, dtype=dtype, key=jax.random.key(0))
    given_weights = _from_torch(case, theirs(case, place, "torch"))
    weights = {key: jax.numpy.asarray(a.astype(dtype)) for key, a in given_weights.items()}

    def pure(x: Theirs, given: Theirs, weights: Theirs) -> Theirs:
        names = list(weights)
        made = equinox.tree_at(lambda c: [getattr(c, n) for n in names], cell, [weights[n] for n in names])

        def step(carry: Theirs, x_t: Theirs) -> Theirs:
            carry = jax.vmap(made)(x_t, carry)
            return carry, carry[0] if case.cell == "lstm" else carry

        end, y = jax.lax.scan(step, given if case.cell == "lstm" else given[0], x)
        return [y, *(end if case.cell == "lstm" else [end])]

    given = tuple(s[0] for s in states(case, "state0", dtype))
    upstream = [dy(case, dtype), *(s[0] for s in states(case, "dstate", dtype))]
    with jax.disable_jit():  # every case has shapes of its own, and would be compiled for seconds
        outputs, back = jax.vjp(pure, case.x.astype(dtype), given, weights)
        dx, dstate0, dweights = back([jax.numpy.asarray(a) for a in upstream])
    found: dict[str, object] = {"y": np.asarray(outputs[0]), "dx": np.asarray(dx)}
    found |= {f"state/{place}.{s}": np.asarray(a) for s, a in zip(case.states, outputs[1:])}
    found |= {f"dstate0/{place}.{s}": np.asarray(a) for s, a in zip(case.states, dstate0)}
    return found | ours(case, place, "torch", _to_torch(case, {key: np.asarray(a) for key, a in dweights.items()}))


def _from_torch(case: Golden, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """torch's arrays with one bias in place of two; bias_n of a GRU is the last block of torch's second."""
    found = {name: given[f"{name}_l0"] for name in ("weight_ih", "weight_hh")}
    if "bias_ih_l0" in given:
        found["bias"] = given["bias_ih_l0"]
        if case.cell == "gru":
            found["bias_n"] = given["bias_hh_l0"][-case.H :]
    return found


def _to_torch(case: Golden, gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {f"{name}_l0": gradients[name] for name in ("weight_ih", "weight_hh")}
    if "bias" in gradients:
        found["bias_ih_l0"] = found["bias_hh_l0"] = gradients["bias"]
        if case.cell == "gru":
            found["bias_hh_l0"] = np.concatenate([gradients["bias"][: 2 * case.H], gradients["bias_n"]])
    return found
