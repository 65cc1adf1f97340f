"""The recorder for an object with methods forward and backward: its attributes before and after tell what is what.

Each is called once over all steps, or both are called once for each step (steps.py).
"""

import copy
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstmcore.debug.gradcheck import gradcheck_function
from lstmcore.debug.record.found import Arrays, Found, table
from lstmcore.debug.record.names import (
    BACKWARD,
    FORWARD,
    INPUT_GRADIENTS,
    INPUTS,
    OUTPUTS,
    STATES,
    UPSTREAM,
    arguments,
    arrays_in,
    called,
    gradient_of,
    held_in,
    host,
    is_array,
    returned,
    whole,
)
from lstmcore.debug.record.steps import Whole, flat, is_a_step, rows, sequence

ALONE = "your own forward: it cannot be run again by itself, as a cell"
EVERY = 400  # numbers up to which each is moved by itself


class Pass(NamedTuple):
    """One call of a method."""

    given: dict[str, object]  # by the names of its parameters
    results: dict[str, object]  # by the names in its return
    attributes: Arrays  # of the object, when it was over
    lists: Arrays  # attributes that hold a whole sequence


class Pair:
    """Two functions, forward and backward of a cell, as an object."""

    def __init__(self, forward: Callable[..., object], backward: Callable[..., object]):
        self.forward, self.backward = forward, backward


class Methods:
    """Wraps the two methods of one object. Raises TypeError if it has none."""

    forward: Pass
    backward: Pass

    def __init__(self, thing: object):
        self.thing = thing
        has = [name for name in dir(thing) if callable(getattr(thing, name, None)) and not name.startswith("__")]
        found = [next((n for n in names if n in has), None) for names in (FORWARD, BACKWARD)]
        if None in found:
            raise TypeError(
                "`thing` should be a torch module, a torch function, or an object with methods forward and backward; "
                f"got {type(thing).__name__} with {', '.join(has) or 'no methods'}"
            )
        self.names = [str(name) for name in found]
        self.passes: dict[str, list[Pass]] = {name: [] for name in self.names}

    def attach(self) -> None:
        for kind, name in zip(("forward", "backward"), self.names):
            setattr(self.thing, name, self._seen(kind, name, getattr(self.thing, name)))

    def detach(self) -> None:
        for name in self.names:
            vars(self.thing).pop(name, None)

    def _seen(self, kind: str, name: str, method: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **kwargs: object) -> object:
            if kind == "forward" and not self.passes[name]:
                self.before = dict(arrays_in(self.thing))
                handed = {k: v for k, v in arguments(method, args, kwargs).items() if isinstance(v, Mapping)}
                self.before |= {k: a for k, a in arrays_in(handed, depth=2) if not _is_step(k)}
                self.twin, self.args = copy.deepcopy((self._bare(), (args, kwargs)))
            if kind == "forward" and len(self.passes[name]) == 1:
                self.second = copy.deepcopy((args, kwargs))
            if kind == "backward" and len(self.passes[name]) == 1:
                self.before_second = copy.deepcopy((self._bare(), args, kwargs))
            given = copy.deepcopy(arguments(method, args, kwargs))
            result = method(*args, **kwargs)
            lists = {k: a for k, v in vars(self.thing).items() if (a := whole(v)) is not None}
            seen = Pass(given, copy.deepcopy(returned(method, result)), dict(arrays_in(self.thing)), lists)
            setattr(self, kind, seen)
            self.passes[name].append(seen)
            return result

        return run

    def found(self) -> Found:
        """All of it, by name and shape."""
        counts = {name: len(passes) for name, passes in self.passes.items()}
        ahead, back = ([(p.given, p.results) for p in self.passes[name]] for name in self.names)
        stepwise = len(set(counts.values())) == 1 and len(ahead) > 1 and is_a_step(ahead, self._remembers)
        for name, count in counts.items():
            if count == 0:
                raise RuntimeError(f"{name} was not called inside the with block")
            if count > 1 and not stepwise:
                raise RuntimeError(
                    f"{name} was called {count} times: record one call over all steps and rows, or of a cell as many "
                    "calls back as forward, one for each step"
                )
        weights, grads, sources = self._weights()
        if not weights:
            seen = {**self.before, **self.backward.attributes, **self.backward.results}
            raise RuntimeError(
                f"no gradients of weights were found after {self.names[1]}: neither among its results nor the "
                f"attributes (dW, grad_W, W_grad, grads['W'] for a weight W); seen were {', '.join(seen)}"
            )
        if stepwise:
            return self._by_steps(weights, grads, sources, sequence(ahead, back))
        given = {k: a for k, v in self.forward.given.items() if (a := whole(v)) is not None}
        x_name = next((k for k in called(given, INPUTS) if given[k].ndim > 1 and given[k].dtype.kind == "f"), "")
        x = given.get(x_name)
        self.y_name, dy_name, y = self._outputs(() if x is None else x.shape[:2], tuple(weights))
        self.dy = whole(self.backward.given[dy_name]) if dy_name else None
        states = {STATES[k.lower()]: rows(a) for k, a in given.items() if k.lower() in STATES and k != x_name}
        dx = {
            k: a for k, v in self.backward.results.items() if (a := whole(v)) is not None and k not in sources.values()
        }
        for name in called(dx, INPUT_GRADIENTS):
            named = name.lower() in INPUT_GRADIENTS or name.startswith("result")
            if x is not None and named and dx[name].shape == x.shape:
                grads["x"] = dx[name]
                break
        said = [("x", f"{x_name} of {self.names[0]}", x), ("y", f"{self.y_name} of {self.names[0]}", y)]
        said += [("dy", f"{dy_name} of {self.names[1]}", self.dy)]
        said += [(k, f"with its gradient {sources[k]}", weights[k]) for k in weights]
        said += [(k, "given to the first step", a) for k, a in states.items()]
        unused = [k for k in self.before if k not in weights and k not in sources.values()]
        return Found(weights, grads, x, self.dy, y, states, {}, table(said, unused), self.own)

    def _by_steps(self, weights: Arrays, grads: Arrays, sources: dict[str, str], run: Whole) -> Found:
        """Of a cell that was called for each step."""
        T, back = len(run.x), self.passes[self.names[1]]
        returned_ones = [k for k, name in sources.items() if name in self.backward.results]
        for key in returned_ones:
            grads[key] = _shaped(np.sum([host(step.results[sources[key]]) for step in back], axis=0), weights[key])
        kept = [k for k in sources if k not in returned_ones]
        alone = bool(kept) and self._writes_over([sources[k] for k in kept])
        each = [{k: p.attributes[sources[k]] for k in kept} for p in back]
        held = {k: np.sum([one[k] for one in each], axis=0) if alone else each[-1][k] for k in kept}
        grads |= {k: _shaped(a, weights[k]) for k, a in held.items()}
        grads |= {} if run.dx is None else {"x": run.dx}
        anew = {*returned_ones, *(kept if alone else ())}
        added = tuple(k for k in weights if k in anew)
        y_name, how = run.said
        said: list[tuple[str, str, np.ndarray | None]] = [
            ("x", f"{run.x_name} of {self.names[0]}, called {T} times", run.x)
        ]
        said += [("y", f"{y_name} of {self.names[0]}", run.y), ("dy", how, run.dy)]
        how_kept = {k: f"{sources[k]}{', added up' if k in added else ''}" for k in weights}
        said += [(k, f"with its gradient {how_kept[k]}", weights[k]) for k in weights]
        said += [(k, "given to the first step", a) for k, a in run.state.items()]
        unused = [k for k in self.before if k not in weights and k not in sources.values()]
        told = table(said, unused)
        return Found(weights, grads, run.x, run.dy, run.y, run.state, run.dstate, told, lambda: ALONE, added)

    def _bare(self) -> object:
        """The object as it was, without what watches its methods."""
        bare = copy.copy(self.thing)
        for name in self.names:
            vars(bare).pop(name, None)
        return bare

    def _writes_over(self, names: Sequence[str]) -> bool:
        """Whether the second call back forgets the gradients that the first left in these attributes."""
        thing, args, kwargs = copy.deepcopy(self.before_second)
        for name, a in held_in(thing):
            if name in names:
                (a.detach() if hasattr(a, "detach") else a)[...] += 1
        getattr(thing, self.names[1])(*args, **kwargs)
        left, seen = dict(arrays_in(thing)), self.passes[self.names[1]][1].attributes
        return all(np.array_equal(left[name], seen[name]) for name in names)

    def _remembers(self) -> bool:
        """Whether a call gave something else than it gives in an object that was not called before."""
        method, (args, kwargs) = getattr(copy.deepcopy(self.twin), self.names[0]), copy.deepcopy(self.second)
        alone, seen = flat(returned(method, method(*args, **kwargs))), flat(self.passes[self.names[0]][1].results)
        return any(not np.array_equal(alone[name], seen[name]) for name in seen if name in alone)

    def _weights(self) -> tuple[Arrays, Arrays, dict[str, str]]:
        """The arrays that have a gradient among the results or the attributes; the gradients; where these were."""
        able = {k: a for k, a in self.before.items() if a.dtype.kind == "f" and a.size > 1}
        results = {k: host(v) for k, v in self.backward.results.items() if is_array(v)}
        grads, sources = {}, {}
        for name, gradient in {**self.backward.attributes, **results}.items():
            weight = gradient_of(name, able, name in results)
            if weight and gradient.size == able[weight].size and gradient.dtype.kind == "f":
                grads[weight], sources[weight] = _shaped(gradient, able[weight]), name
        return {k: able[k] for k in able if k in grads}, grads, sources

    def _outputs(self, lead: tuple[int, ...], weights: tuple[str, ...]) -> tuple[str, str, np.ndarray | None]:
        """The names of y and of dy, which have one shape; y, without h_0 if that comes first."""
        results = {k: a for k, v in self.forward.results.items() if (a := whole(v)) is not None and a.ndim > 1}
        kept = {k: a for k, a in self.forward.lists.items() if a.ndim > 1 and k not in weights}
        outs = {**kept, **results}
        back = {k: a for k, v in self.backward.given.items() if (a := whole(v)) is not None and a.ndim > 1}
        first = [*called(results, OUTPUTS), *called(kept, OUTPUTS)]
        pairs = [(y, dy, outs[y], back[dy].shape) for y in first for dy in called(back, UPSTREAM)]
        for y, dy, a, shape in pairs:
            if a.shape == shape:
                return y, dy, a
        for y, dy, a, shape in pairs:
            if a.shape[1:] == shape[1:] and len(a) == shape[0] + 1:
                return y, dy, a[1:]
        for y, dy, a, shape in pairs:
            if a.shape[:2] == lead and shape == a.shape[1:]:  # dy of the final state alone
                return y, dy, a
        y = next((k for k in first if outs[k].shape[:2] == lead), "")
        return y, "", outs.get(y)

    def own(self) -> str:
        """The gradients held to the object's own forward: by central differences, or by autograd over tensors."""
        weights, grads, _ = self._weights()
        if self.dy is None or not self.y_name:
            return "your own forward: it cannot be told whether the gradients are right for it, without dy and y"
        if any(hasattr(v, "requires_grad") for v in vars(self.twin).values()):
            return self._by_autograd(grads)
        wide = {name: a.astype(float) for name, a in weights.items()}

        def loss(values: Mapping[str, np.ndarray]) -> float:
            y = self._forward_of_twin({name: np.array(a) for name, a in values.items()})
            return float(np.sum(np.asarray(y, float) * self.dy))

        count = None if sum(a.size for a in wide.values()) <= EVERY else 16
        turned = {k: g if g.shape == wide[k].shape else g.T for k, g in grads.items()}
        try:
            check = gradcheck_function(loss, wide, turned, directions=count, seed=0)
        except Exception as error:  # it is somebody's code
            return f"your own forward: it could not be run again ({type(error).__name__}: {error})"
        return _words(check.ok, check.worst, check.worst_at, "central differences")

    def _by_autograd(self, grads: Arrays) -> str:
        torch = importlib.import_module("torch")
        leaves = {k: torch.tensor(self.before[k], requires_grad=True) for k in grads}
        y = self._forward_of_twin(leaves)
        (y * torch.as_tensor(self.dy)).sum().backward()
        worst, at = 0.0, ""
        eps = max(float(torch.finfo(t.dtype).eps) for t in leaves.values())
        for name, leaf in leaves.items():
            right = host(leaf.grad)
            off = float(
                np.max(np.abs(right.reshape(grads[name].shape) - grads[name])) / max(np.max(np.abs(right)), 1e-300)
            )
            worst, at = max((worst, at), (off, name))
        return _words(worst <= 4096 * eps, worst, at, "autograd")

    def _forward_of_twin(self, values: Mapping[str, object]) -> Any:
        """What the forward pass gives with these weights, in an object of its own."""
        twin = copy.deepcopy(self.twin)
        for path, value in values.items():
            *holders, leaf = path.split(".")
            holder: object = twin
            for key in holders:
                holder = _item(holder, key)
            _put(holder, leaf, value)
        method = getattr(twin, self.names[0])
        args, kwargs = copy.deepcopy(self.args)
        results = returned(method, method(*args, **kwargs))
        y: Any = results.get(self.y_name, vars(twin).get(self.y_name))
        if isinstance(y, Mapping):
            y = [y[k] for k in sorted(k for k in y if isinstance(k, int) and k >= 0)]
        if isinstance(y, list | tuple):
            y = np.array(y) if isinstance(y[0], np.ndarray) else importlib.import_module("torch").stack(list(y))
        assert self.dy is not None
        shape = self.dy.shape
        return (
            y[1:] if len(y) == shape[0] + 1 and tuple(y.shape[1:]) == shape[1:] else y[-1] if y.ndim > len(shape) else y
        )


def _shaped(gradient: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """As the weight, or that transposed."""
    return gradient if gradient.shape in (weight.shape, weight.shape[::-1]) else gradient.reshape(weight.shape)


def _is_step(path: str) -> bool:
    """Whether an array in what a call is given is of its step: x_t, or a state, whatever holds it."""
    return path.split(".")[-1].lower() in (*INPUTS, *STATES)


def _words(ok: bool, worst: float, at: str | None, how: str) -> str:
    if ok:
        return f"your own forward: the gradients are right for it, by {how} (off by {worst:.1e})"
    return f"your own forward: the gradients are wrong for it too, by {how} (off by {worst:.1e} in {at})"


def _item(holder: object, key: str) -> object:
    if isinstance(holder, Mapping):
        return holder[next(k for k in holder if str(k) == key)]
    return holder[int(key)] if isinstance(holder, list | tuple) else getattr(holder, key)


def _put(holder: object, key: str, value: object) -> None:
    if isinstance(holder, dict):
        holder[next(k for k in holder if str(k) == key)] = value
    elif isinstance(holder, list):
        holder[int(key)] = value
    else:
        setattr(holder, key, value)
