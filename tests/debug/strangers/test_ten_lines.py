"""The lines of docs/case-format.md that write a case from other languages, run where these are installed."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import lstmcore as lc

T, I, H = 4, 3, 2
PAGE = (Path(__file__).parents[3] / "docs" / "case-format.md").read_text(encoding="utf-8")


def block(language):
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return code


@pytest.fixture(scope="module")
def arrays():
    """One sequence of an LSTM with matrices (out, in), and its gradients."""
    rng = np.random.default_rng(0)
    lstm = lc.LSTM(I, H, dtype="float64", seed=0, engine="reference")
    x, dy = rng.standard_normal((T, 1, I)), rng.standard_normal((T, 1, H))
    y, _, cache = lstm.forward(x)
    grads = lstm.backward(dy, cache)[2]
    p = lstm.params
    found = {"W": p["W_ih"].T, "U": p["W_hh"].T, "b": p["b"], "x": x[:, 0], "dy": dy[:, 0], "h": y[:, 0]}
    return found | {"dW": grads["W_ih"].T, "dU": grads["W_hh"].T, "db": grads["b"]}


def in_c(name, a):
    return f"static double {name}[] = {{{', '.join(map(repr, a.ravel().tolist()))}}};"


def in_matlab(name, a):
    rows = a.tolist() if a.ndim == 2 else [[v] for v in a.tolist()]
    return f"{name} = [{'; '.join(' '.join(map(repr, row)) for row in rows)}];"


def program(language, arrays):
    """Source: the arrays, and the page's lines."""
    if language == "c":
        sizes = f"#include <stdio.h>\n#define T {T}\n#define I {I}\n#define H {H}\n"
        start = 'int main(void) { FILE *f = fopen("case.json", "w"); put_case(f); fclose(f); return 0; }\n'
        return sizes + "\n".join(in_c(*item) for item in arrays.items()) + "\n" + block("c") + start
    if language == "js":
        return "".join(f"const {name} = {a.tolist()};\n" for name, a in arrays.items()) + block("js")
    return "\n".join(in_matlab(*item) for item in arrays.items()) + "\n" + block("matlab")


@pytest.mark.parametrize(("language", "needed"), [("c", "gcc"), ("js", "node"), ("matlab", "octave-cli")])
def test_the_lines_write_a_case(tmp_path, arrays, language, needed):
    if shutil.which(needed) is None:
        pytest.skip(f"{needed} is not installed")
    source = tmp_path / f"case_writer.{'m' if language == 'matlab' else language}"
    source.write_text(program(language, arrays))
    command = [needed, source.name]
    if language == "c":
        subprocess.run(["gcc", "-o", "writer", source.name], cwd=tmp_path, check=True)
        command = ["./writer"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    case = lc.debug.load_case(tmp_path / "case.json")
    np.testing.assert_allclose(case.weights["W"], arrays["W"], rtol=1e-14)
    answer = lc.debug.diagnose_case(case)
    assert answer.ok, str(answer)
    assert answer.forward == "right"
