"""What a process is told that runs a module of this package for its parent: to import the same one."""

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import lstmcore


def same_package() -> dict[str, str]:
    """The variables with which another process of this Python imports everything from where this one does.

    A script may have changed `sys.path`, and the current folder may be on it (`python -m`), so the path is handed on.
    Where it does not lead to the lstmcore that runs here, the folder of that one comes first.
    """
    places = [place for place in sys.path if place]  # "": the current folder, whichever that is by now
    found = PathFinder.find_spec("lstmcore", places)
    if found is None or found.origin != lstmcore.__file__:
        places.insert(0, str(Path(lstmcore.__file__).parents[1]))
    return {"PYTHONPATH": os.pathsep.join(places)}
