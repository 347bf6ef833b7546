/* awq: its grid on hand-made groups, its error forms against plain loops, and who shares,
 * skips and refuses what. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "../../methods/awq/awq.h"
#include "../../methods/awq/awq_moment.h"
#include "core/half.h"
#include "core/pcg.h"
#include "method_fixture.h"

enum { LANES = 16, MAX_N = 40 };

/* ---- the grid ---- */

/* One row of one group, 4 bits, S = 1. */
static void quantize(const float *w, uint32_t n, const float *limit, bool half,
                     uint8_t *code, float *scale, float *zero)
{
    struct ucb_arena scratch = {0};
    struct ucb_job job = {.scratch = &scratch};
    struct awq_config config = {.bits = 4, .group = n};
    struct ucb_matrix m = {.name = "m", .n_out = 1, .n_in = n};
    struct ucb_source src = {.matrix = &m, .w = w};
    struct awq_codes out = {code, scale, zero};
    float ones[MAX_N];
    for (uint32_t i = 0; i < n; i++) ones[i] = 1;
    CHECK_EQ(awq_quantize(&job, &config, &src, ones, limit, half, &out, NULL), UCB_OK);
    ucb_arena_free(&scratch);
}

static void check_codes(const float *w, bool half, float scale, float zero,
                        const uint8_t *expected)
{
    uint8_t code[4];
    float found_scale, found_zero;
    quantize(w, 4, NULL, half, code, &found_scale, &found_zero);
    CHECK(found_scale == scale);
    CHECK(found_zero == zero);
    for (int i = 0; i < 4; i++) CHECK_EQ(code[i], expected[i]);
}

TEST(awq_rounds_to_the_nearest_step_and_ties_to_even)
{
    static const float w[] = {-1.75f, 0.125f, 0.375f, 2.0f}; /* steps of 1/4, zero at 7 */
    check_codes(w, false, 0.25f, 7, (const uint8_t[]){0, 7, 9, 15});
    check_codes(w, true, 0.25f, 7, (const uint8_t[]){0, 7, 9, 15});
}

TEST(awq_saturates_a_group_on_one_side_of_zero)
{
    static const float above[] = {3.0f, 3.25f, 3.5f, 6.75f};
    static const float below[] = {-3.0f, -3.25f, -3.5f, -6.75f};
    check_codes(above, false, 0.25f, 0, (const uint8_t[]){12, 13, 14, 15});
    check_codes(below, false, 0.25f, 15, (const uint8_t[]){3, 2, 1, 0});
    check_codes(above, true, 0.25f, 0, (const uint8_t[]){12, 13, 14, 15});
    check_codes(below, true, 0.25f, 15, (const uint8_t[]){3, 2, 1, 0});
}

TEST(awq_gives_a_constant_group_the_smallest_step_and_the_end_of_its_codes)
{
    static const float zeros[4], above[] = {0.5f, 0.5f, 0.5f, 0.5f},
                                 below[] = {-0.5f, -0.5f, -0.5f, -0.5f};
    float step = 1e-5f / 15, half_step = ucb_f16_round(ucb_f16_round(1e-5f) / 15);
    check_codes(zeros, false, step, 0, (const uint8_t[]){0, 0, 0, 0});
    check_codes(above, false, step, 0, (const uint8_t[]){15, 15, 15, 15});
    check_codes(below, false, step, 15, (const uint8_t[]){0, 0, 0, 0});
    /* 0.5 / step is past the largest half: an infinity on the way, as in the library */
    check_codes(above, true, half_step, 0, (const uint8_t[]){15, 15, 15, 15});
    check_codes(below, true, half_step, 15, (const uint8_t[]){0, 0, 0, 0});
}

TEST(awq_clamps_a_group_before_its_grid_is_laid)
{
    static const float w[] = {-4.0f, 0.25f, 1.0f, 2.0f}, limit = 1.75f;
    uint8_t code[4];
    float scale, zero;
    quantize(w, 4, &limit, false, code, &scale, &zero);
    CHECK(scale == 3.5f / 15);
    CHECK_EQ(zero, 8);
    CHECK_EQ(code[0], 0);
    CHECK_EQ(code[3], 15);
}

/* ---- d^T M d ---- */

TEST(awq_forms_are_those_of_plain_loops_for_any_size)
{
    static float packed[MAX_N * MAX_N * 2], d[2 * (MAX_N + AWQ_TILE) * LANES];
    double moment[MAX_N * MAX_N], found[2 * LANES];
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "forms");
    for (size_t n = 1; n <= MAX_N; n++) {
        size_t padded = awq_moment_padded(n);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j <= i; j++)
                moment[i * n + j] = moment[j * n + i] = (double)ucb_pcg_unit(&r) - 0.3;
        for (size_t i = 0; i < 2 * padded * LANES; i++) d[i] = ucb_pcg_unit(&r) - 0.5f;
        for (size_t b = 0; b < padded / AWQ_TILE; b++)
            awq_moment_pack(moment, n, n, b, packed);
        awq_moment_forms(packed, n, d, 2, found);
        for (size_t lane = 0; lane < 2 * LANES; lane++) {
            const float *x = d + lane / LANES * padded * LANES + lane % LANES;
            double sum = 0, size = 0;
            for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < n; j++) {
                    double term = (double)x[i * LANES] * x[j * LANES] * moment[i * n + j];
                    sum += term;
                    size += fabs(term);
                }
            /* fp32 sums of at most 40 terms */
            CHECK_NEAR(found[lane], sum, 40 * 0x1p-24 * size);
        }
    }
}

/* ---- who shares, skips, refuses what ---- */

enum { N_OUT = 32, N_IN = 64 };
static float weights[3 * N_OUT * N_IN];

static void check_same_payload(const char *a, const struct ucb_calib *calib_a,
                               const char *b, const struct ucb_calib *calib_b, bool same)
{
    struct method_fixture f, g;
    fill_gaussian(weights, N_OUT * N_IN, 0.05, "awq unit");
    fixture_open(&f, a, N_OUT, N_IN, UCB_F32, 1);
    fixture_open(&g, b, N_OUT, N_IN, UCB_F32, 1);
    f.calib = calib_a;
    g.calib = calib_b;
    fixture_run(&f, weights);
    fixture_run(&g, weights);
    CHECK_EQ(f.out.n_bytes, g.out.n_bytes);
    CHECK((memcmp(f.out.data, g.out.data, f.out.n_bytes) == 0) == same);
    fixture_close(&f);
    fixture_close(&g);
}

TEST(awq_with_only_its_first_candidate_is_plain_rounding_unless_duo)
{
    const struct ucb_calib *calib = made_up_calib(N_IN);
    check_same_payload("awq:group=64,duo=0,clip=0,grid=1", calib, "awq:group=64", NULL,
                       true);
    check_same_payload("awq:group=64,duo=1,clip=0,grid=1", calib, "awq:group=64", NULL,
                       false);
}

TEST(awq_without_a_token_neither_scales_nor_clips)
{
    struct ucb_calib none = *made_up_calib(N_IN);
    none.n_tokens = none.n_sample = 0;
    check_same_payload("awq:group=64", &none, "awq:group=64", NULL, true);
}

/* Every second token is left out from 1024 on, so what they are does not matter. */
TEST(awq_clips_by_every_second_token_of_1024)
{
    enum { N_TOKENS = 1024 };
    static float x[N_TOKENS * N_IN];
    struct ucb_arena arena = {0};
    fill_gaussian(x, N_TOKENS * N_IN, 1, "awq tokens");
    struct ucb_calib all = calib_of(x, N_TOKENS, N_IN, &arena), other = all;
    float *y = UCB_NEW(&arena, float, N_TOKENS *N_IN);
    memcpy(y, x, sizeof(x));
    for (size_t t = 1; t < N_TOKENS; t += 2)
        for (size_t j = 0; j < N_IN; j++) y[t * N_IN + j] = j < 32 ? 100 : 0;
    other.sample = y;
    check_same_payload("awq:group=64", &all, "awq:group=64", &other, true);
    other.n_sample = N_TOKENS - 1;
    check_same_payload("awq:group=64", &all, "awq:group=64", &other, false);
    ucb_arena_free(&arena);
}

static struct ucb_arch arch_of(uint32_t n_kv_heads)
{
    return (struct ucb_arch){
        .hidden = N_IN, .n_heads = 4, .n_kv_heads = n_kv_heads, .head_dim = 16};
}

/* Encodes the matrix as that role of that model; the fixture stays open. */
static void encode_as(struct method_fixture *f, const char *spec, enum ucb_role role,
                      const struct ucb_arch *arch, uint32_t n_out)
{
    fill_gaussian(weights, (size_t)n_out * N_IN, 0.05, "awq unit");
    fixture_open(f, spec, n_out, N_IN, UCB_F32, 1);
    f->matrix.role = role;
    f->matrix.arch = arch;
    fixture_run(f, weights);
}

static bool same_as_unclipped(enum ucb_role role)
{
    struct method_fixture f, g;
    struct ucb_arch arch = arch_of(4);
    encode_as(&f, "awq:group=64", role, &arch, N_OUT);
    encode_as(&g, "awq:group=64,clip=0", role, &arch, N_OUT);
    bool same = memcmp(f.out.data, g.out.data, g.out.n_bytes) == 0;
    fixture_close(&f);
    fixture_close(&g);
    return same;
}

TEST(awq_clips_all_but_queries_and_keys_of_a_model)
{
    CHECK(same_as_unclipped(UCB_ROLE_Q));
    CHECK(same_as_unclipped(UCB_ROLE_K));
    CHECK(!same_as_unclipped(UCB_ROLE_V));
    CHECK(!same_as_unclipped(UCB_ROLE_O));
    CHECK(!same_as_unclipped(UCB_ROLE_DOWN));
}

static bool is_scaled(enum ucb_role role, const struct ucb_arch *arch)
{
    struct method_fixture f;
    bool scaled = false;
    encode_as(&f, "awq:group=64", role, arch, N_IN);
    const uint16_t *s = fixture_role(&f, "fp16_channel_scale")->data;
    for (size_t j = 0; j < N_IN; j++) scaled |= s[j] != 0x3c00;
    fixture_close(&f);
    return scaled;
}

TEST(awq_scales_o_only_where_values_have_a_head_for_each_query)
{
    struct ucb_arch grouped = arch_of(2), full = arch_of(4);
    CHECK(!is_scaled(UCB_ROLE_O, &grouped));
    CHECK(is_scaled(UCB_ROLE_O, &full));
    CHECK(is_scaled(UCB_ROLE_O, NULL));
    CHECK(is_scaled(UCB_ROLE_V, &grouped));
    CHECK(is_scaled(UCB_ROLE_DOWN, &grouped));
}

/* q, k and v in one call; their S stands at the end of each payload. */
TEST(awq_gives_the_matrices_of_one_input_the_scale_of_their_stack)
{
    enum { TAIL = 2 * N_IN };
    struct method_fixture f, stack;
    struct ucb_writer out[3] = {{0}}, *outs[3] = {&out[0], &out[1], &out[2]};
    struct ucb_matrix m[3];
    struct ucb_source src[3];
    struct ucb_err err;
    fill_gaussian(weights, 3 * N_OUT * N_IN, 0.05, "awq unit");
    fixture_open(&f, "awq:group=32", N_OUT, N_IN, UCB_F32, 2);
    fixture_open(&stack, "awq:group=32", 3 * N_OUT, N_IN, UCB_F32, 1);
    for (int i = 0; i < 3; i++) {
        m[i] = f.matrix;
        m[i].role = (enum ucb_role)(UCB_ROLE_Q + i);
        src[i] = (struct ucb_source){
            .matrix = &m[i], .w = weights + i * N_OUT * N_IN, .calib = f.calib};
        CHECK(ucb_chain_groups(f.chain, &m[0], &m[i]));
    }
    f.context.trace = NULL;
    CHECK_OK(ucb_chain_encode(f.chain, &f.context, src, 3, outs, &err), err);
    fixture_run(&stack, weights);
    for (int i = 0; i < 3; i++) {
        CHECK(memcmp(out[i].data + out[i].n_bytes - TAIL,
                     stack.out.data + stack.out.n_bytes - TAIL, TAIL) == 0);
        ucb_writer_free(&out[i]);
    }
    m[1].role = UCB_ROLE_GATE;
    CHECK(!ucb_chain_groups(f.chain, &m[0], &m[1]));
    fixture_close(&f);
    fixture_close(&stack);
}

static void check_refused(const char *spec, uint32_t n_in, float fill, ucb_status status,
                          const char *words)
{
    struct method_fixture f;
    struct ucb_err err;
    for (size_t i = 0; i < 2 * n_in; i++) weights[i] = i % 2 ? fill : -fill;
    fixture_open(&f, spec, 2, n_in, UCB_F32, 1);
    CHECK_STATUS(fixture_try_encode(&f, weights, &err), status, err);
    CHECK_HAS(err.text, words);
    fixture_close(&f);
}

TEST(awq_refuses_rows_that_are_not_whole_groups_and_says_which_groups_work)
{
    check_refused("awq", 576, 1, UCB_USAGE,
                  "m: 576 columns, awq needs a multiple of group=128; try group=64 (32 and "
                  "16 work too)");
    check_refused("awq:group=20", 33, 1, UCB_USAGE, "try group=11");
    check_refused("awq", 7, 1, UCB_USAGE, "try group=7");
    check_refused("awq", 1, 1, UCB_USAGE,
                  "m: 1 column, and awq needs groups of 2; try nf4");
}

TEST(awq_refuses_weights_that_half_precision_cannot_hold)
{
    check_refused("awq:group=64", 64, 7e4f, UCB_UNSUPPORTED,
                  "row 0, column 0 begins a group whose scaled weights pass 65504");
}
