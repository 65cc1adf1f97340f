"""What the persistent kernels are held to, in either precision.

IEEE: the tolerance of test_same_for_all.py, 4 times the float32 reference's own error + 8 eps. tf32: the same, with a
yardstick that rounds the factors of products to 11 bits as the tensor cores do. Both round nearly the same numbers, so
their errors are nearly the same; 4 is for the few that fall on the other side of a tie.
"""

from functools import cache

import numpy as np
from cases import Problem, run
from engines import REFERENCE, Engine
from test_same_for_all import widened

from lstmcore.debug.mistakes import mutant
from lstmcore.debug.mistakes.mistake import LOOP, PRODUCTS, Edit, Mistake


def rounded(factor: str) -> str:
    """An expression for a float32 array with 11 bits left (Veltkamp's splitting: 2^13 + 1 takes 13 of the 24 off)."""
    return f"(8193 * {factor} - (8193 * {factor} - {factor}))"


def tf32(module: str, product: str) -> Edit:
    """`product(left, right)` with both factors rounded."""
    left, right = product.removeprefix("product(").removesuffix(")").rsplit(", ", 1)
    return Edit(module, product, f"product({rounded(left)}, {rounded(right)})")


RECURRENT = (
    tf32(LOOP, "product(state[0], W_hh)"),
    tf32(LOOP, "product(gates.join(da[t, ...], cell.recurrent_blocks), W_hh.T)"),
)
AROUND = (
    tf32(PRODUCTS, 'product(xp.reshape(x, (T * B, I)), params["W_ih"])'),
    tf32(PRODUCTS, "product(xp.reshape(h_prev, (T * B, -1)).T, da_h)"),
    tf32(PRODUCTS, "product(xp.reshape(x, (T * B, I)).T, da_x)"),
    tf32(PRODUCTS, 'product(da_x, params["W_ih"].T)'),
)


def yardstick(name: str, first: Edit, *others: Edit) -> Engine:
    return Engine(name, mutant(Mistake(name, *first, others)), "numpy")


YARDSTICKS = {
    "ieee": REFERENCE,
    "tf32": yardstick("11 bits in the loop", *RECURRENT),  # where NumPy does the other products
    "tf32 around": yardstick("11 bits everywhere", *RECURRENT, *AROUND),  # where a GPU does them
}


@cache
def references(T: int, B: int, I: int, H: int, mask: str, precision: str):
    """An LSTM's problem in float32, the truth in float64, and the yardstick's results."""
    problem, wide = (Problem(("lstm", I, H), T, B, mask, seed=T, dtype="float32") for _ in range(2))
    wide.dtype, wide.params = "float64", {key: widened(value) for key, value in wide.params.items()}
    wide.x, wide.dy, wide.state, wide.dstate = map(widened, (wide.x, wide.dy, wide.state, wide.dstate))
    return problem, run(wide, REFERENCE), run(problem, YARDSTICKS[precision])


def assert_close(got: dict[str, np.ndarray], truth: dict[str, np.ndarray], own: dict[str, np.ndarray]) -> None:
    assert got.keys() == truth.keys()
    for name, want in truth.items():
        allowed = 4 * np.max(np.abs(own[name] - want)) + 8 * np.finfo("float32").eps * np.max(np.abs(want))
        assert np.max(np.abs(got[name] - want)) <= allowed, name
