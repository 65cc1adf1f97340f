"""CSV rows: what is written is read."""

import pytest

from benchmarks.rows import Memory, Row, append, read

FULL = Row(
    "2026-01-02T03:04:05+00:00", 'A "quoted", processor', 2, 2, "count", 20, 1000, 1, 24, "", "float32", "full",
    "torch", "2.13.0", 7, 70, 1.25, 1.0, 1.5, 100.0, 180.0, "lstmcore fused-cpu", 4.5, 4.25, 4.75, 0.5,
)  # fmt: skip
EMPTY = FULL._replace(
    contestant="tensorflow", version="", rounds=0, calls=0, median_ms=None, q20_ms=None, q80_ms=None, gflops=None,
    product_gflops=None, base="", ratio=None, ratio_q20=None, ratio_q80=None, error=None, lengths="5-31",
    note="absent: No module named 'tensorflow',\nsorry",
)  # fmt: skip


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "rows.csv"
    append(path, [FULL])
    append(path, [EMPTY, FULL])
    assert read(path) == [FULL, EMPTY, FULL]
    assert path.read_text().splitlines()[0] == ",".join(Row._fields)


def test_floats_keep_six_digits(tmp_path):
    append(tmp_path / "rows.csv", [FULL._replace(median_ms=1234.56789, ratio=1 / 3)])
    (row,) = read(tmp_path / "rows.csv")
    assert (row.median_ms, row.ratio) == (1234.57, 0.333333)


def test_other_columns_are_refused(tmp_path):
    path = tmp_path / "rows.csv"
    append(path, [FULL])
    with pytest.raises(ValueError, match="should have the columns date, machine, shape"):
        read(path, Memory)
    with pytest.raises(ValueError, match="should have the columns"):
        append(path, [Memory("", "", "count", 1, 1, 1, 1, "", "float32", "full", "torch", "2")])
    assert read(path) == [FULL]
