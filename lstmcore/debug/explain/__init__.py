"""A page on which every number answers: what it was made of, by which equation and line, and who uses it."""

from lstmcore.debug.explain.examples import EXAMPLES
from lstmcore.debug.explain.graph import Graph, Step, graph
from lstmcore.debug.explain.own import explain_case, explain_run, explain_step
from lstmcore.debug.explain.page import Explanation, explain

__all__ = [
    "EXAMPLES",
    "Explanation",
    "Graph",
    "Step",
    "explain",
    "explain_case",
    "explain_run",
    "explain_step",
    "graph",
]
