"""The golden pack: lstmcore's own engines held to it, its making, its tolerances, and what it finds."""

from itertools import combinations

import numpy as np
import pytest
from golden import which
from golden.make_pack import derived
from golden.planted import BACKWARD, FORWARD, scores, thirty

from lstmcore.debug.certify import read_pack
from lstmcore.debug.certify.own import answer, layer_of
from lstmcore.debug.certify.pack import HERE, RESULTS
from lstmcore.debug.certify.program import told

PACK = read_pack()
MADE = {case.name: case for case in which.every_case()}


def in_bfloat16(a):
    """The nearest number of 8 significant bits, ties to even: float32 without its lower half."""
    bits = np.asarray(a, "float32").view("uint32")
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype("uint32")
    return np.where(np.isnan(a), np.nan, rounded.view("float32").astype(float))


ROUNDED = {"float16": lambda a: np.asarray(a).astype("float16").astype(float), "bfloat16": in_bfloat16}


def wrong(case, got, dtype):
    """The results that are further off than rounding explains."""
    room = case.tolerance[dtype]
    assert got.keys() == case.results.keys()
    return [n for n, want in case.results.items() if not np.all(np.abs(got[n] - want) <= room[n.split("/")[0]])]


# ---- lstmcore itself ---------------------------------------------------------------------------------------


def test_the_reference_engine(nightly):
    """By day every fifth case in float32 too."""
    for k, case in enumerate(PACK.values()):
        assert "float64" in case.tolerance
        for dtype in (
            ("float64", "float32") if "float32" in case.tolerance and (nightly or k % 5 == 0) else ("float64",)
        ):
            assert not wrong(case, answer(case, layer_of(case, dtype, "reference"), dtype), dtype), (case.name, dtype)


def test_the_compiled_engine(nightly):
    """By day the plain cells in one dtype each, which other tests compile too; nightly all that compiles."""
    dtypes = ("float64", "float32") if nightly else ("float64",)
    for case in PACK.values():
        if "layer_norm" in case.options or "proj_size" in case.options or case.options.get("reset") == "before":
            continue
        if nightly or not case.options:
            for dtype in dtypes:
                if dtype in case.tolerance:
                    got = answer(case, layer_of(case, dtype, "fused-cpu"), dtype)
                    assert not wrong(case, got, dtype), (case.name, dtype)


# ---- what is in it -----------------------------------------------------------------------------------------


def test_every_two_features_meet_or_it_is_said_why():
    assert PACK.keys() == MADE.keys()
    for cell in which.OPTIONS:
        met = {frozenset(two) for case in PACK.values() if case.cell == cell for two in combinations(case.features, 2)}
        for two in combinations((*which.AROUND, *which.OPTIONS[cell]), 2):
            why = which.refused(*two) or which.left_out(*two)
            assert why or frozenset(two) in met, (cell, two)
    together = [case for case in PACK.values() if {"lengths", "state0", "bidirectional"} <= set(case.features)]
    assert {case.cell for case in together} == {"lstm", "gru", "rnn"}


def test_a_twin_has_other_results():
    """Else nobody could tell who ignores the feature. What y does not feel, the gradients do."""
    for case in PACK.values():
        for feature, name in case.twins.items():
            twin, room = PACK[name], case.tolerance["float64"]
            same = [n for n in case.results if n in twin.results and case.results[n].shape == twin.results[n].shape]
            differ = any(np.max(np.abs(case.results[n] - twin.results[n])) > 1000 * room[n.split("/")[0]] for n in same)
            assert differ or not same or feature == "nan", (case.name, feature)
            for n, a in case.arrays.items():  # and the same numbers go in
                shared = n in twin.arrays and n.split("/")[0] not in RESULTS and a.shape == twin.arrays[n].shape
                if (
                    shared
                    and n != "mask"
                    and feature not in ("nan", "saturated", "coupled_f", "coupled_i")
                    and (not n.endswith(".b") or feature != "reset_before")
                ):
                    assert np.array_equal(a, twin.arrays[n], equal_nan=True), (case.name, feature, n)


def test_inputs_are_exact_in_every_dtype():
    for case in PACK.values():
        for name, a in case.arrays.items():
            if name.split("/")[0] not in RESULTS and name != "mask":
                for rounded in ROUNDED.values():
                    assert np.array_equal(rounded(a), a, equal_nan=True), (case.name, name)


def test_it_is_small():
    assert HERE.stat().st_size + HERE.with_suffix(".safetensors").stat().st_size < 3e6


@pytest.mark.parametrize("name", ["gru-lengths-reverse-reset_before", "lstm-bidirectional-clip_c", "rnn-three"])
def test_it_is_made_anew_bit_for_bit(name):
    """Two derivations agree about every number again, and what they give is what stands in the file."""
    case = derived(MADE[name])
    assert told(case) == told(PACK[name])
    assert case.arrays.keys() == PACK[name].arrays.keys()
    for key, a in case.arrays.items():
        assert a.tobytes() == PACK[name].arrays[key].tobytes(), key


def test_a_file_of_another_version_is_refused(tmp_path):
    (tmp_path / "pack.json").write_text('{"format": "lstmcore pack", "version": 2, "cases": []}')
    with pytest.raises(ValueError, match=r"should be a 'lstmcore pack' of version 1; got 'lstmcore pack', 2"):
        read_pack(tmp_path / "pack.json")


# ---- tolerances --------------------------------------------------------------------------------------------


def rounded_lstm(case, r):
    """y and the final state, every operation rounded by r."""
    p, x, H = case.part("weights", "0.fw"), case.x, case.H
    given = case.part("state0", "0.fw")
    h, c = (given.get(s, np.zeros((case.B, H))) for s in case.states)
    y = []
    for t in range(case.T):
        a = np.broadcast_to(p["b"], (case.B, 4 * H))
        for v, W in ((x[t], p["W_ih"]), (h, p["W_hh"])):
            for k in range(len(W)):
                a = r(a + r(v[:, k : k + 1] * W[k]))
        i, f, g, o = (a[:, k * H : (k + 1) * H] for k in range(4))
        i, f, o = (r(1 / r(1 + r(np.exp(-gate)))) for gate in (i, f, o))
        real = np.ones((case.B, 1), bool) if case.mask is None else case.mask[t, :, None]
        c = np.where(real, r(r(f * c) + r(i * r(np.tanh(g)))), c)
        h = np.where(real, r(o * r(np.tanh(c))), h)
        y.append(np.where(real, h, 0))
    return {"y": np.stack(y), "state/0.fw.h": h, "state/0.fw.c": c}


@pytest.mark.parametrize("dtype", ROUNDED)
def test_half_precision_stays_within_its_tolerance_and_near_it(dtype):
    parts = []
    for name in ("lstm", "lstm-lengths", "lstm-state0", "lstm-gaps", "lstm-empty-state0", "lstm-short"):
        case = PACK[name]
        for key, a in rounded_lstm(case, ROUNDED[dtype]).items():
            parts.append(np.max(np.abs(a - case.results[key])) / case.tolerance[dtype][key.split("/")[0]])
    assert max(parts) <= 1
    assert max(parts) >= 0.1  # no tolerance that nobody could miss


# ---- planted bugs ------------------------------------------------------------------------------------------


def test_planted_bugs_are_found(nightly):
    """By day a sample of the thirty; `python tests/golden/planted.py` counts them all."""
    chosen = thirty() if nightly else thirty()[::4] + thirty()[-2:]
    seen = {mistake.name: kinds for mistake, kinds in scores(chosen, PACK)}
    assert len(seen) == len({mistake.name for mistake in chosen})
    for name, kinds in seen.items():
        assert "gradients" in kinds, name
        assert ("outputs" in kinds) == (name in FORWARD and name not in BACKWARD), name
