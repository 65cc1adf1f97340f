"""What `make quick` runs: the tests of the files that changed, and of those the fast ones.

Tests mirror the package path by path, so the path of a file tells where its tests are. `python tests/quick.py` prints
these, for pytest.
"""

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
ALWAYS = ("tests/test_architecture.py", "tests/test_trajectory.py")  # the rules of the house; twenty steps of training
UNKNOWN = 0.05  # seconds of processor time that a test takes of which nothing is known


def changed(root: Path = ROOT) -> list[str]:
    """The files that differ from the last commit, new ones too; if none does, those of the last commit."""

    def told(*words: str) -> list[str]:
        return subprocess.run(("git", *words), cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()

    now = told("diff", "--name-only", "HEAD") + told("ls-files", "--others", "--exclude-standard")
    return now or told("diff", "--name-only", "HEAD~1")


def mirrored(files: Iterable[str], root: Path = ROOT) -> list[str]:
    """The tests that stand where these files do: of the file itself, else of its folder, else of what holds that."""
    found: dict[str, None] = {}
    for file in map(Path, files):
        if file.parts[0] == "docs" or file.suffix == ".md":
            found["tests/test_documents.py"] = None
        if file.suffix != ".py" or file.parts[0] not in ("lstmcore", "benchmarks", "tests"):
            continue
        inside = Path(*file.parts[0 if file.parts[0] == "benchmarks" else 1 :])
        if file.parts[0] == "tests" and file.name.startswith("test_"):
            found |= {str(file): None} if (root / file).is_file() else {}
            continue
        while inside.parts:
            here, name = "tests" / inside.parent, inside.stem
            own = [here / f"test_{name}.py", *sorted((root / here / name).glob("**/test_*.py"))]
            beside = sorted((root / here).glob("test_*.py")) if inside.parent.parts else []
            own = [path for path in own if (root / path).is_file()] or beside
            if own:
                found |= {(root / path).relative_to(root).as_posix(): None for path in own}
                break
            inside = inside.parent
    return list(found | dict.fromkeys(ALWAYS))


def within(seconds: float, names: Iterable[str], took: Mapping[str, float]) -> set[str]:
    """The fastest of these tests, by the time that each took last, as long as they end within so many seconds."""
    chosen, left = set(), seconds
    for name in sorted(names, key=lambda name: took.get(name, UNKNOWN)):
        left -= took.get(name, UNKNOWN)
        if left < 0:
            break
        chosen.add(name)
    return chosen


if __name__ == "__main__":
    print(*mirrored(changed()))
