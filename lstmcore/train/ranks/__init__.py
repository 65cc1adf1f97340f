"""One training on many ranks of MPI: the sum of gradients, noise by rows, what must be alike, signs of life."""

from lstmcore.train.ranks.ranks import Ranks

__all__ = ["Ranks"]
