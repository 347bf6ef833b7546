/*
 * A head that is read row by row: the bits of one in memory, and what its reader answers.
 */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "core/arena.h"
#include "core/pcg.h"

enum { IDS = 2100, HIDDEN = 72, ROWS = 150, MODELS = 3 };

static float *values(const char *name, size_t n)
{
    float *x = malloc(n * sizeof(*x));
    struct ucb_pcg random;
    CHECK(x != NULL);
    ucb_pcg_named(&random, 3, name);
    for (size_t i = 0; i < n; i++) x[i] = ucb_pcg_unit(&random) - 0.5f;
    return x;
}

struct heads {
    struct ucb_pool *pool;
    struct ucb_backend *backend;
    float *w[2], *hidden[MODELS], *bias;
    uint32_t target[ROWS];
    struct ucb_packed packed[2], absent;
    struct ucb_weight_rows rows[2];
    uint32_t fail_from; /* rows from here on are an error */
};
static struct heads *at_work;

static ucb_status give(void *context, uint32_t row, uint32_t n_rows, float *out,
                       struct ucb_err *err)
{
    const float *w = context;
    if (row >= at_work->fail_from)
        return UCB_FAIL(err, UCB_IO, "rows from %u on are lost", at_work->fail_from);
    memcpy(out, w + (size_t)row * HIDDEN, (size_t)n_rows * HIDDEN * sizeof(*out));
    return UCB_OK;
}

static void open_heads(struct heads *h, enum ucb_arithmetic arithmetic, unsigned n_threads)
{
    static const char *const names[] = {"w", "other w", "a", "b", "c", "bias"};
    struct ucb_err err;
    *h = (struct heads){.absent = {NULL, IDS, HIDDEN}, .fail_from = UINT32_MAX};
    at_work = h;
    CHECK_OK(ucb_pool_open(n_threads, &h->pool, &err), err);
    CHECK_OK(ucb_backend_open(arithmetic, UCB_KERNEL_AUTO, h->pool, &h->backend, &err),
             err);
    for (int i = 0; i < 2; i++) {
        h->w[i] = values(names[i], IDS * HIDDEN);
        h->packed[i] = (struct ucb_packed){
            ucb_mem_alloc(ucb_pack_bytes(h->backend, IDS, HIDDEN)), IDS, HIDDEN};
        ucb_pack(h->backend, h->w[i], &h->packed[i]);
        h->rows[i] = (struct ucb_weight_rows){give, h->w[i]};
    }
    for (int m = 0; m < MODELS; m++) h->hidden[m] = values(names[2 + m], ROWS * HIDDEN);
    h->bias = values(names[5], IDS);
    for (uint32_t i = 0; i < ROWS; i++) h->target[i] = i * 13;
}

static void close_heads(struct heads *h)
{
    for (int i = 0; i < 2; i++) {
        free(h->w[i]);
        ucb_mem_free(h->packed[i].data);
    }
    for (int m = 0; m < MODELS; m++) free(h->hidden[m]);
    free(h->bias);
    ucb_backend_close(h->backend);
    ucb_pool_close(h->pool);
}

/* Bit w of `read`: weight w is not in memory. The last model has the other weight. */
static ucb_status score(struct heads *h, unsigned read, size_t n_rows,
                        struct ucb_position *out, struct ucb_err *err)
{
    struct ucb_head models[MODELS];
    for (int m = 0; m < MODELS; m++) {
        int w = m == MODELS - 1;
        models[m] = (struct ucb_head){.weight = read >> w & 1 ? &h->absent : &h->packed[w],
                                      .rows = &h->rows[w],
                                      .hidden = h->hidden[m],
                                      .bias = h->bias,
                                      .softcap = 4};
    }
    return ucb_head_score(h->backend, models, MODELS, h->target, n_rows, out, err);
}

TEST(a_head_read_row_by_row_gives_the_bits_of_one_in_memory)
{
    static struct ucb_position expected[MODELS * ROWS], found[MODELS * ROWS];
    struct ucb_err err;
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++)
        for (unsigned n_threads = 1; n_threads <= 3; n_threads += 2) {
            struct heads h;
            open_heads(&h, (enum ucb_arithmetic)a, n_threads);
            memset(expected, 0, sizeof(expected));
            CHECK_OK(score(&h, 0, ROWS, expected, &err), err);
            for (unsigned read = 1; read < 4; read++) {
                memset(found, 0, sizeof(found));
                CHECK_OK(score(&h, read, ROWS, found, &err), err);
                CHECK(memcmp(found, expected, sizeof(found)) == 0);
            }
            close_heads(&h);
        }
}

TEST(what_the_reader_of_a_head_answers_ends_the_scoring)
{
    static struct ucb_position out[MODELS * ROWS];
    struct ucb_err err;
    struct heads h;
    open_heads(&h, UCB_ARITH_FP32, 2);
    h.fail_from = 1024;
    CHECK_STATUS(score(&h, 1, ROWS, out, &err), UCB_IO, err);
    CHECK_TEXT(err.text, "rows from 1024 on are lost");
    h.fail_from = UINT32_MAX;
    CHECK_OK(score(&h, 1, ROWS, out, &err), err);
    close_heads(&h);
}

/* The weight of 2100 x 72 takes 605 KB; blocks of rows, panels and logits do not grow with
 * the positions. */
TEST(a_head_read_row_by_row_takes_memory_that_does_not_grow_with_positions)
{
    static struct ucb_position out[MODELS * ROWS];
    struct ucb_err err;
    struct heads h;
    uint64_t peak[2];
    open_heads(&h, UCB_ARITH_FP32, 1);
    for (int i = 0; i < 2; i++) {
        ucb_mem_restart_peak();
        CHECK_OK(score(&h, 3, i == 0 ? 130 : 150, out, &err), err);
        peak[i] = ucb_mem_peak_bytes();
    }
    CHECK_EQ(peak[1], peak[0]);
    close_heads(&h);
}

/* ---- models of two arithmetics ---- */

static bool same_alone(const struct ucb_position *a, const struct ucb_position *b)
{
    return memcmp(&a->logp, &b->logp, sizeof(a->logp)) == 0 && a->argmax == b->argmax &&
           a->rank == b->rank;
}

/* One model by itself, in the arithmetic of `h`. */
static void score_alone(const struct heads *h, struct ucb_position *out)
{
    struct ucb_err err;
    const struct ucb_head model = {
        .weight = &h->packed[0], .hidden = h->hidden[0], .bias = h->bias, .softcap = 4};
    CHECK_OK(ucb_head_score(h->backend, &model, 1, h->target, ROWS, out, &err), err);
}

/* The same hidden states in both arithmetics; `read`: no weight is in memory. */
static void score_both(const struct heads *const sides[2], bool read,
                       struct ucb_backend *caller, struct ucb_position *out)
{
    struct ucb_err err;
    struct ucb_head models[2];
    for (int m = 0; m < 2; m++)
        models[m] = (struct ucb_head){.weight = read ? &sides[m]->absent
                                                     : &sides[m]->packed[0],
                                      .rows = &sides[m]->rows[0],
                                      .hidden = sides[0]->hidden[0],
                                      .bias = sides[0]->bias,
                                      .softcap = 4,
                                      .backend = sides[m]->backend};
    CHECK_OK(ucb_head_score(caller, models, 2, sides[0]->target, ROWS, out, &err), err);
}

TEST(two_arithmetics_in_one_call_give_the_bits_of_two_calls)
{
    static struct ucb_position alone[2][ROWS], both[2 * ROWS], again[2 * ROWS];
    for (int first = 0; first < UCB_N_STRICT_ARITHS; first++) {
        struct heads h[2];
        for (int m = 0; m < 2; m++) {
            open_heads(&h[m], (enum ucb_arithmetic)(m == 0 ? first : !first), 1 + 2 * m);
            score_alone(&h[m], alone[m]);
        }
        const struct heads *const sides[2] = {&h[0], &h[1]};
        score_both(sides, false, h[0].backend, both);
        size_t n_apart = 0;
        for (size_t i = 0; i < ROWS; i++) {
            CHECK(same_alone(&both[i], &alone[0][i]));
            CHECK(same_alone(&both[ROWS + i], &alone[1][i]));
            CHECK(both[i].kld == 0 && both[i].ear == 1);
            CHECK(fabsf(both[ROWS + i].kld) < 1e-3f && both[ROWS + i].ear > 0.99f);
            n_apart += both[ROWS + i].ear < 1;
        }
        CHECK(n_apart > ROWS / 2);
        /* Whoever calls, and wherever the weights are. */
        for (int k = 0; k < 4; k++) {
            memset(again, 0, sizeof(again));
            score_both(sides, k & 1, h[k >> 1].backend, again);
            CHECK(memcmp(again, both, sizeof(again)) == 0);
        }
        close_heads(&h[1]);
        close_heads(&h[0]);
    }
}

TEST(naming_the_calls_own_arithmetic_changes_nothing)
{
    static struct ucb_position both[2 * ROWS];
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++) {
        struct heads h;
        open_heads(&h, (enum ucb_arithmetic)a, 2);
        const struct heads *const sides[2] = {&h, &h};
        score_both(sides, false, h.backend, both);
        for (size_t i = 0; i < ROWS; i++)
            CHECK(both[ROWS + i].kld == 0 && both[ROWS + i].ear == 1);
        close_heads(&h);
    }
}
