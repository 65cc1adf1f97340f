"""The product tile as LLVM compiles it for processors that are not here: read, since it cannot be run.

Every sum stays in a register while k runs: in the loop stands a multiplication for each, and no vector of the stack.
"""

import json
import re
import subprocess
import sys

import pytest

LINUX, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
PROCESSORS = {
    "arm": (ARM, "generic"),
    "apple": ("arm64-apple-darwin", "apple-m1"),
    "graviton": (ARM, "neoverse-v1"),
    "avx2": (LINUX, "x86-64-v3"),
    "avx512": (LINUX, "x86-64-v4"),
}

LOOPS = """
import json, sys
from llvmlite import binding as llvm, ir
from lstmcore.ops.cpu import target
triple, cpu, every = sys.argv[1], sys.argv[2], sys.argv[3] == "every"
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
found = target.probe(triple, cpu, "")
target.target = lambda: found  # as if Numba compiled for that one
from lstmcore.ops.cpu import tile
from lstmcore.ops.cpu.factors import factors
from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.cpu.vector import INT64

machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)

def assembly(rows, columns):
    module = ir.Module()
    module.triple = triple
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [INT64] * 12), "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    tile._tile_body(builder, vectors("float32"), factors("float32").multiply_add, rows, columns, *function.args)
    builder.ret_void()
    module = llvm.parse_assembly(str(module))
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(3))
    builder.getModulePassManager().run(module, builder)
    return machine.emit_assembly(module)

texts = []
for columns in range(1, tile.panel_vectors() + 1):
    most = min(tile.TILE_ROWS, tile.SUMS // columns)
    texts += [(rows, columns, assembly(rows, columns)) for rows in (range(1, most + 1) if every else [most])]
print(json.dumps([found, tile.SUMS, texts]))
"""


def loop(text: str) -> str:
    """The block with the most multiplications."""
    blocks = re.split(r"^\.?LBB\S*:.*$|^## %bb.*$|^; %bb.*$", text.replace("\nLBB", "\n.LBB"), flags=re.MULTILINE)
    return max(blocks, key=lambda block: len(re.findall(MULTIPLY, block)))


MULTIPLY = r"\bv?fml?add?\w*\b|\bfmla\S*"
ON_STACK = r"mm\d+.*%rsp|%rsp.*mm\d|\b[qdsv]\d+\b.*\[sp\b"  # a vector


@pytest.mark.parametrize("name", PROCESSORS)
def test_no_sum_leaves_its_register(name, nightly):
    if name != "arm" and not nightly:
        pytest.skip("with --nightly: one processor by day")
    triple, cpu = PROCESSORS[name]
    command = [sys.executable, "-c", LOOPS, triple, cpu, "every" if nightly else "largest"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (size, registers), sums, texts = json.loads(done.stdout)
    assert (sums, registers) in ((24, 32), (12, 16))
    assert max(rows * columns for rows, columns, _ in texts) == sums
    for rows, columns, text in texts:
        inside = loop(text)
        count = len(re.findall(MULTIPLY, inside))
        assert count > 0, (rows, columns, size)
        assert count % (rows * columns) == 0, (
            rows,
            columns,
            size,
        )  # LLVM may write several steps of k
        assert not re.search(ON_STACK, inside), (rows, columns, inside)
