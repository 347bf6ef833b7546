/*
 * bench_resident.c - products of a weight that stays encoded, beside the same weight
 * decoded and packed: seconds of both, taken in turns, for batches from one row to
 * thousands. Bits are compared first. A weight is 1536 x 576, as in SmolLM2-135M's MLP;
 * $UCB_BENCH_SHAPE (NxK) sets another one. Milliseconds are of all processors together,
 * which other programs lengthen little; the last column has the overhead by the clock.
 *
 * GB/s: bytes of the encoded matrix per second of its product. $UCB_BENCH_TILE sets the
 * rows of a tile.
 */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/half.h"
#include "core/pcg.h"
#include "core/progress.h"
#include "method/chain.h"
#include "method/payload.h"
#include "method/resident.h"

enum { MOST_ROWS = 2048, REPEATS = 7 };
static const size_t batches[] = {1, 8, 64, 512, 2048};
static const char *const specs[] = {"lossless:mode=fast", "lossless:mode=default",
                                    "int5+residual",      "nf4",
                                    "gguf:type=Q4_K",     "hqq:bits=4,group=64"};

struct both {
    struct ucb_backend *backend;
    struct ucb_packed packed;
    struct ucb_tiles tiles;
    float *w, *x, *y[2]; /* w: decoded */
};

static ucb_status decode(void *context, unsigned worker, uint32_t row, uint32_t n_rows,
                         uint32_t end, float *out, struct ucb_err *err)
{
    return ucb_resident_rows(context, worker, row, n_rows, end, out, err);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of a product: by the clock, and of all processors together. */
struct span {
    double wall, busy;
};

static struct span run(const struct both *b, bool encoded, size_t n_rows, size_t n_times)
{
    struct ucb_err err;
    struct span s = {-(double)ucb_clock_ns() * 1e-9, -(double)ucb_busy_ns() * 1e-9};
    for (size_t i = 0; i < n_times; i++)
        bench_require(
            encoded
                ? ucb_linear_tiles(b->backend, &b->tiles, NULL, b->x, n_rows, b->y[1], &err)
                : ucb_linear(b->backend, &b->packed, NULL, b->x, n_rows, b->y[0], &err),
            &err);
    s.wall = (s.wall + (double)ucb_clock_ns() * 1e-9) / (double)n_times;
    s.busy = (s.busy + (double)ucb_busy_ns() * 1e-9) / (double)n_times;
    return s;
}

/* Medians of both, and of their ratios; short products are repeated
 * to some milliseconds. */
static void measure(const struct both *b, const char *spec, size_t n_rows, size_t n_encoded)
{
    double decoded[REPEATS], encoded[REPEATS], wall[REPEATS], busy[REPEATS];
    double once = run(b, true, n_rows, 1).busy;
    run(b, false, n_rows, 1);
    bool same = memcmp(b->y[0], b->y[1], n_rows * b->packed.n_out * sizeof(float)) == 0;
    size_t inner = once < 4e-3 ? (size_t)(4e-3 / (once + 1e-6)) + 1 : 1;
    for (int i = 0; i < REPEATS; i++) {
        struct span d = run(b, false, n_rows, inner), e = run(b, true, n_rows, inner);
        decoded[i] = d.busy;
        encoded[i] = e.busy;
        wall[i] = e.wall / d.wall - 1;
        busy[i] = e.busy / d.busy - 1;
    }
    qsort(decoded, REPEATS, sizeof(double), by_size);
    qsort(encoded, REPEATS, sizeof(double), by_size);
    qsort(wall, REPEATS, sizeof(double), by_size);
    qsort(busy, REPEATS, sizeof(double), by_size);
    printf("  %-22s %5zu %10.3f %10.3f %8.2f %+9.1f %% [%+.1f, %+.1f]  %+9.1f %%  %s\n",
           spec, n_rows, decoded[REPEATS / 2] * 1e3, encoded[REPEATS / 2] * 1e3,
           (double)n_encoded / encoded[REPEATS / 2] * 1e-9, 100 * busy[REPEATS / 2],
           100 * busy[1], 100 * busy[REPEATS - 2], 100 * wall[REPEATS / 2],
           same ? "same bits" : "WRONG");
}

static float *normal(const char *name, size_t n, double deviation)
{
    float *x = malloc(n * sizeof(*x));
    struct ucb_pcg r;
    if (x == NULL) exit(4);
    ucb_pcg_named(&r, 1, name);
    for (size_t i = 0; i < n; i++) { /* Box and Muller; 1 - u is never 0 */
        double radius = sqrt(-2 * log(1 - (double)ucb_pcg_unit(&r))),
               turn = 6.283185307179586 * (double)ucb_pcg_unit(&r);
        x[i] = (float)(deviation * radius * cos(turn));
    }
    return x;
}

static void decode_alone(const struct both *b, struct ucb_chain *chain,
                         const struct ucb_chain_context *context,
                         const struct ucb_matrix *m, const struct ucb_writer *payload)
{
    struct ucb_err err;
    double best = INFINITY;
    for (int i = 0; i < 3; i++) {
        uint64_t start = ucb_clock_ns();
        ucb_arena_reset(context->arena);
        bench_require(ucb_chain_decode(chain, context, m, payload->data, payload->n_bytes,
                                       b->w, NULL, &err),
                      &err);
        best = fmin(best, (double)(ucb_clock_ns() - start) * 1e-9);
    }
    printf("  %-22s %.3f bits a weight, decode alone %.3f ms, %.2f GB/s of fp32\n",
           ucb_chain_spec(chain),
           8.0 * (double)payload->n_bytes / (m->n_out * (double)m->n_in), best * 1e3,
           4.0 * m->n_out * m->n_in / best * 1e-9);
}

static void run_spec(struct both *b, const char *spec, const struct ucb_matrix *m,
                     const uint16_t *bits, const float *w)
{
    struct ucb_arena kept = {0}, arena = {0}, opened = {0}, scratch = {0};
    struct ucb_chain *chain;
    struct ucb_writer out = {0}, *writer = &out;
    struct ucb_rooms *rooms;
    struct ucb_resident *resident;
    struct ucb_err err;
    struct ucb_chain_context context = {
        .pool = bench_pool(), .arena = &arena, .scratch = &scratch};
    struct ucb_source source = {.matrix = m, .w = w, .bits = bits};
    bench_require(ucb_chain_parse(spec, &kept, &chain, &err), &err);
    bench_require(ucb_chain_encode(chain, &context, &source, 1, &writer, &err), &err);
    decode_alone(b, chain, &context, m, &out);
    ucb_pack(b->backend, b->w, &b->packed);
    bench_require(ucb_rooms_open(ucb_pool_threads(bench_pool()), &rooms, &err), &err);
    context.arena = &opened;
    bench_require(ucb_resident_open(chain, &context, m, out.data, out.n_bytes, rooms,
                                    &resident, &err),
                  &err);
    const char *tile = getenv("UCB_BENCH_TILE");
    b->tiles = (struct ucb_tiles){.decode = decode,
                                  .context = resident,
                                  .n_out = m->n_out,
                                  .n_in = m->n_in,
                                  .tile_rows = tile == NULL ? 0 : (uint32_t)atoi(tile),
                                  .share_rows = ucb_resident_share_rows(resident)};
    for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++)
        measure(b, spec, batches[i], out.n_bytes);
    ucb_rooms_close(rooms);
    ucb_writer_free(&out);
    ucb_arena_free(&kept);
    ucb_arena_free(&arena);
    ucb_arena_free(&opened);
    ucb_arena_free(&scratch);
}

static void run_arithmetic(enum ucb_arithmetic arithmetic, const struct ucb_matrix *m,
                           const uint16_t *bits, const float *w)
{
    struct both b = {.x = normal("x", (size_t)MOST_ROWS * m->n_in, 1)};
    struct ucb_err err;
    bench_require(
        ucb_backend_open(arithmetic, UCB_KERNEL_AUTO, bench_pool(), &b.backend, &err),
        &err);
    b.packed = (struct ucb_packed){
        ucb_mem_alloc(ucb_pack_bytes(b.backend, m->n_out, m->n_in)), m->n_out, m->n_in};
    b.w = malloc(ucb_matrix_weights(m) * sizeof(float));
    for (int i = 0; i < 2; i++)
        b.y[i] = malloc((size_t)MOST_ROWS * m->n_out * sizeof(float));
    if (b.packed.data == NULL || b.w == NULL || b.y[0] == NULL || b.y[1] == NULL) exit(4);
    printf("resident: %u x %u, %s, %s, %u threads\n  %-22s %5s %10s %10s %8s %11s %28s\n",
           m->n_out, m->n_in, ucb_arithmetic_name(arithmetic),
           ucb_kernel_name(ucb_backend_kernel(b.backend)), ucb_pool_threads(bench_pool()),
           "", "rows", "decoded ms", "encoded ms", "GB/s", "overhead", "by the clock");
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
        run_spec(&b, specs[i], m, bits, w);
    ucb_mem_free(b.packed.data);
    ucb_backend_close(b.backend);
    free(b.w);
    free(b.x);
    free(b.y[0]);
    free(b.y[1]);
}

BENCH(resident)
{
    const char *shape = getenv("UCB_BENCH_SHAPE");
    struct ucb_matrix m = {
        .name = "m", .n_out = 1536, .n_in = 576, .role = UCB_ROLE_UP, .dtype = UCB_BF16};
    if (shape != NULL && sscanf(shape, "%ux%u", &m.n_out, &m.n_in) != 2) exit(2);
    size_t n = ucb_matrix_weights(&m);
    float *w = normal("w", n, 0.02);
    uint16_t *bits = malloc(n * sizeof(*bits));
    if (bits == NULL) exit(4);
    for (size_t i = 0; i < n; i++) {
        bits[i] = ucb_bf16_from_f32(w[i]);
        w[i] = ucb_bf16_widen(bits[i]);
    }
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++)
        run_arithmetic((enum ucb_arithmetic)a, &m, bits, w);
    free(bits);
    free(w);
}
