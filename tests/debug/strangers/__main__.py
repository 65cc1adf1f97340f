"""python -m tests.debug.strangers [PROGRAM ...] [--kinds WORD ...] [--kept FILE] [--seed N]: scores.py's table."""

import argparse

from tests.debug.strangers.scores import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", nargs="*")
    parser.add_argument(
        "--kinds", nargs="+", default=[], help="the rows of the table that begin so: right, one, two, three"
    )
    parser.add_argument("--kept")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(given.seed, tuple(given.programs), given.kept, tuple(given.kinds))
