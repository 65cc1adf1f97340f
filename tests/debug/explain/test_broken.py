"""Mistakes in the step of the page: each differs from the right one as its engine does, and from its line on."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.explain import EXAMPLES, graph
from lstmcore.debug.explain.broken import SHOWN, broken
from lstmcore.debug.explain.examples import example
from lstmcore.debug.mistakes import mutant

CELL = EXAMPLES["lstm"].cell
STEP = example(CELL)


def gradients(engine):
    layer = lc.LSTM(1, 2, dtype="float64", engine=engine)
    for name, value in STEP.params.items():
        layer.params[name] = value
    y, _, cache = layer.forward(STEP.x, STEP.state0)
    dx, _, grads = layer.backward(lc.squared_error(y, STEP.targets)[1], cache)
    return {"x": dx[:, 0], **grads}


def test_all_are_there():
    assert [each.mistake.name for each in broken()] == list(SHOWN)
    assert len(SHOWN) >= 10


@pytest.mark.parametrize("each", broken(), ids=lambda each: each.mistake.name)
def test_it_is_what_its_engine_computes(each):
    wrong, right = gradients(mutant(each.mistake)), gradients("reference")
    assert each.values
    traced = graph(CELL, STEP)
    for key, array in wrong.items():
        for index in np.ndindex(array.shape):
            name = f"d{key}[{','.join(map(str, index))}]"
            want = each.values.get(name, traced.value(name))
            assert abs(want - array[index]) <= 2.0**-40 * max(1, np.abs(array).max()), name
    a, b = (np.concatenate([g[name].ravel() for name in STEP.params]) for g in (right, wrong))
    assert each.falls == (a @ b > 0)


@pytest.mark.parametrize("each", broken(), ids=lambda each: each.mistake.name)
def test_the_wrong_line_stands_beside_the_right_one(each):
    from lstmcore.debug.explain.graph import PACKAGE

    text = (PACKAGE.parent / each.file).read_text(encoding="utf-8").splitlines()
    assert text[each.line - 1].strip() == each.right.splitlines()[0]
    assert each.wrong != each.right
    assert each.mistake.wrong.strip().splitlines()[-1].strip() in each.wrong
