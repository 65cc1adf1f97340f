"""The package's own source text, compiled anew with mistakes in it."""

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache
from types import CodeType, ModuleType
from typing import Any

from lstmcore.arrays import Array
from lstmcore.debug.mistakes import wrong_calls as wrong_calls
from lstmcore.debug.mistakes.mistake import AROUND, BOTH, GRU, LOOP, LSTM, MODULES, PRODUCTS, RNN, Mistake
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
        self.loop, self._both = modules[LOOP], modules[BOTH]
        self.cells = {name.rsplit(".")[-1]: getattr(modules[name], name.rsplit(".")[-1]) for name in (LSTM, GRU, RNN)}
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
        return cell if make_step is None else replace(cell, make_step=make_step)

    def run(self, model: Layer, params: dict[str, Array], *given: object) -> dict[str, Any]:
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
        """The layer with the mistaken Bidirectional in place of the right one."""
        parts = {name: self._remade(part) for name, part in layer.parts.items()}
        if isinstance(layer, Bidirectional):
            return self._both.Bidirectional(parts["fw"], parts["bw"], layer.merge)
        return layer.rebuilt(parts) if parts else layer


@lru_cache(maxsize=4096)
def mutant(*mistakes: Mistake) -> Mutant:
    """An engine with these mistakes. Raises ValueError if a right line is not found exactly once."""
    texts = {name: _source(name) for name in MODULES}
    everywhere = tuple(m for m in mistakes if not m.layer)
    inside = {
        layer: mutant(*everywhere, *(m._replace(layer="") for m in mistakes if m.layer == layer))
        for layer in sorted({m.layer for m in mistakes} - {""})
    }
    for mistake in everywhere:
        for place, right, wrong in mistake.edits:
            if texts[place].count(right) != 1:
                raise ValueError(
                    f"mistake {mistake.name!r}: its right line should occur once in {place}; it occurs "
                    f"{texts[place].count(right)} times (two mistakes on one line, or the file has changed)"
                )
            texts[place] = texts[place].replace(right, wrong)
    modules = {name: _module(name, text, "" if name != LOOP else texts[PRODUCTS]) for name, text in texts.items()}
    return Mutant(everywhere, modules, inside)


@lru_cache(maxsize=4096)
def in_variant(cell: Cell, mistakes: tuple[Mistake, ...]) -> Callable[..., Steps] | None:
    """How a variant makes its step, with those mistakes that are made in a cell's step; None: as it does.

    A line of the plain step is looked for as the variants have it. Raises ValueError where they have it not.
    """
    edits = [edit for mistake in mistakes for edit in mistake.edits if edit.module in (LSTM, GRU, RNN)]
    name, made_by = type(cell.make_step).__module__, cell.make_step
    if not edits:
        return None
    before, kind, text = _source(name).partition(f"class {type(made_by).__name__}")
    for _, right, wrong in edits:
        right = as_in_variants(right)
        if not kind or text.count(right) != 1:
            raise ValueError(f"the variant has no line {right!r}")
        text = text.replace(right, as_in_variants(wrong))
    return getattr(_module(name, before + kind + text, ""), type(made_by).__name__)(**vars(made_by))


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
    (r"\b(sigmoid|tanh)\(", r"maths.\1("),
)  # fmt: skip


@cache
def _source(module: str) -> str:
    return inspect.getsource(importlib.import_module(module))


@lru_cache(maxsize=4096)
def _compiled(name: str, piece: str) -> CodeType:
    return compile(piece, f"<{name}, with mistakes>", "exec")


@lru_cache(maxsize=4096)
def _module(name: str, text: str, products: str) -> ModuleType:
    """The module that this text makes. The loop calls the products around it, so they come along."""
    module = ModuleType(name)
    vars(module).update({key: value for key, value in vars(wrong_calls).items() if not key.startswith("_")})
    for piece in text.split("\n\n\n"):  # what stands at the top level, between two empty lines: each compiled once
        exec(_compiled(name, piece), vars(module))
    if products:
        around = _module(PRODUCTS, products, "")
        vars(module).update(project=around.project, contract=around.contract)
    return module
