"""The first number that is not finite."""

from lstmcore.debug.tripwire.tripwire import Tripwire, tripwire, tripwire_of

__all__ = ["Tripwire", "tripwire", "tripwire_of"]
