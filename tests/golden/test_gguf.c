/* gguf against ggml 0.25.3: every byte that its encoders write and every bit that its
 * decoders read, for each instruction set that this machine has. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "../../methods/gguf/gguf.h"
#include "core/sha256.h"
#include "method_fixture.h"
#include "model/widen.h"
#include "vectors.h"

enum { MAX_WEIGHTS = 16 * 1024 };

static enum ucb_dtype type_of(const json_t *c)
{
    const char *name = json_string_value(json_object_get(c, "method"));
    enum ucb_dtype dtype = ucb_dtype_find(name, strlen(name));
    CHECK(dtype != UCB_N_DTYPES);
    return dtype;
}

static void run_decode(const json_t *c)
{
    static float out[MAX_WEIGHTS];
    struct vector packed = vectors_role(c, "packed"), in = vectors_input(c);
    CHECK(in.n <= MAX_WEIGHTS);
    ucb_widen(type_of(c), packed.data, in.n, out);
    vectors_same(c, "deq", out, in.n * sizeof(*out));
}

TEST(gguf_blocks_decode_to_the_bits_of_ggml)
{
    CHECK_EQ(vectors_each("gguf.safetensors", run_decode), 100);
}

/* Rows whose codes C leaves undefined must decode to zeros of either sign. */
static bool is_exempt(const json_t *c, size_t row)
{
    const json_t *rows = json_object_get(json_object_get(c, "tolerance"),
                                         "rows_exempt_from_packed");
    for (size_t i = 0; i < json_array_size(rows); i++)
        if ((size_t)json_integer_value(json_array_get(rows, i)) == row) return true;
    return false;
}

static void check_packed(const json_t *c, const char *what, const uint8_t *found)
{
    struct vector packed = vectors_role(c, "packed"), in = vectors_input(c);
    size_t row_bytes = packed.shape[1], n_in = in.shape[1];
    const uint8_t *expected = packed.data;
    static float out[MAX_WEIGHTS];
    for (size_t row = 0; row < packed.shape[0]; row++) {
        const uint8_t *a = found + row * row_bytes, *b = expected + row * row_bytes;
        if (is_exempt(c, row)) {
            ucb_widen(type_of(c), a, n_in, out);
            for (size_t i = 0; i < n_in; i++) CHECK(out[i] == 0);
            continue;
        }
        for (size_t i = 0; i < row_bytes; i++)
            if (a[i] != b[i])
                ucb_test_fail(__FILE__, __LINE__,
                              "%s, %s: byte %zu of row %zu is %u, ggml wrote %u",
                              vectors_id(c), what, i, row, a[i], b[i]);
    }
}

/* The whole method, as a chain runs it. */
static void run_encode(const json_t *c)
{
    static double sq_mean[1024];
    struct method_fixture f;
    struct vector in = vectors_input(c);
    bool weighed = vectors_number(c, "imatrix") != 0;
    struct ucb_calib calib = {.n_tokens = 1, .n_sequences = 1, .sq_mean = sq_mean};
    struct ucb_source src = {.w = in.data, .calib = weighed ? &calib : NULL};
    struct ucb_writer *out = &f.out;
    struct ucb_err err;
    if (weighed) {
        struct vector q = vectors_input_at(c, 1);
        CHECK_EQ(q.n, in.shape[1]);
        for (size_t i = 0; i < q.n; i++) sq_mean[i] = ((const float *)q.data)[i];
    }
    fixture_open(
        &f,
        ucb_test_path("gguf:type=%s,imatrix=%d", ucb_dtype_name(type_of(c)), (int)weighed),
        (uint32_t)in.shape[0], (uint32_t)in.shape[1], UCB_F32, 2);
    src.matrix = &f.matrix;
    CHECK_OK(ucb_chain_encode(f.chain, &f.context, &src, 1, &out, &err), err);
    CHECK_EQ(f.out.n_bytes, vectors_role(c, "packed").n_bytes);
    check_packed(c, "chain", f.out.data);
    fixture_close(&f);
}

TEST(gguf_writes_the_bytes_of_ggml)
{
    CHECK_EQ(vectors_each("gguf.safetensors", run_encode), 100);
}

/* The encoders alone, in spans of every length: idle lanes change nothing. */
static void run_path(const json_t *c, const struct gguf_path *path, size_t span_blocks)
{
    static uint8_t out[4 * MAX_WEIGHTS];
    static float mean_square[64];
    struct vector in = vectors_input(c);
    enum ucb_dtype dtype = type_of(c);
    struct gguf_span span = {.w = in.data, .n_in = in.shape[1]};
    size_t n_blocks = in.n / ucb_dtype_block_elements(dtype);
    if (vectors_number(c, "imatrix") != 0) {
        span.importance = vectors_input_at(c, 1).data;
        span.row_mean_square = mean_square;
        path->row_mean_squares(in.data, in.shape[0], in.shape[1], mean_square);
    }
    for (span.first = 0; span.first < n_blocks; span.first += span.n) {
        span.n = n_blocks - span.first < span_blocks ? n_blocks - span.first : span_blocks;
        path->encode[dtype](&span, out + span.first * ucb_dtype_block_bytes(dtype));
    }
    check_packed(c, ucb_test_path("%s, %zu blocks at a time", path->name, span_blocks),
                 out);
}

static void run_paths(const json_t *c)
{
    for (size_t i = 0; gguf_path_at(i) != NULL; i++)
        for (size_t n = 1; n <= 33; n += n < 4 ? 1 : 29) run_path(c, gguf_path_at(i), n);
}

TEST(gguf_writes_them_on_every_instruction_set_and_in_pieces_of_any_length)
{
    vectors_each("gguf.safetensors", run_paths);
}

/* Where an outlier has weight 0 its quotient is past 2^22, and the rounding of ggml gives
 * codes that are not the nearest: the same ones come out here. Digests of what ggml 0.25.3
 * wrote. */
TEST(an_outlier_of_weight_0_gets_the_codes_that_ggml_gives_it)
{
    static const struct {
        enum ucb_dtype type;
        const char *sha256;
    } cases[] = {
        {UCB_Q4_1, "9b6983a2cf1fef61a64bc66fede507977863c0ca0adb1e72e82ccda584dfa3c1"},
        {UCB_Q5_1, "1978f703731e904d422c67585cfe13b180825277dab0faf14bb229566e3456a0"},
        {UCB_Q4_K, "dfcbc909821c57532b95ec6d5cca1d897bebe578e770139ecfc447e010733f24"},
        {UCB_Q5_K, "20729040d2c6d8f623eabb61c83a904cbd7320ec19842df497c282aca78a4f3f"}};
    float w[512], importance[512], mean_square;
    uint8_t out[512];
    char hex[UCB_SHA256_HEX];
    for (int i = 0; i < 512; i++) {
        bool outlier = i % 32 == 9;
        w[i] = outlier ? -(30000.0f + 103.0f * (float)(i / 32))
                       : (float)(i * 103 % 101 - 50) * 0.001f;
        importance[i] = outlier ? 0.0f : (float)(1 + i % 7);
    }
    struct gguf_span span = {
        .w = w, .n_in = 512, .importance = importance, .row_mean_square = &mean_square};
    for (size_t p = 0; gguf_path_at(p) != NULL; p++)
        for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
            span.n = 512 / ucb_dtype_block_elements(cases[c].type);
            gguf_path_at(p)->row_mean_squares(w, 1, 512, &mean_square);
            gguf_path_at(p)->encode[cases[c].type](&span, out);
            ucb_sha256_hex(out, span.n * ucb_dtype_block_bytes(cases[c].type), hex);
            CHECK_TEXT(hex, cases[c].sha256);
        }
}
