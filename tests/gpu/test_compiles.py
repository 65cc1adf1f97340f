"""Every kernel compiles for every generation of chips, and no thread needs more registers than it can have.

What a compiler can show without a GPU; that the kernels are right is shown by running their text on an emulated one
(test_emulated.py). Only a few sizes by default; all of the dispatch table's with --nightly.
"""

import itertools

import pytest
from gpu.compiler import ARCHITECTURES, CompileError, build, compiled
from gpu.emulator import Emulator

from lstmcore.ops.gpu import losses as losses_gpu
from lstmcore.ops.gpu import matmul as matmul_gpu
from lstmcore.ops.gpu import table as table_gpu
from lstmcore.ops.gpu.launch import REAL, LaunchError, source
from lstmcore.ops.gpu.update import as_cuda
from lstmcore.ops.recurrence.gpu import persistent as persistent_gpu
from lstmcore.ops.recurrence.gpu import pointwise as pointwise_gpu
from lstmcore.ops.recurrence.gpu import small as small_gpu
from lstmcore.train import AdamW

pytestmark = pytest.mark.usefixtures("compiler")

REGISTERS = 65_536  # of a multiprocessor, on all of these chips
MULTIPROCESSORS = {"sm_80": 108, "sm_90": 132, "sm_100": 148}
SHARED_LIMITS = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024}  # bytes for one block


# Where the sums for the weight gradients fill all registers, the compiler may park what a step needs once: some loads
# and stores beside several hundred multiplications; and what a thread holds stands aside where a division of doubles is
# a call. An array in memory would be 100 bytes and more.
PARKED = {"small_backward": 32, "cross_entropy": 40}


def assert_fits(file, defines, architecture, threads, entries):
    """A block has room, nothing is spilled but for what may be parked, and no array of a thread lies in memory."""
    used = compiled(file, defines, architecture)
    for entry in entries:
        allowed = PARKED.get(entry, 0)
        assert used[entry].spilled_bytes <= allowed, (entry, defines, used[entry])
        assert used[entry].stack_bytes <= allowed, (entry, defines, used[entry])
        assert used[entry].registers * threads <= REGISTERS, (entry, defines, used[entry])


def small_cuts(architecture, shapes):
    """The kernels for all these (B, I, H), each once: (H, inputs, rows) -> (threads of a block, entries)."""
    machine, cuts = Emulator(MULTIPROCESSORS[architecture]), {}
    for B, I, H in shapes:
        for geometry, entries in (
            (small_gpu.forward_geometry(machine, B, I, H), {"small_forward", "small_predict"}),
            (small_gpu.backward_geometry(machine, B, I, H), {"small_backward"}),
        ):
            key = (H, geometry.inputs, geometry.rows)
            threads, others = cuts.get(key, (0, set()))
            cuts[key] = max(geometry.threads, threads), others | entries
    return cuts


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_small(architecture, nightly):
    """The widest, which have the fewest registers to spare, with few rows or with many; and some narrower ones, dealt
    out to the generations. Nightly: all widths, inputs and rows for each of them.
    """
    mine = [H for H in (1, 9, 17, 24, 32, 40) if ARCHITECTURES[H % len(ARCHITECTURES)] == architecture]
    widest = {"sm_80": [(20, 9, 48)], "sm_90": [(20, 9, 48), (1000, 9, 48)], "sm_100": [(1000, 9, 48)]}
    shapes = [*widest[architecture], *((1000, 1, H) for H in mine)]
    if nightly:
        shapes = itertools.product((1, 20, 200, 1000, 100_000), range(1, small_gpu.FUSED_INPUTS + 2), range(1, 49))
    for (H, inputs, rows), (threads, entries) in small_cuts(architecture, shapes).items():
        assert_fits("small.cu", (("H", H), ("I", inputs), ("ROWS", rows)), architecture, threads, entries)


def persistent_cuts(architecture, shapes):
    """The kernels for all these (B, H), each once, of one direction or two: (H filled up, units, rows of a group)."""
    machine, cuts = Emulator(MULTIPROCESSORS[architecture], SHARED_LIMITS[architecture]), set()
    for (B, H), directions in itertools.product(shapes, (1, 2)):
        try:
            cuts.add(persistent_gpu.cut(machine, B, H, directions)[:3])
        except LaunchError:  # one group does not fit this chip, which test_persistent.py looks at
            assert H > 768
            assert architecture == "sm_80"
    return sorted(cuts)


# The widest layers of each kind of block, with many rows: the fewest registers to spare.
PERSISTENT = {"sm_80": [(0, 400, 256)], "sm_90": [(1, 1000, 512), (0, 200, 256)], "sm_100": [(0, 64, 1024)]}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_persistent(architecture, nightly):
    """The widest layers. Nightly: all widths from 49 units, all rows, both precisions."""
    if nightly:
        shapes = list(itertools.product((1, 16, 50, 100, 200, 400, 10_000), range(49, persistent_gpu.WIDEST + 1)))
        kernels = {(ieee, *cut) for ieee in (0, 1) for cut in persistent_cuts(architecture, shapes)}
        assert len(kernels) >= 70
    else:
        shapes = PERSISTENT[architecture]
        kernels = {(ieee, *cut) for ieee, B, H in shapes for cut in persistent_cuts(architecture, [(B, H)])}
        assert len(kernels) >= len(shapes)
    for ieee, H, units, rows in sorted(kernels):
        constants = (("H_PADDED", H), ("UNITS", units), ("ROWS", rows), ("IEEE", ieee))
        entries = ("persistent_forward", "persistent_backward")
        assert_fits("persistent.cu", constants, architecture, persistent_gpu.THREADS, entries)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_pointwise(architecture):
    for real in REAL.values():
        entries = ("pointwise_forward", "pointwise_backward")
        assert_fits("pointwise.cu", (("REAL", real),), architecture, pointwise_gpu.THREADS, entries)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_matmul(architecture):
    for real in REAL.values():
        assert_fits("matmul.cu", (("REAL", real),), architecture, matmul_gpu.THREADS, ("matmul", "matmul_sum"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training(architecture):
    """Losses, clipping, and the rule with the most numbers."""
    for real in REAL.values():
        threads = losses_gpu.THREADS
        constants: tuple = (("REAL", real), ("THREADS", threads))
        assert_fits("losses.cu", constants, architecture, threads, ("cross_entropy", "mean_loss"))
        constants = (("REAL", real), ("ENTRIES", table_gpu.ENTRIES), ("THREADS", table_gpu.THREADS))
        entries = ("clip_squares", "clip_norm", "clip_scale")
        assert_fits("clip.cu", constants, architecture, table_gpu.THREADS, entries)
        rule = (("SLOTS", 2), ("NUMBERS", 9), ("RULE", as_cuda(AdamW.rule, 2)))
        assert_fits("update.cu", (*constants, *rule), architecture, table_gpu.THREADS, ("update",))


@pytest.mark.parametrize("hunt", [(), (("HUNT_RACES", 1),)], ids=["as usual", "hunting races"])
def test_threads_dawdle_where_others_wait(hunt):
    """As benchmarks/gpu/race.py asks for it: asleep, in every kernel with a barrier in its loop, and else never."""
    for file, constants, waiting in (
        ("small.cu", (("H", 5), ("I", 1), ("ROWS", 1)), {"small_forward", "small_predict", "small_backward"}),
        (
            "persistent.cu",
            (("H_PADDED", 64), ("UNITS", 32), ("ROWS", 8), ("IEEE", 1)),
            {"persistent_forward", "persistent_backward"},
        ),
    ):
        kernels = build(source(file, (*hunt, *constants)), "sm_90").instructions
        assert {entry for entry, code in kernels.items() if "bar.red" in code} == waiting
        assert {entry for entry, code in kernels.items() if "nanosleep" in code} == (waiting if hunt else set())


def test_a_mistake_does_not_compile():
    with pytest.raises(CompileError, match="nonsense"):
        build('extern "C" __global__ void broken() { nonsense; }', "sm_90")


def test_spills_are_seen():
    """A block of more threads leaves fewer registers to each: 16 rows of 48 units have 80, and 192 weights."""
    constants = (("H", 48), ("I", 0), ("ROWS", 16))
    with pytest.raises(AssertionError, match="small_forward"):
        assert_fits("small.cu", constants, "sm_90", 16 * 48, ["small_forward"])
