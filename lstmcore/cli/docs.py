"""`lstmcore docs`: the pages that come with the package."""

import difflib
from pathlib import Path
from typing import Annotated

import typer

import lstmcore
from lstmcore.cli.talk import fail, say

EPILOG = "Example: lstmcore docs find-the-bug"


def docs(
    page: Annotated[
        str | None, typer.Argument(help="Printed as it is written, in Markdown; none: all are listed.")
    ] = None,
) -> None:
    """List the pages that come with the package, or print one: the derivation, the tools, questions and answers."""
    package = Path(lstmcore.__file__).parent
    folder = next((place for place in (package / "docs", package.parent / "docs") if place.is_dir()), None)
    if folder is None:
        fail("the pages did not come with this installation: pip install lstmcore has them", 1)
    found = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.md"))}
    if page is None:
        for name, path in found.items():
            title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
            say(f"{name:<45} {title}")
        say(f"Their folder: {folder}")
        return
    name = page.removeprefix("docs/").removesuffix(".md")
    if name not in found:
        near = difflib.get_close_matches(name, found, 3, 0.4)
        fail(f"there is no page {page!r}{'; ' + ' or '.join(near) + '?' if near else ''} (lstmcore docs lists them)", 2)
    print(found[name].read_text(encoding="utf-8"), end="")
