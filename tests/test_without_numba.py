"""A process that cannot import Numba: everything runs in array code, and says so once."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

import lstmcore as lc

CELLS = ("LSTM", "GRU", "RNN")


def passes(name: str, dtype: str) -> str:
    """A digest of outputs and gradients of one layer on the reference engine, or on what is chosen without a name."""
    rng = np.random.default_rng(0)
    layer = getattr(lc, name)(3, 5, dtype=dtype, seed=1, engine=None if "numba" in BLOCKED else "reference")
    y, _, cache = layer.forward(rng.normal(size=(4, 2, 3)).astype(dtype))
    dx, _, grads = layer.backward(rng.normal(size=y.shape).astype(dtype), cache)
    return hashlib.sha256(b"".join(a.tobytes() for a in (y, dx, *grads.values()))).hexdigest()


BLOCKED: tuple[str, ...] = ()

WITHOUT = """
import json, sys, tempfile
sys.modules["numba"] = sys.modules["llvmlite"] = None
import test_without_numba as own
own.BLOCKED = ("numba", "llvmlite")
np, lc = own.np, own.lc
digests = {f"{name} {dtype}": own.passes(name, dtype) for name in own.CELLS for dtype in ("float32", "float64")}

rng = np.random.default_rng(0)
net = lc.Stack([lc.Bidirectional(lc.LSTM(3, 4, seed=1), lc.LSTM(3, 4, seed=2)), lc.Linear(8, 2, seed=3)])
x, targets = rng.normal(size=(5, 6, 3)).astype("float32"), rng.integers(0, 2, size=(5, 6))
history = lc.fit(net, lc.softmax_cross_entropy, [(x, targets)], lc.Adam(), epochs=20, clip=1.0, progress=False)
losses = [row["loss"] for row in history["epochs"]]
y = net.predict(x)[0]
loss, dy = lc.squared_error(y, np.zeros_like(y))
assert np.isclose(loss, np.mean(y * y)) and np.allclose(dy, 2 * y / y.size), "squared error"
assert lc.debug.gradcheck(net, x).ok, "gradcheck"
assert all(np.isfinite(entry.norm).all() for entry in [*lc.debug.ledger(lc.LSTM(3, 4, seed=1), x).entries])
str(lc.debug.flow(lc.LSTM(3, 4, seed=1), x))
with tempfile.TemporaryDirectory() as folder:
    lc.save(folder + "/net.safetensors", net)
    assert np.array_equal(lc.load(folder + "/net.safetensors").predict(x)[0], y), "save and load"
try:
    lc.LSTM(3, 4, engine="fused-cpu").forward(x)
except ValueError as error:
    refused = str(error)
print(json.dumps([digests, losses, refused]))
"""


@pytest.fixture(scope="module")
def without() -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, 'tests')\n{WITHOUT}"], capture_output=True, text=True
    )


def test_the_same_bits_as_the_reference_engine(without):
    assert without.returncode == 0, without.stderr
    digests, losses, _ = json.loads(without.stdout)
    assert digests == {f"{name} {dtype}": passes(name, dtype) for name in CELLS for dtype in ("float32", "float64")}
    assert losses[-1] < losses[0]


def test_it_says_so_once(without):
    assert without.stderr.count("Numba cannot be imported") == 1, without.stderr
    assert "for the engines 'fused-cpu' and 'fused-cpu-bf16': pip install numba" in without.stderr


def test_the_engine_by_name_says_what_to_install(without):
    assert "engine 'fused-cpu' needs Numba, which cannot be imported: pip install numba" in without.stdout
