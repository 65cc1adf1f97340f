// A matrix product of any shape: C = A B, A (M, D), B (D, N), C (M, N). Strides may be any, so that a transpose is a view.
//
// For products that are small, where the way to a library takes longer than the product, and for those that are
// recorded, which a library may refuse. REAL is float or double. A block makes a tile of C, and a thread 4 x 4 numbers
// of it, from slices of A and B in shared memory. Where C has few tiles and D is long, as in a weight gradient, D is
// cut into parts: the grid's second axis. Every sum has one order, which follows from the shape and the parts.

#include "dialect.cuh"

constexpr int TILE = 64;     // rows and columns of C
constexpr int DEPTH = 16;    // of a slice
constexpr int EACH = 4;      // rows and columns of a thread
constexpr int SIDE = TILE / EACH;
constexpr int THREADS = SIDE * SIDE;
constexpr int WIDTH = TILE + EACH;  // of a slice's row in memory: those who write it down a column meet fewer others

// A slice, slice[d][m] = from[first_d + d][first_m + m], zero beyond the ends. Neighbouring threads read neighbours,
// whichever way the matrix lies.
__device__ __forceinline__ void fetch(REAL* slice, const REAL* from, long long d_step, long long m_step, int first_d,
                                      int end_d, int first_m, int end_m) {
    for (int place = threadIdx.x; place < DEPTH * TILE; place += THREADS) {
        const int d = d_step == 1 ? place % DEPTH : place / TILE, m = d_step == 1 ? place / DEPTH : place % TILE;
        const bool there = first_d + d < end_d && first_m + m < end_m;
        slice[d * WIDTH + m] = there ? from[(first_d + d) * d_step + (first_m + m) * m_step] : REAL(0);
    }
}

// Block (x, y): tile x of C, tiles counted row by row, from part y of D, which is `part` long. c is [parts][M][N].
extern "C" __global__ void __launch_bounds__(THREADS) matmul(
    const REAL* a, long long a_row, long long a_column, const REAL* b, long long b_row, long long b_column, REAL* c,
    int M, int D, int N, int part) {
    DYNAMIC_SHARED(REAL, shared);
    REAL *const a_slice = shared, *const b_slice = shared + DEPTH * WIDTH;
    const int tiles = (N + TILE - 1) / TILE;  // in a row
    const int first_m = blockIdx.x / tiles * TILE, first_n = blockIdx.x % tiles * TILE;
    const int m = threadIdx.x / SIDE * EACH, n = threadIdx.x % SIDE * EACH;
    const int begin = blockIdx.y * part, end = min(begin + part, D);

    REAL sum[EACH][EACH] = {};
    for (int first = begin; first < end; first += DEPTH) {
        fetch(a_slice, a, a_column, a_row, first, end, first_m, M);
        fetch(b_slice, b, b_row, b_column, first, end, first_n, N);
        __syncthreads();
#pragma unroll
        for (int d = 0; d < DEPTH; d++)
#pragma unroll
            for (int i = 0; i < EACH; i++)
#pragma unroll
                for (int j = 0; j < EACH; j++) sum[i][j] += a_slice[d * WIDTH + m + i] * b_slice[d * WIDTH + n + j];
        __syncthreads();  // all have read the slices
    }
    for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++) {
            const long long row = first_m + m + i, column = first_n + n + j;
            if (row < M && column < N) c[((long long)blockIdx.y * M + row) * N + column] = sum[i][j];
        }
}

// The parts [parts][count] added up in their order: one thread for each number of C.
extern "C" __global__ void matmul_sum(const REAL* parts, REAL* c, int count, int number) {
    const int place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= count) return;
    REAL total = 0;
    for (int k = 0; k < number; k++) total += parts[(long long)k * count + place];
    c[place] = total;
}
