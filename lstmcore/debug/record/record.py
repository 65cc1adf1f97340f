"""Somebody's own LSTM, watched through one step of training: everything that `diagnose` asks for is found by itself.

    with lc.debug.record(net) as seen:
        net.backward(dy_of(net.forward(x)))          # or, in torch: loss(net(x), targets).backward()
    print(seen.diagnose())

A torch.nn.Module, or a torch function that takes its weights as arguments, is looked into by hooks (torch_parts.py); an
object with methods forward and backward by its attributes before and after (methods.py). Nothing of it is changed.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from lstmcore.arrays import Plain
from lstmcore.debug.case import Case
from lstmcore.debug.diagnose.diagnose import Diagnosis, diagnose
from lstmcore.debug.record.found import Found
from lstmcore.debug.record.methods import Methods, Pair
from lstmcore.debug.record.names import plain
from lstmcore.debug.show.page import notebook


class Recorder(Protocol):
    """What looks into a thing while it runs."""

    def attach(self) -> None: ...

    def detach(self) -> None: ...

    def found(self) -> Found: ...


class Record:
    """What was found, once the `with` block has ended: weights, grads, x, dy, y, state. Prints as a table."""

    found: Found

    def __init__(self, thing: Callable[..., object]):
        self._thing = thing

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """The thing itself: the way to call a function so that it is seen."""
        return self._thing(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in ("forward", "backward") and isinstance(self._thing, Pair):
            return getattr(self._thing, name)
        raise AttributeError(name)

    def __str__(self) -> str:
        return "\n".join(self.found.said)

    _repr_html_ = notebook

    def case(self) -> Case:
        """What was found, for `save_case`, `report_case` and `explain_case`. Raises ValueError if x or dy was not."""
        found, names = self.found, plain(self.found.weights)
        if found.x is None or found.dy is None:
            missing = "x" if found.x is None else "dy"
            raise ValueError(f"{missing} could not be found, without which there is no case; seen were\n{self}")
        weights = {names[k]: a for k, a in found.weights.items()}
        grads = {names.get(k, k): a for k, a in found.grads.items()}
        steps = {} if found.y is None else {"y": found.y}
        return Case(weights, found.x, found.dy, grads, found.state, None, found.dstate, steps=steps)

    def diagnose(self, **given: Any) -> Diagnosis:
        """`lc.debug.diagnose` of what was found. given: its arguments, for what was not found or is known better.

        In `loss`, W and b of a head may be names of weights that were found; their gradients then go with them. Where
        the forward pass is another function than an LSTM, the gradients are also held to their own forward: by autograd
        if there is torch, by central differences if not (`own` of the answer). Raises what `diagnose` raises, and says
        what was seen.
        """
        found = self.found
        weights, grads = dict(found.weights), dict(found.grads)
        if "loss" in given:
            loss = dict(given["loss"])
            for name in ("W", "b"):
                if isinstance(loss.get(name), str):
                    key = loss[name]
                    if key not in weights:
                        raise KeyError(
                            f"`loss[{name!r}]` should be one of the weights, {', '.join(weights)}; got {key!r}"
                        )
                    loss[name] = weights.pop(key)
                    if key in grads:
                        loss[f"d{name}"] = grads.pop(key)
            given["loss"] = loss
        names = plain(weights)
        options: Plain = {"x": found.x, "dy": None if "loss" in given else found.dy, "y": found.y}
        options |= {"state": found.state or None, "dstate": found.dstate or None}
        options |= {"weights": {names[k]: a for k, a in weights.items()}}
        options |= {"grads": {names.get(k, k): a for k, a in grads.items()}} | given
        missing = [name for name in ("x", "dy") if options[name] is None and not (name == "dy" and "loss" in given)]
        if missing:
            raise ValueError(
                f"{' and '.join(missing)} could not be found: hand it to seen.diagnose({missing[0]}=...)"
                f"{', or the loss: seen.diagnose(loss=...)' if 'dy' in missing else ''}; seen were\n{self}"
            )
        try:
            answer = diagnose(
                options.pop("weights"), options.pop("x"), options.pop("dy"), options.pop("grads"), **options
            )
        except (KeyError, ValueError, TypeError) as error:
            told = error.args[0] if error.args else error
            raise type(error)(f"{told}\nseen were\n{self}") from None
        if found.added:
            words = f"each call back gave {', '.join(found.added)} anew: added up here, as the loop around it has to"
            answer = replace(answer, notes=(*answer.notes, words))
        if answer.forward not in ("", "right") or (not answer.ok and not answer.names):
            return replace(answer, own=found.own())
        return answer


@contextmanager
def record(thing: Any) -> Iterator[Record]:
    """Finds weights, x, dy, y and gradients in somebody's own LSTM, GRU or RNN while it runs one step of training.

    thing: a torch.nn.Module that runs it by hand, with a Linear on top or without, or a cell (x_t, its state) that is
    called for each step and handed what it gave; a torch function whose arguments are x and the weights, to be called
    as seen(x, ...); or an object with methods forward and backward, or the two functions (forward, backward), over
    NumPy arrays or torch tensors: each is called once over all steps or, a cell, once for each step, as often back as
    forward. Gradients that each call gives anew are added up, and the answer says so. Names may be anything: what is a
    weight is told by its gradient, and the rest by name and shape; `print(seen)` tells all that was understood. Raises
    TypeError for another kind of thing, RuntimeError if no forward or no backward pass was seen, or not as often.
    """
    recorder = _recorder(thing)
    seen = Record(getattr(recorder, "call", getattr(recorder, "thing", thing)))
    recorder.attach()
    try:
        yield seen
    finally:
        recorder.detach()
    seen.found = recorder.found()


def _recorder(thing: object) -> Recorder:
    bases = [base.__module__.split(".")[0] for base in type(thing).__mro__]
    if "torch" in bases or (callable(thing) and not hasattr(thing, "__dict__")) or type(thing).__name__ == "function":
        return importlib.import_module("lstmcore.debug.record.torch_parts").Parts(thing)
    return Methods(Pair(*thing) if isinstance(thing, tuple) and len(thing) == 2 else thing)
