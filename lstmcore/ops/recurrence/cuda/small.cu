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

#include "dialect.cuh"
#include "step.cuh"

constexpr int N = H + I;                     // the width of [h_prev | x]
constexpr int WIDTH = (N + 3) / 4 * 4;       // the same in whole float4, the rest zero
constexpr int EACH = I > 0 ? (I + H - 1) / H : 1;  // inputs per thread, where a row's H threads fetch its I inputs

// ---- forward ---------------------------------------------------------------------------------------------------------

// KEEP: h, c (T+1, B, H) and gates (T, B, 4, H) for backward, and x_kept (T, B, I), x with zeros at masked steps, if
// there is a mask. Otherwise: y (T, B, H), zero at masked steps, and the final states in h and c (B, H).
template <bool KEEP>
__device__ __forceinline__ void forward(
    const float* x, long long x_step, long long x_row, const float* a, const float* W_ih, const float* W_hh,
    const float* b, const float* h0, const float* c0, const unsigned char* mask, long long mask_step,
    long long mask_row, float* h, float* c, float* gates, float* x_kept, float* y, int T, int B) {
    DYNAMIC_SHARED(float, shared);  // [2][ROWS][WIDTH]
    const int j = threadIdx.x % H, r = threadIdx.x / H;
    const long long row = (long long)blockIdx.x * ROWS + r, step = (long long)B * H;
    const bool live = row < B;

    float w[WIDTH][4];
#pragma unroll
    for (int k = 0; k < WIDTH; k++)
#pragma unroll
        for (int g = 0; g < 4; g++)
            w[k][g] = k < H ? W_hh[(k * 4 + g) * H + j] : k < N ? W_ih[((k - H) * 4 + g) * H + j] : 0.0f;
    Four<float> bias = {0, 0, 0, 0};
    if (I > 0) bias = {b[j], b[H + j], b[2 * H + j], b[3 * H + j]};

    // What the next steps need is fetched while the present one is computed: x two steps ahead, the rest one.
    const auto is_real = [&](int t) { return live && t < T && (!mask || mask[t * mask_step + row * mask_row]); };
    const auto fetch_x = [&](int t, int k) { return live && t < T && k < I ? x[t * x_step + row * x_row + k] : 0.0f; };
    const auto fetch_a = [&](int t) {
        Four<float> a_t = bias;
        if (I == 0 && live && t < T) {
            const float* at = a + (t * step + row * H) * 4 + j;
            a_t = {at[0], at[H], at[2 * H], at[3 * H]};
        }
        return a_t;
    };
    float h_t = live ? h0[row * H + j] : 0.0f, c_t = live ? c0[row * H + j] : 0.0f, x_next[EACH];
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
    if (KEEP && live) h[row * H + j] = h_t, c[row * H + j] = c_t;

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
            if (KEEP && k < I && x_kept && live) x_kept[(t * (long long)B + row) * I + k] = real ? now[H + k] : 0.0f;
            x_next[e] = x_after[e];
        }
        if (!live) continue;
        const long long at = t * step + row * H + j;
        if (KEEP) {
            h[at + step] = h_t;
            c[at + step] = c_t;
            float* kept = gates + (t * step + row * H) * 4 + j;
            kept[0] = gate.i, kept[H] = gate.f, kept[2 * H] = gate.g, kept[3 * H] = gate.o;
        } else {
            y[at] = real ? h_t : 0.0f;  // (42)
        }
    }
    if (!KEEP && live) h[row * H + j] = h_t, c[row * H + j] = c_t;
}

extern "C" __global__ void __launch_bounds__(ROWS * H, 1) small_forward(
    const float* x, long long x_step, long long x_row, const float* a, const float* W_ih, const float* W_hh,
    const float* b, const float* h0, const float* c0, const unsigned char* mask, long long mask_step,
    long long mask_row, float* h, float* c, float* gates, float* x_kept, int T, int B) {
    forward<true>(x, x_step, x_row, a, W_ih, W_hh, b, h0, c0, mask, mask_step, mask_row, h, c, gates, x_kept, nullptr,
                  T, B);
}

extern "C" __global__ void __launch_bounds__(ROWS * H, 1) small_predict(
    const float* x, long long x_step, long long x_row, const float* a, const float* W_ih, const float* W_hh,
    const float* b, const float* h0, const float* c0, const unsigned char* mask, long long mask_step,
    long long mask_row, float* h_last, float* c_last, float* y, int T, int B) {
    forward<false>(x, x_step, x_row, a, W_ih, W_hh, b, h0, c0, mask, mask_step, mask_row, h_last, c_last, nullptr,
                   nullptr, y, T, B);
}

// ---- backward --------------------------------------------------------------------------------------------------------

constexpr int SUMS = (N + 1) * H;                                  // [h_prev | x | 1]^T da, in fours
constexpr int SUMS_EACH = I > 0 ? (SUMS + ROWS * N - 1) / (ROWS * N) : 1;  // of these per thread

// x (T, B, I) is zero at masked steps. I == 0: leaves da (T, B, 4, H); else dx (T, B, I), and the block's sums
// [gridDim.x][N + 1][4][H].
extern "C" __global__ void __launch_bounds__(ROWS * N, 1) small_backward(
    const float* dy, long long dy_step, long long dy_row, const float* dh_last, const float* dc_last,
    const float* W_ih, const float* W_hh, const unsigned char* mask, long long mask_step, long long mask_row,
    const float* x, long long x_step, long long x_row, const float* h, const float* c, const float* gates, float* da,
    float* dx, float* dh0, float* dc0, float* sums, int T, int B) {
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
        for (int g = 0; g < 4; g++) w[j][g] = unit ? W_hh[(n * 4 + g) * H + j] : W_ih[((n - H) * 4 + g) * H + j];
    Four<float> sum[SUMS_EACH];
#pragma unroll
    for (int e = 0; e < SUMS_EACH; e++) sum[e] = {0, 0, 0, 0};

    const auto is_real = [&](int t) { return live && t >= 0 && (!mask || mask[t * mask_step + row * mask_row]); };
    const auto fetch = [&](const float* from, int t) {  // of h or c, before step t
        return live && unit && t >= 0 ? from[t * step + row * H + n] : 0.0f;
    };
    const auto fetch_gates = [&](int t) {
        Four<float> gate = {0, 0, 0, 0};
        if (live && unit && t >= 0) {
            const float* at = gates + (t * step + row * H) * 4 + n;
            gate = {at[0], at[H], at[2 * H], at[3 * H]};
        }
        return gate;
    };
    const auto fetch_dy = [&](int t) {
        return live && unit && t >= 0 && dy ? dy[t * dy_step + row * dy_row + n] : 0.0f;
    };
    const auto fetch_entry = [&](int t) {
        if (I == 0) return 0.0f;
        return unit ? fetch(h, t) : live && t >= 0 ? x[t * x_step + row * x_row + n - H] : 0.0f;
    };
    float dh = live && unit ? dh_last[row * H + n] : 0.0f, dc = live && unit ? dc_last[row * H + n] : 0.0f;
    float c_t = fetch(c, T), c_next = fetch(c, T - 1), dy_next = fetch_dy(T - 1), entry_next = fetch_entry(T - 1);
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
            float* at = da + (t * step + row * H) * 4 + n;
            at[0] = da_t.i, at[H] = da_t.f, at[2 * H] = da_t.g, at[3 * H] = da_t.o;
        }
        const bool some_real = __syncthreads_or(real);
        DAWDLE();
        real_next = is_real(t - 1);
        gate_next = fetch_gates(t - 1);
        c_next = fetch(c, t - 1);
        dy_next = fetch_dy(t - 1);
        entry_next = fetch_entry(t - 1);

        float dot = 0.0f;  // of the row's da with this thread's row of the weights: (18), or (22) for an input
        if (some_real) {
            Four<float> part = {0, 0, 0, 0};
#pragma unroll
            for (int j = 0; j < H; j++) {
                const Four<float> d = da_now[r * H + j];
                part.i = fmaf(d.i, w[j][0], part.i);
                part.f = fmaf(d.f, w[j][1], part.f);
                part.g = fmaf(d.g, w[j][2], part.g);
                part.o = fmaf(d.o, w[j][3], part.o);
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
                            const Four<float> d = da_now[q * H + j];
                            sum[e].i = fmaf(factor, d.i, sum[e].i);
                            sum[e].f = fmaf(factor, d.f, sum[e].f);
                            sum[e].g = fmaf(factor, d.g, sum[e].g);
                            sum[e].o = fmaf(factor, d.o, sum[e].o);
                        }
                    }
                }
            }
        }
        if (unit) {
            if (real) dh = dot;  // (25) what is carried through comes back as it is
        } else if (live) {
            dx[(t * (long long)B + row) * I + n - H] = real ? dot : 0.0f;
        }
    }
    if (live && unit) dh0[row * H + n] = dh, dc0[row * H + n] = dc;
    if (I > 0) {
#pragma unroll
        for (int e = 0; e < SUMS_EACH; e++) {
            const int s = threadIdx.x + e * ROWS * N, k = s / H, j = s % H;
            if (s < SUMS) {
                float* at = sums + ((long long)blockIdx.x * (N + 1) + k) * 4 * H + j;
                at[0] = sum[e].i, at[H] = sum[e].f, at[2 * H] = sum[e].g, at[3 * H] = sum[e].o;
            }
        }
    }
}

// The blocks' sums [blocks][N + 1][4][H], added up in their order: dW_hh (H, 4H), dW_ih (I, 4H), db (4H). One thread
// for each number.
extern "C" __global__ void small_sum(const float* sums, float* dW_hh, float* dW_ih, float* db, int blocks) {
    const int place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= SUMS * 4) return;
    float total = 0.0f;
    for (int block = 0; block < blocks; block++) total += sums[(long long)block * SUMS * 4 + place];
    const int k = place / (4 * H);
    if (k < H)
        dW_hh[place] = total;
    else if (k < N)
        dW_ih[place - H * 4 * H] = total;
    else
        db[place - N * 4 * H] = total;
}
