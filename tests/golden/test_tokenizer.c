/*
 * Tokenizers against vectors of Hugging Face tokenizers and llama.cpp:
 * golden/tokenizer/index.json says which made what.
 */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/arena.h"
#include "core/file.h"
#include "core/json.h"
#include "core/pcg.h"
#include "core/sha256.h"
#include "core/text.h"
#include "eval/calib.h"
#include "model/catalog.h"
#include "model/tokenizer.h"

static bool exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

static const char *shared_vocabulary(const char *name)
{
    if (ucb_test_shared() == NULL) SKIP("no shared inputs; set UCBENCH_SHARED");
    const char *path = ucb_test_path("%s/golden/tokenizer/%s", ucb_test_shared(), name);
    if (!exists(path)) SKIP("%s is not there", path);
    return path;
}

/* $UCBENCH_MODEL, else the model in the cache. */
static const char *smollm2(void)
{
    const char *model = getenv("UCBENCH_MODEL"), *cache = getenv("UCBENCH_CACHE"),
               *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (cache == NULL && xdg != NULL) cache = ucb_test_path("%s/ucbench", xdg);
    if (cache == NULL) cache = ucb_test_path("%s/.cache/ucbench", home == NULL ? "" : home);
    if (model == NULL)
        model = ucb_test_path("%s/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf",
                              cache);
    if (!exists(model)) SKIP("%s is not there; run make model", model);
    return model;
}

static struct ucb_tokenizer *open_tokenizer(const char *path)
{
    struct ucb_err err;
    struct ucb_tokenizer *t;
    CHECK_OK(ucb_tokenizer_open(path, &t, &err), err);
    return t;
}

/* "1 2 3" of ids, for comparing and for showing. */
static void write_ids(struct ucb_text *out, const struct ucb_ids *ids)
{
    for (size_t i = 0; i < ids->n; i++)
        ucb_text_add(out, "%s%u", i == 0 ? "" : " ", (unsigned)ids->ids[i]);
}

static void write_json_ids(struct ucb_text *out, const json_t *ids)
{
    size_t i;
    const json_t *id;
    json_array_foreach(ids, i, id)
        ucb_text_add(out, "%s%lld", i == 0 ? "" : " ", (long long)json_integer_value(id));
}

static void check_line(const struct ucb_tokenizer *t, const char *file, const json_t *line)
{
    struct ucb_text found = {0}, expected = {0};
    struct ucb_arena arena;
    struct ucb_ids ids;
    struct ucb_err err;
    const json_t *text = json_object_get(line, "text");
    ucb_arena_init(&arena);
    CHECK_OK(ucb_tokenize(t, json_string_value(text), json_string_length(text), &arena,
                          &ids, &err),
             err);
    write_ids(&found, &ids);
    write_json_ids(&expected, json_object_get(line, "ids"));
    if (strcmp(ucb_text_get(&found), ucb_text_get(&expected)) != 0)
        ucb_test_fail(__FILE__, __LINE__, "%s, id %lld: [%s], expected [%s]", file,
                      (long long)json_integer_value(json_object_get(line, "id")),
                      ucb_text_get(&found), ucb_text_get(&expected));
    for (size_t i = 1; i < ids.n; i++) CHECK(ids.start[i] > ids.start[i - 1]);
    ucb_text_free(&found);
    ucb_text_free(&expected);
    ucb_arena_free(&arena);
}

static void check_vectors_of(const char *name, const char *vocabulary, size_t n_expected)
{
    const char *path = ucb_test_path("%s/tests/golden/tokenizer/%s.jsonl", ucb_test_root(),
                                     name);
    struct ucb_tokenizer *t = open_tokenizer(vocabulary);
    char buffer[8192];
    size_t n = 0;
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    for (; fgets(buffer, sizeof(buffer), file) != NULL; n++) {
        struct ucb_err err;
        json_t *line;
        CHECK_OK(ucb_json_parse(path, buffer, strlen(buffer), &line, &err), err);
        check_line(t, name, line);
        json_decref(line);
    }
    fclose(file);
    CHECK_EQ(n, n_expected);
    ucb_tokenizer_close(t);
}

static void check_vectors(const char *name, const char *vocabulary)
{
    check_vectors_of(name, vocabulary, 152);
}

TEST(the_smollm2_tokenizer_equals_its_vectors)
{
    check_vectors("smollm2", smollm2());
}

TEST(the_gpt2_tokenizer_equals_its_vectors)
{
    check_vectors("gpt2", shared_vocabulary("gpt2.tokenizer.json"));
}

TEST(the_llama3_tokenizer_equals_its_vectors)
{
    check_vectors("llama3", shared_vocabulary("ggml-vocab-llama-bpe.gguf"));
}

TEST(the_qwen2_tokenizer_equals_its_vectors)
{
    check_vectors("qwen2", shared_vocabulary("ggml-vocab-qwen2.gguf"));
}

TEST(the_gpt_neox_tokenizer_equals_its_vectors)
{
    check_vectors("gpt-neox", shared_vocabulary("gpt-neox.tokenizer.json"));
}

TEST(the_llama2_tokenizer_equals_its_vectors)
{
    check_vectors("llama2-spm", shared_vocabulary("ggml-vocab-llama-spm.gguf"));
}

static const char *gemma3(void)
{
    static char path[4096];
    struct ucb_err err;
    if (ucb_model_locate("gemma3-270m", NULL, path, sizeof(path), &err) != UCB_OK)
        SKIP("%s", err.text);
    return path;
}

TEST(metaspace_tokenizers_equal_their_vectors)
{
    static const char *const names[] = {"metaspace-always", "metaspace-first",
                                        "metaspace-never"};
    for (size_t i = 0; i < 3; i++)
        check_vectors_of(names[i],
                         ucb_test_path("%s/tests/golden/tokenizer/%s.tokenizer.json",
                                       ucb_test_root(), names[i]),
                         13);
}

/* Tokens that take the white space beside them, lie in what another took, begin alike with
 * one that is not normalized, or are normalized themselves. */
TEST(added_tokens_are_found_where_hugging_face_finds_them)
{
    static const struct {
        const char *name;
        size_t n;
    } sets[] = {{"added-spm", 16}, {"added-metaspace", 18}, {"added-bytes", 18}};
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
        check_vectors_of(sets[i].name,
                         ucb_test_path("%s/tests/golden/tokenizer/%s.tokenizer.json",
                                       ucb_test_root(), sets[i].name),
                         sets[i].n);
}

/* Regular expressions out of the file, in a row, with each behavior of a Split. */
TEST(expressions_of_a_file_cut_as_hugging_face_cuts)
{
    static const char *const names[] = {"split-deepseek2", "split-o200k",
                                        "split-behaviors"};
    for (size_t i = 0; i < 3; i++)
        check_vectors_of(names[i],
                         ucb_test_path("%s/tests/golden/tokenizer/%s.tokenizer.json",
                                       ucb_test_root(), names[i]),
                         60);
}

TEST(the_gemma3_tokenizer_equals_its_vectors)
{
    check_vectors_of("gemma3", gemma3(), 153);
}

TEST(the_gemma3_tokenizer_adds_bos)
{
    struct ucb_tokenizer *t = open_tokenizer(gemma3());
    CHECK_EQ(ucb_tokenizer_n_ids(t), 262144);
    CHECK_EQ(ucb_tokenizer_bos(t), 2);
    CHECK(ucb_tokenizer_adds_bos(t));
    ucb_tokenizer_close(t);
}

/* ---- whole files: evaluation data is not part of the repository ---- */

static void map_shared(const char *name, struct ucb_file *file)
{
    struct ucb_err err;
    if (ucb_test_shared() == NULL) SKIP("no shared inputs; set UCBENCH_SHARED");
    const char *path = ucb_test_path("%s/data/%s", ucb_test_shared(), name);
    if (!exists(path)) SKIP("%s is not there", path);
    CHECK_OK(ucb_file_map(path, file, &err), err);
}

static void check_digest(const uint32_t *ids, size_t n, size_t expected_n,
                         const char *expected)
{
    char hex[UCB_SHA256_HEX];
    ucb_sha256_hex(ids, n * sizeof(*ids), hex);
    CHECK_EQ(n, expected_n);
    CHECK_TEXT(hex, expected);
}

static void check_file(const char *name, size_t n, const char *digest)
{
    struct ucb_file file;
    struct ucb_arena arena;
    struct ucb_ids ids;
    struct ucb_err err;
    struct ucb_tokenizer *t = open_tokenizer(smollm2());
    map_shared(name, &file);
    ucb_arena_init(&arena);
    CHECK_OK(ucb_tokenize(t, (const char *)file.data, file.n_bytes, &arena, &ids, &err),
             err);
    check_digest(ids.ids, ids.n, n, digest);
    ucb_arena_free(&arena);
    ucb_file_unmap(&file);
    ucb_tokenizer_close(t);
}

TEST(smollm2_cuts_the_wikitext_test_split_into_303415_ids)
{
    check_file("wikitext-2-raw.test.txt", 303415,
               "18e663b61dd00f49796c8a6ae498b7dbe009cac4a2eaf3c67fa7d81baf47d945");
}

TEST(smollm2_cuts_the_wikitext_validation_split_into_266981_ids)
{
    check_file("wikitext-2-raw.valid.txt", 266981,
               "43cc2bbdcef227dedf734323e6371e7d61047d797e140f37940db00caa9e5e50");
}

/* The windows of a calibration, and the digest of the file they come from. */
static void check_windows(const char *spec, const struct ucb_tokenizer *t,
                          const struct ucb_ids *all)
{
    struct ucb_calib_spec parsed;
    struct ucb_calib_text text;
    struct ucb_pcg random;
    struct ucb_arena arena;
    struct ucb_err err;
    ucb_arena_init(&arena);
    CHECK_OK(ucb_calib_parse(spec, &parsed, &err), err);
    CHECK_OK(ucb_calib_load(&parsed, ucb_test_path("%s/data", ucb_test_shared()), t, &arena,
                            &text, &err),
             err);
    CHECK_TEXT(text.digest,
               "4cd0f6876d07a413aa911261ff6d363c72d757d47f0fdd6015702014c89cb9c7");
    CHECK_EQ(text.n_windows, parsed.n);
    ucb_pcg_named(&random, parsed.seed, "calib/wikitext-valid");
    for (size_t w = 0; w < text.n_windows; w++) {
        uint32_t start = ucb_pcg_below(&random, (uint32_t)all->n - parsed.ctx + 1);
        CHECK(memcmp(text.ids + w * parsed.ctx, all->ids + start,
                     parsed.ctx * sizeof(*text.ids)) == 0);
    }
    ucb_arena_free(&arena);
}

TEST(calibration_windows_are_pieces_of_the_validation_splits_266981_ids)
{
    struct ucb_file file;
    struct ucb_arena arena;
    struct ucb_ids ids;
    struct ucb_err err;
    struct ucb_tokenizer *t = open_tokenizer(smollm2());
    map_shared("wikitext-2-raw.valid.txt", &file);
    ucb_arena_init(&arena);
    CHECK_OK(ucb_tokenize(t, (const char *)file.data, file.n_bytes, &arena, &ids, &err),
             err);
    CHECK_EQ(ids.n, 266981);
    check_windows("wikitext-valid", t, &ids);
    check_windows("wikitext-valid:n=3,ctx=2048,seed=9", t, &ids);
    ucb_arena_free(&arena);
    ucb_file_unmap(&file);
    ucb_tokenizer_close(t);
}

/* Each line is a text of its own; the ids of all follow each other. */
static size_t tokenize_lines(const struct ucb_tokenizer *t, const struct ucb_file *file,
                             struct ucb_arena *arena, uint32_t *all)
{
    size_t n = 0;
    const char *p = (const char *)file->data, *end = p + file->n_bytes;
    for (const char *next; p < end; p = next + 1) {
        struct ucb_err err;
        struct ucb_ids ids;
        json_t *line;
        next = memchr(p, '\n', (size_t)(end - p));
        if (next == NULL) next = end;
        CHECK_OK(ucb_json_parse("lambada_test.jsonl", p, (size_t)(next - p), &line, &err),
                 err);
        const json_t *text = json_object_get(line, "text");
        CHECK_OK(ucb_tokenize(t, json_string_value(text), json_string_length(text), arena,
                              &ids, &err),
                 err);
        memcpy(all + n, ids.ids, ids.n * sizeof(*all));
        n += ids.n;
        json_decref(line);
        ucb_arena_reset(arena);
    }
    return n;
}

TEST(smollm2_cuts_the_lambada_passages_into_420349_ids)
{
    struct ucb_file file;
    struct ucb_arena arena;
    struct ucb_tokenizer *t = open_tokenizer(smollm2());
    map_shared("lambada_test.jsonl", &file);
    ucb_arena_init(&arena);
    uint32_t *all = malloc(file.n_bytes * sizeof(*all));
    CHECK(all != NULL);
    size_t n = tokenize_lines(t, &file, &arena, all);
    check_digest(all, n, 420349,
                 "ce65b61d11d63417e38c6780cccb4056ec91c52ecb96a7cc1260e215d1cbc0a7");
    free(all);
    ucb_arena_free(&arena);
    ucb_file_unmap(&file);
    ucb_tokenizer_close(t);
}
