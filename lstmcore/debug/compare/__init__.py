"""Two implementations side by side: the first step and gate in which they differ."""

from lstmcore.debug.compare.compare import Comparison, compare
from lstmcore.debug.compare.trace import trace

__all__ = ["Comparison", "compare", "trace"]
