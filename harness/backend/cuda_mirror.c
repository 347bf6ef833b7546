/* cuda_mirror.c - see cuda_mirror.h. */
#include "backend/cuda_mirror.h"

#include <assert.h>
#include <string.h>

#include "backend/cuda_internal.h"
#include "core/arena.h"

/* The list, with room for one more entry of `size` bytes; NULL: there is none, and the list
 * stays. */
static void *reserve(void *list, size_t n, size_t *capacity, size_t size)
{
    if (n < *capacity) return list;
    size_t wanted = *capacity == 0 ? 32 : 2 * *capacity;
    void *grown = ucb_mem_alloc(wanted * size);
    if (grown == NULL) return NULL;
    if (n > 0) memcpy(grown, list, n * size);
    ucb_mem_free(list);
    *capacity = wanted;
    return grown;
}

/* ---- ranges ---- */

static bool holds(const void *outer, size_t n_outer, const void *inner, size_t n_inner)
{
    const unsigned char *a = outer, *b = inner;
    return b >= a && b + n_inner <= a + n_outer;
}

static bool overlap(const void *one, size_t n_one, const void *two, size_t n_two)
{
    const unsigned char *a = one, *b = two;
    return a < b + n_two && b < a + n_one;
}

static struct ucb_cuda_kept *kept_around(const struct ucb_cuda *c, const void *host,
                                         size_t n_bytes)
{
    for (size_t i = 0; i < c->mirrors.n_kept; i++)
        if (holds(c->mirrors.kept[i].host, c->mirrors.kept[i].n_bytes, host, n_bytes))
            return &c->mirrors.kept[i];
    return NULL;
}

static struct ucb_cuda_mirror *mirror_around(const struct ucb_cuda *c, const void *host,
                                             size_t n_bytes)
{
    for (size_t i = 0; i < c->mirrors.n; i++)
        if (holds(c->mirrors.list[i].host, c->mirrors.list[i].n_bytes, host, n_bytes))
            return &c->mirrors.list[i];
    return NULL;
}

void *ucb_cuda_mirror_at(const struct ucb_cuda *c, const void *host, size_t n_bytes)
{
    const struct ucb_cuda_mirror *m = mirror_around(c, host, n_bytes);
    return m == NULL ? NULL : m->p + ((const unsigned char *)host - m->host);
}

/* ---- blocks ---- */

/* A download to ordinary memory is complete when it returns; what is uploaded from there
 * was taken. A copy is tried whatever has failed: the bytes may be another's. */
static void copy(struct ucb_cuda *c, const struct ucb_cuda_mirror *m, size_t first,
                 size_t end, enum ucb_cuda_holder from)
{
    size_t at = first * m->block, n = ucb_cuda_block_bytes(m, first, end);
    ucb_cuda_note(
        c, "copying activations",
        from == UCB_HOST_HAS
            ? c->table->upload(c->device, UCB_CUDA_COMPUTE, m->p + at, m->host + at, n)
            : c->table->download(c->device, UCB_CUDA_COMPUTE, m->host + at, m->p + at, n));
}

/* Blocks of [first, end) that `from` alone has: to the other side too. */
static void share(struct ucb_cuda *c, struct ucb_cuda_mirror *m, size_t first, size_t end,
                  enum ucb_cuda_holder from)
{
    ucb_cuda_watch_check(c, m, first, end);
    for (size_t i = first, n; i < end; i += n) {
        for (n = 0; i + n < end && m->holder[i + n] == from; n++) {
        }
        if (n > 0) {
            copy(c, m, i, i + n, from);
            memset(m->holder + i, UCB_BOTH_HAVE, n);
            ucb_cuda_watch_both(m, i, i + n);
        } else {
            n = 1;
        }
    }
}

/* Bytes [at, at + n) are `to`'s to write: the rest of their first and last block is
 * brought. */
static void take_over(struct ucb_cuda *c, struct ucb_cuda_mirror *m, size_t at, size_t n,
                      enum ucb_cuda_holder to)
{
    size_t first = at / m->block, end = ucb_n_units(at + n, m->block);
    enum ucb_cuda_holder other = to == UCB_HOST_HAS ? UCB_DEVICE_HAS : UCB_HOST_HAS;
    if (at % m->block != 0) share(c, m, first, first + 1, other);
    if ((at + n) % m->block != 0 && at + n < m->n_bytes) share(c, m, end - 1, end, other);
    memset(m->holder + first, (int)to, end - first);
    ucb_cuda_watch_one(c, m, first, end);
}

void ucb_cuda_mirror_in(struct ucb_cuda *c, const void *host, size_t n_bytes)
{
    struct ucb_cuda_mirror *m = mirror_around(c, host, n_bytes);
    size_t at = (size_t)((const unsigned char *)host - m->host);
    share(c, m, at / m->block, ucb_n_units(at + n_bytes, m->block), UCB_HOST_HAS);
}

void ucb_cuda_mirror_out(struct ucb_cuda *c, const void *host, size_t n_bytes)
{
    struct ucb_cuda_mirror *m = mirror_around(c, host, n_bytes);
    take_over(c, m, (size_t)((const unsigned char *)host - m->host), n_bytes,
              UCB_DEVICE_HAS);
}

/* The part of [host, host + n_bytes) that a mirror holds, from its begin. */
static size_t part_of(const struct ucb_cuda_mirror *m, const void *host, size_t n_bytes,
                      size_t *n)
{
    const unsigned char *from = host, *to = from + n_bytes;
    if (from < m->host) from = m->host;
    if (to > m->host + m->n_bytes) to = m->host + m->n_bytes;
    *n = (size_t)(to - from);
    return (size_t)(from - m->host);
}

void ucb_cuda_host_reads(struct ucb_cuda *c, const void *host, size_t n_bytes)
{
    for (size_t i = 0; i < c->mirrors.n; i++) {
        struct ucb_cuda_mirror *m = &c->mirrors.list[i];
        size_t n, at;
        if (!overlap(m->host, m->n_bytes, host, n_bytes)) continue;
        at = part_of(m, host, n_bytes, &n);
        share(c, m, at / m->block, ucb_n_units(at + n, m->block), UCB_DEVICE_HAS);
    }
}

void ucb_cuda_host_writes(struct ucb_cuda *c, const void *host, size_t n_bytes)
{
    for (size_t i = 0; i < c->mirrors.n; i++) {
        struct ucb_cuda_mirror *m = &c->mirrors.list[i];
        size_t n, at;
        if (!overlap(m->host, m->n_bytes, host, n_bytes)) continue;
        at = part_of(m, host, n_bytes, &n);
        take_over(c, m, at, n, UCB_HOST_HAS);
    }
}

/* ---- life ---- */

static void drop(struct ucb_cuda *c, size_t i)
{
    struct ucb_cuda_mirror *m = &c->mirrors.list[i];
    c->table->free(c->device, m->p);
    ucb_mem_free(m->holder);
    ucb_mem_free(m->sums);
    *m = c->mirrors.list[--c->mirrors.n];
}

/* The host has all of it; the range does better with less at a time. */
static void give_way(struct ucb_cuda *c, size_t i)
{
    struct ucb_cuda_mirror *m = &c->mirrors.list[i];
    kept_around(c, m->host, m->n_bytes)->in_parts = true;
    share(c, m, 0, ucb_n_units(m->n_bytes, m->block), UCB_DEVICE_HAS);
    drop(c, i);
}

bool ucb_cuda_mirror_evict(struct ucb_cuda *c)
{
    size_t oldest = SIZE_MAX;
    for (size_t i = 0; i < c->mirrors.n; i++)
        if (c->mirrors.list[i].used_at < c->locked_from &&
            (oldest == SIZE_MAX ||
             c->mirrors.list[i].used_at < c->mirrors.list[oldest].used_at))
            oldest = i;
    if (oldest == SIZE_MAX) return false;
    give_way(c, oldest);
    return true;
}

/* Whether mirrors leave an eighth of the device to what the driver loads unasked, where
 * `less` bytes give way. */
static bool has_room(const struct ucb_cuda *c, size_t n_bytes, size_t less)
{
    struct ucb_cuda_info info;
    ucb_cuda_info(c, &info);
    return info.used_bytes - less + n_bytes <= info.memory_bytes - info.memory_bytes / 8;
}

/* Alone: nobody gives way; nor where that would not be enough. */
static void *find_room(struct ucb_cuda *c, size_t n_bytes, bool alone)
{
    void *p = NULL;
    if (!has_room(c, n_bytes, alone ? 0 : ucb_cuda_evictable_bytes(c))) return NULL;
    while (!has_room(c, n_bytes, 0) && ucb_cuda_evict(c)) {
    }
    const char *failed = alone ? c->table->alloc(c->device, n_bytes, &p)
                               : ucb_cuda_alloc(c, n_bytes, &p);
    return failed == NULL ? p : NULL;
}

/* The host has the current bytes, whoever wrote them before. */
static bool make(struct ucb_cuda *c, unsigned char *host, size_t n_bytes, bool alone)
{
    size_t block = c->table->emulated ? UCB_CUDA_WATCHED_BLOCK : UCB_CUDA_BLOCK,
           n_blocks = ucb_n_units(n_bytes, block);
    struct ucb_cuda_mirrors *all = &c->mirrors;
    struct ucb_cuda_mirror m = {.host = host, .n_bytes = n_bytes, .block = block};
    void *list = reserve(all->list, all->n, &all->capacity, sizeof(*all->list));
    if (list == NULL) return false;
    all->list = list;
    m.holder = ucb_mem_alloc(n_blocks); /* zeros: UCB_HOST_HAS */
    if (c->table->emulated) m.sums = ucb_mem_alloc(n_blocks * sizeof(*m.sums));
    if (m.holder != NULL && (!c->table->emulated || m.sums != NULL))
        m.p = find_room(c, n_bytes, alone);
    if (m.p == NULL) {
        ucb_mem_free(m.holder);
        ucb_mem_free(m.sums);
        return false;
    }
    m.used_at = ++c->clock;
    all->list[all->n++] = m;
    return true;
}

/* All of the range, where that makes nobody give way; else what is asked for. */
void ucb_cuda_mirror_seek(struct ucb_cuda *c, const void *host, size_t n_bytes)
{
    struct ucb_cuda_mirror *m = mirror_around(c, host, n_bytes);
    struct ucb_cuda_kept *kept = kept_around(c, host, n_bytes);
    if (m != NULL) m->used_at = ++c->clock;
    if (m != NULL || kept == NULL || n_bytes == 0) return;
    for (size_t i = c->mirrors.n; i-- > 0;) /* mirrors do not overlap */
        if (overlap(c->mirrors.list[i].host, c->mirrors.list[i].n_bytes, host, n_bytes))
            give_way(c, i);
    if (!kept->in_parts && make(c, kept->host, kept->n_bytes, true)) return;
    kept->in_parts = true;
    make(c, kept->host + ((const unsigned char *)host - kept->host), n_bytes, false);
}

void ucb_cuda_mirror_spare(struct ucb_cuda *c, const void *host, size_t n_bytes)
{
    struct ucb_cuda_mirror *m = mirror_around(c, host, n_bytes);
    if (m != NULL) m->used_at = 0;
}

void ucb_cuda_keep(struct ucb_cuda *c, void *host, size_t n_bytes)
{
    struct ucb_cuda_mirrors *all = &c->mirrors;
    if (host == NULL || n_bytes == 0) return;
    for (size_t i = 0; i < all->n_kept; i++)
        assert(!overlap(all->kept[i].host, all->kept[i].n_bytes, host, n_bytes));
    void *kept = reserve(all->kept, all->n_kept, &all->kept_capacity, sizeof(*all->kept));
    if (kept == NULL) return;
    all->kept = kept;
    all->kept[all->n_kept++] = (struct ucb_cuda_kept){host, n_bytes, false};
}

void ucb_cuda_give_up(struct ucb_cuda *c, const void *host)
{
    struct ucb_cuda_mirrors *all = &c->mirrors;
    size_t i = 0;
    while (i < all->n_kept && all->kept[i].host != host) i++;
    if (host == NULL || i == all->n_kept) return;
    for (size_t k = all->n; k-- > 0;)
        if (holds(host, all->kept[i].n_bytes, all->list[k].host, all->list[k].n_bytes))
            drop(c, k);
    all->kept[i] = all->kept[--all->n_kept];
}

void ucb_cuda_drop_mirrors(struct ucb_cuda *c)
{
    while (c->mirrors.n > 0) drop(c, c->mirrors.n - 1);
    ucb_mem_free(c->mirrors.list);
    ucb_mem_free(c->mirrors.kept);
    c->mirrors = (struct ucb_cuda_mirrors){0};
}
