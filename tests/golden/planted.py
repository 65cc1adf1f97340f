"""How many planted bugs the pack finds: python tests/golden/planted.py

Thirty of lstmcore.debug.mistakes, as engines have them, most of them forward, where outputs show them too. A bug is
planted into the text of the reference engine and of what stands around it.
"""

from collections.abc import Iterator

import numpy as np

from lstmcore.debug.case import Case
from lstmcore.debug.certify import Golden, read_pack
from lstmcore.debug.certify.own import answer, layer_of, state_tree
from lstmcore.debug.diagnose.training_step import nested
from lstmcore.debug.mistakes import MISTAKES, Mistake, mutant
from lstmcore.debug.trees import named
from lstmcore.layers.tree import state_names

FORWARD = (
    "sigmoid for the tanh of the candidate, forward and backward", "h = o c without tanh, forward and backward",
    "sigmoid for the tanh of c, forward and backward", "the input gate coupled as 1 - f, forward and backward",
    "the forget gate coupled as 1 - i, forward and backward", "no forget gate (f = 1), forward and backward",
    "tanh for the output gate's sigmoid, forward and backward",
    "hard sigmoid in the three gates, forward and backward",
    "hard sigmoid a / 6 + 1/2 in the three gates, forward and backward",
    "relu for the tanh of the candidate, forward and backward",
    "GRU: z and 1 - z swapped, forward and backward", "RNN: relu for tanh, forward and backward",
    "the mask holds h but not c, forward and backward", "the mask holds c but not h, forward and backward",
    "the state is set to zero on padding, forward and backward", "the mask is ignored", "the mask is one step late",
    "the backward direction is not reversed", "the backward direction is reversed with its padding",
    "the backward direction's mask is not reversed", "the backward direction's outputs are not turned back in time",
    "the weights of the two directions swapped", "h0 is ignored", "c0 is ignored", "h0 and c0 swapped",
    "a forget bias of 1 added at run time", "the bias is added twice",
    "W_hh transposed, block by block, forward and backward",
)  # fmt: skip
BACKWARD = ("c_t for c_{t-1} in the forget gate", "h_t for h_{t-1} in dW_hh")
OUTPUTS = ("y", "state")
KINDS = {"outputs": OUTPUTS, "gradients": ("dx", "dstate0", "dweights")}


def thirty() -> list[Mistake]:
    by_name = {mistake.name: mistake for mistake in MISTAKES}
    return [by_name[name] for name in (*FORWARD, *BACKWARD)]


def mutated(case: Golden, mistake: Mistake) -> dict[str, np.ndarray]:
    """The results of the case with the bug planted, under the names of `answer`."""
    model = layer_of(case, engine="reference")
    names = state_names(model)
    zeros = model.forward(case.x, mask=case.mask)[1] if case.mask is None else model.forward(case.x)[1]
    empty = {name: np.zeros_like(s) for name, s in named(zeros, names).items()}
    state, dstate = (
        empty | ({} if (tree := state_tree(case, group)) is None else named(tree, names))
        for group in ("state0", "dstate")
    )
    top = tuple(name for name in empty if name.endswith("h0"))[-(2 if case.direction == "bidirectional" else 1) :]
    D = len(top)
    dy = np.zeros((case.T, case.B, D * case.width)) if case.dy is None else case.dy
    weights = {name: np.array(w) for name, w in model.params.items()}
    told = Case(weights, np.array(case.x), dy, {}, state, case.mask, dstate, "lstmcore", case.cell, top)
    engine = mutant(mistake)

    class Planted:
        """The model, with what the mistake does around it."""

        def forward(self, x, state0, mask=None):
            params, *self.given = engine.prepare(told)
            self.twin = engine.twin(model, params)
            x, mask, state, *_ = self.given
            return self.twin.forward(x, nested(names, state), mask)

        def backward(self, dy, cache, dstate):
            _, _, _, dy, dstate = self.given
            dx, dstate0, grads = self.twin.backward(dy, cache, nested(names, dstate))
            found = engine.hand_over({**grads, "x": dx, **named(dstate0, names)}, told)
            return found["x"], nested(names, found), found

    with np.errstate(all="ignore"):
        return answer(case, Planted())


def shown(case: Golden, got: dict[str, np.ndarray]) -> set[str]:
    """Which of outputs and gradients are wrong."""
    wrong = set()
    for name, want in case.results.items():
        group = name.split("/")[0]
        room = case.tolerance["float64"][group]
        if group not in case.ambiguous and not np.all(np.abs(got[name] - want) <= room):  # a NaN is wrong too
            wrong.add("outputs" if group in OUTPUTS else "gradients")
    return wrong


def possible(case: Golden, mistake: Mistake) -> bool:
    """Whether the bug can be made in this case."""
    has = {case.cell} | ({"mask"} if case.mask is not None else set()) | ({"outputs"} if case.dy is not None else set())
    has |= {"both"} if case.direction == "bidirectional" else set()
    has |= {"state", "dstate"}
    plain = not case.options and case.layers == 1 and case.direction != "reverse" and case.padding == "numbers"
    return plain and set(mistake.needs) <= has and mistake.cell in (None, case.cell)


def found(mistake: Mistake, pack: dict[str, Golden]) -> set[str] | None:
    """What the pack shows of the bug: "outputs", "gradients", both or nothing; None where no case can have it."""
    seen: set[str] | None = None
    for case in pack.values():
        if possible(case, mistake) and len(seen or ()) < 2:
            try:
                seen = (seen or set()) | shown(case, mutated(case, mistake))
            except ValueError:  # a line of one cell, which the sizes of another do not fit
                continue
    return seen


def scores(mistakes: list[Mistake], pack: dict[str, Golden]) -> Iterator[tuple[Mistake, set[str]]]:
    rich = sorted(pack.values(), key=lambda case: (case.T > 9, -len(case.features)))  # the sooner it is seen
    ordered = {case.name: case for case in rich}
    for mistake in mistakes:
        kinds = found(mistake, ordered)
        if kinds is not None:
            yield mistake, kinds


def main() -> None:
    seen = list(scores(thirty(), read_pack()))
    counts = {kind: sum(kind in kinds for _, kinds in seen) for kind in KINDS}
    print(f"{len(seen)} bugs, {sum(bool(kinds) for _, kinds in seen)} found; "
          + ", ".join(f"{n} by {kind} alone" for kind, n in counts.items()))  # fmt: skip
    for mistake, kinds in seen:
        if not kinds:
            print("   not found:", mistake.name)


if __name__ == "__main__":
    main()
