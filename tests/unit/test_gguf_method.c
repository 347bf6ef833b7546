/* gguf: blocks worked out by hand, which type a matrix gets, what is refused. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "../../methods/gguf/gguf.h"
#include "core/half.h"
#include "method/chain_internal.h"
#include "method_fixture.h"

static const char *const names[] = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0",   "Q2_K",
                                    "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"};
enum { N_TYPES = 12 };

static float half_at(const uint8_t *p)
{
    return ucb_f16_widen(ucb_load_u16(p));
}

TEST(a_q4_0_block_is_what_a_hand_makes_of_it)
{ /* the largest size is -8 (first), so d = 1 and code = x + 8, at most 15 */
    struct method_fixture f;
    float x[32] = {0};
    for (int e = 0; e < 16; e++) x[e] = (float)(e - 8);
    x[16] = 8;     /* as large, but later: code 16 becomes 15 */
    x[17] = 0.49f; /* rounds down */
    x[18] = 0.5f;  /* trunc(9.0): up */
    fixture_open(&f, "gguf:type=Q4_0", 1, 32, UCB_F32, 1);
    fixture_run(&f, x);
    CHECK_EQ(f.out.n_bytes, 18);
    CHECK(half_at(f.out.data) == 1.0f);
    CHECK_EQ(f.out.data[2], 0 | 15 << 4);
    CHECK_EQ(f.out.data[3], 1 | 8 << 4);
    CHECK_EQ(f.out.data[4], 2 | 9 << 4);
    CHECK_EQ(f.out.data[17], 15 | 8 << 4);
    CHECK(f.decoded[0] == -8 && f.decoded[16] == 7 && f.decoded[17] == 0);
    fixture_close(&f);
}

TEST(a_q8_0_block_rounds_halves_away_from_zero)
{ /* the largest size is 127, so d = 1 */
    struct method_fixture f;
    float x[32] = {-127, 0.5f, -0.5f, 1.5f, 2.5f, -2.5f, 0x1.fffffep-2f, 126.5f};
    const int8_t expected[8] = {-127, 1, -1, 2, 3, -3, 0, 127};
    fixture_open(&f, "gguf:type=Q8_0", 1, 32, UCB_F32, 1);
    fixture_run(&f, x);
    CHECK(half_at(f.out.data) == 1.0f);
    for (int e = 0; e < 8; e++) CHECK_EQ((int8_t)f.out.data[2 + e], expected[e]);
    CHECK_EQ(f.out.part_bytes[UCB_PART_SCALES], 2);
    CHECK_EQ(f.out.part_bytes[UCB_PART_CODES], 32);
    fixture_close(&f);
}

TEST(blocks_of_zeros_keep_the_signs_that_ggml_gives_them)
{
    static const struct {
        const char *spec;
        uint16_t d;
        uint8_t first_code_byte;
        int code_at;
    } cases[] = {{"gguf:type=Q4_0", 0x8000, 0x88, 2},
                 {"gguf:type=Q4_1", 0x0000, 0x00, 4},
                 {"gguf:type=Q8_0", 0x0000, 0x00, 2},
                 {"gguf:type=IQ4_NL", 0x0000, 0x88, 2}};
    float zeros[32] = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct method_fixture f;
        zeros[0] = i == 1 ? -0.0f : 0.0f;
        fixture_open(&f, cases[i].spec, 1, 32, UCB_F32, 1);
        fixture_run(&f, zeros);
        CHECK_EQ(ucb_load_u16(f.out.data), cases[i].d);
        CHECK_EQ(f.out.data[cases[i].code_at], cases[i].first_code_byte);
        if (i == 1) CHECK_EQ(ucb_load_u16(f.out.data + 2), 0x8000); /* the first zero's */
        fixture_close(&f);
    }
}

/* ---- which type ---- */

static enum ucb_dtype type_for(const char *type, uint32_t n_in)
{
    struct ucb_arena arena = {0};
    struct ucb_chain *chain;
    struct ucb_err err;
    struct ucb_matrix m = {.name = "m", .n_out = 1, .n_in = n_in, .dtype = UCB_F32};
    CHECK_OK(ucb_chain_parse(ucb_test_path("gguf:type=%s", type), &arena, &chain, &err),
             err);
    struct ucb_job job = ucb_stage_job(&chain->stages[0]);
    enum ucb_dtype dtype = ucb_gguf_type(&job, &m);
    ucb_arena_free(&arena);
    return dtype;
}

TEST(rows_that_are_not_whole_blocks_get_the_type_that_llama_cpp_gives_them)
{
    static const char *const fallback[N_TYPES] = {"Q4_0", "Q4_1", "Q5_0",   "Q5_1",
                                                  "Q8_0", "Q4_0", "Q4_0",   "Q5_0",
                                                  "Q5_1", "Q8_0", "IQ4_NL", "IQ4_NL"};
    for (size_t i = 0; i < N_TYPES; i++) {
        CHECK_TEXT(ucb_dtype_name(type_for(names[i], 512)), names[i]);
        CHECK_TEXT(ucb_dtype_name(type_for(names[i], 576)), fallback[i]);
        CHECK_EQ(type_for(names[i], 48), UCB_F16);
    }
}

TEST(rows_of_no_block_are_stored_as_halves_and_say_so_in_their_bytes)
{
    struct method_fixture f;
    float x[2 * 33];
    fill_gaussian(x, 66, 1, "halves");
    fixture_open(&f, "gguf:type=Q6_K", 2, 33, UCB_F32, 1);
    fixture_run(&f, x);
    CHECK_EQ(f.out.n_bytes, 2 * 66);
    CHECK_EQ(f.out.part_bytes[UCB_PART_CODES], 2 * 66);
    for (int i = 0; i < 66; i++) CHECK(f.decoded[i] == ucb_f16_round(x[i]));
    CHECK_NEAR(ucb_chain_nominal_bpw(f.chain, &f.matrix), 6.5625, 0);
    x[40] = 65520;
    struct ucb_err err;
    CHECK_STATUS(fixture_try_encode(&f, x, &err), UCB_UNSUPPORTED, err);
    CHECK_HAS(err.text, "row 1 from column 7");
    fixture_close(&f);
}

/* Section 1 of the baselines, and by purpose: bytes of scales and minima of a block. */
TEST(every_byte_of_a_block_is_counted_for_what_it_is)
{
    static const double bits[N_TYPES] = {4.5,    5,   5.5, 6,      8.5, 2.625,
                                         3.4375, 4.5, 5.5, 6.5625, 4.5, 4.25};
    static const int scales[N_TYPES] = {2, 2, 2, 2, 2, 10, 14, 8, 8, 18, 2, 8},
                     zeros[N_TYPES] = {0, 2, 0, 2, 0, 10, 0, 8, 8, 0, 0, 0};
    static float x[4 * 512];
    fill_gaussian(x, 4 * 512, 1, "parts");
    for (size_t i = 0; i < N_TYPES; i++) {
        struct method_fixture f;
        fixture_open(&f, ucb_test_path("gguf:type=%s", names[i]), 4, 512, UCB_F32, 2);
        fixture_run(&f, x);
        uint64_t n_blocks = 4 * 512 / ucb_dtype_block_elements(type_for(names[i], 512));
        CHECK_NEAR(8.0 * (double)f.out.n_bytes / (4 * 512), bits[i], 0);
        CHECK_NEAR(ucb_chain_nominal_bpw(f.chain, &f.matrix), bits[i], 0);
        CHECK_EQ(f.out.part_bytes[UCB_PART_SCALES], n_blocks * (uint64_t)scales[i]);
        CHECK_EQ(f.out.part_bytes[UCB_PART_ZEROS], n_blocks * (uint64_t)zeros[i]);
        const struct emitted *packed = fixture_role(&f, "packed"),
                             *layout = fixture_role(&f, "layout");
        CHECK(packed->n_dims == 2 && packed->shape[0] == 4 && layout->n_dims == 1);
        CHECK(layout->n_bytes == f.out.n_bytes && packed->n_bytes == f.out.n_bytes);
        CHECK(memcmp(layout->data, f.out.data, f.out.n_bytes) == 0);
        fixture_close(&f);
    }
}

/* ---- refused ---- */

TEST(a_block_whose_scale_is_not_finite_is_corrupt_and_named)
{
    static float x[2 * 512], w[2 * 512];
    fill_gaussian(x, 2 * 512, 1, "hostile");
    for (size_t i = 0; i < N_TYPES; i++) {
        struct method_fixture f;
        struct ucb_err err;
        fixture_open(&f, ucb_test_path("gguf:type=%s", names[i]), 2, 512, UCB_F32, 1);
        CHECK_OK(fixture_try_encode(&f, x, &err), err);
        memset(f.out.data + f.out.n_bytes / 2, 0xff, f.out.n_bytes / 2); /* row 1 */
        CHECK_STATUS(ucb_chain_decode(f.chain, &f.context, &f.matrix, f.out.data,
                                      f.out.n_bytes, w, NULL, &err),
                     UCB_CORRUPT, err);
        CHECK_HAS(err.text, "m: block ");
        CHECK_HAS(err.text, "(row 1, column 0)");
        fixture_close(&f);
    }
}

TEST(weights_too_large_for_a_half_precision_scale_are_refused)
{
    static float x[512];
    for (size_t i = 0; i < N_TYPES; i++) {
        struct method_fixture f;
        struct ucb_err err;
        for (int e = 0; e < 512; e++) x[e] = e == 300 ? 3e8f : (float)(e % 7);
        fixture_open(&f, ucb_test_path("gguf:type=%s", names[i]), 1, 512, UCB_F32, 1);
        CHECK_STATUS(fixture_try_encode(&f, x, &err), UCB_UNSUPPORTED, err);
        CHECK_HAS(err.text, "m: the weights in row 0 from column ");
        CHECK_HAS(err.text, "try nf4");
        fixture_close(&f);
    }
}

/* ---- importance ---- */

/* The bytes of x under a spec and statistics, into `out`. */
static void encode_with(const char *spec, const float *x, uint32_t n_in,
                        const struct ucb_calib *calib, struct ucb_writer *out)
{
    struct method_fixture f;
    struct ucb_err err;
    fixture_open(&f, spec, 2, n_in, UCB_F32, 1);
    struct ucb_source src = {.matrix = &f.matrix, .w = x, .calib = calib};
    CHECK_OK(ucb_chain_encode(f.chain, &f.context, &src, 1, &out, &err), err);
    fixture_close(&f);
}

TEST(a_matrix_without_statistics_is_encoded_as_without_importance)
{
    static float x[2 * 512];
    static double zeros[512];
    struct ucb_calib unseen = {.n_tokens = 0, .sq_mean = zeros};
    fill_gaussian(x, 2 * 512, 1, "unseen");
    for (size_t i = 0; i < N_TYPES; i++) {
        const char *plain = ucb_test_path("gguf:type=%s", names[i]),
                   *weighed = ucb_test_path("gguf:type=%s,imatrix=1", names[i]);
        struct ucb_writer a = {0}, b = {0}, c = {0};
        encode_with(plain, x, 512, NULL, &a);
        encode_with(weighed, x, 512, NULL, &b);
        encode_with(weighed, x, 512, &unseen, &c);
        CHECK(a.n_bytes == b.n_bytes && memcmp(a.data, b.data, a.n_bytes) == 0);
        CHECK(a.n_bytes == c.n_bytes && memcmp(a.data, c.data, a.n_bytes) == 0);
        ucb_writer_free(&a);
        ucb_writer_free(&b);
        ucb_writer_free(&c);
    }
}

TEST(importance_changes_every_type_but_q8_0_and_zeros_in_it_break_nothing)
{
    static float x[2 * 512], w[2 * 512];
    static double q[512];
    struct ucb_calib calib = {.n_tokens = 9, .sq_mean = q};
    fill_gaussian(x, 2 * 512, 1, "weighed");
    for (int j = 0; j < 512; j++) q[j] = j < 96 ? 0 : 1 + j % 13; /* three dead blocks */
    for (size_t i = 0; i < N_TYPES; i++) {
        const char *weighed = ucb_test_path("gguf:type=%s,imatrix=1", names[i]);
        struct ucb_writer a = {0}, b = {0};
        struct method_fixture f;
        struct ucb_err err;
        encode_with(ucb_test_path("gguf:type=%s", names[i]), x, 512, NULL, &a);
        encode_with(weighed, x, 512, &calib, &b);
        CHECK_EQ(a.n_bytes, b.n_bytes);
        CHECK((memcmp(a.data, b.data, a.n_bytes) != 0) == (strcmp(names[i], "Q8_0") != 0));
        fixture_open(&f, weighed, 2, 512, UCB_F32, 1);
        CHECK_OK(ucb_chain_decode(f.chain, &f.context, &f.matrix, b.data, b.n_bytes, w,
                                  NULL, &err),
                 err);
        for (int e = 0; e < 2 * 512; e++) CHECK(isfinite(w[e]));
        CHECK(relative_error(x + 96, w + 96, 416) < 0.4);
        bool keeps_first = strcmp(names[i], "Q4_1") == 0 || strcmp(names[i], "Q5_1") == 0 ||
                           strcmp(names[i], "Q8_0") == 0;
        bool by_super_block = i == 5 || i == 7 || i == 8; /* Q2_K, Q4_K, Q5_K */
        for (int e = 0; e < 96 && !keeps_first && !by_super_block; e++) CHECK(w[e] == 0);
        if (keeps_first) CHECK(relative_error(x, w, 96) < 0.1);
        fixture_close(&f);
        ucb_writer_free(&a);
        ucb_writer_free(&b);
    }
}
