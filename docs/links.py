"""Whether a built site holds together: every link leads somewhere, and no page asks the network: links.py FOLDER

Links to other sites are written to FOLDER/external-links.txt and not followed: what others do, no test here can say.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

MADE = "explorer.html"


class Page(HTMLParser):
    """The places of a page that can be led to, where it leads, and what it loads."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        leads = tag == "a" or values.get("rel") in ("index", "search", "next", "prev")
        if leads and "href" in values:
            self.links.append(values["href"])
        else:
            self.loads += [
                values[name] for name in ("src", "href", "data", "poster") if name in values and tag != "base"
            ]


def faults(folder: Path) -> tuple[list[str], set[str]]:
    """(what is wrong, one sentence each; the links to other sites)."""
    pages = {path.resolve(): Page(path) for path in sorted(folder.rglob("*.html"))}
    wrong, outside = [], set()
    for path, page in pages.items():
        name = path.relative_to(folder.resolve())
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme in ("data", "mailto", "javascript"):
                continue
            if parts.scheme or parts.netloc:
                outside.add(link)
                if link in page.loads:
                    wrong.append(f"{name} asks the network for {link}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                wrong.append(f"{name}: nothing at {link}")
            elif target.name == MADE:  # its program reads the rest of the address
                continue
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                wrong.append(f"{name}: no such place {link}")
    for sheet in sorted(folder.rglob("*.css")):
        for address in re.findall(r"(?:url\(|@import )[\"' ]*(https?:[^\"')]+)", sheet.read_text(encoding="utf-8")):
            wrong.append(f"{sheet.relative_to(folder)} asks the network for {address}")
    return wrong, outside


def main(folder: Path) -> int:
    wrong, outside = faults(folder)
    (folder / "external-links.txt").write_text("".join(f"{link}\n" for link in sorted(outside)), encoding="utf-8")
    print("\n".join([*wrong, f"{len(wrong)} faults; {len(outside)} links to other sites"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
