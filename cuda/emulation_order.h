/*
 * emulation_order.h - where a CUDA thread of the emulation is, how it dies, and the order
 * in which threads and blocks are taken (UCB_EMULATION_ORDER).
 */
#ifndef UCB_CUDA_EMULATION_ORDER_H
#define UCB_CUDA_EMULATION_ORDER_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned ax = 1, unsigned ay = 1, unsigned az = 1) : x(ax), y(ay), z(az)
    {
    }
};

namespace emulation
{
constexpr int WARP = 32;

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
} // namespace emulation

#endif
