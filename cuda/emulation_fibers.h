/*
 * emulation_fibers.h - a block of the emulation as fibers of one system thread: each runs
 * to its next barrier or warp operation, which opens when all it waits for are there. A
 * block that nobody can release ends the program with the lines it waits at.
 */
#ifndef UCB_CUDA_EMULATION_FIBERS_H
#define UCB_CUDA_EMULATION_FIBERS_H

#include <csetjmp>
#include <functional>
#include <memory>

#include <ucontext.h>

#include "emulation_order.h"

namespace emulation
{
enum state { READY, AT_BARRIER, AT_WARP, DONE };

struct fiber {
    position at;
    enum state state;
    int line; /* where it waits */
    unsigned mask;
    bool begun;
    ucontext_t context;
    jmp_buf resume;
    std::unique_ptr<char[]> stack;
};
constexpr size_t STACK_BYTES = 256 << 10;

inline std::vector<std::unique_ptr<fiber>> fibers;
inline fiber *running;
inline const position *here()
{
    return &running->at;
}
inline const std::function<void()> *fiber_body;
inline ucontext_t scheduler_context;
inline jmp_buf scheduler_resume;
inline std::vector<uint64_t> warp_slots;

/* swapcontext() asks the system for its signal mask, twice a switch; _longjmp() does not,
 * but AddressSanitizer knows only the former. */
#ifdef __SANITIZE_ADDRESS__
inline void leave_fiber(fiber *f)
{
    swapcontext(&f->context, &scheduler_context);
}
inline void enter_fiber(fiber *f)
{
    running = f;
    swapcontext(&scheduler_context, &f->context);
}
#else
inline void leave_fiber(fiber *f)
{
    if (_setjmp(f->resume) == 0) _longjmp(scheduler_resume, 1);
}
inline void enter_fiber(fiber *f)
{
    running = f;
    if (_setjmp(scheduler_resume) != 0) return;
    if (f->begun) _longjmp(f->resume, 1);
    f->begun = true;
    setcontext(&f->context);
}
#endif

/* A fiber serves one block after the other. */
inline void fiber_main()
{
    for (;;) {
        fiber *f = running;
        (*fiber_body)();
        f->state = DONE;
        leave_fiber(f);
    }
}

inline fiber *fiber_at(size_t i)
{
    while (fibers.size() <= i) {
        std::unique_ptr<fiber> f(new fiber);
        f->stack.reset(new char[STACK_BYTES]);
        f->begun = false;
        getcontext(&f->context);
        f->context.uc_stack.ss_sp = f->stack.get();
        f->context.uc_stack.ss_size = STACK_BYTES;
        f->context.uc_link = nullptr;
        makecontext(&f->context, fiber_main, 0);
        fibers.push_back(std::move(f));
    }
    return fibers[i].get();
}

inline void wait_as(enum state state, int line, unsigned mask)
{
    running->state = state;
    running->line = line;
    running->mask = mask;
    leave_fiber(running);
}
inline void sync_block(int line)
{
    wait_as(AT_BARRIER, line, 0);
}
inline void sync_warp(unsigned mask, int line)
{
    if ((mask >> here()->lane & 1) == 0) die(here(), "the mask leaves out its caller");
    wait_as(AT_WARP, line, mask);
}
inline uint64_t *slots()
{
    return &warp_slots[(size_t)(here()->warp * WARP)];
}

/* All threads of the block wait at a barrier: at one. */
inline void open_barrier(int n)
{
    for (int i = 1; i < n; i++) {
        if (fibers[(size_t)i]->line == fibers[0]->line) continue;
        fprintf(stderr, "emulation: threads 0 and %d wait at lines %d and %d\n", i,
                fibers[0]->line, fibers[(size_t)i]->line);
        die(&fibers[(size_t)i]->at, "divergent barrier");
    }
    for (int i = 0; i < n; i++) fibers[(size_t)i]->state = READY;
}

/* Whether all lanes that a waiting thread's mask names wait for the same operation. */
inline bool warp_is_there(const fiber *f, int n)
{
    for (int lane = 0; lane < WARP; lane++) {
        int i = f->at.warp * WARP + lane;
        if ((f->mask >> lane & 1) == 0) continue;
        if (i >= n) die(&f->at, "the mask names a lane that the block does not have");
        const fiber *other = fibers[(size_t)i].get();
        if (other->state != AT_WARP || other->mask != f->mask || other->line != f->line)
            return false;
    }
    return true;
}

inline bool open_warps(int n)
{
    bool opened = false;
    for (int i = 0; i < n; i++) {
        fiber *f = fibers[(size_t)i].get();
        if (f->state != AT_WARP || !warp_is_there(f, n)) continue;
        unsigned mask = f->mask;
        for (int lane = 0; lane < WARP; lane++)
            if (mask >> lane & 1) fibers[(size_t)(f->at.warp * WARP + lane)]->state = READY;
        opened = true;
    }
    return opened;
}

[[noreturn]] inline void report_stuck(int n)
{
    static const char *const names[] = {"runs", "waits at __syncthreads",
                                        "waits at a warp operation", "has ended"};
    int shown_line = -1, shown_state = -1;
    for (int i = 0; i < n; i++) {
        const fiber *f = fibers[(size_t)i].get();
        if (f->line == shown_line && (int)f->state == shown_state) continue;
        fprintf(stderr, "emulation: thread %d %s, line %d, mask %08x\n", i, names[f->state],
                f->state == DONE ? 0 : f->line, f->mask);
        shown_line = f->line;
        shown_state = (int)f->state;
    }
    die(&fibers[0]->at, "divergent barrier: threads wait that nobody can release");
}

inline void run_ready(const std::vector<int> &list)
{
    for (int i : list)
        if (fibers[(size_t)i]->state == READY) enter_fiber(fibers[(size_t)i].get());
}

template <class F> void run_block(dim3 block, order &o, const F &body)
{
    int n = n_threads();
    std::function<void()> call = body;
    fiber_body = &call;
    warp_slots.assign((size_t)((n + WARP - 1) / WARP * WARP), 0);
    for (int i = 0; i < n; i++) {
        fiber *f = fiber_at((size_t)i);
        f->at = position_of(block, i);
        f->state = READY;
        f->line = 0;
        f->mask = 0;
    }
    std::vector<int> list = o.first(n);
    for (;;) {
        int n_done = 0, n_barrier = 0;
        run_ready(list);
        o.arrange(list);
        for (int i = 0; i < n; i++) {
            n_done += fibers[(size_t)i]->state == DONE;
            n_barrier += fibers[(size_t)i]->state == AT_BARRIER;
        }
        if (n_done == n) return;
        if (n_barrier == n)
            open_barrier(n);
        else if (!open_warps(n))
            report_stuck(n);
    }
}
} // namespace emulation

#endif
