"""What stands on the pages of docs/questions is held to what is measured, and a figure that is off is told."""

import re
from typing import NamedTuple

from benchmarks import questions, wall


def columns(page):
    """The numbers of the page as wall.main gives them."""
    made = {"made up": {}, "antibodies": {}, "antibodies, split at random": {}}
    for name, numbers in page.items():
        for column, number in zip(made.values(), numbers, strict=False):
            column[name] = number
    return made


def test_the_table_of_the_wall():
    page = questions.wall_on_the_page()
    assert {*wall.NETWORKS, "constant mean", "mean per residue", "mean per triple", "exact memory"} <= page.keys()
    assert list(questions.off_the_wall(columns(page))) == []
    moved = columns(page)
    moved["antibodies"]["a head per residue"] += 0.02
    (said,) = questions.off_the_wall(moved)
    assert said == "a head per residue: the page says [0.269, 0.201, 0.199], found [0.269, 0.221, 0.199]"
    del moved["made up"]["bias added"]
    assert "'bias added' stands on one side alone" in list(questions.off_the_wall(moved))


class Trial(NamedTuple):
    loss: float
    right: float
    string: str


def test_the_table_of_the_alphabet():
    rows = [re.split(r"  +", row.strip()) for row in questions.table("predicts-the-mean", "loss")]
    trials = {row[0]: Trial(float(row[1].split()[0]), float(row[2].split()[0]) / 100, row[3] + "x") for row in rows}
    assert list(questions.off_the_alphabet(trials)) == []
    for name, wrong in (
        ("as posted", Trial(9.0, 0.08, "f" * 24)),
        ("one-hot alone", Trial(0.0012, 1.0, "bcdefghijklbbcdefghijkla")),
        ("scaling alone", Trial(5.434, 0.8, "")),
    ):
        (said,) = questions.off_the_alphabet(trials | {name: wrong})
        assert said.startswith(f"{name}: the page says ")
    (said,) = questions.off_the_alphabet({"as posted": trials["as posted"]})
    assert said.startswith("the page has ['as posted', 'read-out alone'")


def test_tables_follow_from_recorded_rows(monkeypatch, tmp_path):
    assert list(questions.recorded()) == []
    rows = (questions.RESULTS / "loops.csv").read_text(encoding="utf-8")
    (tmp_path / "loops.csv").write_text(rows.replace(",0.168287,", ",0.178287,"), encoding="utf-8")
    monkeypatch.setattr(questions, "RESULTS", tmp_path)
    said = list(questions.recorded())
    assert [line for line in said if "| per-step, layers 64, 64 | **0.178, 0.169, 0.186**" in line]
    assert len(said) == 3  # it stands in three tables


def test_what_is_off_ends_it_with_1(capsys):
    assert questions.main((lambda: iter(["a: the page says 1, found 2"]),)) == 1
    assert "a: the page says 1, found 2" in capsys.readouterr().out
    assert questions.main((lambda: iter([]),)) == 0
    assert "every figure of docs/questions is found again" in capsys.readouterr().out
