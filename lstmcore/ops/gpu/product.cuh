// The product that a warp does at every step: tiles of weights, which stay in registers, times 8 rows of the batch.
//
// Both passes use it. A tile of weights is a matrix of 32 outputs and LENGTH inner places k. The rows lie in shared
// memory, (8, LENGTH) with `stride` floats from one to the next. Lane 4 r + q of the warp holds the weights of the four
// outputs (r, 0) to (r, 3) of tile m, and of every k with k / 4 % 4 == q:
//
//     w[m][K + 4 i + j] = weight of output (r, j) at k = K + 4 q + i        for K = 0, 16, 32, ...; i, j = 0 to 3
//
// and gets of the result, (32, 8) for each tile, the entries out[m][j][n] of output (r, j) and row 2 q + n. One layout
// serves both precisions: with the inner places renamed it is that of the tensor core's operands.
#include "instructions.cuh"

// A factor of a product, as precisely as the product reads it.
__device__ __forceinline__ float factor(float x) {
#if IEEE
    return x;
#else
    return round_tf32(x);
#endif
}

// The distance of two rows in shared memory, in floats: rows of neighbouring lanes must lie in different banks.
constexpr int padded(int length) { return length % 32 == 0 ? length + 16 : length; }

#if IEEE

// The sums of the four lanes q, for four rows n: lane q gets those of row n = q.
__device__ __forceinline__ void sum_over_lanes(float (&sum)[4], const float (&s)[4][4], int q) {
    const bool upper = q & 2, odd = q & 1;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const float even_row = (upper ? s[j][2] : s[j][0]) + __shfl_xor_sync(~0u, upper ? s[j][0] : s[j][2], 2);
        const float odd_row = (upper ? s[j][3] : s[j][1]) + __shfl_xor_sync(~0u, upper ? s[j][1] : s[j][3], 2);
        sum[j] = (odd ? odd_row : even_row) + __shfl_xor_sync(~0u, odd ? even_row : odd_row, 1);
    }
}

template <int TILES, int LENGTH>
__device__ __forceinline__ void product(float (&out)[TILES][4][2], const float (&w)[TILES][LENGTH], const float* rows,
                                        int stride) {
    const int q = threadIdx.x % 4;
#pragma unroll
    for (int parity = 0; parity < 2; parity++) {  // rows 0 2 4 6, then 1 3 5 7
        float s[TILES][4][4] = {};
#pragma unroll
        for (int k = 0; k < LENGTH; k += 16)
#pragma unroll
            for (int n = 0; n < 4; n++) {
                const float4 v = *reinterpret_cast<const float4*>(rows + (2 * n + parity) * stride + k + 4 * q);
#pragma unroll
                for (int m = 0; m < TILES; m++)
#pragma unroll
                    for (int j = 0; j < 4; j++) {
                        s[m][j][n] = fmaf(w[m][k + j], v.x, s[m][j][n]);
                        s[m][j][n] = fmaf(w[m][k + 4 + j], v.y, s[m][j][n]);
                        s[m][j][n] = fmaf(w[m][k + 8 + j], v.z, s[m][j][n]);
                        s[m][j][n] = fmaf(w[m][k + 12 + j], v.w, s[m][j][n]);
                    }
            }
#pragma unroll
        for (int m = 0; m < TILES; m++) {
            float sum[4];
            sum_over_lanes(sum, s[m], q);
#pragma unroll
            for (int j = 0; j < 4; j++) out[m][j][parity] = sum[j];
        }
    }
}

#else

template <int TILES, int LENGTH>
__device__ __forceinline__ void product(float (&out)[TILES][4][2], const float (&w)[TILES][LENGTH], const float* rows,
                                        int stride) {
    const int r = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
#pragma unroll
    for (int m = 0; m < TILES; m++)
#pragma unroll
        for (int j = 0; j < 4; j++) out[m][j][0] = out[m][j][1] = 0;
#pragma unroll
    for (int k = 0; k < LENGTH; k += 16) {
        const float4 v = *reinterpret_cast<const float4*>(rows + r * stride + k + 4 * q);
#pragma unroll
        for (int m = 0; m < TILES; m++)
#pragma unroll
            for (int j = 0; j < 4; j += 2) {  // outputs (r, j) and (r, j + 1): rows r and r + 8 of the tensor core's A
                mma_tf32(out[m][j][0], out[m][j][1], out[m][j + 1][0], out[m][j + 1][1], w[m][k + j], w[m][k + j + 1],
                         w[m][k + 4 + j], w[m][k + 5 + j], v.x, v.y);
                mma_tf32(out[m][j][0], out[m][j][1], out[m][j + 1][0], out[m][j + 1][1], w[m][k + 8 + j],
                         w[m][k + 9 + j], w[m][k + 12 + j], w[m][k + 13 + j], v.z, v.w);
            }
    }
}

#endif
