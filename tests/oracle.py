"""The scalar oracle: recurrent layers in plain Python, one number at a time, and their gradients by a reverse tape.

It is the independent witness. It shares nothing with lstmcore: no NumPy, no matrix product, no gate order, no
hand-derived backward, no mask arithmetic. lstmcore itself never uses a tape; here it is what makes the gradients
independent. Every number also carries a bound on its rounding error (rounding.py), so that a comparison needs no
guessed tolerance.

A layer is told as nested tuples, and its parameters as a flat dict of nested lists, with the prefixes of lstmcore:

    ("lstm", I, H)  ("gru", I, H)  ("rnn", I, H)      the same with "last" as a fourth entry: final state only; or with
                                                       a dict of options, in lstmcore's words
    ("reversed", spec)                                 parameters "bw...."
    ("bidirectional", spec, spec)                      parameters "fw...." and "bw...."; ("sum", ...) adds the outputs
    ("stack", spec, spec, ...)                         parameters "0....", "1....", ...
    ("linear", I, O)  ("tanh",)

Shapes: x[t][b][i], mask[t][b], state (h, c) or (h,) with h[b][j]; of a container a tuple with one state per part.
"""

import functools
import operator
from collections.abc import Callable

from rounding import ONE, Real

# ---- the tape ----------------------------------------------------------------------------------------------


class Number:
    """One scalar on the tape: its value and, for each number it was computed from, the slope of the dependence."""

    __slots__ = ("gradient", "links", "real")

    def __init__(self, real: Real, links: tuple = ()):
        self.real = real
        self.links = links
        self.gradient = real.of(0.0)

    def like(self, value: float) -> "Number":
        """A given number of the same kind; one of the options, which a dtype may round."""
        return Number(self.real.of(value, inexact=True))

    def __add__(self, other: "Number") -> "Number":
        return Number(self.real + other.real, ((self, ONE), (other, ONE)))

    def __mul__(self, other: "Number") -> "Number":
        return Number(self.real * other.real, ((self, other.real), (other, self.real)))

    def __neg__(self) -> "Number":
        return Number(-self.real, ((self, self.real.of(-1.0)),))


def constant(value: float, kind: type[Real] = Real) -> Number:
    """A number that was given, not computed."""
    return Number(kind.of(float(value)))


def through(name: str, a: Number) -> Number:
    """A function that the kind of number knows."""
    value, slope = a.real.function(name)
    return Number(value, ((a, slope),))


def sigmoid(a: Number) -> Number:
    return through("sigmoid", a)


def tanh(a: Number) -> Number:
    return through("tanh", a)


# ---- activations: as the ONNX operators of these names define them -------------------------------------------


def held(a: Number, least: float, most: float) -> Number:
    """a, where it lies between; a constant outside."""
    if a.real.above(most):
        return a.like(most)
    return a if a.real.above(least) else a.like(least)


def elu(a: Number, alpha: float = 1.0) -> Number:
    return a if a.real.above(0.0) else a.like(alpha) * through("expm1", a)


def thresholded_relu(a: Number, alpha: float = 1.0) -> Number:
    return a if a.real.above(alpha) else a.like(0.0)


def leaky_relu(a: Number, alpha: float = 0.01) -> Number:
    return a if a.real.above(0.0) else a.like(alpha) * a


def affine_map(a: Number, alpha: float = 1.0, beta: float = 0.0) -> Number:
    return a.like(alpha) * a + a.like(beta)


ACTIVATIONS = {
    "identity": lambda a: a,
    "relu": lambda a: thresholded_relu(a, 0.0),
    "thresholded_relu": thresholded_relu,
    "leaky_relu": leaky_relu,
    "affine": affine_map,
    "elu": elu,
    "hard_sigmoid": lambda a, alpha, beta=0.5: held(affine_map(a, alpha, beta), 0.0, 1.0),
    "scaled_tanh": lambda a, alpha=1.0, beta=1.0: a.like(alpha) * tanh(a.like(beta) * a),
    **{name: functools.partial(through, name) for name in ("sigmoid", "tanh", "softsign", "softplus")},
}


def activation(options: dict, which: str, default: str, clipped: bool = True) -> Callable[[Number], Number]:
    """The function that an option names, behind the clip of its argument."""
    spec = options.get(which, default)
    name, *numbers = (spec,) if isinstance(spec, str) else spec
    limit = options.get("clip_a") if clipped else None
    return lambda a: ACTIVATIONS[name](a if limit is None else held(a, -limit, limit), *numbers)


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


def affine(x: list[Number], W: list[list[Number]], b: list[Number] | None, column: int) -> Number:
    """b[column] + sum_i x[i] W[i][column]."""
    terms = [x[i] * W[i][column] for i in range(len(x))]
    return total(terms if b is None else [b[column], *terms])


def total(terms: list[Number]) -> Number:
    return functools.reduce(operator.add, terms)


def lstm_step(x: list[Number], state: tuple, p: dict, options: dict) -> tuple:
    """Columns of the weights: input gate, forget gate, candidate, output gate, H each; a coupled one is left out."""
    h_prev, c_prev = state
    H = len(c_prev)
    gates = [gate for gate in "ifgo" if gate != options.get("coupled")]
    peepholes = [gate for gate in gates if gate != "g"]
    sigma = activation(options, "gate_activation", "sigmoid")
    phi = activation(options, "activation", "tanh")
    psi = activation(options, "cell_activation", "tanh", clipped=options.get("clip_h", False))
    h, c = [], []
    for j in range(H):

        def into(gate: str, state: Number, j: int = j) -> Number:
            k = gates.index(gate) * H + j
            a = affine(x, p["W_ih"], p.get("b"), k) + affine(h_prev, p["W_hh"], None, k)
            return a + p["p"][peepholes.index(gate) * H + j] * state if "p" in p and gate != "g" else a

        input_gate = sigma(into("i", c_prev[j])) if "i" in gates else None
        forget_gate = sigma(into("f", c_prev[j])) if "f" in gates else None
        input_gate = input_gate or forget_gate.like(1.0) + -forget_gate
        forget_gate = forget_gate or input_gate.like(1.0) + -input_gate
        new = forget_gate * c_prev[j] + input_gate * phi(into("g", c_prev[j]))
        c.append(new if options.get("clip_c") is None else held(new, -options["clip_c"], options["clip_c"]))
        h.append(sigma(into("o", c[j])) * psi(c[j]))
    if "W_hr" in p:
        h = [affine(h, p["W_hr"], None, column) for column in range(options["proj_size"])]
    return h, c


def normalised(values: list[Number]) -> list[Number]:
    """With mean 0 and variance 1."""
    share = values[0].like(1.0 / len(values))
    mean = share * total(values)
    values = [value + -mean for value in values]
    scale = through("inverse_root", share * total([value * value for value in values]) + share.like(1e-5))
    return [value * scale for value in values]


def normalised_lstm_step(x: list[Number], state: tuple, p: dict, options: dict) -> tuple:
    """Both products and the state that is shown are normalised; gains: of the input's part, then of the other."""
    h_prev, c_prev = state
    H = len(c_prev)
    of_x = normalised([affine(x, p["W_ih"], None, k) for k in range(4 * H)])
    of_h = normalised([affine(h_prev, p["W_hh"], None, k) for k in range(4 * H)])
    a = [p["gamma"][k] * of_x[k] + p["gamma"][4 * H + k] * of_h[k] + p["b"][k] for k in range(4 * H)]
    blocks = [a[k * H : (k + 1) * H] for k in range(4)]
    names = ("sigmoid", "sigmoid", "tanh", "sigmoid")
    i, f, g, o = ([through(name, value) for value in block] for name, block in zip(names, blocks, strict=True))
    c = [f[j] * c_prev[j] + i[j] * g[j] for j in range(H)]
    shown = normalised(c)
    return [o[j] * tanh(p["gamma_c"][j] * shown[j] + p["beta_c"][j]) for j in range(H)], c


def gru_step(x: list[Number], state: tuple, p: dict, options: dict) -> tuple:
    """Columns of the weights: reset gate, update gate, candidate. The reset gate multiplies the finished product, or
    what goes into it."""
    (h_prev,) = state
    H = len(h_prev)
    sigma = activation(options, "gate_activation", "sigmoid")
    phi = activation(options, "activation", "tanh")
    b = p.get("b")
    reset = [sigma(affine(x, p["W_ih"], b, j) + affine(h_prev, p["W_hh"], None, j)) for j in range(H)]
    h = []
    for j in range(H):
        update = sigma(affine(x, p["W_ih"], b, H + j) + affine(h_prev, p["W_hh"], None, H + j))
        if options.get("reset") == "before":
            product = affine([reset[k] * h_prev[k] for k in range(H)], p["W_hn"], None, j)
        else:
            product = affine(h_prev, p["W_hh"], None, 2 * H + j)
            product = reset[j] * (product + p["b_hn"][j] if "b_hn" in p else product)
        candidate = phi(affine(x, p["W_ih"], b, 2 * H + j) + product)
        h.append(candidate + -(update * candidate) + update * h_prev[j])
    return (h,)


def rnn_step(x: list[Number], state: tuple, p: dict, options: dict) -> tuple:
    """One block."""
    (h_prev,) = state
    phi = activation(options, "activation", "tanh")
    b = p.get("b")
    return ([phi(affine(x, p["W_ih"], b, j) + affine(h_prev, p["W_hh"], None, j)) for j in range(len(h_prev))],)


STEPS = {"lstm": lstm_step, "gru": gru_step, "rnn": rnn_step}


# ---- layers ------------------------------------------------------------------------------------------------


def part(p: dict, prefix: str) -> dict:
    """The parameters below a prefix, without it."""
    return {name[len(prefix) :]: value for name, value in p.items() if name.startswith(prefix)}


def recurrent(spec: tuple, p: dict, x: list, state: tuple, mask: list | None) -> tuple:
    T, B = len(x), len(x[0])
    options = spec[3] if len(spec) > 3 and isinstance(spec[3], dict) else {}
    step = normalised_lstm_step if options.get("layer_norm") else STEPS[spec[0]]
    rows = [tuple(values[b] for values in state) for b in range(B)]  # the state of each row
    y = []
    for t in range(T):
        y.append([])
        for b in range(B):
            if mask is None or mask[t][b]:
                rows[b] = step(x[t][b], rows[b], p, options)
                y[t].append(rows[b][0])
            else:  # nothing happens: the state stays, the output is zero, x is not looked at
                y[t].append([Number(h.real.of(0.0)) for h in rows[b][0]])
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


def numbers(tree: object, kind: type[Real]) -> object:
    """Lists, tuples and dicts of floats (None stays None), as Numbers of the same structure."""
    if isinstance(tree, dict):
        return {name: numbers(value, kind) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(numbers(value, kind) for value in tree)
    return None if tree is None else constant(tree, kind)


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


def answer(
    spec: tuple,
    params: dict,
    x: list,
    state: tuple,
    mask: list | None,
    dy: list,
    dstate: tuple | None,
    kind: type[Real] = Real,
) -> dict:
    """Outputs and gradients of one layer, container or model: nested lists of `kind`, numbers with the arithmetic of
    Real.

    Keys: y, state, and, for the loss sum(dy y) + sum(dstate state): dx, dstate0, grads. All arguments are nested lists
    and tuples of floats.
    """
    p, x, state0 = (numbers(tree, kind) for tree in (params, x, state))
    y, state = run(spec, p, x, state0, mask)
    roots = pairs(y, dy) + (pairs(state, dstate) if dstate is not None else [])
    sweep([(root, kind.of(float(gradient))) for root, gradient in roots])
    return {
        "y": read(y, "real"),
        "state": read(state, "real"),
        "dx": read(x, "gradient"),
        "dstate0": read(state0, "gradient"),
        "grads": read(p, "gradient"),
    }
