"""One trial in a process of its own: `python -m lstmcore.recipes.sweep.worker FOLDER`, started by study.py.

The trial is told by one line of JSON on standard input, as `Space.words` makes it. The files of the run are written
into the folder; where a trial has left its checkpoints there, it goes on. When standard input ends, the parent is gone
or wants this process to stop: it ends at once.
"""

import json
import os
import sys
import threading
from pathlib import Path

from lstmcore.arrays import Plain
from lstmcore.recipes.job import Keep
from lstmcore.recipes.lock import locked
from lstmcore.recipes.sweep.jobs import RECIPES
from lstmcore.recipes.sweep.space import convert


def run(words: Plain, folder: Path) -> None:
    """Trains, tests, and writes what came of it. Raises what the recipe raises."""
    recipe = RECIPES[words["recipe"]]
    kinds = {**recipe.options, "seed": int}
    options = recipe.module.Options(**{name: convert(name, kinds[name], w) for name, w in words["options"].items()})
    inputs = {name: convert(name, recipe.inputs[name], w) for name, w in words["inputs"].items()}
    with locked(folder):
        result = recipe.run(options, _tell, Keep(folder, resume=True, tell=_tell), **inputs)
        recipe.module.save(folder, result, options)


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _leave_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin: a thread that waits for it cannot be left behind at the end
        pass
    os._exit(3)


def main() -> None:
    words = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        run(words, Path(sys.argv[1]))
    except (ValueError, TypeError, OSError) as error:  # in words already
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
