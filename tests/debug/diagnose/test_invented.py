"""Mistakes that nobody has in a catalogue are placed, and get no name.

By day a third of them, without the search for a name but for one; nightly all, with it.
"""

from tests.debug.strangers.invented import FUSED, LAYERS, PRODUCTS, SHORT
from tests.debug.strangers.planted import run
from tests.debug.strangers.scores import diagnose


def share(rows, nightly):
    return rows if nightly else rows[::3]


def test_in_the_loop(nightly):
    """The last step that is off, and in a short case the gates that are off there."""
    for right, wrong, off, step, gates in share(FUSED, nightly):
        for short in (True, False) if nightly else (True,):
            edits = [(right, wrong), *([SHORT] if short else [])]
            answer = diagnose(run("fused.py", None, *edits), search=nightly)
            assert (answer.names, answer.place.arrays, answer.place.step) == ((), off, step), wrong
            assert "".join(answer.place.gates) == (gates if short else "ifgo"), wrong


def test_in_a_product(nightly):
    for program, right, wrong, key, step in share(PRODUCTS, nightly):
        answer = diagnose(run(program, None, (right, wrong)), search=nightly)
        assert (answer.names, answer.place.arrays, answer.place.step) == ((), (key,), step), wrong


def test_in_one_layer(nightly):
    for program, right, wrong, layers in share(LAYERS, nightly):
        answer = diagnose(run(program, None, (right, wrong)), search=nightly)
        assert (answer.names, answer.place.layers) == ((), layers), wrong


def test_it_gets_no_name():
    right, wrong, *_ = FUSED[4]
    answer = diagnose(run("fused.py", None, (right, wrong)))
    assert answer.names == ()
    assert answer.place is not None
    assert answer.runner_up is None or answer.runner_up.residual < answer.off / 2
