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


class Target(NamedTuple):
    register_bytes: int  # 64 (AVX-512), 32 (AVX2) or 16 (every other machine)
    registers: int


@functools.cache
def target() -> Target:
    """What Numba compiles for in this process."""
    return probe(*cpu_target.target_context.codegen().magic_tuple())  # as the names of kernel files hold it


def probe(triple: str, cpu: str, features: str) -> Target:
    """What LLVM compiles for: the system, a processor's name, and features such as "+avx2,-avx512f"."""
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    sums = [line for line in machine.emit_assembly(llvm.parse_assembly(PROBE)).splitlines() if "padd" in line]  # of x86
    size = next((size for name, size in (("zmm", 64), ("ymm", 32)) if sums and name in sums[0]), 16)
    return Target(size, 32 if size == 64 or triple.startswith(("aarch64", "arm64")) else 16)
