"""Every peer computes what lstmcore does, in every mode that it knows, with rows of equal and of unequal length."""

import importlib

import pytest

from benchmarks import problem
from benchmarks.peers import PEERS, solve
from benchmarks.shapes import Shape
from benchmarks.truth import truth


@pytest.fixture(params=PEERS)
def peer(request) -> tuple[str, str]:
    """Module and variant. TensorFlow has no wheels beside the others everywhere, so that it is never required."""
    module, variant = PEERS[request.param]
    if module == "tensorflow":
        pytest.importorskip("tensorflow", reason="the peer tensorflow is not installed", exc_type=ImportError)
    else:
        request.getfixturevalue(module)
        if module == "onnxruntime":
            request.getfixturevalue("onnx")
    return module, variant


@pytest.mark.parametrize(("dtype", "lengths"), [("float32", (1, 5)), ("float64", None)])
def test_peers_are_right(peer, dtype, lengths):
    module, variant = peer
    if module == "onnxruntime" and dtype == "float64":
        pytest.skip("ONNX Runtime's LSTM knows float32 only")
    task = problem.make(Shape(5, 4, 3, 6, lengths), dtype)
    runner = importlib.import_module(f"benchmarks.peers.{module}").Peer(1, variant)
    assert runner.modes in (("forward",), ("forward", "full"), problem.MODES)
    for mode in runner.modes:
        assert 0 < truth(task, mode, 1).check(solve(runner, task, mode), variant == "bf16") <= 1
