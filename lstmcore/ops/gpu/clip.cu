// The norm of many gradients together, wherever it is a double: sqrt(sum of all squares). Numbers whose squares would
// overflow or vanish are summed apart and scaled (Blue 1978, with the constants of LAPACK's dnrm2). An entry: one array.
//
// Every sum has one order, which follows from the sizes and from the grid.

#include "dialect.cuh"
#include "table.cuh"

constexpr double LARGE = 0x1p486, SHRINK = 0x1p-538;  // above LARGE a number is shrunk before it is squared
constexpr double LARGEST = 0x1.fffffffffffffp1023;
constexpr double SMALL = 0x1p-511, GROW = 0x1p537;    // below SMALL it grows

struct Squares {
    double small, medium, large;
};

__device__ __forceinline__ void add(Squares& sum, const Squares& other) {
    sum.small += other.small, sum.medium += other.medium, sum.large += other.large;
}

// The sum over all threads of a block, in pairs; for thread 0.
__device__ __forceinline__ Squares over_block(const Squares& own) {
    DYNAMIC_SHARED(Squares, shared);
    shared[threadIdx.x] = own;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) add(shared[threadIdx.x], shared[threadIdx.x + half]);
    }
    return threadIdx.x == 0 ? shared[0] : own;
}

// sums: one for each block, [entries][gridDim.x], those of this table's entries from `first` on.
extern "C" __global__ void __launch_bounds__(THREADS) clip_squares(const Table<1> table, double* sums, int first) {
    const Entry<1>& entry = table.of[blockIdx.y];
    Squares sum = {0, 0, 0};
    for (long long k = FIRST_NUMBER; k < entry.size; k += NEXT_NUMBER) {
        const double size = fabs(double(entry.array[0][k]));
        if (size > LARGE)
            sum.large += (size * SHRINK) * (size * SHRINK);
        else if (size < SMALL)
            sum.small += (size * GROW) * (size * GROW);
        else
            sum.medium += size * size;  // NaN, too
    }
    sum = over_block(sum);
    double* const at = sums + 3 * ((long long)(first + blockIdx.y) * gridDim.x + blockIdx.x);
    if (threadIdx.x == 0) at[0] = sum.small, at[1] = sum.medium, at[2] = sum.large;
}

// One block: the norm of all `count` sums, and the factor that brings it down to the limit. found: the limit comes in
// at 1, norm and factor go out.
extern "C" __global__ void __launch_bounds__(THREADS) clip_norm(const double* sums, double* found, int count) {
    Squares sum = {0, 0, 0};
    for (int k = threadIdx.x; k < count; k += THREADS) add(sum, {sums[3 * k], sums[3 * k + 1], sums[3 * k + 2]});
    sum = over_block(sum);
    if (threadIdx.x != 0) return;
    double norm;
    if (sum.large > 0) {
        norm = sqrt(sum.large + sum.medium * SHRINK * SHRINK) / SHRINK;
    } else if (sum.medium == 0) {
        norm = sqrt(sum.small) / GROW;
    } else {
        const double medium = sqrt(sum.medium), ratio = sqrt(sum.small) / GROW / medium;
        norm = medium * sqrt(1 + ratio * ratio);
    }
    const double limit = found[1];
    found[0] = norm;
    found[1] = limit < norm && norm <= LARGEST ? limit / norm : 1;
}

// Every number times the factor.
extern "C" __global__ void __launch_bounds__(THREADS) clip_scale(const Table<1> table, const double* found) {
    const Entry<1>& entry = table.of[blockIdx.y];
    const REAL factor = found[1];
    if (factor == 1) return;
    for (long long k = FIRST_NUMBER; k < entry.size; k += NEXT_NUMBER) entry.array[0][k] *= factor;
}
