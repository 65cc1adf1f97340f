// A group of blocks that runs all steps for some rows of the batch: who owns what, and how a broken run ends.
#include "dialect.cuh"
#include "instructions.cuh"
#include "step.cuh"

constexpr int WARPS = 8, THREADS = 32 * WARPS;
constexpr int BLOCKS = H_PADDED / UNITS;  // of a group

// A thread owns SHARES pairs of a unit and a row. All are of the same unit, their rows ROW_STEP apart.
constexpr int SHARES = (UNITS * ROWS + THREADS - 1) / THREADS;
constexpr int ROW_STEP = THREADS / UNITS;

// What the thread owns, share e = 0 to SHARES - 1, and where it stands in the arrays.
struct Owner {
    int B, H, row_first, rows;  // the group's rows that exist, and the first of them in the batch
    int local_unit, unit;  // in the block, in the layer

    __device__ __forceinline__ Owner(int B, int H, int group) : B(B), H(H) {  // `group`: of its direction
        row_first = group * ROWS;
        rows = min(ROWS, B - row_first);
        local_unit = threadIdx.x % UNITS;
        unit = blockIdx.x * UNITS + local_unit;
    }
    __device__ __forceinline__ int row(int e) const { return threadIdx.x / UNITS + e * ROW_STEP; }  // in the group
    __device__ __forceinline__ bool in_group(int e) const { return row(e) < ROWS; }
    __device__ __forceinline__ bool exists(int e) const { return row(e) < rows && unit < H; }
    __device__ __forceinline__ long long batch_row(int e) const { return row_first + row(e); }
    __device__ __forceinline__ size_t state(long long t, int e) const {  // in (T, B, H)
        return (t * B + batch_row(e)) * H + unit;
    }
    __device__ __forceinline__ Four<float> load(const float* a, long long t, int e) const {  // a (T, B, 4, H)
        a += (t * B + batch_row(e)) * 4 * H + unit;
        return {a[0], a[H], a[2 * H], a[3 * H]};
    }
    __device__ __forceinline__ Four<float> load_bias(const float* b) const {  // each step anew: it saves 4 registers
        return {b[unit], b[H + unit], b[2 * H + unit], b[3 * H + unit]};
    }
    __device__ __forceinline__ void store(float* a, long long t, int e, const Four<float>& v) const {
        a += (t * B + batch_row(e)) * 4 * H + unit;
        a[0] = v.i, a[H] = v.f, a[2 * H] = v.g, a[3 * H] = v.o;
    }
};

__device__ __forceinline__ void operator+=(Four<float>& sum, const Four<float>& v) {
    sum.i += v.i, sum.f += v.f, sum.g += v.g, sum.o += v.o;
}

// Some result of the run: (T, B, width). Null: not wanted.
struct Output {
    float* values;
    int T, width;
};

// The end of a run that broke. The host is told; and so that nothing of it can be taken for a result, all rows of the
// group become NaN, for the other blocks too, which may not be running at all.
template <int N>
__device__ __forceinline__ void give_up(unsigned* alarm, const Owner& own, const Output (&outputs)[N]) {
    if (threadIdx.x == 0) store_to_host(alarm, 1u);
    for (const Output& out : outputs)
        for (long long t = 0; out.values && t < out.T; t++)
            for (long long n = threadIdx.x; n < (long long)own.rows * out.width; n += THREADS)
                out.values[(t * own.B + own.row_first) * out.width + n] = __uint_as_float(0x7FC00000u);
}
