"""The emulated machine itself: it runs what is right, and finds out what is wrong."""

import numpy as np
import pytest

from lstmcore.ops.gpu.launch import LaunchError

NEIGHBOUR = """
extern "C" __global__ void neighbour(const float* in, float* out, int n) {
    DYNAMIC_SHARED(float, kept);
    kept[threadIdx.x] = in[blockIdx.x * n + threadIdx.x];
    BARRIER
    out[blockIdx.x * n + threadIdx.x] = kept[(threadIdx.x + 1) % n];
}
"""


def neighbours(emulator, barrier, n=40):
    kernel = emulator.compile_text(NEIGHBOUR.replace("BARRIER", barrier), "neighbour")
    values, out = np.arange(3 * n, dtype="float32"), np.zeros(3 * n, "float32")
    kernel((3, 1), n, 4 * n, values, out, n)
    return out, np.roll(values.reshape(3, n), -1, axis=1).ravel()


@pytest.mark.parametrize("seed", range(3))
def test_blocks_threads_shared_memory_and_barriers(emulator, seed):
    out, want = neighbours(emulator(seed=seed), "__syncthreads();")
    assert np.array_equal(out, want)


def test_a_missing_barrier_shows_as_nan(emulator):
    """Shared memory begins as NaN, so what is read too early is seen, whatever the order."""
    out, want = neighbours(emulator(), "")
    assert np.isnan(out).any()
    assert not np.array_equal(out, want)


def test_orders_differ(emulator):
    """A kernel that hangs on an order gives itself away under another seed."""
    text = 'extern "C" __global__ void last(int* out) { out[0] = threadIdx.x; }'
    winners = set()
    for seed in range(8):
        out = np.zeros(1, "int32")
        emulator(seed=seed).compile_text(text, "last")((1, 1), 32, 0, out)
        winners.add(int(out[0]))
    assert len(winners) > 1


def test_warps_and_votes(emulator):
    text = """
    extern "C" __global__ void talk(const float* in, float* sums, int* counts) {
        float sum = in[threadIdx.x];
        for (int bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bits);
        sums[threadIdx.x] = sum;
        for (int k = 0; k < 4; k++) counts[k * 64 + threadIdx.x] = __syncthreads_count(int(threadIdx.x) % (k + 1) == 0);
    }
    """
    values = np.arange(64, dtype="float32")
    sums, counts = np.zeros(64, "float32"), np.zeros((4, 64), "int32")
    emulator().compile_text(text, "talk")((1, 1), 64, 0, values, sums, counts)
    assert np.array_equal(sums, np.repeat([values[:32].sum(), values[32:].sum()], 32))
    assert np.array_equal(counts, np.repeat([[64], [32], [22], [16]], 64, axis=1))


RING = """
extern "C" __global__ void ring(int* flags, int* out) {  // every block waits for the next one
    const int next = (blockIdx.x + 1) % gridDim.x;
    atomic_store(flags + blockIdx.x, 1);
    while (atomic_load(flags + next) == 0) LET_OTHERS_RUN();
    out[blockIdx.x] = 1;
}
"""
ATOMIC = """
static int atomic_load(volatile int* p) { return *p; }
static void atomic_store(volatile int* p, int v) { *p = v; }
"""


def test_blocks_that_talk_run_together(emulator):
    flags, out = np.zeros(4, "int32"), np.zeros(4, "int32")
    emulator(multiprocessors=4).compile_text(ATOMIC + RING, "ring", together=True)((4, 1), 1, 0, flags, out)
    assert out.all()


def test_blocks_that_do_not_fit_are_refused(emulator):
    flags, out = np.zeros(5, "int32"), np.zeros(5, "int32")
    with pytest.raises(LaunchError, match="5 blocks cannot be resident"):
        emulator(multiprocessors=4).compile_text(ATOMIC + RING, "ring", together=True)((5, 1), 1, 0, flags, out)
    assert not flags.any()


def test_a_loop_without_end_is_found(emulator):
    """The blocks of an ordinary launch run one by one: the first waits for ever."""
    flags, out = np.zeros(4, "int32"), np.zeros(4, "int32")
    with pytest.raises(LaunchError, match="does not end"):
        emulator().compile_text(ATOMIC + RING, "ring")((4, 1), 1, 0, flags, out, turns=10_000)


def test_a_deadlock_is_found(emulator):
    text = 'extern "C" __global__ void half(int* out) { if (threadIdx.x < 5) __syncthreads(); out[threadIdx.x] = 1; }'
    with pytest.raises(LaunchError, match="deadlock"):
        emulator().compile_text(text, "half")((1, 1), 10, 0, np.zeros(10, "int32"))


STRUCT = """
struct Rows { const float* values; long long row; };
struct Pair { Rows of[2]; float* out; };
extern "C" __global__ void difference(const Pair pair, int n) {
    const Rows &left = pair.of[0], &right = pair.of[1];
    for (int k = 0; k < n; k++) pair.out[k] = left.values[k * left.row];
    for (int k = 0; k < n && right.values; k++) pair.out[k] -= right.values[k * right.row];
}
"""


def test_a_struct_goes_by_value(emulator):
    """Pointers and strides one behind the other, tuples in tuples; a field too few is refused."""
    kernel = emulator().compile_text(STRUCT, "difference")
    values, out = np.arange(12, dtype="float32"), np.zeros(3, "float32")
    left, right = (values[1:], np.int64(2)), (values, np.int64(4))
    kernel((1, 1), 1, 0, ((left, right), out), 3)
    assert out.tolist() == [1, -1, -3]
    kernel((1, 1), 1, 0, ((left, (None, np.int64(0))), out), 3)
    assert out.tolist() == [1, 3, 5]
    with pytest.raises(LaunchError, match="not those of the kernel"):
        kernel((1, 1), 1, 0, ((left, (None,)), out), 3)


@pytest.mark.parametrize("arguments", [
    (np.zeros(120, "float64"), np.zeros(120, "float32"), 40),
    (np.zeros(120, "float32"), np.zeros(120, "float32")),
    (np.zeros(120, "float32"), np.zeros(120, "float32"), np.int64(40)),
    (np.zeros(120, "float32"), np.zeros(120, "float32"), None),
])  # fmt: skip
def test_wrong_arguments_are_refused(emulator, arguments):
    kernel = emulator().compile_text(NEIGHBOUR.replace("BARRIER", "__syncthreads();"), "neighbour")
    with pytest.raises(LaunchError, match="not those of the kernel"):
        kernel((3, 1), 40, 160, *arguments)


def test_too_large_a_block_is_refused(emulator):
    kernel = emulator(shared_limit=1000).compile_text(NEIGHBOUR.replace("BARRIER", ""), "neighbour")
    for threads, shared_bytes in [(1025, 0), (32, 1001)]:
        with pytest.raises(LaunchError, match="no room"):
            kernel((1, 1), threads, shared_bytes, np.zeros(40, "float32"), np.zeros(40, "float32"), 40)


def test_what_does_not_compile_says_so(emulator):
    with pytest.raises(LaunchError, match="could not compile broken"):
        emulator().compile_text('extern "C" __global__ void broken() { nonsense; }', "broken")
