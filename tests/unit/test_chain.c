/* Method specs: parsing, canonical forms, errors that help; and how stages follow each
 * other. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "method/chain.h"
#include "method/chain_internal.h"
#include "method/payload.h"
#include "method_fixture.h"

static struct ucb_chain *parsed(const char *spec)
{
    static struct ucb_arena arena;
    struct ucb_chain *chain;
    struct ucb_err err;
    CHECK_OK(ucb_chain_parse(spec, &arena, &chain, &err), err);
    return chain;
}

static const char *refused(const char *spec, ucb_status status)
{
    static struct ucb_arena arena;
    static struct ucb_err err;
    struct ucb_chain *chain = NULL;
    CHECK_STATUS(ucb_chain_parse(spec, &arena, &chain, &err), status, err);
    CHECK(chain == NULL);
    return err.text;
}

TEST(a_canonical_spec_leaves_defaults_out_and_keeps_the_order_of_the_table)
{
    CHECK_TEXT(ucb_chain_spec(parsed("nf4")), "nf4");
    CHECK_TEXT(ucb_chain_spec(parsed("nf4:block=64,double_quant=0")), "nf4");
    CHECK_TEXT(ucb_chain_spec(parsed("nf4:double_quant=1,block=128")),
               "nf4:block=128,double_quant=1");
    CHECK_TEXT(ucb_chain_spec(parsed("hqq:group=64,bits=4")), "hqq:bits=4,group=64");
    CHECK_TEXT(ucb_chain_spec(parsed("rtn:group=-1,bits=3")), "rtn:bits=3,group=-1");
    CHECK_TEXT(ucb_chain_spec(parsed("int8:threshold=0.0")), "int8");
    CHECK_TEXT(ucb_chain_spec(parsed("int8:threshold=6.0")), "int8:threshold=6");
}

TEST(of_two_knobs_for_one_thing_a_spec_sets_and_shows_one)
{
    CHECK_TEXT(ucb_chain_spec(parsed("gguf")), "gguf:type=Q4_K");
    CHECK_TEXT(ucb_chain_spec(parsed("gguf:recipe=Q4_K_M")), "gguf:recipe=Q4_K_M");
    CHECK_TEXT(ucb_chain_spec(parsed("gguf:imatrix=1,recipe=Q2_K_S")),
               "gguf:recipe=Q2_K_S,imatrix=1");
    CHECK_HAS(ucb_chain_identity(parsed("gguf:recipe=Q4_K_M")), "type=Q4_K,recipe=Q4_K_M");
    CHECK_HAS(refused("gguf:type=Q4_K,recipe=Q4_K_M", UCB_USAGE),
              "recipe takes the place of type");
    CHECK_HAS(refused("gguf:recipe=Q2_K_S", UCB_USAGE), "add imatrix=1");
}

TEST(a_recipe_takes_what_its_scope_does_not_and_a_type_what_it_does)
{
    struct ucb_chain *recipe = parsed("gguf:recipe=Q4_K_M"),
                     *type = parsed("gguf:type=Q4_K");
    CHECK(ucb_chain_takes(recipe, UCB_ROLE_EMBED, false));
    CHECK(!ucb_chain_takes(type, UCB_ROLE_EMBED, false));
    CHECK(ucb_chain_takes(type, UCB_ROLE_EMBED, true));
}

TEST(a_layout_is_the_type_and_the_number_of_the_mix)
{
    struct ucb_arch arch = {.n_layers = 30, .n_heads = 9, .n_kv_heads = 3};
    struct ucb_matrix m = {
        .name = "m", .role = UCB_ROLE_DOWN, .n_out = 4, .n_in = 1536, .arch = &arch};
    struct ucb_layout layout;
    CHECK(ucb_chain_layout(parsed("gguf:recipe=Q4_K_M"), &m, &layout));
    CHECK_EQ(layout.dtype, UCB_Q6_K);
    CHECK_EQ(layout.file_type, 15);
    m.n_in = 576;
    CHECK(ucb_chain_layout(parsed("gguf:type=Q5_K"), &m, &layout));
    CHECK_EQ(layout.dtype, UCB_Q5_1);
    CHECK_EQ(layout.file_type, 16);
    CHECK(!ucb_chain_layout(parsed("nf4"), &m, &layout));
}

TEST(a_canonical_spec_parses_to_itself)
{
    static const char *const specs[] = {"none", "fp4:nested=128",
                                        "hqq:bits=3,axis=0,iters=5,meta=fp32", "rtn:sym=1"};
    for (size_t i = 0; i < sizeof(specs) / sizeof(*specs); i++) {
        const char *canonical = ucb_chain_spec(parsed(specs[i]));
        CHECK_TEXT(ucb_chain_spec(parsed(canonical)), canonical);
        CHECK_TEXT(ucb_chain_identity(parsed(canonical)),
                   ucb_chain_identity(parsed(specs[i])));
    }
}

TEST(an_identity_names_every_knob_and_the_revision)
{
    CHECK_TEXT(ucb_chain_identity(parsed("none")), "none#1");
    CHECK_TEXT(ucb_chain_identity(parsed("nf4")),
               "nf4#1:block=64,double_quant=0,nested=256,rule=gpu");
    CHECK_TEXT(
        ucb_chain_identity(parsed("hqq:bits=3")),
        "hqq#1:bits=3,group=64,axis=1,optimize=1,iters=20,round_zero=auto,meta=fp16");
}

TEST(none_is_the_original_and_nothing_else_is)
{
    CHECK(ucb_chain_is_none(parsed("none")));
    CHECK(!ucb_chain_is_none(parsed("nf4")));
    CHECK_EQ(ucb_chain_needs(parsed("none")), UCB_NEEDS_NONE);
    CHECK_TEXT(ucb_chain_name(parsed("hqq:bits=2")), "hqq");
}

TEST(deployed_dtypes_follow_the_peer)
{
    CHECK_EQ(ucb_chain_decoded_dtype(parsed("nf4"), UCB_BF16), UCB_BF16);
    CHECK_EQ(ucb_chain_decoded_dtype(parsed("fp4"), UCB_F16), UCB_F16);
    CHECK_EQ(ucb_chain_decoded_dtype(parsed("nf4"), UCB_Q4_1), UCB_F32);
    CHECK_EQ(ucb_chain_decoded_dtype(parsed("int8"), UCB_BF16), UCB_F32);
    CHECK_EQ(ucb_chain_decoded_dtype(parsed("hqq"), UCB_F32), UCB_F16);
    CHECK_EQ(ucb_chain_decoded_dtype(parsed("hqq:meta=fp32"), UCB_BF16), UCB_F32);
    CHECK_EQ(ucb_chain_decoded_dtype(parsed("rtn"), UCB_F32), UCB_F16);
}

TEST(an_unknown_method_or_key_is_answered_with_the_near_ones)
{
    CHECK_HAS(refused("nf5", UCB_USAGE), "did you mean `nf4`");
    CHECK_HAS(refused("nf4:blok=64", UCB_USAGE), "did you mean `block`");
    CHECK_HAS(refused("hqq:bits=5", UCB_USAGE), "bits=5 is not a choice");
    CHECK_HAS(refused("none:bits=4", UCB_USAGE), "none has no keys");
    CHECK_HAS(refused("zzzzzzzz", UCB_USAGE), "known: ");
    CHECK_HAS(refused("zzzzzzzz", UCB_USAGE), "hqq, int5, int8");
}

TEST(what_is_not_a_spec_is_refused_with_what_was_found)
{
    static const char *const broken[] = {"",
                                         ":",
                                         "nf4:",
                                         "nf4:block",
                                         "nf4:block=",
                                         "nf4:,block=64",
                                         "nf4+",
                                         "+nf4",
                                         "nf4:block=64,",
                                         " nf4",
                                         "nf4 :block=64",
                                         "NF4",
                                         "rtn:bits=+4",
                                         "rtn:bits=4.0",
                                         "rtn:bits=4x",
                                         "rtn:bits=1",
                                         "rtn:bits=9",
                                         "int8:threshold=nan",
                                         "nf4:block=64=64"};
    for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++)
        CHECK_HAS(refused(broken[i], UCB_USAGE),
                  ucb_test_path("method spec \"%s\"", broken[i]));
    CHECK_HAS(refused("nf4:block=64,block=64", UCB_USAGE), "given twice");
    CHECK_HAS(refused("rtn:bits=9", UCB_USAGE), "from 2 to 8");
}

TEST(values_that_cannot_go_together_are_refused_when_parsed)
{
    CHECK_HAS(refused("rtn:group=0", UCB_USAGE), "-1 for a whole row");
}

TEST(a_second_base_stage_is_refused)
{
    CHECK_HAS(refused("nf4+hqq", UCB_USAGE), "only be the first stage");
    CHECK_HAS(refused("none+none", UCB_USAGE), "only be the first stage");
    CHECK_HAS(refused("nf4+nf4+nf4+nf4+nf4+nf4+nf4+nf4+nf4", UCB_USAGE),
              "more than 8 stages");
}

/* A stage that stores one fp32 correction a row: the mean of what the stages before it
 * left. */
static ucb_status encode_mean(struct ucb_job *job, const struct ucb_source *src,
                              uint32_t n_src, struct ucb_writer *const *out,
                              struct ucb_err *err)
{
    const struct ucb_matrix *m = src->matrix;
    (void)job;
    (void)err;
    CHECK_EQ(n_src, 1);
    CHECK(src->before != NULL);
    ucb_part(out[0], UCB_PART_FACTORS);
    for (size_t row = 0; row < m->n_out; row++) {
        double sum = 0;
        for (size_t i = row * m->n_in; i < (row + 1) * m->n_in; i++)
            sum += (double)src->w[i] - src->before[i];
        ucb_put_f32(out[0], (float)(sum / m->n_in));
    }
    return UCB_OK;
}

struct mean_state {
    const struct ucb_matrix *matrix;
    const uint8_t *means;
};

static size_t mean_state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job;
    (void)matrix;
    return sizeof(struct mean_state);
}

static ucb_status open_mean(struct ucb_job *job, const struct ucb_matrix *matrix,
                            struct ucb_reader *in, void *state, struct ucb_err *err)
{
    struct mean_state *s = state;
    (void)job;
    s->matrix = matrix;
    return ucb_payload_take(in, matrix, "means", matrix->n_out * sizeof(float), &s->means,
                            err);
}

static void decode_mean(const void *state, uint32_t row, uint32_t n, float *acc)
{
    const struct mean_state *s = state;
    for (uint32_t r = 0; r < n; r++)
        for (uint32_t i = 0; i < s->matrix->n_in; i++)
            acc[(size_t)r * s->matrix->n_in + i] += ucb_load_f32(s->means + 4 * (row + r));
}

static const struct ucb_method mean_method = {.name = "mean",
                                              .kind = UCB_ADD,
                                              .state_bytes = mean_state_bytes,
                                              .encode = encode_mean,
                                              .open = open_mean,
                                              .decode = decode_mean};

static void make_two_stages(struct method_fixture *f, const char *first)
{
    fixture_open(f, first, 40, 64, UCB_F32, 2);
    f->chain->stages[1] = f->chain->stages[2] = (struct ucb_stage){.method = &mean_method};
    f->chain->n_stages = 3;
}

TEST(an_added_stage_sees_the_residual_and_its_decode_is_summed)
{
    static float w[40 * 64];
    struct method_fixture f, alone;
    fill_gaussian(w, 40 * 64, 1, "add");
    for (size_t i = 0; i < 40 * 64; i++)
        w[i] += 0.3f; /* so that rows have means to correct */
    make_two_stages(&f, "rtn:bits=2");
    fixture_run(&f, w);
    fixture_open(&alone, "rtn:bits=2", 40, 64, UCB_F32, 1);
    fixture_run(&alone, w);
    for (size_t row = 0; row < 40; row++) {
        double left = 0, before = 0;
        for (size_t i = row * 64; i < (row + 1) * 64; i++) {
            left += (double)w[i] - f.decoded_f32[i];
            before += (double)w[i] - alone.decoded_f32[i];
        }
        CHECK(fabs(before / 64) > 1e-4);
        CHECK_NEAR(left / 64, 0, 1e-6); /* fp32 means and sums of weights near 1 */
    }
    CHECK_EQ(f.out.part_bytes[UCB_PART_HEADER], 16); /* two lengths */
    CHECK_EQ(f.out.part_bytes[UCB_PART_FACTORS], 2 * 40 * 4);
    CHECK_EQ(f.out.n_bytes, 16 + alone.out.n_bytes + 2 * 40 * 4);
    fixture_close(&f);
    fixture_close(&alone);
}

TEST(a_payload_of_stages_is_refused_at_every_truncation)
{
    static float w[40 * 64], decoded[40 * 64];
    struct method_fixture f;
    struct ucb_err err;
    fill_gaussian(w, 40 * 64, 1, "cut");
    make_two_stages(&f, "rtn:bits=2");
    fixture_run(&f, w);
    for (size_t n = 0; n < f.out.n_bytes; n++)
        CHECK_STATUS(ucb_chain_decode(f.chain, &f.context, &f.matrix, f.out.data, n,
                                      decoded, NULL, &err),
                     UCB_CORRUPT, err);
    memset(f.out.data, 0xff, 8); /* a length past the end */
    CHECK_STATUS(ucb_chain_decode(f.chain, &f.context, &f.matrix, f.out.data, f.out.n_bytes,
                                  decoded, NULL, &err),
                 UCB_CORRUPT, err);
    fixture_close(&f);
}

/* A stage that stores the first number of its stream, and adds the first number that its
 * decoder draws. */
static ucb_status encode_draw(struct ucb_job *job, const struct ucb_source *src,
                              uint32_t n_src, struct ucb_writer *const *out,
                              struct ucb_err *err)
{
    (void)src;
    (void)n_src;
    (void)err;
    ucb_put_u32(out[0], ucb_pcg_next(&job->random));
    return UCB_OK;
}

static ucb_status open_draw(struct ucb_job *job, const struct ucb_matrix *matrix,
                            struct ucb_reader *in, void *state, struct ucb_err *err)
{
    const uint8_t *drawn;
    *(float *)state = ucb_pcg_unit(&job->random);
    return ucb_payload_take(in, matrix, "drawn", sizeof(uint32_t), &drawn, err);
}

static size_t draw_state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job;
    (void)matrix;
    return sizeof(float);
}

static void decode_draw(const void *state, uint32_t row, uint32_t n, float *acc)
{
    (void)row;
    for (uint32_t r = 0; r < n; r++) acc[r] += *(const float *)state; /* one column */
}

static const struct ucb_method draw_method = {.name = "draw",
                                              .kind = UCB_ADD,
                                              .state_bytes = draw_state_bytes,
                                              .encode = encode_draw,
                                              .open = open_draw,
                                              .decode = decode_draw};

/* none, then draw twice, on a matrix of one column. */
static void run_draws(struct method_fixture *f, uint64_t seed)
{
    static const float w[8] = {0};
    fixture_open(f, "none", 8, 1, UCB_F32, 1);
    f->chain->stages[1] = f->chain->stages[2] = (struct ucb_stage){.method = &draw_method};
    f->chain->n_stages = 3;
    f->context.seed = seed;
    fixture_run(f, w);
}

TEST(stages_of_one_method_have_streams_of_their_own)
{
    struct method_fixture f, again;
    run_draws(&f, 1);
    run_draws(&again, 1);
    const uint8_t *end = f.out.data + f.out.n_bytes;
    CHECK(ucb_load_u32(end - 8) != ucb_load_u32(end - 4));
    CHECK_EQ(f.out.n_bytes, again.out.n_bytes);
    CHECK(memcmp(f.out.data, again.out.data, f.out.n_bytes) == 0);
    fixture_close(&f);
    fixture_close(&again);
}

/* Anything else would be a decoder that needs more than the payload. */
TEST(a_decoder_draws_nothing_from_the_seed_or_the_model)
{
    float decoded[8];
    struct method_fixture f;
    struct ucb_err err;
    run_draws(&f, 1);
    for (uint64_t seed = 0; seed < 4; seed++) {
        f.context.seed = seed;
        f.context.model_digest = seed % 2 == 0 ? NULL : "another";
        CHECK_OK(ucb_chain_decode(f.chain, &f.context, &f.matrix, f.out.data, f.out.n_bytes,
                                  decoded, NULL, &err),
                 err);
        for (int i = 0; i < 8; i++) CHECK(decoded[i] == 0);
    }
    fixture_close(&f);
}

static ucb_status order_of(enum ucb_kind first, enum ucb_kind second, struct ucb_err *err)
{
    struct ucb_method a = {.name = "a", .kind = first}, b = {.name = "b", .kind = second};
    struct ucb_chain chain = {.n_stages = 2, .stages = {{.method = &a}, {.method = &b}}};
    return ucb_chain_check_order(&chain, "a+b", err);
}

TEST(stages_that_are_not_built_yet_are_refused_with_a_sentence)
{
    struct ucb_err err;
    CHECK_OK(order_of(UCB_BASE, UCB_ADD, &err), err);
    CHECK_STATUS(order_of(UCB_ADD, UCB_ADD, &err), UCB_USAGE, err);
    for (enum ucb_kind kind = UCB_RECODE; kind <= UCB_REPLACE; kind++) {
        CHECK_STATUS(order_of(UCB_BASE, kind, &err), UCB_UNSUPPORTED, err);
        CHECK_HAS(err.text, "cannot run yet");
    }
}

TEST(an_exact_stage_is_the_last_one_and_alone_where_it_needs_no_prediction)
{
    struct ucb_err err;
    struct ucb_chain *chain;
    struct ucb_arena arena = {0};
    static const struct {
        const char *spec, *says;
    } refused[] = {{"residual", "nf4+residual"},
                   {"lossless+residual", "last stage"},
                   {"nf4+lossless", "leave it alone"},
                   {"lossless+nf4", "last stage"},
                   {"int8:threshold=6.0+residual", "leave it alone"}};
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        CHECK_STATUS(ucb_chain_parse(refused[i].spec, &arena, &chain, &err), UCB_USAGE,
                     err);
        CHECK_HAS(err.text, refused[i].says);
    }
    CHECK(ucb_chain_is_exact(parsed("lossless")));
    CHECK(ucb_chain_is_exact(parsed("rtn:bits=4+residual")));
    CHECK(!ucb_chain_is_exact(parsed("int5")));
    CHECK_EQ(ucb_chain_decoded_dtype(parsed("rtn:bits=4+residual"), UCB_BF16), UCB_BF16);
    CHECK_TEXT(ucb_chain_spec(parsed("lossless")), "lossless:mode=default");
    CHECK_TEXT(ucb_chain_spec(parsed("int5:block=64+residual:coder=rans")),
               "int5:block=64+residual");
    ucb_arena_free(&arena);
}

static bool always(const struct ucb_job *job)
{
    (void)job;
    return true;
}

TEST(a_method_that_multiplies_in_its_own_arithmetic_stands_alone)
{
    struct ucb_err err;
    struct ucb_method own = {.name = "own", .kind = UCB_BASE, .has_product = always},
                      more = {.name = "more", .kind = UCB_ADD};
    struct ucb_chain chain = {.n_stages = 2,
                              .stages = {{.method = &own}, {.method = &more}}};
    CHECK(!ucb_chain_has_product(&chain));
    CHECK_STATUS(ucb_chain_check_order(&chain, "own+more", &err), UCB_USAGE, err);
    CHECK_HAS(err.text, "leave it alone");
    chain.n_stages = 1;
    CHECK(ucb_chain_has_product(&chain));
    CHECK_OK(ucb_chain_check_order(&chain, "own", &err), err);
    CHECK(!ucb_chain_has_product(parsed("int8")));
    CHECK(ucb_chain_has_product(parsed("int8:threshold=6.0")));
    CHECK(!ucb_chain_has_product(parsed("nf4")));
}

TEST(weights_that_are_not_finite_are_refused_with_row_and_column)
{
    static const char *const specs[] = {"none", "nf4", "fp4", "int8", "hqq", "rtn"};
    static float w[4 * 64];
    struct method_fixture f;
    struct ucb_err err;
    for (size_t i = 0; i < sizeof(specs) / sizeof(*specs); i++)
        for (int bad = 0; bad < 3; bad++) {
            fill_gaussian(w, 4 * 64, 1, "bad");
            w[2 * 64 + 5] = bad == 0   ? __builtin_nanf("")
                            : bad == 1 ? __builtin_inff()
                                       : -__builtin_inff();
            fixture_open(&f, specs[i], 4, 64, UCB_F32, 1);
            CHECK_STATUS(fixture_try_encode(&f, w, &err), UCB_CORRUPT, err);
            CHECK_HAS(err.text, "m: the weight in row 2, column 5");
            fixture_close(&f);
        }
}
