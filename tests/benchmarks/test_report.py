"""Tables and pictures from rows."""

import subprocess
import sys

import pytest

from benchmarks import report, rows
from benchmarks.measure import ROOT
from benchmarks.rows import Row


def row(contestant: str, ms: float | None, ratio: float | None, **other) -> Row:
    fields = {
        "date": "2026-01-02", "machine": "A processor", "cores": 2, "threads": 2, "shape": "count", "T": 20, "B": 1000,
        "I": 1, "H": 24, "lengths": "", "dtype": "float32", "mode": "full", "version": "1", "rounds": 3, "calls": 9,
    }  # fmt: skip
    if ms is not None:
        fields |= {"q20_ms": 0.9 * ms, "q80_ms": 1.2 * ms, "gflops": 90.0 / ms, "product_gflops": 180.0}
        fields |= {"ratio_q20": 0.9 * ratio, "ratio_q80": 1.2 * ratio, "base": "lstmcore fused-cpu"}
    return Row(contestant=contestant, median_ms=ms, ratio=ratio, **(fields | other))


ROWS = [
    row("lstmcore fused-cpu", 2.0, 1.0),
    row("torch", 9.0, 4.5),
    row("jax", 8.0, 4.0),
    row("tensorflow", None, None, version="", note="absent: No module named 'tensorflow'"),
    row("lstmcore fused-cpu", 1.0, 1.0, shape="stream", T=128, B=1, I=64, H=64, lengths="5-31"),
    row("torch", 2.5, 2.5, shape="stream", T=128, B=1, I=64, H=64, lengths="5-31"),
    row("jax", None, None, shape="stream", T=128, B=1, I=64, H=64, lengths="5-31", note="wrong: dx is off by 1"),
    row("tensorflow", None, None, shape="stream", version="", note="absent: No module named 'tensorflow'"),
]
SWEEP = [
    row(name, ms * H, ratio, shape=f"H{H}", T=32, B=32, I=64, H=H)
    for H in (8, 64)
    for name, ms, ratio in (("lstmcore fused-cpu", 0.1, 1.0), ("torch", 0.3, 3.0))
]

TABLE = """\
| count | (20, 1000, 1, 24) | 2 | 45 | 25% | 4.50 (4.05 to 5.40) | 4.00 (3.60 to 4.80) | absent | **4.00** |
| stream | (128, 1, 64, 64) lengths 5-31 | 1 | 90 | 50% | 2.50 (2.25 to 3.00) | wrong | absent | **2.50** |
"""


def test_table():
    text = report.table(ROWS)
    assert TABLE in text
    assert "**full, float32**; A processor, 2 threads; lstmcore fused-cpu 1, torch 1, jax 1" in text
    assert "| lstmcore fused-cpu, ms | GFLOP/s | of the product | torch | jax | tensorflow | quickest other |" in text
    assert "- jax, stream: wrong: dx is off by 1" in text
    assert text.count("tensorflow: absent: No module named 'tensorflow'") == 1


def test_the_latest_measurement_counts():
    text = report.table([*ROWS, row("torch", 6.0, 3.0)])
    assert "| 3.00 (2.70 to 3.60) | 4.00" in text
    assert "4.50" not in text


def test_tables_do_not_mix_modes():
    text = report.table(
        [*ROWS, row("lstmcore fused-cpu", 0.5, 1.0, mode="forward"), row("torch", 1.0, 2.0, mode="forward")]
    )
    assert TABLE in text
    assert "| count | (20, 1000, 1, 24) | 0.5 | 180 | 100% | 2.00 (1.80 to 2.40) | **2.00** |" in text


def test_line():
    assert report.line(ROWS[:4]) == (
        "count         full     lstmcore fused-cpu 2 ms  torch 4.50x  jax 4.00x  "
        "tensorflow absent: No module named 'tensorflow'"
    )


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    written = report.draw([*ROWS, *SWEEP], tmp_path / "pictures")
    assert [path.name for path in written] == ["full-time.png", "full-ratio.png", "full-scaling.png"]
    from matplotlib.image import imread

    for path in written:
        picture = imread(path)
        assert picture.min() < picture.max()  # something is drawn
    assert report.draw([ROWS[3]], tmp_path / "none") == []


def test_command(tmp_path):
    rows.append(tmp_path / "rows.csv", ROWS)
    command = [sys.executable, "-m", "benchmarks.report", tmp_path / "rows.csv"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert TABLE in done.stdout
    (tmp_path / "bad.csv").write_text("date,nothing\n")
    done = subprocess.run([*command[:-1], tmp_path / "bad.csv"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "should have the columns" in done.stderr
