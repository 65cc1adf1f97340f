"""What `diagnose` says of strangers' programs, right and wrong: a table of scores. `python -m tests.debug.strangers [SEED]`

Right programs as they computed, in float32 and with six decimals; each with one mistake, some with two, and with three
where they tell what they saw inside. A mistake counts as named only if the answer's best explanation holds it, or has
its numbers to the last digit.
"""

import tempfile
import time
from collections import defaultdict
from itertools import combinations
from random import Random

import numpy as np

import lstmcore as lc
from tests.debug.strangers.planted import PLANTED, missing, run

GIVEN = ("mask", "state", "layout", "y")
WIDTH = {"float64": None, "float32": "float32", "6 decimals": 6}
PAIRS, TRIPLES = 3, 2  # of each program


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


def tries(seed=0, programs=tuple(PLANTED), folder=None):
    """(kind, program, what was planted, whether the answer is right, seconds of processor time), one after the other."""
    rng = Random(seed)

    def timed(kind, program, planted, case, judge, **options):
        begun = time.process_time()
        answer = diagnose(case, **options)
        return kind, program, planted, judge(answer), time.process_time() - begun, answer

    for program in programs:
        if missing(program):
            continue
        edits = PLANTED[program]
        case = run(program, folder)
        for how, width in WIDTH.items():
            yield timed(f"right, {how}", program, (), written(case, width), right_code)
        for right, wrong, name in edits:
            case = run(program, folder, (right, wrong))
            yield timed("one", program, (name,), case, lambda answer, name=name: name in answer.names)
        for kind, size, most in (("two", 2, PAIRS), ("three, seen inside", 3, TRIPLES)):
            sets = list(combinations(edits, size))
            rng.shuffle(sets)
            done = 0
            for chosen in sets:
                names = tuple(name for *_, name in chosen)
                try:
                    case = run(program, folder, *((right, wrong) for right, wrong, _ in chosen))
                except ValueError:  # two on one line
                    continue
                if done == most or (size == 3 and case["inside"] is None):
                    break
                done += 1
                inside = {"steps": case["inside"]} if size == 3 else {}
                found = lambda answer, names=names: set(names) <= set(answer.names)
                yield timed(kind, program, names, case, found, **inside)


def main(seed=0, programs=()):
    scores, seconds = defaultdict(list), defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for kind, program, planted, good, took, answer in tries(seed, programs or tuple(PLANTED), folder):
            scores[kind].append(good)
            seconds[kind].append(took)
            if not good:
                print(f"{kind}: {program}: {' + '.join(planted) or 'nothing'} ({took:.1f} s)\n{answer}\n", flush=True)
    print(f"{'planted':22}{'named':>12}{'':>8}{'median s':>10}{'longest':>10}")
    for kind, good in scores.items():
        share = f"{100 * np.mean(good):.0f} %"
        print(f"{kind:22}{f'{sum(good)} of {len(good)}':>12}{share:>8}"
              f"{np.median(seconds[kind]):10.1f}{max(seconds[kind]):10.1f}")  # fmt: skip
