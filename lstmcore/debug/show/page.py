"""The answers of the tools as HTML: in a page of their own, and in a notebook. No network, no script."""

from collections.abc import Iterable
from html import escape
from typing import NamedTuple

from lstmcore.debug.show.picture import svg

STYLE = """
.lstmcore { font: 15px/1.5 system-ui, sans-serif; --good: #16a34a; --bad: #dc2626; --quiet: #8881; }
.lstmcore ul.findings { padding: 0; list-style: none; }
.lstmcore .good, .lstmcore .bad { border-left: 5px solid var(--good); padding: .2em .8em; margin: .3em 0;
  background: var(--quiet); }
.lstmcore .bad { border-color: var(--bad); }
.lstmcore details { border-top: 1px solid #8885; padding: .4em 0; }
.lstmcore summary { cursor: pointer; font-weight: 600; font-size: 1.1em; }
.lstmcore details details { border: 0; margin-left: 1em; }
.lstmcore details details summary { font-weight: 400; font-size: 1em; }
.lstmcore pre { overflow-x: auto; font-size: 12px; line-height: 1.3; padding: .6em; background: var(--quiet); }
.lstmcore svg { max-width: 100%; height: auto; } .lstmcore svg text { fill: currentColor; font-family: inherit; }
"""


class Finding(NamedTuple):
    """One sentence, the tool that found it, and whether it is a cause for worry."""

    tool: str
    text: str
    good: bool


def told(answer: object, tool: str = "") -> list[Finding]:
    """What a tool's answer says. Its `worries`, or all of it where it is not ok, are causes for worry."""
    findings: tuple[str, ...] = getattr(answer, "findings", ())
    worries = getattr(answer, "worries", () if getattr(answer, "ok", True) else findings)
    return [Finding(tool, text, text not in worries) for text in findings]


def finding_list(found: Iterable[Finding]) -> str:
    """As a list, each with its colour."""
    items = ""
    for tool, text, good in found:
        by = f"<b>{escape(tool)}</b>: " if tool else ""
        items += f'<li class="{"good" if good else "bad"}">{by}{escape(text)}</li>'
    return f'<ul class="findings" id="findings">{items}</ul>'


def picture_of(answer: object) -> str:
    """Its picture; a line that says what is missing without matplotlib; nothing for an answer without pictures."""
    draw = getattr(answer, "picture", None)
    if draw is None:
        return ""
    try:
        figure = draw()
    except ImportError as error:
        return f"<p>{escape(str(error))}</p>"
    return svg(figure) if figure.axes else ""  # there may be nothing to be seen, as where all is finite


def as_text(answer: object) -> str:
    """What `print` shows, folded."""
    return f"<details><summary>as text</summary><pre>{escape(str(answer))}</pre></details>"


def notebook(self: object) -> str:
    """What a notebook shows: the findings, the picture and the text; of an answer without findings the text alone."""
    if hasattr(self, "findings"):
        return framed(finding_list(told(self)) + picture_of(self) + as_text(self))
    return framed(f'<div class="{"good" if getattr(self, "ok", True) else "bad"}"><pre>{escape(str(self))}</pre></div>')


def framed(body: str) -> str:
    """With the style around it, which touches nothing else."""
    return f'<div class="lstmcore"><style>{STYLE}</style>{body}</div>'
