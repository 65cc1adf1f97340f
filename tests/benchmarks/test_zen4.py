"""What docs/cpu.md says of another processor is what its rows say."""

from benchmarks.measure import ROOT
from benchmarks.rows import Row, read
from benchmarks.shapes import NAMED

CELLS = [(isa, mode) for isa in ("", ", as avx2") for mode in ("forward", "full")]


def test_the_table_shows_the_rows():
    rows = read(ROOT / "benchmarks" / "results" / "zen4.csv", Row)
    ratios = {(r.shape, r.machine.removeprefix("AMD EPYC"), r.mode): r.ratio for r in rows if r.contestant == "torch"}
    page = (ROOT / "docs" / "cpu.md").read_text(encoding="utf-8")
    for name, (T, B, I, H, *_) in NAMED.items():
        cells = [f"{ratios[name, isa, mode]:.2f}" for isa, mode in CELLS]
        assert f"| {name} ({T}, {B}, {I}, {H}) | {' | '.join(cells)} |" in page
