"""The lines: missing, right, each of them wrong, and all of it at the command line."""

import pytest
from command import called

from lstmcore.debug import judge_exercise, write_exercise
from lstmcore.debug.exercise.exercise import EXERCISES, task

SOLUTION = {  # as a student may write them, in his own way
    "dc": "dc + o * dh * (1 - np.tanh(c) ** 2)", "do": "tanh_c * dh", "dg": "i * dc", "di": "g * dc",
    "dc_prev": "f * dc", "df": "dc * c_prev", "da_o": "do * o - do * o**2", "da_g": "dg * (1 - g**2)",
    "da_f": "df * (f - f * f)", "da_i": "di * i * (1 - i)",
}  # fmt: skip
WRONG = {  # a slip each, and the catalogue's name where it has one
    "dc": ("dh * o * (1 - tanh_c**2)", "what came along c is dropped"), "do": ("dh * c", ""), "dg": ("dc * g", ""),
    "di": ("dc * i", "i for g in the product rule (di)"), "dc_prev": ("dc", "the carry of dc forgets the forget gate"),
    "df": ("dc * c", "c_t for c_{t-1} in the forget gate"), "da_o": ("do", "sigma' of the output gate is missing"),
    "da_g": ("dg * (1 - g)", "tanh' of the candidate without its square (1 - g)"), "da_f": ("df * f", ""),
    "da_i": ("di * (1 - i)", ""),
}  # fmt: skip


@pytest.fixture
def path(tmp_path):
    write_exercise(tmp_path / "backward.py")
    return tmp_path / "backward.py"


def filled(path, answers):
    text = path.read_text(encoding="utf-8")
    for name, answer in answers.items():
        assert text.count(f"    {name} = ...") == 1
        text = text.replace(f"    {name} = ...", f"    {name} = {answer}")
    path.write_text(text, encoding="utf-8")


def test_ten_lines_are_missing(path):
    assert [line.equation for line in task("lstm backward").lines.values()] == list(range(8, 18))
    answer = judge_exercise(path)
    assert not answer.ok
    assert [row.verdict for row in answer.rows] == ["missing"] * 10
    with pytest.raises(FileExistsError):
        write_exercise(path)


def test_it_can_be_solved(path):
    filled(path, SOLUTION)
    answer = judge_exercise(path)
    assert answer.ok, str(answer)
    assert "10 of 10 lines are right" in str(answer)
    assert "the gradients of a whole LSTM made with it are lstmcore's" in str(answer)


@pytest.mark.parametrize("name", WRONG)
def test_one_wrong_line_makes_no_other_wrong(path, name):
    wrong, known = WRONG[name]
    filled(path, SOLUTION | {name: wrong})
    answer = judge_exercise(path)
    assert not answer.ok
    assert [row.line.name for row in answer.rows if row.verdict != "right"] == [name]
    row = next(row for row in answer.rows if row.line.name == name)
    assert row.verdict.startswith("WRONG: off by")
    assert known in row.known


def test_all_wrong_at_once_and_half_done(path):
    filled(
        path, {name: wrong for name, (wrong, _) in WRONG.items() if name not in ("do", "df")} | {"df": "1 / nothing"}
    )
    verdicts = {row.line.name: row.verdict for row in judge_exercise(path).rows}
    assert verdicts["do"] == "missing"
    assert verdicts["df"] == "NameError: name 'nothing' is not defined"
    assert all(said.startswith("WRONG") for name, said in verdicts.items() if name not in ("do", "df"))


def test_lines_in_a_wrong_order(path):
    filled(path, SOLUTION)
    text = path.read_text(encoding="utf-8").splitlines()
    at = {name: next(k for k, line in enumerate(text) if line.startswith(f"    {name} = ")) for name in ("dc", "di")}
    text.insert(at["dc"], text.pop(at["di"]))
    path.write_text("\n".join(text), encoding="utf-8")
    answer = judge_exercise(path)
    assert [row.line.name for row in answer.rows if row.verdict != "right"] == ["di"]


@pytest.mark.parametrize("which", EXERCISES)
def test_six_exercises_and_their_answers(which, tmp_path):
    """As it is written nothing is right; with the answers, which run, all is; and a wrong whole is no right one."""
    write_exercise(tmp_path / "mine.py", which)
    lines = task(which).lines
    answer = judge_exercise(tmp_path / "mine.py")
    assert [(row.line.name, row.verdict) for row in answer.rows] == [(name, "missing") for name in lines]
    assert not answer.ok
    write_exercise(tmp_path / "answers.py", which, answers=True)
    answer = judge_exercise(tmp_path / "answers.py")
    assert answer.ok, str(answer)
    assert f"of a whole {which.split()[0].upper()} made with it are lstmcore's" in answer.whole
    text = (tmp_path / "answers.py").read_text(encoding="utf-8")
    given = task(which).gives
    other = "(dn,)" if given == "(da_n,)" else ", ".join(["2 * " + given.split(", ")[-1]] * (given.count(",") + 1))
    (tmp_path / "answers.py").write_text(text.replace(f"return {given}", f"return {other}"), encoding="utf-8")
    answer = judge_exercise(tmp_path / "answers.py")
    assert not answer.ok
    assert answer.whole.startswith("WRONG, though each line is right by itself")


def test_the_six_are_all_equations_of_the_three_cells():
    numbers = [line.equation for which in EXERCISES for line in task(which).lines.values()]
    assert sorted(numbers) == [*range(2, 18), *range(26, 42)]


def test_an_unknown_exercise_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"one of rnn forward, .*, gru backward; got 'lstm sideways'"):
        write_exercise(tmp_path / "a.py", "lstm sideways")
    assert not (tmp_path / "a.py").exists()


def test_a_known_mistake_of_a_gru(tmp_path):
    write_exercise(tmp_path / "a.py", "gru backward", answers=True)
    text = (tmp_path / "a.py").read_text(encoding="utf-8")
    (tmp_path / "a.py").write_text(text.replace("dz = dh * (h_prev - n)", "dz = dh * (n - h_prev)"), encoding="utf-8")
    row = next(row for row in judge_exercise(tmp_path / "a.py").rows if row.line.name == "dz")
    assert row.known


def test_at_the_command_line(tmp_path):
    path = tmp_path / "backward.py"
    first = called("exercise", str(path))
    assert first.returncode == 0
    assert "fill in its lines, then" in first.stdout
    assert called("exercise", str(path)).returncode == 1
    filled(path, SOLUTION)
    assert called("exercise", str(path)).returncode == 0
    ended = called("exercise", str(tmp_path / "gru.py"), "--which", "gru forward", "--answers")
    assert "its lines are there" in ended.stdout
    assert called("exercise", str(tmp_path / "gru.py")).returncode == 0
    ended = called("exercise", str(tmp_path / "gru.py"), "--which", "lstm forward")
    assert ended.returncode == 2
    assert "--which and --answers are for a file that is still to be written" in ended.stderr.replace("\n", " ")
    ended = called("exercise", str(tmp_path / "new.py"), "--which", "gru")
    assert ended.returncode == 2
    assert "an exercise should be one of" in ended.stderr
    for text, complaint in (
        ("1 +", "it cannot be run (SyntaxError"),
        ("x = 1", "it should hold the function of an exercise, such as step_backward(dh, dc, i"),
    ):
        path.write_text(text)
        ended = called("exercise", str(path))
        assert ended.returncode == 2
        assert complaint in ended.stderr


def test_what_is_no_array_is_said(path):
    filled(path, SOLUTION | {"do": "np.sum(dh)"})
    row = next(row for row in judge_exercise(path).rows if row.line.name == "do")
    assert row.verdict.startswith("WRONG: it should be an array (3, 6); got ()")


def test_a_file_of_two_functions_is_not_judged_by_one(path, tmp_path):
    write_exercise(tmp_path / "forward.py", "lstm forward")
    path.write_text(path.read_text() + (tmp_path / "forward.py").read_text())
    with pytest.raises(ValueError, match="function of one exercise; it holds lstm forward, lstm backward: a file for"):
        judge_exercise(path)


@pytest.mark.parametrize("code", [0, 3])
def test_a_file_that_leaves_is_said(path, code):
    path.write_text(f"import sys\nsys.exit({code})\n" + path.read_text())
    with pytest.raises(ValueError, match=rf"it cannot be run \(SystemExit: {code}\)"):
        judge_exercise(path)


def test_lines_that_cannot_be_judged_are_not_called_missing(tmp_path):
    """And type hints are no other function."""
    file = tmp_path / "answers.py"
    write_exercise(file, answers=True)
    text = file.read_text().replace("(dh, dc", "(dh: np.ndarray, dc")
    file.write_text(text)
    assert judge_exercise(file).ok
    lines = {line.strip().split(" = ")[0]: line for line in text.splitlines()}
    file.write_text(text.replace(lines["dg"], "    dg, di = dc * i, dc * g").replace(lines["di"] + "\n", ""))
    verdicts = {row.line.name: row.verdict for row in judge_exercise(file).rows}
    assert verdicts["dg"] == verdicts["di"] == "not judged: give it a line of its own, name = ..."
    assert verdicts["df"] == "right"
