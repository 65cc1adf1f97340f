"""One time step of each cell on plain floats: equal to the oracle's step, and undone as the tape undoes it."""

import copy
import math
import pickle
from dataclasses import replace

import numpy as np
import oracle
import pytest

from lstmcore.ops.activation import array_maths
from lstmcore.ops.cells import CELLS, Maths, Options, options_of, variant

SCALAR = Maths(sigmoid=lambda a: 1.0 / (1.0 + math.exp(-a)), tanh=math.tanh, one=1.0)
TOLERANCE = 30 * np.finfo(float).eps  # at most 20 roundings, of numbers below 2


def tape(name: str, blocks: list[float], previous: list[float]):
    """One unit on the oracle's tape, from its pre-activations: (inputs, new states)."""
    a, s = [oracle.constant(v) for v in blocks], [oracle.constant(v) for v in previous]
    if name == "lstm":
        c = oracle.sigmoid(a[1]) * s[0] + oracle.sigmoid(a[0]) * oracle.tanh(a[2])
        return a + s, [oracle.sigmoid(a[3]) * oracle.tanh(c), c]
    if name == "gru":
        z, n = oracle.sigmoid(a[1]), oracle.tanh(a[2] + oracle.sigmoid(a[0]) * a[3])
        return a + s, [n + -(z * n) + z * s[0]]
    return a, [oracle.tanh(a[0])]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", CELLS)
def test_one_step_and_its_undoing(name, seed):
    cell = CELLS[name]
    K, rng = len(cell.gates), np.random.default_rng(seed)
    blocks, previous = rng.normal(size=K).tolist(), rng.normal(size=len(cell.previous)).tolist()
    dstates = rng.normal(size=len(cell.states)).tolist()
    forward, backward = cell.make_step(SCALAR)
    out = forward(*blocks, *previous)
    gates, states = out[:K], out[K:]
    inputs, want = tape(name, blocks, previous)
    assert len(states) == len(want) == len(cell.states)
    assert np.allclose(states, [state.real.value for state in want], rtol=0, atol=TOLERANCE)

    current = [state for state, letter in zip(states, cell.states) if letter in cell.current]
    gradients = backward(*dstates, *gates, *previous, *current)
    oracle.sweep([(state, oracle.Real(d)) for state, d in zip(want, dstates)])
    assert len(gradients) == len(inputs)
    assert np.allclose(gradients, [value.gradient.value for value in inputs], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", CELLS)
def test_arrays_and_scalars_agree(name):
    """The same text over arrays and over floats: a few eps, for exp and tanh of NumPy and of math may differ by one."""
    cell = CELLS[name]
    K, rng = len(cell.gates), np.random.default_rng(0)
    arguments = rng.normal(size=(K + len(cell.previous), 3, 2))
    whole = cell.make_step(array_maths(np))[0](*arguments)
    for place in np.ndindex(3, 2):
        single = cell.make_step(SCALAR)[0](*(argument[place] for argument in arguments))
        assert np.allclose([value[place] for value in whole], single, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", CELLS)
def test_shapes_of_the_parameters(name):
    shapes = CELLS[name].shapes(3, 5)
    blocks = {"lstm": 4, "gru": 3, "rnn": 1}[name]
    want = {"W_ih": (3, blocks * 5), "W_hh": (5, blocks * 5), "b": (blocks * 5,)}
    assert shapes == want | ({"b_hn": (5,)} if name == "gru" else {})


def test_what_a_cell_says_of_itself():
    """Read off its own text: a sigmoid lies in (0, 1), a tanh in (-1, 1), and the GRU's product m has no ends."""
    sigmoid, tanh = (0.0, 1.0), (-1.0, 1.0)
    assert CELLS["lstm"].gates == ("i", "f", "g", "o")
    assert CELLS["lstm"].ends == {"i": sigmoid, "f": sigmoid, "g": tanh, "o": sigmoid}
    assert CELLS["gru"].gates == ("r", "z", "n", "m")
    assert CELLS["gru"].ends == {"r": sigmoid, "z": sigmoid, "n": tanh}
    assert CELLS["rnn"].ends == {"n": tanh}
    assert all(cell.compiles for cell in CELLS.values())
    assert {name: dict(cell.initial_biases) for name, cell in CELLS.items()} == {"lstm": {"f": 1}, "gru": {}, "rnn": {}}
    assert all(set(cell.words) == set(cell.gates) for cell in CELLS.values())


@pytest.mark.parametrize("name", CELLS)
def test_a_copy_of_a_cell_is_that_cell(name):
    for twin in (copy.deepcopy(CELLS[name]), pickle.loads(pickle.dumps(CELLS[name]))):
        assert twin == CELLS[name]
        assert hash(twin) == hash(CELLS[name])


def no_undoing(maths):
    return lambda a_n: (maths.tanh(a_n),) * 2, lambda dh: (dh,)


def one_too_few(maths):
    return lambda a_n: (maths.tanh(a_n),), lambda dh, n: (dh * (maths.one - n * n),)


def a_number(maths):
    return lambda a_n: (maths.tanh(2.0 * a_n), a_n), lambda dh, n: (dh * (maths.one - n * n),)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"states": ("c", "h")}, r"""`states` should begin with "h", the output; got \('c', 'h'\)"""),
        ({"input_blocks": ()}, r"`input_blocks` should name some of the blocks 0 to 0, in order; got \(\)"),
        ({"recurrent_blocks": (1,)}, r"`recurrent_blocks` should name some of the blocks 0 to 0, in order; got \(1,\)"),
        (
            {"biases": {"b": (0, 0)}},
            r"`biases` should feed blocks of 0 to 0, each once at most and in order; got \{'b'",
        ),
        (
            {"previous": ("c",)},
            r"`previous` should name all of the states \('h',\), or all but the first; got \('c'",
        ),
        ({"current": ("c",)}, r"`current` should name the last of the states \('h',\), or none; got \('c',\)"),
        ({"words": {"f": "forget gate"}}, r"`words` should speak of the gates n; got \{'f': 'forget gate'\}"),
        ({"initial_biases": {"f": 1}}, r"`initial_biases` should speak of the gates n; got \{'f': 1\}"),
        ({"make_step": no_undoing}, r"`step_backward` should take \(dh, n\); got \(dh\)"),
        ({"make_step": one_too_few}, r"`step_forward` should return n, h; got 1 values"),
    ],
)
def test_a_cell_that_contradicts_itself_is_refused(change, complaint):
    with pytest.raises(ValueError, match=f"cell 'rnn': {complaint}"):
        replace(CELLS["rnn"], **change)


def test_a_step_with_plain_numbers_is_not_compiled():
    """2.0 is a float64 wherever it stands, so compiled code would compute float32 in float64."""
    cell = replace(CELLS["rnn"], make_step=a_number)
    assert not cell.compiles
    assert not cell.ends


def test_checkers_know_every_option_of_every_cell():
    assert Options.__annotations__.keys() == set().union(*map(options_of, CELLS.values()))


def test_cells_of_one_name_and_different_steps_are_told_apart_quickly():
    """By their hash: a search for mistakes makes thousands of cells called lstm, and keeps them in tables."""
    lstm = CELLS["lstm"]
    others = [replace(lstm, make_step=lambda maths, k=k: lstm.make_step(maths)) for k in range(20)]
    assert len({hash(cell) for cell in (lstm, *others)}) > 15
    assert hash(replace(lstm)) == hash(lstm)
    assert hash(variant(lstm, clip_c=2.0)) == hash(variant(lstm, clip_c=2.0)) != hash(lstm)
