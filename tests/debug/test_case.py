"""Case files: what is written is read, what another language writes is read, and what is wrong is named."""

import json

import numpy as np
import pytest
from planting import random_step

import lstmcore as lc
from lstmcore.debug import Case, diagnose_case, load_case, save_case
from lstmcore.debug.case import GROUPS
from lstmcore.interop import LAYOUTS


def a_case(layout="torch"):
    step = random_step(1, (5, 2, 3, 4), layout=layout)
    grads = step.gradients(dtype="float32")
    o = step.options
    return Case(step.weights, step.x, step.dy, grads, o["state"], o["mask"], o["dstate"], layout, "lstm")


def raw(case):
    """The members of a file, to be spoilt."""
    return {
        "x": case.x,
        "dy": case.dy,
        "mask": case.mask,
        "layout": np.array(case.layout),
        **{f"{group}.{name}": value for group in GROUPS for name, value in getattr(case, group).items()},
    }


def test_what_is_written_is_read(tmp_path):
    case = a_case()
    save_case(tmp_path / "case.npz", case)
    read = load_case(tmp_path / "case.npz")
    for one, other in zip(case, read, strict=True):
        if isinstance(one, dict):
            assert one.keys() == other.keys()
            for name in one:
                assert one[name].dtype == other[name].dtype
                np.testing.assert_array_equal(one[name], other[name])
        else:
            np.testing.assert_array_equal(one, other)
    assert diagnose_case(read).ok


def test_only_what_is_needed(tmp_path):
    lstm = lc.LSTM(3, 4, seed=0)
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype("float32")
    y, _, cache = lstm.forward(x)
    _, _, grads = lstm.backward(y, cache)
    weights = {f"weights.{name}": value for name, value in lstm.params.items()}
    np.savez(tmp_path / "case.npz", x=x, dy=y, **weights, **{"grads.W_hh": grads["W_hh"]})
    assert diagnose_case(load_case(tmp_path / "case.npz")).ok
    np.savez(tmp_path / "case.npz", x=x, dy=y, **weights, **{"grads.W_hh": -grads["W_hh"]})
    assert "dW_hh is of the wrong sign" in diagnose_case(load_case(tmp_path / "case.npz")).names


def test_what_another_language_writes(tmp_path):
    """Integers for a mask, bytes for a string, column-major arrays, compression."""
    arrays = raw(a_case())
    arrays["mask"] = arrays["mask"].astype("uint8")
    arrays["layout"] = np.frombuffer(b"torch", "int8")
    arrays["cell"] = np.array(b"lstm")
    arrays["x"] = np.asfortranarray(arrays["x"])
    np.savez_compressed(tmp_path / "case.npz", **arrays)
    case = load_case(tmp_path / "case.npz")
    assert (case.layout, case.cell, case.mask.dtype) == ("torch", "lstm", bool)
    assert diagnose_case(case).ok


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"x": None}, r"x should be there; got dy, mask"),
        ({"grads.x": np.zeros(3, int)}, r"'grads.x' should hold floating-point numbers; got int64"),
        ({"mask": np.full((5, 2), 0.5)}, r"'mask' should hold booleans, or integers 0 and 1; got float64"),
        ({"mask": np.full((5, 2), 2)}, r"'mask' should hold booleans, or integers 0 and 1; got int64 2 to 2"),
        ({"layout": np.array("torch" * 100)}, r"'layout' should hold a word, or its bytes; got <U500"),
        ({"layout": np.array([("a", 1.0)], "U1, f8")}, r"'layout' should hold a word, or its bytes; got"),
        ({"x": np.zeros((5, 2, 3), "f4, f4")}, r"'x' should hold floating-point numbers; got \[\('f0', '<f4'\)"),
        ({"weights.a/b": None, "a/b": np.zeros(3)}, r"no array 'a/b' is known"),
        ({"W_ih": np.zeros(3)}, r"no array 'W_ih' is known; x, dy, y, mask, layout, cell, and weights.NAME"),
        ({"layout": np.zeros(3)}, r"'layout' should hold a word, or its bytes; got float64"),
        (
            {"dy": np.array([{}], dtype=object)},
            r"'dy' should hold floating-point numbers; got object \(Python objects are never loaded",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, complaint):
    arrays = {name: value for name, value in (raw(a_case()) | change).items() if value is not None}
    np.savez(tmp_path / "case.npz", **arrays)
    with pytest.raises(ValueError, match=complaint):
        load_case(tmp_path / "case.npz")


def test_no_gradients_at_all(tmp_path):
    np.savez(tmp_path / "case.npz", **{k: v for k, v in raw(a_case()).items() if not k.startswith("grads")})
    with pytest.raises(ValueError, match="grads should be there"):
        load_case(tmp_path / "case.npz")


def test_another_kind_of_file(tmp_path):
    np.save(tmp_path / "case.npy", np.zeros(3))
    with pytest.raises(ValueError, match="it holds one array without a name"):
        load_case(tmp_path / "case.npy")
    (tmp_path / "case.txt").write_text("x = 1")
    with pytest.raises(ValueError, match=r"is damaged, or no \.npz file: File is not a zip file"):
        load_case(tmp_path / "case.txt")
    with pytest.raises(FileNotFoundError):
        load_case(tmp_path / "nowhere.npz")


def test_a_layout_without_a_name_is_not_written(tmp_path):
    with pytest.raises(TypeError, match="should be the name of a layout"):
        save_case(tmp_path / "case.npz", a_case()._replace(layout=LAYOUTS["torch"]))


def test_a_case_in_json(tmp_path):
    """What a C or JavaScript program prints: groups nested or under names with dots, one sequence without a batch."""
    path = tmp_path / "case.json"
    case = a_case()
    nested = {"weights": {n: a.tolist() for n, a in case.weights.items()}, "x": case.x.tolist(), "dy": case.dy.tolist()}
    nested |= {f"grads.{name}": a.tolist() for name, a in case.grads.items()}
    path.write_text(json.dumps(nested))
    again = load_case(path)
    assert np.array_equal(again.x, case.x)
    assert all(np.array_equal(again.grads[name], case.grads[name]) for name in case.grads)
    for text, complaint in (
        ("{", "this is not JSON"),
        ("[1]", "a case should be one JSON object; got list"),
        ("{}", "x, dy, weights, grads should be there; got nothing"),
        (json.dumps(nested | {"x": [[1.0], [1.0, 2.0]]}), "'x' should be a list of lists of one length each"),
        (json.dumps(nested | {"x": [["one"]]}), "'x' should hold floating-point numbers; got <U3"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=complaint):
            load_case(path)
