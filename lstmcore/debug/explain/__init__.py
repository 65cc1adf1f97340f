"""A page on which every number answers: what it was made of, by which equation and line, and who uses it."""

from lstmcore.debug.explain.examples import EXAMPLES
from lstmcore.debug.explain.graph import Graph, Step, graph
from lstmcore.debug.explain.page import Explanation, explain, explain_case

__all__ = ["EXAMPLES", "Explanation", "Graph", "Step", "explain", "explain_case", "graph"]
