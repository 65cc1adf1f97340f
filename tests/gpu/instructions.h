// ops/gpu/instructions.cuh on the emulated machine.
//
// Memory between blocks is weaker here than on a GPU, as weak as its rules allow: a relaxed store arrives late, at a
// time that is drawn for each word by itself, so that words arrive in another order than they were sent, also those of
// one thread and of one packet. Only the stores to one address arrive in their order.

#pragma once

struct alignas(16) ulonglong2 { unsigned long long x, y; };
static inline ulonglong2 make_ulonglong2(unsigned long long x, unsigned long long y) { return {x, y}; }

namespace emulator {

template <class Word>
inline void send(Word* to, Word word) { send(to, &word, sizeof word); }

inline unsigned long long clock;  // advances when somebody looks

}  // namespace emulator

template <class Word>
static inline Word load_relaxed(const Word* p) {
    emulator::look();
    return *p;
}
static inline void store_relaxed(unsigned* p, unsigned v) { emulator::send(p, v); }
static inline void store_relaxed(unsigned long long* p, unsigned long long v) { emulator::send(p, v); }
static inline void store_relaxed(ulonglong2* p, ulonglong2 v) {
    emulator::send(&p->x, v.x);
    emulator::send(&p->y, v.y);
}
static inline void store_relaxed(uint4* p, uint4 v) {
    emulator::send(&p->x, v.x);
    emulator::send(&p->y, v.y);
    emulator::send(&p->z, v.z);
    emulator::send(&p->w, v.w);
}
static inline void store_to_host(unsigned* p, unsigned v) { *p = v; }

static inline unsigned long long nanoseconds() { return emulator::clock += 1000; }

static inline float round_tf32(float x) {
    return isnan(x) ? __uint_as_float(0x7FFFFFFF) : __uint_as_float((__float_as_uint(x) + 0x1000) & ~0x1FFFu);
}

// The tensor core reads 10 mantissa bits, whatever stands behind them. Its sums are wider than float32.
static inline void mma_tf32(float& d0, float& d1, float& d2, float& d3, float a0, float a1, float a2, float a3,
                            float b0, float b1) {
    struct Operands { float a[4], b[2]; };
    const Operands mine = {{a0, a1, a2, a3}, {b0, b1}};
    emulator::Warp& warp = *emulator::current->warp;
    const auto of = [&](unsigned lane) { return reinterpret_cast<const Operands*>(warp.slot[lane]); };
    const auto read = [](float x) { return double(__uint_as_float(__float_as_uint(x) & ~0x1FFFu)); };
    memcpy(warp.slot[emulator::current->lane], &mine, sizeof mine);
    emulator::wait(warp.barrier);
    const unsigned r = emulator::current->lane / 4, q = emulator::current->lane % 4;
    float* const d[4] = {&d0, &d1, &d2, &d3};
    for (unsigned e = 0; e < 4; e++) {
        double sum = *d[e];
        for (unsigned k = 0; k < 8; k++)
            sum += read(of(4 * r + k % 4)->a[e / 2 + k / 4 * 2]) * read(of(4 * (2 * q + e % 2) + k % 4)->b[k / 4]);
        *d[e] = float(sum);
    }
    emulator::wait(warp.barrier);
}
