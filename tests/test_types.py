"""What a type checker tells a user of the package: mypy --strict and pyright, on a program from outside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

RIGHT = """\
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import lstmcore as lc

lstm = lc.LSTM(3, 4, dtype=np.float64, seed=1)
x = np.zeros((5, 2, 3))
mask = lc.mask_from_lengths([5, 3], 5)
y, state, cache = lstm.forward(x, mask=mask)
h, c = state
assert_type(y, NDArray[Any])
assert_type(c, NDArray[Any])
dx, dstate, grads = lstm.backward(y, cache, (h, c))
assert_type(dx, NDArray[Any])
assert_type(grads, dict[str, NDArray[Any]])
y, state = lstm.predict(x, state)
h, state = lstm.step(x[0], state)

opt = lc.Adam(lr=1e-3)
norm = lc.clip_by_global_norm(grads, 1.0)
assert_type(norm, float)
opt.step(lstm.params, grads)

both = lc.Bidirectional(lc.LSTM(3, 4), lc.LSTM(3, 4))
model = lc.Stack([both, lc.Dropout(0.5), lc.Linear(8, 2)])
out, after, kept = model.forward(x, None, mask, np.random.default_rng(0))
out, after, kept = model.forward(x, after, reuse=kept)
loss, dout = lc.squared_error(out, out, mask)
history = lc.fit(model, lc.squared_error, [(x, out), (x, out, mask)], opt, epochs=2, callbacks=[lc.Checkpoints("runs")])
twin = lc.to_cpu(lstm.to("float32"))
assert_type(twin, lc.LSTM)
lc.save("model", model)
loaded = lc.load("model", engine="reference")
out, last = loaded.predict(x)
check = lc.debug.gradcheck(lstm, x)
assert_type(check.ok, bool)
"""

WRONG = (
    'lc.LSTM(3, "four")',
    "lc.LSTM(3)",
    "lc.GRU(3, 4, sed=1)",
    "lc.RNN(3, 4, dtype=32)",
    'lstm.forward("x")',
    "lstm.forward([[[1.0]]])",
    "lstm.forward(x, h)",
    "lstm.forward(x, mask=[True])",
    "lstm.forward(x, rng=0)",
    "lstm.backward(y)",
    "lstm.gates",
    "lstm.to(array=1)",
    "lc.Stack([lc.Tanh, x])",
    "opt.step(grads)",
    "opt.step(grads, 0.1)",
    "opt.lr = '0.1'",
    "lc.clip_by_global_norm(y, 1.0)",
    "lc.fit(model, 'squared_error', [(x, out)], opt, epochs=2)",
    "lc.fit(model, lc.squared_error, [x, out], opt, epochs=2)",
    "lc.fit(model, lc.squared_error, [(x, out)], lc.Adam, epochs=2)",
    "lc.fit(model, lc.squared_error, [(x, out)], opt, epochs='2')",
    "lc.fit(model, lc.squared_error, [(x, out)], opt, epochs=2, callbacks=[print])",
    "lc.save(model, 'model')",
    "lc.load(3)",
    "lc.debug.gradchek(lstm, x)",
    "lc.debug.gradcheck(x, lstm)",
    "lc.no_such_name",
)

# What the package can do without, as for a user who has none of it: of torch alone mypy would read 1,384 files.
CONFIG = """\
[mypy]
[mypy-torch.*,jax.*,jaxlib.*,flax.*,equinox.*,keras.*,onnx.*,numba.*,llvmlite.*,IPython.*,matplotlib.*,optuna.*]
follow_imports = skip
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("outside") / "program.py"
    path.write_text(RIGHT + "\n".join(WRONG) + "\n", encoding="utf-8")
    (path.parent / "mypy.ini").write_text(CONFIG, encoding="utf-8")
    return path


def expected() -> dict[int, str]:
    """line -> its text, of all that are wrong."""
    first = RIGHT.count("\n") + 1
    return dict(enumerate(WRONG, first))


def ran(*command: str, folder: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MYPYPATH": str(ROOT)}
    command = (sys.executable, "-m", *command)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=540)


def test_mypy_knows_what_is_right_and_what_is_wrong(program):
    cache = ROOT / ".mypy_cache" / "outside"
    options = ("--strict", "--follow-imports=silent", "--no-pretty", "--output=json", f"--cache-dir={cache}")
    done = ran("mypy", *options, program.name, folder=program.parent)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    lines = {one["line"]: one["message"] for one in found if one["severity"] == "error"}
    assert lines.keys() == expected().keys(), (expected(), lines, done.stderr)


def test_pyright_knows_nearly_every_type_of_the_package():
    """Of all its public names, those inside it included; what comes from other packages aside."""
    options = ("--outputjson", "--pythonpath", sys.executable, "--verifytypes", "lstmcore", "--ignoreexternal")
    found = json.loads(ran("pyright", *options, folder=ROOT).stdout)["typeCompleteness"]
    assert found["completenessScore"] > 0.95, found["exportedSymbolCounts"]


def test_pyright_knows_what_is_right_and_what_is_wrong(program):
    done = ran("pyright", "--outputjson", "--pythonpath", sys.executable, program.name, folder=program.parent)
    found = json.loads(done.stdout)["generalDiagnostics"]
    lines = {one["range"]["start"]["line"] + 1: one["message"] for one in found if one["severity"] == "error"}
    assert lines.keys() == expected().keys(), (expected(), lines, done.stderr)
