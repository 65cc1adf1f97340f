"""The watchers speak when there is a reason, once and with a number, and are silent when all is well."""

import json
import warnings

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.train import SGD, Adam, Batch, Batches, Callback, Momentum, Stream, TrainingWarning, fit, watchers
from lstmcore.train.callbacks.watchers import ExplodingNorm, MeanCollapse, NothingLearnt


def watch(model, loss, batches, opt, **options) -> list[str]:
    """Trains under all watchers; what they said."""
    said: list[str] = []
    fit(model, loss, batches, opt, callbacks=[*options.pop("callbacks", []), *watchers(said.append)],
        progress=False, **options)  # fmt: skip
    return said


def letters(inputs: str) -> Stream:
    """abcdefghijkl for ever, as codes, and the next codes: 30 batches of 40 letters an epoch."""
    codes = (97 + np.arange(1201) % 12).astype("float32")[:, None]
    if inputs == "scaled":
        codes = ((codes - 102.5) / 3.45).astype("float32")
    return Stream(codes[:-1], codes[1:], batch_size=1, steps=40)


def regression(seed: int = 0) -> lc.Stack:
    return lc.Stack([lc.LSTM(1, 12, seed=seed), lc.Linear(12, 1, seed=seed)])


def test_raw_codes_collapse_to_the_mean_and_it_is_said():
    said = watch(regression(), lc.squared_error, letters("raw"), Momentum(1e-3, 0.9), epochs=12, carry_state=True)
    assert len(said) == 2
    assert said[0].startswith("the outputs do not vary: the network predicts the mean of the targets (epoch ")
    assert ", of the targets 3" in said[0]  # the codes of 12 letters: sqrt(143 / 12) = 3.45; of 40 letters, near it
    assert "the inputs saturate most gates (" in said[0]
    assert "the inputs reach 108)" in said[0]
    assert said[1].startswith("nothing is learnt: the loss is 1")
    assert "giving the same answer to everything has 11.92" in said[1]


def test_small_inputs_are_not_to_blame_for_large_targets():
    """One-hot letters in, raw codes to be told: it is the updates that saturate the gates."""
    raw = letters("raw")
    batches = [(np.eye(12, dtype="float32")[x[..., 0].astype(int) - 97], targets) for x, targets, _ in raw]
    model = lc.Stack([lc.LSTM(12, 12, seed=0), lc.Linear(12, 1, seed=0)])
    said = watch(model, lc.squared_error, batches, Momentum(1e-3, 0.9), epochs=12, carry_state=True)
    assert "large updates have saturated most gates (" in said[0]
    assert "scale the targets to about 1, or lower the learning rate (0.001)" in said[0]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scaled_codes_are_learnt_in_silence(seed):
    model = regression(seed)
    said = watch(model, lc.squared_error, letters("scaled"), Adam(0.03), epochs=12, clip=1.0, carry_state=True)
    assert said == []


@pytest.mark.parametrize("cell", [lc.LSTM, lc.GRU, lc.RNN])
def test_classes_are_learnt_in_silence(cell):
    """Which bit was the first one of five, under a mask: a healthy run with a cross-entropy."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (5, 64, 1)).astype("float32")
    mask = np.ones((5, 64), bool)
    mask[3:, ::2] = False
    targets = np.where(mask, x[0, :, 0].astype(int), -1)
    model = lc.Stack([cell(1, 8, seed=0), lc.Linear(8, 2, seed=0)])
    batches = Batches(x, targets, mask, batch_size=8, seed=0)
    assert watch(model, lc.softmax_cross_entropy, batches, Adam(0.01), epochs=50) == []


def test_classes_that_the_inputs_do_not_tell():
    """Targets drawn without regard to the inputs: the best that can be learnt are their frequencies."""
    rng = np.random.default_rng(0)
    x, targets = np.zeros((5, 400, 1), "float32"), rng.choice(3, 400, p=[0.5, 0.3, 0.2])
    model = lc.Stack([lc.LSTM(1, 4, seed=0, return_sequences=False), lc.Linear(4, 3, seed=0)])
    batches = Batches(x, targets, batch_size=40, seed=0)
    said = watch(model, lc.softmax_cross_entropy, batches, Adam(0.01), epochs=60)
    frequencies = np.bincount(targets) / 400
    entropy = -(frequencies * np.log(frequencies)).sum()
    assert len(said) == 2
    assert "the network predicts the mean of the targets" in said[0]
    assert "do the inputs tell anything of the targets?" in said[0]
    assert f"giving the same answer to everything has {entropy:.4g}" in said[1]


def test_too_few_updates_for_a_verdict():
    """Learning rate zero: after 299 updates nobody speaks, after 300 it is said."""
    x, targets = np.ones((3, 10, 1), "float32"), np.arange(30, dtype="float32").reshape(3, 10, 1)
    for epochs, kinds in ((299, 0), (300, 2)):
        assert len(watch(regression(), lc.squared_error, [(x, targets)], SGD(0.0), epochs=epochs)) == kinds


def test_targets_of_another_shape_are_left_to_the_loss():
    def loss(y, targets, mask):
        return lc.squared_error(y, targets[..., None])

    x = np.ones((3, 10, 1), "float32")
    assert watch(regression(), loss, [(x, x[..., 0])], SGD(0.0), epochs=301) == []


def test_padding_is_left_out_of_outputs_of_four_axes():
    """(T, B, 2, H) is told what the same numbers are as (T, B, 2H), whatever the targets hold in the padding."""
    rng = np.random.default_rng(0)
    x, targets = (rng.standard_normal((3, 10, n)).astype("float32") for n in (1, 4))
    mask = np.arange(3)[:, None] < np.array([3, 1] * 5)
    targets[~mask] = 1000

    def loss(y, targets, mask):
        apart = np.where(mask.reshape(3, 10, *(1,) * (y.ndim - 2)), y - targets, 0)
        return float((apart**2).mean()), apart

    def said(merge, *last):
        model = lc.Bidirectional(lc.LSTM(1, 2, seed=0), lc.LSTM(1, 2, seed=1), merge=merge)
        return watch(model, loss, [(x, targets.reshape(3, 10, *last), mask)], SGD(0.0), epochs=301)

    assert said("none", 2, 2) == said("concat", 4) == []


class Times(Callback):
    """Multiplies the gradients by `factor` in one step."""

    def __init__(self, step: int, factor: float):
        self.step, self.factor = step, factor

    def on_gradients(self, run):
        if run.step == self.step:
            for g in run.grads.values():
                g *= self.factor


@pytest.mark.parametrize(("factor", "step", "kinds"), [(50, 30, 0), (300, 30, 1), (300, 10, 0)])
def test_a_norm_that_explodes(factor, step, kinds):
    """Constant gradients, as nothing moves: 50 times is not 100 times, and in the first 20 steps all is measure."""
    x = np.ones((3, 10, 1), "float32")
    said: list[str] = []
    watcher = ExplodingNorm(said.append)
    hooks = [Times(step, factor), watcher]
    fit(regression(), lc.squared_error, [Batch(x, 2 * x)], SGD(0.0), epochs=40, callbacks=hooks, progress=False)
    assert len(said) == kinds
    if kinds:
        assert f"in step {step + 1}, and was at most" in said[0]
        assert "clip it (clip=1.0), or lower the learning rate" in said[0]


def test_a_diverging_run_is_seen_before_it_ends():
    """A rate too large for a line: each step multiplies the error by -1.8, until it is infinite."""
    x = np.linspace(-10, 10, 30, dtype="float32").reshape(3, 10, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        said = watch(lc.Linear(1, 1, seed=0), lc.squared_error, [(x, x)], SGD(0.04), epochs=400)
    assert said[0].startswith("the gradient explodes: its norm is ")
    assert said[-1].startswith("the loss is inf in step ")
    assert "lower the learning rate" in said[-1]


@pytest.mark.parametrize(
    ("where", "cause"),
    [
        ("x", "the inputs of this batch hold NaN or infinity"),
        ("targets", "the targets of this batch hold NaN or infinity: a mark for what does not count?"),
        ("W", "the parameters 0.W_hh are not finite: the update before was too large (learning rate 0.1)"),
    ],
)
def test_what_was_not_finite_first(where, cause):
    x, targets, model = np.ones((3, 10, 1), "float32"), np.ones((3, 10, 1), "float32"), regression()
    broken = {"x": x, "targets": targets, "W": model.params["0.W_hh"]}[where]
    broken[1, 2] = np.nan
    said = watch(model, lc.squared_error, [(x, targets)], SGD(0.1), epochs=3)
    assert len(said) == 1
    assert said[0].startswith("the loss is nan in step 1, epoch 1: no update was made; ")
    assert cause in said[0]


def test_padding_full_of_nan_is_no_reason():
    x, mask = np.ones((3, 10, 1), "float32"), np.ones((3, 10), bool)
    mask[2, ::2] = False
    targets = 2 * x
    x[~mask], targets[~mask] = np.nan, np.nan
    with np.errstate(over="raise"):
        said = watch(regression(), lc.squared_error, [Batch(x, targets, mask)], SGD(0.1), epochs=30)
    assert said == []


def test_a_warning_comes_once_and_as_pythons_own():
    x, targets = np.ones((3, 10, 1), "float32"), np.arange(30, dtype="float32").reshape(3, 10, 1)
    for kind in (MeanCollapse, NothingLearnt):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            watcher = kind()
            fit(regression(), lc.squared_error, [(x, targets)], SGD(0.0), epochs=400, callbacks=[watcher],
                progress=False)  # fmt: skip
        assert [(w.category, str(w.message)) for w in caught] == [(TrainingWarning, watcher.said)]


@pytest.mark.parametrize(("T", "asked"), [(1, True), (3, False)])
def test_batches_of_one_step_are_asked_about(T, asked):
    x, targets = np.ones((T, 10, 1), "float32"), np.arange(10 * T, dtype="float32").reshape(T, 10, 1)
    said = watch(regression(), lc.squared_error, [(x, targets)], SGD(0.0), epochs=400)
    question = "; the batches have but one step: are batch and time swapped? x is (T, B, I)"
    assert [line.endswith(question) for line in said if line.startswith("nothing is learnt")] == [asked]


def test_what_a_watcher_remembers_outlives_a_pause():
    """Broken off in the midst of an epoch, each in its own words; and what is none of its memories is refused."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 40, 1)).astype("float32")
    kinds = watchers(print)
    fit(
        lc.Linear(1, 1, seed=0), lc.squared_error, Batches(x, 3 * x, batch_size=2, seed=0, per_step=True), SGD(0.1),
        epochs=1, callbacks=kinds, progress=False,
    )  # fmt: skip
    kinds[0].said = "a word"
    for one, two in zip(kinds, watchers(print)):
        two.state = one.state
        assert json.dumps(two.state, default=np.ndarray.tolist) == json.dumps(one.state, default=np.ndarray.tolist)
    assert kinds[2].state["first"][0] > 0
    assert kinds[3].state["items"] == 80
    np.testing.assert_allclose(kinds[3].state["sums"][:, 0], [(3 * x).sum(), (9 * x**2).sum()], rtol=1e-5)
    before = kinds[2].state
    with pytest.raises(TypeError, match="ExplodingNorm remembers large; 'x' is none"):
        kinds[2].state = {"said": None, "first": [], "large": "x"}
    assert kinds[2].state == before
