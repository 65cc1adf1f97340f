"""The scalar oracle: recurrent layers in plain Python, one number at a time, and their gradients by a reverse tape.

It is the independent witness. It shares nothing with lstmcore: no NumPy, no matrix product, no gate order, no
hand-derived backward, no mask arithmetic. lstmcore itself never uses a tape; here it is what makes the gradients
independent. Every number also carries a bound on its rounding error (rounding.py), so that a comparison needs no
guessed tolerance.

A layer is told as nested tuples, and its parameters as a flat dict of nested lists, with the prefixes of lstmcore:

    ("lstm", I, H)  ("gru", I, H)  ("rnn", I, H)      the same with "last" as a fourth entry: final state only
    ("bidirectional", spec, spec)                      parameters "fw...." and "bw...."; ("sum", ...) adds the outputs
    ("stack", spec, spec, ...)                         parameters "0....", "1....", ...
    ("linear", I, O)  ("tanh",)

Shapes: x[t][b][i], mask[t][b], state (h, c) or (h,) with h[b][j]; of a container a tuple with one state per part.
"""

import operator

import rounding
from rounding import ONE, Real

# ---- the tape ----------------------------------------------------------------------------------------------


class Number:
    """One scalar on the tape: its value and, for each number it was computed from, the slope of the dependence."""

    __slots__ = ("gradient", "links", "real")

    def __init__(self, real: Real, links: tuple = ()):
        self.real = real
        self.links = links
        self.gradient = Real(0.0)

    def __add__(self, other: "Number") -> "Number":
        return Number(self.real + other.real, ((self, ONE), (other, ONE)))

    def __mul__(self, other: "Number") -> "Number":
        return Number(self.real * other.real, ((self, other.real), (other, self.real)))

    def __neg__(self) -> "Number":
        return Number(-self.real, ((self, Real(-1.0)),))


def constant(value: float) -> Number:
    """A number that was given, not computed."""
    return Number(Real(float(value)))


def sigmoid(a: Number) -> Number:
    value, slope = rounding.sigmoid(a.real)
    return Number(value, ((a, slope),))


def tanh(a: Number) -> Number:
    value, slope = rounding.tanh(a.real)
    return Number(value, ((a, slope),))


def sweep(roots: list[tuple[Number, Real]]) -> None:
    """Fill `gradient` of everything below the roots, each of which starts with the gradient given beside it."""
    order, seen = [], set()
    pending = [(root, False) for root, _ in roots]
    while pending:
        number, done = pending.pop()
        if done:
            order.append(number)
        elif id(number) not in seen:
            seen.add(id(number))
            pending.append((number, True))
            pending.extend((origin, False) for origin, _ in number.links)
    for root, gradient in roots:
        root.gradient = root.gradient + gradient
    for number in reversed(order):
        for origin, slope in number.links:
            origin.gradient = origin.gradient + (number.gradient if slope is ONE else number.gradient * slope)


# ---- one time step of one row ------------------------------------------------------------------------------


def affine(x: list[Number], W: list[list[Number]], b: list[Number], column: int) -> Number:
    """b[column] + sum_i x[i] W[i][column]."""
    total = b[column]
    for i in range(len(x)):
        total = total + x[i] * W[i][column]
    return total


def lstm_step(x: list[Number], state: tuple, p: dict) -> tuple:
    """Columns of the weights: input gate, forget gate, candidate, output gate, H each."""
    h_prev, c_prev = state
    H = len(h_prev)
    no_bias = [constant(0.0)] * (4 * H)
    h, c = [], []
    for j in range(H):
        a = [affine(x, p["W_ih"], p["b"], k * H + j) + affine(h_prev, p["W_hh"], no_bias, k * H + j) for k in range(4)]
        input_gate, forget_gate, candidate, output_gate = sigmoid(a[0]), sigmoid(a[1]), tanh(a[2]), sigmoid(a[3])
        c.append(forget_gate * c_prev[j] + input_gate * candidate)
        h.append(output_gate * tanh(c[j]))
    return h, c


def gru_step(x: list[Number], state: tuple, p: dict) -> tuple:
    """Columns of the weights: reset gate, update gate, candidate. The reset gate multiplies the finished product."""
    (h_prev,) = state
    H = len(h_prev)
    no_bias = [constant(0.0)] * (3 * H)
    h = []
    for j in range(H):
        reset = sigmoid(affine(x, p["W_ih"], p["b"], j) + affine(h_prev, p["W_hh"], no_bias, j))
        update = sigmoid(affine(x, p["W_ih"], p["b"], H + j) + affine(h_prev, p["W_hh"], no_bias, H + j))
        product = p["b_hn"][j] + affine(h_prev, p["W_hh"], no_bias, 2 * H + j)
        candidate = tanh(affine(x, p["W_ih"], p["b"], 2 * H + j) + reset * product)
        h.append(candidate + -(update * candidate) + update * h_prev[j])
    return (h,)


def rnn_step(x: list[Number], state: tuple, p: dict) -> tuple:
    """One block, through tanh."""
    (h_prev,) = state
    H = len(h_prev)
    no_bias = [constant(0.0)] * H
    return ([tanh(affine(x, p["W_ih"], p["b"], j) + affine(h_prev, p["W_hh"], no_bias, j)) for j in range(H)],)


STEPS = {"lstm": lstm_step, "gru": gru_step, "rnn": rnn_step}


# ---- layers ------------------------------------------------------------------------------------------------


def part(p: dict, prefix: str) -> dict:
    """The parameters below a prefix, without it."""
    return {name[len(prefix) :]: value for name, value in p.items() if name.startswith(prefix)}


def recurrent(spec: tuple, p: dict, x: list, state: tuple, mask: list | None) -> tuple:
    T, B, H = len(x), len(x[0]), spec[2]
    rows = [tuple(values[b] for values in state) for b in range(B)]  # the state of each row
    y = []
    for t in range(T):
        y.append([])
        for b in range(B):
            if mask is None or mask[t][b]:
                rows[b] = STEPS[spec[0]](x[t][b], rows[b], p)
                y[t].append(rows[b][0])
            else:  # nothing happens: the state stays, the output is zero, x is not looked at
                y[t].append([constant(0.0) for _ in range(H)])
    last = tuple([row[k] for row in rows] for k in range(len(state)))
    return (last[0] if spec[-1] == "last" else y), last


def bidirectional(spec: tuple, p: dict, x: list, state: tuple, mask: list | None) -> tuple:
    kind, fw, bw = spec
    join = operator.add if kind == "bidirectional" else lambda u, v: [a + b for a, b in zip(u, v, strict=True)]
    y_fw, state_fw = run(fw, part(p, "fw."), x, state[0], mask)
    y_bw, state_bw = run(bw, part(p, "bw."), x[::-1], state[1], None if mask is None else mask[::-1])
    if output_is_last(fw):
        y = [join(u, v) for u, v in zip(y_fw, y_bw, strict=True)]
    else:
        y = [[join(u, v) for u, v in zip(*rows, strict=True)] for rows in zip(y_fw, y_bw[::-1], strict=True)]
    return y, (state_fw, state_bw)


def reversed_layer(spec: tuple, p: dict, x: list, state: tuple, mask: list | None) -> tuple:
    y, last = run(spec[1], part(p, "bw."), x[::-1], state[0], None if mask is None else mask[::-1])
    return y[::-1], (last,)


def stack(spec: tuple, p: dict, x: list, state: tuple, mask: list | None) -> tuple:
    states = []
    for k, inner in enumerate(spec[1:]):
        x, inner_state = run(inner, part(p, f"{k}."), x, state[k], mask)
        states.append(inner_state)
        if output_is_last(inner):
            mask = None  # there is no time left
    return x, tuple(states)


def linear(spec: tuple, p: dict, x: list, state: None, mask: list | None) -> tuple:
    def row(values: list[Number], real: bool) -> list[Number]:
        return [affine(values, p["W"], p["b"], j) if real else constant(0.0) for j in range(spec[2])]

    if isinstance(x[0][0], Number):  # (B, I): after a layer that gave its final state only
        return [row(values, True) for values in x], None
    return [[row(x[t][b], mask is None or mask[t][b]) for b in range(len(x[t]))] for t in range(len(x))], None


def tanh_layer(spec: tuple, p: dict, x: list, state: None, mask: list | None) -> tuple:
    def each(values: list, real: bool) -> list:
        return [tanh(value) if real else constant(0.0) for value in values]

    if isinstance(x[0][0], Number):
        return [each(values, True) for values in x], None
    return [[each(x[t][b], mask is None or mask[t][b]) for b in range(len(x[t]))] for t in range(len(x))], None


LAYERS = {
    "lstm": recurrent,
    "gru": recurrent,
    "rnn": recurrent,
    "bidirectional": bidirectional,
    "sum": bidirectional,
    "reversed": reversed_layer,
    "stack": stack,
    "linear": linear,
    "tanh": tanh_layer,
}


def run(spec: tuple, p: dict, x: list, state: tuple | None, mask: list | None) -> tuple:
    """(y, last state) of any layer, on nested lists of Number."""
    return LAYERS[spec[0]](spec, p, x, state, mask)


def output_is_last(spec: tuple) -> bool:
    """True if the layer gives its final state (B, H) in place of all outputs."""
    if spec[0] in ("bidirectional", "sum"):
        return output_is_last(spec[1])
    if spec[0] == "stack":
        return any(output_is_last(inner) for inner in spec[1:])
    return spec[-1] == "last"


# ---- from plain lists to results ---------------------------------------------------------------------------


def numbers(tree: object) -> object:
    """Lists, tuples and dicts of floats (None stays None), as Numbers of the same structure."""
    if isinstance(tree, dict):
        return {name: numbers(value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(numbers(value) for value in tree)
    return None if tree is None else constant(tree)


def read(tree: object, what: str) -> object:
    """The `real` or the `gradient` of every Number of a structure."""
    if isinstance(tree, dict):
        return {name: read(value, what) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(read(value, what) for value in tree)
    return None if tree is None else getattr(tree, what)


def pairs(tree: object, other: object) -> list:
    """The leaves of two structures of the same shape, side by side."""
    if tree is None or other is None:
        return []
    if isinstance(tree, list | tuple):
        return [pair for u, v in zip(tree, other, strict=True) for pair in pairs(u, v)]
    return [(tree, other)]


def answer(spec: tuple, params: dict, x: list, state: tuple, mask: list | None, dy: list, dstate: tuple | None) -> dict:
    """Outputs and gradients of one layer, container or model: nested lists of Real.

    Keys: y, state, and, for the loss sum(dy y) + sum(dstate state): dx, dstate0, grads. All arguments are nested lists
    and tuples of floats.
    """
    p, x, state0 = numbers(params), numbers(x), numbers(state)
    y, state = run(spec, p, x, state0, mask)
    roots = pairs(y, dy) + (pairs(state, dstate) if dstate is not None else [])
    sweep([(root, Real(float(gradient))) for root, gradient in roots])
    return {
        "y": read(y, "real"),
        "state": read(state, "real"),
        "dx": read(x, "gradient"),
        "dstate0": read(state0, "gradient"),
        "grads": read(p, "gradient"),
    }
