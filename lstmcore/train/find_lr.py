"""Which learning rate? The range test (Smith 2017, section 3.3): let it rise, and look at what the loss does."""

import math
from dataclasses import dataclass

from lstmcore.hints import hinted
from lstmcore.layers import Layer
from lstmcore.layers.initialise import Seed
from lstmcore.train.callbacks.callback import Callback
from lstmcore.train.callbacks.schedule import Exponential
from lstmcore.train.data.batch import Data
from lstmcore.train.loop import fit
from lstmcore.train.metrics import Loss
from lstmcore.train.run import Run
from lstmcore.train.update.optimizer import Optimizer

SMOOTH = 0.9  # of the average so far, at each step
DIVERGED = 4.0  # times the lowest loss: there the test ends


@dataclass(frozen=True)
class RangeTest:
    """What a range test has found: one entry per update."""

    lrs: list[float]
    losses: list[float]
    smoothed: list[float]  # an exponential average, without the pull of its start
    ended: str

    @property
    def lowest(self) -> float:
        """The rate at which the smoothed loss was lowest: about there training begins to break down."""
        return self.lrs[min(range(len(self.lrs)), key=self.smoothed.__getitem__)]

    @property
    def fastest(self) -> float:
        """The rate below it at which the smoothed loss falls fastest, over a tenth of the test: one to train with."""
        last, near = self.lrs.index(self.lowest), max(1, len(self.lrs) // 20)
        inner = range(near, last - near + 1)
        return self.lrs[max(inner, key=lambda k: self.smoothed[k - near] - self.smoothed[k + near], default=last // 2)]

    def table(self, rows: int = 12) -> list[tuple[float, float]]:
        """(rate, smoothed loss), about evenly spread, the last one included."""
        last = len(self.lrs) - 1
        chosen = sorted({round(k * last / max(1, rows - 1)) for k in range(rows)})
        return [(self.lrs[k], self.smoothed[k]) for k in chosen]


@hinted
def find_lr(
    model: Layer,
    loss: Loss,
    batches: Data,
    opt: Optimizer,
    *,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 200,
    clip: float | None = None,
    rng: Seed = None,
    progress: bool | None = None,
    carry_state: bool = False,
) -> RangeTest:
    """Trains for `steps` updates, the learning rate rising from `lowest` to `highest` by the same factor at each.

    It ends early when the smoothed loss has become four times the lowest one, or is not finite any more. Smith lets the
    rate rise along a straight line; by a factor, all sizes of rates are tried in one test. The other arguments: as for
    `fit`. Model, optimizer, batches and rng are afterwards, bit for bit, as they were before.

    Raises ValueError for rates that do not rise, and where not a single update could be made.
    """
    if not 0 < lowest < highest < math.inf or steps < 2:
        raise ValueError(f"the rates should rise in 2 steps or more; got {lowest!r} to {highest!r} in {steps!r}")
    rise = Exponential(lowest, highest / lowest, steps - 1)
    test = _Test(steps)
    ended = fit(
        model, loss, batches, opt, epochs=steps, schedule=rise, clip=clip, callbacks=[test], rng=rng,
        progress=progress, carry_state=carry_state,
    )["ended"]  # fmt: skip
    if not test.lrs:
        raise ValueError(f"there is nothing to find: {ended}")
    return RangeTest(test.lrs, test.losses, test.smoothed, ended)


class _Test(Callback):
    """Writes down rates and losses, ends the run in time, and puts everything back."""

    def __init__(self, steps: int):
        self.steps, self.average = steps, 0.0
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []

    def on_start(self, run: Run) -> None:
        self.before = run.state

    def on_batch(self, run: Run) -> None:
        self.average = SMOOTH * self.average + (1 - SMOOTH) * run.loss
        self.lrs.append(run.opt.lr)
        self.losses.append(run.loss)
        self.smoothed.append(self.average / (1 - SMOOTH**run.step))  # Kingma & Ba 2015, section 3
        if self.smoothed[-1] > DIVERGED * min(self.smoothed):
            run.ended = f"the loss has become {DIVERGED:g} times the lowest at rate {run.opt.lr:.2g}"
        elif run.step == self.steps:
            run.ended = f"all {self.steps} rates tried"

    def on_end(self, run: Run) -> None:
        run.state = self.before
