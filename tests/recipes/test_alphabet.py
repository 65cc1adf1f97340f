"""The alphabet: it collapses as asked, the watchers say so, and the cure gives the exact string."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lstmcore.recipes import alphabet
from lstmcore.recipes.alphabet import CODES, REMEDIES, VARIANCE, Options


def quiet(message: str) -> None:
    pass


def test_the_string_and_its_variance():
    assert alphabet.alphabet(14) == "abcdefghijklab"
    assert alphabet.alphabet(3, first=13) == "bcd"
    assert VARIANCE == (12**2 - 1) / 12


@pytest.mark.parametrize("scaling", [False, True])
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_what_a_perfect_network_would_tell_is_understood(scaling, one_hot, loss):
    options = Options(scaling=scaling, one_hot=one_hot, loss=loss)
    letters = np.arange(12)
    assert alphabet.encode(letters, options).shape == (12, 12 if one_hot else 1)
    # The numbers that go in are the numbers that should come out; for classes, so are the one-hot vectors.
    y = alphabet.encode(letters, replace(options, one_hot=loss == "cross-entropy"))
    # float32 holds (code - mean) / deviation to 2^-24 of at most 1.6, which is multiplied by 3.45 again
    np.testing.assert_allclose(alphabet.told(y, options), CODES, rtol=0, atol=1.6 * 3.5 * 2.0**-23)


def test_collapses_to_the_mean_and_says_so():
    """400 updates as the question has them: 11.9167 to 1 %."""
    heard = []
    result = alphabet.run(Options(epochs=4), progress=False, tell=heard.append)
    (trial,) = result.trials
    assert trial.loss == pytest.approx(VARIANCE, rel=0.01)
    assert not trial.exact
    assert trial.right == pytest.approx(1 / 12)  # one letter told for all twelve
    assert heard[0].startswith(
        "as asked: the outputs do not vary: the network predicts the mean of the targets (epoch "
    )
    assert "the inputs saturate most gates" in heard[0]
    assert heard[-1] == f"as asked: loss {trial.loss:.4g}, 8 % of the letters right"


def test_the_cure_gives_the_exact_string():
    """Scaling and a learning rate, in 800 updates."""
    options = Options(epochs=8, **REMEDIES["scaling"], **REMEDIES["learning rate"])
    (trial,) = alphabet.run(options, progress=False, tell=quiet).trials
    assert trial.loss < 0.01
    assert trial.exact
    assert trial.string == alphabet.alphabet(40, first=13)
    assert trial.right == 1
    assert trial.said == ()


def test_frozen_recurrent_weights_stay_as_they_were():
    options = Options(epochs=1, freeze=True, hidden=4, scaling=True)  # unscaled, W_hh gets no gradient at all
    first, second = alphabet.run(options, progress=False, tell=quiet).trials
    start = alphabet.model(options, np.random.default_rng(options.seed)).params
    assert (first.name, second.name) == ("as asked", "read-out alone")
    for name in start:
        assert np.array_equal(second.model.params[name], start[name]) == name.startswith("0."), name
        assert not np.array_equal(first.model.params[name], start[name]), name


def test_as_posted_there_is_no_time():
    """Rows of one step from a state of zeros: nothing ever reaches W_hh, whatever is learnt beside it."""
    options = Options(epochs=1, hidden=4, one_step=True, one_hot=True)
    training, _ = alphabet.job(options)
    batch = next(iter(training.batches))
    assert batch.x.shape == (1, 40, 12)
    assert batch.x[0].argmax(-1).tolist() == [k % 12 for k in range(40)]
    assert batch.targets[0, :, 0].tolist() == [97 + k % 12 for k in range(1, 41)]
    (trial,) = alphabet.run(options, progress=False, tell=quiet).trials
    start = alphabet.model(options, np.random.default_rng(0)).params
    assert trial.name == "as posted"
    assert [name for name in start if np.array_equal(trial.model.params[name], start[name])] == ["0.W_hh"]


def test_remedies_of_what_was_posted():
    named = dict(alphabet.trials(Options(one_step=True), cure=True))
    assert list(named)[:2] == ["as posted", "one sequence alone"]
    assert list(named)[-6:-3] == ["scaling alone", "+ one sequence", "+ learning rate"]
    assert named["one sequence alone"] == Options()
    assert named["+ one sequence"] == Options(scaling=True)


def test_remedies_alone_and_together():
    named = dict(alphabet.trials(Options(freeze=True), cure=True))
    assert list(named) == [
        "as asked", "read-out alone",
        "learning rate alone", "one-hot alone", "loss alone", "forget bias alone",
        "scaling alone", "+ learning rate", "+ one-hot", "+ loss", "+ forget bias", "+ read-out alone",
    ]  # fmt: skip
    plain = named["as asked"]
    assert named["one-hot alone"] == replace(plain, one_hot=True)
    everything = {key: value for remedy in REMEDIES.values() for key, value in remedy.items()}
    assert named["+ one-hot"] == replace(plain, scaling=True, lr=REMEDIES["learning rate"]["lr"], one_hot=True)
    assert named["+ read-out alone"] == replace(plain, freeze=True, **everything)


def test_noise_in_units_of_the_weights():
    options = Options(epochs=1, noise=0.01, hidden=4)
    noisy, plain = (alphabet.run(o, progress=False, tell=quiet).trials[0] for o in (options, replace(options, noise=0)))
    assert noisy.history["epochs"][0]["loss"] != plain.history["epochs"][0]["loss"]

    class Run:
        model = alphabet.model(options, np.random.default_rng(0))
        grads = {name: np.zeros_like(w) for name, w in model.params.items()}  # noqa: RUF012

    alphabet.WeightNoise(0.5, np.random.default_rng(0)).on_gradients(Run)
    limit = 0.5 * np.abs(Run.model.params["0.W_ih"]).mean()
    noise = np.abs(Run.grads["0.W_ih"])
    assert 0.8 * limit < noise.max() <= limit  # 16 draws: all below 0.8 of the limit once in 0.8^-16 = 35 seeds
    assert not Run.grads["1.b"].any()  # a weight of zero gets no noise


def test_metrics_are_plain_data(tmp_path):
    options = Options(epochs=1, hidden=3)
    result = alphabet.run(options, progress=False, tell=quiet)
    metrics = alphabet.metrics(result, options)
    assert json.loads(json.dumps(metrics)) == metrics
    assert metrics["loss"] == metrics["trials"][0]["loss"]
    assert metrics["engine"] == result.engine
    alphabet.save(tmp_path, result, options)
    alphabet.draw(tmp_path / "picture.png", result)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"
