"""These gradients are in doubt: are they right, and if not, which known mistake gives exactly these numbers?"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from lstmcore.arrays import Array, Plain, State
from lstmcore.debug.case import Case
from lstmcore.debug.diagnose.beside import lines_of
from lstmcore.debug.diagnose.forward import Forward
from lstmcore.debug.diagnose.head import judge_head
from lstmcore.debug.diagnose.lines import judge
from lstmcore.debug.diagnose.locate import Place, locate
from lstmcore.debug.diagnose.norms import normed_without_gains, with_forms_settled
from lstmcore.debug.diagnose.program import OWN
from lstmcore.debug.diagnose.read_case import Reading, readings
from lstmcore.debug.diagnose.search import Search, Suspicion, unexplained
from lstmcore.debug.diagnose.suspects import fitted, forgotten, in_layers, limits, suspects, truncations
from lstmcore.debug.diagnose.trial import Bench, residual, with_loss_settled
from lstmcore.debug.mistakes import Mistake
from lstmcore.debug.mistakes.around_layers import READ_IN_ORDER, turned_over
from lstmcore.debug.show.page import notebook
from lstmcore.interop import Layout


@dataclass(frozen=True)
class RunnerUp:
    """The nearest explanation that is not the answer, where it explains more than half."""

    names: tuple[str, ...]
    residual: float


@dataclass(frozen=True)
class Diagnosis:
    """The answer. Prints as text, with the right lines beside the wrong ones."""

    ok: bool  # the gradients are right, up to rounding, and the function is this one
    names: tuple[str, ...]  # the mistakes of the best answer, and then those whose numbers are the same
    residual: (
        float  # between the gradients and the answer's numbers: largest relative error of an array; NaN line by line
    )
    runner_up: RunnerUp | None
    alternatives: tuple[tuple[Mistake, ...], ...]  # each a set of mistakes that gives these very numbers
    place: Place | None  # where it starts, if nothing known explains it
    off: float  # between the gradients and the right ones
    digits: str  # to which digits they were judged: "float64", "the 6 decimals that were written", or several of these
    notes: tuple[str, ...] = ()  # how the arrays were understood, where it was guessed
    head: tuple[str, ...] = ()  # what is wrong with the gradients of the head above, where they were given
    where: Place | None = None  # where wrong gradients are seen, whatever they are called
    own: str = ""  # whether the gradients are those of the program's own forward, where it could be run again (record)
    forward: str = ""  # what the outputs say, where they were given: "right", another function, or where they leave

    def __str__(self) -> str:
        lines = [f"understood: {'; '.join(self.notes)}"] if self.notes else []
        function = all(mistake.function for mistakes in self.alternatives for mistake in mistakes)
        function &= self.place is None
        if self.forward:
            lines.append(f"forward: {self.forward}")
        if self.own:
            lines.append(self.own)
        if self.head:
            lines.append(f"WRONG above the layer: {'; '.join(self.head)}")
        if self.ok or (self.head and self.names == self.head):
            rounding = f"rounding ({self.digits})"
            lines.append(f"right: the largest relative error of an array, {self.residual:.1e}, is {rounding}")
            return "\n".join([*lines, f"next: {self.next}"])
        if self.names and function:
            lines.append(f"another function than this one, with right gradients; the plain one is {self.off:.1e} off")
        elif self.off == self.off:
            lines.append(f"WRONG: off by {self.off:.1e} of an array's largest number")
        if self.place is not None:
            lines.append(str(self.place))
        elif self.where is not None:
            lines.append(self.where.seen)
        for k, mistakes in enumerate(self.alternatives):
            lines.append("" if k == 0 else "with the same numbers:")
            for mistake in mistakes:
                lines.extend([mistake.name, *map(str, lines_of(mistake))])
        if self.names and self.place is None and self.residual == self.residual:
            lines.append(f"residual {self.residual:.1e}: rounding ({self.digits})")
        if self.runner_up is not None:
            names = " and ".join(self.runner_up.names) or "no mistake at all"
            lines.append(f"the next best, {self.runner_up.residual:.1e} away: {names}")
        lines.append(f"next: {self.next}")
        return "\n".join(line for line in lines if line)

    _repr_html_ = notebook

    @property
    def next(self) -> str:
        """What to try next."""
        if self.ok:
            return ADVICE["learns"] if self.forward else ADVICE["y"]
        if self.place is not None:
            return ADVICE["short"] if self.forward else f"{ADVICE['y']}; {ADVICE['short']}"
        if self.names:
            return ADVICE["mend"]
        return ADVICE["record"]

    def as_dict(self) -> Plain:
        """All of it as plain numbers, words, lists and dicts; None for a number without bounds."""
        said: Plain = {
            name: getattr(self, name) for name in ("ok", "names", "digits", "notes", "forward", "own", "head", "next")
        }
        said |= {name: value if math.isfinite(value := getattr(self, name)) else None for name in ("residual", "off")}
        said |= {name: value and value._asdict() for name in ("place", "where") for value in (getattr(self, name),)}
        said["runner_up"] = self.runner_up and vars(self.runner_up)
        said["mistakes"] = [
            [{"name": m.name, "lines": [line._asdict() for line in lines_of(m)]} for m in mistakes]
            for mistakes in self.alternatives
        ]
        return said


def diagnose(
    weights: Mapping[str, Array],
    x: Array,
    dy: Array | None,
    grads: Mapping[str, Array],
    *,
    state: State | Mapping[str, Array] | None = None,
    mask: Array | None = None,
    dstate: State | Mapping[str, Array] | None = None,
    layout: str | Layout = "lstmcore",
    cell: str | None = None,
    dropout: Mapping[str, Array] | None = None,
    y: Array | None = None,
    steps: Mapping[str, Array] | None = None,
    loss: Mapping[str, object] | None = None,
    search: bool = True,
    tell: Callable[[str], None] = lambda words: None,
) -> Diagnosis:
    """Says whether gradients are right, and if not which mistake, or which two, give exactly these numbers.

    weights, grads: dicts of arrays in the layout named (lstmcore.interop.LAYOUTS), of one layer, both directions, or a
    stack; grads may be partial, and may hold "x", "h0", "c0". Arrays may also have names of somebody's own (layers told
    apart by a number in them, directions by a word), (out, in) or (in, out), fused or a matrix per gate over [h, x],
    [x, h] or each alone, and gains of layer norm (gamma, beta): what the shapes leave open is tried, and said in
    `notes`. x (T, B, I); dy the gradient of all outputs, (T, B, D H), or of the final states
    h alone, (B, D H); mask (T, B) bool. x and dy may have their axes in another order, batch first say. state, dstate:
    the initial state and the gradient of the final one: (h, c), each (B, H) or (layers * directions, B, H), or by name;
    None means zeros. cell: "lstm", "gru" or "rnn"; None tells it from the shapes.
    dropout: the masks of a program with dropout around the layers, "x" (T, B, I) for the inputs and "y", as dy, for the
    outputs, or between them, "0" (T, B, D H) for what layer 0 gives to the next; (B, .) for one mask at all steps. They
    hold what values are multiplied with, 0 or 1 / (1 - p). x is then the input before dropout, and grads["x"] its
    gradient; dy is the gradient of what dropout leaves of the outputs.
    y: the outputs, as dy; they tell which function it is, and gradients are then judged for that one. steps: more that
    was seen inside the loop of one layer, (T, B, H) each: "c" and the gates "i", "f", "g", "o"; of the way back "da_i",
    "da_f", "da_g", "da_o", the gradients of the pre-activations, and "dh" and "dc", those of the states with all that
    reached them. With da every line is judged by itself, and any number of mistakes named; a short case without a mask,
    T B <= I + H + 1, tells da by its weight gradients.
    loss: in place of dy, which is then None: dict(kind=, targets=, over=, W=, b=, dW=, db=, value=). kind: "squared
    error", (y - t)^2; "half squared error"; "cross-entropy", after a softmax; "binary cross-entropy", after a sigmoid.
    targets (T, B, V), or classes (T, B); without T for a loss of the final states. over: what the sum is divided by,
    "mean" (all its numbers, or classes), "sum" (nothing), "rows" (B), "steps" (T), "items" (T B); with a mask valid
    items alone count. W (D H, V), or turned, and b (V,): a linear head between y and the loss; dW, db: its gradients,
    which are judged too. value: the loss that the program found, which tells `over` and the half where they are not
    said.
    search: False places what is wrong, and looks for no names. tell: is told the place before the search, and how far
    the search is.

    Gradients are the sums over all steps and rows of what dy gives; nothing is averaged. They are right if no number is
    farther off than rounding explains in the precision in which each array was computed and written (precision.py).
    Raises TypeError, KeyError or ValueError for what does not fit, and for NaN and infinities.
    """
    found = readings(weights, x, dy, grads, state, mask, dstate, layout, cell, dropout, y, steps, loss)
    found = with_forms_settled([with_loss_settled(reading) for reading in found])
    sound = [_Ladder(reading, tell) for reading in found]
    best = next((ladder for ladder in sound if ladder.plain), None)  # the outputs tell, or the gradients
    best = best or next((ladder for ladder in sound if not ladder.forward.seen and ladder.search.right), None)
    others = [ladder for ladder in sound if ladder.forward.seen] if best is None else []
    best = best or next((ladder for ladder in others if ladder.another(1)), None)
    best = best or next((way for ladder in others if (way := ladder.normed())), None)
    best = best or next((ladder for ladder in others if ladder.another(2)), None)
    if best is None and not sound[0].forward.seen:  # what is nearest, where no outputs tell
        likeliest, *_ = sound
        sound.sort(key=lambda ladder: ladder.distance)
        inside = "da_i" in found[0].case.steps  # then lines are judged, not sums of lines
        if search and not inside and len(sound) > 1:
            tell(str(sound[0].place))
            tell(f"the arrays can be read in {len(sound)} ways; looking for the one that a single mistake explains")
            ways = dict.fromkeys([*sound[:READINGS], likeliest])
            best = next((ladder for ladder in ways if ladder.singles()), None)
    best = best or sound[0]
    answer, head = best.verdict(search), judge_head(best.bench)
    return replace(answer, ok=False, head=head, names=(*answer.names, *head)) if head else answer


class _Ladder:
    """One reading of the arrays: which function it is, whether its gradients are right, which mistakes they hold."""

    def __init__(self, reading: Reading, tell: Callable[[str], None]):
        self.reading, self.tell = reading, tell
        self.forward = Forward(Bench(reading))
        self.function: tuple[Mistake, ...] | None = None if self.forward.seen else ()
        self.bench = Bench(reading)
        self.search = Search(self.bench, tell)
        self.ran = self.paired = False

    @cached_property
    def known(self) -> list[Mistake]:
        """The mistakes of the catalogue that this reading has room for."""
        return suspects(self.reading.case)

    @property
    def plain(self) -> bool:
        """Whether the outputs are there, and are those of this function."""
        if self.forward.seen and self.function is None and self.forward.explained():
            self.function = ()
        return bool(self.forward.seen) and self.function == ()

    @property
    def place(self) -> Place:
        """Where the gradients leave the right ones."""
        return locate(self.bench, self.bench.numbers())

    @property
    def distance(self) -> float:
        """How far the gradients are from those of this reading: of an array that is right, next to nothing."""
        grads = self.search.grads
        return float(unexplained(grads, {key: 0 * g for key, g in grads.items()}, [self.bench.numbers()])[0])

    def another(self, size: int) -> bool:
        """Whether the outputs are those of another function, this many mistakes away: then it is that one."""
        self.tell(f"the outputs are not those of this function; looking for another, {size} lines away")
        function = self.forward.found(self.known, size)
        if function:
            self.of(function)
        return function is not None

    def normed(self) -> "_Ladder | None":
        """The same arrays as those of an LSTM with layer norm, if that gives the outputs."""
        self.tell("the outputs are not those of a function known; looking for one with layer norm")
        way = normed_without_gains(self.reading)
        return None if way is None else _Ladder(way.reading, self.tell).of(way.order)

    def of(self, function: tuple[Mistake, ...]) -> "_Ladder":
        """Judges the gradients of this function from now on."""
        self.function, self.bench = function, Bench(self.reading, function)
        self.search, self.ran, self.paired = Search(self.bench, self.tell), False, False
        return self

    def singles(self) -> list[Suspicion]:
        """What explains the gradients of all single mistakes, and of those whose number the gradients suggest."""
        if not self.ran:
            self.ran = True
            self.search.run((mistake,) for mistake in self.known)
            if not self.search.found(1):
                case, bench = self.reading.case, self.bench
                more = (*fitted(case, bench.numbers()), *truncations(case), *limits(bench))
                self.search.run((mistake,) for mistake in more)
            if not self.search.found(1) and self.function:
                self._judge_as_plain()
            if not self.search.found(1):
                layers = locate(self.bench, self.bench.numbers()).layers
                self.search.run((mistake,) for mistake in in_layers(self.known, layers))
        return self.search.found(1)

    def pairs(self) -> list[Suspicion]:
        """What explains the gradients of two mistakes, where none does of one."""
        if not self.singles() and not self.paired:
            self.paired = True
            self.search.pairs(self.bench.numbers(), self.known)
        return self.search.found(2)

    def _judge_as_plain(self) -> None:
        """Whether the way back is still that of the plain function: then that is the mistake."""
        (*others, last) = self.function or ()
        half = forgotten(last) if last is not None else None
        if half is not None:
            search = Search(Bench(self.reading, tuple(others)), self.tell)
            search.run([(half,)])
            if search.found(1):
                self.function, self.bench, self.search = tuple(others), search.bench, search

    def verdict(self, search: bool) -> Diagnosis:
        reading, bench, function = self.reading, self.bench, self.function or ()
        turned = tuple(turned_over(key) for key in reading.transposed)
        own = isinstance(reading.case.layout, Layout) and reading.case.layout.source == OWN
        ordered = [m for m in function if m in READ_IN_ORDER or (own and m.name == Z_KEEPS)]
        others = tuple(m for m in function if m not in ordered)
        another = (reading.function,) if reading.function and not own else ()
        notes = (*reading.notes, *(m.name.replace(", forward and backward", "") for m in ordered))
        forward = self._forward(others)
        right = self.search.right
        off = self.search.run([()])[0].residual
        if right or self.function is None:
            said = (*others, *turned)
            return Diagnosis(
                ok=right and not said and not another and self.function is not None,
                names=(*another, *(m.name for m in said)),
                residual=off,
                runner_up=None,
                alternatives=(said,) if said else (),
                place=None,
                off=residual(reading.case.grads, Bench(reading).numbers()) if right else float("nan"),
                digits=_digits(reading),
                notes=notes,
                forward=forward,
            )
        place = self.place
        self.tell(str(place))
        self.known = self.forward.kept(self.known, function)
        lines, inside = judge(bench, self.known) if search else None, "da_i" in reading.case.steps
        if lines is not None and lines.unknown and not inside and self.pairs():
            lines = None  # two mistakes explain what no line does
        if lines is not None and (len(lines.mistakes) > 1 or inside or not self.singles()):
            said = (*others, *turned, *lines.mistakes)
            return Diagnosis(
                ok=False,
                names=tuple(m.name for m in said),
                residual=float("nan") if not lines.unknown else off,
                runner_up=None,
                alternatives=(said,),
                place=place._replace(arrays=lines.unknown, right=lines.right) if lines.unknown else None,
                off=off,
                where=place,
                digits=_digits(reading),
                notes=(*notes, "judged line by line, each from the program's own numbers before it"),
                forward=forward,
            )
        found: list[Suspicion] = []
        if search:
            self.tell(f"looking for its name among {len(self.known)} mistakes, and pairs of them")
            found = self.singles() or self.pairs()
        if found and reading.open_order and all(len(s.mistakes) == 1 for s in found):
            order = next((s.mistakes[0] for s in found if s.mistakes[0] in READ_IN_ORDER), None)
            if order is not None:  # names of their own: their order is no mistake
                return self.of((order,)).verdict(search)
        kept = {id(s) for s in found}
        rest = sorted((s for s in self.search.tried if id(s) not in kept), key=lambda s: s.residual)
        both = (*others, *turned)
        return Diagnosis(
            ok=False,
            names=tuple(
                dict.fromkeys(m.name for s in found for m in (*both, *s.mistakes))
            ),  # each once, the best first
            residual=(found or rest)[0].residual,
            runner_up=_runner_up(rest[0]) if rest and rest[0].mistakes and rest[0].residual < off / 2 else None,
            alternatives=tuple((*both, *s.mistakes) for s in found),
            place=None if found else place,
            where=place,
            off=off,
            digits=_digits(reading),
            notes=notes,
            forward=forward,
        )

    def _forward(self, others: tuple[Mistake, ...]) -> str:
        """What the outputs say."""
        if not self.forward.seen:
            return ""
        if self.function is None:
            return f"{self.forward.leaves()}; no other function known gives it, so its gradients cannot be judged"
        words = [*([self.reading.function] if self.reading.function else []), *(m.name for m in others)]
        return "another function: " + " and ".join(words) if words else "right"


ADVICE = {
    "y": "bring your outputs y as well: then the forward pass is judged too, before the gradients",
    "learns": "the layer is right; if it does not learn, lc.debug.report looks at the whole step",
    "short": "a short case, T B <= I + H + 1, of one LSTM without mask tells more; or da, dh, dc of each step (steps=)",
    "mend": "mend it and bring the case again: one mistake may hide another",
    "record": "c and the gates of each step (steps=) tell in which line it leaves; lc.debug.record holds your "
    "gradients to your own forward",
}
Z_KEEPS = "GRU: z and 1 - z swapped, forward and backward"  # half of the papers have it so
READINGS = 4  # single mistakes are tried in this many readings, the nearest ones


def _digits(reading: Reading) -> str:
    """How the gradients were written: one format for all, or the arrays of each."""
    kinds: dict[str, list[str]] = {}
    for key, how in ((key, reading.written[key]) for key in reading.case.grads):
        kinds.setdefault(str(how), []).append(key)
    return "; ".join(f"{kind}: {', '.join(keys)}" if len(kinds) > 1 else kind for kind, keys in kinds.items())


def diagnose_case(case: Case, search: bool = True, tell: Callable[[str], None] = lambda words: None) -> Diagnosis:
    """`diagnose` for a case, as `load_case` reads it from a file."""
    return diagnose(
        case.weights,
        case.x,
        case.upstream,
        case.grads,
        state=case.state or None,
        mask=case.mask,
        dstate=case.dstate or None,
        layout=case.layout,
        cell=case.cell or None,
        dropout=case.dropout,
        steps=case.steps,
        loss=case.loss or None,
        search=search,
        tell=tell,
    )


def _runner_up(suspicion: Suspicion) -> RunnerUp:
    return RunnerUp(tuple(mistake.name for mistake in suspicion.mistakes), suspicion.residual)
