"""What a wheel has beside the package: the pages of docs/ in lstmcore/docs, and README.md without dead links.

The project has no address, so an index page shows README.md where no folder `docs` is beside it.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

SITE = {
    "_static",
    "explorer",
    "reference",
    "conf.py",
    "blocks.py",
    "links.py",
    "draw.py",
    "screenshots.py",
    "__pycache__",
}
NOTE = "\nThe pages `docs/...` and CHANGELOG.md come with the package: `lstmcore docs` lists them, and prints one.\n"


def pages(root: Path) -> dict[str, str]:
    """File -> its place in the wheel: what there is to read without the site."""
    files = [path.relative_to(root) for path in sorted((root / "docs").rglob("*")) if path.is_file()]
    found = {str(root / path): f"lstmcore/{path.as_posix()}" for path in files if not SITE & set(path.parts)}
    return found | {str(root / "CHANGELOG.md"): "lstmcore/docs/changelog.md"}


def told(readme: str) -> str:
    """The text with each link into the repository as words: "the table (`docs/features.md`)"."""

    def plain(link: re.Match[str]) -> str:
        words, (place, _, _) = " ".join(link[1].split()), link[2].partition("#")
        return f"`{place}`" if words == place else f"{words} (`{place}`)"

    return re.sub(r"\[([^\]]+)\]\((?!https?:)([^)]+)\)", plain, readme) + NOTE


class Pages(BuildHookInterface[Any]):
    """A wheel that is installed in place reads the pages where they are written."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"] |= pages(Path(self.root))


class Readme(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": told(text)}
