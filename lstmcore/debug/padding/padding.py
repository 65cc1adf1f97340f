"""Does padding change anything? The proof, for a layer, a model, or somebody else's function.

Four rules. *Poison*: NaN, infinity and huge numbers in the padding change no bit of any result. *Zeros*: outputs and
input gradients are exactly zero there. *Rows alone*: each row, cut down to its real steps and run by itself, gives what
it gave in the batch, and gradients add up over the rows. *Longer*: more padding changes nothing. A broken rule is
traced to the mistake behind it, as far as the numbers tell.

The last two rules compare sums taken in another order. What rounding explains is measured: a product's rounding can be
pushed into its factors (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.5), so the function
is run again on data in which every number is moved by one unit of rounding; n-term sums allow sqrt(n) times that
(Higham & Mary 2019). Everything runs in float64 where the function allows it, and mistakes are 10^9 times as large.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from typing import cast as typed

import numpy as np

from lstmcore.arrays import Array, State, namespace, to_numpy
from lstmcore.debug.padding.batch import Function, PaddedBatch, Results
from lstmcore.debug.padding.culprit import name_mistakes
from lstmcore.debug.padding.rules import Rule, longer, poison, rows_alone, zeros
from lstmcore.debug.show.page import notebook
from lstmcore.debug.show.picture import BAD, COLOURS, PLAIN, kinds, panels
from lstmcore.debug.show.tables import paragraphs, table
from lstmcore.debug.trees import cast, named, tree_map
from lstmcore.layers import BatchFirst, Layer
from lstmcore.layers.batch_first import swapped
from lstmcore.layers.tree import state_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PaddingProof:
    """The answer. Prints the rules, and the mistake behind a broken one."""

    rules: tuple[Rule, ...]
    mistakes: tuple[str, ...]  # in words, likeliest first
    mask: np.ndarray  # (T, B) the mask that was tried
    wrong: np.ndarray  # (T, B) bool: real steps whose output depends on padding, and padded ones that are not zero

    @property
    def ok(self) -> bool:
        """True if no rule is broken."""
        return all(rule.ok for rule in self.rules)

    @property
    def findings(self) -> tuple[str, ...]:
        """The answer in words."""
        return self.mistakes if not self.ok else ("padding changes nothing: every rule holds",)

    def __str__(self) -> str:
        rows = [[rule.name, f"{rule.checked}", "holds" if rule.ok else "BROKEN", ""] for rule in self.rules]
        details = [f"{rule.name}: {name} {how}" for rule in self.rules for name, how in rule.broken.items()]
        return "\n".join([paragraphs(self.findings), "", table(["rule", "results", "", ""], rows), *details])

    def picture(self) -> "Figure":
        """A map of steps and rows: real, padding, and where a rule is broken. Needs matplotlib; returns its Figure."""
        figure, (axis,) = panels(1.2 + 0.15 * min(self.mask.shape[1], 12))
        state = np.where(self.wrong, 2, self.mask)
        kinds(axis, state, [("padding", PLAIN), ("real step", COLOURS[0]), ("a broken rule", BAD)])
        return figure

    _repr_html_ = notebook


def padding(
    layer: Layer | Function,
    x: Array,
    dy: Array | None = None,
    *,
    state: State | None = None,
    mask: Array | None = None,
    dstate: State | None = None,
    seed: int | None = 0,
) -> PaddingProof:
    """Proves that padding changes nothing, or says which rule is broken and by what.

    layer: a layer, container or model (run in float64 on its own engine, in evaluation), or a function
    `f(x, mask, dy) -> results`, a mapping with "y" (T, B, O) or (B, O), and any of "dx", "loss", "state" (or names with
    "state"; B rows) and gradients under other names. x (T, B, I) or integer indices (T, B). dy: what the function wants
    per step, upstream gradients or targets, (T, B, .); None: random, as y, for a layer, and None for a function. A
    result "loss" tells that the function averages over real steps: then rows are weighted by how many they have.
    mask (T, B) bool; None: rows of random lengths, padded at the end. state, dstate: for a layer, zeros by default.
    A BatchFirst takes them all batch first; its model is proved, and the proof counts steps first.
    Raises ValueError for a mask without padding or without a real step, for a function without a result "y", and for a
    layer whose engine has no float64 (prove it on "fused-cpu": docs/cpu.md).
    """
    if isinstance(layer, BatchFirst):  # what it takes is turned, and its model proved
        x, dy, mask = swapped(x), dy if dy is None or dy.ndim < 3 else swapped(dy), swapped(mask)
        state, dstate = (None if s is None else typed("State", s[0]) for s in (state, dstate))
        layer = layer.model
    rng = np.random.default_rng(seed)
    T, B = x.shape[:2]
    x, dy = to_numpy(x), None if dy is None else to_numpy(dy)
    if mask is None:
        lengths = rng.integers(1, max(2, T), B)
        where = np.arange(T)[:, None] < lengths
    else:
        where = to_numpy(mask)
    if where.all() or not where.any():
        got = "no padding" if where.all() else "no real step"
        raise ValueError(f"`mask` should hold padding and real steps; got {got} (T = 1? there is no room for padding)")
    if hasattr(layer, "forward"):
        function = _of_layer(layer, state, dstate, B, rng)
        x = cast(x, np.float64)
        dy = rng.standard_normal(to_numpy(function(x, where, None)["y"]).shape) if dy is None else dy
    else:
        function = layer
    if dy is not None and dy.dtype.kind == "f":
        dy = dy.astype(x.dtype if x.dtype.kind == "f" else np.float64)
    return _proof(PaddedBatch(function, x, where, dy, rng))


def _of_layer(layer: Any, state: State | None, dstate: State | None, B: int, rng: np.random.Generator) -> Function:
    """The layer as a function; rows are told by `rows`, so that states can be cut like the batch."""
    own = layer.to(dtype="float64")
    names = state_names(layer)
    like = next(iter(own.params.values()), None)
    xp = np if like is None else namespace(like)
    state, dstate = (cast(tree_map(to_numpy, s), np.float64) for s in (state, dstate))

    def function(x: Array, mask: Array, dy: Array | None, rows: slice = slice(None)) -> Results:
        s0, ds = (tree_map(lambda s: xp.asarray(s[rows]), tree) for tree in (state, dstate))
        y, final, cache = own.forward(xp.asarray(x), s0, xp.asarray(mask))
        results = {"y": y} | {f"state {name.removesuffix('0')}": s for name, s in named(final, names).items()}
        if dy is not None:
            dx, dstate0, grads = own.backward(xp.asarray(dy), cache, ds)
            results |= ({} if dx is None else {"dx": dx}) | {f"d{name}": g for name, g in grads.items()}
            results |= {f"dstate {name}": s for name, s in named(dstate0, names).items()}
        return {name: to_numpy(value) for name, value in results.items()}

    function.takes_rows = True  # type: ignore[attr-defined]
    return function


def _proof(batch: PaddedBatch) -> PaddingProof:
    """The four rules; nothing can be proved of results that are not finite anyway."""
    lost = {name: "is not finite" for name, value in batch.clean.items() if not np.isfinite(value).all()}
    if lost:
        told = f"{', '.join(lost)} not finite without any poison: nothing can be proved; ask the tripwire first"
        return PaddingProof((Rule("results are finite", lost, len(batch.clean)),), (told,), batch.mask, batch.wrong)
    rules = (poison(batch), zeros(batch), rows_alone(batch), longer(batch))
    mistakes: tuple[str, ...] = () if all(rule.ok for rule in rules) else tuple(name_mistakes(batch, rules))
    return PaddingProof(rules, mistakes, batch.mask, batch.wrong)
