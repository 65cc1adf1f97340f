"""The package's own source text, compiled anew with mistakes in it."""

import copy
import importlib
import inspect
import re
from collections.abc import Callable
from functools import cache, lru_cache
from types import CodeType, ModuleType

from lstmcore.arrays import Array
from lstmcore.debug.between import DroppedStack
from lstmcore.debug.mistakes import wrong_calls as wrong_calls
from lstmcore.debug.mistakes.mistake import (
    AROUND,
    BETWEEN,
    BOTH,
    GRU,
    LOOP,
    LSTM,
    MODULES,
    PRODUCTS,
    RNN,
    Edit,
    Mistake,
)
from lstmcore.layers import Bidirectional, Layer
from lstmcore.layers.tree import leaves, with_params
from lstmcore.ops.cells import CELLS, Cell, Steps
from lstmcore.ops.recurrence import Cache
from lstmcore.ops.recurrence.directions import Gradients


class Mutant:
    """An engine made of the reference's own text, with mistakes in it; and what stands around it, likewise."""

    def __init__(self, mistakes: tuple[Mistake, ...], modules: dict[str, ModuleType], inside: dict[str, "Mutant"]):
        self.NAME = " + ".join(mistake.name for mistake in mistakes) or "reference, compiled anew"
        self.mistakes: tuple[Mistake, ...] = mistakes
        self.inside: dict[str, Mutant] = inside  # layer -> what runs there in place of this one
        self.loop, self._both, self._between = modules[LOOP], modules[BOTH], modules[BETWEEN]
        self.cells = {name: remade(CELLS[name], modules[module].make_step) for name, module in STEPS.items()}
        around = modules[AROUND]
        self.supports, self.prepare = self.loop.supports, around.prepare
        self.hand_over, self._run = around.hand_over, around.run

    def forward(self, cell: Cell, *args: object) -> Cache:
        return self.loop.forward(self._own(cell), *args)

    def predict(self, cell: Cell, *args: object) -> tuple[Array, tuple[Array, ...]]:
        return self.loop.predict(self._own(cell), *args)

    def backward(self, cell: Cell, *args: object) -> Gradients:
        return self.loop.backward(self._own(cell), *args)

    def _own(self, cell: Cell) -> Cell:
        """The cell with its mistakes; a variant with those that fit there."""
        if cell is CELLS.get(cell.name):
            return self.cells[cell.name]
        make_step = in_variant(cell, self.mistakes)
        return cell if make_step is None else remade(cell, make_step)

    def run(self, model: Layer, params: dict[str, Array], *given: object) -> dict[str, Array]:
        """Forward and backward of the model's twin with these parameters, as training_step.run does it."""
        return self._run(self.twin(model, params), *given)

    def twin(self, model: Layer, params: dict[str, Array]) -> Layer:
        """A model like this one on this engine. Its parameters are these very arrays, of any array library."""
        twin = with_params(model, params)
        for name, leaf in leaves(twin):  # copies
            vars(leaf).update(
                engine=self.inside.get(name, self), input_size=len(leaf.params["W_ih"])
            )  # a mistake may have made it wider
        return self._remade(twin)

    def _remade(self, layer: Layer) -> Layer:
        """The layer with the mistaken containers in place of the right ones."""
        parts = {name: self._remade(part) for name, part in layer.parts.items()}
        if isinstance(layer, Bidirectional):
            return self._both.Bidirectional(parts["fw"], parts["bw"], layer.merge)
        if isinstance(layer, DroppedStack):
            return self._between.DroppedStack(tuple(parts.values()), layer.scales)
        return layer.rebuilt(parts) if parts else layer


@lru_cache(maxsize=4096)
def mutant(*mistakes: Mistake) -> Mutant:
    """An engine with these mistakes. Raises ValueError if a right line is not found exactly once."""
    everywhere = tuple(m for m in mistakes if not m.layer)
    inside = {
        layer: mutant(*everywhere, *(m._replace(layer="") for m in mistakes if m.layer == layer))
        for layer in sorted({m.layer for m in mistakes} - {""})
    }
    edits = {name: tuple(edit for m in everywhere for edit in m.edits if edit.module == name) for name in MODULES}
    modules = {name: _module(name, edits[name], edits[PRODUCTS] if name == LOOP else ()) for name in MODULES}
    return Mutant(everywhere, modules, inside)


def remade(cell: Cell, make_step: Callable[..., Steps]) -> Cell:
    """The cell with another step, which is not held to what a right one keeps."""
    twin = copy.copy(cell)
    vars(twin)["make_step"] = make_step
    return twin


def is_ahead(edit: Edit) -> bool:
    """Whether it may change the way forward: it stands before the way back, or outside an engine."""
    back = WAY_BACK.get(edit.module)
    return back is None or not 0 <= _source(edit.module).find(back) < _source(edit.module).find(edit.right)


STEPS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
WAY_BACK = {LOOP: "def backward(", PRODUCTS: "def contract(", **dict.fromkeys(STEPS.values(), "def step_backward(")}


@lru_cache(maxsize=4096)
def in_variant(cell: Cell, mistakes: tuple[Mistake, ...]) -> Callable[..., Steps] | None:
    """How a variant makes its step, with those mistakes that are made in a cell's step; None: as it does.

    A line of the plain step is looked for as the variants have it, one of their own as it stands. Raises ValueError
    where they do not have it.
    """
    name, made_by = type(cell.make_step).__module__, cell.make_step
    edits = [edit for mistake in mistakes for edit in mistake.edits if edit.module in (LSTM, GRU, RNN, name)]
    if not edits:
        return None
    before, kind, text = _source(name).partition(f"class {type(made_by).__name__}")
    for module, right, wrong in edits:
        right, wrong = (right, wrong) if module == name else (as_in_variants(right), as_in_variants(wrong))
        if not kind or text.count(right) != 1:
            raise ValueError(f"the variant has no line {right!r}")
        text = text.replace(right, wrong)
    return getattr(_made(name, before + kind + text), type(made_by).__name__)(**vars(made_by))


def as_in_variants(line: str) -> str:
    """A line of lstm.py or gru.py as the variants have it: one level deeper, and with activations that are options."""
    line = line.replace("\n", "\n    ")
    for plain, theirs in IN_VARIANTS:
        line = re.sub(plain, theirs, line)
    return line


IN_VARIANTS = (
    (r"= sigmoid\(a_", "= sigma(a_"), (r"= tanh\(a_", "= phi(a_"), (r"\btanh\(c\)", "psi(c)"),
    (r"\b(\w) \* \(one - \1\)", r"gate_slope(\1)"), (r"\(one - ([gn]) \* \1\)", r"slope(\1)"),
    (r"\(one - tanh_c \* tanh_c\)", "cell_slope(psi_c)"), (r"\btanh_c\b", "psi_c"),
    (r"\b(sigmoid|tanh)\(", r"maths.\1("), (r"z, n, m, h_prev\)", "z, n, h_prev)"),
)  # fmt: skip


@cache
def _source(module: str) -> str:
    return inspect.getsource(importlib.import_module(module))


@lru_cache(maxsize=4096)
def _compiled(name: str, piece: str) -> CodeType:
    return compile(piece, f"<{name}, with mistakes>", "exec")


@lru_cache(maxsize=4096)
def _module(name: str, edits: tuple[Edit, ...], products: tuple[Edit, ...] = ()) -> ModuleType:
    """The module with these edits. The loop calls the products around it, so theirs come along."""
    text = _source(name)
    for edit in edits:
        if text.count(edit.right) != 1:
            raise ValueError(
                f"a mistake in {edit.right!r}: its right line should occur once in {name}; it occurs "
                f"{text.count(edit.right)} times (two mistakes on one line, or the file has changed)"
            )
        text = text.replace(edit.right, edit.wrong)
    return _made(name, text, products)


def _made(name: str, text: str, products: tuple[Edit, ...] = ()) -> ModuleType:
    """The module that a text makes, but for its cells."""
    module = ModuleType(name)
    vars(module).update({key: value for key, value in vars(wrong_calls).items() if not key.startswith("_")})
    for piece in text.split("\n\n\n"):  # what stands at the top level, between two empty lines: each compiled once
        if not re.match(r"\w+ = Cell\(", piece):
            exec(_compiled(name, piece), vars(module))
    if products:
        around = _module(PRODUCTS, products)
        vars(module).update(project=around.project, contract=around.contract)
    return module
