/*
 * cuda_watch.c - on an emulated device, proof that host code says when it reads and writes
 * memory that the device may hold: cuda_mirror.h. A real device has no sums, and nothing
 * here costs it anything.
 */
#include "backend/cuda_internal.h"

#include <string.h>

static uint64_t sum_of(const struct ucb_cuda_mirror *m, size_t block)
{
    const unsigned char *p = m->host + block * UCB_CUDA_BLOCK;
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

void ucb_cuda_watch_one(struct ucb_cuda *c, const struct ucb_cuda_mirror *m, size_t first,
                        size_t end)
{
    unsigned char nans[UCB_CUDA_BLOCK];
    if (m->sums == NULL) return;
    memset(nans, 0xff, sizeof(nans));
    for (size_t i = first; i < end; i++) {
        size_t at = i * UCB_CUDA_BLOCK, n = ucb_cuda_block_bytes(m, i, i + 1);
        if (m->holder[i] == UCB_HOST_HAS) {
            ucb_cuda_note(
                c, "NaNs",
                c->table->upload(c->device, UCB_CUDA_COMPUTE, m->p + at, nans, n));
        } else {
            memcpy(m->host + at, nans, n);
            m->sums[i] = sum_of(m, i);
        }
    }
}
