"""What people call weights, gradients, inputs and outputs in their programs; and arrays in whatever holds them."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeGuard

import numpy as np

from lstmcore.arrays import Array

FORWARD = ("forward", "forward_pass", "forward_propagation", "forward_prop", "fprop", "fwd", "feedforward", "__call__")
BACKWARD = ("backward", "backward_pass", "backpropagation", "backprop", "back_prop", "bprop", "bwd", "bptt")
INPUTS = ("x", "xs", "input", "inputs", "x_seq", "seq", "sequence", "x_t", "xt", "data")
OUTPUTS = ("h", "hs", "y", "ys", "out", "output", "outputs", "hidden", "hidden_states", "h_seq", "h_states")
UPSTREAM = ("dy", "dys", "dout", "dh", "dhs", "dh_seq", "grad", "grad_output", "grad_out", "grads", "delta", "upstream")
INPUT_GRADIENTS = ("dx", "dxs", "d_x", "grad_x", "dinput", "dinputs", "grad_input", "dxt", "dx_t")
STATES = {"h0": "h0", "h_0": "h0", "h_prev": "h0", "hprev": "h0", "h_init": "h0", "h": "h0", "hidden": "h0",
          "a0": "h0", "a_prev": "h0",
          "c0": "c0", "c_0": "c0", "c_prev": "c0", "cprev": "c0", "c_init": "c0", "c": "c0"}  # fmt: skip
HOLDS_GRADIENTS = re.compile(r"d|grads?|gradients?|dparams|d_params|dweights|derivatives|deltas")
ROLES = {"weight": "W", "w": "W", "kernel": "W", "u": "U", "bias": "b", "b": "b"}
FILLERS = re.compile(r"_?(gate|layer|linear|lin|fc|dense|proj)_?")


def arrays_in(tree: object, path: str = "", depth: int = 3) -> Iterator[tuple[str, np.ndarray]]:
    """(path, array) of every array in attributes, dicts, lists and tuples: "W", "params.Wf", "cell.0.b"; copies."""
    return ((at, host(a)) for at, a in held_in(tree, path, depth))


def held_in(tree: object, path: str = "", depth: int = 3) -> Iterator[tuple[str, Array]]:
    """The same, the arrays and tensors themselves."""
    if is_array(tree):
        yield path, tree
        return
    if depth == 0:
        return
    inside: Iterable[tuple[object, object]] = ()
    if isinstance(tree, Mapping):
        inside = tree.items()
    elif isinstance(tree, list | tuple):
        inside = enumerate(tree)
    elif (hasattr(tree, "__dict__") and not callable(tree)) or (depth == 3 and hasattr(tree, "__dict__")):
        inside = vars(tree).items()
    for key, value in inside:
        yield from held_in(value, f"{path}.{key}" if path else str(key), depth - 1)


def is_array(value: object) -> TypeGuard[Array]:
    """A NumPy array or a torch tensor of one number or more axes."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and getattr(value, "ndim", 0) > 0


def host(value: object) -> np.ndarray:
    """A copy as a NumPy array, of an array or tensor."""
    return np.array(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def whole(value: object) -> np.ndarray | None:
    """An array, or a list of arrays of one shape put together along time; None for anything else."""
    if is_array(value):
        return host(value)
    if isinstance(value, Mapping):  # by step: {0: x_0, 1: x_1}; step -1 is what was before
        steps = sorted(key for key in value if isinstance(key, int) and key >= 0)
        value = [value[key] for key in steps]
    if isinstance(value, list | tuple) and value and all(is_array(part) for part in value):
        parts = [host(part) for part in value]
        if len({part.shape for part in parts}) == 1 and len(parts) > 1:
            return np.array(parts)
    return None


def gradient_of(path: str, weights: Mapping[str, np.ndarray], result: bool = False) -> str | None:
    """The weight that an array of this name is the gradient of: dW, d_W, grad_W, W_grad, W.grad, grads.W, grads.0.

    result: of the way back, where the name of the weight as it stands is one too.
    """
    *holders, leaf = path.split(".")
    forms = [
        re.sub(r"^(d|grad|g|delta)_?(?=.)", "", leaf),
        re.sub(r"_?(grad|gradient)$", "", leaf),
        re.sub(r"^d", "", leaf),
    ]
    forms = forms if result else [form for form in forms if form != leaf]
    if holders and HOLDS_GRADIENTS.fullmatch(holders[-1].lower()):
        forms.insert(0, leaf)
        holders = holders[:-1]
    elif leaf == "grad" and holders:
        *holders, last = holders
        forms = [last]
    names = [name for name in weights if name.split(".")[-1] in forms and name != path]
    same = [name for name in names if name.split(".")[:-1] == holders]
    return next(iter([*same, *names] if same or len(names) == 1 or not holders else []), None)


def plain(names: Iterable[str]) -> dict[str, str]:
    """Names of weights as `diagnose` reads them: "forget_gate.weight" -> "W_forget", "params.Wf" -> "Wf"."""
    answer = {}
    for name in names:
        *holders, leaf = name.split(".")
        role = ROLES.get(leaf.lower())
        rest = FILLERS.sub("", holders[-1]) if holders else ""
        rest = re.sub(r"^[wW]_?(?=.)", "", rest)
        if role is None or not holders:
            answer[name] = leaf
        else:
            answer[name] = f"{role}_{rest}" if rest else role
    return answer if len(set(answer.values())) == len(answer) else {name: name for name in names}


def returned(function: Callable[..., object], result: object) -> dict[str, object]:
    """What a function gave back, by the names in its last `return`: "return dx, dW" -> dx, dW."""
    if isinstance(result, Mapping):
        return {str(key): value for key, value in result.items()}
    values = list(result) if isinstance(result, tuple) else [result]
    names = [f"result {k}" for k in range(len(values))]
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return dict(zip(names, values))
    found = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value is not None]
    if found:
        parts = found[-1].elts if isinstance(found[-1], ast.Tuple) else [found[-1]]
        if len(parts) == len(values):
            names = [ast.unparse(p).removeprefix("self.") if isinstance(p, ast.Name | ast.Attribute) else n
                     for p, n in zip(parts, names)]  # fmt: skip
    answer: dict[str, object] = {}
    for name, value in zip(names, values):
        answer |= {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else {name: value}
    return answer


def arguments(
    function: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> dict[str, object]:
    """What a function was given, by the names of its parameters."""
    try:
        return dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):
        return {f"argument {k}": a for k, a in enumerate(args)} | dict(kwargs)


def called(found: Iterable[str], names: tuple[str, ...]) -> list[str]:
    """The keys that are one of these names first, then the others, as they come."""
    known = [key for name in names for key in found if key.split(".")[-1].lower() == name]
    return list(dict.fromkeys([*known, *found]))
