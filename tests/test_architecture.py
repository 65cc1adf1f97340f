"""The layout of the house, held by reading its source: who imports whom, who names CuPy and Numba, who cuts gates.

Each rule looks at every file and tells of all that break it.
"""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import lstmcore

PACKAGE = Path(lstmcore.__file__).parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

MODULES = {".".join(("lstmcore", *Path(file).with_suffix("").parts)).removesuffix(".__init__"): file for file in FILES}

# From the ground up: a file may import what stands in its own storey or below, and nothing above.
STOREYS = (
    ("arrays", "hints", "shapes"),
    ("ops",),
    ("layers",),
    ("interop",),
    ("train",),
    ("debug",),
    ("recipes",),
    ("cli",),
)
STOREY = {name: k for k, names in enumerate(STOREYS) for name in names}


@functools.cache
def tree(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"))


def storey(module: str) -> int | None:
    """The storey of a dotted module inside lstmcore ("ops.gates"); None for the package's own __init__."""
    return STOREY[module.split(".")[0]] if module else None


@functools.cache
def imports(file: str) -> set[str]:
    """Full dotted names of everything that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide where they lead"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_files(file: str) -> set[str]:
    """The package's own files that a file imports. The version, which stands in the first of them, is no part of it."""
    found = set()
    for name in imports(file) - {"lstmcore.__version__"}:
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        found |= {MODULES[name]} - {file} if name else set()
    return found


def circles(arrows: dict[str, set[str]]) -> list[str]:
    """A circle through every node that can be reached from itself, spelled out: "a > b > a"; the same one once."""
    found = {}
    for start in arrows:
        came_from: dict[str, str] = {}
        ahead = [start]
        while ahead and start not in came_from:  # breadth first: the shortest way back
            here = ahead.pop(0)
            for there in sorted(arrows.get(here, ())):
                if there not in came_from:
                    came_from[there] = here
                    ahead.append(there)
        if start in came_from:
            way = [start]
            while way[-1] != start or len(way) == 1:
                way.append(came_from[way[-1]])
            found.setdefault(frozenset(way), " > ".join(reversed(way)))
    return list(found.values())


def test_there_is_something_to_look_at():
    assert len(FILES) > 25
    assert "ops/recurrence/reference.py" in FILES
    assert imports("ops/recurrence/reference.py") >= {"lstmcore.ops.gates", "lstmcore.arrays.namespace"}
    assert imported_files("ops/recurrence/reference.py") >= {"ops/gates.py", "arrays.py", "ops/cells/__init__.py"}


def test_imports_go_downward():
    broken = []
    for file in FILES:
        if file in ("__init__.py", "__main__.py"):
            continue
        own = file.split("/")[0].removesuffix(".py")
        if own not in STOREY:
            broken.append(f"{file} stands in no storey of the house")
            continue
        for name in imports(file):
            if name.split(".")[0] != "lstmcore":
                continue
            inside = name.split(".")[1:]
            if inside and inside[0] in STOREY:
                if STOREY[inside[0]] > STOREY[own]:
                    broken.append(f"{file} imports {name}, which stands above it")
            elif own not in ("recipes", "cli") and inside != ["__version__"]:
                broken.append(f"{file} imports {name} from the package")  # only the top of the house may
    assert not broken, "\n".join(broken)


def test_train_has_storeys_of_its_own():
    """What stands side by side knows nothing of each other."""
    storeys = (
        ("update", "files", "data", "interrupt", "metrics", "ranks", "recorded_cpu", "segments", "truncated"),
        ("run",),
        ("callbacks", "gradients", "evaluate"),
        ("loop",),
        ("find_lr", "recorded_step"),
    )
    storey = {name: k for k, names in enumerate(storeys) for name in names}
    broken = []
    for file in FILES:
        room, _, own = file.partition("/")
        own = own.split("/")[0].removesuffix(".py")
        if room != "train" or own == "__init__":
            continue
        if own not in storey:
            broken.append(f"{file} stands in no storey of train")
            continue
        for other in imported_files(file):
            room, _, there = other.partition("/")
            there = there.split("/")[0].removesuffix(".py")
            if room == "train" and there != own and storey.get(there, len(storeys)) >= storey[own]:
                broken.append(f"{file} imports {other}, which does not stand below it")
    assert not broken, "\n".join(broken)


def test_no_file_imports_itself_in_a_circle():
    """Of imports inside functions too: what must be imported late to work at all is in the wrong file."""
    found = circles({file: imported_files(file) for file in FILES})
    assert not found, "\n".join(found)


def test_no_room_imports_itself_in_a_circle():
    """A room is a folder. It and the one that holds it may know each other: they are one room, seen from outside."""
    arrows: dict[str, set[str]] = {}
    for file in FILES:
        for other in imported_files(file):
            here, there = (name.rpartition("/")[0] for name in (file, other))
            if not f"{here}/".startswith(f"{there}/") and not f"{there}/".startswith(f"{here}/") and here and there:
                arrows.setdefault(here, set()).add(there)
    found = circles(arrows)
    assert not found, "\n".join(found)


def test_a_circle_is_found():
    arrows = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": set(), "f": {"f"}, "g": {"a"}}
    assert circles(arrows) == ["a > b > c > a", "f > f"]
    assert not circles({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()})


def test_cupy_and_numba_stay_in_their_files():
    broken = []
    for file in FILES:
        names = {name.split(".")[0] for name in imports(file)}
        if "cupy" in names and file != "arrays.py" and "/gpu/" not in file:
            broken.append(f"{file} imports cupy")
        if {"numba", "llvmlite"} & names and "/cpu/" not in file and not file.endswith("_cpu.py"):
            broken.append(f"{file} imports {', '.join({'numba', 'llvmlite'} & names)}")
    assert not broken, "\n".join(broken)


def test_only_gates_cuts_gate_blocks():
    """No slice over [H : 2 * H], no reshape to (.., 4, H) or (4 * H) outside ops/gates.py."""
    broken = []
    for file in FILES:
        if file == "ops/gates.py" or file.startswith("interop/"):  # interop turns other people's layouts into ours
            continue
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Slice):
                text = ast.unparse(node)
                if re.search(r"\b(H|hidden_size) ?\*|\* ?(H|hidden_size)\b", text):
                    broken.append(f"{file}: [{text}] cuts gates")
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("split", "array_split", "hsplit"):
                owner, into = ast.unparse(node.func.value), ast.unparse(node.args[1]) if len(node.args) > 1 else ""
                if owner in ("np", "xp", "numpy") and re.fullmatch(r"\d+|K|len\(.*\)", into):
                    broken.append(f"{file}: {ast.unparse(node)} cuts gates")
    assert not broken, "\n".join(broken)


def test_no_gate_goes_by_its_letter():
    """What a gate means, its cell says; elsewhere nobody looks for "f" among the gates, but interop, and what edits the
    text of one cell."""
    broken = []
    for file in FILES:
        if file.startswith(("ops/cells/", "interop/")):
            continue
        for node in ast.walk(tree(file)):
            if not isinstance(node, ast.Compare | ast.Call):
                continue
            text = ast.unparse(node)
            if re.fullmatch(
                r"'\w' (not )?in .*gates|.*gates\.index\('\w'\)|\w*gate\w* (==|!=|in|not in) .*'\w'.*", text
            ):
                broken.append(f"{file}: {text}")
    assert not broken, "\n".join(broken)


def test_every_forward_has_its_backward_beside_it():
    broken = []
    for file in FILES:
        if not file.startswith("ops/"):
            continue
        functions = [node.name for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef)]
        for name in functions:
            if name.endswith("forward"):
                partner = name.removesuffix("forward") + "backward"
                if partner not in functions:
                    broken.append(f"{file}: {name} has no {partner} beside it")
                elif functions.index(partner) < functions.index(name):
                    broken.append(f"{file}: {partner} stands before {name}")
            if name.endswith("backward") and name.removesuffix("backward") + "forward" not in functions:
                broken.append(f"{file}: {name} undoes nothing here")
    assert not broken, "\n".join(broken)


def test_forwards_are_there():
    """The rule above looks at names; these must be among them."""
    found = {node.name for file in FILES if file.startswith("ops/") for node in ast.walk(tree(file))
             if isinstance(node, ast.FunctionDef)}  # fmt: skip
    assert found >= {"step_forward", "linear_forward", "embedding_forward", "dropout_forward", "masking_forward"}


def test_classes_are_final():
    """Protocols aside, what is inherited from inherits nothing itself: no hierarchy is deeper than one step."""
    bases = {
        node.name: {ast.unparse(base).split("[")[0] for base in node.bases}
        for file in FILES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ClassDef)
    }
    assert bases["Layer"] == {"Protocol"}
    assert bases["LSTM"] == {"Recurrent"}
    assert bases["Recurrent"] == {"Layer"}
    for name, parents in bases.items():
        for parent in parents & bases.keys():
            above = {base for base in bases[parent] if bases.get(base) != {"Protocol"}}
            assert above <= {"Protocol"}, f"{name} inherits from {parent}, and that from {above}"


def test_no_peer_is_skipped_unasked():
    """Tests ask for a peer as a fixture: importorskip would skip it even under --require-peers."""
    skips = re.compile(r"importorskip\(\W*(torch|jax|keras|flax|equinox|onnx|onnxruntime)\b")
    files = [path for path in Path(__file__).parent.rglob("*.py") if path != Path(__file__)]
    assert len(files) > 100
    assert [path.name for path in files if skips.search(path.read_text(encoding="utf-8"))] == []


def test_no_global_switches():
    """Nothing is decided by an environment variable, but where the system wants cache folders, and whether a
    launcher of MPI has started several of this program; nothing by a global, but
    for the threads that compiled engines keep. What a process of ours is given by its own is handed on, not read."""
    broken = []
    for file in FILES:
        text = (PACKAGE / file).read_text(encoding="utf-8")
        read = re.findall(r"""environ(?:\.get\(|\[)["'](\w+)["']""", text)
        handed_on = re.findall(r"\benv=(?:os\.environ \| |\{name: v for name, v in os\.environ\.items\(\))", text)
        if not set(read) <= {"LOCALAPPDATA", "XDG_CACHE_HOME", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK"}:
            broken.append(f"{file} reads {', '.join(read)} from the environment")
        if len(re.findall(r"\benviron\b|\bgetenv\b", text)) != len(read) + len(handed_on):
            broken.append(f"{file} reads the environment")
        writes = any(isinstance(node, ast.Global) for node in ast.walk(tree(file)))
        if writes and "/cpu/" not in file and "/gpu/" not in file:
            broken.append(f"{file} writes to a global")
    assert not broken, "\n".join(broken)


def test_import_is_light():
    """`import lstmcore` loads neither a compiler nor anything that talks to a terminal."""
    heavy = ["numba", "llvmlite", "scipy", "rich", "typer", "matplotlib", "cupy", "torch", "jax", "safetensors"]
    code = f"import sys, lstmcore; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_public_names_exist():
    for name in lstmcore.__all__:
        assert getattr(lstmcore, name) is not None
    assert len(lstmcore.__all__) == len(set(lstmcore.__all__))
