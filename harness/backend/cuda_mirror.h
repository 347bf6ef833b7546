/*
 * cuda_mirror.h - host memory that the device may hold: activations that stay there between
 * operations.
 *
 * A range that is kept (ucb_backend_keep) gets mirrors when operations ask for it: one of
 * the whole range, or, where that does not fit or had to give way, one of the bytes that an
 * operation names. Each block of a mirror is current here, there, or on both sides; what is
 * not current is copied when it is asked for, and not before. Work on the device is queued
 * on COMPUTE, so nobody waits between operations.
 */
#ifndef UCB_BACKEND_CUDA_MIRROR_H
#define UCB_BACKEND_CUDA_MIRROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a block, and on an emulated device, where bytes beside those that were asked for
 * could hide a mistake. The last one of a mirror may be less. */
enum { UCB_CUDA_BLOCK = 16 << 10, UCB_CUDA_WATCHED_BLOCK = 256 };

/* Who has the current bytes of a block. */
enum ucb_cuda_holder { UCB_HOST_HAS, UCB_BOTH_HAVE, UCB_DEVICE_HAS };

struct ucb_cuda;
struct ucb_cuda_kept {
    unsigned char *host;
    size_t n_bytes;
    bool in_parts; /* a mirror of all of it is not tried any more */
};
struct ucb_cuda_mirror {
    unsigned char *host, *p;
    size_t n_bytes, block;
    uint8_t *holder; /* [blocks] enum ucb_cuda_holder */
    uint64_t *sums;  /* [blocks] on an emulated device, see below; else NULL */
    uint64_t used_at;
};
struct ucb_cuda_mirrors {
    struct ucb_cuda_kept *kept;
    size_t n_kept, kept_capacity;
    struct ucb_cuda_mirror *list;
    size_t n, capacity;
};

/* See backend.h. Where the host has no memory for the list, the range is not kept. */
void ucb_cuda_keep(struct ucb_cuda *cuda, void *host, size_t n_bytes);
void ucb_cuda_give_up(struct ucb_cuda *cuda, const void *host);
void ucb_cuda_drop_mirrors(struct ucb_cuda *cuda);
void ucb_cuda_host_reads(struct ucb_cuda *cuda, const void *host, size_t n_bytes);
void ucb_cuda_host_writes(struct ucb_cuda *cuda, const void *host, size_t n_bytes);

/* Sees to a mirror that holds all of the bytes, where they are kept and there is room. May
 * let others give way: ask ucb_cuda_mirror_at() afterwards. */
void ucb_cuda_mirror_seek(struct ucb_cuda *cuda, const void *host, size_t n_bytes);
/* Where the device holds these bytes, current or not; NULL: nowhere. */
void *ucb_cuda_mirror_at(const struct ucb_cuda *cuda, const void *host, size_t n_bytes);
/* The device will read, will write bytes that it holds. Of blocks that are written in part
 * the rest is brought. */
void ucb_cuda_mirror_in(struct ucb_cuda *cuda, const void *host, size_t n_bytes);
void ucb_cuda_mirror_out(struct ucb_cuda *cuda, const void *host, size_t n_bytes);
/* The mirror of these bytes is the first to give way, in the midst of an operation too. */
void ucb_cuda_mirror_spare(struct ucb_cuda *cuda, const void *host, size_t n_bytes);
/* The mirror that was not used for longest gives way, saved to the host, unless the
 * operation at work uses it. false: there is none. */
bool ucb_cuda_mirror_evict(struct ucb_cuda *cuda);

/*
 * What finds host code that forgot to say that it reads or writes, on an emulated device
 * only: the side that is not current is filled with NaNs (0xff), and host memory must be as
 * it was left when the device is asked for its own copy.
 */
void ucb_cuda_watch_check(struct ucb_cuda *cuda, const struct ucb_cuda_mirror *mirror,
                          size_t first, size_t end);
void ucb_cuda_watch_both(const struct ucb_cuda_mirror *mirror, size_t first, size_t end);
/* Blocks that one side alone has since just now, all the same. */
void ucb_cuda_watch_one(struct ucb_cuda *cuda, const struct ucb_cuda_mirror *mirror,
                        size_t first, size_t end);

/* Bytes of blocks [first, end) of a mirror. */
static inline size_t ucb_cuda_block_bytes(const struct ucb_cuda_mirror *mirror,
                                          size_t first, size_t end)
{
    size_t to = end * mirror->block;
    return (to < mirror->n_bytes ? to : mirror->n_bytes) - first * mirror->block;
}

#endif
