"""The processor that Numba compiles for: how long its vector registers are, and how many it has.

It need not be the one that this runs on: NUMBA_CPU_NAME and NUMBA_CPU_FEATURES name another, and a name may imply what
the features do not say, or the other way round. So LLVM is asked, by a sum of vectors: the registers stand in what it
compiles.
"""

import functools
from typing import NamedTuple

import llvmlite.binding as llvm
from numba.core.registry import cpu_target

PROBE = """
define <16 x i32> @probe(<16 x i32> %a, <16 x i32> %b) {
  %c = add <16 x i32> %a, %b
  ret <16 x i32> %c
}
"""


ROUNDS = """
define <16 x bfloat> @rounds(<16 x float> %a) {
  %b = fptrunc <16 x float> %a to <16 x bfloat>
  ret <16 x bfloat> %b
}
"""

# Levels of processors: the name by which LLVM knows each, and what it can do. Whatever is compiled for one runs on all
# that can do as much. https://gitlab.com/x86-psABIs/x86-64-ABI, "Micro-Architecture Levels"; of ARM every one has NEON.
AVX2 = frozenset(("avx", "avx2", "bmi", "bmi2", "cx16", "f16c", "fma", "lzcnt", "movbe", "popcnt", "sahf", "xsave"))
AVX512 = AVX2 | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}
ANY: frozenset[str] = frozenset()
LEVELS = {
    "x86_64": {"x86-64-v4": AVX512, "x86-64-v3": AVX2},
    "aarch64": {"generic": ANY},
    "arm64": {"generic": ANY},
}


class Target(NamedTuple):
    register_bytes: int  # 64 (AVX-512), 32 (AVX2) or 16 (every other machine)
    registers: int


@functools.cache
def target() -> Target:
    """What Numba compiles for in this process."""
    return probe(*cpu_target.target_context.codegen().magic_tuple())  # as the names of kernel files hold it


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether a vector of 32 bfloat16 numbers is multiplied in one instruction there, as AVX512_BF16 does."""
    return has_avx512_bf16(*cpu_target.target_context.codegen().magic_tuple())


def has_avx512_bf16(triple: str, cpu: str, features: str) -> bool:
    """Whether LLVM rounds a vector of 512 bits to bfloat16 in one instruction for such a processor: it belongs to the
    same set."""
    rounds = [line for line in _assembly(ROUNDS, triple, cpu, features) if "vcvtneps2bf16" in line]
    return bool(rounds) and "zmm" in rounds[0]


@functools.cache
def levels() -> tuple[str, ...]:
    """The levels that the processor reaches for which Numba compiles, the highest first."""
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    return reached(triple, features)


def reached(triple: str, features: str) -> tuple[str, ...]:
    """The levels of such processors that can do what `features` say."""
    can = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    return tuple(name for name, needed in LEVELS.get(triple.split("-")[0], {}).items() if can >= needed)


def probe(triple: str, cpu: str, features: str) -> Target:
    """What LLVM compiles for: the system, a processor's name, and features such as "+avx2,-avx512f"."""
    sums = [line for line in _assembly(PROBE, triple, cpu, features) if "padd" in line]  # of x86
    size = next((size for name, size in (("zmm", 64), ("ymm", 32)) if sums and name in sums[0]), 16)
    return Target(size, 32 if size == 64 or triple.startswith(("aarch64", "arm64")) else 16)


def _assembly(code: str, triple: str, cpu: str, features: str) -> list[str]:
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    return machine.emit_assembly(llvm.parse_assembly(code)).splitlines()
