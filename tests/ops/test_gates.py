"""The one place that cuts (..., K H) into blocks."""

import numpy as np

from lstmcore.ops import gates


def test_split_and_join_are_inverse():
    a = np.arange(24.0).reshape(2, 12)
    blocks = gates.split(a, 4)  # (2, 4, 3)
    assert np.array_equal(blocks[1, 2], a[1, 6:9])
    assert np.array_equal(gates.join(blocks, (0, 1, 2, 3)), a)
    assert np.array_equal(gates.join(blocks, (0, 1, 3)), np.delete(a, [6, 7, 8], axis=1))


def test_add_reaches_only_the_named_blocks():
    a = np.zeros((2, 4, 3))
    product = np.arange(1.0, 19.0).reshape(2, 9)
    total = gates.add(a, (0, 1, 3), product)
    assert not total[:, 2].any()
    assert np.array_equal(total[:, [0, 1, 3]].reshape(2, 9), product)
    assert not a.any()  # the argument is left as it was
    full = np.ones((2, 12))
    assert np.array_equal(gates.add(a, (0, 1, 2, 3), full), np.ones((2, 4, 3)))
