"""The site: what its pages gain over the text, and that a link which leads nowhere is found. `make docs` builds all."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
import time

import blocks
import browser
import links
import pytest

pytest.importorskip("sphinx")

PAGE = """# A page

An [equation](derivation.md#eq-12).

```python
import lstmcore as lc
print(f"{lc.LSTM(1, 2).params['W_ih'].shape}")
```

```python
print("told")
```

```text
told
```

```{eval-rst}
.. automodule:: lstmcore.ops.cells.lstm
.. autofunction:: lstmcore.train.loop.fit
.. autofunction:: lstmcore.debug.jvp
.. autofunction:: lstmcore.debug.diagnose
```
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site of two pages, built with the settings of the real one."""
    folder = tmp_path_factory.mktemp("site")
    source = folder / "docs"
    shutil.copytree(
        blocks.ROOT / "docs", source, ignore=shutil.ignore_patterns("[a-z]*.md", "scoreboard", "__pycache__")
    )
    text = (blocks.ROOT / "docs" / "derivation.md").read_text(encoding="utf-8")
    (source / "derivation.md").write_text(re.sub("```python.*?```", "", text, flags=re.DOTALL), encoding="utf-8")
    (source / "index.md").write_text(PAGE + "\n```{toctree}\nderivation\n```\n", encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(source), str(folder / "built")]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(blocks.ROOT)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder / "built"


def test_a_block_shows_what_it_printed_once(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    assert "(1, 8)" in re.sub("<[^>]+>", "", page.split('class="shown')[1])
    assert page.count('class="shown') == 1  # the second is told by the page itself


def test_every_equation_is_a_place_and_its_mentions_and_comments_lead_there(site):
    page = (site / "derivation.html").read_text(encoding="utf-8")
    numbers = re.findall(r'id="eq-(\d+)"', page)
    assert sorted(map(int, numbers)) == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 123
    assert 'href="#eq-43">(43)' in page.replace("<span>", "").replace("</span>", "")
    assert 'href="derivation.html#eq-12"' in (site / "index.html").read_text(encoding="utf-8")
    assert '../../../../derivation.html#eq-13">(13)' in (site / "_modules/lstmcore/ops/cells/lstm.html").read_text(
        "utf-8"
    )


def test_an_equation_of_the_explorer_leads_there(site):
    page = html.unescape((site / "derivation.html").read_text(encoding="utf-8"))
    for equation in ("eq12&cell=lstm", "eq25&cell=lstm&padding", "eq30&cell=gru", "eq38&cell=rnn"):
        number = equation[2:].partition("&")[0]
        place = rf'id="eq-{number}" href="#eq-{number}">\({number}\)</a><a class="seen" href="explorer.html#{equation}"'
        assert re.search(place, page), equation
    assert (site / "explorer.html").exists()


def test_docstrings_are_read_as_plain_text(site):
    page = re.sub("<[^>]+>", "", (site / "index.html").read_text(encoding="utf-8"))
    assert "run.ended" in page
    assert "`" not in page
    assert "**" not in page
    assert re.search(r"clip\s*limit on the global norm of the gradients", page)


def test_a_signature_names_its_types_as_the_code_does(site):
    page = html.unescape(re.sub("<[^>]+>", "", (site / "index.html").read_text(encoding="utf-8")))
    signature = page[page.index("lstmcore.debug.jvp(") :].partition("[source]")[0]
    for said in ("x: Array", "direction: Mapping[str, Array]", "state: State | None = None"):
        assert said in signature, signature
    assert "tell: Callable[[str], None] = lambda words: ..." in page
    assert not re.search(r"TypeAlias|dtype\[|~", page)


def test_search_needs_no_network(site):
    if reason := browser.missing():
        pytest.skip(reason)
    with browser.browser() as page:
        page.open((site / "search.html").as_uri() + "?q=vanish")
        end = time.monotonic() + 20
        while not (found := page.script("return [...document.querySelectorAll('#search-results a')].map(a => a.href)")):
            assert time.monotonic() < end, page.text("body")
            time.sleep(0.1)
    assert any("/derivation.html" in address for address in found)


def test_links_are_followed_and_no_page_asks_the_network(site, tmp_path):
    assert links.faults(site)[0] == []
    (tmp_path / "a.html").write_text(
        '<a href="b.html">b</a><a href="#here">h</a><p id="there"><a href="a.html#there">t</a><a href="https://x.org/">x</a>'
        '<script src="https://cdn.org/m.js"></script><img src="gone.png">',
        encoding="utf-8",
    )
    (tmp_path / "a.css").write_text("@import 'https://fonts.org/f.css';", encoding="utf-8")
    wrong, outside = links.faults(tmp_path)
    assert wrong == [
        "a.html: nothing at b.html",
        "a.html: no such place #here",
        "a.html asks the network for https://cdn.org/m.js",
        "a.html: nothing at gone.png",
        "a.css asks the network for https://fonts.org/f.css",
    ]
    assert outside == {"https://x.org/", "https://cdn.org/m.js"}


def test_what_a_block_shows_is_kept_until_page_or_package_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "ROOT", tmp_path)
    monkeypatch.setattr(blocks, "KEPT", tmp_path / "kept")
    page, runs = tmp_path / "page.md", tmp_path / "runs"
    code = f"with open({str(runs)!r}, 'a') as file:\n    _ = file.write('x')\nprint(1)\n2 + 2\n"
    page.write_text(f"```python\n{code}```\n", encoding="utf-8")
    for _ in range(2):
        assert blocks.shown(page) == [blocks.Shown("1\n4\n", "")]
    assert runs.read_text() == "x"
    page.write_text(f"changed\n```python\n{code}```\n", encoding="utf-8")
    blocks.shown(page)
    assert runs.read_text() == "xx"
    kept = json.loads((tmp_path / "kept" / "page.json").read_text())
    assert kept["shown"] == [["1\n4\n", ""]]
