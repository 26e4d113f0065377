#include "runtime.h"

#include <algorithm>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {
Fiber *current;
Block block;
Kernel *Kernel::first;
}  // namespace emulator
using namespace emulator;

// ---- context switch: own code on x86-64 (a switch costs about 30 ns), the system's ucontext elsewhere

#if defined(__x86_64__)
// Saves the callee-saved registers and the stack pointer of one fiber, and takes up those of another.
extern "C" void emulator_switch(void **save_stack_pointer, void *new_stack_pointer);
asm(R"(
.text
.globl emulator_switch
.hidden emulator_switch
.type emulator_switch, @function
emulator_switch:
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
.size emulator_switch, . - emulator_switch
)");
#else
#include <ucontext.h>
#endif

namespace {

constexpr unsigned MAX_THREADS = 1024, WARP = 32, MAX_WARPS = MAX_THREADS / WARP;
constexpr size_t STACK = 256 * 1024, GUARD = 4096;

struct Warp {
    unsigned ready, alive, waiting;  // lanes
    struct {
        unsigned mask;
        void *argument;
        Complete complete;
        const char *what;
    } lane[WARP];
};

// In which order warps and lanes run, and blocks follow one another: MACR_EMULATOR_ORDER = forward, reversed or a seed.
struct Order {
    enum { FORWARD, REVERSED, SHUFFLED } kind = FORWARD;
    uint64_t state = 0;

    Order() {
        const char *text = getenv("MACR_EMULATOR_ORDER");
        if (!text || !strcmp(text, "forward")) return;
        if (!strcmp(text, "reversed")) {
            kind = REVERSED;
            return;
        }
        char *end;
        state = strtoull(text, &end, 10);
        if (*text == 0 || *end != 0) {
            fprintf(stderr, "MACR_EMULATOR_ORDER=%s is not forward, reversed or a number\n", text);
            abort();
        }
        kind = SHUFFLED;
    }

    uint64_t random() {  // splitmix64
        uint64_t z = state += 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
    }

    // One of the set bits of `set`; in order, the first one after `after`.
    unsigned pick(unsigned set, unsigned after) {
        switch (kind) {
            case FORWARD: {
                unsigned later = after >= 31 ? 0 : set & ~((2u << after) - 1);
                return __builtin_ctz(later ? later : set);
            }
            case REVERSED: return 31 - __builtin_clz(set);
            case SHUFFLED:
                for (unsigned skip = random() % __builtin_popcount(set); skip; skip--) set &= set - 1;
                return __builtin_ctz(set);
        }
        abort();
    }
};

struct Scheduler {
    Fiber main{}, fiber[MAX_THREADS];
    Warp warp[MAX_WARPS];
    Order order;
    unsigned threads, warps, alive, ready_warps;
    unsigned at_barrier, barrier_line;
    int votes;
    Votes result;
    const Kernel *kernel;
    const void *parameters;
    bool failed;
    char error[1024];
    void *main_stack;
    size_t main_stack_size;
#if !defined(__x86_64__)
    ucontext_t context[MAX_THREADS + 1];
#endif

    Scheduler() {
        size_t each = STACK + GUARD;
        void *map = mmap(nullptr, each * MAX_THREADS, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (map == MAP_FAILED) abort();
        for (unsigned i = 0; i < MAX_THREADS; i++) {
            auto *base = static_cast<unsigned char *>(map) + each * i;
            mprotect(base, GUARD, PROT_NONE);
            fiber[i].stack = base + GUARD;
            fiber[i].lane = i % WARP;
            fiber[i].warp = i / WARP;
        }
#if !defined(__x86_64__)
        main.stack_pointer = &context[MAX_THREADS];
#endif
    }

    void mark_ready(unsigned w, unsigned lanes) {
        if (!lanes) return;
        warp[w].ready |= lanes;
        ready_warps |= 1u << w;
    }

    void mark_running(unsigned w, unsigned lane) {
        warp[w].ready &= ~(1u << lane);
        if (!warp[w].ready) ready_warps &= ~(1u << w);
    }
};

// Never destroyed: kernels may run until the process ends.
Scheduler &scheduler() {
    static Scheduler &instance = *new Scheduler;
    return instance;
}

void switch_to(Fiber *from, Fiber *to, bool for_good) {
    current = to;
#if defined(__SANITIZE_ADDRESS__)
    Scheduler &s = scheduler();
    bool main = to == &s.main;
    __sanitizer_start_switch_fiber(for_good ? nullptr : &from->sanitizer_state, main ? s.main_stack : to->stack,
                                   main ? s.main_stack_size : STACK);
#endif
    (void)for_good;
#if defined(__x86_64__)
    emulator_switch(&from->stack_pointer, to->stack_pointer);
#else
    swapcontext(static_cast<ucontext_t *>(from->stack_pointer), static_cast<ucontext_t *>(to->stack_pointer));
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from->sanitizer_state, nullptr, nullptr);
#endif
}

// Leaves `me`, which somebody else marks ready, for a thread that is ready; without one, for the launcher.
void leave(Fiber *me, bool for_good = false) {
    Scheduler &s = scheduler();
    unsigned w = me->warp;
    if (!s.warp[w].ready || s.order.kind == Order::SHUFFLED) {
        if (!s.ready_warps) return switch_to(me, &s.main, for_good);
        w = s.order.pick(s.ready_warps, w);
    }
    unsigned lane = s.order.pick(s.warp[w].ready, w == me->warp ? me->lane : 31);
    s.mark_running(w, lane);
    switch_to(me, &s.fiber[w * WARP + lane], for_good);
}

// Completes the collective of `mask` if all its living lanes have arrived.
void try_collective(unsigned w, unsigned mask, unsigned self) {
    Scheduler &s = scheduler();
    Warp &warp = s.warp[w];
    unsigned arrived = 0;
    Complete complete = nullptr;
    void *arguments[WARP] = {};
    for (unsigned l = 0; l < WARP; l++) {
        if ((warp.waiting >> l & 1) && warp.lane[l].mask == mask) arrived |= 1u << l;
    }
    if (!arrived || arrived != (mask & warp.alive)) return;
    for (unsigned l = 0; l < WARP; l++) {
        if (!(arrived >> l & 1)) continue;
        if (complete && warp.lane[l].complete != complete) {
            fail("warp %u: lanes of mask %08x meet at different collectives (%s)", w, mask, warp.lane[l].what);
        }
        complete = warp.lane[l].complete;
        arguments[l] = warp.lane[l].argument;
    }
    warp.waiting &= ~arrived;
    complete(arguments, arrived);
    s.mark_ready(w, arrived & ~self);
}

void release_barrier() {
    Scheduler &s = scheduler();
    s.result = {s.votes, s.votes != 0, s.votes == int(s.alive)};
    s.at_barrier = 0;
    s.votes = 0;
    for (unsigned w = 0; w < s.warps; w++) s.mark_ready(w, s.warp[w].alive);
}

void thread_main() {
    Scheduler &s = scheduler();
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
    s.kernel->call(s.parameters);
    Fiber *me = current;
    Warp &warp = s.warp[me->warp];
    warp.alive &= ~(1u << me->lane);
    s.alive--;
    // Those who waited for this thread need not wait any longer.
    for (unsigned l = 0; l < WARP; l++) {
        if (warp.waiting >> l & 1) try_collective(me->warp, warp.lane[l].mask, 0);
    }
    if (s.alive && s.at_barrier == s.alive) release_barrier();
    leave(me, true);
    __builtin_unreachable();
}

void prepare(unsigned i) {
    Fiber &fiber = scheduler().fiber[i];
    fiber.sanitizer_state = nullptr;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(fiber.stack, STACK);
#endif
#if defined(__x86_64__)
    // What emulator_switch pops: six registers, then the return address; after `ret` the stack is as after a call.
    void **frame = reinterpret_cast<void **>(fiber.stack + STACK) - 8;
    memset(frame, 0, 8 * sizeof(void *));
    frame[6] = reinterpret_cast<void *>(&thread_main);
    fiber.stack_pointer = frame;
#else
    ucontext_t *context = &scheduler().context[i];
    getcontext(context);
    context->uc_stack = {fiber.stack, 0, STACK};
    context->uc_link = nullptr;
    makecontext(context, thread_main, 0);
    fiber.stack_pointer = context;
#endif
}

void describe_deadlock() {
    Scheduler &s = scheduler();
    int n = snprintf(s.error, sizeof s.error,
                     "deadlock in block (%u,%u,%u): %u of %u threads left, %u of them at __syncthreads (line %u)",
                     block.index.x, block.index.y, block.index.z, s.alive, s.threads, s.at_barrier,
                     s.barrier_line);
    for (unsigned w = 0; w < s.warps; w++) {
        Warp &warp = s.warp[w];
        if (!warp.waiting) continue;
        auto &lane = warp.lane[__builtin_ctz(warp.waiting)];
        snprintf(s.error + n, sizeof s.error - n, "; warp %u: lanes %08x wait in %s with mask %08x", w,
                 warp.waiting, lane.what, lane.mask);
        return;
    }
}

// False on error, described in s.error.
bool run_block() {
    Scheduler &s = scheduler();
    s.alive = s.threads;
    s.at_barrier = s.ready_warps = 0;
    s.votes = 0;
    s.failed = false;
    for (unsigned i = 0; i < s.threads; i++) {
        unsigned rest = i / block.size.x;
        s.fiber[i].thread = {i % block.size.x, rest % block.size.y, rest / block.size.y};
        prepare(i);
    }
    for (unsigned w = 0; w < s.warps; w++) {
        unsigned lanes = std::min(WARP, s.threads - WARP * w);
        s.warp[w].alive = lanes == WARP ? ~0u : (1u << lanes) - 1;
        s.warp[w].waiting = s.warp[w].ready = 0;
        s.mark_ready(w, s.warp[w].alive);
    }
    unsigned w = s.order.pick(s.ready_warps, 31), lane = s.order.pick(s.warp[w].ready, 31);
    s.mark_running(w, lane);
    switch_to(&s.main, &s.fiber[w * WARP + lane], false);
    if (!s.failed && s.alive) {
        describe_deadlock();
        s.failed = true;
    }
    return !s.failed;
}

}  // namespace

// Static shared memory lies in a section of its own (see __shared__ in emulator.h), so that every block finds NaN in it
// and not what the last block left. The linker gives the ends; a library without any has none.
extern "C" {
extern unsigned char __start_emulator_shared[] __attribute__((weak, visibility("hidden")));
extern unsigned char __stop_emulator_shared[] __attribute__((weak, visibility("hidden")));
}

Kernel *Kernel::find(const char *name) {
    Kernel *kernel = first;
    while (kernel && strcmp(kernel->name, name)) kernel = kernel->next;
    return kernel;
}

void emulator::fail(const char *format, ...) {
    Scheduler &s = scheduler();
    int n = snprintf(s.error, sizeof s.error, "block (%u,%u,%u) thread (%u,%u,%u): ", block.index.x, block.index.y,
                     block.index.z, current->thread.x, current->thread.y, current->thread.z);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(s.error + n, sizeof s.error - n, format, arguments);
    va_end(arguments);
    s.failed = true;
    switch_to(current, &s.main, true);
    __builtin_unreachable();
}

void emulator::warp_collective(unsigned mask, void *argument, Complete complete, const char *what) {
    Fiber *me = current;
    Warp &warp = scheduler().warp[me->warp];
    unsigned bit = 1u << me->lane;
    if (!(mask & bit)) fail("%s: lane %u is not in its own mask %08x", what, me->lane, mask);
    warp.lane[me->lane] = {mask, argument, complete, what};
    warp.waiting |= bit;
    if ((warp.waiting & mask) == (mask & warp.alive)) try_collective(me->warp, mask, bit);
    if (warp.waiting & bit) leave(me);
}

Votes emulator::block_barrier(int vote, unsigned line) {
    Scheduler &s = scheduler();
    if (s.at_barrier && s.barrier_line != line) {
        fail("divergent __syncthreads: line %u while others wait at line %u", line, s.barrier_line);
    }
    s.barrier_line = line;
    s.votes += vote;
    Fiber *me = current;
    if (++s.at_barrier == s.alive) {
        release_barrier();
        s.mark_running(me->warp, me->lane);
    } else {
        leave(me);
    }
    return s.result;
}

std::string emulator::launch(const Kernel &kernel, const Shape &shape, const void *parameters) {
    Scheduler &s = scheduler();
    s.kernel = &kernel;
    s.parameters = parameters;
    s.threads = shape.block.x * shape.block.y * shape.block.z;
    s.warps = (s.threads + WARP - 1) / WARP;
    pthread_attr_t attributes;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &s.main_stack, &s.main_stack_size);
    pthread_attr_destroy(&attributes);

    block.size = shape.block;
    block.grid = shape.grid;
    const uint64_t blocks = uint64_t(shape.grid.x) * shape.grid.y * shape.grid.z;
    // Shuffled: b -> (a b + offset) mod blocks is a permutation for any a without a common divisor.
    uint64_t stride = 1, offset = 0;
    if (s.order.kind == Order::SHUFFLED && blocks > 1) {
        offset = s.order.random() % blocks;
        do stride = 1 + s.order.random() % (blocks - 1);
        while (std::__gcd(stride, blocks) != 1);
    }
    for (uint64_t b = 0; b < blocks; b++) {
        uint64_t i = s.order.kind == Order::REVERSED ? blocks - 1 - b : (unsigned __int128)(b)*stride % blocks;
        i = (i + offset) % blocks;
        block.index = {unsigned(i % shape.grid.x), unsigned(i / shape.grid.x % shape.grid.y),
                       unsigned(i / shape.grid.x / shape.grid.y)};
        block.serial++;
        // A fresh, exactly sized allocation per block, so that AddressSanitizer guards it.
        block.dynamic_shared = nullptr;
        if (shape.dynamic_shared) {
            void *memory = nullptr;
            if (posix_memalign(&memory, 1024, shape.dynamic_shared)) return "out of host memory";
            memset(memory, 0xff, shape.dynamic_shared);
            block.dynamic_shared = static_cast<unsigned char *>(memory);
        }
#if !defined(__SANITIZE_ADDRESS__)
        memset(__start_emulator_shared, 0xff, __stop_emulator_shared - __start_emulator_shared);
#endif
        bool ok = run_block();
        free(block.dynamic_shared);
        if (!ok) return std::string(kernel.name) + ": " + s.error;
    }
    return "";
}
