// Softmax cross-entropy and its gradient, of rows of logits (N, V): a warp is a row. The transcription of
// ops/losses/cross_entropy.py; numbers in brackets are the equations of docs/derivation.md. REAL is float or double.
//
// Every sum has one order, which follows from V and N.

#include "dialect.cuh"

constexpr unsigned ALL = 0xFFFFFFFFu;  // lanes of a warp

template <class Combine>
__device__ __forceinline__ REAL over_warp(REAL value, Combine combine) {
    for (int apart = 16; apart > 0; apart /= 2) value = combine(value, __shfl_xor_sync(ALL, value, apart));
    return value;
}

// losses (N): -log softmax(logits)[target]; dlogits (N, V); both zero where mask (N), if there is one, is false.
// count: how many rows are valid; null: all. A target that is no class, which nobody checks where a step is recorded,
// is not looked up: its loss is NaN, so that it shows, and its row of dlogits zero.
extern "C" __global__ void __launch_bounds__(THREADS) cross_entropy(
    const REAL* logits, const int* targets, const unsigned char* mask, const double* count, REAL* losses,
    REAL* dlogits, int N, int V) {
    const int lane = threadIdx.x % 32;
    const long long row = (long long)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    if (row >= N) return;
    const bool valid = !mask || mask[row];
    logits += row * V;
    dlogits += row * V;

    const auto larger = [](REAL a, REAL b) { return a < b ? b : a; };
    const auto sum = [](REAL a, REAL b) { return a + b; };
    REAL largest = logits[0], total = 0;
    for (int v = lane; v < V; v += 32) largest = larger(largest, logits[v]);
    largest = over_warp(largest, larger);
    for (int v = lane; v < V; v += 32) total += exp(logits[v] - largest);
    total = over_warp(total, sum);

    const int target = valid ? targets[row] : 0;
    const bool known = 0 <= target && target < V;
    const REAL n = count ? REAL(*count) : REAL(N);
    if (lane == 0) losses[row] = !valid ? 0 : known ? log(total) - (logits[target] - largest) : sqrt(REAL(-1));
    for (int v = lane; v < V; v += 32) {
        const REAL p = exp(logits[v] - largest) / total;  // (60)
        dlogits[v] = valid && known ? (p - (v == target ? 1 : 0)) / n : REAL(0);  // (62) undoes (61)
    }
}

// One block: the mean of the losses (N) of the valid rows.
extern "C" __global__ void __launch_bounds__(THREADS) mean_loss(
    const REAL* losses, const double* count, REAL* mean, int N) {
    DYNAMIC_SHARED(double, shared);
    double own = 0;
    for (int row = threadIdx.x; row < N; row += THREADS) own += losses[row];
    shared[threadIdx.x] = own;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    }
    if (threadIdx.x == 0) *mean = shared[0] / (count ? *count : N);  // (61)
}
