"""The watch on recurrent layers of Keras 3, one process per backend (keras_steps.py does the training).

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
GRU = PLAIN | {"dh0", "db (bias)", "db_hn"}


def in_each(names, *parts):
    """The names of both directions, but for what there is once."""
    return {"y", "dx"} | {f"{part}.{name}" for part in parts for name in names - {"y", "dx"}}


def dropped(names):
    """The layer stands behind the dropout, "0"."""
    return in_each(names, "1")


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
    "recurrent dropout in evaluation": PLAIN,
    "dropout": dropped(PLAIN | STATES),
    "GRU dropout": dropped(GRU),
    "RNN dropout": dropped(PLAIN | {"dh0"}),
    "GRU": GRU,
    "GRU before": PLAIN | {"dh0", "dW_hn"},
    "GRU no bias, backwards": {"y", "dx", "dW_ih", "dW_hh"},
    "RNN": PLAIN | {"dh0"},
    "RNN relu": PLAIN,
    "other activations": PLAIN,
    "RNN around a cell": PLAIN | STATES,
    "stateful": PLAIN,
    "bfloat16": PLAIN,
    "Bidirectional": in_each(PLAIN | STATES, "fw", "bw") - {"bw.dh0"},  # which meets padding first
    "Bidirectional sum": in_each(GRU - {"dh0", "db (bias)"}, "fw", "bw")
    | {"fw.db (forward/bias)", "bw.db (backward/bias)"},
    "Bidirectional ave": in_each(PLAIN, "fw", "bw"),
    "Bidirectional mul": in_each(PLAIN, "fw", "bw"),
    "Bidirectional None": in_each(PLAIN, "fw", "bw"),
    "Bidirectional last": in_each(PLAIN, "fw", "bw"),
    "Bidirectional dropout": in_each(GRU - {"dh0", "db (bias)"}, "fw.1", "bw.1")
    | {"fw.1.db (forward/bias)", "bw.1.db (backward/bias)"},
    "inside a Bidirectional": PLAIN,
    "inside a TimeDistributed": {"y (call 0)", "dx (call 0)", "y (call 1)", "dx (call 1)", "dW_ih", "dW_hh", "db"},
    "a model in training": PLAIN - {"dx"},
}
MISTAKES = {
    "mistake: outputs": PLAIN,
    "mistake: h detached": PLAIN - {"y"},
    "mistake: h detached, GRU": GRU - {"y", "dh0"},
    "mistake: a direction": in_each(PLAIN, "fw", "bw"),
}
BY_DAY = {"not compiled", "left padding", "GRU dropout", "Bidirectional sum", "stateful", "mistake: h detached",
          "a model in training"}  # fmt: skip  # on JAX: see `answers`
COMPLAINTS = {
    "not built": "ValueError: `module` should be built: call the model once before the watch",
    "mish": "ValueError: the activations ('sigmoid', 'mish', 'mish'): `activation` should be one of",
    "a function": "ValueError: the activations ('sigmoid', 'a function of its own', 'a function of its own')",
    "stacked": "ValueError: `module` should run a cell of Keras's own; got StackedRNNCells",
    "zeros at the end": "ValueError: `module` should return sequences if it has zero_output_for_mask",
    "turned": "ValueError: `module` should be a Bidirectional whose first direction goes forwards",
    "convolutional": "ValueError: `module` should run a cell of Keras's own; got ConvLSTMCell",
    "a model": "TypeError: `module` should be a Keras 3 LSTM, GRU, SimpleRNN, RNN or Bidirectional; got Sequential: of "
    "this model watch lstm",
    "Dense": "TypeError: `module` should be a Keras 3 LSTM, GRU, SimpleRNN, RNN or Bidirectional; got Dense",
    "unlike": "ValueError: `module` should have two directions that are alike",
    "never called": "the watched layer was not called inside the with block",
    "recurrent dropout": "this step cannot be replayed: its recurrent_dropout: Keras draws another mask for each gate",
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
    cases = WHOLE.keys() | MISTAKES.keys()
    left_out = [] if nightly or request.param == "torch" else sorted(cases - BY_DAY)
    result = subprocess.run(
        [sys.executable, script, json.dumps(left_out)], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout) | dict.fromkeys(left_out)


def test_every_case_is_there(answers):
    assert answers.keys() == WHOLE.keys() | COMPLAINTS.keys() | MISTAKES.keys()


@pytest.mark.parametrize("case", WHOLE)
def test_keras_agrees(answers, case):
    seen = answers[case]
    if seen is None:
        pytest.skip("on JAX by night alone")
    assert seen["ok"] is True, seen["text"]
    assert set(seen["names"]) == WHOLE[case]
    coarse = case == "bfloat16"
    assert 0 < max(seen["errors"]) < (0.02 if coarse else 1e-5)  # float32 was at work, and is far from the tolerance
    assert seen["calls"] == (2 if "call" in str(seen["names"]) else 1)
    assert ("computed in bfloat16 where the weights are float32" in seen["text"]) == coarse


@pytest.mark.parametrize("case", MISTAKES)
def test_a_layer_with_a_mistake_is_found(answers, case):
    """Outputs scaled by 1.01, and so all gradients; or no gradient through h."""
    seen = answers[case]
    if seen is None:
        pytest.skip("on JAX by night alone")
    assert seen["ok"] is False
    assert set(seen["wrong"]) == MISTAKES[case]
    assert f"differ in {', '.join(seen['wrong'])}" in seen["text"]
    if case == "mistake: outputs":
        assert seen["errors"] == [pytest.approx(0.01, rel=1e-3)] * len(PLAIN)


def test_what_comes_from_padding_is_said(answers):
    """Padding after a real step repeats its output; padding before every real one has nothing to repeat."""
    if answers["right padding"] is None:
        pytest.skip("on JAX by night alone")
    assert "of the upstream gradient came from padded steps" in answers["right padding"]["text"]
    assert "of the upstream gradient came from padded steps" not in answers["right padding, zeros"]["text"]
    assert "of the upstream gradient came from padded steps" not in answers["left padding"]["text"]
    assert "padding comes first: what Keras shows there differs by backend" in answers["left padding"]["text"]
    assert "note:" not in answers["all outputs"]["text"]


@pytest.mark.parametrize("case", COMPLAINTS)
def test_what_cannot_be_watched_is_said(answers, case):
    assert answers[case].startswith(COMPLAINTS[case])
