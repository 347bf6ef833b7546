/*
 * emulation.h - the part of CUDA that our kernels use, as host C++: so that their logic is
 * proven where no GPU is.
 *
 * A block's threads are fibers that are resumed forward, in reverse or in a random order
 * (UCB_EMULATION_ORDER=forward|reverse|random:SEED; all three are needed, because a missing
 * barrier passes in one of them), or one system thread each (compiled with
 * UCB_EMULATION_THREADS, for TSan). Blocks run one after the other in the same order.
 * Shared memory begins as NaNs in every block. What ends the program with a message: a
 * barrier that only a part of the block reaches, or that it reaches at two places; a warp
 * operation whose mask names a lane that does not come, leaves out the caller, or whose
 * source is not in it.
 *
 * Streams run as late as they may: work queued on one is done when something waits for it;
 * in random order some of it before, on any stream. So a kernel that reads what another
 * stream was to bring, and did not wait, reads garbage in one of them.
 *
 * Not modelled: warps in lockstep (independent threads, as since Volta), the memory model
 * of a GPU, tensor cores, asynchronous copies to shared memory, speed.
 */
#ifndef UCB_CUDA_EMULATION_H
#define UCB_CUDA_EMULATION_H

#include <algorithm>
#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>
#ifdef UCB_EMULATION_THREADS
#include <condition_variable>
#include <thread>
#else
#include <ucontext.h>
#endif

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __constant__ static const

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned ax = 1, unsigned ay = 1, unsigned az = 1) : x(ax), y(ay), z(az)
    {
    }
};

namespace emulation
{
constexpr int WARP = 32;
constexpr size_t SHARED_BYTES = 96 << 10;

/* Where a CUDA thread is. */
struct position {
    dim3 thread, block;
    int number, lane, warp;
};

[[noreturn]] inline void die(const position *at, const char *what)
{
    fprintf(stderr, "emulation: %s (block %u,%u,%u, thread %d)\n", what,
            at == nullptr ? 0 : at->block.x, at == nullptr ? 0 : at->block.y,
            at == nullptr ? 0 : at->block.z, at == nullptr ? -1 : at->number);
    abort();
}

inline dim3 grid_size, block_size;
alignas(64) inline unsigned char shared_bytes[SHARED_BYTES];
inline std::mutex one_launch; /* shared memory and the block are global */

/* The order in which threads, and blocks, are taken. */
struct order {
    enum { FORWARD, REVERSE, RANDOM } kind = FORWARD;
    uint64_t state = 1;

    static order of_environment()
    {
        order o;
        const char *text = getenv("UCB_EMULATION_ORDER");
        if (text == nullptr || strcmp(text, "forward") == 0) return o;
        if (strcmp(text, "reverse") == 0) {
            o.kind = REVERSE;
        } else if (strncmp(text, "random:", 7) == 0) {
            o.kind = RANDOM;
            o.state = strtoull(text + 7, nullptr, 10) * 2 + 1;
        } else {
            die(nullptr, "UCB_EMULATION_ORDER is forward, reverse or random:SEED");
        }
        return o;
    }
    void arrange(std::vector<int> &list)
    {
        if (kind != RANDOM) return;
        for (size_t i = list.size(); i > 1; i--)
            std::swap(list[i - 1], list[draw((unsigned)i)]);
    }
    /* A number in [0, n). */
    unsigned draw(unsigned n)
    {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return (unsigned)((state >> 33) % n);
    }
    std::vector<int> first(int n)
    {
        std::vector<int> list((size_t)n);
        for (int i = 0; i < n; i++) list[(size_t)i] = kind == REVERSE ? n - 1 - i : i;
        arrange(list);
        return list;
    }
};

inline position position_of(dim3 block, int i)
{
    int x = (int)block_size.x, y = (int)block_size.y;
    return {dim3((unsigned)(i % x), (unsigned)(i / x % y), (unsigned)(i / (x * y))), block,
            i, i % WARP, i / WARP};
}

inline int n_threads()
{
    return (int)(block_size.x * block_size.y * block_size.z);
}

#ifdef UCB_EMULATION_THREADS

/* ---- one system thread for each CUDA thread ---- */

inline thread_local const position *current;
inline const position *here()
{
    return current;
}

struct barrier {
    std::mutex lock;
    std::condition_variable changed;
    int n = 0, waiting = 0;
    unsigned round = 0;

    void open()
    {
        waiting = 0;
        round++;
        changed.notify_all();
    }
    void wait()
    {
        std::unique_lock<std::mutex> hold(lock);
        unsigned mine = round;
        if (++waiting == n)
            open();
        else
            changed.wait(hold, [&] { return round != mine; });
    }
    void leave()
    {
        std::unique_lock<std::mutex> hold(lock);
        n--;
        if (n > 0 && waiting == n) open();
    }
};
struct warp_state {
    barrier meet;
    uint64_t slot[WARP];
};
inline barrier block_barrier;
inline std::vector<std::unique_ptr<warp_state>> warps;

inline void sync_block(int)
{
    block_barrier.wait();
}
inline void sync_warp(unsigned mask, int)
{
    barrier &meet = warps[(size_t)here()->warp]->meet;
    if (__builtin_popcount(mask) < meet.n) die(here(), "threads: whole warps only");
    meet.wait();
}
inline uint64_t *slots()
{
    return warps[(size_t)here()->warp]->slot;
}

template <class F> void run_block(dim3 block, order &, const F &body)
{
    int n = n_threads();
    std::vector<std::thread> threads;
    warps.clear();
    block_barrier.n = n;
    block_barrier.waiting = 0;
    for (int first = 0; first < n; first += WARP) {
        warps.emplace_back(new warp_state);
        warps.back()->meet.n = std::min(WARP, n - first);
    }
    for (int i = 0; i < n; i++)
        threads.emplace_back([&, i] {
            position at = position_of(block, i);
            current = &at;
            body();
            warps[(size_t)at.warp]->meet.leave();
            block_barrier.leave();
        });
    for (std::thread &t : threads) t.join();
}

#else

/* ---- fibers ---- */

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

#endif

template <class T> T shuffle(unsigned mask, T value, int source, int line)
{
    static_assert(sizeof(T) <= 8, "what a shuffle moves");
    uint64_t word = 0;
    memcpy(&word, &value, sizeof(value));
    slots()[here()->lane] = word;
    sync_warp(mask, line);
    if (source < 0 || source >= WARP || (mask >> source & 1) == 0)
        die(here(), "the source of a shuffle is not in its mask");
    word = slots()[source];
    sync_warp(mask, -line); /* nobody writes again before all have read */
    memcpy(&value, &word, sizeof(value));
    return value;
}

inline unsigned ballot(unsigned mask, bool yes, int line)
{
    unsigned bits = 0;
    slots()[here()->lane] = yes;
    sync_warp(mask, line);
    for (int i = 0; i < WARP; i++)
        if (mask >> i & 1) bits |= (unsigned)slots()[i] << i;
    sync_warp(mask, -line);
    return bits;
}

/* Blocks in the order, each with fresh shared memory. */
template <class F> void run_grid(dim3 grid, dim3 block, const F &body)
{
    std::lock_guard<std::mutex> hold(one_launch);
    order o = order::of_environment();
    grid_size = grid;
    block_size = block;
    int n = (int)(grid.x * grid.y * grid.z);
    for (int i : o.first(n)) {
        unsigned u = (unsigned)i;
        memset(shared_bytes, 0xff, sizeof(shared_bytes));
        run_block(dim3(u % grid.x, u / grid.x % grid.y, u / (grid.x * grid.y)), o, body);
    }
}

template <class T> T &shared()
{
    static_assert(sizeof(T) <= 48 << 10, "more than a block may declare");
    return *reinterpret_cast<T *>(shared_bytes);
}
} // namespace emulation

/* ---- what a kernel sees ---- */

#define threadIdx (emulation::here()->thread)
#define blockIdx (emulation::here()->block)
#define blockDim (emulation::block_size)
#define gridDim (emulation::grid_size)
#define __syncthreads() emulation::sync_block(__LINE__)
#define __syncwarp(...) emulation::sync_warp(0xffffffffu, __LINE__)
#define __shfl_sync(mask, value, source, width)                                           \
    emulation::shuffle(                                                                   \
        mask, value, (emulation::here()->lane & ~((width)-1)) | ((source) & ((width)-1)), \
        __LINE__)
/* Past the end of its part of the warp a lane gets its own value. */
#define __shfl_down_sync(mask, value, delta, width)                                     \
    emulation::shuffle(mask, value,                                                     \
                       (emulation::here()->lane & ((width)-1)) + (int)(delta) < (width) \
                           ? emulation::here()->lane + (int)(delta)                     \
                           : emulation::here()->lane,                                   \
                       __LINE__)
#define __ballot_sync(mask, yes) emulation::ballot(mask, yes, __LINE__)

inline float __uint_as_float(unsigned u)
{
    float x;
    memcpy(&x, &u, sizeof(x));
    return x;
}
inline unsigned __float_as_uint(float x)
{
    unsigned u;
    memcpy(&u, &x, sizeof(u));
    return u;
}
inline float __fmaf_rn(float a, float b, float c)
{
    return __builtin_fmaf(a, b, c);
}
inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

/* ---- the runtime: memory, streams, events ---- */

typedef int cudaError_t;
enum { cudaSuccess = 0, cudaErrorMemoryAllocation = 2, cudaErrorInvalidValue = 1 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };

namespace emulation
{
struct stream;
struct event {
    stream *of = nullptr; /* the stream that completes it */
    uint64_t ticket = 0;  /* done when the stream has done so many */
};
struct stream {
    std::deque<std::function<void()>> queue;
    uint64_t n_queued = 0, n_done = 0;

    void push(std::function<void()> work)
    {
        queue.push_back(std::move(work));
        n_queued++;
        wander();
    }
    void run_to(uint64_t ticket)
    {
        while (n_done < ticket) {
            std::function<void()> work = std::move(queue.front());
            queue.pop_front();
            work();
            n_done++;
        }
    }
    static void wander();
};
inline std::vector<stream *> streams;

/* In random order, after each thing queued: some of what waits on some streams is done. */
inline void stream::wander()
{
    static order o = order::of_environment();
    if (o.kind != order::RANDOM) return;
    while (o.draw(2) == 0) {
        stream *s = streams[o.draw((unsigned)streams.size())];
        if (!s->queue.empty()) s->run_to(s->n_done + 1);
    }
}
inline std::map<const char *, size_t> pinned; /* host memory that copies do not stage */
inline std::map<const void *, size_t> on_device;

inline bool is_pinned(const void *p)
{
    const char *at = static_cast<const char *>(p);
    auto next = pinned.upper_bound(at);
    if (next == pinned.begin()) return false;
    --next;
    return at < next->first + next->second;
}
} // namespace emulation

typedef emulation::stream *cudaStream_t;
typedef emulation::event *cudaEvent_t;

inline const char *cudaGetErrorString(cudaError_t code)
{
    return code == cudaErrorMemoryAllocation ? "out of memory" : "invalid argument";
}
/* The emulated device has as much memory as UCB_EMULATION_MEMORY says, in bytes: 1 GiB. */
inline size_t emulated_memory()
{
    const char *text = getenv("UCB_EMULATION_MEMORY");
    return text == nullptr ? (size_t)1 << 30 : (size_t)strtoull(text, nullptr, 10);
}
inline cudaError_t cudaMalloc(void **out, size_t n)
{
    size_t used = 0;
    for (const auto &piece : emulation::on_device) used += piece.second;
    if (used + n > emulated_memory()) return cudaErrorMemoryAllocation;
    *out = aligned_alloc(256, (n + 255) / 256 * 256);
    if (*out == nullptr) return cudaErrorMemoryAllocation;
    memset(*out, 0xff, n); /* NaNs: what nobody wrote shows */
    emulation::on_device[*out] = n;
    return cudaSuccess;
}
inline cudaError_t cudaFree(void *p)
{
    for (emulation::stream *s : emulation::streams) s->run_to(s->n_queued);
    emulation::on_device.erase(p);
    free(p);
    return cudaSuccess;
}
inline cudaError_t cudaMallocHost(void **out, size_t n)
{
    *out = malloc(n == 0 ? 1 : n);
    if (*out == nullptr) return cudaErrorMemoryAllocation;
    emulation::pinned[static_cast<const char *>(*out)] = n;
    return cudaSuccess;
}
inline cudaError_t cudaFreeHost(void *p)
{
    for (emulation::stream *s : emulation::streams) s->run_to(s->n_queued);
    emulation::pinned.erase(static_cast<const char *>(p));
    free(p);
    return cudaSuccess;
}
inline cudaError_t cudaStreamCreate(cudaStream_t *out)
{
    *out = new emulation::stream;
    emulation::streams.push_back(*out);
    return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    s->run_to(s->n_queued);
    return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    s->run_to(s->n_queued);
    emulation::streams.erase(
        std::find(emulation::streams.begin(), emulation::streams.end(), s));
    delete s;
    return cudaSuccess;
}
inline cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    *out = new emulation::event;
    return cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    delete e;
    return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    e->of = s;
    e->ticket = s->n_queued;
    return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    if (e->of != nullptr) e->of->run_to(e->ticket);
    return cudaSuccess;
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned = 0)
{
    emulation::stream *of = e->of;
    uint64_t ticket = e->ticket;
    if (of != nullptr && of != s) s->push([of, ticket] { of->run_to(ticket); });
    return cudaSuccess;
}
/* Pageable memory is staged at the call, or waited for; pinned memory is read and written
 * when the stream comes to it. */
inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n,
                                   cudaMemcpyKind kind, cudaStream_t s)
{
    if (kind == cudaMemcpyHostToDevice && !emulation::is_pinned(from)) {
        const char *bytes = static_cast<const char *>(from);
        auto staged = std::make_shared<std::vector<char>>(bytes, bytes + n);
        s->push([to, staged] { memcpy(to, staged->data(), staged->size()); });
        return cudaSuccess;
    }
    s->push([to, from, n] { memcpy(to, from, n); });
    if (kind == cudaMemcpyDeviceToHost && !emulation::is_pinned(to)) s->run_to(s->n_queued);
    return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void *to, int value, size_t n, cudaStream_t s)
{
    s->push([to, value, n] { memset(to, value, n); });
    return cudaSuccess;
}
inline cudaError_t cudaGetLastError()
{
    return cudaSuccess;
}

/* Arguments are copied at the launch, as CUDA does. */
#define UCB_LAUNCH(kernel, grid, block, stream_, ...)                             \
    do {                                                                          \
        dim3 grid_ = (grid), block_ = (block);                                    \
        auto call_ = [](auto... arguments) { kernel(arguments...); };             \
        auto work_ = [=](auto... arguments) {                                     \
            return std::function<void()>([=] {                                    \
                emulation::run_grid(grid_, block_, [=] { call_(arguments...); }); \
            });                                                                   \
        };                                                                        \
        (stream_)->push(work_(__VA_ARGS__));                                      \
    } while (0)
#define UCB_SHARED(type, name) type &name = emulation::shared<type>()

#endif
