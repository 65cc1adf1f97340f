// Small layers: a block takes ROWS rows through all their steps, one launch for the whole sequence, in float32.
//
// Constants: H units, ROWS rows of a block, I inputs that are read in here (0: their part of the pre-activations, `a`,
// was computed before; backward then leaves da behind, and the products with it are done after).
//
// Forward: a thread is one unit of one row. Its column of [W_hh; W_ih], 4 (H + I) numbers, stays in its registers, its
// c and h too. The row that a step reads, [h_prev | x], lies in shared memory, twice: what step t reads is in one place
// while what step t+1 will read is written to the other, so that one barrier per step is enough.
//
// Backward: a thread is one entry of [h_prev | x]. Its row of [W_hh; W_ih] stays in its registers. Per step the threads
// of units turn the gradients of h and c into da; after a barrier every thread has the row's da for its product.
// With I > 0 the sums for the weight gradients stay in registers as well, spread over the block's threads, until the
// last step; every block then writes its own, and small_sum adds them up in the blocks' order.
//
// A masked step carries h and c (and on the way back dh and dc) through; what its x, a or dy hold is never used. A
// block none of whose rows is real at a step skips the step's arithmetic. Rows beyond B are rows without real steps.
//
// The grid's second axis tells the direction that a block works for.

#include "dialect.cuh"
#include "directions.cuh"
#include "step.cuh"

constexpr int N = H + I;                     // the width of [h_prev | x]
constexpr int WIDTH = (N + 3) / 4 * 4;       // the same in whole float4, the rest zero
constexpr int EACH = I > 0 ? (I + H - 1) / H : 1;  // inputs per thread, where a row's H threads fetch its I inputs

// ---- forward --------------------------------------------------------------------------------------------------------

struct Forward {
    Strided<const float> x;  // (T, B, I), or, with I == 0, not there
    const float* a;  // (T, B, 4, H), with I == 0
    const float *W_ih, *W_hh, *b;
    const float *h0, *c0;  // (B, H)
    Mask mask;
    float *h, *c;  // KEEP: (T+1, B, H); else the final states, (B, H)
    float* gates;  // KEEP: (T, B, 4, H)
    float* x_kept;  // KEEP: (T, B, I), x with zeros at masked steps; null without a mask, or with I == 0
    float* y;  // else: (T, B, H), zero at masked steps
};

// KEEP: for `backward`. Otherwise nothing is kept but the outputs.
template <bool KEEP>
__device__ __forceinline__ void forward(const Forward& d, int T, int B) {
    DYNAMIC_SHARED(float, shared);  // [2][ROWS][WIDTH]
    const int j = threadIdx.x % H, r = threadIdx.x / H;
    const long long row = (long long)blockIdx.x * ROWS + r, step = (long long)B * H;
    const bool live = row < B;

    float w[WIDTH][4];
#pragma unroll
    for (int k = 0; k < WIDTH; k++)
#pragma unroll
        for (int g = 0; g < 4; g++)
            w[k][g] = k < H ? d.W_hh[(k * 4 + g) * H + j] : k < N ? d.W_ih[((k - H) * 4 + g) * H + j] : 0.0f;
    Four<float> bias = {0, 0, 0, 0};
    if (I > 0) bias = {d.b[j], d.b[H + j], d.b[2 * H + j], d.b[3 * H + j]};

    // What the next steps need is fetched while the present one is computed: x two steps ahead, the rest one.
    const auto is_real = [&](int t) { return live && t < T && d.mask.real(t, row); };
    const auto fetch_x = [&](int t, int k) { return live && t < T && k < I ? d.x.at(t, row)[k] : 0.0f; };
    const auto fetch_a = [&](int t) {
        Four<float> a_t = bias;
        if (I == 0 && live && t < T) {
            const float* at = d.a + (t * step + row * H) * 4 + j;
            a_t = {at[0], at[H], at[2 * H], at[3 * H]};
        }
        return a_t;
    };
    float h_t = live ? d.h0[row * H + j] : 0.0f, c_t = live ? d.c0[row * H + j] : 0.0f, x_next[EACH];
    bool real_next = is_real(0);
    Four<float> a_next = fetch_a(0);
    float* place = shared + r * WIDTH;  // of this row, for step 0
    place[j] = h_t;
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        const int k = j + e * H;
        if (k < I) place[H + k] = fetch_x(0, k);
        x_next[e] = fetch_x(1, k);
    }
    for (int k = N + j; k < WIDTH; k += H) place[k] = place[ROWS * WIDTH + k] = 0.0f;
    if (KEEP && live) d.h[row * H + j] = h_t, d.c[row * H + j] = c_t;

    for (int t = 0; t < T; t++) {
        const bool real = real_next;
        const bool some_real = __syncthreads_or(real);
        DAWDLE();
        Four<float> gate = a_next;
        float x_after[EACH];
        real_next = is_real(t + 1);
        a_next = fetch_a(t + 1);
#pragma unroll
        for (int e = 0; e < EACH; e++) x_after[e] = fetch_x(t + 2, j + e * H);

        const float* now = shared + ((t & 1) * ROWS + r) * WIDTH;
        if (some_real) {
            const float4* quads = reinterpret_cast<const float4*>(now);
#pragma unroll
            for (int q = 0; q < WIDTH / 4; q++) {  // (1)
                const float4 quad = quads[q];
                const float entry[4] = {quad.x, quad.y, quad.z, quad.w};
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    gate.i = fmaf(entry[e], w[4 * q + e][0], gate.i);
                    gate.f = fmaf(entry[e], w[4 * q + e][1], gate.f);
                    gate.g = fmaf(entry[e], w[4 * q + e][2], gate.g);
                    gate.o = fmaf(entry[e], w[4 * q + e][3], gate.o);
                }
            }
            float c_new = c_t;
            const float h_new = step_forward(gate, c_new);
            if (real) h_t = h_new, c_t = c_new;  // (23)
        }
        if (!real) gate = {0, 0, 0, 0};

        float* next = shared + ((~t & 1) * ROWS + r) * WIDTH;
        next[j] = h_t;
#pragma unroll
        for (int e = 0; e < EACH; e++) {
            const int k = j + e * H;
            if (k < I) next[H + k] = x_next[e];
            if (KEEP && k < I && d.x_kept && live)
                d.x_kept[(t * (long long)B + row) * I + k] = real ? now[H + k] : 0.0f;
            x_next[e] = x_after[e];
        }
        if (!live) continue;
        const long long at = t * step + row * H + j;
        if (KEEP) {
            d.h[at + step] = h_t;
            d.c[at + step] = c_t;
            float* kept = d.gates + (t * step + row * H) * 4 + j;
            kept[0] = gate.i, kept[H] = gate.f, kept[2 * H] = gate.g, kept[3 * H] = gate.o;
        } else {
            d.y[at] = real ? h_t : 0.0f;  // (42)
        }
    }
    if (!KEEP && live) d.h[row * H + j] = h_t, d.c[row * H + j] = c_t;
}


extern "C" __global__ void __launch_bounds__(ROWS * H, 1) small_forward(
    const __grid_constant__ Directions<Forward> both, int T, int B) {
    forward<true>(both.of[blockIdx.y], T, B);
}

extern "C" __global__ void __launch_bounds__(ROWS * H, 1) small_predict(
    const __grid_constant__ Directions<Forward> both, int T, int B) {
    forward<false>(both.of[blockIdx.y], T, B);
}

// ---- backward -------------------------------------------------------------------------------------------------------

constexpr int SUMS = (N + 1) * H;                                  // [h_prev | x | 1]^T da, in fours
constexpr int SUMS_EACH = I > 0 ? (SUMS + ROWS * N - 1) / (ROWS * N) : 1;  // of these per thread

struct Backward {
    Strided<const float> dy;  // (T, B, H); none: zeros
    const float *dh_last, *dc_last;  // (B, H)
    const float *W_ih, *W_hh;
    Mask mask;
    Strided<const float> x;  // (T, B, I), zero at masked steps; with I == 0 not there
    const float *h, *c;  // (T+1, B, H)
    const float* gates;  // (T, B, 4, H)
    float* da;  // (T, B, 4, H), with I == 0; else dx and sums
    float* dx;  // (T, B, I)
    float *dh0, *dc0;  // (B, H)
    float* sums;  // [gridDim.x][N + 1][4][H]: of each block
};

extern "C" __global__ void __launch_bounds__(ROWS * N, 1) small_backward(
    const __grid_constant__ Directions<Backward> both, int T, int B) {
    const Backward& d = both.of[blockIdx.y];
    DYNAMIC_SHARED(float, shared);  // da: [2][ROWS][H][4]; then, with I > 0, [h_prev | x | 1]: [2][ROWS][N + 1]
    Four<float>* const da_shared = reinterpret_cast<Four<float>*>(shared);
    float* const entries = shared + 2 * ROWS * H * 4;
    const int n = threadIdx.x % N, r = threadIdx.x / N;
    const long long row = (long long)blockIdx.x * ROWS + r, step = (long long)B * H;
    const bool live = row < B, unit = n < H;

    float w[H][4];
#pragma unroll
    for (int j = 0; j < H; j++)
#pragma unroll
        for (int g = 0; g < 4; g++) w[j][g] = unit ? d.W_hh[(n * 4 + g) * H + j] : d.W_ih[((n - H) * 4 + g) * H + j];
    Four<float> sum[SUMS_EACH];
#pragma unroll
    for (int e = 0; e < SUMS_EACH; e++) sum[e] = {0, 0, 0, 0};

    const auto is_real = [&](int t) { return live && t >= 0 && d.mask.real(t, row); };
    const auto fetch = [&](const float* from, int t) {  // of h or c, before step t
        return live && unit && t >= 0 ? from[t * step + row * H + n] : 0.0f;
    };
    const auto fetch_gates = [&](int t) {
        Four<float> gate = {0, 0, 0, 0};
        if (live && unit && t >= 0) {
            const float* at = d.gates + (t * step + row * H) * 4 + n;
            gate = {at[0], at[H], at[2 * H], at[3 * H]};
        }
        return gate;
    };
    const auto fetch_dy = [&](int t) {
        return live && unit && t >= 0 && d.dy.array ? d.dy.at(t, row)[n] : 0.0f;
    };
    const auto fetch_entry = [&](int t) {
        if (I == 0) return 0.0f;
        return unit ? fetch(d.h, t) : live && t >= 0 ? d.x.at(t, row)[n - H] : 0.0f;
    };
    float dh = live && unit ? d.dh_last[row * H + n] : 0.0f, dc = live && unit ? d.dc_last[row * H + n] : 0.0f;
    float c_t = fetch(d.c, T), c_next = fetch(d.c, T - 1), dy_next = fetch_dy(T - 1), entry_next = fetch_entry(T - 1);
    Four<float> gate_next = fetch_gates(T - 1);
    bool real_next = is_real(T - 1);
    if (I > 0 && n == 0) entries[r * (N + 1) + N] = entries[(ROWS + r) * (N + 1) + N] = 1.0f;

    for (int t = T - 1; t >= 0; t--) {
        const bool real = real_next;
        const float c_prev = c_next, entry = entry_next;
        Four<float> da_t = {0, 0, 0, 0};  // (24) at a masked step
        if (real && unit) {
            dh += dy_next;  // (43)
            da_t = step_backward(dh, dc, gate_next, c_prev, c_t);
        }
        c_t = c_prev;
        Four<float>* const da_now = da_shared + (t & 1) * ROWS * H;
        float* const entries_now = entries + (t & 1) * ROWS * (N + 1);
        if (unit) da_now[r * H + n] = da_t;
        if (I > 0) entries_now[r * (N + 1) + n] = entry;
        if (I == 0 && live) {
            float* at = d.da + (t * step + row * H) * 4 + n;
            at[0] = da_t.i, at[H] = da_t.f, at[2 * H] = da_t.g, at[3 * H] = da_t.o;
        }
        const bool some_real = __syncthreads_or(real);
        DAWDLE();
        real_next = is_real(t - 1);
        gate_next = fetch_gates(t - 1);
        c_next = fetch(d.c, t - 1);
        dy_next = fetch_dy(t - 1);
        entry_next = fetch_entry(t - 1);

        float dot = 0.0f;  // of the row's da with this thread's row of the weights: (18), or (22) for an input
        if (some_real) {
            Four<float> part = {0, 0, 0, 0};
#pragma unroll
            for (int j = 0; j < H; j++) {
                const Four<float> da_j = da_now[r * H + j];
                part.i = fmaf(da_j.i, w[j][0], part.i);
                part.f = fmaf(da_j.f, w[j][1], part.f);
                part.g = fmaf(da_j.g, w[j][2], part.g);
                part.o = fmaf(da_j.o, w[j][3], part.o);
            }
            dot = (part.i + part.f) + (part.g + part.o);
            if (I > 0) {
#pragma unroll
                for (int e = 0; e < SUMS_EACH; e++) {  // (19) (20) (21)
                    const int s = threadIdx.x + e * ROWS * N, k = s / H, j = s % H;
                    if (s < SUMS) {
#pragma unroll
                        for (int q = 0; q < ROWS; q++) {
                            const float factor = entries_now[q * (N + 1) + k];
                            const Four<float> da_j = da_now[q * H + j];
                            sum[e].i = fmaf(factor, da_j.i, sum[e].i);
                            sum[e].f = fmaf(factor, da_j.f, sum[e].f);
                            sum[e].g = fmaf(factor, da_j.g, sum[e].g);
                            sum[e].o = fmaf(factor, da_j.o, sum[e].o);
                        }
                    }
                }
            }
        }
        if (unit) {
            if (real) dh = dot;  // (25) what is carried through comes back as it is
        } else if (live) {
            d.dx[(t * (long long)B + row) * I + n - H] = real ? dot : 0.0f;
        }
    }
    if (live && unit) d.dh0[row * H + n] = dh, d.dc0[row * H + n] = dc;
    if (I > 0) {
#pragma unroll
        for (int e = 0; e < SUMS_EACH; e++) {
            const int s = threadIdx.x + e * ROWS * N, k = s / H, j = s % H;
            if (s < SUMS) {
                float* at = d.sums + ((long long)blockIdx.x * (N + 1) + k) * 4 * H + j;
                at[0] = sum[e].i, at[H] = sum[e].f, at[2 * H] = sum[e].g, at[3 * H] = sum[e].o;
            }
        }
    }
}

struct Sum {
    const float* sums;  // [blocks][N + 1][4][H]
    float *dW_hh, *dW_ih, *db;  // (H, 4H), (I, 4H), (4H)
};

// The blocks' sums, added up in the blocks' order. One thread for each number.
extern "C" __global__ void small_sum(const __grid_constant__ Directions<Sum> both, int blocks) {
    const Sum& d = both.of[blockIdx.y];
    const int place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= SUMS * 4) return;
    float total = 0.0f;
    for (int block = 0; block < blocks; block++) total += d.sums[(long long)block * SUMS * 4 + place];
    const int k = place / (4 * H);
    if (k < H)
        d.dW_hh[place] = total;
    else if (k < N)
        d.dW_ih[place - H * 4 * H] = total;
    else
        d.db[place - N * 4 * H] = total;
}
