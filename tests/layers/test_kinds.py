"""What `register` and `save` refuse, and `Checkpoints` before the first update: a layer that `load` could not build."""

import os
import re

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.layers import Layer, Params, kinds
from lstmcore.train import SGD


class Scale(Layer):
    """y = w f(x), f a function that may be given."""

    def __init__(self, width, f=None):
        self.width, self.f = width, f
        self.params = Params({"w": np.ones(width, "float32")})

    def forward(self, x, state=None, mask=None, rng=None, reuse=None):
        return x * self.params["w"], None, (x, self)

    def backward(self, dy, cache, dstate=None):
        return dy * self.params["w"], None, {"w": (dy * cache[0]).sum((0, 1))}


class Forgets(Scale):
    def __init__(self, width):
        super().__init__(width)
        del self.width  # an argument that is not kept


class Grows(Scale):
    def __init__(self, width):
        super().__init__(width + 1)  # what is built from its configuration is larger
        vars(self)["width"] = width + 1


@pytest.fixture
def registered(monkeypatch):
    for own in (Scale, Forgets, Grows):
        monkeypatch.setitem(kinds.KINDS, own.__name__, own)  # taken away again behind the test


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (Scale(3), TypeError, "`register` should get a class of layers or a Cell; got Scale(3) (a layer? its class)"),
        (dict, TypeError, "got <class 'dict'> (a layer? its class)"),
        ("Scale", TypeError, "got 'Scale' (a layer? its class)"),
        (type("LSTM", (Scale,), {}), ValueError, "the kind 'LSTM' is there, as lstmcore.layers.recurrent.LSTM: rename"),
        (type("Stack", (Scale,), {}), ValueError, "the kind 'Stack' is there, as lstmcore.layers.stack.Stack: rename"),
        (type("Scale", (Scale,), {"__module__": "elsewhere"}), ValueError, ".Scale: rename yours"),
    ],
)
def test_what_cannot_be_registered(registered, kind, error, message):
    before = dict(kinds.KINDS)
    with pytest.raises(error, match=re.escape(message)):
        lc.register(kind)
    assert before == kinds.KINDS


UNSAVED = [
    (
        lambda: Scale(3, np.tanh),
        r"0.fw (Scale) cannot be saved: its option f is <ufunc 'tanh'>, and a file holds plain",
    ),
    (
        lambda: Scale(3, np.ones(2)),
        r"0.fw (Scale) cannot be saved: its option f is array([1., 1.]), and a file holds pla",
    ),
    (lambda: Scale(3, float("nan")), r"0.fw (Scale) cannot be saved: its option f is nan, and a file holds plain data"),
    (lambda: Forgets(3), r"Forgets has no attribute 'width'"),
    (
        lambda: Grows(3),
        r"0.fw (Grows) cannot be saved: w should be float32 (5,) by its configuration; it is float32 (4,",
    ),
]


def inside(own):
    return lc.Stack([lc.Bidirectional(own, lc.Linear(3, 3, seed=0)), lc.Linear(6, 1, seed=0)])


@pytest.mark.parametrize(("own", "message"), UNSAVED)
def test_what_cannot_be_saved(registered, tmp_path, own, message):
    (tmp_path / "model").write_text("as it was")
    with pytest.raises(TypeError, match=re.escape(message)):
        lc.save(tmp_path / "model", inside(own()))
    assert (tmp_path / "model").read_text() == "as it was"
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("known", [False, True])
def test_checkpoints_refuse_at_the_start_what_nobody_could_go_on_from(request, tmp_path, known):
    """Before an update, and before a folder is made; a registered layer goes on to the same bits."""
    if known:
        request.getfixturevalue("registered")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 2, 3)).astype("float32"), rng.standard_normal((4, 2, 1)).astype("float32")

    def run(epochs, resume=None):
        model = inside(Scale(3))
        keep = lc.Checkpoints(tmp_path / "run")
        lc.fit(model, lc.squared_error, [(x, y)], SGD(0.1), epochs=epochs, callbacks=[keep], resume=resume, rng=0)
        return model

    if known:
        run(2)
        gone_on = run(4, lc.Checkpoints(tmp_path / "run").last())
        (tmp_path / "run").rename(tmp_path / "before")
        for name, w in run(4).params.items():
            assert gone_on.params[name].tobytes() == w.tobytes()
    else:
        with pytest.raises(TypeError, match=re.escape("0.fw (Scale) cannot be saved, for `load` could not build it: ")):
            run(2)
        assert not (tmp_path / "run").exists()
