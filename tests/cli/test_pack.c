/* ucbench pack --format gguf: what it writes is what a sweep measured, what it refuses,
 * what it leaves behind. */
#include "test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "core/file.h"
#include "core/json.h"
#include "gguf_build.h"
#include "model/checkpoint.h"
#include "model/tokenizer.h"
#include "tiny.h"
#include "tiny_tokenizer.h"

static char out[1 << 16];
static struct ucb_err err;

static const char *here(const char *name)
{
    return ucb_test_path("%s/%s", ucb_test_folder(), name);
}

static const char *tiny(void)
{
    const char *model = here("tiny");
    ucb_tiny_model(model);
    return model;
}

static void copy(const char *from, const char *to)
{
    struct ucb_file file;
    CHECK_OK(ucb_file_map(from, &file, &err), err);
    CHECK_OK(ucb_file_write(to, file.data, file.n_bytes, &err), err);
    ucb_file_unmap(&file);
}

/* A golden model's folder with a vocabulary.gguf of one entry beside it. */
static const char *with_vocabulary(const char *name)
{
    struct gguf_build b = {0};
    const char *folder = here(name);
    CHECK_OK(ucb_folder_make(folder, &err), err);
    for (int i = 0; i < 2; i++) {
        const char *file = i == 0 ? "config.json" : "model.safetensors";
        copy(ucb_test_path("%s/tests/golden/arch/%s/%s", ucb_test_root(), name, file),
             ucb_test_path("%s/%s", folder, file));
    }
    gguf_text(&b, "general.name", "not copied");
    gguf_text(&b, "tokenizer.ggml.model", "gpt2");
    gguf_finish(&b);
    CHECK_OK(ucb_file_write(ucb_test_path("%s/vocabulary.gguf", folder), b.file.data,
                            b.file.n_bytes, &err),
             err);
    gguf_free(&b);
    return folder;
}

static const char *some_ids(void)
{
    static const int32_t ids[] = {1, 100, 7, 64, 64, 3, 99, 12, 0, 55, 31, 2};
    const char *path = here("ids.safetensors");
    ucb_write_ids(path, ids, sizeof(ids) / sizeof(*ids));
    return path;
}

static void check_same_file(const char *a, const char *b, const char *what)
{
    struct ucb_file x, y;
    CHECK_OK(ucb_file_map(a, &x, &err), err);
    CHECK_OK(ucb_file_map(b, &y, &err), err);
    if (x.n_bytes != y.n_bytes || memcmp(x.data, y.data, x.n_bytes) != 0)
        ucb_test_fail(__FILE__, __LINE__, "%s: %s and %s differ", what, a, b);
    ucb_file_unmap(&x);
    ucb_file_unmap(&y);
}

/* Packs, and compares every logit of the file with those of the model run through the
 * method in memory. */
static void check_runs_as_measured(const char *model, const char *method, const char *scope)
{
    const char *gguf = here("packed.gguf"), *ids = some_ids();
    RUN(0, "pack --format gguf --model %s --method %s --scope %s --out %s", model, method,
        scope, gguf);
    RUN(0, "dump --model %s --method %s --scope %s --ids %s --out %s", model, method, scope,
        ids, here("memory.safetensors"));
    RUN(0, "dump --model %s --ids %s --out %s", gguf, ids, here("file.safetensors"));
    check_same_file(here("memory.safetensors"), here("file.safetensors"),
                    ucb_test_path("%s, scope %s", method, scope));
}

static int64_t number(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

TEST(a_packed_model_gives_the_logits_of_the_method_in_memory)
{
    static const char *const methods[] = {"none", "nf4:double_quant=1",
                                          "hqq:bits=3,group=32", "int8", "rtn:bits=4"};
    static const char *const scopes[] = {"body", "linear", "all"};
    const char *model = tiny();
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        for (size_t k = 0; k < 3; k++) check_runs_as_measured(model, methods[i], scopes[k]);
    RUN(0, "pack --format gguf --model %s --method none --out %s", model, here("t.gguf"));
    check_runs_as_measured(here("t.gguf"), "nf4", "linear");
}

TEST(recipes_and_types_run_as_measured_and_keep_their_bytes)
{
    static const char *const methods[] = {"gguf:type=Q4_0",     "gguf:type=Q6_K",
                                          "gguf:recipe=Q4_K_M", "gguf:recipe=IQ4_XS",
                                          "gguf:recipe=F16",    "gguf:recipe=BF16"};
    const char *model = tiny();
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        check_runs_as_measured(model, methods[i], "body");
    check_runs_as_measured(model, "gguf:type=Q5_1", "linear");
    check_runs_as_measured(with_vocabulary("llama-rope-llama3"), "gguf:recipe=Q2_K", "all");
}

/* The sum of a database's values of a metric, for a method. */
static double sum_of(const char *db, const char *metric, const char *spec)
{
    sqlite3 *handle;
    sqlite3_stmt *query;
    CHECK_EQ(sqlite3_open(db, &handle), SQLITE_OK);
    CHECK_EQ(sqlite3_prepare_v2(
                 handle,
                 "SELECT sum(value), count(*) FROM v_results WHERE metric = ? AND spec = ?",
                 -1, &query, NULL),
             SQLITE_OK);
    sqlite3_bind_text(query, 1, metric, -1, SQLITE_STATIC);
    sqlite3_bind_text(query, 2, spec, -1, SQLITE_STATIC);
    CHECK_EQ(sqlite3_step(query), SQLITE_ROW);
    CHECK_EQ(sqlite3_column_int(query, 1), 1);
    double value = sqlite3_column_double(query, 0);
    sqlite3_finalize(query);
    sqlite3_close(handle);
    return value;
}

static void sweep(const char *model, const char *method, const char *db)
{
    RUN(0,
        "sweep --quiet --model %s --method %s --calib calib-mini:n=2,ctx=64 --task "
        "wikitext:ctx=64,n=4 --data mini --db %s --cache %s",
        model, method, db, here("cache"));
}

TEST(a_calibrated_cell_and_its_packed_file_score_the_same)
{
    static const char method[] = "gguf:type=Q4_0,imatrix=1";
    const char *model = tiny(), *gguf = here("packed.gguf"), *plain = here("plain.gguf");
    sweep(model, method, here("a.db"));
    RUN(0,
        "pack --quiet --format gguf --model %s --method %s --calib calib-mini:n=2,ctx=64 "
        "--data mini --out %s --cache %s",
        model, method, gguf, here("cache"));
    sweep(gguf, "none", here("b.db"));
    CHECK(sum_of(here("a.db"), "ppl", method) == sum_of(here("b.db"), "ppl", "none"));
    RUN(0, "pack --quiet --format gguf --model %s --method gguf:type=Q4_0 --out %s", model,
        plain);
    sweep(plain, "none", here("c.db"));
    CHECK(sum_of(here("c.db"), "ppl", "none") != sum_of(here("b.db"), "ppl", "none"));
    RUN(2, "dump --model %s --method %s --ids %s --out %s", model, method, some_ids(),
        here("x.safetensors"));
    CHECK_HAS(out, "needs calibration");
}

TEST(a_recipe_and_a_type_cannot_go_together)
{
    const char *model = tiny();
    RUN(2, "pack --format gguf --model %s --method gguf:type=Q4_0,recipe=Q4_K_M --out %s",
        model, here("x.gguf"));
    CHECK_HAS(out, "recipe takes the place of type");
    RUN(2, "pack --format gguf --model %s --method gguf:recipe=Q2_K_S --out %s", model,
        here("x.gguf"));
    CHECK_HAS(out, "add imatrix=1");
    RUN(2, "pack --format gguf --model %s --method gguf:recipe=Q4_K_X --out %s", model,
        here("x.gguf"));
    CHECK_HAS(out, "Q4_K_S");
    RUN(2,
        "quantize --method gguf:recipe=Q4_K_M --in %s/model.safetensors --tensor "
        "model.norm.weight --out %s",
        model, here("x.safetensors"));
    RUN(2,
        "quantize --method gguf:recipe=Q4_K_M --in %s/model.safetensors --tensor "
        "model.embed_tokens.weight --out %s",
        model, here("x.safetensors"));
    CHECK_HAS(out, "give type=");
}

TEST(scaled_positions_survive_the_format)
{
    check_runs_as_measured(with_vocabulary("llama-rope-llama3"), "none", "body");
    check_runs_as_measured(with_vocabulary("llama-rope-linear-fp32"), "none", "body");
    check_runs_as_measured(with_vocabulary("llama-headdim-fp16"), "rtn:bits=4,group=-1",
                           "all");
}

TEST(experts_are_stacked_and_run_as_measured)
{
    static const char *const models[] = {"mixtral-8x2", "qwen3moe-norm", "olmoe"};
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        const char *model = with_vocabulary(models[i]);
        check_runs_as_measured(model, "none", "body");
        check_runs_as_measured(model, "rtn:bits=4,group=-1", "all");
        check_runs_as_measured(model, "nf4", "linear");
    }
    check_runs_as_measured(with_vocabulary("mixtral-8x2"), "gguf:type=Q8_0", "body");
    check_runs_as_measured(with_vocabulary("qwen3moe-norm"), "gguf:recipe=Q4_0", "body");
}

TEST(a_gguf_with_experts_keeps_what_the_method_leaves_alone)
{
    const char *source = ucb_test_path("%s/tests/golden/arch/mixtral-8x2/model-f16.gguf",
                                       ucb_test_root());
    RUN(0, "pack --format gguf --model %s --method none --out %s", source, here("x.gguf"));
    check_same_file(source, here("x.gguf"), "none");
    check_runs_as_measured(source, "gguf:type=Q8_0", "body");
    check_runs_as_measured(source, "nf4", "body");
}

TEST(gemma3_is_written_with_its_windows_and_its_norms)
{
    struct ucb_checkpoint *c;
    uint64_t window;
    const char *model = with_vocabulary("gemma3-pattern6");
    check_runs_as_measured(model, "none", "body");
    check_runs_as_measured(model, "rtn:bits=4,group=-1", "all");
    CHECK_OK(ucb_checkpoint_open(here("packed.gguf"), &c, &err), err);
    CHECK(ucb_checkpoint_u64(c, "gemma3.attention.sliding_window", &window));
    CHECK(window > 0);
    ucb_checkpoint_close(c);
}

static void check_no_gguf(const char *name, const char *why)
{
    RUN(3, "pack --format gguf --model %s --method none --out %s", with_vocabulary(name),
        here("x.gguf"));
    CHECK_HAS(out, why);
    CHECK_EQ(access(here("x.gguf"), F_OK), -1);
}

TEST(what_a_gguf_does_not_say_is_refused_with_the_reason)
{
    check_no_gguf("qwen3moe-mixed", "some of its layers have no experts");
    check_no_gguf("gemma3-mixed-layers", "not every sixth of its layers");
    check_no_gguf("mistral-swa", "its windows are not among the metadata");
    check_no_gguf("phimoe", "GGUF has no names for it");
}

TEST(a_gguf_packed_with_none_is_the_same_file)
{
    const char *source = ucb_test_path("%s/tests/golden/arch/llama-tied-gqa/model-f16.gguf",
                                       ucb_test_root());
    RUN(0, "pack --format gguf --model %s --method none --out %s", source, here("x.gguf"));
    check_same_file(source, here("x.gguf"), "none");
}

TEST(tensors_made_from_safetensors_are_those_of_the_conversion_by_llama_cpp)
{
    struct ucb_checkpoint *ours, *theirs;
    size_t n_compared = 0;
    RUN(0, "pack --format gguf --model %s --method none --out %s",
        with_vocabulary("llama-headdim-fp16"), here("x.gguf"));
    CHECK_OK(ucb_checkpoint_open(here("x.gguf"), &ours, &err), err);
    CHECK_OK(ucb_checkpoint_open(
                 ucb_test_path("%s/tests/golden/arch/llama-headdim-fp16/model-f16.gguf",
                               ucb_test_root()),
                 &theirs, &err),
             err);
    CHECK_EQ(ucb_checkpoint_n_tensors(ours), ucb_checkpoint_n_tensors(theirs));
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(theirs); i++) {
        const struct ucb_tensor *t = ucb_checkpoint_tensor(theirs, i),
                                *o = ucb_checkpoint_find(ours, t->name);
        CHECK(o != NULL);
        CHECK_EQ(o->n_elements, t->n_elements);
        if (o->dtype != t->dtype) continue;
        CHECK(memcmp(o->data, t->data, t->n_bytes) == 0);
        n_compared++;
    }
    CHECK_EQ(n_compared, ucb_checkpoint_n_tensors(theirs));
    ucb_checkpoint_close(ours);
    ucb_checkpoint_close(theirs);
}

TEST(a_vocabulary_made_from_tokenizer_json_gives_the_same_ids)
{
    static const char text[] = "{\"text\": \"It's 1999,\\n  caf\\u00e9 <s> ok\"}\n";
    static char from_json[4096];
    const char *model = tiny();
    CHECK_OK(ucb_file_write(here("t.jsonl"), text, sizeof(text) - 1, &err), err);
    RUN(0, "pack --format gguf --model %s --method none --out %s", model, here("x.gguf"));
    RUN(0, "tokenize --model %s --in %s", model, here("t.jsonl"));
    snprintf(from_json, sizeof(from_json), "%s", out);
    RUN(0, "tokenize --model %s --in %s", here("x.gguf"), here("t.jsonl"));
    CHECK_TEXT(out, from_json);
    struct ucb_tokenizer *t;
    CHECK_OK(ucb_tokenizer_open(here("x.gguf"), &t, &err), err);
    CHECK_EQ(ucb_tokenizer_bos(t), 256);
    CHECK(!ucb_tokenizer_adds_bos(t));
    CHECK_EQ(ucb_tokenizer_n_ids(t), 258); /* id 257 has no token: it is padded */
    ucb_tokenizer_close(t);
}

/* ---- SentencePiece ---- */

/* The tiny model with another tokenizer and an embedding of 280 rows. */
static const char *with_pieces(struct ucb_text *json)
{
    enum { ROWS = 280, MAX_TENSORS = 64 };
    static uint8_t rows[ROWS * 4096];
    const char *model = tiny(), *weights = ucb_test_path("%s/model.safetensors", model);
    struct ucb_tensor tensors[MAX_TENSORS];
    struct ucb_checkpoint *c;
    struct ucb_file config;
    struct ucb_text changed = {0};
    CHECK_OK(ucb_checkpoint_open(model, &c, &err), err);
    size_t n = ucb_checkpoint_n_tensors(c);
    CHECK(n <= MAX_TENSORS);
    for (size_t i = 0; i < n; i++) {
        tensors[i] = *ucb_checkpoint_tensor(c, i);
        if (tensors[i].shape[0] != 258) continue;
        size_t row = tensors[i].n_bytes / 258;
        for (size_t k = 0; k < ROWS; k++)
            memcpy(rows + k * row, tensors[i].data + k % 258 * row, row);
        tensors[i].n_elements = tensors[i].n_elements / 258 * ROWS;
        tensors[i].n_bytes = row * ROWS;
        tensors[i].shape[0] = ROWS;
        tensors[i].data = rows;
    }
    CHECK_OK(ucb_safetensors_write(here("wide.safetensors"), tensors, n, &err), err);
    ucb_checkpoint_close(c);
    CHECK_EQ(rename(here("wide.safetensors"), weights), 0);
    CHECK_OK(ucb_file_map(ucb_test_path("%s/config.json", model), &config, &err), err);
    const char *text = (const char *)config.data, *at = strstr(text, "258");
    CHECK(at != NULL);
    ucb_text_add(&changed, "%.*s280%.*s", (int)(at - text), text,
                 (int)(config.n_bytes - (size_t)(at - text) - 3), at + 3);
    ucb_file_unmap(&config);
    CHECK_OK(ucb_file_write(ucb_test_path("%s/config.json", model), ucb_text_get(&changed),
                            strlen(ucb_text_get(&changed)), &err),
             err);
    CHECK_OK(ucb_file_write(ucb_test_path("%s/tokenizer.json", model), ucb_text_get(json),
                            strlen(ucb_text_get(json)), &err),
             err);
    ucb_text_free(&changed);
    ucb_text_free(json);
    return model;
}

static void check_same_ids(const char *model, const char *line)
{
    static char from_json[4096];
    CHECK_OK(ucb_file_write(here("t.jsonl"), line, strlen(line), &err), err);
    RUN(0, "pack --format gguf --model %s --method none --out %s", model, here("x.gguf"));
    RUN(0, "tokenize --model %s --in %s", model, here("t.jsonl"));
    snprintf(from_json, sizeof(from_json), "%s", out);
    RUN(0, "tokenize --model %s --in %s", here("x.gguf"), here("t.jsonl"));
    CHECK_TEXT(out, from_json);
}

TEST(a_sentencepiece_vocabulary_gets_scores_in_place_of_merges)
{
    static const char *const merges[] = {"\xe2\x96\x81 t", "a b", "b b", "ab b"};
    struct ucb_text json = {0};
    struct ucb_checkpoint *c;
    uint64_t prefix;
    size_t n;
    const void *kinds;
    tiny_spaces(&json, "abt", merges, 3);
    check_same_ids(with_pieces(&json), "{\"text\": \"tab  abbab\\n bb caf\u00e9 \"}\n");
    CHECK_HAS(out, "[256,"); /* "_t": a space is put before */
    CHECK_OK(ucb_checkpoint_open(here("x.gguf"), &c, &err), err);
    CHECK(ucb_checkpoint_u64(c, "tokenizer.ggml.add_space_prefix", &prefix) && prefix == 1);
    CHECK(ucb_checkpoint_f32s(c, "tokenizer.ggml.scores", &kinds, &n) && n == 280);
    CHECK(ucb_checkpoint_i32s(c, "tokenizer.ggml.token_type", &kinds, &n) && n == 280);
    CHECK_EQ(((const uint8_t *)kinds)[4 * 0x41], 6); /* <0x41>: a byte */
    CHECK_EQ(((const uint8_t *)kinds)[4 * 256], 1);  /* normal */
    CHECK_EQ(((const uint8_t *)kinds)[4 * 279], 5);  /* no token: unused */
    ucb_checkpoint_close(c);
    tiny_spaces(&json, "abt", merges, 4); /* "abb" is "a" + "bb" too */
    RUN(3, "pack --format gguf --model %s --method none --out %s", with_pieces(&json),
        here("y.gguf"));
    CHECK_HAS(out, "the merges of `abb` leave out a pair that spells it");
    CHECK_EQ(access(here("y.gguf"), F_OK), -1);
}

TEST(merges_of_one_token_that_stand_apart_have_no_score)
{
    static const char *const merges[] = {"a b", "b b", "ab b", "t a"};
    struct ucb_text json = {0}, more = {0};
    tiny_spaces(&json, "abt", merges, 4);
    ucb_text_add(&more, "%.*s,\"a bb\"]}}", (int)strlen(ucb_text_get(&json)) - 3,
                 ucb_text_get(&json));
    ucb_text_free(&json);
    RUN(3, "pack --format gguf --model %s --method none --out %s", with_pieces(&more),
        here("y.gguf"));
    CHECK_HAS(out, "the merges of `abb` do not stand together");
}

/* As in Gemma's file: an added token that merges make too,
 * and a Split with nothing to do. */
TEST(runs_of_spaces_may_be_added_tokens_and_results_of_merges)
{
    static const char *const merges[] = {"\xe2\x96\x81 \xe2\x96\x81", "a b"};
    struct ucb_text json = {0}, added = {0};
    tiny_spaces(&json, "ab", merges, 2);
    ucb_text_add(&added,
                 "{\"added_tokens\":[{\"id\":256,\"content\":\"\xe2\x96\x81\xe2\x96\x81\","
                 "\"special\":false,\"normalized\":false}],\"pre_tokenizer\":{\"type\":"
                 "\"Split\",\"pattern\":{\"String\":\" \"},\"behavior\":"
                 "\"MergedWithPrevious\",\"invert\":false},%s",
                 ucb_text_get(&json) + 1);
    ucb_text_free(&json);
    check_same_ids(with_pieces(&added), "{\"text\": \"a  b   ab\"}\n");
    /* _ a __ b __ _ ab */
    CHECK_HAS(out, "[258,259,256,260,256,258,257]");
}

#define SEQUENCE(first, regex)                                           \
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" first \
    ",{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":" regex "}]}"
#define DIGITS "{\"type\":\"Digits\",\"individual_digits\":true}"

/* The tiny model with a tokenizer of one merge, "t h", and this pretokenizer. */
static const char *with_tokenizer(const char *pre_tokenizer)
{
    static const char *const merges[] = {"t h"};
    static const char added[] =
        "\"added_tokens\":[{\"id\":257,\"content\":\"<|end|>\",\"special\":false}]";
    struct ucb_text json = {0}, changed = {0};
    const char *model = tiny();
    tiny_byte_level(&json, added, merges, 1);
    const char *at = strstr(ucb_text_get(&json), TINY_BYTE_LEVEL);
    CHECK(at != NULL);
    ucb_text_add_chars(&changed, ucb_text_get(&json), (size_t)(at - ucb_text_get(&json)));
    ucb_text_add(&changed, "%s%s", pre_tokenizer, at + strlen(TINY_BYTE_LEVEL));
    CHECK_OK(ucb_file_write(ucb_test_path("%s/tokenizer.json", model),
                            ucb_text_get(&changed), changed.n_chars, &err),
             err);
    ucb_text_free(&json);
    ucb_text_free(&changed);
    return model;
}

static void check_text(const struct ucb_checkpoint *c, const char *key,
                       const char *expected)
{
    const char *text;
    size_t n;
    CHECK(ucb_checkpoint_string(c, key, &text, &n));
    CHECK_EQ(n, strlen(expected));
    CHECK(memcmp(text, expected, n) == 0);
}

TEST(a_tokenizer_gets_the_name_that_gguf_has_for_it)
{
    struct ucb_checkpoint *c;
    const char *text;
    const void *kinds;
    uint64_t value;
    size_t n;
    RUN(0, "pack --format gguf --model %s --method none --out %s",
        with_tokenizer(SEQUENCE(DIGITS, "true")), here("x.gguf"));
    CHECK_OK(ucb_checkpoint_open(here("x.gguf"), &c, &err), err);
    check_text(c, "general.architecture", "llama");
    check_text(c, "general.name", "tiny");
    check_text(c, "tokenizer.ggml.model", "gpt2");
    check_text(c, "tokenizer.ggml.pre", "smollm");
    CHECK(ucb_checkpoint_string_at(c, "tokenizer.ggml.merges", 0, &text, &n));
    CHECK(n == 3 && memcmp(text, "t h", 3) == 0);
    CHECK(ucb_checkpoint_string_at(c, "tokenizer.ggml.tokens", 257, &text, &n));
    CHECK(n == 7 && memcmp(text, "<|end|>", 7) == 0);
    CHECK(ucb_checkpoint_i32s(c, "tokenizer.ggml.token_type", &kinds, &n));
    CHECK_EQ(n, 258);
    CHECK_EQ(((const uint8_t *)kinds)[4 * 256], 1); /* normal */
    CHECK_EQ(((const uint8_t *)kinds)[4 * 257], 4); /* user-defined */
    CHECK(ucb_checkpoint_u64(c, "tokenizer.ggml.bos_token_id", &value) && value == 256);
    CHECK(ucb_checkpoint_u64(c, "general.file_type", &value) && value == 32); /* BF16 */
    ucb_checkpoint_close(c);
}

TEST(a_tokenizer_that_gguf_has_no_name_for_is_refused)
{
    RUN(3, "pack --format gguf --model %s --method none --out %s",
        with_tokenizer(SEQUENCE(DIGITS, "false")), here("x.gguf"));
    CHECK_HAS(out, "a GGUF has no name for this tokenizer");
    CHECK_EQ(access(here("x.gguf"), F_OK), -1);
}

TEST(the_summary_counts_the_file_and_says_what_is_decoded)
{
    const char *model = tiny(), *gguf = here("x.gguf");
    json_t *o;
    struct stat info;
    RUN(0, "pack --format gguf --model %s --method nf4 --out %s", model, gguf);
    CHECK_HAS(out, "GGUF has no type for nf4: its matrices stand here decoded, as BF16");
    CHECK(strstr(out, "arithmetic of its own") == NULL);
    RUN(0, "pack --format gguf --model %s --method int8:threshold=6 --out %s", model, gguf);
    CHECK_HAS(out, "int8:threshold=6 multiplies in an arithmetic of its own");
    RUN(0, "pack --format gguf --model %s --method nf4 --out %s --json", model, gguf);
    CHECK_OK(ucb_json_parse("the summary", out, strlen(out), &o, &err), err);
    CHECK_EQ(stat(gguf, &info), 0);
    CHECK_EQ(number(o, "file_bytes"), info.st_size);
    CHECK_TEXT(json_string_value(json_object_get(o, "stored")), "decoded");
    CHECK_NEAR(
        json_real_value(json_object_get(json_object_get(o, "matrices"), "bits_per_weight")),
        4.5, 1e-12);
    CHECK_EQ(json_array_size(json_object_get(o, "types")), 2);
    json_decref(o);
    RUN(0, "info %s", gguf);
    CHECK_HAS(out, "tied to the embedding");
    RUN(0, "pack --format gguf --model %s --method nf4 --scope linear --out %s", model,
        gguf);
    RUN(0, "info %s", gguf);
    CHECK_HAS(out, "of its own"); /* only the head was compressed */
}

TEST(pack_refuses_with_a_reason_what_it_cannot_write)
{
    const char *model = tiny(), *gguf = here("x.gguf");
    RUN(2, "pack --model %s --method nf4", model);
    CHECK_HAS(out, "--out");
    RUN(2, "pack --model %s --method nf4 --out %s --format zip", model, gguf);
    CHECK_HAS(out, "gguf");
    RUN(2, "pack --model %s --method nf5 --out %s --format gguf", model, gguf);
    CHECK_HAS(out, "nf4");
    RUN(2, "pack --model %s --method nf4 --out %s/model.safetensors --format gguf", model,
        model);
    CHECK_HAS(out, "is an input of this command");
    RUN(2, "pack --model %s --method nf4 --out %s/tokenizer.json --format gguf", model,
        model);
    RUN(4, "pack --model %s --method nf4 --out %s/none/x.gguf --format gguf", model,
        ucb_test_folder());
    CHECK_EQ(access(gguf, F_OK), -1);
}

TEST(a_model_without_a_vocabulary_cannot_become_a_gguf)
{
    const char *model = tiny();
    CHECK_EQ(unlink(ucb_test_path("%s/tokenizer.json", model)), 0);
    RUN(3, "pack --model %s --method none --out %s --format gguf", model, here("x.gguf"));
    CHECK_HAS(out, "tokenizer.json");
    CHECK_EQ(access(here("x.gguf"), F_OK), -1);
}
