// A CUDA machine on one CPU thread, for tests: it runs the kernels' own text, compiled as C++.
//
// Every CUDA thread is a fiber. The scheduler goes round the threads that can run, in an order that is drawn anew for
// every round; a thread runs until it waits (at a barrier, for its warp, in a spinning loop) or ends. So a kernel that
// owes its result to one order gives another one under another seed. Blocks of an ordinary launch run one after the
// other, which a GPU may do too; those of a cooperative launch are all alive at once. Shared memory begins as NaN.
//
// What it cannot show: it has one memory, in order, so nothing about memory ordering between blocks; and no speed.

#pragma once
#include <math.h>
#include <stddef.h>
#include <string.h>

#include <string>
#include <type_traits>
#include <utility>

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
static inline unsigned __float_as_uint(float f) { unsigned u; memcpy(&u, &f, 4); return u; }
static inline float __uint_as_float(unsigned u) { float f; memcpy(&f, &u, 4); return f; }
template <class T> inline T max(T a, T b) { return a < b ? b : a; }
template <class T> inline T min(T a, T b) { return b < a ? b : a; }

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __ldg(address) (*(address))

// ---- the machine (emulator.cpp) --------------------------------------------------------------------------------

namespace emulator {

struct Barrier { unsigned members = 0, arrived = 0, generation = 0; };

struct Warp {
    Barrier barrier;
    alignas(16) unsigned char slot[32][64];  // what each lane shows to the others
};

struct Block {
    dim3 index;
    Barrier barrier;
    unsigned char* shared;
    int votes = 0;            // so far
    int counted[2] = {0, 0};  // of the last vote and the one before, for those who have not read it yet
};

struct Thread {
    dim3 index;
    unsigned lane;
    Warp* warp;
    Block* block;
};

extern Thread* current;
extern dim3 grid_size, block_size;

void yield();                                           // lets the others run
void wait(Barrier& barrier);                            // until all its members wait
unsigned draw();                                        // a random number
void send(void* to, const void* word, unsigned bytes);  // a store that arrives some time
void look();                                            // time passes: stores arrive

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
    memcpy(warp.slot[current->lane], &value, sizeof value);
    wait(warp.barrier);
    memcpy(&value, warp.slot[from % 32], sizeof value);
    wait(warp.barrier);
    return value;
}

// ---- the way in from Python ------------------------------------------------------------------------------------

struct Launch {
    unsigned grid_x, grid_y, threads;
    int together;
    unsigned seed;
    size_t shared_bytes;
    long long turns;
};

enum Outcome { DONE, WRONG_ARGUMENTS, DEADLOCK, RUNAWAY };

Outcome launch(const Launch& launch, void (*thread)(void*), void* argument);

// One letter for the type of each argument: what it points to in small letters, numbers in capitals. A struct has one
// for each 8 bytes, whatever its fields are.
template <class T> std::string letters() {
    using P = std::remove_cv_t<std::remove_pointer_t<T>>;
    if (std::is_class_v<T>) return std::string(sizeof(T) / 8, 'w');
    if (!std::is_pointer_v<T>) return std::is_same_v<T, int> ? "I" : std::is_same_v<T, long long> ? "L" : "?";
    if (std::is_same_v<P, float> || std::is_same_v<P, float2> || std::is_same_v<P, float4>) return "f";
    if (std::is_same_v<P, double>) return "d";
    if (std::is_same_v<P, unsigned char>) return "b";
    if (std::is_same_v<P, int>) return "i";
    if (std::is_same_v<P, unsigned> || std::is_same_v<P, uint2> || std::is_same_v<P, uint4>) return "u";
    return "?";
}

// A kernel and where its arguments lie.
template <class... A> struct Call {
    void (*kernel)(A...);
    void** arguments;

    template <size_t... K> void run(std::index_sequence<K...>) { kernel(*static_cast<A*>(arguments[K])...); }
    static void thread(void* self) { static_cast<Call*>(self)->run(std::index_sequence_for<A...>{}); }
};

template <class... A>
int call(void (*kernel)(A...), const Launch* how, const std::string& given, void** arguments) {
    const std::string wanted = (letters<A>() + ... + "");
    if (given.size() != wanted.size()) return WRONG_ARGUMENTS;
    for (size_t k = 0; k < wanted.size(); k++) {
        const bool pointer = wanted[k] >= 'a' && wanted[k] != 'w';
        const bool null = given[k] == '0' && pointer;
        const bool any_64_bits = given[k] == '*' && (pointer || wanted[k] == 'L');
        if (!null && !any_64_bits && given[k] != wanted[k]) return WRONG_ARGUMENTS;
    }
    Call<A...> call = {kernel, arguments};
    return launch(*how, Call<A...>::thread, &call);
}

}  // namespace emulator

#define EMULATED_ENTRY(kernel)                                                                                     \
    extern "C" int emulate_##kernel(const emulator::Launch* how, const char* letters, void** arguments) {          \
        return emulator::call(kernel, how, letters, arguments);                                                    \
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
#define DAWDLE() do { if (emulator::draw() % 4 == 0) emulator::yield(); } while (false)

#include "instructions.h"
