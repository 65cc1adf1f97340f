"""Does padding change anything?"""

from lstmcore.debug.padding.padding import PaddingProof, padding

__all__ = ["PaddingProof", "padding"]
