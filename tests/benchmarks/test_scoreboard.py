"""The page of the scoreboard is that of its rows; what has to meet for a fault is told by the fewest features."""

import json

from benchmarks import scoreboard

ROWS = [json.loads(line) for line in scoreboard.ROWS.read_text(encoding="utf-8").splitlines()]


def test_the_page_is_that_of_the_rows():
    assert scoreboard.PAGE.read_text(encoding="utf-8") == scoreboard.page(ROWS)


def test_who_is_right_has_no_bad_case():
    """No false alarm: torch, Equinox, Haiku, MLX, and lstmcore itself."""
    bad = {r["engine"]: r["bad"] for r in ROWS}
    for engine in (*scoreboard.CLEAN, "lstmcore:reference"):
        assert bad[engine] == []


def test_what_is_known_is_found():
    """Every fault that is known of an engine is found by its name."""
    said = scoreboard.known(ROWS)
    assert len(scoreboard.CLAIMS) == said.count("| found: ")
    assert "not found" in scoreboard.known([{**row, "bad": []} for row in ROWS])
    assert "not tried" in scoreboard.known([])


def test_causes_are_the_fewest_features_that_meet():
    both = "lengths-state0-bidirectional"
    names = (f"lstm-{both}", "lstm-lengths-state0-dstate-bidirectional", f"rnn-{both}")
    (line,) = scoreboard.causes([[name, "wrong", "off"] for name in names])
    assert line == f"**bidirectional + lengths + state0** (lstm, rnn): wrong, in 3 cases with it. `lstm-{both}`: off"


def test_scripts_are_short():
    for path in (scoreboard.ROOT / "docs/scoreboard").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 15
