/* gguf over random shapes and values: the same bytes for any number of threads and on any
 * instruction set, near what was encoded, and stable where a type is. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../methods/gguf/gguf.h"
#include "method_fixture.h"
#include "model/widen.h"

enum { N_ROUNDS = 25, MAX_WEIGHTS = 48 * 1024, N_TYPES = 12 };
static const struct {
    const char *name;
    double worst; /* error of a weight, of the largest of its matrix */
    bool stable;  /* encoding what was decoded gives the same bytes */
} types[N_TYPES] = {
    {"Q4_0", .13, true},  {"Q4_1", .07, false},  {"Q5_0", .07, true},
    {"Q5_1", .04, false}, {"Q8_0", .005, true},  {"Q2_K", .9, false},
    {"Q3_K", .6, false},  {"Q4_K", .3, false},   {"Q5_K", .2, false},
    {"Q6_K", .1, false},  {"IQ4_NL", .3, false}, {"IQ4_XS", .35, false},
};

static float w[MAX_WEIGHTS], decoded[MAX_WEIGHTS];
static double importance[1024];

static void fill(struct ucb_pcg *r, size_t n, uint32_t n_in)
{
    /* Not smaller: scales that are subnormal halves have few bits. */
    float scale = ldexpf(1, (int)ucb_pcg_below(r, 12) - 3);
    unsigned kind = ucb_pcg_below(r, 4);
    for (size_t i = 0; i < n; i++) {
        float u = 2 * ucb_pcg_unit(r) - 1;
        w[i] = scale * (kind == 0   ? u
                        : kind == 1 ? u * u * u
                        : kind == 2 ? 0.1f + 0.05f * u
                                    : (float)(int)(4 * u) / 4);
    }
    for (uint32_t j = 0; j < n_in; j++) {
        float u = ucb_pcg_unit(r);
        importance[j] = u < 0.1f ? 0 : 10 * (double)(u * u * u);
    }
}

static void encode(struct method_fixture *f, const char *spec, uint32_t n_out,
                   uint32_t n_in, unsigned n_threads, const float *from)
{
    struct ucb_calib calib = {.n_tokens = 1, .n_sequences = 1, .sq_mean = importance};
    struct ucb_writer *out = &f->out;
    struct ucb_err err;
    fixture_open(f, spec, n_out, n_in, UCB_F32, n_threads);
    struct ucb_source src = {.matrix = &f->matrix, .w = from, .calib = &calib};
    CHECK_OK(ucb_chain_encode(f->chain, &f->context, &src, 1, &out, &err), err);
}

static void check_near(uint64_t seed, const char *spec, size_t n, double worst)
{
    float peak = 0;
    for (size_t i = 0; i < n; i++) peak = fmaxf(peak, fabsf(w[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(decoded[i] - w[i]) <= worst * (double)peak + 1e-6))
            ucb_test_fail(
                __FILE__, __LINE__, "UCB_SEED=%llu: %s: weight %zu is %g, decoded %g",
                (unsigned long long)seed, spec, i, (double)w[i], (double)decoded[i]);
}

static void check_spec(uint64_t seed, const char *spec, uint32_t n_out, uint32_t n_in,
                       bool weighed, double worst, bool stable)
{
    struct method_fixture one, seven, again;
    struct ucb_err err;
    size_t n = (size_t)n_out * n_in;
    encode(&one, spec, n_out, n_in, 1, w);
    encode(&seven, spec, n_out, n_in, 7, w);
    CHECK_EQ(one.out.n_bytes, seven.out.n_bytes);
    CHECK(memcmp(one.out.data, seven.out.data, one.out.n_bytes) == 0);
    CHECK_OK(ucb_chain_decode(one.chain, &one.context, &one.matrix, one.out.data,
                              one.out.n_bytes, decoded, NULL, &err),
             err);
    for (size_t i = 0; i < n; i++) CHECK(isfinite(decoded[i]));
    if (!weighed) check_near(seed, spec, n, worst);
    if (!weighed && stable) {
        encode(&again, spec, n_out, n_in, 2, decoded);
        if (memcmp(again.out.data, one.out.data, one.out.n_bytes) != 0)
            ucb_test_fail(__FILE__, __LINE__,
                          "UCB_SEED=%llu: %s: encoding the decode gives other bytes",
                          (unsigned long long)seed, spec);
        fixture_close(&again);
    }
    fixture_close(&one);
    fixture_close(&seven);
}

static void run_round(uint64_t seed)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, seed, "gguf");
    uint32_t n_in = 32 * (1 + ucb_pcg_below(&r, 32));
    if (seed % 2 == 0) n_in = 256 * (1 + ucb_pcg_below(&r, 4));
    uint32_t n_out = 1 +
                     ucb_pcg_below(&r, MAX_WEIGHTS / n_in < 70 ? MAX_WEIGHTS / n_in : 70);
    fill(&r, (size_t)n_out * n_in, n_in);
    for (size_t i = 0; i < N_TYPES; i++)
        for (int weighed = 0; weighed < 2; weighed++)
            check_spec(
                seed, ucb_test_path("gguf:type=%s,imatrix=%d", types[i].name, weighed),
                n_out, n_in, weighed, n_in % 256 == 0 || i < 5 ? types[i].worst : 0.35,
                n_in % 256 == 0 || i < 5 ? types[i].stable : false);
}

TEST(gguf_on_random_matrices_is_near_and_the_same_for_any_number_of_threads)
{
    const char *replay = getenv("UCB_SEED");
    if (replay != NULL) run_round(strtoull(replay, NULL, 10));
    for (uint64_t seed = 1; replay == NULL && seed <= N_ROUNDS; seed++) run_round(seed);
}

/* Fills `out` with what one instruction set makes of w. */
static size_t encode_on(const struct gguf_path *path, enum ucb_dtype dtype, size_t n_out,
                        size_t n_in, const float *q, uint8_t *out)
{
    static float mean_square[MAX_WEIGHTS / 256];
    size_t n_blocks = n_out * n_in / ucb_dtype_block_elements(dtype);
    struct gguf_span span = {.w = w,
                             .importance = q,
                             .row_mean_square = mean_square,
                             .n_in = n_in,
                             .n = n_blocks};
    path->row_mean_squares(w, n_out, n_in, mean_square);
    path->encode[dtype](&span, out);
    return n_blocks * ucb_dtype_block_bytes(dtype);
}

TEST(every_instruction_set_writes_the_same_gguf_bytes)
{
    static uint8_t expected[2 * MAX_WEIGHTS], found[2 * MAX_WEIGHTS];
    static float q[1024];
    if (gguf_path_at(1) == NULL) SKIP("this machine has one instruction set only");
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct ucb_pcg r;
        ucb_pcg_named(&r, seed, "paths");
        size_t n_in = 256 * (1 + ucb_pcg_below(&r, 4)), n_out = 1 + ucb_pcg_below(&r, 40);
        fill(&r, n_out * n_in, (uint32_t)n_in);
        for (size_t j = 0; j < n_in; j++) q[j] = (float)importance[j];
        for (size_t i = 0; i < 2 * N_TYPES; i++) {
            const char *name = types[i / 2].name;
            enum ucb_dtype dtype = ucb_dtype_find(name, strlen(name));
            const float *weights = i % 2 == 0 ? NULL : q;
            size_t n = encode_on(gguf_path_at(0), dtype, n_out, n_in, weights, expected);
            for (size_t p = 1; gguf_path_at(p) != NULL; p++) {
                encode_on(gguf_path_at(p), dtype, n_out, n_in, weights, found);
                if (memcmp(found, expected, n) != 0)
                    ucb_test_fail(__FILE__, __LINE__, "UCB_SEED=%llu: %s of %s differs",
                                  (unsigned long long)seed, name, gguf_path_at(p)->name);
            }
        }
    }
}
