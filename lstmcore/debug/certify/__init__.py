"""Is this recurrent layer right? Any engine, in any language, against cases of known gradients (docs/pack.md)."""

from lstmcore.debug.certify.certify import Score, certify
from lstmcore.debug.certify.pack import Golden, read_pack
from lstmcore.debug.certify.verdict import Refused, Verdict

__all__ = ["Golden", "Refused", "Score", "Verdict", "certify", "read_pack"]
