"""Is this backward right? Against complex step and central differences."""

from lstmcore.debug.gradcheck.gradcheck import GradCheck, gradcheck, gradcheck_function

__all__ = ["GradCheck", "gradcheck", "gradcheck_function"]
