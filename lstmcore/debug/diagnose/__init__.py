"""Which known mistake gives these gradients?"""

from lstmcore.debug.diagnose.diagnose import Diagnosis, diagnose, diagnose_case

__all__ = ["Diagnosis", "diagnose", "diagnose_case"]
