// Switching between stacks: a few instructions on x86-64, ucontext elsewhere and under AddressSanitizer (which must
// be told of every switch).
#pragma once
#include <stddef.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define FAKE_ASAN 1
extern "C" void __sanitizer_start_switch_fiber(void** save, const void* bottom, size_t size);
extern "C" void __sanitizer_finish_switch_fiber(void* save, const void** bottom, size_t* size);
#else
#define FAKE_ASAN 0
#endif

#if defined(__x86_64__) && defined(__linux__) && !FAKE_ASAN
#define FAKE_SWITCH 1
#else
#define FAKE_SWITCH 0
#include <ucontext.h>
#endif

namespace fake {

static const size_t stack_bytes = FAKE_ASAN ? 256 << 10 : 64 << 10;

struct Fiber {
    char* stack = nullptr;
#if FAKE_SWITCH
    void* top = nullptr;
#else
    ucontext_t context;
    void* shadow = nullptr;
#endif
    Fiber() = default;
    Fiber(Fiber&& other) : stack(other.stack) { other.stack = nullptr; }
    ~Fiber() { free(stack); }
};

#if FAKE_SWITCH

extern "C" void fake_switch_stacks(void** save, void* load) __attribute__((visibility("hidden")));
asm(R"(
    .text
    .hidden fake_switch_stacks
    .globl fake_switch_stacks
    .type fake_switch_stacks, @function
fake_switch_stacks:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size fake_switch_stacks, .-fake_switch_stacks
)");

static void* scheduler;

static void start_fiber(Fiber& fiber, void (*entry)()) {
    if (fiber.stack == nullptr) fiber.stack = static_cast<char*>(aligned_alloc(64, stack_bytes));
    void** top = reinterpret_cast<void**>(fiber.stack + stack_bytes);
    *--top = nullptr;                           // the entry never returns; a call leaves the stack 8 off 16
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    fiber.top = top;
}
static void enter_fiber(Fiber& fiber) { fake_switch_stacks(&scheduler, fiber.top); }
static void leave_fiber(Fiber& fiber) { fake_switch_stacks(&fiber.top, scheduler); }
static void end_fiber(Fiber& fiber) { leave_fiber(fiber); }

#else

static ucontext_t scheduler;
static void* scheduler_shadow;
static const void* scheduler_stack;
static size_t scheduler_bytes;
static void (*fiber_entry)();

static void first_entry() {
#if FAKE_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_bytes);
#endif
    fiber_entry();
}
static void start_fiber(Fiber& fiber, void (*entry)()) {
    if (fiber.stack == nullptr) fiber.stack = static_cast<char*>(aligned_alloc(64, stack_bytes));
    fiber_entry = entry;
    fiber.shadow = nullptr;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = stack_bytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, first_entry, 0);
}
static void enter_fiber(Fiber& fiber) {
#if FAKE_ASAN
    __sanitizer_start_switch_fiber(&scheduler_shadow, fiber.stack, stack_bytes);
#endif
    swapcontext(&scheduler, &fiber.context);
#if FAKE_ASAN
    __sanitizer_finish_switch_fiber(scheduler_shadow, nullptr, nullptr);
#endif
}
static void leave_fiber(Fiber& fiber) {
#if FAKE_ASAN
    __sanitizer_start_switch_fiber(&fiber.shadow, scheduler_stack, scheduler_bytes);
#endif
    swapcontext(&fiber.context, &scheduler);
#if FAKE_ASAN
    __sanitizer_finish_switch_fiber(fiber.shadow, &scheduler_stack, &scheduler_bytes);
#endif
}
static void end_fiber(Fiber& fiber) {
#if FAKE_ASAN
    __sanitizer_start_switch_fiber(nullptr, scheduler_stack, scheduler_bytes);  // null: this fiber's stack is done with
#endif
    swapcontext(&fiber.context, &scheduler);
}

#endif

}  // namespace fake
