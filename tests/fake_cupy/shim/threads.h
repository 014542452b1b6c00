// The threads of a block: a plain loop where a kernel never waits, fibers where it does.
// A fiber runs until it ends or waits (barrier, warp exchange); the scheduler lets a group go on once it is complete.
#pragma once
#include <stdio.h>
#include <string.h>

#include <string>
#include <vector>

#include "fiber.h"

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
    unsigned x, y, z;
};

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

namespace fake {

struct Failure {
    std::string words;
};

enum State { READY, AT_BARRIER, AT_EXCHANGE, DONE };

struct Thread {
    Fiber fiber;
    State state;
    int line;                                   // where it waits
    int vote;                                   // what it brings to a barrier or
    unsigned mask;                              // an exchange with these lanes
    unsigned long long value;
    unsigned present;                           // lanes whose values it has seen,
    unsigned long long seen[32];                // and the values
};

static std::vector<Thread> threads;
static Thread* current = nullptr;               // null while kernels run as a plain loop
static std::string failure;
static int votes[3];                            // of the barrier that opened last: sum, and, or
static unsigned char* dynamic_shared = nullptr;
static bool backwards = false;                  // threads and blocks in the opposite order

static std::string place(unsigned thread) {
    unsigned x = thread % blockDim.x, y = thread / blockDim.x % blockDim.y, z = thread / (blockDim.x * blockDim.y);
    char text[120];
    snprintf(text, sizeof text, "thread (%u, %u, %u) of block (%u, %u, %u)", x, y, z, blockIdx.x, blockIdx.y,
             blockIdx.z);
    return text;
}

static unsigned my_number() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }

[[noreturn]] static void fail(const std::string& words) { throw Failure{words + " (" + place(my_number()) + ")"}; }

static void wait(State state, int line) {
    if (current == nullptr) fail("the double ran a kernel that waits as a plain loop, at line " + std::to_string(line));
    current->state = state;
    current->line = line;
    leave_fiber(current->fiber);
}

static void barrier(int line, int vote = 1) {
    if (current != nullptr) current->vote = vote;
    wait(AT_BARRIER, line);
}

// Gives `bits` to the lanes of `mask` and waits for theirs.
static Thread& exchange(unsigned mask, unsigned long long bits, int line) {
    if (!(mask >> (my_number() % 32) & 1)) fail("a warp function's mask leaves out the lane that calls it, at line " + std::to_string(line));
    if (current != nullptr) current->mask = mask, current->value = bits;
    wait(AT_EXCHANGE, line);
    return *current;
}

static void set_thread(unsigned number) {
    threadIdx.x = number % blockDim.x;
    threadIdx.y = number / blockDim.x % blockDim.y;
    threadIdx.z = number / (blockDim.x * blockDim.y);
}

// True where a group of a warp's lanes was complete and may go on.
static bool open_exchanges(unsigned first, unsigned count) {
    bool opened = false;
    unsigned arrived[32] = {}, alive = 0;
    for (unsigned lane = 0; lane < count; ++lane)
        if (threads[first + lane].state != DONE) alive |= 1u << lane;
    for (unsigned lane = 0; lane < count; ++lane) {
        Thread& thread = threads[first + lane];
        if (thread.state != AT_EXCHANGE) continue;
        unsigned wanted = thread.mask & alive;  // lanes that have ended, or never were, are not waited for
        for (unsigned other = 0; other < count; ++other) {
            const Thread& its = threads[first + other];
            if (its.state == AT_EXCHANGE && its.mask == thread.mask && its.line == thread.line) arrived[lane] |= 1u << other;
        }
        arrived[lane] = (arrived[lane] & wanted) == wanted ? arrived[lane] : 0;
    }
    for (unsigned lane = 0; lane < count; ++lane) {
        if (arrived[lane] == 0) continue;
        Thread& thread = threads[first + lane];
        memset(thread.seen, 0xff, sizeof thread.seen);  // an absent lane's value is undefined: NaN, or -1
        thread.present = arrived[lane];
        for (unsigned other = 0; other < count; ++other)
            if (arrived[lane] >> other & 1) thread.seen[other] = threads[first + other].value;
    }
    for (unsigned lane = 0; lane < count; ++lane)
        if (arrived[lane] != 0) threads[first + lane].state = READY, opened = true;
    return opened;
}

// True where every thread that has not ended waits at one barrier.
static bool open_barrier(unsigned count) {
    int line = -1;
    votes[0] = 0, votes[1] = 1, votes[2] = 0;
    for (unsigned i = 0; i < count; ++i) {
        Thread& thread = threads[i];
        if (thread.state == DONE) continue;
        if (thread.state != AT_BARRIER) return false;
        if (line >= 0 && line != thread.line) {
            failure = "threads of one block wait at different barriers, lines " + std::to_string(line) + " and " +
                      std::to_string(thread.line) + " (" + place(i) + ")";
            return false;
        }
        line = thread.line;
        votes[0] += thread.vote != 0, votes[1] &= thread.vote != 0, votes[2] |= thread.vote != 0;
    }
    for (unsigned i = 0; i < count; ++i)
        if (threads[i].state == AT_BARRIER) threads[i].state = READY;
    return line >= 0;
}

static std::string who_waits(unsigned count) {
    std::string words = "the block can never go on:";
    int told = 0;
    for (unsigned i = 0; i < count && told < 4; ++i)
        if (threads[i].state != DONE && ++told)
            words += " " + place(i) + " waits at " + (threads[i].state == AT_BARRIER ? "the barrier" : "the warp function") +
                     " of line " + std::to_string(threads[i].line) + ";";
    return words;
}

using Body = void (*)(void*);
static Body body;
static void* body_data;

static void run_fiber() {
    try {
        body(body_data);
    } catch (const Failure& wrong) {
        failure = wrong.words;
    }
    current->state = DONE;
    end_fiber(current->fiber);
}

static void run_block_in_fibers(unsigned count) {
    if (threads.size() < count) threads.resize(count);
    for (unsigned i = 0; i < count; ++i) {
        threads[i].state = READY;
        start_fiber(threads[i].fiber, run_fiber);
    }
    for (;;) {
        bool alive = false;
        for (unsigned k = 0; k < count; ++k) {
            unsigned i = backwards ? count - 1 - k : k;
            if (threads[i].state != READY) continue;
            set_thread(i);
            current = &threads[i];
            enter_fiber(current->fiber);
            current = nullptr;
            if (!failure.empty()) return;
        }
        bool opened = false;
        for (unsigned i = 0; i < count; ++i) alive = alive || threads[i].state != DONE;
        if (!alive) return;
        for (unsigned first = 0; first < count; first += 32)
            opened = open_exchanges(first, count - first < 32 ? count - first : 32) || opened;
        if (!opened) opened = open_barrier(count);
        if (!opened && failure.empty()) failure = who_waits(count);
        if (!failure.empty()) return;
    }
}

static void run_block_in_a_loop(unsigned count) {
    try {
        for (unsigned k = 0; k < count; ++k) {
            set_thread(backwards ? count - 1 - k : k);
            body(body_data);
        }
    } catch (const Failure& wrong) {
        failure = wrong.words;
    }
}

}  // namespace fake
