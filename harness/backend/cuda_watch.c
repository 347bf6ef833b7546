/*
 * cuda_watch.c - on an emulated device, proof that host code says when it reads and writes
 * memory that the device may hold: cuda_mirror.h. A real device has no sums, and nothing
 * here costs it anything.
 */
#include "backend/cuda_internal.h"

#include <string.h>

static uint64_t sum_of(const struct ucb_cuda_mirror *m, size_t block)
{
    const unsigned char *p = m->host + block * m->block;
    uint64_t sum = 14695981039346656037u; /* FNV-1a */
    for (size_t n = ucb_cuda_block_bytes(m, block, block + 1); n-- > 0; p++)
        sum = (sum ^ *p) * 1099511628211u;
    return sum;
}

void ucb_cuda_watch_check(struct ucb_cuda *c, const struct ucb_cuda_mirror *m, size_t first,
                          size_t end)
{
    for (size_t i = first; m->sums != NULL && i < end; i++)
        if (m->holder[i] != UCB_HOST_HAS && sum_of(m, i) != m->sums[i])
            ucb_cuda_note(c, "activations",
                          "host memory was written without ucb_backend_write()");
}

void ucb_cuda_watch_both(const struct ucb_cuda_mirror *m, size_t first, size_t end)
{
    for (size_t i = first; m->sums != NULL && i < end; i++) m->sums[i] = sum_of(m, i);
}

static void fill(struct ucb_cuda *c, const struct ucb_cuda_mirror *m, size_t at, size_t n)
{
    unsigned char nans[16 << 10];
    memset(nans, 0xff, sizeof(nans));
    for (size_t end = at + n; at < end; at += n) {
        n = end - at < sizeof(nans) ? end - at : sizeof(nans);
        ucb_cuda_note(c, "NaNs",
                      c->table->upload(c->device, UCB_CUDA_COMPUTE, m->p + at, nans, n));
    }
}

void ucb_cuda_watch_one(struct ucb_cuda *c, const struct ucb_cuda_mirror *m, size_t first,
                        size_t end)
{
    size_t at = first * m->block;
    if (m->sums == NULL || first == end) return;
    if (m->holder[first] == UCB_HOST_HAS) {
        fill(c, m, at, ucb_cuda_block_bytes(m, first, end));
        return;
    }
    memset(m->host + at, 0xff, ucb_cuda_block_bytes(m, first, end));
    ucb_cuda_watch_both(m, first, end);
}
