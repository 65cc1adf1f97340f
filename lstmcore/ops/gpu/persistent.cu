// The LSTM's loop over time as one kernel that stays on the processor: forward, and backward below it.
//
// A group of BLOCKS blocks holds W_hh in its registers and runs all T steps for ROWS rows of the batch; the grid is
// (BLOCKS, groups). Each block owns UNITS units of the layer: it alone computes their gates, keeps their c in registers
// and tells the other blocks of its group their h. All blocks must be on the processor at once: a cooperative launch.
//
// Group n of all, some of which are in this launch, works for direction n % directions, on its ROWS rows from
// n / directions * ROWS on.
//
// Compiled for one geometry: H_PADDED (H filled up with zero weights), UNITS of a block, ROWS of a group, IEEE (1:
// float32 multiplications and additions; 0: products in tf32). T, B and H are arguments. Numbers in brackets are the
// equations of docs/derivation.md.
#include "dialect.cuh"
#include "directions.cuh"
#include "exchange.cuh"
#include "group.cuh"
#include "product.cuh"
#include "step.cuh"

// ---- forward --------------------------------------------------------------------------------------------------------
// At every step a block reads h of all units, and multiplies it by the columns of its own units. A warp does that for 8
// units and a slice of h; what the slices add up to meets in shared memory.

constexpr int TILES = UNITS / 8;  // of 8 units x 4 gates: the 32 outputs of a product
constexpr int SLICES = WARPS / TILES;  // of h: a warp multiplies one slice for one tile
constexpr int SLICE = H_PADDED / SLICES;
constexpr int SLICE_ROW = padded(SLICE);
constexpr int SUM_ROW = 4 * UNITS + 4;  // floats: rows that are written at once lie in different banks

struct Forward {
    const float* W_hh;  // (H, 4H)
    const float* b;  // (4H,)
    const float* a;  // (T, B, 4, H): x W_ih
    const float *h0, *c0;  // (B, H)
    Mask mask;
    float* gates;  // (T, B, 4, H), may be `a`; null, here and below: not wanted
    float *h, *c;  // (T+1, B, H)
    float* y;  // (T, B, H), zero at masked steps
    float *h_last, *c_last;  // (B, H)
};

extern "C" __global__ void __launch_bounds__(THREADS, 1) persistent_forward(
    const __grid_constant__ Directions<Forward> both, int directions,  // the number of them
    int T, int B, int H, int first_group,
    unsigned* ring,  // HEADER, then words [2][groups][ROWS][H_PADDED]; all bits set
    unsigned* alarm,  // of the host: becomes 1 if the run breaks
    long long patience_ns  // for one wait
) {
    const int group = first_group + blockIdx.y;
    const Forward& d = both.of[group % directions];
    DYNAMIC_SHARED(float, shared);  // [WARPS][8][SLICE_ROW]: a slice of h for each warp; [2][SLICES][ROWS][SUM_ROW]
    const Owner own(B, H, group / directions);
    const Patience patience = {ring, patience_ns};
    const int warp = threadIdx.x / 32, tile = warp % TILES, slice = warp / TILES;
    const int r = threadIdx.x % 32 / 4, q = threadIdx.x % 4;  // of the lane: see product.cuh
    float* const warp_rows = shared + warp * 8 * SLICE_ROW;
    float* const all_sums = shared + WARPS * 8 * SLICE_ROW;
    Word* const words = reinterpret_cast<Word*>(ring + HEADER) + (size_t)blockIdx.y * ROWS * H_PADDED;
    const size_t slot = (size_t)gridDim.y * ROWS * H_PADDED;

    float w[1][SLICE];  // output (r, j): gate j of unit r of the tile; inner places: the units of the slice
#pragma unroll
    for (int n = 0; n < SLICE; n++) {
        const int k = slice * SLICE + n / 16 * 16 + 4 * q + n % 16 / 4, unit = blockIdx.x * UNITS + 8 * tile + r;
        w[0][n] = k < H && unit < H ? factor(d.W_hh[(size_t)k * 4 * H + n % 4 * H + unit]) : 0;
    }

    float h_own[SHARES], c_own[SHARES];
#pragma unroll
    for (int e = 0; e < SHARES; e++) {
        h_own[e] = own.exists(e) ? d.h0[own.state(0, e)] : 0;
        c_own[e] = own.exists(e) ? d.c0[own.state(0, e)] : 0;
        if (own.exists(e) && d.h) d.h[own.state(0, e)] = h_own[e], d.c[own.state(0, e)] = c_own[e];
        if (own.in_group(e)) store_relaxed(words + own.row(e) * H_PADDED + own.unit, to_word(factor(h_own[e]), 0));
    }

    for (int t = 0; t < T; t++) {
        bool real[SHARES];
        Four<float> gate[SHARES];
#pragma unroll
        for (int e = 0; e < SHARES; e++) {  // asked for before the wait, needed after it
            real[e] = own.exists(e) && d.mask.real(t, own.batch_row(e));
            gate[e] = {0, 0, 0, 0};
            if (real[e]) gate[e] = own.load(d.a, t, e), gate[e] += own.load_bias(d.b);
        }

        float* const sums = all_sums + t % 2 * SLICES * ROWS * SUM_ROW;
        bool late = false;
#pragma unroll 1
        for (int row = 0; row < ROWS; row += 8) {
#pragma unroll
            for (int k = 0; k < SLICE; k += SLICE / 4 * PACKET) {
                Packet packet[1][SLICE / 16];
                const Word* source = words + t % 2 * slot + (row + r) * H_PADDED + slice * SLICE + k + PACKET * q;
                late = late || !receive(packet, reinterpret_cast<const Packet*>(source), 0, 4, t, patience);
#pragma unroll
                for (int n = 0; n < SLICE / 16; n++)
                    unpack(warp_rows + r * SLICE_ROW + k + PACKET * (4 * n + q), packet[0][n]);
            }
            __syncwarp();
            float out[1][4][2];
            product(out, w, warp_rows, SLICE_ROW);
            __syncwarp();
            float* const sum = sums + (slice * ROWS + row + 2 * q) * SUM_ROW + (8 * tile + r) * 4;
#pragma unroll
            for (int n = 0; n < 2; n++)
                *reinterpret_cast<Four<float>*>(sum + n * SUM_ROW) = {out[0][0][n], out[0][1][n], out[0][2][n],
                                                                  out[0][3][n]};
        }

        // The only barrier of a step. Behind it all warps of this block have read turn t. The others write turn t + 2
        // when they have read turn t + 1 of this block, which is written below.
        if (__syncthreads_or(late))
            return give_up(alarm, own, {{d.gates, T, 4 * H}, {d.h, T + 1, H}, {d.c, T + 1, H}, {d.y, T, H},
                                        {d.h_last, 1, H}, {d.c_last, 1, H}});

#pragma unroll
        for (int e = 0; e < SHARES; e++) {
            if (!own.in_group(e)) continue;
            if (real[e]) {  // (23) else the state is carried through, and the gates are zero
                Four<float> sum = {0, 0, 0, 0};
                const float* const part = sums + own.row(e) * SUM_ROW + own.local_unit * 4;
#pragma unroll
                for (int n = 0; n < SLICES; n++)
                    sum += *reinterpret_cast<const Four<float>*>(part + n * ROWS * SUM_ROW);
                gate[e] += sum;  // (1)
                h_own[e] = step_forward(gate[e], c_own[e]);
            }
            DAWDLE();
            store_relaxed(words + (t + 1) % 2 * slot + own.row(e) * H_PADDED + own.unit,
                          to_word(factor(h_own[e]), t + 1));
            if (!own.exists(e)) continue;
            if (d.gates) own.store(d.gates, t, e, gate[e]);
            if (d.h) d.h[own.state(t + 1, e)] = h_own[e], d.c[own.state(t + 1, e)] = c_own[e];
            if (d.y) d.y[own.state(t, e)] = real[e] ? h_own[e] : 0;  // (42)
        }
    }

#pragma unroll
    for (int e = 0; e < SHARES; e++)
        if (d.h_last && own.exists(e)) d.h_last[own.state(0, e)] = h_own[e], d.c_last[own.state(0, e)] = c_own[e];
}

// ---- backward -------------------------------------------------------------------------------------------------------
// At every step a block multiplies the da of its own units by their columns of W_hh, and sends to each owner what that
// adds to its dh_prev. The owner sums up what came, always in the same order.

constexpr int OUTPUT_TILES = H_PADDED / 32;  // of 32 units, the 32 outputs of a product
constexpr int WARP_TILES = 32 / UNITS;  // of a warp
constexpr int PARTS = OUTPUT_TILES >= WARPS ? 1 : WARPS / OUTPUT_TILES;  // of the inner places, where tiles are few
constexpr int PART = 4 * UNITS / PARTS;
constexpr int SOURCES = BLOCKS * PARTS;  // of one sum
constexpr int DA_ROW = padded(4 * UNITS);
constexpr int INBOX = SOURCES * ROWS * UNITS;  // words
static_assert(OUTPUT_TILES % WARP_TILES == 0 && OUTPUT_TILES / WARP_TILES * PARTS <= WARPS, "the tiles fit the warps");

constexpr int largest_divisor(int n, int limit) { return n % limit == 0 ? limit : largest_divisor(n, limit - 1); }
constexpr int AT_ONCE = largest_divisor(SOURCES, 128 / sizeof(Word) / SHARES);  // sources: 32 registers of words

// dh of the thread's shares, as sent at `turn`. False if it did not arrive.
__device__ __forceinline__ bool receive_sums(float (&dh)[SHARES], const Word* inbox, int turn, Patience patience) {
#pragma unroll
    for (int e = 0; e < SHARES; e++) dh[e] = 0;
    for (int source = 0; source < SOURCES; source += AT_ONCE) {
        Word word[SHARES][AT_ONCE];
        if (!receive(word, inbox + source * ROWS * UNITS, ROW_STEP * UNITS, ROWS * UNITS, turn, patience)) return false;
#pragma unroll
        for (int e = 0; e < SHARES; e++)
#pragma unroll
            for (int n = 0; n < AT_ONCE; n++) dh[e] += number(word[e][n]);
    }
    return true;
}

struct Backward {
    const float* W_hh;  // (H, 4H)
    const float* gates;  // (T, B, 4, H)
    const float* c;  // (T+1, B, H)
    Mask mask;
    Strided<const float> dy;  // (T, B, H); none: zeros
    const float *dh_last, *dc_last;  // (B, H)
    float* da;  // (T, B, 4, H)
    float *dh0, *dc0;  // (B, H)
};

extern "C" __global__ void __launch_bounds__(THREADS, 1) persistent_backward(
    const __grid_constant__ Directions<Backward> both, int directions, int T, int B, int H, int first_group,
    unsigned* ring,  // HEADER, then words [2][groups][BLOCKS to][SOURCES from][ROWS][UNITS]; all bits set
    unsigned* alarm, long long patience_ns  // as above
) {
    const int group = first_group + blockIdx.y;
    const Backward& d = both.of[group % directions];
    DYNAMIC_SHARED(float, shared);  // [2][ROWS][DA_ROW]: da of own units, unit by unit, i f g o
    const Owner own(B, H, group / directions);
    const Patience patience = {ring, patience_ns};
    const int warp = threadIdx.x / 32, part = warp % PARTS, first_tile = warp / PARTS * WARP_TILES;
    const int r = threadIdx.x % 32 / 4, q = threadIdx.x % 4;  // of the lane: see product.cuh
    Word* const words = reinterpret_cast<Word*>(ring + HEADER) + (size_t)blockIdx.y * BLOCKS * INBOX;
    const Word* const inbox = words + (size_t)blockIdx.x * INBOX + own.row(0) * UNITS + own.local_unit;
    const size_t slot = (size_t)gridDim.y * BLOCKS * INBOX;

    float w[WARP_TILES][PART];  // output (r, j): unit 4 r + j of the tile; inner place k: gate k % 4 of own unit k / 4
#pragma unroll
    for (int m = 0; m < WARP_TILES; m++)
#pragma unroll
        for (int n = 0; n < PART; n++) {
            const int output = (first_tile + m) * 32 + 4 * r + n % 4, gate = n % 16 / 4;
            const int unit = blockIdx.x * UNITS + part * PART / 4 + n / 16 * 4 + q;
            w[m][n] = output < H && unit < H ? factor(d.W_hh[(size_t)output * 4 * H + gate * H + unit]) : 0;
        }

    float dh[SHARES], carried[SHARES], dc[SHARES];
    bool arrives[SHARES];  // dh of this step: it comes from the others; else it is carried, past a masked step
#pragma unroll
    for (int e = 0; e < SHARES; e++) {
        carried[e] = own.exists(e) ? d.dh_last[own.state(0, e)] : 0;
        dc[e] = own.exists(e) ? d.dc_last[own.state(0, e)] : 0;
        arrives[e] = false;
    }

    bool late = false;
    for (int turn = 0; turn <= T; turn++) {
        const int t = T - 1 - turn;  // -1: only dh0 is left to do
        bool real[SHARES];
        Four<float> gate[SHARES];
        float c_now[SHARES], c_prev[SHARES], dy_own[SHARES];
#pragma unroll
        for (int e = 0; e < SHARES; e++) {  // asked for before the wait, needed after it
            real[e] = t >= 0 && own.exists(e) && d.mask.real(t, own.batch_row(e));
            gate[e] = real[e] ? own.load(d.gates, t, e) : Four<float>{0, 0, 0, 0};
            c_now[e] = real[e] ? d.c[own.state(t + 1, e)] : 0;
            c_prev[e] = real[e] ? d.c[own.state(t, e)] : 0;
            dy_own[e] = real[e] && d.dy.array ? d.dy.at(t, own.batch_row(e))[own.unit] : 0;
        }

        if (turn > 0 && own.in_group(0)) late = !receive_sums(dh, inbox + (turn - 1) % 2 * slot, turn - 1, patience);

        float* const own_da = shared + turn % 2 * ROWS * DA_ROW;
#pragma unroll
        for (int e = 0; e < SHARES; e++) {
            if (!own.in_group(e)) continue;
            if (arrives[e]) carried[e] = dh[e];  // (25)
            if (t < 0) continue;
            Four<float> da_t = {0, 0, 0, 0};  // (24)
            if (real[e]) da_t = step_backward(carried[e] + dy_own[e], dc[e], gate[e], c_prev[e], c_now[e]);  // (43)
            arrives[e] = real[e];
            *reinterpret_cast<Four<float>*>(own_da + own.row(e) * DA_ROW + own.local_unit * 4) = {
                factor(da_t.i), factor(da_t.f), factor(da_t.g), factor(da_t.o)};
            if (own.exists(e)) own.store(d.da, t, e, da_t);
        }

        // The only barrier of a step. Behind it all owners of this block have read the last turn. The others send the
        // next turn, over it, when they have read this turn of this block, which is sent below.
        if (__syncthreads_or(late)) return give_up(alarm, own, {{d.da, T, 4 * H}, {d.dh0, 1, H}, {d.dc0, 1, H}});
        if (t < 0 || first_tile >= OUTPUT_TILES) continue;

#pragma unroll 1
        for (int row = 0; row < ROWS; row += 8) {
            float out[WARP_TILES][4][2];
            product(out, w, own_da + row * DA_ROW + part * PART, DA_ROW);  // (18)
            DAWDLE();
#pragma unroll
            for (int m = 0; m < WARP_TILES; m++) {
                const int unit = (first_tile + m) * 32 + 4 * r;
                Word* const outbox = words + turn % 2 * slot + (size_t)(unit / UNITS) * INBOX +
                                     (blockIdx.x * PARTS + part) * ROWS * UNITS + unit % UNITS;
#pragma unroll
                for (int n = 0; n < 2; n++)
                    send(outbox + (row + 2 * q + n) * UNITS, turn,
                         {out[m][0][n], out[m][1][n], out[m][2][n], out[m][3][n]});
            }
        }
    }

#pragma unroll
    for (int e = 0; e < SHARES; e++)
        if (own.exists(e)) d.dh0[own.state(0, e)] = carried[e], d.dc0[own.state(0, e)] = dc[e];
}
