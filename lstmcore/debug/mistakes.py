"""A catalogue of mistakes in backpropagation through time, each an edit of one correct line, and each executable.

A mistake names a file of the reference engine, the line as it should be and the line as it was written. Applying it to
the source text gives a mutant: an engine that any layer runs (`layer.to(engine=mutant(mistake))`), wrong in just
that way. The gradient checker is held to catching every one, and an unknown wrong gradient can be compared with them.
"""

import importlib
import inspect
from types import ModuleType
from typing import Any, NamedTuple

from lstmcore.ops.cells import Cell
from lstmcore.ops.recurrence import Cache

LSTM, GRU, RNN = (f"lstmcore.ops.cells.{name}" for name in ("lstm", "gru", "rnn"))
LOOP = "lstmcore.ops.recurrence.reference"
PRODUCTS = "lstmcore.ops.recurrent"


class Mistake(NamedTuple):
    """One wrong line. `right` occurs exactly once in the source of `module`."""

    name: str
    module: str
    right: str
    wrong: str


MISTAKES = (
    # The step: derivatives of the activations
    Mistake("sigma' of the forget gate is missing", LSTM, "da_f = df * f * (one - f)", "da_f = df"),
    Mistake("sigma' taken of the activated value again", LSTM, "da_i = di * i * (one - i)",
            "da_i = di * sigmoid(i) * (one - sigmoid(i))"),
    Mistake("sigma' where tanh' belongs (candidate)", LSTM, "da_g = dg * (one - g * g)", "da_g = dg * g * (one - g)"),
    Mistake("tanh' where sigma' belongs (output gate)", LSTM, "da_o = do * o * (one - o)", "da_o = do * (one - o * o)"),
    Mistake("tanh' of c taken at c instead of tanh(c)", LSTM, "(one - tanh_c * tanh_c)", "(one - c * c)"),
    Mistake("tanh(tanh(c)) in the derivative", LSTM, "tanh_c = tanh(c)", "tanh_c = tanh(tanh(c))"),
    Mistake("tanh' of c is missing", LSTM, "dc = dc + dh * o * (one - tanh_c * tanh_c)", "dc = dc + dh * o"),
    # The step: the wrong partner in a product
    Mistake("c_t for c_{t-1} in the forget gate", LSTM, "df = dc * c_prev", "df = dc * c"),
    Mistake("i and g swapped in the product rule", LSTM, "di = dc * g", "di = dc * i"),
    Mistake("c for tanh(c) in the output gate", LSTM, "do = dh * tanh_c", "do = dh * c"),
    Mistake("what came along c is dropped", LSTM, "dc = dc + dh * o", "dc = dh * o"),
    Mistake("what came through h into c is dropped", LSTM, "dc = dc + dh * o * (one - tanh_c * tanh_c)", "dc = dc"),
    Mistake("the carry of dc forgets the forget gate", LSTM, "dc_prev = dc * f", "dc_prev = dc"),
    Mistake("GRU: the update gate the wrong way round", GRU, "dz = dh * (h_prev - n)", "dz = dh * (n - h_prev)"),
    Mistake("GRU: the reset gate is left out of dm", GRU, "dm = da_n * r", "dm = da_n"),
    Mistake("GRU: the direct path to h_{t-1} is dropped", GRU, "dh_prev = dh * z", "dh_prev = dh * (z - z)"),
    Mistake("RNN: tanh' is missing", RNN, "da_n = dn * (one - n * n)", "da_n = dn"),
    # The loop
    Mistake("the carry of dh is dropped", LOOP,
            "dstate = (dstate[0] + dy[t, ...], *dstate[1:])", "dstate = (dy[t, ...], *dstate[1:])"),
    Mistake("only the last output has a gradient", LOOP, "if dy is not None:\n            dstate =",
            "if dy is not None and t == T - 1:\n            dstate ="),
    Mistake("W_hh not transposed on the way back", LOOP, "cell.recurrent_blocks) @ W_hh.T",
            "cell.recurrent_blocks) @ xp.reshape(W_hh, (W_hh.shape[1], W_hh.shape[0]))"),
    Mistake("masked steps give gradients to the weights", LOOP,
            "da_t = tuple(xp.where(m, d, xp.zeros_like(d)) for d in da_t)", "da_t = tuple(da_t)"),
    Mistake("the gradient of the state stops at a masked step", LOOP,
            "new = tuple(xp.where(m, n, d) for n, d in zip(new, dstate))",
            "new = tuple(xp.where(m, n, xp.zeros_like(d)) for n, d in zip(new, dstate))"),
    # The products
    Mistake("h_t for h_{t-1} in dW_hh", LOOP, "cache.states[0][:-1, ...], da", "cache.states[0][1:, ...], da"),
    Mistake("bias gradient averaged over the batch", PRODUCTS, "sums = xp.sum(xp.sum(da, axis=1), axis=0)",
            "sums = xp.sum(xp.mean(da, axis=1), axis=0)"),
    Mistake("dW_ih averaged over time", PRODUCTS, "dW_ih = xp.reshape(x, (T * B, I)).T @ da_x",
            "dW_ih = xp.reshape(x, (T * B, I)).T @ da_x / T"),
    # The small ones: most shift the gradient by less than 1 %, and the loss falls as before
    Mistake("gates stored in half precision", LOOP, "a[t, :, k, :] = gate",
            'a[t, :, k, :] = xp.astype(xp.astype(gate, "float16"), gate.dtype) if gate.dtype.kind == "f" else gate'),
    Mistake("the loop back runs in float32", LOOP, "da[t, :, k, :] = d",
            'da[t, :, k, :] = xp.astype(xp.astype(d, "float32"), d.dtype)'),
    Mistake("the first step is left out of dW_hh", LOOP, "cache.states[0][:-1, ...], da",
            "xp.concat([xp.zeros_like(cache.states[0][:1, ...]), cache.states[0][1:-1, ...]]), da"),
    Mistake("the first step is left out of the bias", PRODUCTS, "xp.sum(da, axis=1), axis=0",
            "xp.sum(da[1:, ...], axis=1), axis=0"),
    Mistake("a floor under sigma'", LSTM, "da_f = df * f * (one - f)", "da_f = df * (f * (one - f) + 1e-4)"),
    Mistake("tanh' with an epsilon", LSTM, "da_g = dg * (one - g * g)", "da_g = dg * (one - g * g + 1e-3)"),
    Mistake("the forget gate's carry rounded up", LSTM, "dc_prev = dc * f", "dc_prev = dc * (f + 1e-3 * (one - f))"),
    Mistake("tanh(c) by its series in the backward", LSTM, "tanh_c = tanh(c)",
            "tanh_c = c * (15 + c * c) / (15 + 6 * c * c)"),
    Mistake("the output gate's gradient loses a little leak", LSTM, "do = dh * tanh_c", "do = dh * tanh_c * 0.998"),
    Mistake("the carry cut every sixteen steps", LOOP, "    for t in reversed(range(T)):\n",
            "    for t in reversed(range(T)):\n        if t % 16 == 15 and t < T - 1:\n"
            "            dstate = tuple(xp.zeros_like(d) for d in dstate)\n"),
    Mistake("truncated after twenty-four steps", LOOP, "    for t in reversed(range(T)):\n",
            "    for t in reversed(range(T)):\n        if t == T - 25:\n"
            "            dy = None\n            dstate = tuple(xp.zeros_like(d) for d in dstate)\n"),
    Mistake("RNN: tanh' with an epsilon", RNN, "da_n = dn * (one - n * n)", "da_n = dn * (one - n * n + 1e-3)"),
    Mistake("what is below 1e-4 is flushed to zero", LOOP, "da[t, :, k, :] = d",
            "da[t, :, k, :] = xp.where(abs(d) < 1e-4, xp.zeros_like(d), d)"),
    Mistake("dh0 misses the last unit of the first block", LOOP, "    dx, dparams = contract(",
            "    dstate = (dstate[0] - 1e-2 * da[0, :, 0, -1:] * W_hh[:, W_hh.shape[1] // K - 1], *dstate[1:])\n"
            "    dx, dparams = contract("),
)  # fmt: skip


class Mutant:
    """An engine made of the reference's own text, with mistakes in it."""

    def __init__(self, name: str, loop: ModuleType, cells: dict[str, Cell]):
        self.NAME, self.supports, self._loop, self._cells = name, loop.supports, loop, cells

    def forward(self, cell: Cell, *args: Any) -> Cache:
        return self._loop.forward(self._cells[cell.name], *args)

    def predict(self, cell: Cell, *args: Any) -> Any:
        return self._loop.predict(self._cells[cell.name], *args)

    def backward(self, cell: Cell, *args: Any) -> Any:
        return self._loop.backward(self._cells[cell.name], *args)


def mutant(*mistakes: Mistake) -> Mutant:
    """An engine with these mistakes. Raises ValueError if a right line is not found exactly once."""
    text = {name: inspect.getsource(importlib.import_module(name)) for name in (LSTM, GRU, RNN, PRODUCTS, LOOP)}
    for mistake in mistakes:
        if text[mistake.module].count(mistake.right) != 1:
            raise ValueError(
                f"mistake {mistake.name!r}: its right line should occur once in {mistake.module}; it occurs "
                f"{text[mistake.module].count(mistake.right)} times (two mistakes on one line, or the file has changed)"
            )
        text[mistake.module] = text[mistake.module].replace(mistake.right, mistake.wrong)
    modules = {}
    for name, source in text.items():
        modules[name] = module = ModuleType(name)
        exec(compile(source, f"<{name}, with mistakes>", "exec"), module.__dict__)
    loop: Any = modules[LOOP]
    loop.project, loop.contract = modules[PRODUCTS].project, modules[PRODUCTS].contract
    cells = {name.rsplit(".")[-1]: getattr(modules[name], name.rsplit(".")[-1]) for name in (LSTM, GRU, RNN)}
    return Mutant(" + ".join(mistake.name for mistake in mistakes) or "reference, compiled anew", loop, cells)
