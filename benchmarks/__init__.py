"""Benchmarks: lstmcore against other libraries, in one run. See README.md; start with `python -m benchmarks --help`.

Needs a checkout of the project. What runs in a peer's process (worker.py, problem.py, shapes.py, peers/) needs NumPy
and that peer only.
"""
