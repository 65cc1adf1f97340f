"""The scoreboard: engines held to the golden pack, docs/scoreboard.md.

    python -m benchmarks.scoreboard                  every engine that is installed here
    python -m benchmarks.scoreboard torch flax       these
    python -m benchmarks.scoreboard paddle=.peers/paddle/bin/python      in an environment of its own
    python -m benchmarks.scoreboard --write          the page alone, from the rows in results/scoreboard.jsonl

`make scoreboard` makes the environments. An engine's row takes the place of its older one.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path

from lstmcore.debug.certify import certify, read_pack
from lstmcore.debug.certify.certify import BAD, CannotBegin
from lstmcore.debug.certify.verdict import VERDICTS

ROOT = Path(__file__).parent.parent
ROWS, PAGE = ROOT / "benchmarks/results/scoreboard.jsonl", ROOT / "docs/scoreboard.md"
EVERY = (
    "lstmcore:reference", "lstmcore:fused-cpu", "torch", "keras:torch", "keras:torch:unroll", "keras:jax",
    "keras:jax:unroll", "keras:jax:kernel", "keras:numpy", "keras:numpy:unroll", "flax", "flax:nnx", "equinox", "haiku",
    "mlx", "tinygrad", "paddle", "mxnet", "onnxruntime", "onnx-reference", "onnx-reference:layout1", "openvino",
    "openvino:layout1", "tract",
)  # fmt: skip
CLAIMS = (  # what is known of an engine, the features that have to meet, and of which cells
    ("bidirect, sequence_length and initial states together: gradients", "paddle", "bidirectional lengths state0", ""),
    ("unroll=True ignores zero_output_for_mask", "keras:jax:unroll", "lengths", ""),
    ("unroll=True ignores zero_output_for_mask", "keras:numpy:unroll", "lengths", ""),
    ("unroll, go_backwards and a mask together", "keras:torch:unroll", "lengths reverse", ""),
    ("go_backwards on the way for accelerators, with JAX's stand-in", "keras:jax:kernel", "reverse", "lstm"),
    ("a row of length 0 has the carry of all steps", "flax", "empty", ""),
    ("NaN in the padding makes dW NaN", "flax", "lengths nan", ""),
    ("a row of length 0 has the carry of all steps", "flax:nnx", "empty", ""),
    ("NaN in the padding makes dW NaN", "flax:nnx", "lengths nan", ""),
    ("constant peepholes are dropped", "openvino", "peepholes", "lstm"),
    ("input_forget is ignored", "openvino", "coupled_f", "lstm"),
    ("layout=1", "openvino:layout1", "", ""),
    ("reverse", "tract", "reverse", "rnn"),
    ("reverse", "tract", "reverse", "gru"),
    ("clip is ignored", "tract", "clip_a", ""),
    ("input_forget is ignored", "tract", "coupled_f", ""),
    ("activations are ignored", "tract", "softsign", ""),
    ("sequence_lens is ignored", "onnx-reference", "lengths", ""),
    ("clip is ignored", "onnx-reference", "clip_a", ""),
    ("input_forget is ignored", "onnx-reference", "coupled_f", ""),
    ("activations are ignored", "onnx-reference", "softsign", ""),
    ("Affine without alpha and beta", "onnxruntime", "affine", ""),
    ("ScaledTanh without alpha and beta", "onnxruntime", "scaled_tanh", ""),
    ("ThresholdedRelu without alpha", "onnxruntime", "thresholded_relu", ""),
    ("use_sequence_length is ignored on the CPU", "mxnet", "lengths", ""),
)
CLEAN = ("torch", "equinox", "haiku", "mlx")
HEAD = """# Scoreboard

Engines held to [the golden pack](pack.md) by [`lstmcore certify`](certify.md), one process each. An engine is counted
only over what it says that it has. **Outputs**: it gives no gradients. Made by `make scoreboard`; nothing here is typed
by hand but the scripts named below, each in the peer's own terms.

| engine | version | dtype | day | agree | ignored | wrong | crash | refused | ambiguous | |
|---|---|---|---|---|---|---|---|---|---|---|
"""


def read_rows() -> list[dict]:
    return [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()] if ROWS.exists() else []


def row(engine: str, python: str) -> dict[str, object]:
    """What came of an engine today."""

    def watch(done: int, total: int, verdict: object) -> None:
        print(f"\r{engine} {done}/{total}", end="", file=sys.stderr, flush=True)

    score = certify(engine, python=python, watch=watch)
    print(file=sys.stderr)
    tried = [v for v in score.verdicts if v.verdict == "agree"]
    return {
        "engine": engine,
        "version": score.version,
        "dtype": score.dtype,
        "day": datetime.date.today().isoformat(),
        "seconds": round(score.seconds, 1),
        "gradients": any(not v.missing for v in tried),
        "counts": {verdict: score.count(verdict) for verdict in VERDICTS},
        "bad": [[v.case, v.verdict, v.words] for v in score.bad],
    }


def page(rows: list[dict]) -> str:
    """The table, and below it what is wrong, by the fewest features that have to meet."""
    lines = []
    for r in rows:
        counts = [r["counts"][v] for v in ("agree", "ignored", "wrong", "crash", "refused", "ambiguous")]
        kind = "" if r["gradients"] else "outputs"
        lines.append(f"| {' | '.join(map(str, (r['engine'], r['version'], r['dtype'], r['day'], *counts, kind)))} |\n")
    text = HEAD + "".join(lines)
    for r in rows:
        if r["bad"]:
            text += f"\n## {r['engine']}\n\n" + "".join(f"- {line}\n" for line in causes(r["bad"]))
    text += known(rows)
    scripts = sorted((ROOT / "docs/scoreboard").glob("*.py"))
    text += "\n## In the peers' own terms\n\nScripts of at most 15 lines, which need only the peer:\n\n"
    return text + "".join(f"- [{path.name}](scoreboard/{path.name}): {_said(path)}\n" for path in scripts)


def known(rows: list[dict]) -> str:
    """What is known of engines, each found again or not; and those of which nothing wrong is known."""
    pack, by_engine = read_pack(), {r["engine"]: r for r in rows}
    text = "\n## Known faults, looked for\n\n| fault | engine | |\n|---|---|---|\n"
    for claim, engine, features, cell in CLAIMS:
        every = {case: verdict for case, verdict, _ in by_engine.get(engine, {"bad": []})["bad"]}
        bad = [
            (case, verdict) for case, verdict in every.items()
            if set(features.split()) <= set(pack[case].features) and cell in ("", pack[case].cell)
            and not (features and every.get(pack[case].cell) == verdict)  # as bad without the features
        ]  # fmt: skip
        counts = ", ".join(f"{sum(v == kind for _, v in bad)} {kind}" for kind in BAD if any(v == kind for _, v in bad))
        said = f"found: {counts}, `{bad[0][0]}` first" if bad else "not found" if engine in by_engine else "not tried"
        text += f"| {claim} | {engine} | {said} |\n"
    for engine in CLEAN:
        said = f"{len(by_engine[engine]['bad'])} bad cases" if engine in by_engine else "not tried"
        text += f"| none | {engine} | {said} |\n"
    return text


def causes(bad: list[list[str]]) -> list[str]:
    """The smallest sets of features among the bad cases: a case is left to a smaller one with the same verdict."""
    pack = read_pack()
    sets = {case: frozenset(pack[case].features) for case, _, _ in bad}
    found: dict[tuple[frozenset[str], str], list[str]] = {}
    words = {case: said for case, _, said in bad}
    for case, verdict, _ in bad:
        smaller = [c for c in sets if sets[c] < sets[case] and pack[c].cell == pack[case].cell]
        if not smaller:
            found.setdefault((sets[case], verdict), []).append(case)
    lines = []
    for features, verdict in sorted(found, key=lambda told: (BAD.index(told[1]), sorted(told[0]))):
        cases = found[features, verdict]
        cells = ", ".join(dict.fromkeys(pack[case].cell for case in cases))
        more = sum(features <= sets[c] for c in sets)
        count = f", in {more} cases with it" if more > 1 else ""
        name = " + ".join(sorted(features)) or "the plain case"
        lines.append(f"**{name}** ({cells}): {verdict}{count}. `{cases[0]}`: {words[cases[0]]}")
    return lines


def _said(path: Path) -> str:
    """The first line of a script's docstring."""
    return path.read_text(encoding="utf-8").split('"""')[1].splitlines()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", metavar="ENGINE[=PYTHON]")
    parser.add_argument("--write", action="store_true", help="the page alone")
    told = parser.parse_args()
    for word in [] if told.write else told.engines or EVERY:
        name, _, python = word.partition("=")
        try:
            new = row(name, python or sys.executable)
        except CannotBegin as error:
            print(error, file=sys.stderr)
            continue
        rows = [r for r in read_rows() if r["engine"] != name] + [new]  # read anew: another may have written meanwhile
        rows.sort(key=lambda r: EVERY.index(r["engine"]) if r["engine"] in EVERY else len(EVERY))
        ROWS.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    PAGE.write_text(page(read_rows()), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
