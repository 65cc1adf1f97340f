"""Rules of one's own: compiled with what they hold now, as array code where they cannot be, refused where they do not
give (w, *slots)."""

import collections
import enum
import functools
import re
import subprocess
import sys
import types

import numpy as np
import pytest

from lstmcore.train.update import optimizer
from lstmcore.train.update.optimizer import Optimizer

OWN = """
import numpy as np
from lstmcore.train.update.optimizer import Optimizer

k = 1.0

def scaled(dw):
    return k * dw

def make(factor):
    class Own(Optimizer):
        def __init__(self):
            super().__init__(0.1, 0.0, 0.0)
        def numbers(self, lr, t):
            return (lr,)
        @staticmethod
        def rule(sqrt, w, dw, lr):
            return (w - lr * factor * scaled(dw),)
    return Own()

def moved(factor):
    w = np.zeros(3)
    make(factor).step({"w": w}, {"w": np.ones(3)})
    return w[0]
"""


def own() -> dict:
    names: dict = {"__name__": "a_notebook"}
    exec(OWN, names)  # no file holds this text, as in a notebook
    return names


def test_two_rules_of_one_factory_are_two_rules():
    moved = own()["moved"]
    assert [moved(factor) for factor in (1.0, 7.0, 1.0)] == pytest.approx([-0.1, -0.7, -0.1], rel=1e-15)


def test_a_rule_reads_its_globals_as_they_are_now():
    names = own()
    assert names["moved"](1.0) == pytest.approx(-0.1, rel=1e-15)
    names["k"] = 2.0
    assert names["moved"](1.0) == pytest.approx(-0.2, rel=1e-15)
    names["scaled"] = lambda dw: dw * 5.0
    assert names["moved"](1.0) == pytest.approx(-0.5, rel=1e-15)


def test_an_optimizer_that_has_stepped_looks_again():
    names = own()
    opt, w = names["make"](1.0), np.zeros(3)
    opt.step({"w": w}, {"w": np.ones(3)})
    names["k"] = 7.0
    opt.step({"w": w}, {"w": np.ones(3)})
    assert w[0] == pytest.approx(-0.8, rel=1e-15)


def stepped(rule) -> float:
    """Where one step of lr 0.1 with the gradient 1 leads from 0."""
    own = type("Own", (Optimizer,), {"numbers": lambda self, lr, t: (lr,), "rule": staticmethod(rule)})
    w = np.zeros(3)
    own(0.1, 0.0, 0.0).step({"w": w}, {"w": np.ones(3)})
    return w[0]


def holding(how: str, k: float):
    """A rule that moves by 0.1 k, which it holds in this way."""
    if how == "enum":

        class Constant(enum.Enum):
            K = k

        return lambda sqrt, w, dw, lr: (w - lr * Constant.K.value * dw,)
    if how == "member":
        member = enum.Enum("Constant", {"K": k}).K
        return lambda sqrt, w, dw, lr: (w - lr * member.value * dw,)
    if how == "default of a field":
        Constants = collections.namedtuple("Constants", "k", defaults=(k,))
        return lambda sqrt, w, dw, lr: (w - lr * Constants().k * dw,)
    if how == "default":
        return lambda sqrt, w, dw, lr, k=k: (w - lr * k * dw,)
    if how == "dict":
        return lambda sqrt, w, dw, lr, d={"k": k}: (w - lr * d["k"] * dw,)
    if how == "list":
        held = [k]
        return lambda sqrt, w, dw, lr: (w - lr * held[0] * dw,)
    if how == "partial":
        return functools.partial(lambda k, sqrt, w, dw, lr: (w - lr * k * dw,), k)
    assert how == "array"
    HELD[0] = k
    return lambda sqrt, w, dw, lr: (w - lr * HELD[0] * dw,)


HELD = np.zeros(1)


@pytest.mark.parametrize("how", ["enum", "member", "default of a field", "default", "dict", "list", "partial", "array"])
def test_whatever_a_rule_holds_counts(how):
    """Compiled where it can be, as array code where not."""
    assert [stepped(holding(how, k)) for k in (1.0, 7.0)] == pytest.approx([-0.1, -0.7], rel=1e-15)


MODULE = """
import numba
k = 1.0
def plain(dw):
    return k * dw
@numba.njit
def compiled(dw):
    return k * dw
"""


@pytest.mark.parametrize("how", ["plain", "compiled"])
def test_what_a_rule_calls_by_the_name_of_its_module_is_as_it_is_now(how):
    module = types.ModuleType("a_module_of_the_test")
    exec(MODULE, vars(module))
    rule = eval(f"lambda sqrt, w, dw, lr: (w - lr * module.{how}(dw),)", {"module": module})
    assert stepped(rule) == pytest.approx(-0.1, rel=1e-15)
    module.k = 7.0
    assert stepped(rule) == pytest.approx(-0.7, rel=1e-15)


@pytest.mark.parametrize(("held", "why"), [({0: 3.0}, "Untyped .* name 'held'.*"), ([3.0], ".+")], ids=["dict", "list"])
def test_a_rule_that_cannot_be_compiled_runs_as_array_code_and_says_so_once(held, why, caplog):
    optimizer._told.clear()
    rule = lambda sqrt, w, dw, lr: (w - lr * held[0] * dw,)  # noqa: E731
    for _ in range(2):
        assert stepped(rule) == pytest.approx(-0.3, rel=1e-15)
    (told,) = [r.getMessage() for r in caplog.records if "array code" in r.getMessage()]
    assert re.fullmatch(rf"lstmcore: the rule of Own cannot be compiled \({why}\); it runs as array code", told)
    assert " at 0x" not in told


@pytest.mark.parametrize("length", [lambda dw: (dw * dw).sum(), lambda dw: np.sum(dw * dw)])
def test_a_rule_that_is_not_pointwise_runs_as_array_code_and_says_so(length, caplog):
    """It divides by the length of the whole gradient. Compiled, where it sees a number at a time, it would by that."""
    optimizer._told.clear()
    assert stepped(lambda sqrt, w, dw, lr: (w - lr * dw / sqrt(length(dw)),)) == pytest.approx(-0.1 / 3**0.5, rel=1e-15)
    assert "cannot be compiled (it looks at more than one number at a time); it runs as array code" in caplog.text


def test_a_rule_may_hold_an_array_of_the_parameters_shape():
    spared = np.array([1.0, 0.0, 1.0])
    assert stepped(lambda sqrt, w, dw, lr: (w - lr * spared * dw,)) == pytest.approx(-0.1, rel=1e-15)


@pytest.mark.parametrize("compiler", [True, False])
@pytest.mark.parametrize(
    ("rule", "got"),
    [
        (lambda sqrt, w, dw, lr: w - lr * dw, "got a ndarray"),
        (lambda sqrt, w, dw, lr: (w - lr * dw, dw), "got 2 values"),
        (lambda sqrt, w, dw, lr: None, "got a NoneType"),
        (lambda sqrt, w, dw, lr: (w, dw, w) if dw > 0 else (w, w, w), "got 3 values"),
    ],
)
def test_a_rule_that_gives_something_else_is_refused(rule, got, compiler, monkeypatch):
    monkeypatch.setattr(optimizer, "has_compiler", lambda: compiler)
    with pytest.raises(TypeError, match=rf"`rule` of Own should return a tuple of 1: \(w,\), all new; {got}"):
        stepped(rule)


@pytest.mark.parametrize("compiler", [True, False])
def test_a_rule_that_runs_in_no_way_is_refused_and_nothing_changed(compiler, monkeypatch):
    monkeypatch.setattr(optimizer, "has_compiler", lambda: compiler)
    own = type("Own", (Optimizer,), {"numbers": lambda self, lr, t: (lr,)})(0.1, 0.0, 0.0)
    own.rule = lambda sqrt, w, dw, lr: (w - lr * nowhere * dw,)  # noqa: F821
    with pytest.raises(TypeError, match=r"does not run as array code .*'nowhere' is not defined"):
        own.step({"w": np.zeros(3)}, {"w": np.ones(3)})
    assert own.state == {}


@pytest.mark.parametrize("how", ["-c", "stdin"])
def test_a_rule_from_the_command_line(how):
    code = OWN + "print(moved(7.0))"
    command = [sys.executable, "-c", code] if how == "-c" else [sys.executable, "-"]
    given = None if how == "-c" else code
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(-0.7, rel=1e-15)


AMSGRAD = """
class AMSGrad(Optimizer):
    slots = ("m", "v", "highest")
    def __init__(self):
        super().__init__(0.01, 0.0, 0.0)
    def numbers(self, lr, t):
        return lr, 0.9, 0.1, 0.999, 0.001, 1e-8
    @staticmethod
    def rule(sqrt, w, dw, m, v, highest, lr, keep_m, new_m, keep_v, new_v, eps):
        m = keep_m * m + new_m * dw
        v = keep_v * v + new_v * dw * dw
        highest = (v > highest) * v + (v <= highest) * highest
        return w - lr * m / (sqrt(highest) + eps), m, v, highest
"""


def test_three_slots():
    """AMSGrad (Reddi, Kale & Kumar 2018, algorithm 2, without projection) against its formula in NumPy."""
    names: dict = {"Optimizer": Optimizer, "__name__": "a_notebook"}
    exec(AMSGRAD, names)
    opt, rng = names["AMSGrad"](), np.random.default_rng(0)
    w = rng.standard_normal(50)
    want, m, v, highest = w.copy(), 0.0, 0.0, np.zeros(50)
    for _ in range(5):
        dw = rng.standard_normal(50)
        opt.step({"w": w}, {"w": dw})
        m, v = 0.9 * m + 0.1 * dw, 0.999 * v + 0.001 * dw * dw
        highest = np.maximum(v, highest)
        want -= 0.01 * m / (np.sqrt(highest) + 1e-8)
    np.testing.assert_allclose(w, want, rtol=1e-12)  # five steps of some ten roundings, on numbers near 1
    assert set(opt.state["w"]) == {"t", "m", "v", "highest"}
