/* gptq over random shapes and knobs: to the bit what the published loop gives row by row,
 * for any thread count, and what it does where there is nothing to learn from. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/dense.h"
#include "core/half.h"
#include "method_fixture.h"

enum { N_ROUNDS = 120, MAX_OUT = 70, MAX_IN = 150, MAX_TOKENS = 200 };

struct setting {
    int bits, group, sym, act_order, static_groups, block;
    uint32_t n_out, n_in, n_tokens; /* n_tokens 0: plain rounding */
};

static const char *spec_of(const struct setting *s)
{
    return ucb_test_path(
        "gptq:bits=%d,group=%d,sym=%d,act_order=%d,static_groups=%d,block=%d", s->bits,
        s->group, s->sym, s->act_order, s->static_groups, s->block);
}

/* ---- the plain loop ---- */

struct grid {
    float scale, zero;
};

static struct grid plain_grid(const struct setting *s, const float *x, size_t n)
{
    float low = 0, high = 0, top = (float)((1 << s->bits) - 1);
    for (size_t i = 0; i < n; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    if (s->sym) high = fmaxf(fabsf(low), high);
    if (s->sym && low < 0) low = -high;
    if (low == 0 && high == 0) low = -1, high = 1;
    struct grid g = {(high - low) / top, 0};
    g.zero = s->sym ? (top + 1) / 2 : rintf(-low / g.scale);
    return g;
}

struct learned {
    double u[MAX_IN * MAX_IN];
    size_t order[MAX_IN];
    bool dead[MAX_IN];
};

/* Order of the columns and U; without tokens the order is the columns' own. */
static void plain_factor(const struct setting *s, const struct ucb_calib *calib,
                         struct learned *out)
{
    size_t n = s->n_in, pivot;
    double diagonal[MAX_IN], mean = 0, factor = 2 * (double)s->n_tokens;
    struct ucb_arena scratch = {0};
    struct ucb_err err;
    for (size_t j = 0; j < n; j++) {
        diagonal[j] = s->n_tokens == 0 ? 1 : factor * calib->second_moment[j * n + j];
        out->dead[j] = diagonal[j] == 0;
        if (out->dead[j]) diagonal[j] = 1;
        mean += diagonal[j];
    }
    mean /= (double)n;
    for (size_t p = 0; p < n; p++) out->order[p] = p;
    if (s->n_tokens == 0) return;
    for (size_t p = 0; p < n && s->act_order; p++) { /* the first largest of what is left */
        size_t best = p, kept;
        for (size_t q = p + 1; q < n; q++) {
            double a = diagonal[out->order[q]], b = diagonal[out->order[best]];
            if (a > b || (a == b && out->order[q] < out->order[best])) best = q;
        }
        kept = out->order[p];
        out->order[p] = out->order[best];
        out->order[best] = kept;
    }
    for (size_t p = 0; p < n; p++)
        for (size_t q = 0; q < n; q++)
            out->u[p * n + q] =
                p == q ? diagonal[out->order[p]] + 0.01 * mean
                       : factor * calib->second_moment[out->order[p] * n + out->order[q]];
    CHECK_OK(ucb_dense_inverse_factor(out->u, n, NULL, &scratch, &pivot, &err), err);
    ucb_arena_free(&scratch);
}

/* One row by the published loop: B is a copy of the block, grids are fitted on W. Values
 * are those of the half-precision scales. */
static void plain_row(const struct setting *s, const struct learned *l, const float *w,
                      uint8_t *codes, float *values)
{
    size_t n = s->n_in, group = s->group < 0 ? n : (size_t)s->group;
    float row[MAX_IN], b[MAX_IN], e[MAX_IN], cleared[MAX_IN],
        top = (float)((1 << s->bits) - 1);
    struct grid whole = plain_grid(s, w, n), grid = whole;
    bool learns = s->n_tokens > 0;
    for (size_t j = 0; j < n; j++) cleared[j] = learns && l->dead[j] ? 0 : w[j];
    for (size_t p = 0; p < n; p++) row[p] = cleared[l->order[p]];
    for (size_t first = 0; first < n; first += (size_t)s->block) {
        size_t last = first + (size_t)s->block < n ? first + (size_t)s->block : n;
        memcpy(b, row, sizeof(b));
        for (size_t p = first; p < last; p++) {
            size_t column = l->order[p], start = column / group * group;
            if (s->group > 0 && s->static_groups)
                grid = plain_grid(s, cleared + start,
                                  n - start < group ? n - start : group);
            else if (s->group > 0 && p % group == 0)
                grid = plain_grid(s, row + p, n - p < group ? n - p : group);
            float code = rintf(b[p] / grid.scale) + grid.zero;
            code = fminf(fmaxf(code, 0), top);
            codes[column] = (uint8_t)code;
            values[column] = ucb_f16_round(grid.scale) * (code - grid.zero);
            e[p] = (b[p] - grid.scale * (code - grid.zero)) / (float)l->u[p * n + p];
            for (size_t k = p + 1; k < last && learns; k++)
                b[k] -= e[p] * (float)l->u[p * n + k];
        }
        for (size_t k = last; k < n && learns; k++) {
            float sum = 0;
            for (size_t p = first; p < last; p++) sum += e[p] * (float)l->u[p * n + k];
            row[k] -= sum;
        }
    }
}

/* ---- against the method ---- */

static void random_setting(struct ucb_pcg *r, struct setting *s)
{
    static const int bits[] = {2, 3, 4, 8};
    *s = (struct setting){
        .bits = bits[ucb_pcg_below(r, 4)],
        .group = ucb_pcg_below(r, 5) == 0 ? -1 : 2 + (int)ucb_pcg_below(r, 60),
        .sym = (int)ucb_pcg_below(r, 2),
        .act_order = (int)ucb_pcg_below(r, 2),
        .static_groups = (int)ucb_pcg_below(r, 2),
        .block = 1 + (int)ucb_pcg_below(r, 60),
        .n_out = 1 + ucb_pcg_below(r, MAX_OUT),
        .n_in = 1 + ucb_pcg_below(r, MAX_IN),
        .n_tokens = ucb_pcg_below(r, 6) == 0 ? 0 : 1 + ucb_pcg_below(r, MAX_TOKENS)};
}

/* Weights with rows of zeros and rows of one sign; inputs with dead columns and equal ones
 * (ties of the order). */
static void random_data(struct ucb_pcg *r, const struct setting *s, float *w, float *x)
{
    for (uint32_t row = 0; row < s->n_out; row++) {
        unsigned kind = ucb_pcg_below(r, 5);
        for (uint32_t j = 0; j < s->n_in; j++) {
            float v = 2 * ucb_pcg_unit(r) - 1;
            w[row * s->n_in + j] = kind == 0 ? 0 : kind == 1 ? fabsf(v) : v * v * v;
        }
    }
    for (uint32_t t = 0; t < s->n_tokens; t++) {
        float shared = ucb_pcg_unit(r), *row = x + t * s->n_in;
        for (uint32_t j = 0; j < s->n_in; j++)
            row[j] = j % 11 == 7 ? 0
                     : j % 13 == 5
                         ? row[j - 1]
                         : (2 * ucb_pcg_unit(r) - 1 + shared) * (1 + (float)(j % 7));
    }
}

static void run_round(uint64_t seed)
{
    static float w[MAX_OUT * MAX_IN], x[MAX_TOKENS * MAX_IN], values[MAX_IN];
    static struct learned learned;
    uint8_t codes[MAX_IN];
    struct ucb_pcg r;
    struct setting s;
    struct method_fixture one, many;
    struct ucb_err err;
    ucb_pcg_named(&r, seed, "gptq");
    random_setting(&r, &s);
    random_data(&r, &s, w, x);
    fixture_open(&one, spec_of(&s), s.n_out, s.n_in, UCB_F32, 1);
    fixture_open(&many, spec_of(&s), s.n_out, s.n_in, UCB_F32, 7);
    struct ucb_calib calib = calib_of(x, s.n_tokens, s.n_in, &one.kept);
    one.calib = many.calib = &calib;
    fixture_run(&one, w);
    CHECK_OK(fixture_try_encode(&many, w, &err), err);
    CHECK_EQ(one.out.n_bytes, many.out.n_bytes);
    CHECK(memcmp(one.out.data, many.out.data, one.out.n_bytes) == 0);
    plain_factor(&s, &calib, &learned);
    const uint8_t *found = fixture_role(&one, "codes")->data;
    for (uint32_t row = 0; row < s.n_out; row++) {
        plain_row(&s, &learned, w + row * s.n_in, codes, values);
        for (uint32_t j = 0; j < s.n_in; j++)
            if (found[row * s.n_in + j] != codes[j] ||
                one.decoded[row * s.n_in + j] != values[j])
                ucb_test_fail(__FILE__, __LINE__,
                              "UCB_SEED=%llu: %s, %u x %u, %u tokens: row %u, column %u is "
                              "code %d, %.9g; expected %d, %.9g",
                              (unsigned long long)seed, spec_of(&s), s.n_out, s.n_in,
                              s.n_tokens, row, j, found[row * s.n_in + j],
                              (double)one.decoded[row * s.n_in + j], codes[j],
                              (double)values[j]);
    }
    fixture_close(&one);
    fixture_close(&many);
}

TEST(gptq_is_the_published_loop_row_by_row_to_the_bit)
{
    const char *replay = getenv("UCB_SEED");
    if (replay != NULL) run_round(strtoull(replay, NULL, 10));
    for (uint64_t seed = 1; replay == NULL && seed <= N_ROUNDS; seed++) run_round(seed);
}

/* ---- what surrounds the loop ---- */

TEST(gptq_without_tokens_or_statistics_rounds_to_nearest)
{
    enum { N_OUT = 40, N_IN = 200 };
    static float w[N_OUT * N_IN];
    struct method_fixture f;
    struct ucb_err err;
    const struct ucb_calib nothing = {.n_tokens = 0};
    fill_gaussian(w, N_OUT * N_IN, 1, "nearest");
    fixture_open(&f, "gptq:act_order=1", N_OUT, N_IN, UCB_F32, 2);
    f.calib = &nothing;
    fixture_run(&f, w);
    /* A grid of 15 steps over at most 10 deviations, and the rounding of its scale. */
    for (size_t i = 0; i < N_OUT * N_IN; i++)
        CHECK_NEAR(f.decoded[i], w[i], 0.5 * 10 / 15.0 + 0.005);
    struct ucb_writer kept = f.out;
    f.out = (struct ucb_writer){0};
    f.calib = NULL;
    CHECK_OK(fixture_try_encode(&f, w, &err), err);
    CHECK_EQ(f.out.n_bytes, kept.n_bytes);
    CHECK(memcmp(f.out.data, kept.data, kept.n_bytes) == 0);
    ucb_writer_free(&kept);
    fixture_close(&f);
}

TEST(gptq_takes_matrices_of_one_input_together_and_writes_what_each_alone_gets)
{
    enum { N = 3, N_OUT = 20, N_IN = 72 };
    static float w[N][N_OUT * N_IN];
    struct method_fixture f;
    struct ucb_err err;
    struct ucb_writer together[N] = {0}, *out[N];
    struct ucb_source src[N];
    struct ucb_calib other;
    fixture_open(&f, "gptq:group=24", N_OUT, N_IN, UCB_F32, 2);
    CHECK(ucb_chain_groups(f.chain, &f.matrix, &f.matrix));
    CHECK(ucb_chain_is_sequential(f.chain));
    f.context.trace = NULL;
    fill_gaussian(w[0], N * N_OUT * N_IN, 1, "together");
    other = calib_of(w[0], N_OUT, N_IN, &f.kept); /* the last reads something else */
    for (int i = 0; i < N; i++) {
        src[i] = (struct ucb_source){
            .matrix = &f.matrix, .w = w[i], .calib = i == N - 1 ? &other : f.calib};
        out[i] = &together[i];
    }
    CHECK_OK(ucb_chain_encode(f.chain, &f.context, src, N, out, &err), err);
    for (int i = 0; i < N; i++) {
        f.calib = src[i].calib;
        CHECK_OK(fixture_try_encode(&f, w[i], &err), err);
        CHECK_EQ(f.out.n_bytes, together[i].n_bytes);
        CHECK(memcmp(f.out.data, together[i].data, f.out.n_bytes) == 0);
        ucb_writer_free(&together[i]);
    }
    fixture_close(&f);
}

TEST(gptq_counts_sequences_where_a_dead_column_makes_the_size_of_the_hessian_matter)
{
    enum { N_OUT = 4, N_IN = 16, N_TOKENS = 64 };
    static float w[N_OUT * N_IN], x[N_TOKENS * N_IN];
    struct method_fixture f;
    fill_gaussian(w, N_OUT * N_IN, 1, "w");
    fill_gaussian(x, N_TOKENS * N_IN, 0.01, "x");
    for (int t = 0; t < N_TOKENS; t++) x[t * N_IN + 3] = 0;
    fixture_open(&f, "gptq:group=8", N_OUT, N_IN, UCB_F32, 1);
    struct ucb_calib calib = calib_of(x, N_TOKENS, N_IN, &f.kept);
    calib.n_sequences = 16;
    f.calib = &calib;
    fixture_run(&f, w);
    const float *diagonal = fixture_role(&f, "hessian_diag")->data;
    CHECK_EQ(fixture_role(&f, "hessian_diag")->n, N_IN);
    for (int j = 0; j < N_IN; j++)
        CHECK_NEAR(diagonal[j], 2 * 64 / 16 * calib.second_moment[j * (N_IN + 1)], 1e-9);
    for (int row = 0; row < N_OUT; row++) CHECK(f.decoded[row * N_IN + 3] == 0);
    fixture_close(&f);
}

TEST(gptq_refuses_a_hessian_that_is_not_positive_definite_and_names_the_knob)
{
    enum { N_IN = 8 };
    float w[2 * N_IN], x[N_IN];
    struct method_fixture f;
    struct ucb_err err;
    struct ucb_arena kept = {0};
    fill_gaussian(w, 2 * N_IN, 1, "w");
    for (int j = 0; j < N_IN; j++) x[j] = 2; /* one token: rank one */
    fixture_open(&f, "gptq:damp=0", 2, N_IN, UCB_F32, 1);
    struct ucb_calib calib = calib_of(x, 1, N_IN, &kept);
    calib.n_sequences = 2; /* a Hessian of fours, whose roots are exact */
    f.calib = &calib;
    CHECK_STATUS(fixture_try_encode(&f, w, &err), UCB_UNSUPPORTED, err);
    CHECK_HAS(err.text, "m: ");
    CHECK_HAS(err.text, "try damp=0.01");
    fixture_close(&f);
    fixture_open(&f, "gptq", 2, N_IN, UCB_F32, 1);
    f.calib = &calib;
    CHECK_OK(fixture_try_encode(&f, w, &err), err);
    w[0] = 1e9f; /* a scale past the largest half */
    CHECK_STATUS(fixture_try_encode(&f, w, &err), UCB_UNSUPPORTED, err);
    CHECK_HAS(err.text, "past the largest half");
    fixture_close(&f);
    ucb_arena_free(&kept);
}

TEST(gptq_costs_what_the_deployed_layout_holds)
{
    static float w[128 * 512];
    struct method_fixture f;
    struct ucb_err err;
    fill_gaussian(w, 128 * 512, 1, "w");
    fixture_open(&f, "gptq", 128, 512, UCB_F32, 1);
    f.context.trace = NULL;
    CHECK_OK(fixture_try_encode(&f, w, &err), err);
    CHECK_EQ(f.out.n_bytes * 8 * 100000 / (128 * 512), 415625);
    CHECK_EQ(f.out.part_bytes[UCB_PART_CODES], 128 * 512 / 2);
    CHECK_EQ(f.out.part_bytes[UCB_PART_SCALES], 128 * 4 * 2);
    CHECK_EQ(f.out.part_bytes[UCB_PART_ZEROS], 128 * 4 / 2);
    CHECK_TEXT(ucb_chain_spec(f.chain), "gptq:bits=4,group=128");
    fixture_close(&f);
}

TEST(gptq_refuses_an_index_of_a_group_that_does_not_exist_and_stray_bits)
{
    enum { N_OUT = 5, N_IN = 33 };
    float w[N_OUT * N_IN], decoded[N_OUT * N_IN];
    struct method_fixture f;
    struct ucb_err err;
    fill_gaussian(w, N_OUT * N_IN, 1, "w");
    fixture_open(&f, "gptq:group=16,act_order=1", N_OUT, N_IN, UCB_F32, 1);
    CHECK_OK(fixture_try_encode(&f, w, &err), err);
    CHECK_EQ(f.out.n_bytes, 4 * 5 * N_OUT + 2 * 3 * N_OUT + 4 * 3 + 4 * N_IN);
    const size_t places[] = {f.out.n_bytes - 4, 4 * 5 * N_OUT - 1,
                             4 * 5 * N_OUT + 2 * 3 * N_OUT + 3};
    const char *messages[] = {"of group 3 of 3", "output 4", "group 0"};
    for (int i = 0; i < 3; i++) {
        uint8_t kept = f.out.data[places[i]];
        f.out.data[places[i]] = i == 0 ? 3 : 0x80;
        CHECK_STATUS(ucb_chain_decode(f.chain, &f.context, &f.matrix, f.out.data,
                                      f.out.n_bytes, decoded, NULL, &err),
                     UCB_CORRUPT, err);
        CHECK_HAS(err.text, messages[i]);
        f.out.data[places[i]] = kept;
    }
    fixture_close(&f);
}
