"""The folder of checkpoints: what is kept, what is taken, and what happens when the disk does not play along."""

import errno
import math
import os
import signal
import stat

import numpy as np
import pytest
from children import forked

import lstmcore as lc
from lstmcore.train import Adam, Batches, Callback, Checkpoints, EarlyStopping, Plateau, Stream, fit, load
from lstmcore.train.files import atomic, checkpoint

resource = pytest.importorskip("resource") if os.name == "posix" else None


class Stop(Callback):
    """Ends the run after an update: by a sentence, or by an error."""

    def __init__(self, step, error=None):
        self.step, self.error = step, error

    def on_batch(self, run):
        if run.step == self.step:
            run.ended = "enough"
            if self.error is not None:
                raise self.error


def parts():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 12, 2)).astype("float32")
    model = lc.Stack([lc.LSTM(2, 3, seed=0), lc.Dropout(0.3), lc.Linear(3, 2, seed=1)])
    return {
        "model": model,
        "loss": lc.squared_error,
        "batches": Batches(x, x.cumsum(axis=0), batch_size=4, seed=0),
        "opt": Adam(0.01),
        "schedule": Plateau(0.01, patience=1, threshold=0.5),
        "rng": np.random.default_rng(1),
    }


def run(keep, *callbacks, epochs=4, resume=None, validation=None, given=None):
    """(model, history) of 3 updates an epoch."""
    given = given or parts()
    history = fit(
        **given, epochs=epochs, callbacks=[*callbacks, keep], resume=resume, validation=validation, progress=False
    )
    return given["model"], history


def folder(path):
    return sorted(name for name in os.listdir(path))


def steps(*numbers):
    return [f"step-{k:010}.safetensors" for k in numbers]


def assert_same(one, two):
    for name, w in one.params.items():
        assert w.tobytes() == two.params[name].tobytes(), name


@pytest.fixture
def told():
    return []


# ---- when, and what is kept ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"every_seconds": None}, [0, 12]),  # the start and the end
        ({"every_seconds": None, "every_steps": 1}, [10, 11, 12]),
        ({"every_seconds": None, "every_steps": 5, "keep": 2}, [10, 12]),
        ({"every_seconds": None, "every_epochs": 2, "keep": 9}, [0, 6, 12]),
        ({"every_seconds": 0.0, "keep": 1}, [12]),
        ({"every_seconds": 3600}, [0, 12]),
    ],
)
def test_when_it_saves_and_how_many_it_keeps(options, kept, tmp_path):
    run(Checkpoints(tmp_path / "c", **options))
    assert folder(tmp_path / "c") == steps(*kept)


def test_seconds_are_counted_from_the_last_one(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("lstmcore.train.callbacks.checkpoints.time.monotonic", lambda: now[0])

    class Tick(Callback):
        def on_gradients(self, run):
            now[0] += 20.0

    run(Checkpoints(tmp_path, every_seconds=60, keep=9), Tick())
    assert folder(tmp_path) == steps(0, 3, 6, 9, 12)


def test_the_best_is_kept(tmp_path):
    """Losses told by hand: epoch 2 is the best."""
    batch = next(iter(parts()["batches"]))
    losses, seen = iter([3.0, 1.0, 2.0, math.nan]), []

    class Tell(Callback):
        def on_epoch(self, run):
            run.history[-1]["validation"] = next(losses)
            seen.append({name: w.copy() for name, w in run.model.params.items()})

    keep = Checkpoints(tmp_path, every_seconds=None)
    model, _ = run(keep, Tell(), validation=[batch])
    assert folder(tmp_path) == ["best.safetensors", *steps(0, 12)]
    best = load(tmp_path / "best.safetensors")
    for name, w in best.params.items():
        np.testing.assert_array_equal(w, seen[1][name])
    assert not np.array_equal(best.params["2.W"], model.params["2.W"])
    assert checkpoint.read(tmp_path / "best.safetensors")[0]["counts"]["epoch"] == 2
    assert keep.best_epoch == 2


# ---- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, 3, 4, 7])
@pytest.mark.parametrize("error", [None, RuntimeError("the power fails")])
def test_goes_on_bit_for_bit(stop, error, tmp_path):
    """With early stopping, whose best parameters are put back at the end, and not in what is saved."""
    batch = [next(iter(parts()["batches"]))]
    undisturbed, whole = run(Checkpoints(tmp_path / "a"), EarlyStopping(patience=2), epochs=5, validation=batch)
    keep = Checkpoints(tmp_path / "b", every_seconds=None, every_steps=1)
    if error is None:
        run(keep, EarlyStopping(patience=2), Stop(stop), epochs=5, validation=batch)
    else:
        with pytest.raises(RuntimeError, match="the power fails"):
            run(keep, EarlyStopping(patience=2), Stop(stop, error), epochs=5, validation=batch)
        assert folder(tmp_path / "b")[-1] == steps(stop - 1)[0]
    keep = Checkpoints(tmp_path / "b")
    model, rest = run(keep, EarlyStopping(patience=2), epochs=5, validation=batch, resume=keep.last())
    assert_same(model, undisturbed)
    assert [{**row, "seconds": 0} for row in rest["epochs"]] == [{**row, "seconds": 0} for row in whole["epochs"]]
    assert rest["ended"] == whole["ended"]
    assert_same(load(tmp_path / "b" / "best.safetensors"), load(tmp_path / "a" / "best.safetensors"))


def test_goes_on_with_every_engine(engine, tmp_path):
    """The file holds host arrays; the parameters, the optimizer's memory and the carried state live where they did."""

    def given():
        rng = np.random.default_rng(0)
        x = rng.standard_normal((41, 3)).astype("float32")
        stream = Stream(engine.array(x[:-1]), engine.array(x[1:]), batch_size=4, steps=4)
        model = lc.Stack([lc.LSTM(3, 5, seed=0), lc.Dropout(0.3), lc.Linear(5, 3, seed=1)])
        return {
            "model": engine.place(model), "loss": lc.squared_error, "batches": stream, "opt": Adam(0.01),
            "carry_state": True, "rng": np.random.default_rng(1),
        }  # fmt: skip

    whole, _ = run(Checkpoints(tmp_path / "whole"), EarlyStopping(patience=3), given=given())
    run(Checkpoints(tmp_path / "cut"), EarlyStopping(patience=3), Stop(5), given=given())
    keep = Checkpoints(tmp_path / "cut")
    state = keep.last()
    assert state["carried"][0][0].shape == (4, 5)
    model, _ = run(keep, EarlyStopping(patience=3), given=given(), resume=state)
    for name, w in whole.params.items():
        assert type(model.params[name]) is type(w)
        np.testing.assert_array_equal(engine.host(model.params[name]), engine.host(w))


def test_a_run_that_was_stopped_early_stays_so(tmp_path):
    batch = [next(iter(parts()["batches"]))]
    losses = iter([1.0, 2.0, 3.0, 0.5])

    class Tell(Callback):
        def on_epoch(self, run):
            run.history[-1]["validation"] = next(losses)

    given = parts()
    model, history = run(Checkpoints(tmp_path), Tell(), EarlyStopping(patience=2), validation=batch, given=given)
    assert history["ended"] == "stopped early: no improvement on epoch 1 in 2 epochs"
    keep = Checkpoints(tmp_path)
    again, rest = run(keep, Tell(), EarlyStopping(patience=2), validation=batch, resume=keep.last())
    assert rest == history
    assert_same(again, model)


def test_nothing_to_go_on_from(tmp_path):
    assert Checkpoints(tmp_path / "none").last() is None


def test_a_peek_at_the_batches_does_no_harm(tmp_path):
    """A loop that was left early before the training is no position in it."""
    for place, peek in (("a", False), ("b", True)):
        given = parts()
        if peek:
            next(iter(given["batches"]))
        with pytest.raises(RuntimeError):
            run(Checkpoints(tmp_path / place, every_seconds=None), Stop(2, RuntimeError()), given=given)
        keep = Checkpoints(tmp_path / place)
        model, _ = run(keep, resume=keep.last())
        again = parts()
        if peek:
            next(iter(again["batches"]))
        undisturbed, _ = run(Checkpoints(tmp_path / f"whole {place}"), given=again)
        assert_same(model, undisturbed)


def test_a_list_of_batches_goes_on_behind_those_that_were_read(tmp_path):
    batches = list(parts()["batches"])
    whole, _ = run(Checkpoints(tmp_path / "a"), given=parts() | {"batches": batches})
    run(Checkpoints(tmp_path / "b"), Stop(5), given=parts() | {"batches": batches})
    keep = Checkpoints(tmp_path / "b")
    model, _ = run(keep, given=parts() | {"batches": batches}, resume=keep.last())
    assert_same(model, whole)


def test_a_further_run_is_not_overwritten(tmp_path):
    run(Checkpoints(tmp_path))
    before = folder(tmp_path)
    with pytest.raises(FileExistsError, match=r"holds a run that has come further \(step-0000000012\.safetensors\)"):
        run(Checkpoints(tmp_path))
    assert folder(tmp_path) == before


def test_another_training_is_told(tmp_path):
    run(Checkpoints(tmp_path, about={"recipe": "text", "options": {"lr": 0.1, "hidden": 3, "old": 1}}))
    about = {"recipe": "text", "options": {"lr": 0.2, "hidden": 3}}
    with pytest.raises(
        ValueError, match=r"is of another training: options\.lr was 0\.1, and is 0\.2 now; options\.old was 1"
    ):
        Checkpoints(tmp_path, about=about).last()
    assert folder(tmp_path) == steps(0, 12)


def test_what_does_not_fit_changes_nothing(tmp_path):
    keep = Checkpoints(tmp_path)
    run(keep)
    for change, message in (
        ({"opt": lc.SGD(0.01)}, "the optimizer is SGD; the saved one was Adam"),
        ({"model": lc.Linear(2, 2, seed=0)}, "the model is .*Linear.*; the saved one was .*Stack"),
    ):
        given = parts() | change
        before = {name: w.copy() for name, w in given["model"].params.items()}
        with pytest.raises(ValueError, match=f"the saved state does not fit this training: {message}"):
            run(Checkpoints(tmp_path), given=given, resume=keep.last())
        for name, w in given["model"].params.items():
            np.testing.assert_array_equal(w, before[name])
    with pytest.raises(
        ValueError, match=r"the callbacks with a memory are \['EarlyStopping', 'Checkpoints'\]; the saved"
    ):
        run(Checkpoints(tmp_path), EarlyStopping(), resume=keep.last())


def test_checkpoints_come_last(tmp_path):
    keep = Checkpoints(tmp_path)
    with pytest.raises(ValueError, match="Checkpoints should be the last of the callbacks"):
        fit(**parts(), epochs=1, callbacks=[keep, EarlyStopping()], progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0}, "`keep` should be a positive number; got 0"),
        ({"every_steps": 1.5}, "`every_steps` should be a positive number; got 1.5"),
        ({"every_epochs": True}, "`every_epochs` should be a positive number; got True"),
        ({"every_seconds": -1}, "`every_seconds` should be a number of seconds, or None; got -1"),
    ],
)
def test_options_that_make_no_sense(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Checkpoints(tmp_path, **options)


# ---- damage ----------------------------------------------------------------------------------------------------------


def test_a_damaged_one_is_skipped_for_the_last_good_one(tmp_path, told):
    run(Checkpoints(tmp_path, every_seconds=None, every_steps=3))
    newest = tmp_path / steps(12)[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    keep = Checkpoints(tmp_path, tell=told.append)
    state = keep.last()
    assert state["counts"]["step"] == 9
    assert "step-0000000012.safetensors is damaged" in told[0]
    assert "it is left out (and called *.damaged)" in told[0]
    run(keep, resume=state)
    assert folder(tmp_path) == [*steps(6, 9), "step-0000000012.damaged", *steps(12)]


def test_only_damaged_ones_are_no_reason_to_begin_anew(tmp_path, told):
    run(Checkpoints(tmp_path, every_seconds=None))
    for name in folder(tmp_path):
        (tmp_path / name).write_bytes(b"")
    for _ in range(2):  # the second time they have their new names
        with pytest.raises(
            ValueError, match=r"holds no good checkpoint, only step-0000000000\.damaged, step-0000000012"
        ):
            Checkpoints(tmp_path, tell=told.append).last()
    assert len(told) == 2


def test_the_best_one_is_the_last_resort(tmp_path, told):
    batch = [next(iter(parts()["batches"]))]
    undisturbed, _ = run(Checkpoints(tmp_path / "whole"), validation=batch)
    run(Checkpoints(tmp_path / "cut", every_seconds=None), Stop(8), validation=batch)
    for path in (tmp_path / "cut").glob("step-*"):
        path.write_bytes(b"")
    keep = Checkpoints(tmp_path / "cut", tell=told.append)
    state = keep.last()
    assert state["counts"]["epoch"] == 2
    assert len(told) == 2
    model, _ = run(keep, validation=batch, resume=state)
    assert_same(model, undisturbed)


def test_one_that_vanishes_while_we_look(tmp_path, monkeypatch):
    run(Checkpoints(tmp_path, every_seconds=None, every_steps=3))
    read = checkpoint.read

    def vanishing(path):
        if path.name == steps(12)[0]:
            path.unlink()
        return read(path)

    monkeypatch.setattr(checkpoint, "read", vanishing)
    assert Checkpoints(tmp_path).last()["counts"]["step"] == 9


# ---- disks -----------------------------------------------------------------------------------------------------------


class FullDisk(Callback):
    """From one update on, no file may become larger than so many bytes; until another, or for ever."""

    def __init__(self, first, last=None, size=2000):
        self.first, self.last, self.size = first, last, size

    def on_gradients(self, run):
        if run.step == self.first:
            limit(self.size)
        if run.step == self.last:
            limit(None)


def limit(size):
    """The kernel stops every write beyond a size, as a full disk does; Python ignores the signal and gets the error.

    For a fork alone: pytest writes files, too.
    """
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


limits = pytest.mark.skipif(resource is None, reason="this system has no limits on the size of files")


def trained_on_a_full_disk(path, full):
    """(model, history, what was told), of a training in a fork."""

    def train():
        told = []
        return *run(Checkpoints(path, every_seconds=None, every_steps=1, tell=told.append), full), told

    return forked(train)


@limits
def test_a_full_disk_for_a_while(tmp_path):
    """Told, and the training goes on; what was saved before is untouched, and no half file is left."""
    model, history, told = trained_on_a_full_disk(tmp_path, FullDisk(4, 8))
    assert history["ended"] == "all 4 epochs done"
    assert len(told) == 4
    assert "could not be saved (File too large); what was there before is untouched" in told[0]
    assert "the training goes on" in told[0]
    assert folder(tmp_path) == steps(10, 11, 12)
    assert_same(load(tmp_path / steps(12)[0]), model)


@limits
def test_a_full_disk_to_the_end(tmp_path):
    """The trained model comes back, what happened is told, and the last good one is there to go on from."""
    trained, _, told = trained_on_a_full_disk(tmp_path, FullDisk(4))
    assert "could not be saved" in told[-1]
    assert "the last checkpoint that there is: step-0000000004.safetensors" in told[-1]
    assert folder(tmp_path) == steps(2, 3, 4)
    keep = Checkpoints(tmp_path)
    model, _ = run(keep, resume=keep.last())
    whole, _ = run(Checkpoints(tmp_path / "whole"))
    assert_same(model, whole)
    assert_same(trained, whole)


@limits
def test_a_disk_that_is_full_from_the_start(tmp_path):
    """Found before the first update, not after hours."""

    def train():
        limit(2000)
        given = parts()
        with pytest.raises(OSError, match="could not be saved"):
            run(Checkpoints(tmp_path), given=given)
        return given["opt"].state

    assert forked(train) == {}
    assert folder(tmp_path) == []


def test_the_other_ends_come_in_spite_of_an_error(tmp_path):
    """What fails at the end of one callback keeps no other one from its own: early stopping puts its best back."""
    best = {}

    class Look(Callback):
        def on_epoch(self, run):
            if run.epoch == 1:
                best.update({name: w.copy() for name, w in run.model.params.items()})
            run.history[-1]["loss"] = float(run.epoch)

        def on_end(self, run):
            raise RuntimeError("at the end")

    given = parts()
    with pytest.raises(RuntimeError, match="at the end"):
        run(Checkpoints(tmp_path), EarlyStopping(), Look(), given=given)
    assert best.keys() == given["model"].params.keys()
    last = Checkpoints(tmp_path).last()
    for name, w in given["model"].params.items():
        np.testing.assert_array_equal(last["callbacks"][0][1]["params"][name], w)
    assert last["counts"]["step"] == 12


def refused(number, *_, **__):
    raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_folder_that_cannot_be_written(number, tmp_path, monkeypatch):
    """By fault injection: root may write everywhere."""
    run(Checkpoints(tmp_path), epochs=1)
    keep = Checkpoints(tmp_path)
    state, before = keep.last(), folder(tmp_path)
    monkeypatch.setattr(atomic, "open", lambda *_: refused(number), raising=False)
    with pytest.raises(
        OSError, match=rf"could not be saved \({os.strerror(number)}\); what was there before is untouched"
    ):
        run(keep, resume=state)
    assert folder(tmp_path) == before


def test_an_old_one_that_is_read_goes_later(tmp_path, monkeypatch, told):
    """By fault injection: Windows deletes no file that somebody reads."""
    keep = Checkpoints(tmp_path, keep=1, tell=told.append)
    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "unlink", lambda *_, **__: refused(errno.EACCES))
        run(keep, epochs=2)
    assert len(folder(tmp_path)) > 1
    assert told == []
    run(Checkpoints(tmp_path, keep=1), epochs=4, resume=keep.last())
    assert len(folder(tmp_path)) == 1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c").chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(PermissionError, match=r"could not be saved \(Permission denied\)"):
        run(Checkpoints(tmp_path / "c"))
    (tmp_path / "c").chmod(stat.S_IRWXU)


def test_a_folder_that_vanishes(tmp_path, told):
    class Vanish(Callback):
        def on_batch(self, run):
            if run.step in (4, 5):
                for path in tmp_path.glob("c/*"):
                    path.unlink()
                (tmp_path / "c").rmdir() if run.step == 4 else (tmp_path / "c").mkdir()

    model, _ = run(Checkpoints(tmp_path / "c", every_seconds=None, every_steps=1, tell=told.append), Vanish())
    assert len(told) == 1
    assert "could not be saved (there is no such folder)" in told[0]
    assert folder(tmp_path / "c") == steps(10, 11, 12)
    assert_same(load(tmp_path / "c" / steps(12)[0]), model)


# ---- what is not saved -----------------------------------------------------------------------------------------------


def test_numbers_that_are_not_finite_are_not_saved(tmp_path, told):
    """The last good ones stay, whatever comes of the training."""

    class Spoil(Callback):
        def on_batch(self, run):
            if run.step >= 5:
                run.model.params["2.b"][0] = math.inf

    _, history = run(Checkpoints(tmp_path, every_seconds=None, every_steps=1, tell=told.append), Spoil())
    assert "the loss is inf" in history["ended"] or "the loss is nan" in history["ended"]
    assert "model.2.b holds NaN or infinity: there is nothing to go on from" in told[0]
    assert folder(tmp_path) == steps(2, 3, 4)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c(times, ctrl_c, tmp_path, told):
    """Once: saved after the update under way. Twice: in the midst of an update, which is not saved."""

    class Press(Callback):
        def on_gradients(self, run):
            if run.step == 4:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)

    keep = Checkpoints(tmp_path, every_seconds=None, every_epochs=1, tell=told.append, go_on="go on with: make")
    if times == 1:
        _, history = run(keep, Press())
        assert history["ended"] == "interrupted"
        assert folder(tmp_path) == steps(0, 3, 5)
        assert told == [f"saved: {tmp_path / steps(5)[0]}; go on with: make"]
    else:
        with pytest.raises(KeyboardInterrupt):
            run(keep, Press())
        assert folder(tmp_path) == steps(0, 3)
        assert told == []
    keep = Checkpoints(tmp_path)
    model, _ = run(keep, resume=keep.last())
    whole, _ = run(Checkpoints(tmp_path / "whole"))
    assert_same(model, whole)


def test_what_a_kill_has_left_half_written_is_removed(tmp_path):
    (tmp_path / ".step-0000000003.safetensors.12345678.part").write_bytes(b"half")
    run(Checkpoints(tmp_path))
    assert folder(tmp_path) == steps(0, 12)
