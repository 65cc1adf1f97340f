"""Which cases the golden pack has: every feature alone, every two together, some threes, and much at once.

A case with two features has both cases with one of them as its twins: what fails in it, and in neither, is found.
"""

from itertools import combinations

from lstmcore.debug.certify import Golden
from lstmcore.ops.cells import CELLS, options_of

MASKS = {
    "lengths": [[1, 1, 1], [1, 1, 0], [0, 1, 0], [0, 1, 0]],  # (T, B): 2, 4, 1
    "short": [[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]],
    "empty": [[1, 1, 0], [1, 1, 0], [0, 1, 0], [0, 1, 0]],
    "gaps": [[1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]],
}
AROUND = ("lengths", "short", "empty", "gaps", "nan", "state0", "dstate", "final", "reverse", "bidirectional", "two")
OPTIONS = {  # feature -> options; those behind `ALONE` meet no other
    "lstm": {
        "peepholes": {"peepholes": True}, "coupled_f": {"coupled": "f"}, "coupled_i": {"coupled": "i"},
        "clip_c": {"clip_c": 0.5}, "clip_a": {"clip_a": 1.0}, "no_bias": {"bias": False},
        "projection": {"proj_size": 2}, "relu": {"activation": "relu"}, "softsign_c": {"cell_activation": "softsign"},
        "hard_gates": {"gate_activation": ("hard_sigmoid", 0.2)}, "layer_norm": {"layer_norm": True},
    },
    "gru": {
        "reset_before": {"reset": "before"}, "clip_a": {"clip_a": 1.0}, "no_bias": {"bias": False},
        "relu": {"activation": "relu"}, "hard_gates": {"gate_activation": ("hard_sigmoid", 0.2)},
    },
    "rnn": {"relu": {"activation": "relu"}, "clip_a": {"clip_a": 0.75}, "no_bias": {"bias": False}},
}  # fmt: skip
SLOTS = {"activation": "", "gate_activation": "_gates", "cell_activation": "_c"}
SPECS = {  # with the operators' own numbers, and with others
    "identity": "identity", "elu": "elu", "leaky_relu": "leaky_relu", "thresholded_relu": "thresholded_relu",
    "affine": "affine", "scaled_tanh": "scaled_tanh", "softplus": "softplus", "softsign": "softsign",
    "elu_alpha": ("elu", 0.5), "leaky_relu_alpha": ("leaky_relu", 0.25),
    "thresholded_relu_alpha": ("thresholded_relu", 0.25), "affine_alpha_beta": ("affine", 0.5, 0.25),
    "scaled_tanh_alpha_beta": ("scaled_tanh", 1.5, 0.75), "hard_sixth": ("hard_sigmoid", 1 / 6),
}  # fmt: skip
SAME = (
    "long",
    "scaled_tanh",
    "scaled_tanh_c",
)  # no twin: another shape; with its own numbers, the tanh that it replaces
ORDER = (*AROUND, "three", "towers", "saturated", "long")  # of the words in a name, before those of options

TRIPLES = (
    *(("lengths", "state0", way) for way in ("reverse", "bidirectional", "two")),
    *(("lengths", "dstate", way) for way in ("reverse", "bidirectional", "two")),
    *((mask, "state0", "bidirectional") for mask in ("short", "empty", "gaps")),
    ("lengths", "nan", "state0"), ("lengths", "bidirectional", "two"), ("gaps", "bidirectional", "two"),
    ("state0", "bidirectional", "two"), ("lengths", "reverse", "two"),
    ("lengths", "state0", "bidirectional", "two"), ("lengths", "state0", "dstate", "bidirectional"),
    ("lengths", "state0", "dstate", "bidirectional", "two"),
    *((*more, "bidirectional", "two", "towers") for more in ((), ("lengths",), ("gaps",), ("state0", "dstate"),
                                                             ("lengths", "state0", "dstate"))),
    *((*more, "three") for more in ((), ("lengths",), ("state0", "dstate"), ("bidirectional",), ("reverse", "gaps"))),
    *((*more, "saturated") for more in ((), ("lengths",), ("state0", "dstate"))),
    ("lengths", "long"), ("state0", "dstate", "reverse", "long"),
)  # fmt: skip
OF_LSTM = (
    ("peepholes", "coupled_f", "clip_c"), ("peepholes", "projection", "lengths"), ("reverse", "peepholes", "lengths"),
    ("bidirectional", "peepholes", "lengths", "state0"), ("bidirectional", "clip_c", "lengths", "state0"),
    ("gaps", "state0", "dstate", "bidirectional", "two", "peepholes", "coupled_f", "clip_c", "clip_a", "hard_gates"),
    ("empty", "state0", "dstate", "bidirectional", "peepholes", "coupled_i", "clip_c", "projection", "relu"),
    ("lengths", "nan", "state0", "dstate", "reverse", "peepholes", "clip_a", "projection", "softsign_c", "no_bias"),
    ("short", "state0", "dstate", "bidirectional", "two", "layer_norm"),
)  # fmt: skip
OF_GRU = (
    ("lengths", "state0", "bidirectional", "reset_before"), ("lengths", "reverse", "reset_before"),
    ("gaps", "state0", "dstate", "bidirectional", "two", "reset_before", "clip_a", "hard_gates", "relu"),
)  # fmt: skip


def refused(one: str, other: str) -> str | None:
    """Why two features cannot meet, or None."""
    for group, why in (
        (tuple(MASKS), "there is one mask"),
        (("reverse", "bidirectional"), "there is one direction, or both"),
        (("coupled_f", "coupled_i"), "one gate is made of the other"),
    ):
        if one in group and other in group:
            return why
    options = [name for name in (one, other) if any(name in known for known in OPTIONS.values())]
    if len(options) == 2 and "layer_norm" in options:
        return "layer_norm goes with no other option of the cell"
    return None


def left_out(one: str, other: str) -> str | None:
    """Why two features that can meet do so in no pair: to keep the file small."""
    options = [name for name in (one, other) if name not in AROUND]
    around = [name for name in (one, other) if name in AROUND]
    if options and around and around[0] in ("short", "empty", "gaps", "nan"):
        return "a mask stands around the step: `lengths` meets every option"
    if options and around and around[0] in ("final", "dstate"):
        return "what comes from above is added to dh and dc outside the step: three threes meet every line of it"
    if {one, other} == {"short", "two"}:
        return "`lengths` and `two` meet, and `gaps` and `two`"
    if "final" in (one, other) and not {one, other} & {"lengths", "bidirectional", "two"}:
        return "where dy enters is all that it changes"
    if "nan" in (one, other) and not {one, other} & {"state0", "reverse", "bidirectional", "two"}:
        return "NaN stands at masked steps, whatever the mask"
    return None


def completed(features: tuple[str, ...]) -> tuple[str, ...]:
    """In order, with what they need: NaN stands at masked steps, a loss of the final state has its gradient."""
    has = set(features)
    if "nan" in has and not has & MASKS.keys():
        has.add("lengths")
    if "final" in has:
        has.add("dstate")
    return tuple(sorted(has, key=lambda f: (ORDER.index(f), "") if f in ORDER else (len(ORDER), f)))


def sets(cell: str) -> list[tuple[str, ...]]:
    """The features of every case of a cell."""
    pairs = (*AROUND, *OPTIONS[cell])
    found = [(), *((feature,) for feature in pairs)]
    found += [two for two in combinations(pairs, 2) if not refused(*two) and not left_out(*two)]
    found += [*TRIPLES, *{"lstm": OF_LSTM, "gru": OF_GRU, "rnn": ()}[cell]]
    found += [(feature,) for feature in activations(cell)]
    return list(dict.fromkeys(map(completed, found)))


def activations(cell: str) -> dict[str, dict]:
    """Every function in every place that the cell has, one place at a time."""
    return {
        name + SLOTS[slot]: {slot: spec}
        for slot in SLOTS
        if slot in options_of(CELLS[cell])
        for name, spec in SPECS.items()
        if name + SLOTS[slot] not in OPTIONS[cell] and (slot, name) != ("gate_activation", "identity")
    }


def case_of(cell: str, features: tuple[str, ...]) -> Golden:
    """The case, without arrays, twins and tolerances."""
    known = OPTIONS[cell] | activations(cell)
    options = {k: v for feature in features for k, v in known.get(feature, {}).items()}
    direction = next((f for f in features if f in ("reverse", "bidirectional")), "forward")
    layers = 3 if "three" in features else 2 if "two" in features else 1
    topology = "" if layers == 1 or direction != "bidirectional" else "interleaved"
    mask = next((MASKS[f] for f in features if f in MASKS), None)
    lengths = None if mask is None or "gaps" in features else [sum(column) for column in zip(*mask, strict=True)]
    T, B, I, H = (200, 2, 1, 2) if "long" in features else (4, 3, 2, 3)
    if "long" in features and lengths:
        lengths = [200, 77]
    return Golden(
        "-".join((cell, *features)), cell, options, direction, layers, "towers" if "towers" in features else topology,
        T, B, I, H, lengths, list(features), {}, {}, "nan" if "nan" in features else "numbers",
    )  # fmt: skip


def every_case() -> list[Golden]:
    """All of them, each with the names of its twins."""
    found = []
    for cell in OPTIONS:
        names = {frozenset(features): features for features in sets(cell)}
        for features in names.values():
            apart = [f for f in features if f not in SAME]
            without = {f: completed(tuple(g for g in features if g != f)) for f in apart}
            case = case_of(cell, features)
            twins = {
                f: case_of(cell, rest).name for f, rest in without.items() if f not in rest and frozenset(rest) in names
            }
            case.twins.update(twins)
            found.append(case)
    return found
