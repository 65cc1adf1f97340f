"""Tools that watch, prove and explain. Layers never import them."""

from lstmcore.debug.gradcheck import GradCheck, gradcheck, gradcheck_function

__all__ = ["GradCheck", "gradcheck", "gradcheck_function"]
