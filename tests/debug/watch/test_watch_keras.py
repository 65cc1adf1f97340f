"""The watch on a Keras 3 LSTM, one process per backend (keras_steps.py does the training).

Keras computes in float32 here: a tolerance of 4096 units of its rounding, as in gradcheck.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PLAIN = {"y", "dx", "dW_ih", "dW_hh", "db"}
STATES = {"dh0", "dc0"}
WHOLE = {
    "all outputs": PLAIN,
    "last output": PLAIN,
    "states": PLAIN | STATES,
    "no bias": (PLAIN | STATES) - {"db"},
    "backwards": PLAIN | STATES,
    "right padding": PLAIN | STATES,
    "right padding, last output": PLAIN | STATES,
    "right padding, zeros": PLAIN | STATES,
    "left padding": PLAIN | {"dc0"},
    "gaps": PLAIN | STATES,
    "backwards with padding": PLAIN,
    "not compiled": PLAIN | STATES,
    "dropout in evaluation": PLAIN,
    "inside a Bidirectional": PLAIN,
    "a model in training": PLAIN - {"dx"},
}
NIGHTLY = {"last output", "no bias", "states", "backwards", "gaps", "dropout in evaluation"}  # on JAX: see `answers`
COMPLAINTS = {
    "not built": "ValueError: `module` should be built: call the model once before the watch",
    "stateful": "ValueError: `module` should not be stateful",
    "relu": "ValueError: `module` should have the activations tanh and sigmoid",
    "gru": "TypeError: `module` should be a Keras 3 LSTM layer; got GRU",
    "never called": "the watched layer was not called inside the with block",
    "dropout in training": "this step cannot be replayed: Keras does not tell what its dropout drew",
    "no gradient": "no gradient came back",
}


@pytest.fixture(scope="module", params=["torch", "jax"])
def answers(request, nightly):
    """What keras_steps.py saw, on each backend: on torch of every case. JAX compiles each for seconds, and by day is
    asked for one of each kind of padding, of state and of order."""
    for peer in ("keras", request.param):
        if importlib.util.find_spec(peer) is None:
            reason = f"the peer {peer} is not installed"
            if request.config.getoption("--require-peers"):
                pytest.fail(f"{reason} (--require-peers was given)", pytrace=False)
            pytest.skip(reason)
    quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # compiled once, run once
    environment = {**os.environ, "KERAS_BACKEND": request.param, "XLA_FLAGS": quick}
    script = Path(__file__).with_name("keras_steps.py")
    left_out = [] if nightly or request.param == "torch" else sorted(NIGHTLY)
    result = subprocess.run(
        [sys.executable, script, json.dumps(left_out)], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout) | dict.fromkeys(left_out)


def test_every_case_is_there(answers):
    assert answers.keys() == WHOLE.keys() | COMPLAINTS.keys() | {"a layer with a mistake"}


@pytest.mark.parametrize("case", WHOLE)
def test_keras_agrees(answers, case):
    seen = answers[case]
    if seen is None:
        pytest.skip("on JAX by night alone")
    assert seen["ok"] is True, seen["text"]
    assert set(seen["names"]) == WHOLE[case]
    assert 0 < max(seen["errors"]) < 1e-5  # float32 was at work, and is far from the tolerance
    assert seen["calls"] == 1


def test_a_layer_with_a_mistake_is_found(answers):
    """Outputs scaled by 1.01: so are all gradients."""
    seen = answers["a layer with a mistake"]
    assert seen["ok"] is False
    assert seen["errors"] == [pytest.approx(0.01, rel=1e-3)] * len(PLAIN)
    assert "differ in y, dx, dW_ih, dW_hh, db" in seen["text"]


def test_what_comes_from_padding_is_said(answers):
    """Padding after a real step repeats its output; padding before every real one has nothing to repeat."""
    assert "of the upstream gradient came from padded steps" in answers["right padding"]["text"]
    assert "of the upstream gradient came from padded steps" not in answers["right padding, zeros"]["text"]
    assert "of the upstream gradient came from padded steps" not in answers["left padding"]["text"]
    assert "padding comes first: what Keras shows there differs by backend" in answers["left padding"]["text"]
    assert "note:" not in answers["all outputs"]["text"]


@pytest.mark.parametrize("case", COMPLAINTS)
def test_what_cannot_be_watched_is_said(answers, case):
    assert answers[case].startswith(COMPLAINTS[case])
