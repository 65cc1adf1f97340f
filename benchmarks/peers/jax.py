"""JAX: a scan under jit, with the input product of all steps before it, differentiated by vjp and value_and_grad."""

import jax
import numpy as np
from jax import numpy as jnp

from benchmarks.peers import Job
from benchmarks.problem import Batch, Problem, Recipe

jax.config.update("jax_enable_x64", True)  # for problems in float64; float32 stays float32


class Peer:
    modes = ("forward", "full", "train")

    def __init__(self, threads: int, variant: str):
        self.version = jax.__version__  # its pool has a thread for every core that the process may use

    def forward(self, problem: Problem) -> Job:
        params, x, mask = _placed(problem)
        run = jax.jit(outputs)

        def results(outcome):
            y, (h, c) = outcome
            return {"y": np.asarray(y), "h": np.asarray(h), "c": np.asarray(c)}

        return Job(lambda: jax.block_until_ready(run(params, x, mask)), results)

    def full(self, problem: Problem) -> Job:
        params, x, mask = _placed(problem)
        dy = jnp.asarray(problem.dy)

        @jax.jit
        def run(params, x, mask, dy):
            y, undo = jax.vjp(lambda params, x: outputs(params, x, mask)[0], params, x)
            return y, *undo(dy)

        def results(outcome):
            y, dparams, dx = outcome
            return {"y": np.asarray(y), "dx": np.asarray(dx)} | {f"d{k}": np.asarray(v) for k, v in dparams.items()}

        return Job(lambda: jax.block_until_ready(run(params, x, mask, dy)), results)

    def trainer(self, problem: Problem, recipe: Recipe) -> "Trainer":
        return Trainer(problem, recipe)


class Trainer:
    def __init__(self, problem: Problem, recipe: Recipe):
        weights = problem.params | {f"head.{name}": value for name, value in problem.head.items()}
        self.params = jax.tree.map(jnp.asarray, weights)
        m, v = (jax.tree.map(jnp.zeros_like, self.params) for _ in range(2))
        self.state = (m, v, jnp.zeros((), jnp.int32))
        self.step = jax.jit(lambda *arguments: _step(recipe, *arguments), donate_argnums=(0, 1))

    def place(self, batch: Batch) -> tuple:
        mask = batch.mask()
        return jnp.asarray(batch.x), jnp.asarray(batch.targets), None if mask is None else jnp.asarray(mask)

    def update(self, batch: tuple) -> float:
        self.params, self.state, loss = jax.block_until_ready(self.step(self.params, self.state, *batch))
        return float(loss)

    def weights(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in self.params.items()}


def outputs(params: dict, x: jax.Array, mask: jax.Array | None) -> tuple:
    """y (T, B, H), zero at padding, and the final (h, c)."""
    a = x @ params["W_ih"] + params["b"]  # (T, B, 4H)
    zero = jnp.zeros((x.shape[1], params["W_hh"].shape[0]), x.dtype)

    def step(state, at):
        a_t, real = at
        h, c = state
        i, f, g, o = jnp.split(a_t + h @ params["W_hh"], 4, axis=-1)
        c_new = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h_new = jax.nn.sigmoid(o) * jnp.tanh(c_new)
        if real is None:
            return (h_new, c_new), h_new
        real = real[:, None]
        return (jnp.where(real, h_new, h), jnp.where(real, c_new, c)), jnp.where(real, h_new, 0)

    state, y = jax.lax.scan(step, (zero, zero), (a, mask))
    return y, state


def _step(recipe: Recipe, params: dict, state: tuple, x: jax.Array, targets: jax.Array, mask: jax.Array | None):
    def loss_of(params):
        _, (h, _) = outputs(params, x, mask)
        log_p = jax.nn.log_softmax(h @ params["head.W"] + params["head.b"])
        return -jnp.mean(jnp.take_along_axis(log_p, targets[:, None], axis=1))

    loss, grads = jax.value_and_grad(loss_of)(params)
    if recipe.clip is not None:
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in grads.values()))
        scale = jnp.minimum(1, recipe.clip / norm)
        grads = {name: scale * g for name, g in grads.items()}
    m, v, t = state
    t = t + 1
    m = {name: recipe.beta1 * m[name] + (1 - recipe.beta1) * g for name, g in grads.items()}
    v = {name: recipe.beta2 * v[name] + (1 - recipe.beta2) * g * g for name, g in grads.items()}
    correction = 1 - recipe.beta2 ** t.astype(x.dtype)
    rate = recipe.lr * jnp.sqrt(correction) / (1 - recipe.beta1 ** t.astype(x.dtype))
    eps = recipe.eps * jnp.sqrt(correction)
    params = {name: p - rate * m[name] / (jnp.sqrt(v[name]) + eps) for name, p in params.items()}
    return params, (m, v, t), loss


def _placed(problem: Problem) -> tuple:
    mask = problem.batch.mask()
    params = jax.tree.map(jnp.asarray, problem.params)
    return params, jnp.asarray(problem.batch.x), None if mask is None else jnp.asarray(mask)
