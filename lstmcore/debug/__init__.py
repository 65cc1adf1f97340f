"""Tools that watch, prove and explain. Layers never import them."""

from lstmcore.debug.forward_mode import Derivative, jvp
from lstmcore.debug.gradcheck import GradCheck, gradcheck, gradcheck_function
from lstmcore.debug.jacobian import jacobian, lyapunov_exponents, memory_horizon, singular_values, step_jacobians
from lstmcore.debug.rtrl import rtrl
from lstmcore.debug.second_order import hvp

__all__ = [
    "Derivative",
    "GradCheck",
    "gradcheck",
    "gradcheck_function",
    "hvp",
    "jacobian",
    "jvp",
    "lyapunov_exponents",
    "memory_horizon",
    "rtrl",
    "singular_values",
    "step_jacobians",
]
