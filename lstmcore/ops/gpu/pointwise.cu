// What stands between the products of one time step, fused into one kernel: the step itself and the mask. A thread is
// one unit of one row. REAL is float or double; rows of B, units of H.
//
// All arrays are whole sequences and `t` is the step, so that the host needs no views of them. `real` is the mask
// (T, B), with the strides of its axes, or null.

#include "dialect.cuh"
#include "step.cuh"

// gates (T, B, 4, H) holds x W_ih + b at step t, and afterwards the gates. product (B, 4, H) is h_prev W_hh.
// h and c are (T+1, B, H).
extern "C" __global__ void pointwise_forward(
    const REAL* product, REAL* gates, REAL* h, REAL* c, const unsigned char* mask, long long mask_step,
    long long mask_row, int t, int B, int H) {
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x, step = (long long)B * H;
    if (place >= step) return;
    const long long row = place / H, unit = place % H, at = t * step + place;
    product += row * 4 * H + unit;
    gates += (t * step + row * H) * 4 + unit;
    Four<REAL> gate = {0, 0, 0, 0};
    REAL h_t = h[at], c_t = c[at];
    if (!mask || mask[t * mask_step + row * mask_row]) {  // (23)
        gate = {gates[0] + product[0], gates[H] + product[H], gates[2 * H] + product[2 * H],
                gates[3 * H] + product[3 * H]};  // (1)
        h_t = step_forward(gate, c_t);
    }
    gates[0] = gate.i, gates[H] = gate.f, gates[2 * H] = gate.g, gates[3 * H] = gate.o;
    h[at + step] = h_t;
    c[at + step] = c_t;
}

// dh and dc (B, H) come in as the gradients of the state after step t: dc wholly; dh as it was after step t+1, to which
// `product` = da[t+1] W_hh^T (null at the last step) is the successor in rows where step t+1 is real. They go out as
// the same for step t; da (T, B, 4, H) gets its step t. dy may be null.
extern "C" __global__ void pointwise_backward(
    const REAL* dy, long long dy_step, long long dy_row, const REAL* product, REAL* dh, REAL* dc, const REAL* gates,
    const REAL* c, REAL* da, const unsigned char* mask, long long mask_step, long long mask_row, int t, int B, int H) {
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x, step = (long long)B * H;
    if (place >= step) return;
    const long long row = place / H, unit = place % H, at = t * step + place, four = (t * step + row * H) * 4 + unit;
    const unsigned char* const now = mask ? mask + t * mask_step + row * mask_row : nullptr;
    REAL dh_t = product && (!now || now[mask_step]) ? product[place] : dh[place];  // (18), (25)
    Four<REAL> da_t = {0, 0, 0, 0};  // (24)
    if (!now || *now) {
        if (dy) dh_t += dy[t * dy_step + row * dy_row + unit];  // (43)
        const Four<REAL> gate = {gates[four], gates[four + H], gates[four + 2 * H], gates[four + 3 * H]};
        da_t = step_backward(dh_t, dc[place], gate, c[at], c[at + step]);
    }
    da += four;
    da[0] = da_t.i, da[H] = da_t.f, da[2 * H] = da_t.g, da[3 * H] = da_t.o;
    dh[place] = dh_t;
}
