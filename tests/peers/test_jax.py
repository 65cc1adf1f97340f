"""JAX: the three cells written as a scan, differentiated by jax.grad in float64, under every mask.

Written from the textbook formulas, with a `where` for masked steps. To 1e-12 of each array's largest entry, as torch.
"""

from functools import cache

import numpy as np
import pytest
from cases import CELLS, MASKS, Problem, flatten, run, worst_relative_error


@cache
def compiled(jax, cell: str):
    """f(params, x, state, mask, dy, dstate) -> (gradients of params, x and state), (y, last state)."""
    jnp, sigmoid = jax.numpy, jax.nn.sigmoid

    def lstm(p, x, state):
        h, c = state
        i, f, g, o = jnp.split(x @ p["W_ih"] + h @ p["W_hh"] + p["b"], 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        return sigmoid(o) * jnp.tanh(c), c

    def gru(p, x, state):
        (h,) = state
        x_r, x_z, x_n = jnp.split(x @ p["W_ih"] + p["b"], 3, axis=-1)
        h_r, h_z, h_n = jnp.split(h @ p["W_hh"], 3, axis=-1)
        z = sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + sigmoid(x_r + h_r) * (h_n + p["b_hn"]))
        return ((1 - z) * n + z * h,)

    def rnn(p, x, state):
        return (jnp.tanh(x @ p["W_ih"] + state[0] @ p["W_hh"] + p["b"]),)

    def forward(p, x, state, mask):
        def one(state, at):
            x_t, real = at
            new = {"lstm": lstm, "gru": gru, "rnn": rnn}[cell](p, x_t, state)
            state = tuple(jnp.where(real[:, None], n, s) for n, s in zip(new, state, strict=True))
            return state, jnp.where(real[:, None], state[0], 0.0)

        last, y = jax.lax.scan(one, state, (x, mask))
        return y, last

    def loss(p, x, state, mask, dy, dstate):
        y, last = forward(p, x, state, mask)
        return (dy * y).sum() + sum((d * s).sum() for d, s in zip(dstate, last, strict=True)), (y, last)

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_agrees_with_jax(engine, jax, cell, mask):
    engine.skip_if_unsupported(cell)
    problem = Problem((cell, 3, 4), 6, 4, mask, seed=1)
    where = np.ones((6, 4), bool) if problem.mask is None else problem.mask
    gradients = compiled(jax, cell)
    (grads, dx, dstate0), (y, last) = gradients(
        problem.params, problem.x, problem.state, where, problem.dy, problem.dstate
    )
    want = flatten({"y": y, "state": last, "dx": dx, "dstate0": dstate0, "grads": grads})
    assert all(value.dtype == np.float64 for value in want.values())
    worst, array = worst_relative_error(run(problem, engine), want)
    assert worst <= 1e-12, array
