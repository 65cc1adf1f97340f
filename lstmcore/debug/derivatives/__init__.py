"""The same derivatives by other ways: forward mode, second order, real-time recurrent learning."""

from lstmcore.debug.derivatives.forward_mode import Derivative, jvp
from lstmcore.debug.derivatives.rtrl import rtrl
from lstmcore.debug.derivatives.second_order import hvp

__all__ = ["Derivative", "hvp", "jvp", "rtrl"]
