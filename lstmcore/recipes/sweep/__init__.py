"""Try values of a recipe's options, each with several seeds, in processes side by side.

`space.py` says what is tried, `jobs.py` what a trial does; `worker.py` is the process that does it, `process.py` that
process seen from outside; `study.py` runs them, `memory.py` remembers what came of them, `summary.py` adds up.
"""

from lstmcore.recipes.sweep.jobs import RECIPES, Recipe
from lstmcore.recipes.sweep.memory import Trial
from lstmcore.recipes.sweep.space import Point, Space, read, told
from lstmcore.recipes.sweep.study import PATIENCE, Outcome, Standing, run
from lstmcore.recipes.sweep.summary import Configuration, configurations, draw, verdict, write_csv

__all__ = [
    "PATIENCE", "RECIPES", "Configuration", "Outcome", "Point", "Recipe", "Space", "Standing", "Trial",
    "configurations", "draw", "read", "run", "told", "verdict", "write_csv",
]  # fmt: skip
