"""JAX without grad: one lax.scan forward that stacks what it needs, one in reverse that adds gradients up."""

import jax
import jax.numpy as jnp

T, B, I, H = 5, 2, 3, 4
keys = iter(jax.random.split(jax.random.PRNGKey(19), 8))
params = {"wi": jax.random.normal(next(keys), (I, 4 * H)) * 0.5, "wh": jax.random.normal(next(keys), (H, 4 * H)) * 0.5}
params["b"] = jax.random.normal(next(keys), (4 * H,)) * 0.3
xs, dys = jax.random.normal(next(keys), (T, B, I)), jax.random.normal(next(keys), (T, B, H))


def step(carry, x):
    h, c = carry
    i, f, g, o = jnp.split(x @ params["wi"] + h @ params["wh"] + params["b"], 4, axis=-1)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    new_c = f * c + i * g
    new_h = o * jnp.tanh(new_c)
    return (new_h, new_c), (new_h, (x, h, c, i, f, g, o, new_c))


def step_back(carry, at):
    dh, dc, grads = carry
    dy, (x, h, c, i, f, g, o, new_c) = at
    dh = dh + dy
    t = jnp.tanh(new_c)
    dc = dc + dh * o * (1 - t**2)
    da = (dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * t * o * (1 - o))
    da = jnp.concatenate(da, axis=-1)
    here = {"wi": x.T @ da, "wh": h.T @ da, "b": da.sum(0)}
    grads = jax.tree_util.tree_map(jnp.add, grads, here)
    return (da @ params["wh"].T, dc * f, grads), da @ params["wi"].T


zero = jnp.zeros((B, H))
_, (ys, saved) = jax.lax.scan(step, (zero, zero), xs)
start = (zero, zero, jax.tree_util.tree_map(jnp.zeros_like, params))
(_, _, grads), dxs = jax.lax.scan(step_back, start, (dys, saved), reverse=True)
case = {"weights": params, "grads": grads | {"x": dxs}, "x": xs, "dy": dys, "y": ys}
