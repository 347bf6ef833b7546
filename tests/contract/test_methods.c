/* What every method promises, for every method in the registry, over shapes and knobs. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "method/chain_internal.h"
#include "method_fixture.h"

/* Knobs beyond the defaults, by method; a method that is not here is run
 * with its defaults. */
static const char *const variants[] = {
    "nf4:block=32",
    "nf4:double_quant=1",
    "nf4:block=128,double_quant=1,nested=32,rule=cpu",
    "fp4:double_quant=1",
    "gptq:bits=2,group=8,block=24",
    "gptq:bits=3,group=32,sym=1,act_order=1",
    "gptq:bits=8,act_order=1,static_groups=1",
    "gptq:bits=3,group=-1,block=1",
    "hqq:bits=2,group=16",
    "hqq:bits=3",
    "hqq:bits=8",
    "hqq:axis=0",
    "hqq:bits=3,axis=0,group=24",
    "hqq:optimize=0",
    "hqq:meta=fp32",
    "hqq:round_zero=1,bits=2",
    "int8:threshold=6.0",
    "awq:group=64",
    "awq:bits=3,group=32,duo=0",
    "awq:group=24,clip=0",
    "awq:bits=8,group=11,grid=3",
    "rtn:bits=2",
    "rtn:bits=3,group=-1",
    "rtn:bits=5,sym=0",
    "rtn:bits=7,group=32,sym=0",
    "rtn:bits=8,group=-1",
    "gsq:bits=2,init=seed",
    "gsq:bits=3,block=96,scale=fp16",
    "gsq:bits=4,block=8,init=seed,scale=fp32",
    "gsq:bits=6,block=11",
    "gguf:type=Q4_1",
    "gguf:type=Q5_1",
    "gguf:type=Q2_K",
    "gguf:type=Q3_K,imatrix=1",
    "gguf:type=Q5_K",
    "gguf:type=Q6_K",
    "gguf:type=IQ4_XS",
    "row_overlay:rows=none,k1=64,k2=16,iters=2",
    "row_overlay:bpw=2.83,rows=fp16,rho=0.3,k1=32,k2=8,iters=1",
    "row_overlay:rows=fp8,k1=16,k2=1,beam=3,iters=1",
    "row_overlay:rho=0.5,k1=8,k2=8,iters=0",
    "lossless:mode=fast",
    "lossless:mode=max",
    "int5:block=32,scale=pow2,lambda=0",
    "int5+residual",
    "int5+residual:context=none",
    "rtn:bits=4,group=-1+residual",
    "nf4+lowrank:rank=1",
    "nf4+lowrank:rank=5,metric=diag,store=int8",
    "nf4+lowrank:rank=9,metric=exact,store=packed",
    "rtn:bits=2,group=-1+lowrank:rank=40+lowrank:rank=3",
    NULL};
static const uint32_t shapes[][2] = {{1, 64},    {64, 64}, {7, 33}, {3, 1},
                                     {130, 192}, {9, 576}, {5, 512}};
enum { N_SHAPES = sizeof(shapes) / sizeof(*shapes), MAX_WEIGHTS = 130 * 192 };

static float weights[MAX_WEIGHTS];

/* Calls run(spec, n_out, n_in) for each method, knobs and shape. */
static void each_case(void (*run)(const char *spec, uint32_t n_out, uint32_t n_in))
{
    for (size_t s = 0; s < N_SHAPES; s++) {
        fill_gaussian(weights, (size_t)shapes[s][0] * shapes[s][1], 0.5, "contract");
        for (const struct ucb_method *const *m = ucb_methods(); *m != NULL; m++)
            if ((*m)->kind != UCB_TUNE && !(*m)->needs_before)
                run((*m)->kind == UCB_ADD ? ucb_test_path("nf4+%s", (*m)->name)
                                          : (*m)->name,
                    shapes[s][0], shapes[s][1]);
        for (size_t i = 0; variants[i] != NULL; i++)
            run(variants[i], shapes[s][0], shapes[s][1]);
    }
}

/* False where the method refuses the shape, which must be a usage error that names the
 * matrix and a next step. */
static bool encoded(struct method_fixture *f, const char *spec, uint32_t n_out,
                    uint32_t n_in, unsigned n_threads)
{
    struct ucb_err err;
    fixture_open(f, spec, n_out, n_in, UCB_BF16, n_threads);
    f->context.trace = NULL;
    ucb_status status = fixture_try_encode(f, weights, &err);
    if (status == UCB_OK) return true;
    CHECK_STATUS(status, UCB_USAGE, err);
    CHECK_HAS(err.text, "m: ");
    CHECK_HAS(err.text, "try ");
    fixture_close(f);
    return false;
}

static void check_same_bytes(const char *spec, uint32_t n_out, uint32_t n_in)
{
    struct method_fixture one, more;
    if (!encoded(&one, spec, n_out, n_in, 1)) return;
    for (unsigned n_threads = 2; n_threads <= 7; n_threads += 5) {
        CHECK(encoded(&more, spec, n_out, n_in, n_threads));
        CHECK_EQ(more.out.n_bytes, one.out.n_bytes);
        CHECK(memcmp(more.out.data, one.out.data, one.out.n_bytes) == 0);
        fixture_close(&more);
    }
    CHECK_OK(fixture_try_encode(&one, weights, NULL),
             (struct ucb_err){0}); /* used arenas and a warm writer */
    CHECK(encoded(&more, spec, n_out, n_in, 1));
    CHECK(memcmp(more.out.data, one.out.data, one.out.n_bytes) == 0);
    fixture_close(&more);
    fixture_close(&one);
}

TEST(every_method_writes_the_same_bytes_for_any_thread_count_and_again)
{
    each_case(check_same_bytes);
}

static void check_parts(const char *spec, uint32_t n_out, uint32_t n_in)
{
    struct method_fixture f;
    uint64_t sum = 0;
    if (!encoded(&f, spec, n_out, n_in, 2)) return;
    for (unsigned part = 0; part < UCB_N_PARTS; part++) sum += f.out.part_bytes[part];
    CHECK_EQ(sum, f.out.n_bytes);
    fixture_close(&f);
}

TEST(every_byte_a_method_writes_has_a_purpose)
{
    each_case(check_parts);
}

static ucb_status decode_bytes(struct method_fixture *f, const uint8_t *bytes,
                               size_t n_bytes, float *w, float *exact)
{
    struct ucb_arena arena = {0}, scratch = {0};
    struct ucb_chain_context elsewhere = {.pool = f->pool,
                                          .arena = &arena,
                                          .scratch = &scratch,
                                          .shared = f->shared.data,
                                          .n_shared = f->shared.n_bytes};
    struct ucb_err err;
    uint8_t *copy = malloc(
        n_bytes +
        1); /* exactly as long as the payload, so that a sanitizer sees any overrun */
    memcpy(copy, bytes, n_bytes);
    uint8_t *tight = realloc(copy, n_bytes == 0 ? 1 : n_bytes);
    ucb_status status = ucb_chain_decode(f->chain, &elsewhere, &f->matrix, tight, n_bytes,
                                         w, exact, &err);
    if (status != UCB_OK) CHECK_HAS(err.text, "m: ");
    free(tight);
    ucb_arena_free(&arena);
    ucb_arena_free(&scratch);
    return status;
}

static void check_decode(const char *spec, uint32_t n_out, uint32_t n_in)
{
    static float w[MAX_WEIGHTS], exact[MAX_WEIGHTS], again[MAX_WEIGHTS];
    struct method_fixture f;
    size_t n = (size_t)n_out * n_in;
    if (!encoded(&f, spec, n_out, n_in, 1)) return;
    CHECK_EQ(decode_bytes(&f, f.out.data, f.out.n_bytes, w, exact), UCB_OK);
    for (size_t i = 0; i < n; i++) CHECK(isfinite(w[i]) && isfinite(exact[i]));
    CHECK(relative_error(weights, w, n) < 0.8);
    for (unsigned n_threads = 2; n_threads <= 7; n_threads += 5) {
        struct method_fixture other;
        CHECK(encoded(&other, spec, n_out, n_in, n_threads));
        CHECK_EQ(decode_bytes(&other, other.out.data, other.out.n_bytes, again, NULL),
                 UCB_OK);
        CHECK(memcmp(w, again, n * sizeof(float)) == 0);
        fixture_close(&other);
    }
    fixture_close(&f);
}

TEST(every_method_decodes_from_bytes_alone_to_the_same_finite_weights)
{
    each_case(check_decode);
}

static void check_seeds(const char *spec, uint32_t n_out, uint32_t n_in)
{
    static float w[MAX_WEIGHTS], again[MAX_WEIGHTS];
    struct method_fixture f;
    struct ucb_err err;
    size_t n = (size_t)n_out * n_in;
    if (!encoded(&f, spec, n_out, n_in, 1)) return;
    CHECK_EQ(decode_bytes(&f, f.out.data, f.out.n_bytes, w, NULL), UCB_OK);
    f.context.seed = 99;
    f.context.model_digest = "another model";
    CHECK_OK(ucb_chain_decode(f.chain, &f.context, &f.matrix, f.out.data, f.out.n_bytes,
                              again, NULL, &err),
             err);
    CHECK(memcmp(w, again, n * sizeof(float)) == 0);
    fixture_close(&f);
}

TEST(every_method_decodes_the_same_weights_under_another_seed_and_model)
{
    each_case(check_seeds);
}

/* Opens the stages of a payload, whose lengths stand before them. */
static void open_stages(struct method_fixture *f, void **states)
{
    uint32_t n_stages = f->chain->n_stages;
    size_t at = (n_stages - 1) * sizeof(uint64_t);
    for (uint32_t i = 0; i < n_stages; i++) {
        struct ucb_job job = ucb_stage_job(&f->chain->stages[i]);
        size_t length = i + 1 < n_stages ? ucb_load_u64(f->out.data + i * sizeof(uint64_t))
                                         : f->out.n_bytes - at;
        struct ucb_reader in = {f->out.data + at, length, 0};
        job.arena = &f->arena;
        job.scratch = &f->scratch;
        job.shared = f->shared.data; /* of a chain whose first stage alone has such */
        job.n_shared = f->shared.n_bytes;
        states[i] = ucb_arena_alloc(&f->arena, job.method->state_bytes(&job, &f->matrix));
        CHECK_OK(job.method->open(&job, &f->matrix, &in, states[i], NULL),
                 (struct ucb_err){0});
        at += length;
    }
}

static void decode_stages(const struct method_fixture *f, void *const *states, uint32_t row,
                          uint32_t n, float *acc)
{
    const struct ucb_method *first = f->chain->stages[0].method;
    if (first->kind == UCB_EXACT) {
        CHECK_EQ(first->decode_bits(states[0], row, n, NULL, acc, NULL), UCB_OK);
        return;
    }
    for (uint32_t i = 0; i < f->chain->n_stages; i++)
        f->chain->stages[i].method->decode(states[i], row, n, acc);
}

/* Row by row, from any row, is what all rows at once give. */
static void check_rows(const char *spec, uint32_t n_out, uint32_t n_in)
{
    static float all[MAX_WEIGHTS], row[MAX_WEIGHTS];
    struct method_fixture f;
    void *states[UCB_MAX_STAGES];
    if (!encoded(&f, spec, n_out, n_in, 1)) return;
    open_stages(&f, states);
    bool exact = ucb_chain_is_exact(f.chain);
    if (exact && f.chain->n_coded > 1) { /* bits come from a prediction of all rows */
        fixture_close(&f);
        return;
    }
    size_t row_bytes = n_in * (exact ? sizeof(uint16_t) : sizeof(float)); /* of BF16 */
    decode_stages(&f, states, 0, n_out, all);
    for (uint32_t r = 0; r < n_out; r++) {
        decode_stages(&f, states, r, 1, row);
        CHECK(memcmp(row, (const char *)all + r * row_bytes, row_bytes) == 0);
    }
    fixture_close(&f);
}

TEST(every_method_decodes_rows_one_by_one_as_all_at_once)
{
    each_case(check_rows);
}

static void check_truncations(const char *spec, uint32_t n_out, uint32_t n_in)
{
    static float w[MAX_WEIGHTS];
    struct method_fixture f;
    if (n_out * n_in > 64 * 64 || !encoded(&f, spec, n_out, n_in, 1)) return;
    for (size_t n = 0; n<f.out.n_bytes; n += f.out.n_bytes> 600 ? 7 : 1)
        CHECK_EQ(decode_bytes(&f, f.out.data, n, w, NULL), UCB_CORRUPT);
    CHECK_EQ(decode_bytes(&f, f.out.data, f.out.n_bytes - 1, w, NULL), UCB_CORRUPT);
    size_t n_bytes = f.out.n_bytes;
    ucb_put_u8(&f.out, 0);
    CHECK_EQ(decode_bytes(&f, f.out.data, n_bytes + 1, w, NULL), UCB_CORRUPT);
    fixture_close(&f);
}

TEST(every_method_refuses_every_truncation_and_a_trailing_byte)
{
    each_case(check_truncations);
}

/* Any bytes of the right length decode to something or are refused, and nothing else
 * happens. */
static void check_noise(const char *spec, uint32_t n_out, uint32_t n_in)
{
    static float w[MAX_WEIGHTS];
    struct method_fixture f;
    struct ucb_pcg r;
    if (!encoded(&f, spec, n_out, n_in, 1)) return;
    ucb_pcg_named(&r, 7, spec);
    for (size_t i = (f.chain->n_stages - 1) * sizeof(uint64_t); i < f.out.n_bytes; i++)
        f.out.data[i] = (uint8_t)ucb_pcg_next(&r); /* a chain's lengths stay */
    ucb_status status = decode_bytes(&f, f.out.data, f.out.n_bytes, w, NULL);
    CHECK(status == UCB_OK || status == UCB_CORRUPT || status == UCB_UNSUPPORTED);
    for (size_t i = 0; status == UCB_OK && i < (size_t)n_out * n_in; i++)
        CHECK(isfinite(w[i]));
    fixture_close(&f);
}

TEST(every_method_survives_a_payload_of_noise)
{
    each_case(check_noise);
}

static void check_inspect(const char *spec, uint32_t n_out, uint32_t n_in)
{
    struct method_fixture f;
    if (!encoded(&f, spec, n_out, n_in, 1)) return;
    fixture_close(&f);
    fixture_open(&f, spec, n_out, n_in, UCB_BF16, 1);
    fixture_run(&f, weights);
    for (size_t i = 0; i < f.n_emitted; i++)
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(f.emitted[i].role, f.emitted[j].role) != 0);
    fixture_close(&f);
}

TEST(every_array_that_is_listed_has_a_name_of_its_own)
{
    each_case(check_inspect);
}

TEST(every_method_says_what_it_is_and_where_it_comes_from)
{
    for (const struct ucb_method *const *m = ucb_methods(); *m != NULL; m++) {
        CHECK(ucb_method_find((*m)->name) == *m);
        CHECK((*m)->summary != NULL && (*m)->source != NULL && (*m)->revision >= 1);
        CHECK(m[1] == NULL || strcmp((*m)->name, m[1]->name) < 0);
    }
    CHECK(ucb_method_find("nf") == NULL);
}

TEST(none_gives_every_weight_back)
{
    struct method_fixture f;
    fill_gaussian(weights, 64 * 64, 0.5, "none");
    fixture_open(&f, "none", 64, 64, UCB_F32, 2);
    fixture_run(&f, weights);
    CHECK(memcmp(f.decoded, weights, 64 * 64 * sizeof(float)) == 0);
    fixture_close(&f);
}

enum { PRODUCT_ROWS = 11, MAX_PRODUCT = PRODUCT_ROWS * 130 };
static float activations[PRODUCT_ROWS * 576];

static bool multiplied(const char *spec, uint32_t n_out, uint32_t n_in, unsigned n_threads,
                       size_t n_rows, float *y)
{
    struct method_fixture f;
    struct ucb_err err;
    if (!encoded(&f, spec, n_out, n_in, n_threads)) return false;
    bool own = ucb_chain_has_product(f.chain);
    if (own) CHECK_OK(fixture_product(&f, NULL, activations, n_rows, y, &err), err);
    fixture_close(&f);
    return own;
}

static size_t n_products;

static void check_product(const char *spec, uint32_t n_out, uint32_t n_in)
{
    static float y[MAX_PRODUCT], again[MAX_PRODUCT];
    for (size_t n_rows = 1; n_rows <= PRODUCT_ROWS; n_rows += 5) {
        size_t n = n_rows * n_out;
        fill_gaussian(activations, n_rows * n_in, 3, "activations");
        if (!multiplied(spec, n_out, n_in, 1, n_rows, y)) return;
        for (size_t i = 0; i < n; i++) CHECK(isfinite(y[i]));
        for (unsigned n_threads = 2; n_threads <= 7; n_threads += 5) {
            CHECK(multiplied(spec, n_out, n_in, n_threads, n_rows, again));
            CHECK(memcmp(y, again, n * sizeof(float)) == 0);
        }
        n_products++;
    }
}

TEST(every_product_of_a_methods_own_is_the_same_for_any_thread_count)
{
    each_case(check_product);
    CHECK(n_products > 0);
}

TEST(a_method_that_says_it_multiplies_has_a_product)
{
    for (const struct ucb_method *const *m = ucb_methods(); *m != NULL; m++)
        CHECK((*m)->has_product == NULL || (*m)->product != NULL);
}
