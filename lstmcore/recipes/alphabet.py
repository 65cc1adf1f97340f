"""abcdefghijkl for ever, the next letter to be told: a training that collapses to the mean, and its cure.

The set-up is that of a question that many have asked: the letters go in as character codes, 97 to 108, and the code of
the next letter is the target; an LSTM of the basic kind, a linear read-out drawn from [-1, 1], the squared error,
momentum. Every output becomes the mean of the codes, and the loss stays at their variance, (12^2 - 1) / 12 = 11.9167.
Two things are wrong. Numbers near 100 drive the gates to their ends, where their slopes are zero: no gradient comes
through. And as posted there is no time (`one_step`): the 40 letters of an update are 40 rows of one step, each from a
state of zeros, so that W_hh multiplies nothing and its gradient is exactly zero.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from lstmcore import layers, train
from lstmcore.arrays import Plain
from lstmcore.debug.show.picture import COLOURS, PLAIN, legend, panels
from lstmcore.layers import tree
from lstmcore.ops import gates
from lstmcore.ops.losses import softmax_cross_entropy, squared_error
from lstmcore.recipes import job as finished
from lstmcore.train.callbacks.watchers import Tell

LETTERS = "abcdefghijkl"
CODES = np.array([ord(letter) for letter in LETTERS])
MEAN, VARIANCE = float(CODES.mean()), float(CODES.var())  # 102.5, 11.9167
STEPS = 40  # letters of one update, as in the question
UPDATES = 100  # of one epoch
READ = 12  # letters that are read before predictions are counted


@dataclass(frozen=True)
class Options:
    """What `lstmcore train alphabet` can be told. The defaults are the question's."""

    hidden: int = 20
    epochs: int = 15  # of 100 updates each
    lr: float = 1e-3
    momentum: float = 0.9
    noise: float = 0.0  # uniform noise on the gradients, in units of the mean size of each weight array
    scaling: bool = False  # codes minus their mean, over their standard deviation
    one_hot: bool = False  # the letters in
    one_step: bool = False  # the letters of an update as rows of one step, as posted; else as one sequence
    loss: str = "squared"  # or "cross-entropy", over the twelve letters
    forget_bias: float = 1.0
    freeze: bool = False  # the recurrent layer: only the read-out is trained
    engine: str | None = None
    seed: int = 0


REMEDIES: dict[str, Plain] = {
    "scaling": {"scaling": True},
    "one sequence": {"one_step": False},
    "learning rate": {"lr": 0.03},
    "one-hot": {"one_hot": True},
    "loss": {"loss": "cross-entropy"},
    "forget bias": {"forget_bias": 0.0},
}


@dataclass(frozen=True)
class Trial:
    """One training."""

    name: str
    options: Options
    model: layers.Layer
    history: finished.History
    loss: float  # after the training, over the letters of one epoch: squared codes, or nats
    error: float  # mean square of told code minus true code, letters given
    right: float  # letters told right, letters given; a fraction
    string: str  # what the network goes on with when it reads what it has told itself
    said: tuple[str, ...]  # what the watchers said

    @property
    def exact(self) -> bool:
        """True if the network goes on without a mistake."""
        return self.string == alphabet(len(self.string), first=READ + 1)


@dataclass(frozen=True)
class Result:
    """All trainings of one call, in their order."""

    trials: list[Trial]
    engine: str
    seconds: float

    @property
    def best(self) -> Trial:
        return min(self.trials, key=lambda trial: (trial.error, trial.loss))


class WeightNoise(train.Callback):
    """The question's noise: to each gradient, uniform in [-1, 1] times `scale` times the mean of |w|."""

    scale: float
    rng: np.random.Generator

    def __init__(self, scale: float, rng: np.random.Generator):
        self.scale, self.rng = scale, rng

    @property
    def state(self) -> Plain:
        return dict(self.rng.bit_generator.state)

    @state.setter
    def state(self, state: Plain) -> None:
        self.rng.bit_generator.state = state

    def on_gradients(self, run: train.Run) -> None:
        for name, g in run.grads.items():
            limit = self.scale * float(np.abs(run.model.params[name]).mean())
            with np.errstate(over="ignore"):  # noise without measure ends the run as any other divergence does
                g += (limit * self.rng.uniform(-1, 1, g.shape)).astype(g.dtype)


def alphabet(n: int, first: int = 0) -> str:
    """n letters of the string, from letter `first` on."""
    return "".join(LETTERS[k % len(LETTERS)] for k in range(first, first + n))


def encode(letters: np.ndarray, options: Options) -> np.ndarray:
    """Letters (...), as numbers 0 .. 11, to inputs (..., 1) or (..., 12) float32."""
    return np.eye(len(LETTERS), dtype=np.float32)[letters] if options.one_hot else _numbers(letters, options)


def _numbers(letters: np.ndarray, options: Options) -> np.ndarray:
    """(...) -> (..., 1): their codes, scaled or not."""
    codes = CODES[letters][..., None]
    return ((codes - MEAN) / VARIANCE**0.5 if options.scaling else codes).astype(np.float32)


def told(y: np.ndarray, options: Options) -> np.ndarray:
    """Outputs (..., 1) or (..., 12) to the codes that they tell, (...) float."""
    if options.loss == "cross-entropy":
        return CODES[y.argmax(axis=-1)].astype(float)
    return y[..., 0] * VARIANCE**0.5 + MEAN if options.scaling else y[..., 0].astype(float)


def model(options: Options, rng: np.random.Generator) -> layers.Layer:
    """An LSTM, and a linear read-out drawn from [-1, 1]."""
    lstm = layers.LSTM(len(LETTERS) if options.one_hot else 1, options.hidden, seed=rng, engine=options.engine)
    names = lstm.cell.gates
    gates.split(lstm.params["b"], len(names))[[names.index(gate) for gate in lstm.cell.initial_biases]] = (
        options.forget_bias
    )
    read_out = layers.Linear(options.hidden, len(LETTERS) if options.loss == "cross-entropy" else 1, seed=rng)
    read_out.params["W"] = rng.uniform(-1, 1, read_out.params["W"].shape).astype(np.float32)
    return layers.Stack([lstm, read_out])


def trials(options: Options, cure: bool) -> Iterator[tuple[str, Options]]:
    """(name, options) of the trainings of one call; "+ name" is that remedy on top of those before."""
    plain = replace(options, freeze=False)
    yield "as posted" if options.one_step else "as asked", plain
    if options.freeze:
        yield "read-out alone", options
    if cure:
        first, *others = [name for name in REMEDIES if replace(plain, **REMEDIES[name]) != plain]
        for name in others:
            yield f"{name} alone", replace(plain, **REMEDIES[name])
        together = replace(plain, **REMEDIES[first])
        yield f"{first} alone", together
        for name in others:
            together = replace(together, **REMEDIES[name])
            yield f"+ {name}", together
        if options.freeze:
            yield "+ read-out alone", replace(together, freeze=True)


def run(
    options: Options,
    cure: bool = False,
    progress: bool | None = None,
    tell: Tell = print,
    keep: finished.Keep | None = None,
) -> Result:
    """Trains as the question does; with options.freeze also the read-out alone, with `cure` also with each remedy alone
    and with one after the other.

    tell: is called with what there is to say while it happens. keep: where the trainings are saved, and whether they go
    on.
    """
    done: list[Trial] = []
    keep = None if keep is None else keep.begin()
    for name, one in trials(options, cure):
        done.append(trial(name, one, progress, tell, None if keep is None else keep.part(name)))
        tell(f"{name}: loss {done[-1].loss:.4g}, {100 * done[-1].right:.0f} % of the letters right")
        if done[-1].history["ended"] == "interrupted":
            break
    x = encode(np.zeros((1, 1), int), options)
    return Result(done, tree.engine(done[0].model.forward(x)[2]), sum(trial.history["seconds"] for trial in done))


def job(options: Options) -> tuple[finished.Job[train.Batches | train.Stream], list[train.Callback]]:
    """One training, and the callbacks that belong to it."""
    rng = np.random.default_rng(options.seed)
    net = model(options, rng)
    letters = np.arange(STEPS * UPDATES + 1) % len(LETTERS)
    classes = options.loss == "cross-entropy"
    loss = softmax_cross_entropy if classes else squared_error
    x, targets = encode(letters[:-1], options), letters[1:] if classes else _numbers(letters[1:], options)
    batches = (
        train.Batches(x[None], targets[None], batch_size=STEPS, shuffle=False, per_step=True)
        if options.one_step
        else train.Stream(x, targets, batch_size=1, steps=STEPS)
    )
    return finished.Job(
        finished.about("alphabet", options, letters),
        net,
        loss,
        batches,
        train.Momentum(options.lr, options.momentum),
        {"epochs": options.epochs, "carry_state": not options.one_step},
    ), [
        *([train.Freeze("0.")] if options.freeze else []),
        *([WeightNoise(options.noise, rng)] if options.noise else []),
    ]


def trial(name: str, options: Options, progress: bool | None, tell: Tell, keep: finished.Keep | None = None) -> Trial:
    """One training and its test."""
    training, callbacks = job(options)
    watchers = train.watchers(lambda message: tell(f"{name}: {message}"))
    history = training.fit([*callbacks, *watchers], keep, progress)
    unit = VARIANCE if options.scaling and options.loss == "squared" else 1.0  # back to squared codes
    for row in history["epochs"]:
        row["loss"] *= unit
    net = training.model
    last = train.evaluate(net, training.loss, training.batches, carry_state=not options.one_step) * unit
    said = tuple(watcher.said for watcher in watchers if watcher.said is not None)
    return Trial(name, options, net, history, last, *_test(net, options), _go_on(net, options), said)


def _test(net: layers.Layer, options: Options) -> tuple[float, float]:
    """(error, right) over 120 letters, after the first 12."""
    letters = np.arange(READ + 121) % len(LETTERS)
    codes, true = told(outputs(net, letters[:-1], options)[READ:], options), CODES[letters[READ + 1 :]]
    return float(np.mean((codes - true) ** 2)), float(np.mean(np.abs(codes - true) < 0.5))


def outputs(net: layers.Layer, letters: np.ndarray, options: Options) -> np.ndarray:
    """What the network tells after each of the letters (n,), read as it learnt to read them: (n, 1) or (n, 12)."""
    if options.one_step:
        return net.predict(encode(letters[None, :], options))[0][0]
    return net.predict(encode(letters[:, None], options))[0][:, 0]


def _go_on(net: layers.Layer, options: Options) -> str:
    """What the network tells after the first 13 letters, reading its own letters: 40 of them. ? is none of the twelve;
    what it reads then is the nearest one."""
    letters = np.arange(READ + 1) % len(LETTERS)
    y, state = net.predict(encode(letters[-1:, None] if options.one_step else letters[:, None], options))
    y, string = y[-1], ""
    for _ in range(STEPS):
        code = told(y, options)[0]
        letter = int(np.clip(np.rint(np.nan_to_num(code)), CODES[0], CODES[-1])) - CODES[0]
        string += LETTERS[letter] if abs(code - CODES[letter]) <= 0.5 else "?"
        y, state = net.step(encode(np.array([letter]), options), None if options.one_step else state)
    return string


def metrics(result: Result, options: Options) -> Plain:
    """Plain data: what `--json` prints and metrics.json holds. `loss` is that of the question's set-up."""
    first, best = result.trials[0], result.best
    return {
        "recipe": "alphabet",
        "loss": first.loss,
        "variance": VARIANCE,
        "best": best.name,
        "best_loss": best.loss,
        "exact": best.exact,
        "train_seconds": result.seconds,
        "engine": result.engine,
        "seed": options.seed,
        "ended": _last(result).history["ended"],
        "diverged": _last(result).history["diverged"],
        "trials": [
            {
                "name": trial.name,
                "loss": trial.loss,
                "error": trial.error,
                "right": trial.right,
                "string": trial.string,
                "exact": trial.exact,
                "said": list(trial.said),
                "updates": trial.history["step"],
            }
            for trial in result.trials
        ],
        "options": asdict(options),
    }


def _last(result: Result) -> Trial:
    """The trial that says how it ended: the first that diverged, or the last one."""
    return next((trial for trial in result.trials if trial.history["diverged"]), result.trials[-1])


def save(folder: Path, result: Result, options: Options) -> None:
    """Writes the files of a run (recipes/job.py) into the folder; the model is the best one."""
    histories = {trial.name: trial.history for trial in result.trials}
    finished.save(folder, result.best.model, metrics(result, options), histories)


def draw(path: Path, result: Result) -> None:
    """The losses, and the codes that the first and the best network tell. Raises ImportError without matplotlib."""
    figure, (loss, codes) = panels(4.6, 3.4)
    for k, trial in enumerate(result.trials):
        rows, style = trial.history["epochs"], ("-", "--", ":")[k // len(COLOURS) % 3]  # the colours, and again
        loss.semilogy([row["step"] for row in rows], [row["loss"] for row in rows], style, label=trial.name)
    loss.axhline(VARIANCE, color=PLAIN, ls=":")
    loss.set(xlabel="updates (dotted: the variance, 11.9167)", ylabel="squared codes (cross-entropy: nats)")
    legend(loss)
    letters = np.arange(READ + 36) % len(LETTERS)
    codes.plot(CODES[letters[1:]], "k.", label="true")
    for trial in (result.trials[0], *([] if result.best is result.trials[0] else [result.best])):
        codes.plot(told(outputs(trial.model, letters[:-1], trial.options), trial.options), label=trial.name)
    codes.set(xlabel="letter", ylabel="code of the next letter", ylim=(CODES[0] - 3, CODES[-1] + 3))
    legend(codes)
    finished.write_picture(path, figure)
