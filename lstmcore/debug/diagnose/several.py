"""Several layers, or two directions, under names of somebody's own: a number or a word in each name tells them apart.

Each of them is then read as one layer is, and all of them alike.
"""

import re
from collections.abc import Iterator

from lstmcore.debug.diagnose.program import Arrays, Own, Shape, programs

FORWARD = ("fw", "fwd", "forward", "l2r", "left", "f")
BACKWARD = ("bw", "bwd", "backward", "back", "r2l", "right", "reverse", "rev", "b")
WORDS = r"[./_\[\] ]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])"
Place = tuple[int | None, int]  # layer, direction


def several(weights: Arrays, grads: Arrays, x: Shape, dy: Shape) -> Iterator[Own]:
    """Every way to read these arrays as layers or directions that have the same names; none if they have not."""
    named = {key: _place(key) for key in weights}
    places = sorted({place for place, _ in named.values()}, key=lambda place: (place[0] or 0, place[1]))
    layers, directions = {layer for layer, _ in places}, {direction for _, direction in places}
    held = [{name for at, name in named.values() if at == place} for place in places]
    if len(places) < 2 or len(places) != len(layers) * len(directions) or any(names != held[0] for names in held):
        return
    D = len(directions)
    ours, theirs = ({place: _of(place, named, arrays) for place in places} for arrays in (weights, grads))
    H = next((own.H for own in programs(ours[places[0]], {}, x, tuple(n // D for n in dy if n % D == 0))), 0)
    first = min(layer or 0 for layer in layers)
    read = [list(programs(ours[at], theirs[at], x if (at[0] or 0) == first else (D * H,), (H,))) for at in places if H]
    for parts in _alike(read):
        path = {at: _path(at, first, D) for at in places}
        one, rest = parts[0], {key: a for key, a in grads.items() if key not in weights}
        yield one._replace(
            H=D * H,
            weights={path[at] + key: a for at, part in zip(places, parts) for key, a in part.weights.items()},
            grads={path[at] + key: a for at, part in zip(places, parts) for key, a in part.grads.items()} | rest,
        )


def _alike(read: list[list[Own]]) -> Iterator[tuple[Own, ...]]:
    """One way of each place, all in one layout: what shapes leave open in one place, they may tell in another."""
    kinds: list[tuple[object, object]] = []
    for one in read[0] if read else []:
        kind = one.layout, one.options
        if kind not in kinds:
            kinds.append(kind)
            yield from zip(*([own for own in ways if (own.layout, own.options) == kind] for ways in read))


def _of(place: Place, named: dict[str, tuple[Place, str]], arrays: Arrays) -> Arrays:
    return {named[key][1]: a for key, a in arrays.items() if key in named and named[key][0] == place}


def _path(place: Place, first: int, D: int) -> str:
    """What stands before lstmcore's names."""
    layer, direction = place
    return ("" if layer is None else f"{layer - first}.") + (("fw.", "bw.")[direction] if D == 2 else "")


def _place(key: str) -> tuple[Place, str]:
    """The layer and the direction that a name tells, and what is left of it."""
    words = [word for word in re.split(WORDS, key) if word]
    numbers = [k for k, word in enumerate(words) if word.isdigit()]
    ways = [k for k, word in enumerate(words) if word.lower() in (*FORWARD, *BACKWARD) and len(word) > 1]
    ways = ways or [k for k, word in enumerate(words) if word in ("f", "b") and k == len(words) - 1 > 0]
    gone = {*numbers[-1:], *ways[:1]}
    layer = int(words[numbers[-1]]) if numbers else None
    backward = bool(ways) and words[ways[0]].lower() in BACKWARD
    left = [word for k, word in enumerate(words) if k not in gone]
    if numbers and len(left) > 1 and left[-1] == "l":  # weight_l0
        left = left[:-1]
    return (layer, int(backward)), "_".join(left)
