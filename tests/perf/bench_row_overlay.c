/*
 * bench_row_overlay.c - row_overlay's beam search, and a whole fit against the numbers it
 * is accepted by.
 *
 * The search is where its time goes: 8 nearest of 4096 entries, then for each the nearest
 * of 1024. Counted are the multiply-adds of all distances, two operations each. Verified
 * when the path and one thread give the scalar path's indices on the first 64 vectors.
 *
 * The fit: 2 million Gaussian weights, K 4096 and 1024, six rounds, encode included.
 * Verified when the energy of the error is within 1 % of the measured 0.0335 (see
 * tests/unit/test_row_overlay.c) and above 2^(-2 * 2.75) = 0.0221.
 */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../methods/row_overlay/overlay.h"
#include "core/pcg.h"
#include "method/chain.h"

enum { N_VECTORS = 1 << 15, K1 = 4096, K2 = 1024, CHECKED = 64 };
enum { FIT_ROWS = 1024, FIT_COLUMNS = 2048, FIT_WEIGHTS = FIT_ROWS * FIT_COLUMNS };
#define SEARCH_WORK (2.0 * OVERLAY_D * (K1 + OVERLAY_BEAM * K2) * N_VECTORS)

static void fill(float *out, size_t n, double deviation, const char *name)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, name);
    for (size_t i = 0; i < n; i++) { /* Box and Muller; 1 - u is never 0 */
        double radius = sqrt(-2 * log(1 - (double)ucb_pcg_unit(&r))),
               turn = 6.283185307179586 * (double)ucb_pcg_unit(&r);
        out[i] = (float)(deviation * radius * cos(turn));
    }
}

/* ---- the search ---- */

struct search {
    const struct overlay_path *path;
    struct overlay_bank bank;
    float *x;
    uint16_t *first, *second;
};

static void search(void *context)
{
    struct search *s = context;
    overlay_assign(s->path, &s->bank, OVERLAY_BEAM, s->x, N_VECTORS, bench_pool(), s->first,
                   s->second);
}

static bool verify_search(struct search *s)
{
    uint16_t first[CHECKED], second[CHECKED];
    overlay_assign(overlay_path_at(0), &s->bank, OVERLAY_BEAM, s->x, CHECKED, NULL, first,
                   second);
    search(s);
    return memcmp(first, s->first, sizeof(first)) == 0 &&
           memcmp(second, s->second, sizeof(second)) == 0;
}

static void bench_search(struct ucb_arena *arena)
{
    static const enum ucb_kernel kernels[] = {UCB_KERNEL_SCALAR, UCB_KERNEL_AVX2,
                                              UCB_KERNEL_AVX512};
    struct search s = {.x = UCB_NEW(arena, float, (size_t)N_VECTORS *OVERLAY_D),
                       .first = UCB_NEW(arena, uint16_t, N_VECTORS),
                       .second = UCB_NEW(arena, uint16_t, N_VECTORS)};
    if (!overlay_book_alloc(arena, K1, true, &s.bank.first) ||
        !overlay_book_alloc(arena, K2, true, &s.bank.second) || s.x == NULL ||
        s.first == NULL || s.second == NULL)
        exit(4);
    fill(s.x, (size_t)N_VECTORS * OVERLAY_D, 0.3, "vectors");
    fill(s.bank.first.entry, (size_t)K1 * OVERLAY_D, 0.3, "first entries");
    fill(s.bank.second.entry, (size_t)K2 * OVERLAY_D, 0.1, "second entries");
    overlay_book_lay(&s.bank.first);
    overlay_book_lay(&s.bank.second);
    for (size_t p = 1; (s.path = overlay_path_at(p)) != NULL; p++) {
        struct bench_row row = {.what = "row_overlay search, K 4096+1024",
                                .kernel = kernels[p],
                                .arithmetic = "fp32",
                                .work = SEARCH_WORK,
                                .unit = "GFLOP/s",
                                .run = search,
                                .context = &s,
                                .verified = verify_search(&s)};
        bench_row(&row);
    }
}

/* ---- the fit ---- */

struct whole_fit {
    struct ucb_chain *chain;
    struct ucb_chain_context context;
    struct ucb_matrix matrix;
    struct ucb_source source;
    struct ucb_writer shared, payload;
    bool given;
};

static ucb_status give(void *context, const struct ucb_source **out, struct ucb_err *err)
{
    struct whole_fit *f = context;
    (void)err;
    *out = f->given ? NULL : &f->source;
    f->given = true;
    return UCB_OK;
}

static void give_again(void *context)
{
    struct whole_fit *f = context;
    f->given = false;
}

static void fit(void *context)
{
    struct whole_fit *f = context;
    struct ucb_stream stream = {.n_matrices = 1,
                                .n_weights = FIT_WEIGHTS,
                                .next = give,
                                .rewind = give_again,
                                .context = f};
    struct ucb_writer *out = &f->payload;
    struct ucb_err err;
    bench_require(ucb_chain_fit_shared(f->chain, &f->context, &stream, &f->shared, &err),
                  &err);
    f->context.shared = f->shared.data;
    f->context.n_shared = f->shared.n_bytes;
    bench_require(ucb_chain_encode(f->chain, &f->context, &f->source, 1, &out, &err), &err);
}

static bool verify_fit(struct whole_fit *f, float *decoded)
{
    struct ucb_err err;
    double off = 0, all = 0;
    fit(f);
    bench_require(ucb_chain_decode(f->chain, &f->context, &f->matrix, f->payload.data,
                                   f->payload.n_bytes, decoded, NULL, &err),
                  &err);
    for (size_t i = 0; i < FIT_WEIGHTS; i++) {
        double w = f->source.w[i];
        off += (w - decoded[i]) * (w - decoded[i]);
        all += w * w;
    }
    return fabs(off / all - 0.0335) < 0.01 * 0.0335 && off / all > 0.0221;
}

static void bench_fit(struct ucb_arena *kept)
{
    struct ucb_arena arena = {0}, scratch = {0};
    float *w = UCB_NEW(kept, float, FIT_WEIGHTS),
          *decoded = UCB_NEW(kept, float, FIT_WEIGHTS);
    struct whole_fit f = {
        .context = {.pool = bench_pool(), .arena = &arena, .scratch = &scratch, .seed = 1},
        .matrix = {.name = "m", .n_out = FIT_ROWS, .n_in = FIT_COLUMNS, .dtype = UCB_F32}};
    struct ucb_err err;
    if (w == NULL || decoded == NULL) exit(4);
    fill(w, FIT_WEIGHTS, 1, "gaussian rows");
    f.source = (struct ucb_source){.matrix = &f.matrix, .w = w, .finite = true};
    bench_require(
        ucb_chain_parse("row_overlay:rows=none,k1=4096,k2=1024", kept, &f.chain, &err),
        &err);
    struct bench_row row = {.what = "row_overlay fit and encode, 2 Mw",
                            .arithmetic = "",
                            .work = FIT_WEIGHTS,
                            .unit = "Gw/s",
                            .run = fit,
                            .context = &f,
                            .verified = verify_fit(&f, decoded),
                            .slow = true};
    bench_row(&row);
    ucb_writer_free(&f.shared);
    ucb_writer_free(&f.payload);
    ucb_arena_free(&arena);
    ucb_arena_free(&scratch);
}

BENCH(row_overlay)
{
    struct ucb_arena kept = {0};
    bench_search(&kept);
    bench_fit(&kept);
    ucb_arena_free(&kept);
}
