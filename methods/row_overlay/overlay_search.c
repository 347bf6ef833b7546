/*
 * overlay_search.c - which compilation of the search this machine can run, and the beam
 * search of many vectors in parallel. A chunk is a fixed number of vectors, each searched
 * by itself, so nothing depends on who runs it.
 */
#include <string.h>

#include "core/cpu_level.h"
#include "overlay.h"

enum { CHUNK = 1024, STEP = 4 };

extern const struct overlay_path overlay_path_scalar, overlay_path_avx2,
    overlay_path_avx512;

const struct overlay_path *overlay_path_at(size_t index)
{
    if (index == 0) return &overlay_path_scalar;
    if (index == 1 && ucb_cpu_runs_v3()) return &overlay_path_avx2;
    if (index == 2 && ucb_cpu_runs_v4()) return &overlay_path_avx512;
    return NULL;
}

const struct overlay_path *overlay_path_best(void)
{
    size_t i = 0;
    while (overlay_path_at(i + 1) != NULL) i++;
    return overlay_path_at(i);
}

struct search_run {
    const struct overlay_path *path;
    const struct overlay_bank *bank;
    const struct overlay_book *book;
    unsigned beam;
    const float *x;
    size_t n;
    uint16_t *first, *second;
    uint32_t *index;
};

static size_t chunk_end(const struct search_run *run, size_t from)
{
    return run->n - from < CHUNK ? run->n : from + CHUNK;
}

/* Which of the pairs is nearest to x; of equal ones the earlier. */
static size_t least_error(const struct overlay_bank *bank, const float *rest,
                          const uint32_t *second, size_t n_beam)
{
    size_t best = 0;
    float least = 0;
    for (size_t b = 0; b < n_beam; b++, rest += OVERLAY_D) {
        const float *c = bank->second.entry + (size_t)second[b] * OVERLAY_D;
        float error = 0;
        for (int d = 0; d < OVERLAY_D; d++) error += (rest[d] - c[d]) * (rest[d] - c[d]);
        if (b > 0 && !(error < least)) continue;
        least = error;
        best = b;
    }
    return best;
}

/* n of at most STEP vectors. */
static void assign_some(const struct search_run *run, size_t from, size_t n)
{
    uint32_t first[STEP][OVERLAY_BEAM], second[STEP * OVERLAY_BEAM];
    float rest[STEP * OVERLAY_BEAM][OVERLAY_D];
    const struct overlay_bank *bank = run->bank;
    size_t n_beam = bank->first.n < run->beam ? bank->first.n : run->beam;
    const float *x = run->x + from * OVERLAY_D;
    run->path->best(&bank->first, x, n, first);
    for (size_t i = 0; i < n; i++)
        for (size_t b = 0; b < n_beam; b++) {
            const float *c = bank->first.entry + (size_t)first[i][b] * OVERLAY_D;
            for (int d = 0; d < OVERLAY_D; d++)
                rest[i * n_beam + b][d] = x[i * OVERLAY_D + (size_t)d] - c[d];
        }
    run->path->nearest(&bank->second, rest[0], n * n_beam, second);
    for (size_t i = 0; i < n; i++) {
        size_t b = least_error(bank, rest[i * n_beam], second + i * n_beam, n_beam);
        run->first[from + i] = (uint16_t)first[i][b];
        run->second[from + i] = (uint16_t)second[i * n_beam + b];
    }
}

static void assign_chunk(void *context, size_t chunk)
{
    const struct search_run *run = context;
    for (size_t i = chunk * CHUNK, end = chunk_end(run, i); i < end; i += STEP)
        assign_some(run, i, end - i < STEP ? end - i : STEP);
}

void overlay_assign(const struct overlay_path *path, const struct overlay_bank *bank,
                    unsigned beam, const float *x, size_t n, struct ucb_pool *pool,
                    uint16_t *first, uint16_t *second)
{
    struct search_run run = {.path = path,
                             .bank = bank,
                             .beam = beam,
                             .x = x,
                             .n = n,
                             .first = first,
                             .second = second};
    ucb_parallel_for(pool, (n + CHUNK - 1) / CHUNK, assign_chunk, &run);
}

static void nearest_chunk(void *context, size_t chunk)
{
    const struct search_run *run = context;
    size_t from = chunk * CHUNK, end = chunk_end(run, from);
    run->path->nearest(run->book, run->x + from * OVERLAY_D, end - from, run->index + from);
}

void overlay_nearest(const struct overlay_path *path, const struct overlay_book *book,
                     const float *x, size_t n, struct ucb_pool *pool, uint32_t *index)
{
    struct search_run run = {.path = path, .book = book, .x = x, .n = n, .index = index};
    ucb_parallel_for(pool, (n + CHUNK - 1) / CHUNK, nearest_chunk, &run);
}
