"""Vectors are as long as the registers of the processor that Numba compiles for, whatever this one has."""

import json
import os
import platform
import subprocess
import sys

import llvmlite.binding as llvm
import pytest

from lstmcore.ops.cpu.target import has_avx512_bf16, probe, reached, target

LINUX, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"


@pytest.mark.parametrize(
    ("triple", "cpu", "features", "expected"),
    [
        (LINUX, "generic", "", (16, 16)),
        (LINUX, "penryn", "", (16, 16)),
        (LINUX, "haswell", "", (32, 16)),
        (LINUX, "znver1", "", (32, 16)),
        (LINUX, "haswell", "-avx2", (16, 16)),  # the features correct the name
        (LINUX, "haswell", "+avx512f", (64, 32)),
        (LINUX, "skylake-avx512", "", (64, 32)),
        (LINUX, "skylake-avx512", "-avx512f", (32, 16)),
        ("x86_64-pc-windows-msvc", "znver4", "", (64, 32)),
        (ARM, "generic", "", (16, 32)),
        ("arm64-apple-darwin", "apple-m1", "", (16, 32)),
        (LINUX, "x86-64-v3", "", (32, 16)),
        (LINUX, "x86-64-v4", "", (64, 32)),
    ],
)
def test_registers_of_other_processors(triple, cpu, features, expected):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    assert probe(triple, cpu, features) == expected


ASKS = """
import json
from lstmcore.ops.cpu import tile
from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.cpu.target import target
print(json.dumps([target(), vectors("float32").lanes, vectors("float64").lanes, tile.SUMS, tile.panel_vectors()]))
"""


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"NUMBA_CPU_NAME": "generic"}, [[16, 16], 4, 2, 12, 2]),
        ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}, [[32, 16], 8, 4, 12, 2]),
    ],
)
def test_numba_is_asked_and_not_the_machine(named, expected):
    if llvm.get_default_triple().split("-")[0] != "x86_64":
        pytest.skip("names of x86 processors")
    done = subprocess.run([sys.executable, "-c", ASKS], env={**os.environ, **named}, capture_output=True, check=True)
    assert json.loads(done.stdout) == expected


def test_this_process_has_one_target():
    assert target().register_bytes in (16, 32, 64)
    assert target() is target()


# What LLVM says of such processors, and what Linux does: https://gitlab.com/x86-psABIs/x86-64-ABI, as lists.
V3 = (
    "+avx,+avx2,+bmi,+bmi2,+cmov,+crc32,+cx16,+cx8,+f16c,+fma,+fxsr,+lzcnt,+mmx,+movbe,+popcnt,+sahf,+sse,+sse2,+sse3,"
    "+sse4.1,+sse4.2,+ssse3,+xsave"
)
V4 = f"{V3},+avx512bw,+avx512cd,+avx512dq,+avx512f,+avx512vl"
V3_OF_LINUX = {"abm", "avx", "avx2", "bmi1", "bmi2", "cx16", "f16c", "fma", "lahf_lm", "movbe", "popcnt", "xsave"}
V4_OF_LINUX = V3_OF_LINUX | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}


@pytest.mark.parametrize(
    ("triple", "features", "expected"),
    [
        (LINUX, "", ()),
        (LINUX, "+avx2,+fma", ()),  # as `make avx2` names them: others might not be there
        (LINUX, V3, ("x86-64-v3",)),
        (LINUX, f"{V3},-avx512f,+xsaveopt", ("x86-64-v3",)),
        (LINUX, f"{V3},+avx512cd,+avx512er,+avx512f,+avx512pf", ("x86-64-v3",)),  # Knights Landing
        (LINUX, V4, ("x86-64-v4", "x86-64-v3")),
        ("x86_64-pc-windows-msvc", f"{V4},+avx512vnni", ("x86-64-v4", "x86-64-v3")),
        *[(LINUX, V4.replace(f"+{name}", f"-{name}"), ()) for name in ("fma", "bmi", "lzcnt", "movbe", "sahf")],
        *[(LINUX, V4.replace(f"+{name}", f"-{name}"), ("x86-64-v3",)) for name in ("avx512vl", "avx512dq")],
        (LINUX, V4.replace("+", "-"), ()),
        (ARM, "+neon", ("generic",)),
        ("riscv64-unknown-linux-gnu", "+v", ()),
    ],
)
def test_levels_that_a_processor_reaches(triple, features, expected):
    assert reached(triple, features) == expected


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="flags as Linux names those of x86"
)
def test_levels_are_those_of_this_processor():
    """By what the system says of it, in a process that was told of no other."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        flags = set(next(line for line in file if line.startswith("flags")).split())
    reaches = (("x86-64-v4", V4_OF_LINUX), ("x86-64-v3", V3_OF_LINUX))
    code = "from lstmcore.ops.cpu.target import levels; print(*levels())"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CPU")}
    said = subprocess.run([sys.executable, "-c", code], env=plain, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert said.split() == [name for name, needed in reaches if flags >= needed]


@pytest.mark.parametrize(
    ("triple", "cpu", "features", "expected"),
    [(LINUX, "znver4", "", True), (LINUX, "cooperlake", "", True), (LINUX, "sapphirerapids", "", True),
     (LINUX, "skylake-avx512", "", False), (LINUX, "x86-64-v4", "", False), (LINUX, "x86-64-v4", "+avx512bf16", True),
     (LINUX, "znver4", "-avx512bf16", False), (LINUX, "haswell", "", False),
     (LINUX, "sierraforest", "", False),  # rounds to bfloat16, 256 bits at a time
     (ARM, "neoverse-v1", "", False)],  # its instruction for that is another one
)  # fmt: skip
def test_products_of_bfloat16_on_other_processors(triple, cpu, features, expected):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    assert has_avx512_bf16(triple, cpu, features) == expected
