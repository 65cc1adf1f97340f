"""The training loop: forward, loss, backward, clip, step."""

import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack, nullcontext, suppress
from itertools import islice

import numpy as np

from lstmcore.arrays import Plain, is_array
from lstmcore.hints import hinted
from lstmcore.layers import Layer
from lstmcore.layers.initialise import Seed, generator
from lstmcore.shapes import check_kind, check_layer, check_pieces, check_size
from lstmcore.train.callbacks.callback import HOOKS, Callback, check_callbacks
from lstmcore.train.callbacks.progress import Progress
from lstmcore.train.callbacks.schedule import Schedule
from lstmcore.train.data.batch import Batch, Data, Rows
from lstmcore.train.evaluate import measured
from lstmcore.train.gradients import Gradients, SharedGradients
from lstmcore.train.interrupt import interruptible
from lstmcore.train.metrics import Loss, Metric, check_metrics, is_mean
from lstmcore.train.ranks import Ranks
from lstmcore.train.run import History, Run
from lstmcore.train.segments import Segments
from lstmcore.train.update.clip import clip_by_global_norm
from lstmcore.train.update.optimizer import Optimizer

CALL = "fit(model, loss, batches, opt, epochs=...)"


@hinted
def fit(
    model: Layer,
    loss: Loss,
    batches: Data,
    opt: Optimizer,
    *,
    epochs: int,
    validation: Data | None = None,
    schedule: Schedule | None = None,
    clip: float | None = None,
    callbacks: Sequence[Callback] = (),
    rng: Seed = None,
    progress: bool | None = None,
    resume: Plain | None = None,
    carry_state: bool = False,
    accumulate: int = 1,
    segments: int | bool = False,
    metrics: Mapping[str, Metric] | None = None,
    ranks: Ranks | None = None,
) -> History:
    """Trains `model` in place and returns the history, plain data:

        {"ended": "all 10 epochs done", "step": updates done, "seconds": in all, "epochs": [row, ...]}
        row = {"epoch": 1, "step": 400, "loss": ..., "validation": ... (if there is any), "lr": ..., "seconds": ...}
              and the metrics by their names

    model       any layer. It gets each batch's x and mask.
    loss        (y, targets, mask) -> (loss, dy), such as lc.softmax_cross_entropy. The mask is the batch's as long as y
                has a time axis, (T, B, ...), else None. Should be a mean over valid items: the losses of an epoch are
                averaged by the number of valid steps (or rows) in each batch, or by what `Counted` says.
    batches     run through once per epoch: `Batches`, or a list of `Batch` or of tuples (x, targets) or (x, targets,
                mask).
    validation  the same; its mean loss is taken after each epoch, in evaluation (no dropout).
    schedule    step -> learning rate, set before each update (schedule.py); its `observe`, if it has one, gets the
                validation loss of each epoch, or else the training loss.
    clip        limit on the global norm of the gradients.
    callbacks   objects with some of the methods of `Callback`; called in order, at the end in reverse order.
    rng         draws the dropout masks: None, an int or a NumPy Generator.
    progress    True or False; None shows it if stderr is a terminal.
    resume      `run.state` of an earlier run, as a callback sees it, or `Checkpoints.last()`: with the other arguments
                as they were then, training goes on bit for bit. None begins one. Batches without a `state` of their
                own, such as a list, must come in the same order every time.
    carry_state each batch starts from the final state of the one before, the first one of an epoch from zeros; likewise
                in validation. For batches that follow each other in time, as those of `Stream`. Gradients end at the
                first step of a batch.
    accumulate  this many batches make one update (the last of an epoch perhaps fewer): their gradients are added, each
                times its valid items, and divided by all of these. To rounding that is the gradient of one batch that
                holds them all, in the memory of one of them; a mean of their means is not, where lengths differ.
    metrics     {name: (y, targets, mask) -> number}, such as {"accuracy": train.accuracy}: taken on each batch of
                `validation` with its loss, and averaged over the batches as that. The root of a mean over all of them
                is a `train.Finished`.
    segments    k: each batch runs by segments of k steps, True for near sqrt(T), and its gradient goes back through all
                of them with one segment in memory, at about 4/3 of the time (docs/scale.md). It is that of the whole
                batch to rounding; dropout masks are drawn segment by segment. For models that read step by step:
                ValueError for a Bidirectional, whose layers take recompute=True instead.

    ranks       `Ranks(MPI.COMM_WORLD)`: one training on all of them, each with its rows of every batch (docs/scale.md).
                With a metric that is not known to be a mean over items (the library's own, `train.Counted` and
                `train.Finished` are) each judges by all rows of the validation, and takes the first rank's numbers.
                TypeError for batches or validation without a length. ConnectionAbortedError where another rank cannot
                begin.

    The run ends after the last epoch, or when a callback sets `run.ended`, or at the first loss or norm that is NaN or
    infinite (the parameters then are those from before this batch), or on Ctrl-C: after the batch under way, so that no
    update is half done; a second Ctrl-C raises KeyboardInterrupt.
    """
    if ranks is not None:
        check_kind("ranks", ranks, isinstance(ranks, Ranks), "lc.Ranks(MPI.COMM_WORLD)", CALL)
    with ranks.together() if ranks is not None else nullcontext():
        _check_places(model, loss, opt)
        _check_data("batches", batches)
        if validation is not None:
            _check_data("validation", validation)
        check_callbacks(callbacks)
        check_metrics(metrics or {}, validation is not None)
        check_size("accumulate", accumulate, "a positive int, batches for one update")
        check_pieces("segments", segments)
        through = Segments(model, segments) if segments else model
        size = -(-len(batches) // accumulate) if isinstance(batches, Sized) else None
        if hasattr(batches, "rewind"):
            batches.rewind()
        if ranks is not None:
            ranks.begin(model, {"batches": batches, "validation": validation})
        run = Run(model, opt, epochs, batches, validation, schedule, generator(rng), callbacks, size, metrics or {})
        run.order = run.order if ranks is None else ranks.order
        if resume is not None:
            run.state = resume
    recorded = not (carry_state or segments or accumulate > 1) and all(map(_is_ours, (loss, *callbacks)))
    watchers = [*callbacks, Progress()] if Progress.wanted(progress) else list(callbacks)

    def stop() -> None:
        if ranks is not None:
            ranks.asked_to_end = True
        else:
            run.ended = "interrupted"

    with ranks.training() if ranks is not None else nullcontext():
        if ranks is not None:
            _align(run, ranks, {"the loss": loss, "the options": (clip, carry_state, accumulate, segments, str(ranks))})
            watchers = [watcher for watcher in watchers if ranks.first or not getattr(watcher, "writes", False)]
        given = run, through, loss, carry_state, recorded
        shared = ranks if ranks is not None and ranks.shares > 1 else None
        gradients = Gradients(*given) if shared is None else SharedGradients(*given, shared)
        try:
            with interruptible(stop):
                with ranks.together() if ranks is not None else nullcontext():
                    _call(watchers, "on_start", run)
                run.ended = ranks.agreed(run.ended) if ranks is not None else run.ended
                while run.ended is None and run.epoch < epochs:
                    _train_epoch(run, gradients, clip, watchers, accumulate, ranks)
                    if run.ended is None:
                        _finish_epoch(run, through, loss, carry_state, shared)
                        _call(watchers, "on_epoch", run)
                        run.ended = ranks.agreed(run.ended) if ranks is not None else run.ended
            run.ended = run.ended or f"all {epochs} epochs done"
        except BaseException:
            run.whole = False
            raise
        finally:
            run.ended = run.ended or "broken off by an error"
            with ExitStack() as ends:  # calls all of them, the last one first, whatever happens in one
                for watcher in watchers:
                    ends.callback(_call, [watcher], "on_end", run)
    seconds = sum(row["seconds"] for row in run.history) + run.seconds
    return {"ended": run.ended, "step": run.step, "seconds": seconds, "epochs": run.history}


def _is_ours(hook: object) -> bool:
    """A loss or callback of this library: none keeps an array of the step, over which the next one writes, and none
    changes a parameter in the middle of it. Not one that somebody has put a function of their own into."""
    own = {*HOOKS, "function"} & getattr(hook, "__dict__", {}).keys()
    return getattr(hook, "__module__", "").startswith("lstmcore.") and all(_is_ours(vars(hook)[name]) for name in own)


def _check_places(model: object, loss: object, opt: object) -> None:
    """Checks that the arguments of `fit` stand in their places. Raises TypeError that says which does not."""
    is_loss = callable(loss) and not hasattr(loss, "backward")
    check_layer("model", model, "backward", CALL)
    check_kind("loss", loss, is_loss, "a function (y, targets, mask) -> loss, dy, such as lc.squared_error", CALL)
    check_kind("opt", opt, isinstance(opt, Optimizer), "an optimizer, such as lc.Adam(lr=0.001)", CALL)


def _check_data(name: str, batches: object) -> None:
    """Checks that it can give batches, and is not itself an array."""
    arrays = is_array(batches) or (isinstance(batches, list | tuple) and any(map(is_array, batches)))
    wanted = "lc.Batches(x, targets, batch_size=...), or a list of (x, targets) or (x, targets, mask)"
    check_kind(name, batches, isinstance(batches, Iterable) and not arrays, wanted, CALL)


def _train_epoch(
    run: Run, gradients: Gradients, clip: float | None, watchers: list[Callback], accumulate: int, ranks: Ranks | None
) -> None:
    """All batches of one epoch, or the rest of them, until the run ends."""
    began = time.perf_counter() - run.seconds
    for group in _groups(run, gradients.batches(), accumulate):
        run.whole = False
        if run.schedule is not None:
            run.opt.lr = run.schedule(run.step)
        total, items = gradients.of(group)
        if not math.isfinite(run.loss):
            run.ended = f"the loss is {run.loss} in step {run.step + 1}, epoch {run.epoch + 1}: no update was made"
            return
        run.norm = None if clip is None else clip_by_global_norm(run.grads, clip)
        if run.norm is not None and not math.isfinite(run.norm):
            run.ended = f"the gradient's norm is {run.norm} in step {run.step + 1}, epoch {run.epoch + 1}: no update"
            return
        _call(watchers, "on_gradients", run)
        run.opt.step(run.model.params, run.grads)
        run.step, run.position = run.step + 1, run.position + 1
        run.loss_sum, run.items = run.loss_sum + total, run.items + items
        run.seconds, run.whole = time.perf_counter() - began, True
        _call(watchers, "on_batch", run)
        run.ended = ranks.agreed(run.ended) if ranks is not None else run.ended
        if run.ended is not None:
            return


def _groups(run: Run, batches: Iterator[Batch | Rows], accumulate: int) -> Iterator[list[Batch | Rows]]:
    """The batches of each update, of this epoch or the rest of it. None is asked for before it is wanted: a state that
    is saved after an update must not say that the epoch has ended where it has not."""
    seen = run.position * accumulate
    left = len(run.batches) - seen if isinstance(run.batches, Sized) else sys.maxsize
    batches = islice(batches, 0 if hasattr(run.batches, "state") else seen, None)
    while group := list(islice(batches, max(1, min(accumulate, left)))):
        left -= len(group)
        yield group


def _align(run: Run, ranks: Ranks, others: dict[str, object]) -> None:
    """Checks that all ranks train alike, and gives them the random states of the first."""
    from lstmcore import __version__

    run.rng.bit_generator.state = ranks.from_first(run.rng.bit_generator.state)
    drawing = run.batches, run.validation
    for data, state in zip(drawing, ranks.from_first([getattr(data, "state", None) for data in drawing])):
        with suppress(ValueError):  # of other data: said below
            if data is not None and hasattr(data, "state") and state is not None:
                data.state = state
    opt = {"kind": type(run.opt).__name__, "numbers": repr(run.opt), "memory": run.opt.state}
    ranks.same(
        {
            "the version of lstmcore": __version__,
            "the version of NumPy": np.__version__,
            "the model": [run.model.config(), run.model.params],
            "the optimizer": opt,
            "how far it is": (run.epochs, run.epoch, run.step, run.position),
            "the training data": run.batches,
            "the validation data": run.validation,
            "the schedule": run.schedule,
            "the metrics": run.metrics,
        }
        | others
    )


def _finish_epoch(run: Run, through: Layer | Segments, loss: Loss, carry_state: bool, ranks: Ranks | None) -> None:
    """Ends an epoch: adds its row to the history."""
    began = time.perf_counter() - run.seconds
    if run.items == 0:
        raise ValueError(f"no batches in epoch {run.epoch + 1} (a generator runs only once: pass a list or Batches)")
    run.whole, run.epoch = False, run.epoch + 1
    row = {"epoch": run.epoch, "step": run.step, "loss": run.loss_sum / run.items}
    if run.validation is not None:
        shared = ranks if all(map(is_mean, run.metrics.values())) else None
        found = measured(through, {"validation": loss, **run.metrics}, run.validation, carry_state, shared)
        row |= found if ranks is None else ranks.from_first(found)
    observe = getattr(run.schedule, "observe", None)
    if observe is not None:
        observe(row.get("validation", row["loss"]))
    run.history.append(row | {"lr": run.opt.lr, "seconds": time.perf_counter() - began})
    run.position, run.loss_sum, run.items, run.seconds, run.carried = 0, 0.0, 0, 0.0, None
    run.whole = True


def _call(watchers: list[Callback], hook: str, run: Run) -> None:
    for watcher in watchers:
        getattr(watcher, hook, lambda run: None)(run)
