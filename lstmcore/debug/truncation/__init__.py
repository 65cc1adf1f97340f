"""What does truncated backpropagation through time leave out?"""

from lstmcore.debug.truncation.truncation import Truncation, truncation

__all__ = ["Truncation", "truncation"]
