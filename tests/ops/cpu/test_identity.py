"""A function is known by its code and by the values of all that it names, wherever it was written."""

import importlib.util
import itertools
import math
import subprocess
import sys

import numpy as np
import pytest

from lstmcore.ops.cpu.identity import UnknownContent, identity

count = itertools.count()


def module(tmp_path, text: str, name: str = ""):
    """A module of this text, loaded anew under a name of its own."""
    name = name or f"written_{next(count)}"
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


PLAIN = "def f(x):\n    return 2 * x\n"
SAME = {
    "a comment": "# why\ndef f(x):\n    # twice\n    return 2 * x  # here\n",
    "empty lines": "\n\n\ndef f(x):\n\n    return 2 * x\n",
    "a neighbour": "def g(x):\n    return x\n\n\ndef f(x):\n    return 2 * x\n",
    "a global that is not named": "y = 3\ndef f(x):\n    return 2 * x\n",
}
OTHER = {
    "a constant": "def f(x):\n    return 3 * x\n",
    "the type of a constant": "def f(x):\n    return 2.0 * x\n",
    "an operation": "def f(x):\n    return 2 + x\n",
    "an argument more": "def f(x, y=1):\n    return 2 * x\n",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_what_is_not_compiled_does_not_count(tmp_path, text):
    assert identity(module(tmp_path, text).f) == identity(module(tmp_path, PLAIN).f)


def test_a_docstring_does_not_count(tmp_path):
    first = module(tmp_path, 'def f(x):\n    """Twice."""\n    return 2 * x\n')
    second = module(tmp_path, 'def f(x):\n    """Two times x."""\n    return 2 * x\n')
    assert identity(first.f) == identity(second.f)


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER)
def test_what_is_compiled_counts(tmp_path, text):
    assert identity(module(tmp_path, text).f) != identity(module(tmp_path, PLAIN).f)


VALUES = [1, 1.0, True, -1, 2**70, math.nan, math.inf, "a", b"a", None, (1,), (1, 2), ((1,), 2), np.float32(1),
          np.float64(1), np.dtype("float32"), np.arange(3), np.arange(3.0), np.arange(4), np.ones((2, 2))]  # fmt: skip


def test_values_of_a_closure_count():
    def holding(value):
        return lambda x: (x, value)

    hashes = [identity(holding(value)) for value in VALUES]
    assert len(set(hashes)) == len(VALUES)
    assert hashes == [identity(holding(value)) for value in VALUES]


def test_values_of_globals_count(tmp_path):
    m = module(tmp_path, "k = 1\ndef f(x):\n    return k * x\n")
    before = identity(m.f)
    m.k = 7
    assert identity(m.f) != before
    m.k = 1
    assert identity(m.f) == before


def test_helpers_count_wherever_they_stand(tmp_path):
    """Through functions that functions call, and attributes of modules."""
    helper = module(tmp_path, "def g(x):\n    return x + 1\n", "helper_of_the_test")
    user = module(tmp_path, "import helper_of_the_test\ndef f(x):\n    return helper_of_the_test.g(x)\n")
    before = identity(user.f)
    helper.g = module(tmp_path, "def g(x):\n    return x + 2\n").g
    assert identity(user.f) != before
    nested = module(
        tmp_path, "def h(x):\n    return x\ndef g(x):\n    return h(x)\ndef f(x):\n    return [g(y) for y in x]\n"
    )
    before = identity(nested.f)
    nested.h = module(tmp_path, "def h(x):\n    return -x\n").h
    assert identity(nested.f) != before


def test_circles_end(tmp_path):
    m = module(tmp_path, "def f(x):\n    return g(x)\ndef g(x):\n    return f(x)\n")
    assert identity(m.f) == identity(m.f)


def test_defaults_count():
    assert identity(lambda x, k=1: x) != identity(lambda x, k=2: x)


def test_what_may_hold_anything_is_refused():
    class Thing:
        pass

    thing = Thing()
    with pytest.raises(UnknownContent):
        identity(lambda x: thing)


def test_the_same_in_every_process(tmp_path):
    """Also without a source file, as in a notebook or under `python -c`."""
    code = (
        "from lstmcore.ops.cpu.identity import identity\n"
        "k = 3\n"
        "def g(x):\n    return k * x\n"
        "def f(x):\n    return g(x) + {1, 2, 3}.__len__()\n"
        "print(identity(f))\n"
    )
    said = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout,
        subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=True).stdout,
    }
    assert len(said) == 1
    assert len(said.pop().strip()) == 64
