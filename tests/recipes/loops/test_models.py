"""The networks: their shapes, that their gradients are right, and what each head has read."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.recipes.loops import models
from lstmcore.recipes.loops.torsions import in_steps, one_hot

SMALL = models.Options(widths=(4, 3), dropout=0.0)
INDEX = np.array([[0, 5, 2, 7, 1, 3], [4, 4, 6, -1, -1, -1], [1, 2, 3, 4, -1, -1]])
MASK = np.ascontiguousarray(INDEX.T >= 0)
CASES = [(topology, head) for topology in get_args(models.Topology) for head in get_args(models.Head)]


def network(topology: str, head: str) -> lc.Stack:
    options = replace(SMALL, topology=topology, head=head)
    return models.build(options, 8, 6, np.random.default_rng(0)).to(dtype="float64")


def angles(net, index: np.ndarray) -> np.ndarray:
    """(T, B, 4)"""
    y, _ = net.predict(one_hot(index, 8).astype(float), mask=np.ascontiguousarray(index.T >= 0))
    return in_steps(y)


@pytest.mark.parametrize(("topology", "head"), CASES)
def test_gradients(topology, head):
    """By complex step, along random directions through inputs and all weights."""
    net = network(topology, head)
    check = lc.debug.gradcheck(net, one_hot(INDEX, 8).astype(float), mask=MASK, seed=1, directions=4)
    assert check.ok, str(check)


@pytest.mark.parametrize(("topology", "head"), CASES)
def test_padding_says_nothing(topology, head):
    assert lc.debug.padding(network(topology, head), one_hot(INDEX, 8).astype(float), mask=MASK).ok


def test_sizes():
    """Weights of a bidirectional LSTM of widths H over I inputs: 2 (4 H (I + H) + 4 H)."""

    def weights(net):
        return sum(w.size for w in net.params.values())

    rng = np.random.default_rng(0)
    stacked = models.build(models.MODELS["per-step"], 21, 30, rng)
    assert weights(stacked) == 2 * (256 * 85 + 256) + 2 * (256 * 192 + 256) + 128 * 4 + 4
    towers = models.build(replace(models.MODELS["q3"], widths=(16, 8, 4)), 21, 32, rng)
    tower = 64 * (21 + 16 + 1) + 32 * (16 + 8 + 1) + 16 * (8 + 4 + 1)
    assert weights(towers) == 2 * tower + 8 * 32 * 4
    assert [type(layer).__name__ for layer in towers.layers] == ["Bidirectional", "Linear", "Tanh"]


def reads(net, step: int) -> set[int]:
    """Which residues of the first loop the answer at a step depends on."""
    base = angles(net, INDEX)[step, 0]
    found = set()
    for t in range(6):
        other = INDEX.copy()
        other[0, t] = (other[0, t] + 1) % 8
        if not np.array_equal(angles(net, other)[step, 0], base):
            found.add(t)
    return found


@pytest.mark.parametrize(("topology", "head"), CASES)
def test_every_answer_reads_every_residue(topology, head):
    """Through the forward direction at least."""
    net = network(topology, head)
    assert reads(net, 0) == reads(net, 5) == set(range(6))


def test_what_the_backward_half_of_the_last_output_has_read():
    """With the forward half's weights of the head at zero: "last-output" has read one residue, "last-state" all."""
    for head, want in (("last-output", {5}), ("last-state", set(range(6)))):
        net = network("towers", head)
        net.layers[-2].params["W"][:3] = 0
        assert reads(net, 2) == want


@pytest.mark.parametrize("changes", [{"head": "first"}, {"topology": "pyramid"}])
def test_unknown_names(changes):
    with pytest.raises(ValueError, match="`topology` should be one of layers, towers, `head` of per-step, last-state"):
        models.build(replace(SMALL, **changes), 21, 5, np.random.default_rng(0))
