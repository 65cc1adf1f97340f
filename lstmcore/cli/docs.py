"""`lstmcore docs`: the pages that come with the package."""

import difflib
from pathlib import Path, PurePosixPath
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
    """List the pages that come with the package, or print one: the derivation, the tools, questions and answers.

    A page is found by its name, docs/ and .md or not, in any case; a folder by its name is its index.
    """
    package = Path(lstmcore.__file__).parent
    folder = next((place for place in (package / "docs", package.parent / "docs") if place.is_dir()), None)
    if folder is None:
        fail("the pages did not come with this installation: pip install lstmcore has them", 1)
    files = [path for ending in ("*.md", "lstm_in_one_file.py") for path in folder.rglob(ending)]
    found = {path.relative_to(folder).as_posix().removesuffix(".md"): path for path in sorted(files)}
    changes = folder.parent / "CHANGELOG.md"  # in a checkout; an installed package has it in the folder
    found |= {"changelog": changes} if changes.is_file() else {}
    if page is None:
        for name, path in found.items():
            title = path.read_text(encoding="utf-8").partition("\n")[0].strip('# "')
            say(f"{name:<45} {title}")
        say(f"Their folder: {folder}")
        return
    place = PurePosixPath(page.casefold().replace("\\", "/").partition("#")[0])  # which leaves out ./
    typed = place.as_posix().removeprefix("docs/").removesuffix(".md")
    name = next((name for name in (typed, f"{typed}/index", f"{typed}.py") if name in found), "")
    if not name:
        near = difflib.get_close_matches(typed, found, 3, 0.4)
        fail(f"there is no page {page!r}{'; ' + ' or '.join(near) + '?' if near else ''} (lstmcore docs lists them)", 2)
    print(found[name].read_text(encoding="utf-8"), end="")
