"""The site: `make docs` builds it from these pages and the docstrings, to be read without a network."""

import functools
import itertools
import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import blocks  # noqa: E402

import lstmcore  # noqa: E402

project, author, release = "lstmcore", "The lstmcore developers", lstmcore.__version__
copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["scoreboard", "figures", "explorer"]  # the files of these folders are linked, and are no pages
myst_heading_anchors = 4  # links to headings as on any forge
myst_enable_extensions = ["colon_fence", "attrs_inline"]

html_theme, html_title = "furo", "lstmcore"
html_static_path, html_css_files = ["_static"], ["site.css"]
html_show_search_summary = False  # would have to fetch pages, which a browser refuses to a file
html_copy_source = html_show_sphinx = False
pygments_style, pygments_dark_style = "a11y-light", "a11y-dark"  # every colour can be read

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"Array": "Array"}
viewcode_line_numbers = True
toc_object_entries_show_parents = "hide"

EQUATION = re.compile(r"^\((\d+)\)(?= )", re.MULTILINE)
MENTION = re.compile(r"(?<![\w)\]])\((\d+)\)")
DERIVATION = "derivation"
EQUATIONS = {
    number
    for text in re.findall(
        r"^```text\n(.*?)^```$", (Path(__file__).parent / "derivation.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    for number in EQUATION.findall(text)
}


PLACE = '<a class="equation" id="eq-{0}" href="#eq-{0}">({0})</a>'
SEEN = '<a class="seen" href="{}" title="see it in numbers" aria-label="see it in numbers">↗</a>'


@functools.cache
def played() -> dict[str, str]:
    """A link to where the explorer shows each equation, by the first number that it gave."""
    found: dict[str, str] = {}
    for key, (_, *both) in lstmcore.debug.explain().steps.items():
        for graph, padding in zip(both, ("", "&amp;padding")):
            for first, _ in graph.names.values() if graph else ():
                number = str(next((line.equation for line in graph.lines(first) if line.equation), ""))
                found.setdefault(number, SEEN.format(f"explorer.html#eq{number}&amp;cell={key}{padding}"))
    return found


def shows(app: Sphinx, doctree: nodes.document) -> None:
    """What a block shows stands below it, unless the page tells it in the next block."""
    page = Path(app.env.doc2path(app.env.docname))
    left = [code.rstrip() for _, code in blocks.blocks(page.read_text(encoding="utf-8"))]
    if not left:
        return
    found = iter(list(zip(left, blocks.shown(page), strict=True)))
    for node in list(doctree.findall(nodes.literal_block)):
        if node.get("language") != "python" or node.astext().rstrip() not in left:
            continue
        code, shown = next(found)
        assert node.astext().rstrip() == code, f"{page}: a block is out of order"
        after = node.next_node(descend=False, siblings=True)
        told = after.astext().strip() if isinstance(after, nodes.literal_block) else None
        parts: list[nodes.Node] = []
        if shown.text.strip() and shown.text.strip() != told:
            parts.append(nodes.literal_block(shown.text, shown.text.rstrip(), language="text"))
        if shown.html:
            parts.append(nodes.raw("", shown.html, format="html"))
        if parts:
            node.parent.insert(node.parent.index(node) + 1, nodes.container("", *parts, classes=["shown"]))
    assert next(found, None) is None, f"{page}: a block is missing on the page"


def anchors(app: Sphinx, doctree: nodes.document) -> None:
    """Equation 12 of the derivation is derivation.html#eq-12, and so is every (12) in its text."""
    if app.env.docname != DERIVATION:
        return
    slugs = app.env.metadata[DERIVATION].setdefault("myst_slugs", {})
    for node in list(doctree.findall(nodes.literal_block)):
        if node.get("language") != "text" or not (numbers := EQUATION.findall(node.astext())):
            continue
        slugs |= {f"eq-{number}": (node.line or 0, f"eq-{number}", f"({number})") for number in numbers}
        text = node.astext().replace("&", "&amp;").replace("<", "&lt;")
        text = EQUATION.sub(lambda m: PLACE.format(m[1]) + played().get(m[1], ""), text)
        node.replace_self(nodes.raw("", f'<div class="highlight"><pre>{text}</pre></div>', format="html"))
    for text in list(doctree.findall(nodes.Text)):
        above = text.parent
        if not isinstance(above, nodes.paragraph | nodes.emphasis | nodes.strong | nodes.entry):
            continue
        pieces: list[nodes.Node] = []
        end = 0
        for match in MENTION.finditer(text):
            if match.group(1) in EQUATIONS:
                pieces.append(nodes.Text(text[end : match.start()]))
                pieces.append(nodes.reference("", match.group(), refid=f"eq-{match.group(1)}", internal=True))
                end = match.end()
        if pieces:
            above.replace(text, [*pieces, nodes.Text(text[end:])])


def comments(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """A comment in the source that cites an equation leads to it."""
    if not pagename.startswith("_modules/lstmcore/ops"):
        return
    up = "../" * pagename.count("/")

    def link(comment: re.Match[str]) -> str:
        return MENTION.sub(
            lambda m: f'<a href="{up}{DERIVATION}.html#eq-{m[1]}">{m[0]}</a>' if m[1] in EQUATIONS else m[0], comment[0]
        )

    context["body"] = re.sub(r'<span class="c1">.*?</span>', link, context["body"])


def plain(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text: `names` in it, rows of a name and what it means, and blocks laid out by hand."""
    if lines and lines[0].startswith("Alias for field number"):
        lines[:] = [""]  # Python's own words for the fields of a NamedTuple
        return
    told = []
    for block in re.split(r"\n(?: *\n)+", "\n".join(lines).strip("\n")):
        rows = block.split("\n")
        deeper = [row.startswith("  ") for row in rows]
        if all(deeper):
            told.append("::\n\n" + "\n".join("    " + row for row in rows))
        elif any(deeper) and not rows[0].startswith("- "):
            for row in re.split(r"\n(?! )", block):
                word, _, meaning = row.partition(" ")
                told.append(f"``{word}``\n    {_escaped(' '.join(meaning.split()))}")
        elif any(len(row) + 1 + len(after.split(" ")[0]) < 90 for row, after in itertools.pairwise(rows)):
            told.append("\n".join(f"| {_escaped(row)}" for row in rows))  # there was room: the lines are meant
        else:
            told.append(_escaped(block))
    lines[:] = "\n\n".join([*told, ""]).split("\n")


ALIASES = {  # what autodoc makes of a name for a type, and the name
    "~numpy.ndarray[tuple[~typing.Any, ...], ~numpy.dtype[~typing.Any]]": "Array",
    "tuple[TypeAliasForwardRef('Array') | tuple[Array | State | None, ...] | None, ...]": "State",
}


def short(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Types by the names that the code gives them."""

    def named(text: str | None) -> str | None:
        return text and functools.reduce(lambda told, alias: told.replace(*alias), ALIASES.items(), text)

    return named(signature), named(returned)


def _escaped(text: str) -> str:
    parts = text.split("`")
    parts[::2] = [re.sub(r"([\\*|_])", r"\\\1", part) for part in parts[::2]]
    return "``".join(parts)


def explorer(app: Sphinx, error: Exception | None) -> None:
    """The page on which every number answers, beside the others."""
    if error is None and app.builder.format == "html":
        lstmcore.debug.explain().save(Path(app.outdir) / "explorer.html")


def setup(app: Sphinx) -> None:
    app.connect("build-finished", explorer)
    app.connect("doctree-read", shows)
    app.connect("doctree-read", anchors)
    app.connect("html-page-context", comments)
    app.connect("autodoc-process-docstring", plain)
    app.connect("autodoc-process-signature", short)
