"""What `diagnose` says of programs that know nothing of lstmcore: right ones, and ones with mistakes planted.

By day a share of what `python -m tests.debug.strangers` tries, which prints the scores of all.
"""

import pytest

from tests.debug.strangers.planted import PLANTED, missing, run
from tests.debug.strangers.scores import WIDTH, diagnose, plan, right_code, tried, written

SLOW = ("jax_scan.py", "torch_function.py")  # what they import takes seconds
LEAST = {"right": 1.0, "one": 1.0, "two": 0.9, "three, seen inside": 0.9}


def present(request, program):
    if (tool := missing(program)) is not None:
        pytest.skip(f"{tool} is not installed")
    if program == "jax_scan.py":
        request.getfixturevalue("jax")
    if program.startswith("torch"):
        request.getfixturevalue("torch")


@pytest.mark.parametrize("program", PLANTED)
def test_right_code_is_never_accused(program, tmp_path, nightly, request):
    """By day each in one precision, with its outputs; nightly in all, and without outputs too."""
    if program in SLOW and not nightly:
        pytest.skip("nightly: what it imports takes seconds")
    present(request, program)
    case = run(program, tmp_path)
    widths = list(WIDTH.values())
    for width in widths if nightly else [widths[list(PLANTED).index(program) % len(widths)]]:
        answer = diagnose(written(case, width), search=False)
        assert right_code(answer), str(answer)
    if nightly and "y" in case:
        del case["y"]
        answer = diagnose(case)
        assert right_code(answer), str(answer)


FUNCTIONS = {
    "hard_gates.py": "hard sigmoid in the three gates",
    "rectified.py": "relu for both tanh",
    "peepholes.py": "an LSTM with peepholes",
    "projected.py": "an LSTM with a projection of h to 4",
    "coupled.py": "an LSTM with coupled gates, i = 1 - f",
    "gru_cho.py": "a GRU whose reset gate comes before the product",
    "keras_three.py": "hard sigmoid a / 6 + 1/2 in the three gates",
    "graves.py": "an LSTM with peepholes",
    "six_matrices.py": "an LSTM with coupled gates, f = 1 - i",
    "gru_two.py": "a GRU whose reset gate comes before the product",
    "normed_each.py": "an LSTM with layer norm (of each product; eps 1e-05)",
    "normed_free.py": "an LSTM with layer norm (of the sum of both products and the bias, gate by gate, and of c where it is shown; "
    "eps 1e-06)",
    "gru_joint.py": "a GRU whose reset gate comes before the product",
    "gru_shelf.py": "a GRU whose reset gate comes before the product",
    "gru_pairs.py": "a GRU whose reset gate comes before the product",
    "gru_r.py": "a GRU whose reset gate comes before the product",
    "averaged.py": "a forget bias of 1 added at run time",
}


@pytest.mark.parametrize("program", FUNCTIONS)
def test_another_function_is_called_by_its_name(program, tmp_path):
    answer = diagnose(run(program, tmp_path), search=False)
    assert answer.forward.startswith(f"another function: {FUNCTIONS[program]}")
    assert right_code(answer)


@pytest.mark.parametrize("program", ["columns.py", "einsum.py", "peepholes.py", "gru_joint.py", "browser.js"])
def test_a_mistake_in_a_program_is_named(program, tmp_path, request):
    present(request, program)
    right, wrong, name = PLANTED[program][0]
    answer = diagnose(run(program, tmp_path, (right, wrong)))
    assert name in answer.names, str(answer)


def test_scores(nightly, tmp_path):
    """All that is planted, nightly."""
    if not nightly:
        pytest.skip("nightly: some minutes")
    found = {}
    for kind, program, edits in plan():
        if (answer := tried(kind, program, edits, tmp_path)) is not None:
            found.setdefault(kind.split(",")[0], []).append((answer[0], program, edits, str(answer[2])))
    for kind, least in LEAST.items():
        all_of_kind = found[kind.split(",")[0]]
        missed = [rest for good, *rest in all_of_kind if not good]
        assert len(missed) <= (1 - least) * len(all_of_kind), missed


def test_two_mistakes_on_one_line_beside_another(tmp_path):
    """Both change what dc carries; the third scales one matrix at the end."""
    both = [PLANTED["batch_last.py"][k] for k in (0, 2, 3)]
    case = run("batch_last.py", tmp_path, *((right, wrong) for right, wrong, _ in both))
    answer = diagnose(case, steps=case["inside"])
    assert {name for *_, name in both} == set(answer.names), str(answer)


def test_two_mistakes_that_lines_alone_do_not_tell(tmp_path):
    """A short case tells da, as if one gate had the other's: what no line explains, a pair does."""
    names = ("the carry of dh is dropped", "all of them: gate i holds a copy of gate f")
    both = [(right, wrong) for right, wrong, name in PLANTED["characters.py"] if name in names]
    answer = diagnose(run("characters.py", tmp_path, *both))
    assert set(names) <= set(answer.names), str(answer)
    assert answer.place is None
