"""How often `flow` is right: `python -m benchmarks.flow_verdicts`, some minutes on one core.

It looks at 100 fresh models and 100 trained ones, which are fine, and at 100 that are not, by construction. A trained
model counts as fine if it has learnt its task: a loss below a tenth of what the best constant answer has. One that is
not fine is so by a measure of its own. Two runs that start from states a little apart are a thousand times nearer to
each other after five steps (vanishing), or a thousand times further at the end (exploding); or the slopes of the gates
are on the mean below a tenth of the steepest (saturated).

A worry about a fine model is a false alarm. A model that is not fine is found if the worry is of its kind.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

import lstmcore as lc
from benchmarks import rows
from benchmarks.machine import cli
from lstmcore.layers import Recurrent

CELLS: tuple[type[Recurrent], ...] = (lc.LSTM, lc.GRU, lc.RNN)
SIZES, LENGTHS = (8, 16, 32, 64), (8, 20, 50, 100)
EACH = 100  # models of a group
LEARNT = 0.1  # of the loss of the best constant answer
APART = 1e-6  # how far from each other the two states are at first
GONE, STEPS = 1e-3, 5  # what vanishes is gone after so many steps
FLAT = 0.1  # a mean slope of the gates below this part of the steepest
WORDS = {
    "shut": ("vanishing", "cut"),
    "exploding": ("exploding", "not finite"),
    "saturated": ("saturated", "closed", "open", "stuck", "cut"),
}


class Verdict(NamedTuple):
    """One model, and what `flow` said of it."""

    group: str  # fresh, trained, not fine
    kind: str  # the task it has learnt, or what is wrong with it
    cell: str
    H: int
    T: int
    seed: int
    rate: float  # the gain per step, by `flow`, of the first layer
    apart: float  # what two states come to be apart, over what they were at first
    loss: float | None  # after training, over that of the best constant answer
    alarm: bool
    right: bool
    worries: str


def random_batch(rng: np.random.Generator, T: int, B: int = 16, I: int = 4) -> np.ndarray:
    """(T, B, I), standard normal."""
    return rng.standard_normal((T, B, I)).astype("float32")


def apart(layer: Recurrent, x: np.ndarray) -> float:
    """How far apart two runs end, over how far apart they begin: the geometric mean over rows, in float64."""
    twin, x = layer.to(dtype="float64", engine="reference"), x.astype("float64")
    rng = np.random.default_rng(0)
    start = tuple(np.zeros((x.shape[1], layer.hidden_size)) for _ in layer.states)
    _, _, cache = twin.forward(x[:1], start)
    middle = tuple(s[-1] for s in cache.states)  # one step on, where the layer is at home
    moved = tuple(s + APART * rng.standard_normal(s.shape) for s in middle)
    ends = [np.concatenate(twin.predict(x[1:], state)[1], axis=1) for state in (middle, moved)]
    begins = [np.concatenate(state, axis=1) for state in (middle, moved)]
    far, near = (np.linalg.norm(b - a, axis=1) for a, b in (ends, begins))
    return float(np.exp(np.mean(np.log(np.maximum(far, 1e-300) / near))))


def slope(layer: Recurrent, x: np.ndarray) -> float:
    """The mean slope of all gates, over the steepest that they can have."""
    gates = layer.forward(x)[2].gates
    slopes = [
        4 * (gates[:, :, layer.cell.gates.index(gate)] - low) * (high - gates[:, :, layer.cell.gates.index(gate)])
        / (high - low) ** 2
        for gate, (low, high) in layer.cell.ends.items()
    ]  # fmt: skip
    return float(np.mean(slopes))


def judged(
    group: str, kind: str, model: lc.Stack, x: np.ndarray, loss: Callable, seed: int, learnt: float | None = None
) -> Verdict:
    """What `flow` says of one training step."""
    layer = model.layers[0]
    assert isinstance(layer, Recurrent)
    found = lc.debug.flow(model, x, loss, optimizer=lc.Adam(1e-3))
    worries = "; ".join(found.worries)
    words = WORDS.get(kind)
    right = any(word in worries for word in words) if words else not worries
    sizes = layer.hidden_size, len(x), seed
    measured = found.layers[0].rate, apart(layer, x), learnt
    return Verdict(group, kind, type(layer).__name__, *sizes, *measured, bool(worries), right, worries)


def ending(targets: np.ndarray) -> Callable:
    """The squared error of the last step alone: what reaches the first steps has come all the way."""

    def loss(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, dlast = lc.squared_error(np.ascontiguousarray(y[-1]), targets[-1])
        dy = np.zeros_like(y)
        dy[-1] = dlast
        return value, dy

    return loss


def fresh(k: int) -> Verdict:
    """A model as it is built."""
    rng = np.random.default_rng(k)
    kind, H, T = CELLS[k % 3], SIZES[k // 3 % 4], LENGTHS[k // 12 % 4]
    x = random_batch(rng, T)
    model = lc.Stack([kind(4, H, seed=rng), lc.Linear(H, 1, seed=rng)])
    targets = x[:, :, :1].cumsum(0) / T**0.5
    loss = ending(targets) if k % 2 else lambda y: lc.squared_error(y, targets)
    return judged("fresh", "last step" if k % 2 else "every step", model, x, loss, k)


def tasks(rng: np.random.Generator, T: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Inputs and targets (T, B, .), by what is to be learnt."""
    x = random_batch(rng, T, 64, 1)
    bits = (x > 0).astype("float32")
    late = np.concatenate([np.zeros_like(x[:3]), x[:-3]])
    phase = rng.uniform(0, 6.28, 64)
    wave = np.sin(0.4 * np.arange(T + 1)[:, None] + phase)[..., None].astype("float32")
    noisy = (wave[:-1] + 0.1 * x).astype("float32")
    first = np.broadcast_to(x[:1], x.shape)
    flag = np.concatenate([np.ones_like(x[:1]), np.zeros_like(x[1:])])
    return {
        "sum": (x, x.cumsum(0) / T**0.5),
        "parity of two": (bits, np.abs(bits - np.concatenate([bits[:1] * 0, bits[:-1]]))),
        "three steps ago": (x, late),
        "next of a wave": (noisy, wave[1:]),
        "the first": (np.concatenate([x, flag], axis=2), np.ascontiguousarray(first)),
    }


def trained(seed: int) -> Verdict | None:
    """A model that has learnt its task; None if it has not."""
    rng = np.random.default_rng(seed)
    kind, H, T = CELLS[seed % 3], SIZES[seed // 3 % 3], LENGTHS[seed // 9 % 3]
    names = list(tasks(rng, T))
    name = names[seed % len(names)]
    x, targets = tasks(rng, T)[name]
    model = lc.Stack([kind(x.shape[2], H, seed=rng), lc.Linear(H, 1, seed=rng)])
    batches = lc.Batches(x, targets, batch_size=32, seed=rng, per_step=True)
    history = lc.fit(model, lc.squared_error, batches, lc.Adam(0.01), epochs=250, clip=1.0, progress=False)
    learnt = history["epochs"][-1]["loss"] / float(targets.var())
    if learnt > LEARNT:
        return None
    loss = ending(targets) if seed % 2 else lambda y: lc.squared_error(y, targets)
    return judged("trained", name, model, x, loss, seed, learnt)


def broken(k: int) -> Verdict | None:
    """A model that is not fine; None if it is not bad enough."""
    rng = np.random.default_rng(1000 + k)
    kind, H, T, grade = CELLS[k // 3 % 3], SIZES[k // 9 % 4], LENGTHS[k // 2 % 4], k % 5
    what = ("shut", "exploding", "saturated")[k % 3]
    x = random_batch(rng, T)
    layer = kind(4, H, seed=rng)
    bias = layer.params["b"].reshape(-1, H)
    if what == "shut":  # the gates that keep the state, f of an LSTM, r and z of a GRU; and little comes through W_hh
        layer.params["W_hh"] *= (0.3, 0.2, 0.1, 0.05, 0.02)[grade]
        if kind is not lc.RNN:
            bias[:2] = (-2.0, -2.5, -3.0, -4.0, -6.0)[grade]
        bad = apart(layer, x[: STEPS + 2]) < GONE  # the first step only finds the state to begin with
    elif what == "exploding":
        layer.params["W_hh"] *= (1.5, 2.0, 2.5, 3.0, 4.0)[grade] * (1.0 if kind is lc.RNN else 3.0)
        x *= 0.02
        if kind is lc.LSTM:
            bias[1] = 3.0
        bad = apart(layer, x) > 1 / GONE
    else:
        x = ((10, 20, 30, 50, 100)[grade] + 3.45 * x).astype("float32")
        bad = slope(layer, x) < FLAT
    if not bad:
        return None
    model = lc.Stack([layer, lc.Linear(H, 1, seed=rng)])
    targets = random_batch(rng, T)[:, :, :1]
    loss = ending(targets) if k % 2 else lambda y: lc.squared_error(y, targets)
    return judged("not fine", what, model, x, loss, k)


def some(make: Callable[[int], Verdict | None]) -> Iterator[Verdict]:
    """The first hundred that count."""
    found = k = 0
    while found < EACH:
        verdict = make(k)
        k += 1
        if verdict is not None:
            found += 1
            yield verdict


def table(verdicts: list[Verdict]) -> str:
    """Markdown: true and false alarms."""
    lines = ["| models | number | an alarm | of the right kind |", "| --- | ---: | ---: | ---: |"]
    for group in ("fresh", "trained", "not fine"):
        mine = [v for v in verdicts if v.group == group]
        kinds = sorted({v.kind for v in mine}) if group != "fresh" else []
        for kind in ["", *kinds]:
            some = [v for v in mine if kind in ("", v.kind)]
            told = str(sum(v.right for v in some)) if group == "not fine" else ""
            name = f"&nbsp;&nbsp;{kind}" if kind else f"**{group}**"
            lines.append(f"| {name} | {len(some)} | {sum(v.alarm for v in some)} | {told} |")
    return "\n".join(lines)


def command(
    out: Annotated[Path, typer.Option(help="CSV file of the verdicts, written anew.")] = Path("runs/flow_verdicts.csv"),
) -> None:
    """True and false alarms of `flow`, over 300 models."""
    verdicts = [*some(fresh), *some(trained), *some(broken)]
    out.unlink(missing_ok=True)
    rows.append(out, verdicts)
    print(table(verdicts))


if __name__ == "__main__":
    cli(command)
