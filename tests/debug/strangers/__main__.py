"""python -m tests.debug.strangers [SEED] [PROGRAM ...]: scores.py's table."""

import sys

from tests.debug.strangers.scores import main

if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0, tuple(sys.argv[2:]))
