"""What `diagnose` says of strangers' programs, right and wrong: a table of scores. `python -m tests.debug.strangers`

Right programs as they computed, in float32 and with six decimals; each with one mistake, some with two, and with three
where they tell what they saw inside. A mistake counts as named only if the answer's best explanation holds it, or has
its numbers to the last digit. What is done is kept in a file, line by line, where one is named: a run that was broken
off goes on where it was.
"""

import json
import sys
import tempfile
import time
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np

import lstmcore as lc
from tests.debug.strangers.planted import PLANTED, missing, run

GIVEN = ("mask", "state", "layout", "y")
WIDTH = {"float64": None, "float32": "float32", "6 decimals": 6}
PAIRS, TRIPLES = 2, 2  # of each program


def diagnose(case, **options):
    given = {name: case[name] for name in GIVEN if name in case}
    return lc.debug.diagnose(case["weights"], case["x"], case["dy"], case["grads"], **given, **options)


def written(case, how):
    """The case as it is read after its gradients were written like this."""
    if how is None:
        return case
    arrays = {name: np.asarray(value) for name, value in case["grads"].items()}
    if how == "float32":
        return case | {"grads": {name: a.astype("float32") for name, a in arrays.items()}}
    return case | {"grads": {name: np.round(a.astype(float), how) for name, a in arrays.items()}}


def right_code(answer):
    """Not accused: right, or right gradients of another function that is named."""
    return answer.ok or (answer.forward.startswith("another function: ") and "WRONG" not in str(answer))


def plan(seed=0, programs=tuple(PLANTED)):
    """(kind, program, edits) of everything that is tried, but for what a tool that is not here would have to run."""
    rng = Random(seed)
    for program in programs:
        if missing(program):
            continue
        edits = PLANTED[program]
        for how in WIDTH:
            yield f"right, {how}", program, ()
        for edit in edits:
            yield "one", program, (edit,)
        for kind, size, most in (("two", 2, PAIRS), ("three, seen inside", 3, TRIPLES)):
            sets = [chosen for chosen in combinations(edits, size) if _apart(program, chosen)]
            rng.shuffle(sets)
            for chosen in sets[:most]:
                yield kind, program, chosen


def _apart(program, edits):
    """Whether every edit finds its line when the others are made: two may lie on one."""
    text = (Path(__file__).parent / program).read_text()
    for right, wrong, _ in edits:
        if text.count(right) != 1:
            return False
        text = text.replace(right, wrong)
    return True


def _lines(edits):
    return [(right, wrong) for right, wrong, _ in edits]


def _same(case, other):
    return all(np.allclose(case["grads"][key], other["grads"][key], rtol=1e-9) for key in case["grads"])


def tried(kind, program, edits, folder):
    """(whether the answer is right, seconds of processor time, the answer); None if there is too little to tell."""
    case = run(program, folder, *_lines(edits))
    fewer = combinations(edits, len(edits) - 1) if edits else ()
    if any(_same(case, run(program, folder, *_lines(some))) for some in fewer):
        return None  # one of them changes nothing beside the others
    inside = {"steps": case["inside"]} if kind.startswith("three") else {}
    if inside == {"steps": None}:
        return None
    if not edits:
        case = written(case, WIDTH[kind.removeprefix("right, ")])
    begun = time.process_time()
    answer = diagnose(case, **inside)
    good = {name for *_, name in edits} <= set(answer.names) if edits else right_code(answer)
    return good, time.process_time() - begun, answer


def main(seed=0, programs=(), kept=None, kinds=()):
    """The table, of kinds that begin so, and before it every miss."""
    lines = Path(kept).read_text().splitlines() if kept and Path(kept).exists() else []
    done = {tuple(json.loads(line)[:3]): json.loads(line)[3:] for line in lines}
    scores = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for kind, program, edits in plan(seed, programs or tuple(PLANTED)):
            if kinds and not kind.startswith(kinds):
                continue
            planted = " + ".join(name for *_, name in edits)
            if (kind, program, planted) not in done:
                found = tried(kind, program, edits, folder)
                done[kind, program, planted] = found and [found[0], found[1], str(found[2])]
                if kept:
                    with open(kept, "a") as file:
                        file.write(json.dumps([kind, program, planted, *(done[kind, program, planted] or [])]) + "\n")
            if not done[kind, program, planted]:
                continue
            good, took, answer = done[kind, program, planted]
            scores[kind].append((good, took))
            print(f"{kind}: {program}: {planted or 'nothing'} ({took:.1f} s)", "" if good else f"MISSED\n{answer}\n",
                  file=sys.stderr, flush=True)  # fmt: skip
    print(f"{'planted':22}{'named':>12}{'':>8}{'median s':>10}{'longest':>10}")
    for kind, rows in scores.items():
        good, seconds = [good for good, _ in rows], [took for _, took in rows]
        share = f"{100 * np.mean(good):.0f} %"
        print(f"{kind:22}{f'{sum(good)} of {len(good)}':>12}{share:>8}{np.median(seconds):10.1f}{max(seconds):10.1f}")
