"""Gradient noise, which helps badly started networks out of a plateau (Neelakantan et al. 2015)."""

from collections.abc import Mapping

import numpy as np

from lstmcore.arrays import Array, Plain, dtype_name, namespace
from lstmcore.layers.initialise import Seed, generator
from lstmcore.train.callbacks.callback import Callback
from lstmcore.train.run import Run
from lstmcore.train.update.optimizer import number


def add_noise(
    grads: Mapping[str, Array], t: int, rng: np.random.Generator, eta: float = 0.01, gamma: float = 0.55
) -> None:
    """Adds to every number of every gradient, in place, a draw from N(0, sigma_t^2), sigma_t^2 = eta / (1 + t)^gamma.

    Section 3 of the paper, with its gamma; its eta is 0.01, 0.3 or 1.0. t = 0, 1, ... is the step. The noise is drawn
    on the host in float64, so that a seed gives the same noise on every array library and, rounded, in every dtype.
    """
    sigma = (eta / (1 + t) ** gamma) ** 0.5
    for g in grads.values():
        draw = sigma * rng.standard_normal(tuple(g.shape))
        g += namespace(g).asarray(draw.astype(dtype_name(g.dtype)))


class GradientNoise(Callback):
    """`add_noise` as a callback of `fit`, after clipping and before each step."""

    eta: float
    gamma: float
    rng: np.random.Generator

    def __init__(self, eta: float = 0.01, gamma: float = 0.55, seed: Seed = None):
        self.eta, self.gamma = number("eta", eta), number("gamma", gamma)
        self.rng = generator(seed)

    @property
    def state(self) -> Plain:
        return dict(self.rng.bit_generator.state)

    @state.setter
    def state(self, state: Plain) -> None:
        self.rng.bit_generator.state = state

    def on_gradients(self, run: Run) -> None:
        add_noise(run.grads, run.step, self.rng, self.eta, self.gamma)
