"""What all optimizers share: the checks, the decay of the weights, and what is remembered for each parameter."""

import math
import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeAlias

import numpy as np

from lstmcore import hints
from lstmcore.arrays import Array, Plain, dtype_name, is_float32_or_64, library_name, namespace
from lstmcore.ops.cpu.compiler import has_compiler
from lstmcore.shapes import check_like

Memory: TypeAlias = Plain  # of one parameter: "t", its steps so far, and an array for each slot
Root: TypeAlias = Callable[[Array], Array]  # the square root of each number
Move: TypeAlias = Callable[[Array, tuple[float, ...]], None]


class Optimizer:
    """Moves parameters against their gradients. The update rules are in optimizers.py; each fills in four things:

    slots       the names of the arrays that it remembers for each parameter, zero at first
    numbers     what its formula needs beside arrays, at learning rate lr and step t: plain floats
    rule        its formula, pointwise: (sqrt, w, dw, *slots, *numbers) -> (w, *slots), all new
    decoupled   true if the weights decay beside the gradient, in place of through it (AdamW)

    Three numbers belong to every rule:

    lr            the learning rate; `opt.lr` can be assigned at any time
    weight_decay  L2. Through the gradient: dw + weight_decay w, the gradient of weight_decay / 2 ||w||^2 beside the
                  loss. Decoupled: w is first multiplied by 1 - lr weight_decay.
    l1            L1: dw + l1 sign(w), a subgradient of l1 ||w||_1. Always through the gradient.

    Both reach every parameter that has a gradient, biases too. To spare some, step twice with two optimizers and a part
    of the gradients each.
    """

    slots: tuple[str, ...] = ()
    decoupled = False

    def __init__(self, lr: float, weight_decay: float, l1: float):
        self.lr = lr
        self.weight_decay: float = number("weight_decay", weight_decay)
        self.l1: float = number("l1", l1)
        self._state: dict[str, Memory] = {}
        self._ready: dict[str, Ready] = {}

    def __init_subclass__(cls) -> None:
        if "__init__" in vars(cls):
            type.__setattr__(cls, "__init__", hints.hinted(cls.__init__))

    if not TYPE_CHECKING:  # type checkers know what exists

        def __getattr__(self, name: str) -> NoReturn:
            raise hints.missing(type(self).__name__, name, hints.OPTIMIZERS)

    numbers: Callable[..., tuple[float, ...]]
    rule: Callable[..., tuple[Array, ...]]

    def step(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
        """Moves, in place, every parameter that has a gradient.

        params: name -> array, as `layer.params`. grads: name -> its gradient, as `layer.backward` gives them; left
        unchanged. A parameter without a gradient is left alone, and so is what is remembered of it: that is how to
        freeze one. Raises KeyError for a gradient without a parameter, ValueError or TypeError for another shape, dtype
        or array library; then nothing has been changed.
        """
        ready = self.ready(params, grads)
        numbers = self.advance(ready)
        if ready and all(one.on_gpu for one in ready.values()):
            self.move_on_gpu(ready, grads, np.array(numbers))
            return
        for one, dw, own in zip(ready.values(), grads.values(), numbers):
            one.move(dw, own)

    def ready(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> "dict[str, Ready]":
        """The first part of a step: checks what is to move, and changes nothing. Raises as `step` does."""
        return {name: self._checked(params, name, dw) for name, dw in grads.items()}

    def advance(self, ready: "Mapping[str, Ready]") -> list[tuple[float, ...]]:
        """The second part, on the host: counts one more step of these parameters. The numbers of each for that step:
        keep, decay, l1, and those of the rule, which starts from keep w and sees dw + decay w + l1 sign(w)."""
        keep = 1 - self.lr * self.weight_decay if self.decoupled else 1.0
        decay = 0.0 if self.decoupled else self.weight_decay
        numbers: dict[int, tuple[float, ...]] = {}  # by t, which is the same for all but those that were frozen
        steps = []
        for name, one in ready.items():
            self._ready[name], self._state[name] = one, one.memory
            t = one.memory["t"] = one.memory["t"] + 1
            if t not in numbers:
                numbers[t] = (keep, decay, self.l1, *self.numbers(self.lr, t))
            steps.append(numbers[t])
        return steps

    def move_on_gpu(self, ready: "Mapping[str, Ready]", grads: Mapping[str, Array], numbers: Array) -> None:
        """The third part, where all are `on_gpu`: one launch. numbers: `advance`'s as an array, a row for each."""
        from lstmcore.ops.gpu.cupy_machine import current_machine
        from lstmcore.ops.gpu.update import update

        entries = [(*one.arrays, grads[name]) for name, one in ready.items()]
        xp = namespace(entries[0][0])
        update(current_machine(), self.rule, entries, xp.asarray(numbers, dtype=xp.float64))

    @property
    def lr(self) -> float:
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        if isinstance(lr, Mapping):
            raise TypeError(f"`lr` should be a number; got {lr!r:.80} (the parameters come later: {hints.STEP})")
        self._lr = number("lr", lr)

    @property
    def state(self) -> dict[str, Memory]:
        """What is remembered: name -> {"t": steps so far, slot: array, ...}. The optimizer's own arrays, not copies.

        Assigning copies: with a saved state, and the same numbers in the constructor, training goes on bit for bit as
        it would have without the pause. Raises ValueError for the state of another kind of optimizer.
        """
        return self._state

    @state.setter
    def state(self, state: Mapping[str, Memory]) -> None:
        wanted = {"t", *self.slots}
        for name, memory in state.items():
            if set(memory) != wanted:
                raise ValueError(
                    f"`state` of {name!r} should hold {', '.join(sorted(wanted))}, as {type(self).__name__} remembers; "
                    f"got {', '.join(sorted(memory)) or 'nothing'} (the state of another optimizer?)"
                )
        self._state = {
            name: {"t": int(memory["t"])}
            | {slot: namespace(memory[slot]).asarray(memory[slot], copy=True) for slot in self.slots}
            for name, memory in state.items()
        }

    def __repr__(self) -> str:
        constants = {"lr": self.lr} | {k: v for k, v in vars(self).items() if not k.startswith("_")}
        return f"{type(self).__name__}({', '.join(f'{name}={value:g}' for name, value in constants.items())})"

    def __getstate__(self) -> Plain:
        """For copies: what is ready names the very arrays, and a copy has its own."""
        return vars(self) | {"_ready": {}}

    def _checked(self, params: Mapping[str, Array], name: str, dw: Array) -> "Ready":
        """The parameter and what is remembered of it, once they are found to fit its gradient."""
        try:
            w = params[name]
        except KeyError:
            there = f"there are {', '.join(params)} (of another model?)"
            raise KeyError(f"gradient {name!r} has no parameter; {there}") from None
        if not _fits(dw, w):
            check_like(f"grads[{name!r}]", dw, tuple(w.shape), "the shape of the parameter", w)
        memory, ready = self._state.get(name), self._ready.get(name)
        if memory is None:
            if not dtype_name(w.dtype).startswith("float"):
                raise TypeError(f"`params[{name!r}]` should be float32 or float64 to be trained; got {w.dtype}")
            if isinstance(w, np.ndarray) and not w.flags.writeable:
                raise ValueError(
                    f"parameter {name!r} cannot be written to (a model of lc.freeze? train the model that it was made "
                    "of, or model.to(), a twin that can be changed)"
                )
            memory = {"t": 0} | {slot: namespace(w).zeros_like(w) for slot in self.slots}
        arrays = (w, *[memory[slot] for slot in self.slots])
        if ready is not None and ready.memory is memory and all(map(operator.is_, ready.arrays, arrays)):
            return ready  # nearly always
        for slot, a in zip(self.slots, arrays[1:]):
            if not _fits(a, w):
                check_like(f"state[{name!r}][{slot!r}]", a, tuple(w.shape), "the shape of the parameter", w)
        on_gpu = all(library_name(a) == "cupy" and is_float32_or_64(a.dtype) and a.flags.c_contiguous for a in arrays)
        return Ready(memory, arrays, _mover(self, arrays), on_gpu and _has_kernel(self))


class Ready(NamedTuple):
    """A parameter, and what is remembered of it, that have been found to fit each other."""

    memory: Memory
    arrays: tuple[Array, ...]  # w and the slots
    move: Move  # (dw, numbers): one step of the arrays, in place
    on_gpu: bool  # a kernel there can do that for many parameters at once


def _mover(opt: Optimizer, arrays: tuple[Array, ...]) -> Move:
    """`move` of `Ready`: compiled for NumPy, in array code elsewhere and for a rule that cannot be compiled, which is
    told once.

    numbers: keep, decay, l1, and those of the rule, which starts from keep w and sees the gradient
    dw + decay w + l1 sign(w). Raises TypeError for a rule that does not give (w, *slots), or does not run.
    """
    w, *slots = arrays
    rule, xp, name = opt.rule, namespace(w), f"the rule of {type(opt).__name__}"
    pointwise, problem = _tried(opt, w)
    reason: object = "" if pointwise else "it looks at more than one number at a time"
    if isinstance(w, np.ndarray) and all(a.flags.c_contiguous for a in arrays) and has_compiler():
        from lstmcore.ops.cpu.update import NotCompiled, mover  # Numba takes a while

        try:
            if pointwise:
                return mover(rule, arrays, len(opt.numbers(opt.lr, 1)))
        except NotCompiled as error:
            reason = error
        if problem is None:
            _tell_once(name, f"cannot be compiled ({reason}); it runs as array code")
    if problem is not None:
        also = f", nor compiled ({reason})" if reason else ""
        raise TypeError(f"{name} does not run as array code ({problem}){also}") from problem

    def move(dw: Array, numbers: tuple[float, ...]) -> None:
        keep, decay, l1, *own = numbers
        dw = dw + decay * w + l1 * xp.sign(w)
        for a, new in zip(arrays, rule(xp.sqrt, keep * w, dw, *slots, *own)):
            a[...] = new

    return move


def _has_kernel(opt: Optimizer) -> bool:
    """Whether a GPU's kernel can be made of the rule; else it runs as array code there, which is told once."""
    from lstmcore.ops.gpu.update import as_cuda

    try:
        return bool(as_cuda(opt.rule, len(opt.slots)))
    except TypeError as reason:
        name = f"the rule of {type(opt).__name__}"
        _tell_once(name, f"cannot be compiled for a GPU ({reason}); it runs as array code")
        return False


def _tried(opt: Optimizer, w: Array) -> tuple[bool, Exception | None]:
    """Whether the rule is pointwise: gives for two numbers what it gives for each. And what keeps it from running as
    array code. Raises TypeError if it runs, but does not give a tuple (w, *slots): an array in its place would be taken
    apart, number by number."""
    xp = namespace(w)

    def given(sqrt: Root, w: Array, dw: Array) -> tuple[Array, ...] | Exception:
        try:
            with np.errstate(all="ignore"):
                values = opt.rule(sqrt, w, dw, *[w + 0 for _ in opt.slots], *opt.numbers(opt.lr, 1))
        except Exception as problem:  # whatever a formula of the user's may raise
            return problem
        if isinstance(values, tuple) and len(values) == 1 + len(opt.slots):
            return tuple([value + 0 * w for value in values])
        got = f"{len(values)} values" if isinstance(values, tuple) else f"a {type(values).__name__}"
        raise TypeError(
            f"`rule` of {type(opt).__name__} should return a tuple of {1 + len(opt.slots)}: "
            f"({', '.join(('w', *opt.slots))}{'' if opt.slots else ','}), all new; got {got}"
        )

    def of(first: int, end: int) -> tuple[Array, ...] | Exception:
        two = xp.arange(1, 3, dtype=w.dtype)[first:end]
        return given(xp.sqrt, two, two * two - 2)

    both, one, other = of(0, 2), of(0, 1), of(1, 2)
    if isinstance(both, tuple) and isinstance(one, tuple) and isinstance(other, tuple):
        pairs = [(float(b[k]), float(a[0])) for k, alone in enumerate((one, other)) for a, b in zip(alone, both)]
        return not any(abs(a - b) > 1e-3 * abs(a) for a, b in pairs), None
    if isinstance(given(xp.sqrt, w + 0, w + 0), tuple):  # it holds an array of this shape
        return False, None
    number = xp.ones((), dtype=w.dtype)
    given(xp.sqrt, number, number)  # a formula for numbers alone, with an `if` in it perhaps
    return True, both if isinstance(both, Exception) else None


def _tell_once(name: str, message: str) -> None:
    if name not in _told:
        import logging  # a good part of `import lstmcore`, were it above

        _told.add(name)
        logging.getLogger("lstmcore").warning("lstmcore: %s %s", name, message)


_told: set[str] = set()


def number(name: str, value: float, below: float = math.inf) -> float:
    """A number in [0, below), as a plain float: NumPy's float64 would widen float32 arrays."""
    try:
        checked = float(value)
    except (TypeError, ValueError):
        checked = math.nan
    if not 0 <= checked < below:
        raise ValueError(f"`{name}` should be a number in [0, {below:g}); got {value!r}")
    return checked


def _fits(value: Array, w: Array) -> bool:
    """True nearly always, at every step; otherwise `check_like` says what is wrong."""
    return type(value) is type(w) and value.shape == w.shape and value.dtype == w.dtype
