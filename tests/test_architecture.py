"""The layout of the house, held by reading its source: who imports whom, who names CuPy and Numba, who cuts gates."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lstmcore

PACKAGE = Path(lstmcore.__file__).parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

# From the ground up: a file may import what stands in its own storey or below, and nothing above.
STOREYS = (("arrays", "shapes"), ("ops",), ("layers",), ("interop",), ("train",), ("debug",), ("recipes",), ("cli",))
STOREY = {name: k for k, names in enumerate(STOREYS) for name in names}


def tree(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"))


def storey(module: str) -> int | None:
    """The storey of a dotted module inside lstmcore ("ops.gates"); None for the package's own __init__."""
    return STOREY[module.split(".")[0]] if module else None


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


def test_there_is_something_to_look_at():
    assert len(FILES) > 25
    assert "ops/recurrence/reference.py" in FILES
    assert imports("ops/recurrence/reference.py") >= {"lstmcore.ops.gates", "lstmcore.arrays.namespace"}


@pytest.mark.parametrize("file", [file for file in FILES if file not in ("__init__.py", "__main__.py")])
def test_imports_go_downward(file):
    own = file.split("/")[0].removesuffix(".py")
    assert own in STOREY, f"{file} stands in no storey of the house"
    for name in imports(file):
        if name.split(".")[0] != "lstmcore":
            continue
        inside = name.split(".")[1:]
        if inside and inside[0] in STOREY:
            assert STOREY[inside[0]] <= STOREY[own], f"{file} imports {name}, which stands above it"
        else:  # a name of the package itself (lstmcore.LSTM): only the top of the house may
            assert own in ("recipes", "cli") or inside == ["__version__"], f"{file} imports {name} from the package"


@pytest.mark.parametrize("file", FILES)
def test_cupy_and_numba_stay_in_their_files(file):
    names = {name.split(".")[0] for name in imports(file)}
    compiled = {"numba", "llvmlite"} & names
    assert "cupy" not in names or file == "arrays.py" or "/gpu/" in file
    assert not compiled or "/cpu/" in file or file.endswith("_cpu.py")


@pytest.mark.parametrize("file", FILES)
def test_only_gates_cuts_gate_blocks(file):
    """No slice over [H : 2 * H], no reshape to (.., 4, H) or (4 * H) outside ops/gates.py."""
    if file == "ops/gates.py" or file.startswith("interop/"):  # interop turns other people's layouts into ours
        return
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Slice):
            text = ast.unparse(node)
            assert not re.search(r"\b(H|hidden_size) ?\*|\* ?(H|hidden_size)\b", text), f"{file}: [{text}] cuts gates"
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("split", "array_split", "hsplit"):
            owner, into = ast.unparse(node.func.value), ast.unparse(node.args[1]) if len(node.args) > 1 else ""
            cut = owner in ("np", "xp", "numpy") and re.fullmatch(r"\d+|K|len\(.*\)", into)
            assert not cut, f"{file}: {ast.unparse(node)} cuts gates"


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("ops/")])
def test_every_forward_has_its_backward_beside_it(file):
    functions = [node.name for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef)]
    for name in functions:
        if name.endswith("forward"):
            partner = name.removesuffix("forward") + "backward"
            assert partner in functions, f"{file}: {name} has no {partner} beside it"
            assert functions.index(partner) > functions.index(name), f"{file}: {partner} stands before {name}"
        if name.endswith("backward"):
            assert name.removesuffix("backward") + "forward" in functions, f"{file}: {name} undoes nothing here"


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


@pytest.mark.parametrize("file", FILES)
def test_no_global_switches(file):
    """Nothing is decided by an environment variable, but where the system wants cache folders; nothing by a global, but
    for the threads that compiled engines keep. What a process of ours is given by its own is handed on, not read."""
    text = (PACKAGE / file).read_text(encoding="utf-8")
    read = re.findall(r"""environ(?:\.get\(|\[)["'](\w+)["']""", text)
    assert set(read) <= {"LOCALAPPDATA", "XDG_CACHE_HOME"}
    handed_on = re.findall(r"\benv=os\.environ \| ", text)
    assert len(re.findall(r"\benviron\b|\bgetenv\b", text)) == len(read) + len(handed_on)
    writes = any(isinstance(node, ast.Global) for node in ast.walk(tree(file)))
    assert not writes or "/cpu/" in file or "/gpu/" in file


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
