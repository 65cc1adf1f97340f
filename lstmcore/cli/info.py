"""`lstmcore info`: which engines, libraries and processors are here."""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

import lstmcore
from lstmcore.cli.talk import fail, or_complain, say
from lstmcore.ops.cpu import disk
from lstmcore.ops.cpu.compiler import HOW, has_compiler
from lstmcore.ops.cpu.processors import processors
from lstmcore.recipes import kernels


def info(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    clear_cache: Annotated[bool, typer.Option("--clear-cache", help="Remove the compiled kernels.")] = False,
    build_kernels: Annotated[
        bool, typer.Option("--build-kernels", help="Compile them now, into the package, for all who use it: minutes.")
    ] = False,
) -> None:
    """Which engines, libraries and processors are there, and where the compiled kernels lie."""
    if clear_cache + build_kernels + as_json > 1:
        fail("--json, --clear-cache and --build-kernels are three things to do: give one of them", code=2)
    if clear_cache:
        there = disk.clear()
        say(f"{there.files} compiled kernels removed, {_megabytes(there.bytes)}")
        return
    if build_kernels:
        there, levels = or_complain(lambda: kernels.build(disk.BUILT))
        say(f"{there.files} kernels in {disk.BUILT}, {_megabytes(there.bytes)}, for {' and '.join(levels)}")
        return
    facts = {
        "lstmcore": lstmcore.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {_processor()}",
        "engines": ", ".join(map(_engine, lstmcore.ENGINES)),
        **{name: _version(name, extra) for name, extra in LIBRARIES.items()},
        "kernels": _kernels(),
    }
    if as_json:
        print(json.dumps(facts))
        return
    for name, fact in facts.items():
        say(f"{name:<12} {fact}")


LIBRARIES = {  # and the extra that brings them
    "numpy": None, "numba": None, "safetensors": None,
    "matplotlib": "plot", "torch": "peers", "jax": "peers", "onnxruntime": "peers",
}  # fmt: skip


def _engine(name: str) -> str:
    """Its name, and whether this processor multiplies bfloat16 numbers itself."""
    if name != "fused-cpu-bf16" or not has_compiler():
        return name
    from lstmcore.ops.cpu.target import multiplies_bfloat16  # Numba

    return f"{name} ({'native' if multiplies_bfloat16() else 'emulated'})"


def _kernels() -> str:
    """The compiled kernels on disk: how many, how large, and where they are looked for."""
    there = disk.usage()
    return f"{there.files} compiled, {_megabytes(there.bytes)}, in {', '.join(map(str, there.folders))}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _version(name: str, extra: str | None) -> str:
    if name == "numba" and not has_compiler():
        return f"cannot be imported, so no fused-cpu and no fused-cpu-bf16; {HOW}"
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed" + (f"; pip install 'lstmcore[{extra}]'" if extra else "")


def _processor() -> str:
    """The processor's name and how many of its cores this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or "processor unknown"
    return f"{name}, {processors()} cores"
