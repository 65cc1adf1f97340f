"""Is this recurrent layer right? Any engine, in any language, against cases of known gradients (docs/pack.md)."""

from lstmcore.debug.certify.pack import Golden, read_pack

__all__ = ["Golden", "read_pack"]
