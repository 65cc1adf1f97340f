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

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lstmcore.arrays import Array, dtype_name, namespace, to_numpy
from lstmcore.debug.rounding import CONFIDENCE
from lstmcore.debug.tables import paragraphs, table
from lstmcore.debug.trees import cast, leaves, state_names, tree_map
from lstmcore.layers import Layer

Results = Mapping[str, Any]
Function = Callable[..., Results]  # f(x, mask, dy) -> {"y": (T, B, .) or (B, .), "dx": ..., any gradients, "loss": ...}
POISONS = {"NaN": np.nan, "infinity": np.inf, "huge": 1e30}
EXTRA = 3  # steps of padding that the last rule appends


class Rule(NamedTuple):
    """One rule, and the results that break it."""

    name: str
    broken: dict[str, str]  # result -> how, in words
    checked: int  # how many results were looked at

    @property
    def ok(self) -> bool:
        return not self.broken


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

    def picture(self) -> Any:
        """A map of steps and rows: real, padding, and where a rule is broken. Needs matplotlib; returns its Figure."""
        from lstmcore.debug.picture import panels

        figure, (axis,) = panels(1)
        axis.imshow(
            np.where(self.wrong, 2, self.mask).T, aspect="auto", interpolation="nearest", cmap="viridis", vmin=0, vmax=2
        )
        axis.set(title="real steps (green), padding (dark), a broken rule (yellow)", xlabel="step", ylabel="row")
        return figure


def padding(
    layer: Layer | Function,
    x: Array,
    dy: Array | None = None,
    *,
    state: Any = None,
    mask: Array | None = None,
    dstate: Any = None,
    seed: int | None = 0,
) -> PaddingProof:
    """Proves that padding changes nothing, or says which rule is broken and by what.

    layer: a layer, container or model (run in float64 on its own engine, in evaluation), or a function
    `f(x, mask, dy) -> results`, a mapping with "y" (T, B, O) or (B, O), and any of "dx", "loss", "state" (or names with
    "state"; B rows) and gradients under other names. x (T, B, I) or integer indices (T, B). dy: what the function wants
    per step, upstream gradients or targets, (T, B, .); None: random, as y, for a layer, and None for a function. A
    result "loss" tells that the function averages over real steps: then rows are weighted by how many they have.
    mask (T, B) bool; None: rows of random lengths, padded at the end. state, dstate: for a layer, zeros by default.
    Raises ValueError for a mask without padding or without a real step, and for a function without a result "y".
    """
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
        dy = rng.standard_normal(np.shape(function(x, where, None)["y"])) if dy is None else dy
    else:
        function = layer
    if dy is not None and dy.dtype.kind == "f":
        dy = dy.astype(x.dtype if x.dtype.kind == "f" else np.float64)
    return _Case(function, x, where, dy, rng).proof()


def _of_layer(layer: Any, state: Any, dstate: Any, B: int, rng: np.random.Generator) -> Function:
    """The layer as a function; rows are told by `rows`, so that states can be cut like the batch."""
    own = layer.to(dtype="float64")
    names = state_names(layer)
    like = next(iter(own.params.values()), None)
    xp = np if like is None else namespace(like)
    state, dstate = (cast(tree_map(to_numpy, s), np.float64) for s in (state, dstate))

    def function(x: Array, mask: Array, dy: Array | None, rows: Any = slice(None)) -> Results:
        s0, ds = (tree_map(lambda s: xp.asarray(s[rows]), tree) for tree in (state, dstate))
        y, final, cache = own.forward(xp.asarray(x), s0, xp.asarray(mask))
        results = {"y": y} | {f"state {name.removesuffix('0')}": s for name, s in leaves(final, names)}
        if dy is not None:
            dx, dstate0, grads = own.backward(xp.asarray(dy), cache, ds)
            results |= ({} if dx is None else {"dx": dx}) | {f"d{name}": g for name, g in grads.items()}
            results |= {f"dstate {name}": s for name, s in leaves(dstate0, names)}
        return {name: to_numpy(value) for name, value in results.items()}

    function.takes_rows = True  # type: ignore[attr-defined]
    return function


class _Case:
    """One function on one batch."""

    def __init__(self, function: Function, x: np.ndarray, mask: np.ndarray, dy: Any, rng: np.random.Generator):
        self.function, self.x, self.mask, self.dy, self.rng = function, x, mask, dy, rng
        self.T, self.B = mask.shape
        self.clean = self.run(x, mask, dy)
        if "y" not in self.clean:
            raise ValueError(f"`layer` should return a result named 'y'; got {', '.join(self.clean) or 'nothing'}")
        self.timed = self.clean["y"].ndim == 3
        self.wrong = np.zeros(mask.shape, bool)
        self.allowed = self._allowed()

    def run(self, x: np.ndarray, mask: np.ndarray, dy: np.ndarray | None, rows: Any = None) -> dict[str, np.ndarray]:
        """The function's results as arrays of its own; what it does not know how to warn of is ignored."""
        extra = {"rows": rows} if rows is not None and hasattr(self.function, "takes_rows") else {}
        with np.errstate(all="ignore"):
            results = self.function(x.copy(), mask.copy(), None if dy is None else dy.copy(), **extra)
        return {name: np.array(to_numpy(value)) for name, value in results.items() if value is not None}

    def proof(self) -> PaddingProof:
        lost = {name: "is not finite" for name, value in self.clean.items() if not np.isfinite(value).all()}
        if lost:
            told = f"{', '.join(lost)} not finite without any poison: nothing can be proved; ask the tripwire first"
            return PaddingProof((Rule("results are finite", lost, len(self.clean)),), (told,), self.mask, self.wrong)
        rules = (self.poison(), self.zeros(), self.rows_alone(), self.longer())
        mistakes = () if all(rule.ok for rule in rules) else tuple(self.mistakes(rules))
        return PaddingProof(rules, mistakes, self.mask, self.wrong)

    # ---- the rules -------------------------------------------------------------------------------------------

    def poison(self) -> Rule:
        broken: dict[str, str] = {}
        for poison, value in POISONS.items():
            other = self.run(self._filled(self.x, value), self.mask, self._filled(self.dy, value))
            for name, clean in self.clean.items():
                if other[name].tobytes() != clean.tobytes() and name not in broken:
                    where = other[name] != clean
                    broken[name] = f"changes with {poison} in the padding, {self._places(where)}"
                    if self._by_step(name):
                        self.wrong |= where.any(-1)
        return Rule("poison in the padding changes no bit", broken, len(self.clean))

    def zeros(self) -> Rule:
        broken: dict[str, str] = {}
        names: list[str] = [name for name in ("y", "dx") if name in self.clean and self._by_step(name)]
        for name in names:
            bad = (self.clean[name] != 0).any(-1) & ~self.mask
            self.wrong |= bad
            if bad.any():
                broken[name] = f"is not zero at {bad.sum()} of {(~self.mask).sum()} padded steps"
        return Rule("outputs and input gradients are zero at padded steps", broken, len(names))

    def rows_alone(self) -> Rule:
        whole = self.clean
        sums = {name: np.zeros_like(a) for name, a in whole.items() if not self._per_row(name)}
        broken: dict[str, str] = {}
        for b, row in self._alone():
            steps = np.flatnonzero(self.mask[:, b])
            weight = len(steps) / self.mask.sum() if "loss" in whole else 1.0
            for name, value in row.items():
                if name in sums:
                    sums[name] = sums[name] + weight * value
                    continue
                if self._by_step(name) and not len(steps):
                    continue  # nothing but padding: the rule of zeros is enough
                if self._by_step(name):
                    got, limit = whole[name][steps, b], self.allowed[name][steps, b]
                    want = value[:, 0] * (weight if name == "dx" else 1.0)
                else:
                    got, limit, want = whole[name][b], self.allowed[name][b], value[0]
                off = ~(abs(got - want) <= limit)
                if off.any() and self._by_step(name):
                    self.wrong[steps, b] |= off.any(-1)
                if off.any() and name not in broken:
                    broken[name] = f"of row {b} is {_distance(got, want)} away from that of the row alone"
        for name, value in sums.items():
            if not (abs(whole[name] - value) <= self.allowed[name]).all():
                broken[name] = f"is {_distance(whole[name], value)} away from what the rows alone add up to"
        return Rule("rows run alone give the same", broken, len(whole))

    def longer(self) -> Rule:
        more = self.run(*self._extended())
        broken = {}
        for name, clean in self.clean.items():
            value = more[name][: self.T] if self._by_step(name) else more[name]
            if not (abs(value - clean) <= self.allowed[name]).all():
                broken[name] = f"changes by {_distance(value, clean)} with {EXTRA} more steps of padding"
        return Rule("more padding changes nothing", broken, len(self.clean))

    # ---- which mistake it is ---------------------------------------------------------------------------------

    def mistakes(self, rules: tuple[Rule, ...]) -> Iterator[str]:
        poison, zeros, alone, longer = (rule.broken for rule in rules)
        broken = poison | alone | longer
        found = []
        if self._loss_counts_padding():
            found.append("the loss is divided by the padded count: T B steps, in place of the real ones")
        last = self._copies_the_last()
        if last:
            found.append(
                "padded outputs copy the last real one"
                + (", and their upstream gradients pile up on it" if self._listens_to_padded_dy() else "")
            )
        elif "y" in zeros:
            found.append("padded steps give outputs")
        if self.timed and ("y" in alone or "y" in poison or "y" in longer):
            columns = self._columns_off()
            half = f"columns {columns.min()} to {columns.max()} of y" if len(columns) else "y"
            if self._ends_padded():
                found.append(
                    f"the backward direction starts in the padding: {half} at real steps depend on what "
                    "stands behind them"
                )
            else:
                found.append(f"the state runs on through padding: {half} at real steps depend on padded ones before")
        if any("state" in name for name in broken) or (not self.timed and "y" in broken):
            names = [name for name in broken if "state" in name] + (["y"] if not self.timed and "y" in broken else [])
            if self._ignores_the_mask(names):
                found.append(f"the state runs on through padding: {', '.join(names)} as if there were no mask")
            elif not any("state runs on" in f or "backward direction" in f for f in found):
                found.append(f"the state runs on through padding: {', '.join(names)} depends on it")
        if self._listens_to_padded_dy() and not last:
            found.append("upstream gradients at padded steps are not left out: they reach the results")
        if any(name in poison for name in self.clean) and not any(name in alone | longer for name in poison):
            found.append(
                "padding is multiplied out, not selected out: harmless while it is finite, and NaN times zero is NaN"
            )
        if not found:
            found.append(f"padding reaches {', '.join(dict.fromkeys([*zeros, *broken]))}")
        return iter(found)

    def _loss_counts_padding(self) -> bool:
        """Three more padded steps shrink the loss by T / (T + 3)."""
        if "loss" not in self.clean or self.clean["loss"] == 0:
            return False
        ratio = float(self.run(*self._extended())["loss"] / self.clean["loss"])
        return abs(ratio - self.T / (self.T + EXTRA)) < 1e-6  # rounding is 1e-16

    def _copies_the_last(self) -> bool:
        if not self.timed or not self._ends_padded():
            return False
        y, lengths = self.clean["y"], self.mask.sum(0)
        copies = [
            np.array_equal(y[t, b], y[lengths[b] - 1, b])
            for b in range(self.B)
            if lengths[b]
            for t in range(lengths[b], self.T)
        ]
        return all(copies) and y[~self.mask].any()

    def _listens_to_padded_dy(self) -> bool:
        if not self._dy_by_step():
            return False
        other = self.run(self.x, self.mask, self._filled(self.dy, 1.0) * 2 - self.dy * self.mask[..., None])
        return any(other[name].tobytes() != value.tobytes() for name, value in self.clean.items() if name != "loss")

    def _ignores_the_mask(self, names: list[str]) -> bool:
        """Without padding's mask, on the same numbers, the same comes out."""
        other = self.run(self.x, np.ones_like(self.mask), self.dy)
        zero = self.run(self._filled(self.x, 0), np.ones_like(self.mask), self.dy)
        return any(all((abs(o[n] - self.clean[n]) <= self.allowed[n]).all() for n in names) for o in (other, zero))

    def _ends_padded(self) -> bool:
        """True if all padding stands at the end of its row."""
        return bool((self.mask[:-1] >= self.mask[1:]).all())

    def _columns_off(self) -> np.ndarray:
        """The columns of y that are wrong at real steps."""
        off = np.zeros(self.clean["y"].shape[-1], bool)
        for b, row in self._alone():
            steps = np.flatnonzero(self.mask[:, b])
            off |= ~(abs(self.clean["y"][steps, b] - row["y"][:, 0]) <= self.allowed["y"][steps, b]).all(0)
        return np.flatnonzero(off)

    # ---- helpers ---------------------------------------------------------------------------------------------

    def _alone(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Each row with a real step, by itself and cut down to its real steps."""
        for b in range(self.B):
            steps = np.flatnonzero(self.mask[:, b])
            rows = slice(b, b + 1)
            if len(steps):
                yield b, self.run(self.x[steps, rows], np.ones((len(steps), 1), bool), self._dy_of(steps, rows), rows)
            elif not self.timed and "loss" not in self.clean:  # a head over final states sees this row too
                yield b, self.run(self.x[:, rows], self.mask[:, rows], self._dy_of(slice(None), rows), rows)

    def _extended(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        more = [np.concatenate([a, np.zeros((EXTRA, *a.shape[1:]), a.dtype)]) for a in (self.x, self.mask)]
        dy = self.dy
        if self._dy_by_step():
            dy = np.concatenate([dy, np.zeros((EXTRA, *dy.shape[1:]), dy.dtype)])
        return more[0], more[1], dy

    def _dy_by_step(self) -> bool:
        """True for upstream gradients or targets over (T, B) or (T, B, .)."""
        return self.dy is not None and self.dy.shape[:2] == self.mask.shape and (self.timed or self.dy.ndim > 2)

    def _dy_of(self, steps: Any, rows: slice) -> np.ndarray | None:
        return None if self.dy is None else self.dy[steps, rows] if self._dy_by_step() else self.dy[rows]

    def _filled(self, array: Any, value: float) -> Any:
        """A copy with `value` in the padding; indices get one far out of range, arrays without time stay."""
        if array is None:
            return None
        array = array.copy()
        if array.shape[:2] == self.mask.shape:
            array[~self.mask] = value if array.dtype.kind == "f" else 0 if value == 0 else -12345
        return array

    def _allowed(self) -> dict[str, np.ndarray]:
        """Per result: what one unit of rounding in every number changes, times what n-term sums allow."""
        moved = [self.run(self._jostled(self.x), self.mask, self._jostled(self.dy)) for _ in range(4)]
        terms = self.T * self.B + self.x.shape[-1] + self.clean["y"].shape[-1]
        allowed = {}
        for name, value in self.clean.items():
            spread = max(float(np.max(abs(other[name] - value), initial=0)) for other in moved)
            eps = float(np.finfo(dtype_name(value.dtype)).eps) if value.dtype.kind == "f" else 0.0
            size = eps * float(np.max(abs(value), initial=0))
            allowed[name] = np.full(value.shape, CONFIDENCE * np.sqrt(terms) * (spread + size))
        return allowed

    def _jostled(self, array: Any) -> Any:
        if array is None or array.dtype.kind != "f":
            return array
        return array * (1 + np.finfo(array.dtype).eps * self.rng.choice([-1.0, 1.0], array.shape)).astype(array.dtype)

    def _by_step(self, name: str) -> bool:
        """True for results over (T, B, .)."""
        return name in ("y", "dx") and self.clean[name].shape[:2] == self.mask.shape and self.clean[name].ndim == 3

    def _per_row(self, name: str) -> bool:
        return name in ("y", "dx") or "state" in name

    def _places(self, where: np.ndarray) -> str:
        if where.shape[:2] == self.mask.shape and where.ndim == 3:
            bad = where.any(-1)
            return f"at {(bad & self.mask).sum()} real and {(bad & ~self.mask).sum()} padded steps"
        return f"in {where.sum()} of {where.size} numbers"


def _distance(got: np.ndarray, want: np.ndarray) -> str:
    size = np.max(abs(want), initial=0)
    worst = np.max(abs(got - want), initial=0)
    return f"{100 * worst / size:.2g} %" if size > 0 else f"{worst:.2g}"
