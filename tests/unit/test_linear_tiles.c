/* A weight given row by row: the bits of ucb_linear() over the same weight packed, whatever
 * the tiles, shares, threads and kernel path; and what its decoder answers. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "core/arena.h"
#include "core/pcg.h"

/* Signs and sizes over many binades: a sum in another order has other bits. */
static float *values(const char *name, size_t n)
{
    float *x = malloc(n * sizeof(*x));
    struct ucb_pcg random;
    CHECK(x != NULL);
    ucb_pcg_named(&random, 5, name);
    for (size_t i = 0; i < n; i++) {
        float size = (float)(1u << ucb_pcg_below(&random, 20));
        x[i] = (ucb_pcg_unit(&random) - 0.5f) * size;
    }
    return x;
}

struct given {
    const float *w;
    uint32_t n_in, n_out, fail_from;
    uint32_t next[8]; /* of each worker: the row after its last one */
    uint32_t end[8];
};

static ucb_status give(void *context, unsigned worker, uint32_t row, uint32_t n_rows,
                       uint32_t end, float *out, struct ucb_err *err)
{
    struct given *g = context;
    if (n_rows == 0 || n_rows > 32 || row % 32 != 0 || row + n_rows > end ||
        end > g->n_out || (g->next[worker] != g->end[worker] && row != g->next[worker]))
        return UCB_FAIL(err, UCB_USAGE, "rows %u of %u asked for out of order", row, end);
    if (row >= g->fail_from)
        return UCB_FAIL(err, UCB_CORRUPT, "rows from %u on are lost", g->fail_from);
    g->next[worker] = row + n_rows;
    g->end[worker] = end;
    memcpy(out, g->w + (size_t)row * g->n_in, (size_t)n_rows * g->n_in * sizeof(*out));
    return UCB_OK;
}

struct shape {
    uint32_t n_out, n_in;
    size_t n_rows;
};
static const struct shape shapes[] = {{1, 1, 1},      {31, 7, 3},     {33, 257, 1},
                                      {192, 64, 65},  {300, 96, 129}, {70, 513, 150},
                                      {1000, 33, 17}, {64, 300, 33}};

/* Every way to cut one product, against the packed weight. */
static void check_shape(struct ucb_backend *backend, const struct shape *s, bool biased)
{
    static const uint32_t tiles[] = {0, 32, 64, 256}, shares[] = {0, 40, 5000};
    float *w = values("w", (size_t)s->n_out * s->n_in),
          *x = values("x", s->n_rows * s->n_in), *bias = values("bias", s->n_out);
    size_t n_bytes = s->n_rows * s->n_out * sizeof(float);
    float *expected = malloc(n_bytes), *found = malloc(n_bytes);
    struct ucb_packed packed = {ucb_mem_alloc(ucb_pack_bytes(backend, s->n_out, s->n_in)),
                                s->n_out, s->n_in};
    struct ucb_err err;
    CHECK(expected != NULL && found != NULL && packed.data != NULL);
    ucb_pack(backend, w, &packed);
    CHECK_OK(
        ucb_linear(backend, &packed, biased ? bias : NULL, x, s->n_rows, expected, &err),
        err);
    for (size_t i = 0; i < sizeof(tiles) / sizeof(tiles[0]); i++)
        for (size_t k = 0; k < sizeof(shares) / sizeof(shares[0]); k++) {
            struct given g = {
                .w = w, .n_in = s->n_in, .n_out = s->n_out, .fail_from = UINT32_MAX};
            struct ucb_tiles t = {give, &g, s->n_out, s->n_in, tiles[i], shares[k]};
            memset(found, 0xff, n_bytes);
            CHECK_OK(ucb_linear_tiles(backend, &t, biased ? bias : NULL, x, s->n_rows,
                                      found, &err),
                     err);
            if (memcmp(found, expected, n_bytes) != 0)
                ucb_test_fail(__FILE__, __LINE__, "%u x %u, %zu rows, tile %u, share %u",
                              s->n_out, s->n_in, s->n_rows, tiles[i], shares[k]);
        }
    ucb_mem_free(packed.data);
    free(w);
    free(x);
    free(bias);
    free(expected);
    free(found);
}

TEST(a_weight_given_in_tiles_gives_the_bits_of_a_packed_one)
{
    struct ucb_err err;
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++)
        for (int k = UCB_KERNEL_SCALAR; k < UCB_N_KERNELS; k++) {
            if (!ucb_kernel_available((enum ucb_kernel)k, (enum ucb_arithmetic)a, NULL))
                continue;
            for (unsigned threads = 1; threads <= 3; threads++) {
                struct ucb_pool *pool;
                struct ucb_backend *backend;
                CHECK_OK(ucb_pool_open(threads, &pool, &err), err);
                CHECK_OK(ucb_backend_open((enum ucb_arithmetic)a, (enum ucb_kernel)k, pool,
                                          &backend, &err),
                         err);
                for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
                    check_shape(backend, &shapes[i], i % 2 == 0);
                ucb_backend_close(backend);
                ucb_pool_close(pool);
            }
        }
}

TEST(what_the_decoder_of_tiles_answers_ends_the_product)
{
    struct ucb_err err;
    struct ucb_pool *pool;
    struct ucb_backend *backend;
    float *w = values("w", 200 * 8), *x = values("x", 8), y[200];
    struct given g = {.w = w, .n_in = 8, .n_out = 200, .fail_from = 96};
    struct ucb_tiles t = {give, &g, 200, 8, 32, 0};
    CHECK_OK(ucb_pool_open(2, &pool, &err), err);
    CHECK_OK(ucb_backend_open(UCB_ARITH_FP32, UCB_KERNEL_AUTO, pool, &backend, &err), err);
    CHECK_STATUS(ucb_linear_tiles(backend, &t, NULL, x, 1, y, &err), UCB_CORRUPT, err);
    CHECK_TEXT(err.text, "rows from 96 on are lost");
    g = (struct given){.w = w, .n_in = 8, .n_out = 200, .fail_from = UINT32_MAX};
    CHECK_OK(ucb_linear_tiles(backend, &t, NULL, x, 1, y, &err), err);
    CHECK_OK(ucb_linear_tiles(backend, &t, NULL, NULL, 0, NULL, &err), err);
    ucb_backend_close(backend);
    ucb_pool_close(pool);
    free(w);
    free(x);
}

/* Beside the batch's slabs a thread has one tile and 32 decoded rows: a weight of twice the
 * rows takes no more. */
TEST(a_weight_given_in_tiles_takes_memory_that_does_not_grow_with_its_rows)
{
    enum { IN = 600, ROWS = 5 };
    struct ucb_err err;
    float *w = values("w", (size_t)8000 * IN), *x = values("x", ROWS * IN),
          *y = malloc((size_t)8000 * ROWS * sizeof(*y));
    uint64_t peak[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct ucb_backend *backend;
        struct given g = {
            .w = w, .n_in = IN, .n_out = 4000 * (i + 1), .fail_from = UINT32_MAX};
        struct ucb_tiles t = {give, &g, g.n_out, IN, 0, 0};
        CHECK_OK(ucb_backend_open(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL, &backend, &err),
                 err);
        ucb_mem_restart_peak();
        CHECK_OK(ucb_linear_tiles(backend, &t, NULL, x, ROWS, y, &err), err);
        peak[i] = ucb_mem_peak_bytes();
        ucb_backend_close(backend);
    }
    CHECK(peak[1] < peak[0] + (64 << 10)); /* 4000 rows more are 9.6 MB */
    free(w);
    free(x);
    free(y);
}
