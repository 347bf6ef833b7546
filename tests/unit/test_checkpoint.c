/* Checkpoints: both formats right, both wrong in every way the format names. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/half.h"
#include "core/file.h"
#include "gguf_build.h"
#include "model/model_internal.h"

/* A safetensors file's bytes: length, header, n_data bytes of data. */
static uint8_t *make_safetensors(const char *header, size_t n_data, size_t *n_bytes)
{
    uint64_t n = strlen(header);
    uint8_t *file = calloc(1, 8 + n + n_data);
    CHECK(file != NULL);
    memcpy(file, &n, 8);
    memcpy(file + 8, header, n);
    *n_bytes = 8 + n + n_data;
    return file;
}

static ucb_status parse_safetensors(const uint8_t *data, size_t n, struct ucb_checkpoint *c,
                                    struct ucb_err *err)
{
    *c = (struct ucb_checkpoint){0};
    UCB_TRY(ucb_safetensors_parse(c, "file.safetensors", data, n, err));
    return ucb_checkpoint_index(c, err);
}

static ucb_status parse_gguf(const uint8_t *data, size_t n, struct ucb_checkpoint *c,
                             struct ucb_err *err)
{
    *c = (struct ucb_checkpoint){0};
    UCB_TRY(ucb_gguf_parse(c, "file.gguf", data, n, err));
    return ucb_checkpoint_index(c, err);
}

/* ---- safetensors ---- */

TEST(a_safetensors_header_is_read_in_any_order_with_scalars_and_empties)
{
    static const char header[] =
        " {\"b\" : {\"shape\":[2,3],\"dtype\":\"F32\",\"data_offsets\":[2,26]},\n\t\"a\":{\"data_offsets\":[0,2],"
        "\"dtype\":\"BF16\",\"shape\":[]},\"__metadata__\":{\"k\\u00e9\\n\":\"\\\"v\\\"\"},"
        "\"e\":{\"dtype\":\"I64\",\"shape\":[0,7],\"data_offsets\":[2,2]}}   ";
    size_t n;
    struct ucb_checkpoint c;
    struct ucb_err err;
    uint8_t *file = make_safetensors(header + 1, 26,
                                     &n); /* + 1: the header must begin with the brace */
    CHECK_OK(parse_safetensors(file, n, &c, &err), err);
    CHECK_EQ(c.n_tensors, 3);
    CHECK_TEXT(c.tensors[0].name, "a");
    CHECK_TEXT(c.tensors[1].name, "e");
    CHECK_TEXT(c.tensors[2].name, "b");
    const struct ucb_tensor *a = ucb_checkpoint_find(&c, "a"),
                            *b = ucb_checkpoint_find(&c, "b");
    CHECK(a->n_dims == 0 && a->n_elements == 1 && a->n_bytes == 2);
    CHECK(b->n_dims == 2 && b->shape[0] == 2 && b->shape[1] == 3 && b->n_bytes == 24 &&
          b->data == a->data + 2);
    CHECK(ucb_checkpoint_find(&c, "c") == NULL);
    ucb_arena_free(&c.arena);
    free(file);
}

TEST(a_safetensors_file_without_tensors_is_legal)
{
    struct ucb_checkpoint c;
    struct ucb_err err;
    size_t n;
    uint8_t *file = make_safetensors("{}", 0, &n);
    CHECK_OK(parse_safetensors(file, n, &c, &err), err);
    CHECK_EQ(c.n_tensors, 0);
    CHECK(ucb_checkpoint_find(&c, "a") == NULL);
    ucb_arena_free(&c.arena);
    free(file);
}

TEST(escapes_in_a_tensor_name_are_decoded)
{
    struct ucb_checkpoint c;
    struct ucb_err err;
    size_t n;
    uint8_t *file = make_safetensors(
        "{\"a\\/\\u00e9\\ud83d\\ude00\\\\\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
        1, &n);
    CHECK_OK(parse_safetensors(file, n, &c, &err), err);
    CHECK_TEXT(c.tensors[0].name, "a/\xc3\xa9\xf0\x9f\x98\x80\\");
    ucb_arena_free(&c.arena);
    free(file);
}

#define U8_AT(range) "{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" range "}"

TEST(a_safetensors_header_that_lies_is_refused)
{
    static const struct {
        const char *header;
        size_t n_data;
        ucb_status status;
        const char *part;
    } cases[] = {
        {"[]", 0, UCB_CORRUPT, "no '{'"},
        {"{", 0, UCB_CORRUPT, "no '{'"}, /* shorter than any header */
        {"{ ", 0, UCB_CORRUPT, "quotes"},
        {"{}x", 0, UCB_CORRUPT, "other than spaces"},
        {"{}\n", 0, UCB_CORRUPT, "other than spaces"},
        {"{\"a\":" U8_AT("[0,4]") ",}", 4, UCB_CORRUPT, "quotes"},
        {"{\"a\":" U8_AT("[0,4]"), 4, UCB_CORRUPT, "expected '}'"},
        {"{\"a\":" U8_AT("[0,4]") ",\"a\":" U8_AT("[4,8]") "}", 8, UCB_CORRUPT,
         "there twice"},
        {"{\"a\":" U8_AT("[0,4]") ",\"\\u0061\":" U8_AT("[4,8]") "}", 8, UCB_CORRUPT,
         "there twice"},
        {"{\"a\":" U8_AT("[0,4]") ",\"b\":" U8_AT("[2,6]") "}", 6, UCB_CORRUPT, "overlaps"},
        {"{\"a\":" U8_AT("[0,4]") ",\"b\":" U8_AT("[0,4]") "}", 4, UCB_CORRUPT, "overlaps"},
        {"{\"a\":" U8_AT("[0,4]") ",\"b\":" U8_AT("[6,10]") "}", 10, UCB_CORRUPT,
         "belong to no tensor"},
        {"{\"a\":" U8_AT("[1,5]") "}", 5, UCB_CORRUPT, "belong to no tensor"},
        {"{\"a\":" U8_AT("[0,4]") "}", 5, UCB_CORRUPT, "1 bytes follow"},
        {"{\"a\":" U8_AT("[0,4]") "}", 3, UCB_CORRUPT,
         "is cut short: a tensor's data ends after the end of the file"},
        {"{\"a\":" U8_AT("[0,3]") "}", 4, UCB_CORRUPT, "takes 4 bytes"},
        {"{\"a\":" U8_AT("[4,0]") "}", 4, UCB_CORRUPT, "takes 4 bytes"},
        {"{\"a\":" U8_AT("[18446744073709551615,3]") "}", 4, UCB_CORRUPT, "takes 4 bytes"},
        {"{\"a\":" U8_AT("[18446744073709551612,18446744073709551616]") "}", 4, UCB_CORRUPT,
         "64 bits"},
        {"{\"a\":" U8_AT("[18446744073709551611,18446744073709551615]") "}", 4, UCB_CORRUPT,
         "cut short"},
        {"{\"a\":" U8_AT("[-0,4]") "}", 4, UCB_CORRUPT, "without sign"},
        {"{\"a\":" U8_AT("[0,4.0]") "}", 4, UCB_CORRUPT, "fraction"},
        {"{\"a\":" U8_AT("[0,4e0]") "}", 4, UCB_CORRUPT, "fraction"},
        {"{\"a\":" U8_AT("[0,04]") "}", 4, UCB_CORRUPT, "begins with 0"},
        {"{\"a\":" U8_AT("[0]") "}", 4, UCB_CORRUPT, "expected ','"},
        {"{\"a\":" U8_AT("[0,4,4]") "}", 4, UCB_CORRUPT, "expected ']'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
         0, UCB_CORRUPT, "64 bits"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}",
         0, UCB_CORRUPT, "64 bits"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}",
         4, UCB_CORRUPT, "8 dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4,
         UCB_CORRUPT, "a field other than"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         4, UCB_CORRUPT, "given twice"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, UCB_CORRUPT,
         "is missing"},
        {"{\"a\":{}}", 0, UCB_CORRUPT, "quotes"},
        {"{\"a\":{\"dtype\":\"F32 \",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
         UCB_UNSUPPORTED, "dtype F32 "},
        {"{\"a\":{\"dtype\":\"Q4_0\",\"shape\":[32],\"data_offsets\":[0,18]}}", 18,
         UCB_UNSUPPORTED, "dtype Q4_0"},
        {"{\"a\":null}", 0, UCB_CORRUPT, "expected '{'"},
        {"{\"\":" U8_AT("[0,4]") "}", 4, UCB_CORRUPT, "empty"},
        {"{\"a\\u0000\":" U8_AT("[0,4]") "}", 4, UCB_CORRUPT, "zero"},
        {"{\"a\\ud800\":" U8_AT("[0,4]") "}", 4, UCB_CORRUPT, "surrogate"},
        {"{\"a\\n\":" U8_AT("[0,4]") "}", 4, UCB_CORRUPT, "control character"},
        {"{\"a\\x\":" U8_AT("[0,4]") "}", 4, UCB_CORRUPT, "escape"},
        {"{\"a\xff\":" U8_AT("[0,4]") "}", 4, UCB_CORRUPT, "UTF-8"},
        {"{\"a\x01\":" U8_AT("[0,4]") "}", 4, UCB_CORRUPT, "control character"},
        {"{\"__metadata__\":{\"a\":1}}", 0, UCB_CORRUPT, "quotes"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, UCB_CORRUPT, "given twice"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ucb_checkpoint c;
        struct ucb_err err = {0};
        size_t n;
        uint8_t *file = make_safetensors(cases[i].header, cases[i].n_data, &n);
        CHECK_STATUS(parse_safetensors(file, n, &c, &err), cases[i].status, err);
        CHECK_HAS(err.text, cases[i].part);
        CHECK_HAS(err.text, "file.safetensors");
        ucb_arena_free(&c.arena);
        free(file);
    }
}

TEST(a_header_length_is_bounded_by_the_file_and_by_100_mb)
{
    struct ucb_checkpoint c;
    struct ucb_err err;
    uint8_t file[16] = {9, 0, 0, 0, 0, 0, 0, 0, '{', '}', ' ', ' ', ' ', ' ', ' ', ' '};
    CHECK_STATUS(parse_safetensors(file, sizeof(file), &c, &err), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "cut short");
    ucb_arena_free(&c.arena);
    memset(file, 0xff, 8);
    CHECK_STATUS(parse_safetensors(file, sizeof(file), &c, &err), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "100 MB");
    ucb_arena_free(&c.arena);
    CHECK_STATUS(parse_safetensors((const uint8_t *)"PK\3\4abcdefgh", 12, &c, &err),
                 UCB_CORRUPT, err);
    CHECK_HAS(err.text, "PyTorch");
    ucb_arena_free(&c.arena);
}

TEST(every_prefix_of_a_safetensors_file_is_refused)
{
    size_t n;
    uint8_t *file = make_safetensors(
        "{\"a\":" U8_AT(
            "[0,4]") ",\"b\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[4,12]}}",
        12, &n);
    for (size_t i = 0; i <= n; i++) {
        struct ucb_checkpoint c;
        struct ucb_err err;
        uint8_t *prefix = malloc(
            i + 1); /* its own block, so that a sanitizer sees a read past it */
        CHECK(prefix != NULL);
        memcpy(prefix, file, i);
        CHECK_STATUS(parse_safetensors(prefix, i, &c, &err), i < n ? UCB_CORRUPT : UCB_OK,
                     err);
        ucb_arena_free(&c.arena);
        free(prefix);
    }
    free(file);
}

TEST(the_writer_refuses_what_the_reader_would)
{
    struct ucb_err err;
    const char *path = ucb_test_path("%s/x.safetensors", ucb_test_folder());
    uint8_t bytes[32] = {0};
    struct ucb_tensor good = {.name = "a\"\\",
                              .dtype = UCB_F16,
                              .n_dims = 2,
                              .shape = {2, 3},
                              .data = bytes,
                              .n_bytes = 12};
    struct ucb_tensor two[2] = {good, good}, bad = good;
    CHECK_STATUS(ucb_safetensors_write(path, two, 2, &err), UCB_USAGE, err);
    bad.n_bytes = 11;
    CHECK_STATUS(ucb_safetensors_write(path, &bad, 1, &err), UCB_USAGE, err);
    bad = good;
    bad.name = "a\n";
    CHECK_STATUS(ucb_safetensors_write(path, &bad, 1, &err), UCB_USAGE, err);
    bad = good;
    bad.dtype = UCB_Q8_0;
    CHECK_STATUS(ucb_safetensors_write(path, &bad, 1, &err), UCB_USAGE, err);
    CHECK(access(path, F_OK) != 0);
    CHECK_OK(ucb_safetensors_write(path, &good, 1, &err), err);
    struct ucb_checkpoint *c;
    CHECK_OK(ucb_checkpoint_open(path, &c, &err), err);
    CHECK(ucb_checkpoint_find(c, "a\"\\") != NULL);
    ucb_checkpoint_close(c);
}

/* ---- GGUF ---- */

static const float two_floats[2] = {1.5f, -2.0f};

/* A file with a value of every kind and two tensors. */
static void build_small(struct gguf_build *b)
{
    gguf_text(b, "general.architecture", "llama");
    gguf_u32(b, "number", 7);
    gguf_f32(b, "real", 0.5f);
    gguf_key(b, "minus", GGUF_I16);
    ucb_put_u16(&b->values, (uint16_t)-3);
    gguf_key(b, "flag", GGUF_BOOL);
    ucb_put_u8(&b->values, 1);
    gguf_key(b, "words", GGUF_ARRAY);
    ucb_put_u32(&b->values, GGUF_TEXT);
    ucb_put_u64(&b->values, 3);
    gguf_put_text(&b->values, "");
    gguf_put_text(&b->values, "two");
    gguf_put_text(&b->values, "drei!");
    gguf_key(b, "types", GGUF_ARRAY);
    ucb_put_u32(&b->values, GGUF_I32);
    ucb_put_u64(&b->values, 2);
    ucb_put_u32(&b->values, 5);
    ucb_put_u32(&b->values, 6);
    gguf_tensor(b, "v", 0, 2, 0, two_floats, 8);
    gguf_tensor(b, "m", 2, 3, 1, (const uint8_t[12]){0, 0x3c}, 12);
}

TEST(a_gguf_gives_its_metadata_and_tensors_back)
{
    struct gguf_build b = {0};
    struct ucb_checkpoint c;
    struct ucb_err err;
    uint64_t u;
    double f;
    const char *text;
    const void *data;
    size_t n;
    build_small(&b);
    gguf_finish(&b);
    CHECK_OK(parse_gguf(b.file.data, b.file.n_bytes, &c, &err), err);
    CHECK(ucb_checkpoint_u64(&c, "number", &u) && u == 7);
    CHECK(ucb_checkpoint_u64(&c, "flag", &u) && u == 1);
    CHECK(!ucb_checkpoint_u64(&c, "minus", &u) && !ucb_checkpoint_u64(&c, "real", &u) &&
          !ucb_checkpoint_u64(&c, "numbe", &u));
    CHECK(ucb_checkpoint_f64(&c, "minus", &f) && f == -3.0);
    CHECK(ucb_checkpoint_f64(&c, "real", &f) && f == 0.5);
    CHECK(ucb_checkpoint_f64(&c, "number", &f) && f == 7.0);
    CHECK(!ucb_checkpoint_f64(&c, "flag", &f) && !ucb_checkpoint_f64(&c, "words", &f));
    CHECK(ucb_checkpoint_string(&c, "general.architecture", &text, &n) && n == 5 &&
          memcmp(text, "llama", 5) == 0);
    CHECK(ucb_checkpoint_strings(&c, "words", &n) && n == 3);
    CHECK(ucb_checkpoint_string_at(&c, "words", 0, &text, &n) && n == 0);
    CHECK(ucb_checkpoint_string_at(&c, "words", 2, &text, &n) && n == 5 &&
          memcmp(text, "drei!", 5) == 0);
    CHECK(!ucb_checkpoint_string_at(&c, "words", 3, &text, &n) &&
          !ucb_checkpoint_strings(&c, "types", &n));
    CHECK(ucb_checkpoint_i32s(&c, "types", &data, &n) && n == 2 &&
          ucb_load_u32((const uint8_t *)data + 4) == 6);
    CHECK(!ucb_checkpoint_f32s(&c, "types", &data, &n) && ucb_checkpoint_has(&c, "types"));
    const struct ucb_tensor *m = ucb_checkpoint_find(&c, "m"),
                            *v = ucb_checkpoint_find(&c, "v");
    CHECK(m->n_dims == 2 && m->shape[0] == 2 && m->shape[1] == 3 && m->dtype == UCB_F16 &&
          m->n_bytes == 12);
    CHECK(v->n_dims == 1 && v->shape[0] == 2 && memcmp(v->data, two_floats, 8) == 0);
    ucb_arena_free(&c.arena);
    gguf_free(&b);
}

TEST(version_2_and_other_alignments_are_read)
{
    struct gguf_build b = {.version = 2, .alignment = 128};
    struct ucb_checkpoint c;
    struct ucb_err err;
    gguf_u32(&b, "general.alignment", 128);
    gguf_tensor(&b, "v", 0, 2, 0, two_floats, 8);
    gguf_tensor(&b, "w", 0, 2, 0, two_floats, 8);
    gguf_finish(&b);
    CHECK_OK(parse_gguf(b.file.data, b.file.n_bytes, &c, &err), err);
    CHECK_EQ(ucb_checkpoint_find(&c, "w")->data - ucb_checkpoint_find(&c, "v")->data, 128);
    ucb_arena_free(&c.arena);
    gguf_free(&b);
}

TEST(every_prefix_of_a_gguf_is_refused)
{
    struct gguf_build b = {0};
    build_small(&b);
    gguf_finish(&b);
    for (size_t i = 0; i <= b.file.n_bytes; i++) {
        struct ucb_checkpoint c;
        struct ucb_err err;
        uint8_t *prefix = malloc(i + 1);
        CHECK(prefix != NULL);
        memcpy(prefix, b.file.data, i);
        CHECK_STATUS(parse_gguf(prefix, i, &c, &err),
                     i < b.file.n_bytes ? UCB_CORRUPT : UCB_OK, err);
        ucb_arena_free(&c.arena);
        free(prefix);
    }
    gguf_free(&b);
}

/* Each of these spoils a small file in one way. */
static void spoil(struct gguf_build *b, int way)
{
    static const uint64_t dims[5] = {4, 4, 4, 4, 4}, zero[2] = {4, 0},
                          huge[2] = {1ULL << 33, 1ULL << 33}, ragged[2] = {33, 2},
                          vast[4] = {1ULL << 62, 1, 1, 1}, most[1] = {1ULL << 40};
    char name[80];
    memset(name, 'n', sizeof(name));
    name[65] = '\0';
    switch (way) {
    case 0: gguf_u32(b, "general.alignment", 24); break;
    case 1: gguf_u32(b, "general.alignment", 0); break;
    case 2: gguf_text(b, "general.alignment", "32"); break;
    case 3: gguf_u32(b, "number", 8); break;
    case 4: gguf_key(b, "x", 13); break;
    case 5:
        gguf_key(b, "x", GGUF_BOOL);
        ucb_put_u8(&b->values, 2);
        break;
    case 6:
        gguf_key(b, "x", GGUF_TEXT);
        ucb_put_u64(&b->values, UINT64_MAX);
        break;
    case 7:
        gguf_key(b, "x", GGUF_ARRAY);
        ucb_put_u32(&b->values, GGUF_F64);
        ucb_put_u64(&b->values, 1ULL << 61);
        break;
    case 8:
        gguf_key(b, "x", GGUF_ARRAY);
        ucb_put_u32(&b->values, GGUF_TEXT);
        ucb_put_u64(&b->values, 1ULL << 61);
        break;
    case 9:
        gguf_key(b, "x", GGUF_ARRAY);
        ucb_put_u32(&b->values, 99);
        ucb_put_u64(&b->values, 0);
        break;
    case 10:
        gguf_key(b, "x", GGUF_ARRAY);
        for (int i = 0; i < 8; i++) {
            ucb_put_u32(&b->values, GGUF_ARRAY);
            ucb_put_u64(&b->values, 1);
        }
        break;
    case 11: gguf_u32(b, "", 1); break;
    case 12: gguf_u32(b, "x\ny", 1); break;
    case 13: gguf_info(b, "x", 0, dims, 0, 64); break;
    case 14: gguf_info(b, "x", 5, dims, 0, 64); break;
    case 15: gguf_info(b, "x", 2, zero, 0, 64); break;
    case 16: gguf_info(b, "x", 2, huge, 0, 64); break;
    case 17: gguf_info(b, "x", 4, vast, 0, 64); break;
    case 18: gguf_info(b, "x", 2, ragged, 8, 64); break;
    case 19: gguf_info(b, "x", 1, dims, 0, 65); break;
    case 20: gguf_info(b, "x", 1, dims, 1, 32); break;
    case 21: gguf_info(b, "x", 1, dims, 0, 96); break;
    case 22: gguf_info(b, "x", 1, most, 0, 64); break;
    case 23: gguf_info(b, "x", 1, dims, 0, 1ULL << 63); break;
    case 24: gguf_tensor(b, "v", 0, 2, 0, two_floats, 8); break;
    case 25: gguf_tensor(b, name, 0, 2, 0, two_floats, 8); break;
    case 26: gguf_tensor(b, "", 0, 2, 0, two_floats, 8); break;
    case 27: gguf_info(b, "x", 1, dims, 4, 64); break;
    case 28: gguf_info(b, "x", 1, dims, 1000, 64); break;
    case 29: gguf_info(b, "x", 1, dims, 16, 64); break;
    case 30: b->n_tensors = UINT64_MAX; break;
    case 31: b->n_values = UINT64_MAX / 2; break;
    case 32: b->version = 1; break;
    case 33: b->version = 3u << 24; break;
    case 34: b->version = 4; break;
    case 35:
        for (int i = 0; i < 33; i++) ucb_put_u8(&b->data, 0);
        break;
    default: break;
    }
}

TEST(a_gguf_that_lies_is_refused)
{
    static const struct {
        ucb_status status;
        const char *part;
    } expected[] = {
        {UCB_CORRUPT, "general.alignment is 24"},
        {UCB_CORRUPT, "general.alignment is 0"},
        {UCB_CORRUPT, "general.alignment has type 8"},
        {UCB_CORRUPT, "`number` is given twice"},
        {UCB_CORRUPT, "has type 13"},
        {UCB_CORRUPT, "bool of value 2"},
        {UCB_CORRUPT, "cut short"},
        {UCB_CORRUPT, "cut short"},
        {UCB_CORRUPT, "cut short"},
        {UCB_CORRUPT, "array of type 99"},
        {UCB_CORRUPT, "at depth 4"},
        {UCB_CORRUPT, "key of 0 bytes"},
        {UCB_CORRUPT, "key of 3 bytes"},
        {UCB_CORRUPT, "0 dimensions"},
        {UCB_CORRUPT, "5 dimensions"},
        {UCB_CORRUPT, "dimension of 0"},
        {UCB_CORRUPT, "too large"},
        {UCB_CORRUPT, "too large"},
        {UCB_CORRUPT, "whole blocks"},
        {UCB_CORRUPT, "offset 65"},
        {UCB_CORRUPT, "overlaps"},
        {UCB_CORRUPT, "belong to none"},
        {UCB_CORRUPT, "cut short: a tensor's data ends after the end of the file"},
        {UCB_CORRUPT, "cut short"},
        {UCB_CORRUPT, "there twice"},
        {UCB_CORRUPT, "name of 65 bytes"},
        {UCB_CORRUPT, "name of 0 bytes"},
        {UCB_UNSUPPORTED, "unknown type 4"},
        {UCB_UNSUPPORTED, "unknown type 1000"},
        {UCB_UNSUPPORTED, "IQ2_XXS"},
        {UCB_CORRUPT, "promises"},
        {UCB_CORRUPT, "promises"},
        {UCB_UNSUPPORTED, "GGUF version 1"},
        {UCB_UNSUPPORTED, "big-endian"},
        {UCB_UNSUPPORTED, "GGUF version 4"},
        {UCB_CORRUPT, "bytes follow the last tensor"},
    };
    for (int i = 0; i < (int)(sizeof(expected) / sizeof(expected[0])); i++) {
        struct gguf_build b = {0};
        struct ucb_checkpoint c;
        struct ucb_err err = {0};
        build_small(&b);
        spoil(&b, i);
        if (i == 21)
            for (int j = 0; j < 200; j++)
                ucb_put_u8(&b.data, 0); /* room for what the tensor claims */
        gguf_finish(&b);
        CHECK_STATUS(parse_gguf(b.file.data, b.file.n_bytes, &c, &err), expected[i].status,
                     err);
        CHECK_HAS(err.text, expected[i].part);
        CHECK_HAS(err.text, "file.gguf");
        ucb_arena_free(&c.arena);
        gguf_free(&b);
    }
}
