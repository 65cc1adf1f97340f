"""The floor: one large matrix product of NumPy in the problem's dtype. Few LSTMs come near its rate."""

import numpy as np

from benchmarks.peers import Job
from benchmarks.problem import Problem

SIZE = 1536
GIGAFLOPS = 2 * SIZE**3 / 1e9


class Peer:
    modes = ("forward",)

    def __init__(self, threads: int, variant: str):
        self.version = np.__version__

    def forward(self, problem: Problem) -> Job:
        a, b = np.random.default_rng(0).normal(size=(2, SIZE, SIZE)).astype(problem.dy.dtype)
        product = np.empty_like(a)
        return Job(lambda: np.matmul(a, b, out=product), lambda outcome: {})
