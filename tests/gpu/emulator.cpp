// The emulated machine itself: threads as fibers, the scheduler, and the memory between blocks. See emulator.h.

#include "emulator.h"

#undef threadIdx
#undef blockIdx
#include <setjmp.h>
#include <stdint.h>
#include <ucontext.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <vector>

namespace emulator {

Thread* current;
dim3 grid_size, block_size;

namespace {

constexpr size_t STACK = 1 << 17;  // bytes for each thread; memory is taken only as far as it is touched

struct Fiber : Thread {
    std::unique_ptr<char[]> stack;
    ucontext_t start;  // the way in, once
    jmp_buf place;     // where it left off, from then on
    bool started = false, ended = false;
    const Barrier* waits_at = nullptr;
    unsigned waits_since = 0;
};

struct WholeBlock : Block {
    std::vector<Warp> warps;
    std::vector<Fiber> fibers;
    std::vector<unsigned char> memory;
};

std::mt19937 chance;
jmp_buf scheduler;
void (*thread_body)(void*);
void* thread_argument;

Fiber& fiber() { return static_cast<Fiber&>(*current); }

void begin() {
    thread_body(thread_argument);
    fiber().ended = true;
    _longjmp(scheduler, 1);
}

void resume(Fiber& next) {
    current = &next;
    if (_setjmp(scheduler) != 0) return;  // it came back
    if (next.started) _longjmp(next.place, 1);
    next.started = true;
    setcontext(&next.start);
}

void prepare(WholeBlock& block, dim3 index, size_t shared_bytes) {
    const unsigned threads = block_size.x;
    static_cast<Block&>(block) = {index, {threads, 0, 0}, nullptr, 0, {0, 0}};
    block.memory.assign(shared_bytes + 16, 0xFF);  // NaN, in every floating type
    block.shared = block.memory.data() + (16 - reinterpret_cast<uintptr_t>(block.memory.data()) % 16) % 16;
    block.warps = std::vector<Warp>((threads + 31) / 32);
    block.fibers = std::vector<Fiber>(threads);
    for (unsigned t = 0; t < threads; t++) {
        Fiber& fiber = block.fibers[t];
        fiber.index = {t, 0, 0};
        fiber.lane = t % 32;
        fiber.warp = &block.warps[t / 32];
        fiber.warp->barrier.members++;
        fiber.block = &block;
        fiber.stack.reset(new char[STACK]);
        getcontext(&fiber.start);
        fiber.start.uc_stack.ss_sp = fiber.stack.get();
        fiber.start.uc_stack.ss_size = STACK;
        fiber.start.uc_link = nullptr;
        makecontext(&fiber.start, begin, 0);
    }
}

// Runs all threads of these blocks to their ends.
Outcome run(std::vector<WholeBlock>& blocks, long long turns) {
    std::vector<Fiber*> alive;
    for (WholeBlock& block : blocks)
        for (Fiber& fiber : block.fibers) alive.push_back(&fiber);
    while (!alive.empty()) {
        std::shuffle(alive.begin(), alive.end(), chance);
        bool moved = false;
        for (Fiber* fiber : alive) {
            if (fiber->waits_at && fiber->waits_at->generation == fiber->waits_since) continue;
            resume(*fiber);
            moved = true;
            if (--turns == 0) return RUNAWAY;
        }
        if (!moved) return DEADLOCK;  // all that are left wait for somebody who will not come
        alive.erase(std::remove_if(alive.begin(), alive.end(), [](Fiber* f) { return f->ended; }), alive.end());
    }
    return DONE;
}

// ---- stores under way ----------------------------------------------------------------------------------------------

struct Store {
    void* to;
    unsigned bytes;
    unsigned char word[16];
    void arrive() const { memcpy(to, word, bytes); }
};

unsigned long long now;                                // counts looks at the memory
std::multimap<unsigned long long, Store> under_way;    // by time of arrival
std::map<void*, unsigned long long> last_arrival;      // at each address

void settle() {
    for (auto& item : under_way) item.second.arrive();
    under_way.clear();
    last_arrival.clear();
    now = 0;
}

}  // namespace

unsigned draw() { return chance(); }

void yield() {
    if (_setjmp(fiber().place) == 0) _longjmp(scheduler, 1);
}

void wait(Barrier& barrier) {
    if (++barrier.arrived == barrier.members) {
        barrier.arrived = 0;
        barrier.generation++;
        return;
    }
    fiber().waits_at = &barrier;
    fiber().waits_since = barrier.generation;
    yield();
    fiber().waits_at = nullptr;
}

void send(void* to, const void* word, unsigned bytes) {
    const unsigned chosen = draw();
    const unsigned delay = chosen % 4 == 0 ? 0 : chosen % 4 == 3 ? chosen / 4 % 20000 : chosen / 4 % 300;
    unsigned long long& arrival = last_arrival[to];
    arrival = std::max(arrival, now + delay);
    Store store = {to, bytes, {}};
    memcpy(store.word, word, bytes);
    under_way.emplace(arrival, store);  // behind others of the same time
}

void look() {
    now++;
    while (!under_way.empty() && under_way.begin()->first <= now) {
        under_way.begin()->second.arrive();
        under_way.erase(under_way.begin());
    }
}

Outcome launch(const Launch& how, void (*thread)(void*), void* argument) {
    grid_size = {how.grid_x, how.grid_y, 1};
    block_size = {how.threads, 1, 1};
    thread_body = thread;
    thread_argument = argument;
    chance.seed(how.seed);
    std::vector<dim3> order;
    for (unsigned y = 0; y < how.grid_y; y++)
        for (unsigned x = 0; x < how.grid_x; x++) order.push_back({x, y, 0});
    std::shuffle(order.begin(), order.end(), chance);
    std::vector<WholeBlock> blocks(how.together ? order.size() : 1);
    Outcome outcome = DONE;
    for (size_t b = 0; b < order.size() && outcome == DONE; b++) {
        prepare(blocks[how.together ? b : 0], order[b], how.shared_bytes);
        if (!how.together || b + 1 == order.size()) outcome = run(blocks, how.turns);
    }
    settle();
    return outcome;
}

}  // namespace emulator
