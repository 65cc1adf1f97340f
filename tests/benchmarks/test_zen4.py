"""What docs/cpu.md says of another processor is what its rows say."""

from benchmarks.measure import ROOT
from benchmarks.rows import Row, read
from benchmarks.shapes import NAMED, WIDE

CELLS = [(isa, mode) for isa in ("", ", as avx2") for mode in ("forward", "full")]


def page() -> str:
    return (ROOT / "docs" / "cpu.md").read_text(encoding="utf-8")


def test_the_table_of_the_named_shapes_shows_their_rows():
    rows = read(ROOT / "benchmarks" / "results" / "zen4.csv", Row)
    ratios = {(r.shape, r.machine.removeprefix("AMD EPYC"), r.mode): r.ratio for r in rows if r.contestant == "torch"}
    said = page()
    for name, (T, B, I, H, *_) in NAMED.items():
        cells = [f"{ratios[name, isa, mode]:.2f}" for isa, mode in CELLS]
        assert f"| {name} ({T}, {B}, {I}, {H}) | {' | '.join(cells)} |" in said


def test_the_table_of_bfloat16_shows_its_rows():
    said = page()
    rows = {(r.shape, r.threads, r.mode, r.contestant): r for r in read(ROOT / "benchmarks/results/bf16.csv", Row)}
    for name, (T, B, I, H, *_) in WIDE.items():
        for threads in (1, 2):
            cells = []
            for mode in ("forward", "full"):
                cells.append(f"{rows[name, threads, mode, 'lstmcore fused-cpu-bf16'].median_ms:.3g}")
                others = ("torch-bf16", "lstmcore fused-cpu", "torch")
                cells += [f"{rows[name, threads, mode, other].ratio:.2f}" for other in others]
            assert f"| {name} ({T}, {B}, {I}, {H}) | {threads} | {' | '.join(cells)} |" in said
