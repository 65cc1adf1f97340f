"""Protein loops of 4 to 31 residues, padded as people pad them: --data DIR with bm5_loops_torsions.npz.

`aa_index` (N, 31) is -1 and `targets` (N, 31, 4) is -3.0 past each loop's end. The network is the one of such work: an
embedding, a bidirectional LSTM, a dense head, tanh, squared error over what is real.
"""

import numpy as np
import pytest

import lstmcore as lc

LOOPS = 48


@pytest.fixture
def loops(data):
    """(index (T, B), targets (T, B, 4), mask (T, B)) of the first loops, time-major."""
    path = data / "bm5_loops_torsions.npz"
    if not path.is_file():
        pytest.skip(f"there is no {path.name} in {data}")
    with np.load(path) as file:
        index, targets, length = file["aa_index"][:LOOPS].T, file["targets"][:LOOPS].swapaxes(0, 1), file["length"]
    mask = lc.mask_from_lengths(length[:LOOPS], index.shape[0])
    assert np.array_equal(mask, index >= 0)
    assert np.array_equal(mask, (targets > -3.0).all(axis=-1))
    assert 0.1 < mask.mean() < 0.9  # real padding
    return index, targets.astype("float64"), mask


def model(engine):
    return engine.place(
        lc.Stack(
            [
                lc.Embedding(21, 8, dtype="float64", seed=0),
                lc.Bidirectional(lc.LSTM(8, 12, dtype="float64", seed=1), lc.LSTM(8, 12, dtype="float64", seed=2)),
                lc.Linear(24, 4, dtype="float64", seed=3),
                lc.Tanh(),
            ]
        )
    )


def gradients(engine, index, targets, mask) -> tuple[float, dict[str, np.ndarray]]:
    """The loss, and the gradients of every parameter."""
    layer = model(engine)
    where = engine.array(mask)
    y, _, cache = layer.forward(engine.array(index), mask=where)
    loss, dy = lc.squared_error(y, engine.array(targets), mask=where)
    _, _, grads = layer.backward(dy, cache)
    return float(loss), engine.host(grads)


def test_the_marks_of_padding_are_never_read(engine, loops):
    """Other marks in place of -1 and -3.0, NaN among them: the same bits."""
    engine.skip_if_unsupported("lstm")
    index, targets, mask = loops
    loss, grads = gradients(engine, index, targets, mask)
    marked = np.where(mask[..., None], targets, np.nan)
    again, same = gradients(engine, np.where(mask, index, 99), marked, mask)
    assert loss == again
    for name, value in grads.items():
        assert np.array_equal(value, same[name]), name


def test_the_batch_is_its_loops_alone(engine, loops):
    """Each loop by itself, without padding, weighted by its share of the residues: the same loss and gradients.

    Sums of 1,488 steps and 4 H = 48 terms at most: n u = 2e-13 of the terms' total size, so 1e-12 of the largest entry
    allows a condition of 5; both runs err by a tenth of n u, for roundings are of random sign.
    """
    engine.skip_if_unsupported("lstm")
    index, targets, mask = loops
    loss, grads = gradients(engine, index, targets, mask)
    total, sums = 0.0, {name: np.zeros_like(value) for name, value in grads.items()}
    for b in range(LOOPS):
        n = int(mask[:, b].sum())
        row = gradients(engine, index[:n, b : b + 1], targets[:n, b : b + 1], np.ones((n, 1), bool))
        total += row[0] * n / mask.sum()
        for name, value in row[1].items():
            sums[name] += value * n / mask.sum()
    assert abs(total - loss) <= 1e-12 * loss
    for name, value in grads.items():
        assert np.max(np.abs(value - sums[name])) <= 1e-12 * np.max(np.abs(value)), name
        assert np.max(np.abs(value)) > 1e-6
