"""Files from anywhere: what is whole is read to the bit, what is damaged or lies ends in a line that names it."""

import io
import os
import zipfile

import numpy as np
import pytest

from lstmcore.debug import load_case
from lstmcore.train.files import npz
from lstmcore.train.files.npz import FLOATING, open_npz

X = np.random.default_rng(0).standard_normal((5, 2, 3)).astype("float32")
CASE = {"x": X, "dy": X, "weights.W_ih": X[0], "grads.W_ih": X[0], "layout": np.array("lstmcore")}


def member(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def header(shape: str, descr: str = "'<f4'", length: int = 118) -> bytes:
    """The beginning of a .npy file of version 1."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode().ljust(length - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.fixture
def file(tmp_path):
    return tmp_path / "case.npz"


def packed(file, x: bytes, method: int = zipfile.ZIP_DEFLATED) -> None:
    """A case whose x is these bytes."""
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, value in CASE.items():
            archive.writestr(f"{name}.npy", x if name == "x" else member(value))


def read(file) -> np.ndarray:
    with open_npz(file) as archive:
        archive.header("x", FLOATING)
        return archive.data("x")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("array", [X, np.asfortranarray(X), X.astype(">f8"), X[:0], X[0, 0, 0], np.zeros((3, 10**6))])
def test_what_numpy_writes_is_read(file, save, array):
    save(file, x=array)
    got = read(file)
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)
    got[...] = 1  # it is nobody else's


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (header("(1000, 1000, 1000000000)") + bytes(64), "'x' claims to be (1000, 1000, 1000000000) float32"),
        (header("(-5, 2, 3)") + bytes(120), "'x' claims the shape (-5, 2, 3)"),
        (header("(0, " + "1, " * 70 + ")"), "'x' claims the shape (0, 1, 1"),
        (
            header("(5, 2, 3)", "'|O'") + bytes(240),
            "'x' should hold floating-point numbers; got object (Python objects",
        ),
        (
            header("(5, 2, 3)", "[('a', '<f4')]") + bytes(120),
            "'x' should hold floating-point numbers; got [('a', '<f4')]",
        ),
        (header("(5, 2, 3)", "'<c8'") + bytes(240), "'x' should hold floating-point numbers; got complex64"),
        (header("(5, 2, 3") + bytes(120), "'x' does not begin as an array of NumPy does"),
        (header("(5, 2, 3)", length=30_000) + bytes(120), "'x' does not begin as an array of NumPy does"),
        (b"no array", "'x' does not begin as an array of NumPy does"),
        (b"", "'x' does not begin as an array of NumPy does"),
    ],
)
def test_headers_that_lie(file, x, said):
    packed(file, x)
    with pytest.raises(ValueError, match=r"case\.npz") as caught:
        load_case(file)
    told = str(caught.value)
    assert said in told
    assert "allow_pickle" not in told
    assert "\n" not in told


def test_more_than_a_gigabyte_of_zeros_is_not_unpacked(file, monkeypatch):
    """One number more than is read, a few MB on disk; refused by its size alone, which the archive tells truly."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in ("dy", "weights.a", "grads.a"):
            archive.writestr(f"{name}.npy", member(X))
        with archive.open("x.npy", "w", force_zip64=True) as out:
            out.write(header("(1, 268435457)") + bytes(4))
            for _ in range(2**30 // 2**26):
                out.write(bytes(2**26))
    monkeypatch.setattr(npz.Npz, "data", lambda self, name: pytest.fail("something was unpacked"))
    with pytest.raises(ValueError, match=r"'x' claims to be .* 1,073,741,828 bytes; .* at most 1,073,741,824 are read"):
        load_case(file)


def test_many_large_arrays_are_too_much_together(file, monkeypatch):
    monkeypatch.setattr(npz, "ALL", 2 * X.nbytes)
    packed(file, member(X))
    with pytest.raises(ValueError, match=r"'weights.W_ih' claims .* of all arrays together 240"):
        load_case(file)


def test_other_ways_of_packing(file):
    """bzip2 and LZMA make gigabytes of a few bytes, in one step."""
    packed(file, member(X), zipfile.ZIP_BZIP2)
    with pytest.raises(ValueError, match="'x' is packed in a way that NumPy does not write"):
        load_case(file)


def test_an_encrypted_file(file):
    packed(file, member(X))
    content = bytearray(file.read_bytes())
    content[content.index(b"PK\x03\x04") + 6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"case\.npz: 'x' is encrypted \(write the file without a password\)"):
        load_case(file)


def test_a_wrong_checksum(file):
    np.savez(file, **CASE)
    content = bytearray(file.read_bytes())
    content[content.index(X.tobytes()) + 7] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged: 'x': Bad CRC-32 for file 'x\.npy'"):
        load_case(file)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name(file):
    np.savez(file, **CASE)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("x.npy", member(2 * X))
    with pytest.raises(ValueError, match=r"should hold each array once; got 'x\.npy' 2 times"):
        load_case(file)


def test_what_is_no_file(file, tmp_path):
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"case\.npz is damaged, or no \.npz file: File is not a zip file"):
        load_case(file)
    with pytest.raises(ValueError, match=r"should be an \.npz file; it is a folder"):
        load_case(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"should be an \.npz file; it is a pipe or device"):
        load_case(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        load_case(tmp_path / "nowhere.npz")


def test_damage_is_named_or_harmless(file, nightly):
    """At random, a thousand in the night: one to three bytes changed, or the end cut off."""
    rng = np.random.default_rng(1)
    named = 0
    for trial in range(1000 if nightly else 100):
        (np.savez if trial % 2 else np.savez_compressed)(file, **CASE)
        content = np.frombuffer(file.read_bytes(), np.uint8).copy()
        if trial % 5 == 0:
            content = content[: rng.integers(len(content))]
        else:
            content[rng.integers(0, len(content), rng.integers(1, 4))] = rng.integers(256)
        file.write_bytes(content.tobytes())
        try:
            got, told = load_case(file), ""
        except ValueError as error:
            told = str(error)
        if told:
            named += 1
            assert "case.npz" in told
            assert "allow_pickle" not in told
            assert "\n" not in told
        else:
            np.testing.assert_array_equal(got.x, X)
            np.testing.assert_array_equal(got.weights["W_ih"], X[0])
    assert named > 50
