/*
 * emulation_threads.h - a block of the emulation as system threads, one for each CUDA
 * thread: what TSan understands. In the place of emulation_fibers.h, with the same names:
 * here(), sync_block(), sync_warp(), slots(), run_block().
 */
#ifndef UCB_CUDA_EMULATION_THREADS_H
#define UCB_CUDA_EMULATION_THREADS_H

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "emulation_order.h"

namespace emulation
{
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
} // namespace emulation

#endif
