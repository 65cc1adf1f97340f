"""How the state depends on earlier states, and how long it remembers them."""

from lstmcore.debug.jacobian.jacobian import (
    jacobian,
    lyapunov_exponents,
    memory_horizon,
    singular_values,
    step_jacobians,
)
from lstmcore.debug.jacobian.memory import Memory, memory

__all__ = ["Memory", "jacobian", "lyapunov_exponents", "memory", "memory_horizon", "singular_values", "step_jacobians"]
