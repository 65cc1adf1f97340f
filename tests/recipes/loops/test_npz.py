"""Loop files: what is written is read; what is damaged, lying or senseless ends in one sentence, and quickly."""

import io
import zipfile
import zlib

import numpy as np
import pytest

from lstmcore.recipes.loops import generator, npz
from lstmcore.recipes.loops.torsions import UNDEFINED, Loops

LOOPS = generator.generate(12, seed=7)


def arrays(loops: Loops = LOOPS) -> dict[str, np.ndarray]:
    return {
        "aa_index": loops.index.astype(np.int8),
        "targets": loops.targets.copy(),
        "length": loops.lengths.astype(np.int8),
        "seq": loops.sequences,
        "alphabet": np.array(loops.alphabet),
    }


def assert_equal(got: Loops, want: Loops) -> None:
    assert got.alphabet == want.alphabet
    assert np.array_equal(got.index, want.index)
    assert np.array_equal(got.targets, want.targets)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "loops.npz"


def test_what_is_written_is_read(file):
    npz.write(file, LOOPS)
    assert_equal(npz.read(file), LOOPS)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_other_dtypes_orders_and_more_arrays(file, save):
    told = arrays()
    told["aa_index"] = np.asfortranarray(told["aa_index"].astype(">i4"))
    told["targets"] = told["targets"].astype(np.float64)
    told["length"] = told["length"].astype(np.uint16)
    save(file, **told, cdr=np.ones(12), comment=np.array({"never": "opened"}, object))
    assert_equal(npz.read(file), LOOPS)


def test_half_precision_is_precise_enough(file):
    """float16 has 11 bits: off by 2^-12 at most."""
    np.savez(file, **arrays() | {"targets": LOOPS.targets.astype(np.float16)})
    assert np.max(np.abs(npz.read(file).targets - LOOPS.targets)) <= 2.0**-12


def test_an_angle_marked_in_one_channel_is_undefined_in_both(file):
    told = arrays()
    told["targets"][3, 0, 1] = told["targets"][5, 1, 2] = UNDEFINED
    said = []
    np.savez(file, **told)
    loops = npz.read(file, said.append)
    assert np.all(loops.targets[3, 0, :2] == UNDEFINED)
    assert np.all(loops.targets[5, 1, 2:] == UNDEFINED)
    assert (loops.targets != LOOPS.targets).sum() == 4
    assert len(said) == 1
    assert "2 angles are marked undefined in one channel of two" in said[0]


def changed(name: str, where, value) -> dict[str, np.ndarray]:
    told = arrays()
    told[name][where] = value
    return told


T = LOOPS.index.shape[1]
SHORT = int(np.argmin(LOOPS.lengths))  # a loop with padding


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"aa_index": LOOPS.index}, "'targets' is missing from aa_index.npy"),
        (arrays() | {"targets": arrays()["targets"][:, :, :3]}, r"should hold aa_index \(N, T\), targets \(N, T, 4\)"),
        (arrays() | {"length": arrays()["length"][:5]}, r"got .*length \(5,\)"),
        (arrays() | {"aa_index": arrays()["aa_index"].astype(float)}, "'aa_index' should hold integers; got float64"),
        (
            arrays() | {"targets": arrays()["targets"].astype(int)},
            "'targets' should hold floating-point numbers; got int64",
        ),
        (arrays() | {"seq": LOOPS.sequences.astype(object)}, "'seq' should hold text; got object .*never loaded"),
        (arrays() | {"seq": LOOPS.sequences.astype(bytes)}, "'seq' should hold text; got"),
        (arrays() | {"alphabet": np.array("AAB")}, "'alphabet' should be letters, each once; got 'AAB'"),
        (changed("length", 0, T + 1), f"'length' should lie in 1 .. T = {T}; got {T + 1} at \\(0,\\)"),
        (changed("length", 0, 0), f"'length' should lie in 1 .. T = {T}; got 0"),
        (changed("aa_index", (2, 1), 21), r"'aa_index' should lie in 0 .. 20 inside a loop.*got 21 at \(2, 1\)"),
        (changed("aa_index", (SHORT, T - 1), 3), "'aa_index' should lie in 0 .. 20 inside a loop, and be -1 behind"),
        (changed("targets", (2, 1, 0), np.nan), r"'targets' should lie in \[-1, 1\].*got nan at \(2, 1, 0\)"),
        (changed("targets", (2, 1, 0), 1.5), r"'targets' should lie in \[-1, 1\] inside a loop"),
        (
            changed("targets", (SHORT, T - 1, 0), 0.0),
            r"'targets' should be -3.0 behind the end of a loop .*; got 0.0",
        ),
        (arrays() | {"targets": LOOPS.targets[..., [0, 2, 1, 3]]}, "are the channels sin phi, cos phi, sin psi"),
        (arrays() | {"targets": np.full_like(LOOPS.targets, UNDEFINED)}, "should have an angle that is defined"),
        (changed("seq", 1, "GGGG"), r"'seq' should spell what 'aa_index' says; got GGGG at \(1,\)"),
        (arrays() | {"targets": LOOPS.targets.astype(float) * 1e300}, r"'targets' should lie in \[-1, 1\]"),
    ],
)
def test_files_without_sense(file, told, message):
    np.savez(file, **told)
    with pytest.raises(ValueError, match=message):
        npz.read(file)


@pytest.mark.parametrize(
    ("name", "where", "value", "words"),
    [
        ("length", 3, T + 1, "'length' should lie in"),
        ("aa_index", (3, 1), 21, "'aa_index' should lie in"),
        ("aa_index", (3, 1), -5, "'aa_index' should lie in"),
        ("targets", (3, 1, 0), np.inf, "'targets' should lie in [-1, 1]"),
        ("targets", (SHORT, T - 1, 0), 0.5, "'targets' should be -3.0 behind the end of a loop"),
        ("targets", (3, 1), 1.0, "sin^2 + cos^2 should be 1"),
        ("targets", 3, UNDEFINED, "every loop should have an angle"),
        ("seq", 3, "GGGG", "'seq' should spell"),
    ],
)
def test_bad_loops_can_be_left_out(file, name, where, value, words):
    """Those, and no others; the count and the reason are told; without being asked for, it is an error that says so."""
    told = changed(name, where, value)
    bad = where[0] if isinstance(where, tuple) else where
    told["length"][bad - 1] = 0
    np.savez(file, **told)
    with pytest.raises(ValueError, match=r"of 12 loops are so; --skip-bad leaves them out\)$"):
        npz.read(file)
    said = []
    loops = npz.read(file, said.append, skip_bad=True)
    assert_equal(loops, LOOPS.take(np.setdiff1d(np.arange(12), [(bad - 1) % 12, bad])))
    assert len(said) == 1
    assert said[0].startswith(f"{file}: 2 of 12 loops are left out: ")
    assert words in said[0]


def test_no_loop_is_left(file):
    told = arrays()
    told["length"][:] = 0
    np.savez(file, **told)
    with pytest.raises(ValueError, match=r"no loop is left; 'length' should lie in 1 \.\."):
        npz.read(file, skip_bad=True)


@pytest.mark.parametrize(("content", "message"), [(b"", "no .npz file"), (b"PK\x05\x06" + bytes(18), "is missing")])
def test_what_is_no_npz_file(file, content, message):
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        npz.read(file)


def test_a_missing_file(file):
    with pytest.raises(FileNotFoundError):
        npz.read(file)


def header(shape: str, descr: str = "'<f4'") -> bytes:
    """The beginning of a .npy file of version 1."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "member",
    [
        header("(12, 1000000000, 4)") + bytes(64),  # 192 GB, it says
        header("(-12, 5, 4)") + bytes(64),
        header("(12, 5, 4)", "'|O'") + bytes(64),
        header("(12, 5, 4") + bytes(64),
        header("().__class__") + bytes(64),
        b"\x93NUMPY\x03\x00" + bytes(99),
        b"not an array",
        b"",
    ],
)
def test_headers_that_lie(file, member):
    """Refused before anything is allocated: 100 MB are not there to be had."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays().items():
            content = io.BytesIO()
            np.save(content, value)
            archive.writestr(f"{name}.npy", member if name == "targets" else content.getvalue())
    with pytest.raises(ValueError, match="targets"):
        npz.read(file)


def test_a_bomb(file):
    """The archive says that 5 GB come out of 100 bytes."""
    npz.write(file, LOOPS)
    content = bytearray(file.read_bytes())
    entry = content.rindex(b"targets.npy") - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    content[entry + 24 : entry + 28] = (2**32 - 2).to_bytes(4, "little")  # the uncompressed size
    file.write_bytes(content)
    with pytest.raises(ValueError, match="'targets' claims 4,294,967,294 bytes"):
        npz.read(file)


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """One bit anywhere."""
    broken = bytearray(content)
    broken[rng.integers(len(content))] ^= 1 << rng.integers(8)
    return bytes(broken)


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content))]


def mended(content: bytes, rng: np.random.Generator) -> bytes:
    """One bit in an array that is stored unpacked, header included, and both its checksums made right again."""
    broken = bytearray(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        info = archive.infolist()[rng.integers(len(npz.KINDS))]
    name, at = info.filename.encode(), info.header_offset
    start = at + 30 + len(name) + int.from_bytes(content[at + 28 : at + 30], "little")
    broken[start + rng.integers(info.file_size)] ^= 1 << rng.integers(8)
    checksum = zlib.crc32(broken[start : start + info.file_size]).to_bytes(4, "little")
    entry = broken.rindex(name) - 46  # in the directory at the end
    broken[at + 14 : at + 18] = broken[entry + 16 : entry + 20] = checksum
    return bytes(broken)


def read_or_named(file) -> Loops | None:
    """The loops; None after an error that names the file."""
    try:
        return npz.read(file, lambda message: None)
    except ValueError as error:
        if str(file) in str(error):
            return None
        raise


@pytest.mark.parametrize("damage", [flipped, cut, mended])
def test_damage_is_named_or_harmless(file, nightly, damage):
    """At random: an error that names the file, or the very loops that were written.

    With the checksum mended, a changed angle may pass as long as its sine and cosine lie on the circle; the rest holds.
    """
    np.savez(file, **arrays())
    content = file.read_bytes()
    rng = np.random.default_rng(8)
    named = 0
    for _ in range(170 if nightly else 20):
        file.write_bytes(damage(content, rng))
        loops = read_or_named(file)
        if loops is None:
            named += 1
        elif damage is mended:
            assert loops.index.shape == LOOPS.index.shape
            defined = loops.targets[loops.targets != UNDEFINED]
            assert np.all(np.abs(defined) <= 1 + npz.ON_THE_CIRCLE)
        else:
            assert_equal(loops, LOOPS)
    assert named >= (20 if damage is cut else 5)
