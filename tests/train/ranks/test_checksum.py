"""Checksums differ where what a training is made of differs, and nowhere else."""

import functools
import threading

import numba
import numpy as np
import pytest

import lstmcore as lc
from lstmcore.train.ranks.checksum import digest


def weighted(weight):
    return lambda y, targets, mask=None: weight * lc.squared_error(y, targets, mask)


class Slotted:
    __slots__ = ("lock", "weight")

    def __init__(self, weight):
        self.weight, self.lock = weight, threading.Lock()

    def loss(self, y, targets, mask):
        return self.weight


class Itself:
    def __init__(self, weight):
        self.loss, self.weight = self, weight


def naming_itself(n):
    def loss(k):
        return loss(k - 1) if k else n

    return loss


def with_a_module(module):
    return lambda y: module.sum(y)


def with_an_empty_cell(n):
    def loss():
        return later + n

    if n > 9:
        later = 1
    return loss


def of_this_module(rate):
    source = f"RATE = {rate}\ndef helper(y): return RATE * y\ndef loss(y): return [helper(part) for part in y]"
    there = {"__name__": "theirs"}
    exec(source, there)
    return there["loss"]


UNLIKE = {
    "numbers": ([1, 23], [12, 3]),
    "nested": ([[1], [2]], [[1, 2]]),
    "sets": ({"a", "b"}, {"a", "c"}),
    "kinds": (1, True),
    "generators": (np.random.default_rng(0), np.random.default_rng(1)),
    "names": (lambda y, t, m: lc.squared_error(y, t, m), lambda y, t, m: lc.absolute_error(y, t, m)),
    "inside": (lambda y: [lc.tanh(k) for k in y], lambda y: [lc.sigmoid(k) for k in y]),
    "cells": (weighted(1.0), weighted(2.0)),
    "defaults": (lambda y, *, k=1: y, lambda y, *, k=2: y),
    "methods": (Slotted(1.0).loss, Slotted(2.0).loss),
    "slots": (Slotted(1.0), Slotted(2.0)),
    "itself": (Itself(1), Itself(2)),
    "recursive": (naming_itself(1), naming_itself(2)),
    "modules": (with_a_module(np), with_a_module(np.linalg)),
    "empty cells": (with_an_empty_cell(1), with_an_empty_cell(2)),
    "its module": (of_this_module(1.0), of_this_module(2.0)),
    "built in": (max, min),
    "ranges": (range(3), range(4)),
    "scalars": (np.float32(1), np.float32(2)),
    "objects": (np.array([[1], "a"], object), np.array([[2], "a"], object)),
    "cached": (functools.lru_cache(weighted(1.0)), functools.lru_cache(weighted(2.0))),
    "compiled": (numba.njit(naming_itself(1)), numba.njit(naming_itself(2))),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_a_checksum_reads_what_a_function_computes_with(name):
    one, other = UNLIKE[name]
    assert digest(one) != digest(other)
    assert digest([one, one]) != digest([one, other])


def test_what_is_alike_has_one_checksum():
    for make in (
        weighted, naming_itself, Slotted, Itself, with_an_empty_cell, of_this_module, lambda k: Slotted(k).loss,
        lambda k: np.array([[k], str(k)], object), lambda k: functools.lru_cache(weighted(k)),
        lambda k: numba.njit(naming_itself(k)),
    ):  # fmt: skip
        assert digest(make(1)) == digest(make(1))
    a = np.zeros(3)
    assert digest([a, a]) == digest([a, a.copy()])
    assert digest({f"{k}" for k in range(99)}) == digest({f"{k}" for k in reversed(range(99))})
    assert digest(k for k in range(3)) == digest(k for k in range(4))  # a generator cannot be read without using it up


def test_an_array_is_read_in_pieces(monkeypatch):
    """With the same checksum as all of it at once, in whatever order it lies in memory; every number counts."""
    a = np.arange(60.0).reshape(3, 4, 5).transpose(1, 2, 0)
    whole = digest(a)
    for piece in (1, 100, 250):
        monkeypatch.setattr("lstmcore.train.ranks.checksum.PIECE", piece)
        assert digest(a) == digest(a.copy()) == whole
    for k in range(60):
        other = a.copy()
        other.flat[k] += 1
        assert digest(other) != whole
    assert (
        len({digest(np.array(2.0)), digest(np.array([2.0])), digest(np.zeros((0, 2))), digest(np.zeros((0, 3)))}) == 4
    )
