"""Files that are not as they were written, bit by bit: a clear error or the last good state, and never a crash.

Half of the files get a checksum that fits their damage. Then a flipped bit of a weight cannot be told from a weight;
what holds is: the structure is checked, no number is NaN or infinite, nothing is loaded by halves.
"""

import json
import random
import shutil
import struct
from collections import Counter

import numpy as np
from safetensors import SafetensorError, safe_open

import lstmcore as lc
from lstmcore.train import Adam, Batches, Checkpoints, EarlyStopping, Plateau, fit, load, save, watchers
from lstmcore.train.files import sealed


def training():
    """The arguments of a small training: a state to be carried, and callbacks with a memory."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 12, 2)).astype("float32")
    model = lc.Stack([lc.LSTM(2, 3, seed=0, engine="reference"), lc.Linear(3, 2, seed=1)])
    batches = Batches(x, x.cumsum(axis=0), batch_size=4, seed=0)
    return {"model": model, "loss": lc.squared_error, "batches": batches, "opt": Adam(0.01), "carry_state": True}


def quiet(message):
    pass


def resumed(folder, epochs, given=None, state=None):
    """Trains, from `state` on."""
    keep = Checkpoints(folder, every_seconds=None, every_steps=2, tell=quiet)
    given = given or training()
    callbacks = [*watchers(quiet), EarlyStopping(), keep]
    fit(
        **given, epochs=epochs, schedule=Plateau(0.01), validation=[next(iter(given["batches"]))], callbacks=callbacks,
        rng=0, progress=False, resume=state,
    )  # fmt: skip


def damaged(rng: random.Random, whole: bytes) -> bytes:
    """One bit flipped (half of the time in the header), a piece cut off, or another length of the header."""
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    how = rng.random()
    if how < 0.2:
        return whole[: rng.randrange(len(whole))]
    if how < 0.25:
        length = rng.choice([rng.getrandbits(rng.randrange(1, 65)), header + rng.randrange(-9, 9)])
        return struct.pack("<Q", length) + whole[8:]
    bits = bytearray(whole)
    bits[rng.randrange(header if how < 0.65 else len(whole))] ^= 1 << rng.randrange(8)
    return bytes(bits)


def mended(path, kind) -> bool:
    """Puts a checksum into the file that fits what else is in it; False if it cannot be read at all."""
    try:
        with safe_open(path, framework="numpy") as file:
            texts = file.metadata()
            arrays = [(name, file.get_tensor(name)) for name in file.keys()]  # noqa: SIM118
        fitting = sealed.digest(kind, texts, arrays)
    except (SafetensorError, TypeError):
        return False
    path.write_bytes(path.read_bytes().replace(texts.get("sha256", "none").encode(), fitting.encode()))
    return True


def spoil(path, whole: bytes, rng: random.Random, kind, mend: bool) -> None:
    """Writes the file with some damage; with `mend`, one after which a checksum can be made to fit."""
    path.write_bytes(damaged(rng, whole))
    while mend and not mended(path, kind):
        path.write_bytes(damaged(rng, whole))


def attempt(work):
    """(what it returns, None), or (None, the complaint); anything but a ValueError is a crash."""
    try:
        return work(), None
    except ValueError as error:
        return None, str(error)


def test_damaged_checkpoints(tmp_path, nightly):
    """An older one is good. Not mended: it is taken, or the damaged bit carried nothing. Mended: see above."""
    trials, rng = 1000 if nightly else 120, random.Random(0)
    resumed(tmp_path / "whole", epochs=1)  # steps 0, 2 and 3
    older, newest = sorted((tmp_path / "whole").glob("step-*"))[-2:]
    good, same = (Checkpoints(folder, tell=quiet) for folder in (tmp_path / "older", tmp_path / "same"))
    for keep, path in ((good, older), (same, newest)):
        keep.folder.mkdir()
        shutil.copy(path, keep.folder)
    good_state, newest_state = as_text(good.last()), as_text(same.last())
    counts = Counter()
    for trial in range(trials):
        folder, mend = tmp_path / "damaged", trial % 2 == 1
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good.folder, folder)
        spoil(folder / newest.name, newest.read_bytes(), rng, sealed.CHECKPOINT, mend)
        told = []
        state, complaint = attempt(Checkpoints(folder, tell=told.append).last)
        if complaint:  # another version, gate order or training
            assert newest.name in complaint
            outcome = "refused"
        elif as_text(state) == good_state:
            assert newest.name in told[0]
            assert "damaged" in told[0] or "is no checkpoint" in told[0]
            assert (folder / newest.name).with_suffix(".damaged").exists()
            outcome = "the older one"
        else:
            assert mend or as_text(state) == newest_state
            outcome = went_on(tmp_path / "on", state)
        counts[outcome, "mended" if mend else "not mended"] += 1
    print(dict(counts))
    assert counts["the older one", "not mended"] >= 0.98 * trials / 2  # else it is a bit of white space
    assert counts["refused", "not mended"] == 0
    assert counts["the older one", "mended"] > 0
    assert counts["trained on", "mended"] > 0  # a number that is another number now


def went_on(folder, state) -> str:
    """One more epoch, or a complaint, and then not a bit of the model has changed."""
    shutil.rmtree(folder, ignore_errors=True)
    given = training()
    before = {name: w.copy() for name, w in given["model"].params.items()}
    with np.errstate(all="ignore"):  # another number may be a very large one
        _, complaint = attempt(lambda: resumed(folder, 2, given=given, state=state))
    if complaint is None:
        return "trained on"
    assert "does not fit this training" in complaint
    for name, w in given["model"].params.items():
        np.testing.assert_array_equal(w, before[name])
    return "refused by the training"


def as_text(tree) -> str:
    """A state, as text that tells every bit of it."""
    return json.dumps(tree, default=lambda a: [a.dtype.name, a.shape, a.tobytes().hex()])


def test_damaged_models(tmp_path, nightly):
    """Not mended: refused, or the very same model. Mended: refused, or a model with the numbers in the file."""
    trials, rng = 1000 if nightly else 120, random.Random(1)
    model, path = training()["model"], tmp_path / "m"
    save(path, model)
    whole, counts = path.read_bytes(), Counter()
    for trial in range(trials):
        mend = trial % 2 == 1
        spoil(path, whole, rng, sealed.MODEL, mend)
        twin, complaint = attempt(lambda: load(path))
        counts["loaded" if complaint is None else "refused", "mended" if mend else "not mended"] += 1
        if complaint is not None:
            assert complaint
            continue
        with safe_open(path, framework="numpy") as file:
            for name, w in twin.params.items():
                assert w.tobytes() == file.get_tensor(name).tobytes()
                assert mend or w.tobytes() == model.params[name].tobytes()
        assert mend or twin.config() == model.config()
    print(dict(counts))
    assert counts["refused", "not mended"] > 0.9 * trials / 2
    assert counts["refused", "mended"] > 0
    assert counts["loaded", "mended"] > 0
