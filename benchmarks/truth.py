"""What the right numbers are, and how far rounding may take anybody from them. Nothing is timed before this check.

The truth is lstmcore's reference engine in float64 (the test-suite holds it to a scalar oracle and to complex-step
derivatives). The yardstick is the same engine in float32: two orders of summation round as many times each, so their
largest errors over an array are two draws from much the same distribution. With `own` the largest error of the
yardstick over an array, anybody may be off there by

    4 own + (8 + sqrt(n)) eps max|value|        eps = 1.2e-7 in float32, n real steps of all rows

8: for arrays that the yardstick happens to get almost right, a few roundings of one's own. sqrt(n): the yardstick adds
up dW in blocks; torch for one adds its n terms one after the other. Each of these additions rounds by at most eps / 2
of the partial sum, with a standard deviation of 0.29 eps, and n of them by 0.29 sqrt(n) eps: three and a half
deviations are allowed, even if every partial sum were as large as the largest value. (lstmcore's engines are held to
the bound without sqrt(n) by the test-suite.) In float64 the errors are those of float32 times the ratio of the two eps,
and the truth rounds as well, so that twice is allowed. A wrong gate, bias, mask or step is off by thousands of times
that.

Who rounds the factors of products to bfloat16, 8 bits, errs by that much more, and torch rounds what it gives as well.
A second yardstick shows how much: the reference engine again, in float32, on x, dy and weights that are rounded so.
That leaves out h, c and da, which are rounded at every step: about half of all factors, and each as likely to err one
way as the other. So once or twice the second yardstick's error is to be expected. Four times it is allowed, and four
roundings of one's own, 4 2^-8 max|value|, beside what is allowed to everybody.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from benchmarks.peers import solve
from benchmarks.peers.lstmcore import Peer
from benchmarks.problem import Problem

Arrays = dict[str, np.ndarray]


class Truth(NamedTuple):
    values: Arrays  # float64
    allowed: dict[str, float]  # by how much the worst entry of each array may differ
    more: Mapping[str, float] = MappingProxyType({})  # and how much more if factors are rounded to bfloat16

    def check(self, got: Arrays, rough: bool = False) -> float:
        """The largest error, as a part of what is allowed. Raises Wrong if it is above 1, NaN, or of another shape.
        rough: whether factors were rounded to bfloat16."""
        if got.keys() != self.values.keys():
            raise Wrong(f"gave {sorted(got)}, not {sorted(self.values)}")
        worst = 0.0
        for name, want in self.values.items():
            if got[name].shape != want.shape:
                raise Wrong(f"{name} has the shape {got[name].shape}, not {want.shape}")
            error = float(np.max(np.abs(got[name] - want)))
            allowed = self.allowed[name] + (self.more[name] if rough else 0.0)
            if allowed == 0:  # all zero for everybody: dW_hh of a single step from a zero state
                part = 0.0 if error == 0 else np.inf
            else:
                part = error / allowed
            if not part <= 1:  # a NaN too
                raise Wrong(f"{name} is off by {error:.2g}, {part:.3g} times what rounding explains")
            worst = max(worst, part)
        return worst


class Wrong(Exception):
    """Numbers that rounding does not explain."""


def truth(problem: Problem, mode: str, threads: int) -> Truth:
    """The right results of a problem in a mode, and the bound for a contestant that computes in the problem's dtype."""
    reference = Peer(threads, "reference")
    values, yardstick = (solve(reference, problem.astype(dtype), mode) for dtype in ("float64", "float32"))
    right = bounded(values, yardstick, str(problem.dy.dtype), problem.batch.steps())
    rough = solve(reference, problem.rounded(), mode)
    largest = {name: (np.max(np.abs(rough[name] - want)), np.max(np.abs(want))) for name, want in values.items()}
    return right._replace(more={name: float(4 * off + 4 * 2.0**-8 * top) for name, (off, top) in largest.items()})


def bounded(values: Arrays, yardstick: Arrays, dtype: str, n: int) -> Truth:
    """The bound above, for float64 `values` and the same in float32, where sums have up to n terms."""
    eps = np.finfo("float32").eps
    scale = 1.0 if dtype == "float32" else 2 * np.finfo(dtype).eps / eps
    allowed = {}
    for name, want in values.items():
        own = np.max(np.abs(yardstick[name] - want))
        allowed[name] = float(scale * (4 * own + (8 + n**0.5) * eps * np.max(np.abs(want))))
    return Truth(values, allowed)
