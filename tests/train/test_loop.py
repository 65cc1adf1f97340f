"""The training loop: it does what a loop written by hand does, learns, tells, stops and goes on."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from children import started

import lstmcore as lc
from lstmcore.train import (
    SGD,
    Adam,
    Batch,
    Batches,
    Callback,
    Cosine,
    EarlyStopping,
    Plateau,
    clip_by_global_norm,
    evaluate,
    fit,
)


def strings(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """All strings of so many bits, x (T, N, 1), and how many ones each has, (N,)."""
    x = np.array(list(itertools.product((0, 1), repeat=bits)), "float32").T[..., None]
    return x, x.sum(axis=(0, 2)).astype(int)


def build(dtype: str = "float32", dropout: float = 0.3) -> lc.Stack:
    return lc.Stack([lc.LSTM(1, 6, dtype=dtype, seed=0), lc.Dropout(dropout), lc.Linear(6, 4, dtype=dtype, seed=1)])


def data(seed: int = 0) -> Batches:
    """Per-step targets under random masks; 10 rows, so the last batch of each epoch is smaller."""
    rng = np.random.default_rng(3)
    mask = rng.random((5, 10)) < 0.7
    mask[0, :] = True
    return Batches(
        rng.standard_normal((5, 10, 1)).astype("float32"), rng.integers(0, 4, (5, 10)), mask, batch_size=4, seed=seed
    )


class Hook(Callback):
    """Calls a function after each update."""

    def __init__(self, function):
        self.on_batch = function


def assert_same_parameters(one, two):
    for name, w in one.params.items():
        np.testing.assert_array_equal(w, two.params[name], err_msg=name)


# ---- it trains -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [lc.LSTM, lc.GRU, lc.RNN])
def test_learns_to_count_ones(cell, engine):
    """All 64 strings of 6 bits, until every one is counted right. Tried with three seeds: the loss is below 0.02."""
    x, targets = (engine.array(value) for value in strings(6))
    model = engine.place(lc.Stack([cell(1, 12, seed=0, return_sequences=False), lc.Linear(12, 7, seed=1)]))
    batches = Batches(x, targets, batch_size=16, seed=2)
    schedule = Cosine(0.03, steps=800)
    history = fit(
        model, lc.softmax_cross_entropy, batches, Adam(), epochs=200, schedule=schedule, clip=1.0, progress=False
    )
    logits, _ = model.predict(x)
    assert (engine.host(logits).argmax(axis=-1) == strings(6)[1]).all()
    assert history["ended"] == "all 200 epochs done"
    assert history["step"] == 800
    assert history["epochs"][-1]["loss"] < 0.05 < 1.5 < history["epochs"][0]["loss"]


def test_does_what_a_loop_written_by_hand_does():
    """Bit for bit: schedule, dropout, mask, clipping, decay, unequal batches, three epochs."""
    model, twin = build(), build()
    schedule = Cosine(0.05, steps=9)
    opt, rng = Adam(lr=1.0, weight_decay=0.01), np.random.default_rng(5)
    history = fit(
        model, lc.softmax_cross_entropy, data(), Adam(lr=1.0, weight_decay=0.01), epochs=3, schedule=schedule,
        clip=0.5, rng=np.random.default_rng(5), progress=False,
    )  # fmt: skip
    batches, step = data(), 0
    for epoch in range(3):
        losses, weights = [], []
        for x, targets, mask in batches:
            opt.lr = schedule(step)
            y, _, cache = twin.forward(x, mask=mask, rng=rng)
            loss, dy = lc.softmax_cross_entropy(y, targets, mask=mask)
            _, _, grads = twin.backward(dy, cache)
            clip_by_global_norm(grads, 0.5)
            opt.step(twin.params, grads)
            step += 1
            losses.append(float(loss))
            weights.append(int(mask.sum()))
        row = history["epochs"][epoch]
        assert (row["epoch"], row["step"], row["lr"]) == (epoch + 1, step, schedule(step - 1))
        # three products and their sum, divided: 6 roundings, in whatever order
        assert row["loss"] == pytest.approx(np.average(losses, weights=weights), rel=6 * 2.0**-52, abs=0)
    assert_same_parameters(model, twin)


def test_the_loss_gets_the_mask_while_there_is_time():
    seen = []

    def loss(y, targets, mask):
        seen.append((y.ndim, mask))
        return lc.squared_error(y, targets, mask=mask)

    x, mask = np.ones((3, 2, 1), "float32"), np.array([[True, True], [True, False], [True, False]])
    x[~mask] = math.nan  # the model must have the mask in either case
    for return_sequences, targets in ((True, np.ones((3, 2, 4), "float32")), (False, np.ones((2, 4), "float32"))):
        model = lc.LSTM(1, 4, seed=0, return_sequences=return_sequences)
        batch = Batch(x, targets, mask)
        history = fit(model, loss, [batch], SGD(0.1), epochs=1, validation=[batch], progress=False)
        assert math.isfinite(history["epochs"][0]["validation"])
    assert [ndim for ndim, _ in seen] == [3, 3, 2, 2]
    assert seen[0][1] is seen[1][1] is mask
    assert seen[2][1] is seen[3][1] is None


def test_dropout_draws_when_training_and_not_when_validating():
    """Also without an rng: leaving it out must not switch dropout off."""
    batches = list(data())
    models = [build(dropout=0.5), build(dropout=0.5), build(dropout=0.0)]
    for model, rng in zip(models, (None, 1, None), strict=True):
        rows = fit(
            model, lc.softmax_cross_entropy, batches, SGD(0.1), epochs=1, validation=batches, rng=rng, progress=False
        )["epochs"]
        assert rows[0]["validation"] == evaluate(model, lc.softmax_cross_entropy, batches)
        assert rows[0]["validation"] == evaluate(model, lc.softmax_cross_entropy, batches)
    for one, two in itertools.combinations(models, 2):
        assert not np.array_equal(one.params["0.W_hh"], two.params["0.W_hh"])


def test_evaluate_weighs_batches_by_valid_items():
    """The mean over two unequal batches is the mean over their union."""
    model = lc.Linear(1, 2, dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    x, targets, mask = rng.standard_normal((3, 5, 1)), rng.standard_normal((3, 5, 2)), rng.random((3, 5)) < 0.6
    parts = [Batch(x[:, k], targets[:, k], mask[:, k]) for k in (slice(0, 1), slice(1, 5))]
    whole = float(lc.squared_error(model.predict(x, mask=mask)[0], targets, mask=mask)[0])
    # sums of 18 squares in another order, two products, a sum and a division
    assert evaluate(model, lc.squared_error, parts) == pytest.approx(whole, rel=2 * (18 + 4) * 2.0**-53, abs=0)


def test_tuples_will_do_as_batches():
    x, targets = np.ones((3, 2, 1), "float32"), np.ones((3, 2, 2), "float32")
    history = fit(lc.Linear(1, 2), lc.squared_error, [(x, targets)], SGD(0.1), epochs=2, progress=False)
    assert history["step"] == 2


def test_plateau_hears_the_validation_loss_and_else_the_training_loss():
    batches = list(data())
    for validation in (None, batches):
        schedule, heard = Plateau(0.1), []
        schedule.observe = heard.append
        rows = fit(
            build(), lc.softmax_cross_entropy, batches, SGD(0.1), epochs=2, validation=validation, schedule=schedule,
            progress=False,
        )["epochs"]  # fmt: skip
        assert heard == [row["loss" if validation is None else "validation"] for row in rows]


# ---- it tells --------------------------------------------------------------------------------------------------------


def test_history_is_plain_data():
    history = fit(
        build(), lc.softmax_cross_entropy, data(), SGD(0.1), epochs=2, validation=data(), clip=1.0, progress=False
    )
    assert json.loads(json.dumps(history)) == history
    assert [sorted(row) for row in history["epochs"]] == [["epoch", "loss", "lr", "seconds", "step", "validation"]] * 2
    assert all(0 < row["seconds"] < 60 for row in history["epochs"])


def test_hooks_in_their_order():
    calls = []

    class Witness:
        def on_start(self, run):
            calls.append(("start", run.epoch, run.step))

        def on_gradients(self, run):
            calls.append(("gradients", run.epoch, run.step))
            assert sorted(run.grads) == sorted(run.model.params)
            assert run.norm > 0
            assert run.batch.x.shape[0] == 5

        def on_batch(self, run):
            calls.append(("batch", run.epoch, run.step))
            assert math.isfinite(run.loss)

        def on_epoch(self, run):
            calls.append(("epoch", run.epoch, run.step))
            assert run.history[-1]["epoch"] == run.epoch

        def on_end(self, run):
            calls.append(("end", run.epoch, run.step))
            assert run.ended == "all 2 epochs done"

    fit(build(), lc.softmax_cross_entropy, data(), SGD(0.1), epochs=2, clip=1.0, callbacks=[Witness()], progress=False)
    epochs = [
        [(hook, epoch, 3 * epoch + k + after) for k in range(3) for hook, after in (("gradients", 0), ("batch", 1))]
        + [("epoch", epoch + 1, 3 * epoch + 3)]
        for epoch in range(2)
    ]
    assert calls == [("start", 0, 0), *epochs[0], *epochs[1], ("end", 2, 6)]


def test_a_slip_of_the_pen_in_a_hook_is_noticed():
    class Misspelt:
        def on_epoch_end(self, run):
            raise AssertionError("never called")

    with pytest.raises(TypeError, match=r"should have some of the methods on_start, .* has on_epoch_end"):
        fit(build(), lc.softmax_cross_entropy, data(), SGD(0.1), epochs=1, callbacks=[Misspelt()])
    with pytest.raises(TypeError, match="has none of them"):
        fit(build(), lc.softmax_cross_entropy, data(), SGD(0.1), epochs=1, callbacks=[print])


def test_on_end_comes_after_an_error_too():
    ends = []

    class End:
        def on_end(self, run):
            ends.append(run.ended)

    def loss(y, targets, mask):
        raise RuntimeError("the loss is broken")

    with pytest.raises(RuntimeError, match="the loss is broken"):
        fit(build(), loss, data(), SGD(0.1), epochs=1, callbacks=[End()], progress=False)
    assert ends == ["broken off by an error"]


SMALL_RUN = """
import sys
import numpy as np
import lstmcore as lc
from lstmcore.train import SGD, fit
batch = (np.ones((3, 2, 1), "float32"), np.ones((3, 2, 2), "float32"))
history = fit(lc.Linear(1, 2), lc.squared_error, [batch] * 5, SGD(0.1), epochs=4, validation=[batch])
print(history["ended"], sorted({"rich", "typer", "safetensors"} & set(sys.modules)))
"""


def test_silent_in_a_pipe_and_loads_nothing_for_it():
    for _ in range(2):  # the first may have to say that it compiles, once on this machine
        result = subprocess.run([sys.executable, "-c", SMALL_RUN], capture_output=True, text=True, check=True)
    assert result.stdout == "all 4 epochs done []\n"
    assert result.stderr == ""


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
def test_shows_progress_on_a_terminal():
    """stderr is a terminal, stdout a pipe that stays clean."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", SMALL_RUN]
    with started(*command, stdout=subprocess.PIPE, stderr=theirs, env=os.environ | {"TERM": "xterm"}) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux says so when the other end is closed
                break
            if not piece:
                break
            shown += piece
        printed = process.stdout.read()
    os.close(ours)
    assert process.returncode == 0
    assert printed.startswith(b"all 4 epochs done")
    assert b"all 4 epochs done: 20 updates, loss " in shown
    assert b", validation " in shown
    assert b"epoch 4/4" in shown


# ---- it stops --------------------------------------------------------------------------------------------------------


def test_early_stopping_restores_the_best():
    """Losses told by hand: epoch 2 is the best; after 3 more without improvement the run ends with its parameters."""
    losses = iter([3.0, 2.0, 2.5, 2.0, 4.0, 1.0])
    kept = []

    class Tell:
        def on_epoch(self, run):
            run.history[-1]["validation"] = next(losses)
            kept.append({name: w.copy() for name, w in run.model.params.items()})

    for restore in (True, False):
        losses, model = iter([3.0, 2.0, 2.5, 2.0, 4.0, 1.0]), build()
        kept.clear()
        callbacks = [Tell(), EarlyStopping(patience=3, restore=restore)]
        history = fit(model, lc.softmax_cross_entropy, data(), SGD(0.1), epochs=9, callbacks=callbacks, progress=False)
        assert history["ended"] == "stopped early: no improvement on epoch 2 in 3 epochs"
        assert len(history["epochs"]) == 5
        for name, w in model.params.items():
            np.testing.assert_array_equal(w, kept[1 if restore else 4][name])
        assert not np.array_equal(kept[1]["2.W"], kept[4]["2.W"])


def test_early_stopping_looks_at_the_training_loss_if_there_is_no_other():
    model = lc.Linear(1, 2, seed=0)
    batch = Batch(np.ones((3, 2, 1), "float32"), np.ones((3, 2, 2), "float32"))
    history = fit(
        model, lc.squared_error, [batch], SGD(0.0), epochs=9, callbacks=[EarlyStopping(patience=2)], progress=False
    )
    assert history["ended"] == "stopped early: no improvement on epoch 1 in 2 epochs"
    with pytest.raises(ValueError, match="`patience` should be a positive number of epochs; got 0"):
        EarlyStopping(patience=0)


def test_a_callback_ends_the_run():
    def end(run):
        if run.step == 4:
            run.ended = "enough"

    history = fit(build(), lc.softmax_cross_entropy, data(), SGD(0.1), epochs=9, callbacks=[Hook(end)], progress=False)
    assert (history["ended"], history["step"], len(history["epochs"])) == ("enough", 4, 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_run_before_the_update(bad):
    model, kept = build(), []

    def loss(y, targets, mask):
        value, dy = lc.softmax_cross_entropy(y, targets, mask=mask)
        return (value if len(kept) < 4 else value + bad), dy

    keep = Hook(lambda run: kept.append({name: w.copy() for name, w in run.model.params.items()}))
    history = fit(model, loss, data(), SGD(0.1), epochs=9, callbacks=[keep], progress=False)
    assert history["ended"] == f"the loss is {bad} in step 5, epoch 2: no update was made"
    assert history["step"] == 4
    for name, w in model.params.items():
        np.testing.assert_array_equal(w, kept[-1][name])


def test_a_norm_that_is_not_finite_ends_the_run_before_the_update():
    model, twin = build(), build()

    def loss(y, targets, mask):
        value, dy = lc.softmax_cross_entropy(y, targets, mask=mask)
        return value, dy * np.float32(math.inf)

    with np.errstate(invalid="ignore"):  # inf times 0, at masked steps
        history = fit(model, loss, data(), SGD(0.1), epochs=9, clip=1.0, progress=False)
    assert history["ended"] == "the gradient's norm is nan in step 1, epoch 1: no update"
    assert_same_parameters(model, twin)


@pytest.mark.parametrize("batches", [[], (batch for batch in [])])
def test_no_batches(batches):
    with pytest.raises(ValueError, match=r"no batches in epoch 1 \(a generator runs only once"):
        fit(build(), lc.softmax_cross_entropy, batches, SGD(0.1), epochs=1, progress=False)
    with pytest.raises(ValueError, match="no batches to evaluate"):
        evaluate(build(), lc.softmax_cross_entropy, batches)


def test_a_generator_that_is_used_up():
    with pytest.raises(ValueError, match="no batches in epoch 2"):
        fit(build(), lc.softmax_cross_entropy, (b for b in data()), SGD(0.1), epochs=2, progress=False)


# ---- Ctrl-C, and going on --------------------------------------------------------------------------------------------


def press_ctrl_c_in_step(step: int, times: int = 1) -> Callback:
    class Press(Callback):
        def on_gradients(self, run):
            if run.step == step:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)

    return Press()


def test_ctrl_c_ends_after_the_batch_under_way(ctrl_c):
    model, twin = build(), build()
    before = signal.getsignal(signal.SIGINT)
    press = press_ctrl_c_in_step(4)
    history = fit(model, lc.softmax_cross_entropy, data(), SGD(0.1), epochs=9, callbacks=[press], rng=0, progress=False)
    assert (history["ended"], history["step"], len(history["epochs"])) == ("interrupted", 5, 1)
    assert signal.getsignal(signal.SIGINT) is before
    stop = Hook(lambda run: setattr(run, "ended", "5 steps" if run.step == 5 else None))
    fit(twin, lc.softmax_cross_entropy, data(), SGD(0.1), epochs=9, callbacks=[stop], rng=0, progress=False)
    assert_same_parameters(model, twin)


def test_a_second_ctrl_c_does_not_wait(ctrl_c):
    before, ends = signal.getsignal(signal.SIGINT), []

    class End:
        def on_end(self, run):
            ends.append(run.ended)

    with pytest.raises(KeyboardInterrupt):
        fit(
            build(), lc.softmax_cross_entropy, data(), SGD(0.1), epochs=9,
            callbacks=[press_ctrl_c_in_step(4, times=2), End()], progress=False,
        )  # fmt: skip
    assert ends == ["interrupted"]
    assert signal.getsignal(signal.SIGINT) is before


def test_somebody_elses_handler_is_left_alone(ctrl_c):
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        history = fit(
            build(), lc.softmax_cross_entropy, data(), SGD(0.1), epochs=2, callbacks=[press_ctrl_c_in_step(1)],
            progress=False,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed == [True]
    assert history["ended"] == "all 2 epochs done"


@pytest.mark.parametrize("stop", [1, 3, 4, 6, 7])
def test_resumes_bit_for_bit(stop):
    """Broken off after 1 to 7 of 9 updates: within an epoch (of 3), and after the last batch of one."""

    def parts(seed):
        return {
            "model": build(),
            "opt": Adam(0.05, weight_decay=0.01),
            "batches": data(seed),
            "rng": np.random.default_rng(seed),
            "schedule": Plateau(0.05, patience=1, threshold=0.5),
        }

    def train(model, opt, batches, rng, schedule, **options):
        return fit(
            model, lc.softmax_cross_entropy, batches, opt, epochs=3, schedule=schedule, clip=0.5, rng=rng,
            validation=list(data(7)), progress=False, **options,
        )  # fmt: skip

    undisturbed, broken, resumed = parts(1), parts(1), parts(2)
    whole = train(**undisturbed)

    saved = {}

    class Save(Callback):
        def on_batch(self, run):
            if run.step == stop:
                saved.update(run.state)
            if run.step == stop + 1:  # the state does not move on with the run
                raise RuntimeError("the power fails")

    with pytest.raises(RuntimeError, match="the power fails"):
        train(**broken, callbacks=[Save()])

    rest = train(**resumed, resume=saved)

    assert_same_parameters(resumed["model"], undisturbed["model"])
    for history in (whole, rest):
        history.pop("seconds")
        for row in history["epochs"]:
            row.pop("seconds")
    assert rest == whole
    assert whole["epochs"][-1]["lr"] < 0.05  # the plateau's memory mattered


# ---- several batches for one update ------------------------------------------------------------------------------


def uneven(n: int) -> list[Batch]:
    """n batches of very unequal lengths, targets per step."""
    rng = np.random.default_rng(n)
    batches = []
    for k in range(n):
        x = rng.standard_normal((9, 3, 1))
        mask = lc.mask_from_lengths(np.array([1 + 8 * (k % 2), 1, 1 + k % 5]), 9)
        batches.append(Batch(x, np.where(mask, rng.integers(0, 4, (9, 3)), -1), mask))
    return batches


def joined(batches: list[Batch]) -> Batch:
    return Batch(*(np.concatenate([batch[k] for batch in batches], axis=1) for k in range(3)))


@pytest.mark.parametrize("accumulate", [2, 3, 5])
def test_accumulated_gradients_are_those_of_one_batch(accumulate):
    """To rounding: at most 15 rows of 9 steps are added in another order, twice; 1e-12 is some 4,000 eps, where the
    mean of means differs by more than a thousandth."""
    batches = uneven(7)
    groups = [batches[k : k + accumulate] for k in range(0, 7, accumulate)]
    seen = {}
    for name, data, options in (
        ("parts", batches, {"accumulate": accumulate}),
        ("whole", [joined(group) for group in groups], {}),
        ("means", batches, {}),
    ):
        model, grads = build("float64", dropout=0.0), []
        hook = Callback()
        hook.on_gradients = lambda run, grads=grads: grads.append({key: g.copy() for key, g in run.grads.items()})
        history = fit(model, lc.softmax_cross_entropy, data, SGD(0.1), epochs=2, clip=10, callbacks=[hook], **options)
        seen[name] = model, grads, history
    (one, parts, told), (two, whole, want) = seen["parts"], seen["whole"]
    assert len(parts) == len(whole) == 2 * len(groups)
    for got, wanted in zip(parts, whole):
        for name, g in wanted.items():
            assert np.max(np.abs(got[name] - g)) <= 1e-12
    for name, w in two.params.items():
        assert np.max(np.abs(one.params[name] - w)) <= 1e-12
    for row, wanted in zip(told["epochs"], want["epochs"]):
        assert abs(row["loss"] - wanted["loss"]) <= 1e-12
        assert row["step"] == wanted["step"]
    first = seen["means"][1][:accumulate]
    of_means = {name: sum(g[name] for g in first) / accumulate for name in whole[0]}
    assert max(np.max(np.abs(of_means[name] - whole[0][name])) for name in of_means) > 1e-3


@pytest.mark.parametrize("listed", [False, True])
def test_accumulation_resumes_bit_for_bit(listed):
    def started(callback=None, **options):
        model = build()
        batches = uneven(5) if listed else data()
        batches = [Batch(b.x.astype("float32"), b.targets, b.mask) for b in batches] if listed else batches
        fit(model, lc.softmax_cross_entropy, batches, Adam(0.1), epochs=3, rng=1, accumulate=2,
            callbacks=[callback] if callback else [], **options)  # fmt: skip
        return model

    states = []
    whole = started(Hook(lambda run: states.append(run.state)))
    for state in states[:5]:
        assert_same_parameters(started(resume=state), whole)


@pytest.mark.parametrize("accumulate", [0, -1, 1.5, True, "2"])
def test_bad_accumulate(accumulate):
    with pytest.raises(ValueError, match="`accumulate` should be a positive int, batches for one update; got"):
        fit(build(), lc.softmax_cross_entropy, data(), SGD(0.1), epochs=1, accumulate=accumulate)
