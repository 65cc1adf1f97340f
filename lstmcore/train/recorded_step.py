"""One training step, recorded and run again: forward, loss, backward, clipping and update.

A step of a small model is some thirty kernels of a few microseconds each, and Python takes longer to ask for one than
the GPU takes to run it. Recorded as a CUDA graph, all together cost one call. On a CPU what is recorded is the row of
calls of compiled code: recorded_cpu.py.
"""

import copy
from types import ModuleType
from typing import cast

import numpy as np

from lstmcore.arrays import Array, dtype_name, is_array, library_name, namespace
from lstmcore.hints import hinted
from lstmcore.layers import Layer
from lstmcore.layers.initialise import Seed, generator
from lstmcore.ops.recurrence.gpu.fused import fused_gpu
from lstmcore.train.data.batch import Batch
from lstmcore.train.metrics import Loss
from lstmcore.train.recorded_cpu import Passes, Unrecorded
from lstmcore.train.update.clip import check_limit, clip_by_global_norm, clip_on_gpu
from lstmcore.train.update.optimizer import Optimizer, Ready


class RecordedStep:
    """`step = RecordedStep(model, loss, opt)`; then `value = step(x, targets, mask)` for each batch.

    Does what these lines do, to the bit (products of more than 2^24 multiplications aside, which are cuBLAS's there):

        y, _, cache = model.forward(x, None, mask, rng)
        value, dy = loss(y, targets, mask)                 # without the mask once y has no time axis
        _, _, grads = model.backward(dy, cache)
        lc.clip_by_global_norm(grads, clip)                # if there is a limit
        opt.step(model.params, grads)

    but the first call records them, and each call copies its batch to the place where the recorded step reads it, and
    launches that. `value`, the loss, is an array () on the GPU; the host does not wait for it. A later float(value)
    does. On a CPU it is an array of NumPy.

    clip: limit on the global norm of the gradients. rng: draws the dropout masks, None, an int or a NumPy Generator;
    they are drawn on the host before each step, in the order of the lines above. `opt.lr` may change between steps.

    All batches must be alike in shape and dtype; what else does not fit the model or the loss raises at the first call
    as it does there, before anything is changed. On a GPU values are looked at in the first batch only: later a class
    out of range, or a mask without a valid item, shows as a loss of NaN, and an embedding's index out of range not at
    all. On a CPU the loss looks at its targets in every step.

    What cannot be recorded raises RuntimeError at the first call, and nothing is changed: a loss or a layer of your own
    that looks at a value, or that calls cuBLAS (`@`; lstmcore.ops.matmul.product is what layers here call). On a CPU:
    batches with a mask, layers other than Stack, LSTM, GRU, RNN, Linear and Dropout, layers on another engine than
    "fused-cpu", and those whose units are shared by threads, where Python takes no time that counts. `fit` records by
    itself what it can.
    """

    model: Layer
    loss: Loss
    opt: Optimizer
    clip: float | None

    @hinted
    def __init__(self, model: Layer, loss: Loss, opt: Optimizer, clip: float | None = None, rng: Seed = None):
        if clip is not None:
            check_limit("clip", clip)
        self.model, self.loss, self.opt, self.clip = model, loss, opt, clip
        self._rng = generator(rng)
        self._draws = _Draws(self._rng)
        self._batch: Batch | None = None  # where the recorded step reads
        self._passes: Passes | None = None  # on a CPU
        self._ready: dict[str, Ready] = {}  # on a GPU

    def __call__(self, x: Array, targets: Array, mask: Array | None = None) -> Array:
        """One step. x, targets, mask: arrays beside the parameters, as in the first call. Returns the loss, ()."""
        batch = Batch(x, targets, mask)
        if all(type(w) is np.ndarray for w in self.model.params.values()):
            return self._on_cpu(batch)
        if self._batch is None:
            self._record(batch)
        else:
            self._check(batch, self._batch)
            fused_gpu.ready()  # raises if a kernel of an earlier step gave up
            for own, given in zip(self._batch, batch):
                if own is not None:
                    own[...] = given
            self._draws.again()
        numbers = np.array(self.opt.advance(self._ready))
        self._numbers[...] = namespace(x).asarray(numbers)
        self._graph.launch()
        return namespace(x).asarray(self._graph.result, copy=True)  # the next step writes over its own

    def _on_cpu(self, batch: Batch) -> Array:
        if self._passes is None or self._batch is None:
            if batch.mask is not None:
                raise RuntimeError("this step cannot be recorded, and nothing was changed: the batch has a mask")
            try:
                self._batch, self._passes = batch, Passes(self.model, batch.x, self._rng)
            except Unrecorded as error:
                raise RuntimeError(f"this step cannot be recorded, and nothing was changed: {error}") from error
        else:
            self._check(batch, self._batch)
        y = self._passes.forward(batch.x)
        value, dy = self.loss(y, batch.targets, None)
        self._passes.backward(dy)
        if self.clip is not None:
            clip_by_global_norm(self._passes.grads, self.clip)
        self.opt.step(self.model.params, self._passes.grads)
        return value

    def _record(self, batch: Batch) -> None:
        """Rehearses the step, which changes nothing, and records it."""
        if not is_array(batch.x) or library_name(batch.x) != "cupy":
            raise TypeError(
                f"`x` should be an array of cupy, since steps are recorded on a GPU; got {library_name(batch.x)} "
                "(the model lies there: cupy.asarray(x), or lc.to_cpu(model))"
            )
        from lstmcore.ops.gpu.graph import Graph

        xp = namespace(batch.x)
        own = batch._replace(**{name: xp.asarray(a, copy=True) for name, a in batch._asdict().items() if a is not None})
        self._draws.begin(xp)
        try:
            ready = self.opt.ready(self.model.params, self._rehearsal(own))
            if not all(one.on_gpu for one in ready.values()):
                raise RuntimeError("a parameter is neither float32 nor float64, or does not lie in a row")
            self._numbers = xp.zeros((len(ready), 3 + len(self.opt.numbers(self.opt.lr, 1))), dtype=xp.float64)
            self._draws.repeat()
            self._graph = Graph(lambda: self._step(own, ready))
        except BaseException as error:
            self._draws.forget()
            if not isinstance(error, RuntimeError):
                raise
            raise RuntimeError(
                f"this step cannot be recorded, and nothing was changed: {error} (does a loss or a layer of your own "
                "look at a value, or multiply matrices by @?)"
            ) from error
        self._batch, self._ready = own, ready

    def _step(self, batch: Batch, ready: dict[str, Ready]) -> Array:
        """What is recorded; the loss."""
        value, grads = self._gradients(batch)
        self.opt.move_on_gpu(ready, grads, self._numbers)
        return value

    def _rehearsal(self, batch: Batch) -> dict[str, Array]:
        """The same on copies of the parameters, and of what the optimizer remembers; the gradients."""
        _, grads = self._gradients(batch)
        twins = {name: namespace(w).asarray(w, copy=True) for name, w in self.model.params.items()}
        copy.deepcopy(self.opt).step(twins, grads)
        return grads

    def _gradients(self, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """The loss, and the gradients, clipped."""
        draws = cast(np.random.Generator, self._draws)  # for those who draw masks it is one
        y, _, cache = self.model.forward(batch.x, None, batch.mask, draws)
        value, dy = self.loss(y, batch.targets, batch.mask if y.ndim > 2 else None)
        _, _, grads = self.model.backward(dy, cache)
        if self.clip is not None:
            clip_on_gpu(grads, self.clip)
        return value, grads

    def _check(self, batch: Batch, own: Batch) -> None:
        """Another shape would need another recording."""
        for name, given, want in zip(Batch._fields, batch, own):
            if not _alike(given, want):
                raise ValueError(
                    f"`{name}` should be {_kind(want)}, as this step was recorded; got {_kind(given)} "
                    "(batches of another shape: make another RecordedStep for them)"
                )
        if any(self.opt.state.get(name) is not one.memory for name, one in self._ready.items()):
            raise ValueError("`opt.state` was replaced after this step was recorded: make another RecordedStep")


def _alike(given: Array | None, want: Array | None) -> bool:
    if given is None or want is None:
        return given is want
    return type(given) is type(want) and given.shape == want.shape and given.dtype == want.dtype


def _kind(value: object) -> str:
    if not is_array(value):
        return type(value).__name__
    return f"{dtype_name(value.dtype)} {tuple(value.shape)} of {library_name(value)}"


class _Draws:
    """A generator as dropout asks one, but its draws lie on the GPU, each at one place, drawn anew for every step."""

    def __init__(self, rng: np.random.Generator):
        self._rng, self._next = rng, 0
        self._places: list[Array] = []

    def begin(self, xp: ModuleType) -> None:
        self._xp, self._before = xp, self._rng.bit_generator.state

    def random(self, shape: tuple[int, ...]) -> Array:
        """The next draw of this step: in [0, 1), float64."""
        if self._next == len(self._places):
            self._places.append(self._xp.asarray(self._rng.random(shape)))
        self._next += 1
        return self._places[self._next - 1]

    def repeat(self) -> None:
        """From now on the same draws again."""
        self._next = 0

    def again(self) -> None:
        """New ones at the same places, in the same order."""
        for place in self._places:
            place[...] = self._xp.asarray(self._rng.random(place.shape))

    def forget(self) -> None:
        """As if nobody had drawn."""
        self._rng.bit_generator.state, self._places, self._next = self._before, [], 0
