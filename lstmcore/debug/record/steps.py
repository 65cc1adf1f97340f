"""The calls of a cell, one for each step, put together.

What one call gives the next is a state; the rest is x, or dy.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from lstmcore.debug.record.names import INPUT_GRADIENTS, INPUTS, OUTPUTS, called, host, is_array

Arrays = dict[str, np.ndarray]
Given = Mapping[str, object]
Call = tuple[Given, Given]  # what it was given, and what it gave


class Whole(NamedTuple):
    """A whole sequence, (T, ...) each, and the states at its ends."""

    x_name: str
    x: np.ndarray
    y: np.ndarray | None
    dy: np.ndarray | None
    dx: np.ndarray | None
    state: Arrays
    dstate: Arrays
    said: tuple[str, str]  # how y and dy were found, in words


def is_a_step(forward: Sequence[Call], remembers: Callable[[], bool]) -> bool:
    """Whether one call is one step: x is a vector, or a state goes from call to call, or is kept in between."""
    given = flat(forward[0][0])
    x = given.get(_x_name(given), np.zeros((0, 0, 0)))
    return x.ndim == 1 or (x.ndim == 2 and (x.shape[1] == 1 or bool(_links(forward)) or remembers()))


def sequence(forward: Sequence[Call], backward: Sequence[Call]) -> Whole:
    """What T calls forward, and T calls back, the last step first, were given and gave."""
    ahead = [(flat(given), flat(results)) for given, results in forward]
    back = [(flat(given), flat(results)) for given, results in backward]
    given, results = ahead[0]
    x_name, links = _x_name(given), _links(forward)
    states = dict(zip(("h0", "c0"), _h_first(links)))
    outputs = [k for k in called(results, OUTPUTS) if results[k].ndim]
    y_name = links[states["h0"]] if states else next(iter(outputs), "")
    y = np.array([step[1][y_name] for step in ahead]) if y_name else None
    state = {name: rows(given[key]) for name, key in states.items()}
    dy, dstate, how = (None, {}, "not found") if y is None else _upstream(back, _links(backward), y[0].shape)
    dx_name = next((k for k in called(back[0][1], INPUT_GRADIENTS) if _is_dx(k, back[0][1][k], given[x_name])), "")
    dx = np.array([step[1][dx_name] for step in back[::-1]]) if dx_name else None
    x = np.array([step[0][x_name] for step in ahead])
    return Whole(x_name, x, y, dy, dx, state, dstate, (y_name, how))


def flat(given: Given) -> Arrays:
    """Arrays by name; those of a tuple by "name.0", "name.1"."""
    found: Arrays = {}
    for name, value in given.items():
        if is_array(value):
            found[name] = host(value)
        elif isinstance(value, tuple | list):
            found |= {f"{name}.{k}": host(part) for k, part in enumerate(value) if is_array(part)}
    return found


def _x_name(given: Arrays) -> str:
    return next(iter(called(given, INPUTS)), "")


def _links(passes: Sequence[Call]) -> dict[str, str]:
    """What a call is given -> what the call before gave, where these are the same numbers every time."""
    steps = [(flat(given), flat(results)) for given, results in passes]
    links: dict[str, str] = {}
    for name in steps[0][0] if len(steps) > 1 else ():
        for result in steps[0][1]:
            pairs = [(late[0].get(name), early[1].get(result)) for early, late in pairwise(steps)]
            if result not in links.values() and all(_same(a, b) for a, b in pairs) and any(np.any(a) for a, _ in pairs):
                links[name] = result
                break
    return links


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is not None and b is not None and np.array_equal(a, b)


def _h_first(links: Mapping[str, str]) -> list[str]:
    return sorted(links, key=_is_of_c)


def _is_of_c(name: str) -> bool:
    """Whether a name speaks of c: c, c_prev, dc_next, ds, cell_state, state.1."""
    return bool(re.match(r"(d|grad|delta)?_?(c|s|cell)(_|$|next|prev|t\b)|.*\.1$|.*cell", name.lower()))


def _upstream(
    back: list[tuple[Arrays, Arrays]], links: Mapping[str, str], shape: tuple[int, ...]
) -> tuple[np.ndarray | None, Arrays, str]:
    """dy (T, ...), the gradients of the final states, and how it was found."""
    given, results = back[0]
    like = [k for k, a in given.items() if a.shape == shape]
    of_h = [k for k in like if k in links and not _is_of_c(k)]
    of_c = [k for k in like if _is_of_c(k) and k not in of_h]
    fresh = [k for k in like if k not in links and not _is_of_c(k)]
    dstate = {name: rows(given[keys[0]]) for name, keys in (("h0", of_h), ("c0", of_c)) if keys}
    dstate = {name: a for name, a in dstate.items() if a.any()}
    if fresh and of_h:
        return np.array([step[0][fresh[0]] for step in back[::-1]]), dstate, f"{fresh[0]} of each call"
    if not fresh:
        return None, dstate, "not found"
    name = fresh[0]
    carried = [k for k, a in results.items() if a.shape == shape and not _is_of_c(k) and k not in links.values()]
    carried = [k for k in carried if not re.match(r"d?x", k.lower().replace("_", ""))]
    carried = [k for k in carried if not re.fullmatch(r"result \d+", k)][:1] or carried
    if len(carried) > 1:
        return None, dstate, "not found"  # which of them came from dh, which from dx, no name tells
    if not carried:
        return np.array([step[0][name] for step in back[::-1]]), dstate, f"{name} of each call"
    dy = [given[name]]
    dy += [late[0][name] - early[1][carried[0]] for early, late in pairwise(back)]
    return np.array(dy[::-1]), dstate, f"{name} of each call, less the {carried[0]} that the call before gave"


def _is_dx(name: str, a: np.ndarray, x: np.ndarray) -> bool:
    return a.shape == x.shape and bool(re.match(r"(d|grad)_?(x|in)", name.lower()))


def rows(a: np.ndarray) -> np.ndarray:
    """(B, H): a vector or a column is one row."""
    return a.reshape(1, -1) if a.ndim == 1 or (a.ndim == 2 and a.shape[1] == 1) else a
