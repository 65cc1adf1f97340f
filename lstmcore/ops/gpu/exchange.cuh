// How blocks hand numbers to each other: the number is its own flag. No barrier, no fence, no counter.
//
// A word is a number with the turn (the step) for which it was written. The reader polls the word until it shows the
// turn that the reader wants. This needs one thing of the memory: that each single address is seen to change in one
// order. What was written to another address before does not matter, so relaxed accesses are enough.
//
// IEEE    8 bytes: the float below, the turn above. Every bit of the float arrives.
// tf32    4 bytes: the lowest bit of the mantissa is replaced by bit 1 of the turn. Products in tf32 read the upper 10
//         mantissa bits only. The bit is taken out again on arrival, so that inf stays inf; NaNs here are quiet ones,
//         since they come from arithmetic, and keep bits higher up.
//
// A ring of two slots holds the words of even and of odd turns. Turn t + 2 overwrites turn t in place, so every reader
// must have read t before t + 2 is written. That follows from the algorithm, as each kernel says, and so a slot shows
// turn t, or turn t - 2, or what it was filled with before the launch: all bits set, which is no turn 0 or 1. Bit 1 of
// the turn tells these apart.
#include "dialect.cuh"
#include "instructions.cuh"

#if IEEE
typedef unsigned long long Word;
typedef ulonglong2 Packet;  // 16 bytes: the widest access
#else
typedef unsigned Word;
typedef uint4 Packet;
#endif
constexpr int PACKET = sizeof(Packet) / sizeof(Word);  // words of a packet

__device__ __forceinline__ Word to_word(float value, int turn) {
#if IEEE
    return (unsigned long long)turn << 32 | __float_as_uint(value);
#else
    return (__float_as_uint(value) & ~1u) | (turn >> 1 & 1);
#endif
}

__device__ __forceinline__ float number(Word word) {
#if IEEE
    return __uint_as_float((unsigned)word);
#else
    return __uint_as_float(word & ~1u);
#endif
}

__device__ __forceinline__ bool arrived(Word word, int turn) {
#if IEEE
    return (int)(word >> 32) == turn;
#else
    return (word & 1) == (turn >> 1 & 1);
#endif
}

__device__ __forceinline__ bool arrived(Packet p, int turn) {
#if IEEE
    return arrived(p.x, turn) && arrived(p.y, turn);
#else
    return arrived(p.x, turn) && arrived(p.y, turn) && arrived(p.z, turn) && arrived(p.w, turn);
#endif
}

// The numbers of a packet, side by side in memory.
__device__ __forceinline__ void unpack(float* to, Packet p) {
#if IEEE
    *reinterpret_cast<float2*>(to) = make_float2(number(p.x), number(p.y));
#else
    *reinterpret_cast<float4*>(to) = make_float4(number(p.x), number(p.y), number(p.z), number(p.w));
#endif
}

// Four numbers of one turn, sent to neighbouring words.
__device__ __forceinline__ void send(Word* to, int turn, float4 v) {
    Packet* p = reinterpret_cast<Packet*>(to);
#if IEEE
    store_relaxed(p, make_ulonglong2(to_word(v.x, turn), to_word(v.y, turn)));
    store_relaxed(p + 1, make_ulonglong2(to_word(v.z, turn), to_word(v.w, turn)));
#else
    store_relaxed(p, make_uint4(to_word(v.x, turn), to_word(v.y, turn), to_word(v.z, turn), to_word(v.w, turn)));
#endif
}

// ---- waiting, never for ever ----------------------------------------------------------------------------------------

constexpr int HEADER = 32;  // words of 4 bytes before the ring: the first is `stop` below; a cache line for itself
constexpr unsigned GO_ON = ~0u;

struct Patience {
    unsigned* stop;  // a word that all blocks of the launch see: GO_ON until one of them gives up
    long long nanoseconds;  // how long one wait may last
};

constexpr int POLLS = 64;  // between two looks at the clock

// Polls M x N words (or packets), `outer` and `inner` apart, until all show `turn`. False if that took too long, here
// or in any other block.
template <int M, int N, class Unit>
__device__ __forceinline__ bool receive(Unit (&unit)[M][N], const Unit* source, size_t outer, size_t inner, int turn,
                                        Patience patience) {
    unsigned long long start = 0;
    for (int polls = 1;; polls++) {
        bool all = true;
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < N; n++) unit[m][n] = load_relaxed(source + m * outer + n * inner);
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < N; n++) all = all && arrived(unit[m][n], turn);
        if (all) return true;
        LET_OTHERS_RUN();
        if (polls % POLLS == 0) {
            const unsigned long long now = nanoseconds();
            if (start == 0) start = now;
            if (load_relaxed(patience.stop) != GO_ON) return false;
            if (now - start > (unsigned long long)patience.nanoseconds) {
                store_relaxed(patience.stop, 0u);
                return false;
            }
        }
    }
}
