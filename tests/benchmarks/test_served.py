"""What docs/cpu.md says of frozen models in service is what their rows say."""

import statistics

from benchmarks.measure import ROOT
from benchmarks.rows import Row, read
from benchmarks.shapes import SERVED


def test_the_page_says_what_the_rows_say():
    rows = read(ROOT / "benchmarks" / "results" / "served.csv", Row)
    timed = {row.shape: row.ratio for row in rows if row.contestant == "onnxruntime" and row.threads == 1}
    assert all(row.base == "lstmcore fused-cpu-frozen" for row in rows)
    ahead = sorted((ratio, shape) for shape, ratio in timed.items() if ratio < 1)

    def sizes(shapes):
        return [f"({SERVED[name].T}, {SERVED[name].B}, {SERVED[name].H})" for name in shapes]

    page = " ".join((ROOT / "docs" / "cpu.md").read_text(encoding="utf-8").split())
    missing = [name for name in SERVED if name not in timed]
    assert f"all {len(SERVED)} but {' and '.join(sizes(missing))}, as (T, B, H), which were not timed" in page
    assert (
        f"onnxruntime takes {statistics.median(timed.values()):.2f} times as long in the median, up to "
        f"{max(timed.values()):.2f}; it is ahead at {len(ahead)}, where its time is {ahead[0][0]:.3f} to "
        f"{ahead[-1][0]:.3f} of ours: {', '.join(sizes(shape for _, shape in ahead))}."
    ) in page


def test_the_page_says_what_the_rows_of_two_threads_say():
    rows = read(ROOT / "benchmarks" / "results" / "served.csv", Row)
    timed = {row.shape: row.ratio for row in rows if row.contestant == "onnxruntime" and row.threads == 2}
    ahead = sorted((ratio, SERVED[shape]) for shape, ratio in timed.items() if ratio < 1)
    assert set(timed) == set(SERVED)
    page = " ".join((ROOT / "docs" / "cpu.md").read_text(encoding="utf-8").split())
    assert (
        f"onnxruntime takes {statistics.median(timed.values()):.2f} times as long in the median of all {len(timed)}, "
        f"up to {max(timed.values()):.2f}; it is ahead at {len(ahead)}, where its time is {ahead[0][0]:.2f} to "
        f"{ahead[-1][0]:.2f} of ours: {', '.join(f'({s.T}, {s.B}, {s.H})' for _, s in ahead)}."
    ) in page
