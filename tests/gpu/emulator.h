// A CUDA machine on one CPU thread, for tests: it runs the kernels' own text, compiled as C++.
//
// Every CUDA thread is a fiber. The scheduler goes round the threads that can run, in an order that is drawn anew for
// every round; a thread runs until it waits (at a barrier, for its warp, in a spinning loop) or ends. So a kernel that
// owes its result to one order gives another one under another seed. Blocks of an ordinary launch run one after the
// other, which a GPU may do too; those of a cooperative launch are all alive at once. Shared memory begins as NaN.
//
// What it cannot show: it has one memory, in order, so nothing about memory ordering between blocks; and no speed.

#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#define EMULATED

// ---- CUDA's words ----------------------------------------------------------------------------------------------

struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct alignas(32) double4 { double x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline unsigned __float_as_uint(float f) { unsigned u; std::memcpy(&u, &f, 4); return u; }
static inline float __uint_as_float(unsigned u) { float f; std::memcpy(&f, &u, 4); return f; }
using std::max;
using std::min;

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __ldg(address) (*(address))

// ---- the machine -----------------------------------------------------------------------------------------------

namespace emulator {

constexpr size_t STACK = 1 << 17;  // bytes for each thread; memory is taken only as far as it is touched

struct Barrier { unsigned members = 0, arrived = 0, generation = 0; };

struct Warp {
    Barrier barrier;
    alignas(16) unsigned char slot[32][64];  // what each lane shows to the others
};

struct Block;

struct Thread {
    dim3 index;
    unsigned lane;
    Warp* warp;
    Block* block;
    std::unique_ptr<char[]> stack;
    ucontext_t start;  // the way in, once
    jmp_buf place;     // where it left off, from then on
    bool started = false, ended = false;
    const Barrier* waits_at = nullptr;
    unsigned waits_since = 0;
};

struct Block {
    dim3 index;
    Barrier barrier;
    int votes = 0;              // so far
    int counted[2] = {0, 0};    // of the last vote and the one before, for those who have not read it yet
    std::vector<Warp> warps;
    std::vector<Thread> threads;
    std::vector<unsigned char> memory;
    unsigned char* shared;
};

inline Thread* current;
inline dim3 grid_size, block_size;
inline jmp_buf scheduler;
inline std::function<void()>* kernel_call;
inline std::mt19937 chance;
inline std::function<void()> settle = [] {};  // what is still under way when a launch ends arrives

__attribute__((noinline)) inline void yield() {
    if (_setjmp(current->place) == 0) _longjmp(scheduler, 1);
}

inline void wait(Barrier& barrier) {
    if (++barrier.arrived == barrier.members) {
        barrier.arrived = 0;
        barrier.generation++;
        return;
    }
    current->waits_at = &barrier;
    current->waits_since = barrier.generation;
    yield();
    current->waits_at = nullptr;
}

inline void begin() {
    (*kernel_call)();
    current->ended = true;
    _longjmp(scheduler, 1);
}

__attribute__((noinline)) inline void resume(Thread& thread) {
    current = &thread;
    if (_setjmp(scheduler) != 0) return;  // the thread came back
    if (thread.started) _longjmp(thread.place, 1);
    thread.started = true;
    setcontext(&thread.start);
}

// A block's vote: how many of its threads say yes. The last to come counts.
inline int vote(bool yes) {
    Block& block = *current->block;
    int& counted = block.counted[block.barrier.generation % 2];
    block.votes += yes;
    if (block.barrier.arrived + 1 == block.barrier.members) {
        counted = block.votes;
        block.votes = 0;
    }
    wait(block.barrier);
    return counted;
}

// Every lane shows a value and reads that of lane `from`; all 32 must take part.
template <class Value>
inline Value shuffle(Value value, unsigned from) {
    static_assert(sizeof(Value) <= 64, "a slot holds 64 bytes");
    Warp& warp = *current->warp;
    std::memcpy(warp.slot[current->lane], &value, sizeof value);
    wait(warp.barrier);
    std::memcpy(&value, warp.slot[from % 32], sizeof value);
    wait(warp.barrier);
    return value;
}

enum Outcome { DONE, WRONG_ARGUMENTS, DEADLOCK, RUNAWAY };

inline void prepare(Block& block, dim3 index, size_t shared_bytes) {
    const unsigned threads = block_size.x;
    block.index = index;
    block.barrier = {threads, 0, 0};
    block.memory.assign(shared_bytes + 16, 0xFF);  // NaN, in every floating type
    block.shared = block.memory.data() + (16 - reinterpret_cast<uintptr_t>(block.memory.data()) % 16) % 16;
    block.warps = std::vector<Warp>((threads + 31) / 32);
    block.threads = std::vector<Thread>(threads);
    for (unsigned t = 0; t < threads; t++) {
        Thread& thread = block.threads[t];
        thread.index = {t, 0, 0};
        thread.lane = t % 32;
        thread.warp = &block.warps[t / 32];
        thread.warp->barrier.members++;
        thread.block = &block;
        thread.stack.reset(new char[STACK]);
        getcontext(&thread.start);
        thread.start.uc_stack.ss_sp = thread.stack.get();
        thread.start.uc_stack.ss_size = STACK;
        thread.start.uc_link = nullptr;
        makecontext(&thread.start, begin, 0);
    }
}

// Runs all threads of these blocks to their ends.
inline Outcome run(std::vector<Block>& blocks, long long turns) {
    std::vector<Thread*> alive;
    for (Block& block : blocks)
        for (Thread& thread : block.threads) alive.push_back(&thread);
    while (!alive.empty()) {
        std::shuffle(alive.begin(), alive.end(), chance);
        bool moved = false;
        for (Thread* thread : alive) {
            if (thread->waits_at && thread->waits_at->generation == thread->waits_since) continue;
            resume(*thread);
            moved = true;
            if (--turns == 0) return RUNAWAY;
        }
        if (!moved) return DEADLOCK;  // all that are left wait for somebody who will not come
        alive.erase(std::remove_if(alive.begin(), alive.end(), [](Thread* t) { return t->ended; }), alive.end());
    }
    return DONE;
}

inline Outcome launch(dim3 grid, unsigned threads, size_t shared_bytes, bool together, unsigned seed, long long turns,
                      std::function<void()> call) {
    struct End { ~End() { settle(); } } end;
    grid_size = grid;
    block_size = {threads, 1, 1};
    kernel_call = &call;
    chance.seed(seed);
    std::vector<dim3> order;
    for (unsigned y = 0; y < grid.y; y++)
        for (unsigned x = 0; x < grid.x; x++) order.push_back({x, y, 0});
    std::shuffle(order.begin(), order.end(), chance);
    std::vector<Block> blocks(together ? order.size() : 1);
    for (size_t b = 0; b < order.size(); b++) {
        prepare(blocks[together ? b : 0], order[b], shared_bytes);
        if (together && b + 1 < order.size()) continue;
        const Outcome outcome = run(blocks, turns);
        if (outcome != DONE) return outcome;
    }
    return DONE;
}

// ---- the way in from Python ------------------------------------------------------------------------------------

// One letter for the type of each argument: what it points to in small letters, numbers in capitals.
template <class T> constexpr char letter() {
    using P = std::remove_cv_t<std::remove_pointer_t<T>>;
    if (!std::is_pointer_v<T>) return std::is_same_v<T, int> ? 'I' : std::is_same_v<T, long long> ? 'L' : '?';
    if (std::is_same_v<P, float> || std::is_same_v<P, float2> || std::is_same_v<P, float4>) return 'f';
    if (std::is_same_v<P, double> || std::is_same_v<P, double2> || std::is_same_v<P, double4>) return 'd';
    if (std::is_same_v<P, unsigned char>) return 'b';
    if (std::is_same_v<P, int>) return 'i';
    if (std::is_same_v<P, unsigned> || std::is_same_v<P, uint2> || std::is_same_v<P, uint4>) return 'u';
    return '?';
}

template <class... A, size_t... K>
int call(void (*kernel)(A...), std::index_sequence<K...>, dim3 grid, unsigned threads, size_t shared_bytes,
         bool together, unsigned seed, long long turns, const char* letters, void** arguments) {
    const char wanted[] = {letter<std::remove_cv_t<A>>()..., 0};
    if (std::strlen(letters) != sizeof...(A)) return WRONG_ARGUMENTS;
    for (size_t k = 0; k < sizeof...(A); k++) {
        const bool null = letters[k] == '0' && wanted[k] >= 'a';
        if (!null && letters[k] != wanted[k]) return WRONG_ARGUMENTS;
    }
    return launch(grid, threads, shared_bytes, together, seed, turns,
                  [&] { kernel(*static_cast<std::remove_cv_t<A>*>(arguments[K])...); });
}

template <class... A>
int call(void (*kernel)(A...), dim3 grid, unsigned threads, size_t shared_bytes, bool together, unsigned seed,
         long long turns, const char* letters, void** arguments) {
    return call(kernel, std::index_sequence_for<A...>{}, grid, threads, shared_bytes, together, seed, turns, letters,
                arguments);
}

}  // namespace emulator

#define EMULATED_ENTRY(kernel)                                                                                     \
    extern "C" int emulate(unsigned grid_x, unsigned grid_y, unsigned threads, size_t shared_bytes, int together,  \
                           unsigned seed, long long turns, const char* letters, void** arguments) {                \
        return emulator::call(kernel, dim3{grid_x, grid_y, 1}, threads, shared_bytes, together != 0, seed, turns,  \
                              letters, arguments);                                                                 \
    }

// ---- CUDA's words that need the machine ------------------------------------------------------------------------

#define threadIdx (emulator::current->index)
#define blockIdx (emulator::current->block->index)
#define blockDim (emulator::block_size)
#define gridDim (emulator::grid_size)
#define __syncthreads() emulator::wait(emulator::current->block->barrier)
#define __syncthreads_or(yes) (emulator::vote(yes) > 0)
#define __syncthreads_and(yes) (emulator::vote(yes) == int(emulator::block_size.x))
#define __syncthreads_count(yes) emulator::vote(yes)
#define __syncwarp() emulator::wait(emulator::current->warp->barrier)
#define __shfl_sync(mask, value, lane) emulator::shuffle(value, lane)
#define __shfl_xor_sync(mask, value, bits) emulator::shuffle(value, emulator::current->lane ^ (bits))
#define __shfl_down_sync(mask, value, by) \
    emulator::shuffle(value, emulator::current->lane + (by) < 32 ? emulator::current->lane + (by) : emulator::current->lane)

#define DYNAMIC_SHARED(type, name) type* const name = reinterpret_cast<type*>(emulator::current->block->shared)
#define LET_OTHERS_RUN() emulator::yield()
#define DAWDLE() do { if (emulator::chance() % 4 == 0) emulator::yield(); } while (false)

#include "instructions.h"
