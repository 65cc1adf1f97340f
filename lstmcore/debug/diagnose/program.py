"""One layer under names of somebody's own: its roles by shapes and names, as a layout of its own.

H is one of the sizes of dy, I one of x; what fits gives the cell, and which matrix meets what. What shapes leave open
gives several ways, the likeliest first: rows of h above those of x, the axes of arrays (4, H, I), and for a GRU whether
the reset gate comes before the product or after, and the order of its blocks; of square matrices which meets x.
Vectors beside the gates are peepholes, one more matrix is a projection, and where the input gate has no matrix it is
1 - f.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import permutations, product
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.interop import Layout
from lstmcore.interop.layouts import Part

Arrays = dict[str, np.ndarray]
Shape = tuple[int, ...]
WORDS = {"forget": "f", "input": "i", "output": "o", "candidate": "g", "cand": "g", "cell": "g",
         "update": "z", "reset": "r", "hidden": "h", "matrix": "", "write": "", "bias": "b"}  # fmt: skip
LETTERS = {"lstm": {"i": "i", "f": "f", "g": "g", "c": "g", "a": "g", "o": "o"},
           "gru": {"z": "z", "r": "r", "n": "n", "h": "n", "c": "n", "g": "n"}}  # fmt: skip
FUSED = (  # cell, and which blocks an array of so many holds
    ("lstm", {4: "ifgo"}), ("gru", {3: "rzn"}), ("rnn", {1: "n"}),
    ("gru", {2: "rz", 1: "n"}), ("lstm", {3: "ifo", 1: "g"}),
)  # fmt: skip
GRU_ORDERS = ("rzn", "zrn", "rnz", "znr", "nrz", "nzr")  # the likeliest first
OWN = "a program of its own"
PEEPHOLE = (
    r"(?:p|v|peep(?:holes?)?|w_?c|w_?peep(?:holes?)?)_?([ifo])?_?(?:c|diag)?|w_?([ifo])_?(?:c|diag|peep(?:holes?)?)"
)
NAMES = (  # which letter is the gate: Wf, W_xf, U_f, b_f, W_fh; then forgetMatrix, inputHidden, forget_b
    r"(?:w(?:eights?)?|u|r|v|b|kernel)_?[xhi]?_?([a-z])_?[xh]?",
    r"([a-z])_?[xhwub]?",
)
GAIN = r"gamma|gain|scale|(ln|norm).*(weight|[._][wg]$)|^g_(?!b)|^alpha"
SHIFT = r"beta|shift|(ln|norm).*(bias|[._]b$)"
PLAIN: Mapping[str, object] = MappingProxyType({})
NO_GAINS: Mapping[str, str] = MappingProxyType({})
BEFORE = "a GRU whose reset gate comes before the product"


class Own(NamedTuple):
    """One way to read a program's arrays of one layer."""

    layout: str | Layout
    cell: str | None
    open_order: bool  # the names do not tell the order of the gates
    I: int
    H: int  # the width of h
    weights: Arrays
    grads: Arrays
    how: str = ""  # in words, what was guessed
    options: Mapping[str, object] = PLAIN  # of the cell
    function: str = ""  # in words, where these make it another function
    gains: Mapping[str, str] = NO_GAINS  # of layer normalisation: key -> which


class Roles(NamedTuple):
    """What each array is."""

    parts: tuple[Part, ...]
    peepholes: tuple[Part, ...]
    projection: tuple[Part, ...]


def programs(weights: Arrays, grads: Arrays, x: Shape, dy: Shape) -> Iterator[Own]:
    """Every way to read these arrays as one layer; none if nothing fits."""
    gains = _gains(weights, dy)
    if gains:
        plain = {key: a for key, a in weights.items() if key not in gains}
        theirs = {key: a for key, a in grads.items() if key not in gains}
        back = [{key: a for key, a in arrays.items() if key in gains} for arrays in (weights, grads)]
        for own in programs(plain, theirs, x, dy):
            if own.cell == "lstm" and not own.options:
                yield own._replace(weights=own.weights | back[0], grads=own.grads | back[1], gains=gains)
        return
    for flat, their_grads, how in _unfolded(weights, grads):
        found = _program(flat, x, dy)
        if found is None:
            continue
        roles, cell, named, I, H, C = found
        options: Plain = {"peepholes": True} if roles.peepholes else {}
        options |= {"proj_size": H} if roles.projection else {}
        fed = {g for part in roles.parts if part.of != "b" for g in part.blocks}
        options |= {"coupled": "".join({"i", "f"} - fed)} if cell == "lstm" and not fed.issuperset("if") else {}
        for parts, said in _ways(roles.parts, cell, flat):
            layout = Layout(OWN, {cell: parts}, peepholes=roles.peepholes, projection=roles.projection)
            for ours, theirs, rows in _rows_of_h(flat, their_grads, parts, C):
                told, open_order = ", ".join(filter(None, (how, rows, said))), not named and cell == "lstm"
                one = Own(layout, cell, open_order, I, H, ours, theirs, told, options, in_words(options))
                yield one
                if cell == "gru":
                    yield one._replace(options={"reset": "before"}, function=BEFORE)


def _ways(parts: tuple[Part, ...], cell: str, weights: Arrays) -> Iterator[tuple[tuple[Part, ...], str]]:
    """The roles as found, and with what meets x and what meets h swapped; each with a GRU's blocks in any order."""
    shapes = {weights[part.key].shape for part in parts if part.of in ("x", "h")}
    bases = [(parts, "")]
    if len(shapes) == 1:
        other = {"x": "h", "h": "x"}
        turned = {"n": "m", "m": "n"} if cell == "gru" else {}
        swapped = tuple(
            p._replace(of=other[p.of], blocks="".join(turned.get(g, g) for g in p.blocks)) if p.of in other else p
            for p in parts
        )
        bases.append((swapped, f"{next(p.key for p in swapped if p.of == 'x')} is what meets x"))
        if len(set(*shapes)) == 1:
            bases += [
                (
                    tuple(p._replace(out_first=not p.out_first) for p in some),
                    f"{said}{', ' * bool(said)}matrices are (in, out)",
                )
                for some, said in bases
            ]
    for base, said in bases:
        for moved, how in _orders(base, cell):
            yield moved, ", ".join(filter(None, (how, said)))


def _orders(parts: tuple[Part, ...], cell: str) -> Iterator[tuple[tuple[Part, ...], str]]:
    """As they stand; and, where a GRU's blocks stand in one array, those in other orders."""
    yield parts, ""
    if cell != "gru" or all(len(part.blocks) == 1 for part in parts):
        return
    seen = [parts]
    for order in GRU_ORDERS:
        places = {g: k for k, g in enumerate(order)} | {"m": order.index("n")}
        moved = tuple(p._replace(blocks="".join(sorted(p.blocks, key=places.__getitem__))) for p in parts)
        if moved not in seen:
            seen.append(moved)
            fused = max((p.blocks.replace("m", "n") for p in moved), key=lambda blocks: len(blocks))
            yield moved, f"gate blocks in the order {' '.join(fused)}"


def _gains(weights: Arrays, dy: Shape) -> dict[str, str]:
    """The gains and shifts of layer normalisation, by their names: gamma_x, beta_h, ln_c.weight, norm_ih.bias."""
    found = {}
    for key, a in weights.items():
        name = key.lower()
        gain = bool(re.search(GAIN, name))
        if a.ndim == 1 and (gain or re.search(SHIFT, name)) and len(a) in (*dy, *(4 * n for n in dy)):
            of_c, of_h = len(a) in dy and len(a) // 4 not in dy, bool(re.search(r"(_h|hh|hid|rec|_?2)(_|\.|$)", name))
            found[key] = (
                f"{'gamma' if gain else 'beta'}_c" if of_c else f"gamma_{'h' if of_h else 'x'}" if gain else "beta"
            )
    return found


def in_words(options: Mapping[str, object]) -> str:
    """The function that these options make; "" for the plain one."""
    words = {
        "peepholes": "peepholes",
        "proj_size": f"a projection of h to {options.get('proj_size')}",
        "coupled": f"coupled gates, {'i = 1 - f' if options.get('coupled') == 'i' else 'f = 1 - i'}",
    }
    told = [words[name] for name in options]
    return f"an LSTM with {' and '.join(told)}" if told else ""


def _unfolded(weights: Arrays, grads: Arrays) -> Iterator[tuple[Arrays, Arrays, str]]:
    """Arrays (K, H, I), (K, H, H) and (K, H), in any order of these axes, as (K H, I), (K H, H) and (K H)."""
    if all(a.ndim < 3 for a in weights.values()):
        yield weights, grads, ""
        return
    for order in permutations("KHI"):  # where the axes are
        vector = "".join(axis for axis in order if axis != "I")

        def flat(name: str, a: np.ndarray, order: tuple[str, ...] = order, vector: str = vector) -> np.ndarray:
            axes = {3: "".join(order), 2: vector}.get(a.ndim if name in weights else 0)
            a = a if axes is None else a.transpose([axes.index(axis) for axis in "KHI" if axis in axes])
            return a if axes is None else a.reshape(-1, *a.shape[2:])

        matrices = [a.shape for a in weights.values() if a.ndim == 3]
        if all(dict(zip(order, shape))["K"] in (3, 4) for shape in matrices):
            how = f"matrices are ({', '.join(order)})"
            ours, theirs = ({name: flat(name, a) for name, a in arrays.items()} for arrays in (weights, grads))
            yield ours, theirs, how


def _program(weights: Arrays, x: Shape, dy: Shape) -> tuple[Roles, str, bool, int, int, int] | None:
    """The roles in one layer, its cell, whether names tell the gates, I, the width of h, and H."""
    units = [a.shape[0] for a in weights.values() if a.ndim == 1]  # of c, where h is projected
    ways = [(H, I, H) for H, I in product(dict.fromkeys(dy[::-1]), dict.fromkeys(x[::-1]))]
    ways += [(P, x[-1], H) for P in dict.fromkeys(dy[::-1]) for H in dict.fromkeys([n // 4 for n in units] + units)]
    for H, I, C in ways:
        for cell, fused in (*((cell, None) for cell in LETTERS), *FUSED):
            found = _roles(weights, I, H, C, cell, fused)
            if found is not None:
                return found, cell, fused is None, I, H, C
    return None


def _roles(weights: Arrays, I: int, P: int, H: int, cell: str, fused: Mapping[int, str] | None) -> Roles | None:
    """What each array is in a layer that reads I, gives P and has H units; None if some have no role.

    fused: which blocks an array of so many holds; None: one each, as the names tell.
    """
    parts: list[Part] = []
    per_gate = fused is None
    of_h_by_name = _speaking_of_h([key for key, a in weights.items() if a.ndim == 2])
    peepholes, projection = [], []
    for key, a in weights.items():
        peephole = re.fullmatch(PEEPHOLE, key.lower()) if cell == "lstm" else None
        three = a.size == 3 * H and 3 not in (fused or {}) and (a.ndim == 1 or not per_gate)  # W_c (H, 3) is a matrix
        if peephole and ((a.shape == (H,) and any(peephole.groups())) or three):
            peepholes.append(Part(key, "p", peephole[1] or peephole[2] or "ifo"))
            continue
        if P != H and a.shape in ((H, P), (P, H)) and not (per_gate and _gate(key, cell)):
            projection.append(Part(key, "r", "r", out_first=a.shape == (P, H)))
            continue
        gate = _gate(key, cell) if per_gate else None
        if per_gate and gate is None:
            return None
        kinds = fused or {1: gate or ""}
        of_h = "m" if cell == "gru" else "n"
        if a.ndim == 1 and len(a) % H == 0 and len(a) // H in kinds:
            blocks = kinds[len(a) // H]
            same = next((n for n, part in enumerate(parts) if part.of == "b" and part.blocks == blocks), None)
            if same is not None and _speaks_of_h(parts[same].key) and not _speaks_of_h(key):
                parts[same] = parts[same]._replace(blocks=blocks.replace("n", of_h))
                same = None
            parts.append(Part(key, "b", blocks if same is None else blocks.replace("n", of_h)))
            continue
        if cell == "gru" and 3 in kinds and a.shape == (H,):
            parts.append(Part(key, "b", "m"))
            continue
        fitting = [
            (of, out_first, blocks)
            for K, blocks in kinds.items()
            for of, rows in (("xh", I + P), ("x", I), ("h", P))
            for out_first, shape in ((True, (K * H, rows)), (False, (rows, K * H)))
            if a.shape == shape
        ]
        if not fitting:
            return None
        meets = {of for of, *_ in fitting}
        of = fitting[0][0] if len(meets) == 1 else "h" if key in of_h_by_name else "x"
        out_first, blocks = next((out, blocks) for kind, out, blocks in fitting if kind == of)
        parts.append(Part(key, of, blocks.replace("n", of_h) if of == "h" else blocks, out_first))
    turned = {p.out_first for p in parts if p.of != "b" and weights[p.key].shape[0] != weights[p.key].shape[1]}
    if len(turned) == 1:  # square ones are kept as the others are
        parts = [p._replace(out_first=turned.copy().pop()) if p.of != "b" else p for p in parts]
    if len({len(p.of) for p in parts if p.of != "b"}) > 1:
        return None  # over [x, h] are all of them, or none
    have = [(of, "n" if g == "m" else g) for p in parts if p.of != "b" for of in p.of for g in p.blocks]
    gates = {"lstm": ("ifgo", "fgo", "igo"), "gru": ("rzn",), "rnn": ("n",)}[cell]
    if sorted(have) not in [sorted(product("xh", some)) for some in gates] or bool(projection) != (P != H):
        return None
    return Roles(tuple(parts), tuple(peepholes), tuple(projection))


def _gate(key: str, cell: str) -> str | None:
    """The gate that a name speaks of: Wf, W_f, Wxf, W_hf, U_f, bf, b_f, W_forget, w_ii, forget_gate.W; or
    forget_gate_weights_input, where the word before "gate" is it."""
    name = key.lower()
    spoken = re.search(r"([a-z]+)_?gate", name)
    if spoken and spoken[1] in WORDS and (letter := WORDS[spoken[1]]) in LETTERS[cell]:
        return LETTERS[cell][letter]
    for word, letter in WORDS.items():
        name = name.replace(word, letter)
    *path, last = re.split(r"[./\[\]]+", re.sub(r"_?gates?", "", name))
    name = "_".join([last, *filter(None, path)])
    for pattern in NAMES:
        found = re.fullmatch(pattern, name)
        if found and found[1] in LETTERS[cell]:
            return LETTERS[cell][found[1]]
    return None


def _speaking_of_h(matrices: list[str]) -> set[str]:
    """The names of those that multiply h. Where all begin with W or with one other letter, that letter tells; of two
    whose names tell nothing it is the second."""
    letters = {key: re.split(r"[./]", key.lower())[-1][:1] for key in matrices}
    told = len(kinds := set(letters.values())) == 2 and "w" in kinds and kinds & {"u", "r"}
    speaking = {key for key in matrices if (letters[key] != "w" if told else _speaks_of_h(key))}
    return speaking if len(matrices) != 2 or len(speaking) == 1 else {matrices[1]}


def _speaks_of_h(key: str) -> bool:
    """Of two matrices of one shape, the one that multiplies h: Whh, W_hf, Uf, R, recurrent_kernel."""
    return bool(re.match(r"(u|r|.*hh|(w(eights?)?|b(ias)?)_?h|.*rec|.*_h|.*hid)", key.lower()))


def _rows_of_h(weights: Arrays, grads: Arrays, parts: tuple[Part, ...], H: int) -> Iterator[tuple[Arrays, Arrays, str]]:
    """The matrices over [x; h], and then those over [h; x] brought into that order."""
    joint = [part for part in parts if part.of == "xh"]
    if not joint:
        yield weights, grads, ""
        return

    def moved(arrays: Arrays) -> Arrays:
        axes = {part.key: int(part.out_first) for part in joint}
        turned = {k: a.shape != weights[k].shape for k, a in arrays.items() if k in axes}  # a gradient may be
        return {k: np.roll(a, -H, axes[k] ^ turned[k]) if k in axes else a for k, a in arrays.items()}

    yield moved(weights), moved(grads), "matrices over [h, x]"
    yield weights, grads, "matrices over [x, h]"
