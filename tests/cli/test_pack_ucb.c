/* ucbench pack, unpack, verify and a pack in the place of a model: what comes back is what
 * went in, what a sweep measured, and nothing else. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "core/file.h"
#include "core/json.h"
#include "model/checkpoint.h"
#include "tiny.h"

static char out[1 << 16];
static struct ucb_err err;

static const char *here(const char *name)
{
    return ucb_test_path("%s/%s", ucb_test_folder(), name);
}

static const char *golden(const char *name)
{
    return ucb_test_path("%s/tests/golden/arch/%s", ucb_test_root(), name);
}

static const char *tiny(void)
{
    const char *model = here("tiny");
    ucb_tiny_model(model);
    return model;
}

static void check_same_file(const char *a, const char *b)
{
    struct ucb_file x, y;
    CHECK_OK(ucb_file_map(a, &x, &err), err);
    CHECK_OK(ucb_file_map(b, &y, &err), err);
    if (x.n_bytes != y.n_bytes || memcmp(x.data, y.data, x.n_bytes) != 0)
        ucb_test_fail(__FILE__, __LINE__, "%s and %s differ", a, b);
    ucb_file_unmap(&x);
    ucb_file_unmap(&y);
}

static void check_gives_back(const char *model, const char *method,
                             const char *const *files)
{
    const char *pack = here("p.ucb"), *folder = here("back");
    RUN(0, "pack --quiet --model %s --method %s --out %s", model, method, pack);
    RUN(0, "unpack %s --out %s --force", pack, folder);
    for (; *files != NULL; files++)
        check_same_file(ucb_test_path("%s/%s", model, *files),
                        ucb_test_path("%s/%s", folder, *files));
}

TEST(exact_packs_give_the_original_files_back_byte_for_byte)
{
    static const char *const one[] = {"config.json", "model.safetensors", NULL};
    static const char *const shards[] = {"config.json",
                                         "model.safetensors.index.json",
                                         "model-00001-of-00003.safetensors",
                                         "model-00002-of-00003.safetensors",
                                         "model-00003-of-00003.safetensors",
                                         NULL};
    static const char *const models[] = {"llama-tied-gqa",   "gpt2-prefixed",
                                         "gptneox-parallel", "mixtral-8x2",
                                         "phi3-fused-swa",   "mamba"};
    static const char *const methods[] = {"lossless", "lossless:mode=max", "none",
                                          "nf4+residual"};
    for (size_t m = 0; m < 4; m++) {
        for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
            check_gives_back(golden(models[i]), methods[m], one);
        check_gives_back(golden("llama-sharded"), methods[m], shards);
    }
}

static const char *some_ids(void)
{
    static const int32_t ids[] = {1, 10, 7, 34, 24, 3, 19, 12, 0, 25, 31, 2};
    const char *path = here("ids.safetensors");
    ucb_write_ids(path, ids, sizeof(ids) / sizeof(*ids));
    return path;
}

static void check_runs_as_measured(const char *model, const char *method, const char *scope)
{
    const char *pack = here("m.ucb"), *ids = some_ids(), *cache = here("cache");
    RUN(0, "pack --quiet --model %s --method %s --scope %s --out %s", model, method, scope,
        pack);
    RUN(0, "dump --model %s --method %s --scope %s --ids %s --out %s", model, method, scope,
        ids, here("memory.safetensors"));
    RUN(0, "dump --model %s --cache %s --ids %s --out %s", pack, cache, ids,
        here("file.safetensors"));
    check_same_file(here("memory.safetensors"), here("file.safetensors"));
}

TEST(a_pack_in_the_place_of_a_model_gives_the_logits_of_the_method_in_memory)
{
    static const char *const models[] = {"llama-tied-gqa", "gpt2-prefixed",
                                         "gptneox-parallel", "mixtral-8x2"};
    static const char *const scopes[] = {"body", "linear", "all"};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 3; k++) {
            check_runs_as_measured(golden(models[i]), "nf4", scopes[k]);
            check_runs_as_measured(golden(models[i]), "rtn:bits=3,group=-1", scopes[k]);
        }
    RUN(0, "pack --format gguf --model %s --method none --out %s", tiny(), here("t.gguf"));
    check_runs_as_measured(here("t.gguf"), "nf4", "linear");
    check_runs_as_measured(here("t.gguf"), "gguf:recipe=Q4_K_M", "body");
    check_runs_as_measured(here("t.gguf"), "gguf:type=Q5_0", "all");
}

TEST(a_gguf_comes_back_byte_for_byte)
{
    RUN(0, "pack --format gguf --model %s --method gguf:type=Q4_0 --out %s", tiny(),
        here("t.gguf"));
    RUN(0, "pack --quiet --model %s --method lossless --out %s", here("t.gguf"),
        here("p.ucb"));
    RUN(0, "unpack %s --out %s", here("p.ucb"), here("back"));
    check_same_file(here("t.gguf"), here("back/t.gguf"));
}

TEST(a_pack_made_twice_has_the_same_bytes_whatever_the_threads)
{
    const char *model = tiny();
    RUN(0, "pack --quiet --model %s --method hqq:bits=4,group=32 --threads 1 --out %s",
        model, here("a.ucb"));
    RUN(0, "pack --quiet --model %s --method hqq:bits=4,group=32 --threads 3 --out %s",
        model, here("b.ucb"));
    check_same_file(here("a.ucb"), here("b.ucb"));
}

TEST(unpack_replaces_nothing_unasked)
{
    const char *model = tiny();
    RUN(0, "pack --quiet --model %s --method nf4 --out %s", model, here("p.ucb"));
    RUN(2, "unpack %s --out %s", here("p.ucb"), model);
    CHECK_HAS(out, "--force");
    RUN(2, "pack --quiet --model %s --method nf4 --out %s/model.safetensors", model, model);
    CHECK_HAS(out, "is an input");
}

/* ---- verify ---- */

TEST(verify_says_yes_of_every_kind_of_method)
{
    static const char *const methods[] = {"lossless",   "nf4",         "int8",
                                          "gsq:bits=4", "row_overlay", "distill"};
    const char *model = tiny();
    for (size_t i = 0; i < 4; i++) {
        RUN(0, "pack --quiet --model %s --method %s --out %s", model, methods[i],
            here("p.ucb"));
        RUN(0, "verify %s --source %s --inputs 20 --cache %s", here("p.ucb"), model,
            here("cache"));
        CHECK_HAS(out, "PASS     logits_bit_exact");
        CHECK_HAS(out, "PASSED: ");
    }
}

TEST(verify_carries_tuned_gains_and_side_data)
{
    static const char *const methods[] = {"row_overlay",
                                          "gsq:bits=4+lowrank:rank=4+distill:steps=2"};
    const char *model = tiny();
    for (size_t i = 0; i < 2; i++) {
        RUN(0,
            "pack --quiet --model %s --method %s --calib calib-mini:n=2,ctx=16 --cache %s --out %s",
            model, methods[i], here("cache"), here("p.ucb"));
        RUN(0, "verify %s --source %s --inputs 20 --cache %s", here("p.ucb"), model,
            here("cache"));
        CHECK_HAS(out, "PASS     logits_bit_exact");
    }
}

/* Writes a model whose tensor `name` has element `index` of its BF16 bits changed. */
static void change_bits(const char *model, const char *name, size_t index, uint16_t flip)
{
    const char *path = ucb_test_path("%s/model.safetensors", model);
    struct ucb_checkpoint *c;
    struct ucb_file map;
    static uint8_t copy[1 << 22];
    CHECK_OK(ucb_checkpoint_open(path, &c, &err), err);
    CHECK_OK(ucb_file_map(path, &map, &err), err);
    const struct ucb_tensor *t = ucb_checkpoint_find(c, name);
    CHECK(t != NULL && map.n_bytes <= sizeof(copy));
    size_t at = (size_t)(t->data - ucb_checkpoint_file_data(c, 0)) + 2 * index;
    memcpy(copy, map.data, map.n_bytes);
    copy[at] ^= (uint8_t)flip;
    copy[at + 1] ^= (uint8_t)(flip >> 8);
    CHECK_OK(ucb_file_write(path, copy, map.n_bytes, &err), err);
    ucb_file_unmap(&map);
    ucb_checkpoint_close(c);
}

TEST(verify_names_the_first_tensor_and_element_that_differ_from_the_source)
{
    const char *model = tiny();
    RUN(0, "pack --quiet --model %s --method lossless --out %s", model, here("p.ucb"));
    change_bits(model, "model.layers.1.mlp.down_proj.weight", 5, 0x8000); /* one sign */
    RUN(1, "verify %s --source %s --inputs 10 --cache %s", here("p.ucb"), model,
        here("cache"));
    CHECK_HAS(out, "FAIL     source_bits_equal");
    CHECK_HAS(
        out,
        "model.layers.1.mlp.down_proj.weight differs from the source first at element 5");
    CHECK_HAS(out, "FAILED: ");
}

TEST(verify_of_a_lossy_pack_refuses_another_source)
{
    const char *model = tiny();
    RUN(0, "pack --quiet --model %s --method nf4 --out %s", model, here("p.ucb"));
    change_bits(model, "model.layers.1.mlp.down_proj.weight", 5, 0x8000);
    RUN(1, "verify %s --source %s --inputs 10", here("p.ucb"), model);
    CHECK_HAS(out, "the pack was made from");
}

static int count_checks(const char *db, const char *name, const char *status)
{
    sqlite3 *handle;
    sqlite3_stmt *query;
    CHECK_EQ(sqlite3_open(db, &handle), SQLITE_OK);
    CHECK_EQ(sqlite3_prepare_v2(
                 handle,
                 "SELECT count(*) FROM v_checks WHERE check_name = ? AND status = ?", -1,
                 &query, NULL),
             SQLITE_OK);
    sqlite3_bind_text(query, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_text(query, 2, status, -1, SQLITE_STATIC);
    CHECK_EQ(sqlite3_step(query), SQLITE_ROW);
    int n = sqlite3_column_int(query, 0);
    sqlite3_finalize(query);
    sqlite3_close(handle);
    return n;
}

TEST(verify_stores_its_checks_and_gives_a_receipt_that_is_checked_offline)
{
    const char *model = tiny(), *receipt = here("r.json");
    RUN(0, "pack --quiet --model %s --method lossless --out %s", model, here("p.ucb"));
    RUN(0, "verify %s --source %s --inputs 10 --cache %s --db %s --receipt %s",
        here("p.ucb"), model, here("cache"), here("r.db"), receipt);
    RUN(0, "verify --receipt %s", receipt);
    CHECK_HAS(out, "PASSED");
    RUN(0, "verify %s --receipt %s --json", here("p.ucb"), receipt);
    CHECK_HAS(out, "\"pack_hashed\": true");
    RUN(1, "verify %s --receipt %s", here("r.db"), receipt);
    CHECK_HAS(out, "the receipt is for");
    CHECK_EQ(count_checks(here("r.db"), "logits_bit_exact", "PASS"), 1);
    CHECK_EQ(count_checks(here("r.db"), "source_bits_equal", "PASS"), 1);
    change_bits(model, "model.layers.0.mlp.up_proj.weight", 3, 1);
    RUN(1, "verify %s --source %s --inputs 10 --cache %s --db %s", here("p.ucb"), model,
        here("cache"), here("r.db"));
    CHECK_EQ(count_checks(here("r.db"), "source_bits_equal", "PASS"), 1);
    CHECK_EQ(count_checks(here("r.db"), "source_bits_equal", "FAIL"), 1);
}

TEST(checks_of_a_pack_are_no_results)
{
    const char *model = tiny(), *db = here("s.db");
    static char before[256];
    RUN(0, "sweep --quiet --model %s --method nf4 --task lambada:n=2 --cache %s --db %s",
        model, here("cache"), db);
    RUN(0, "digest --db %s", db);
    snprintf(before, sizeof(before), "%s", out);
    RUN(0, "pack --quiet --model %s --method nf4 --out %s", model, here("p.ucb"));
    RUN(0, "verify %s --db %s", here("p.ucb"), db);
    CHECK_EQ(count_checks(db, "recorded_decode_equal", "PASS"), 1);
    RUN(0, "digest --db %s", db);
    CHECK_TEXT(out, before);
    RUN(0, "report table --db %s --out %s", db, here("t"));
    CHECK(strstr(out, "p.ucb") == NULL);
}

TEST(a_changed_receipt_is_refused)
{
    const char *model = tiny(), *receipt = here("r.json");
    struct ucb_file map;
    static char text[1 << 16];
    RUN(0, "pack --quiet --model %s --method none --out %s", model, here("p.ucb"));
    RUN(0, "verify %s --receipt %s", here("p.ucb"), receipt);
    CHECK_OK(ucb_file_map(receipt, &map, &err), err);
    CHECK(map.n_bytes < sizeof(text));
    memcpy(text, map.data, map.n_bytes);
    ucb_file_unmap(&map);
    char *word = strstr(text, "SKIPPED");
    CHECK(word != NULL);
    memcpy(word, "PASSED!", 7);
    CHECK_OK(ucb_file_write(receipt, text, strlen(text), &err), err);
    RUN(1, "verify --receipt %s", receipt);
    CHECK_HAS(out, "it was changed");
}

TEST(a_file_that_is_no_receipt_is_bad_input)
{
    static const char *const texts[] = {"{}", "{\"_type\": \"https://in-toto.io/State"};
    const char *file = here("none.json");
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(ucb_file_write(file, texts[i], strlen(texts[i]), &err), err);
        RUN(3, "verify --receipt %s", file);
        CHECK_HAS(out, file);
    }
}

TEST(a_sweep_runs_a_pack_and_scores_as_the_method_did)
{
    const char *model = tiny(), *task = "wikitext:ctx=32,n=4";
    double values[2] = {0, 0};
    RUN(0, "pack --quiet --model %s --method nf4 --out %s", model, here("p.ucb"));
    for (int i = 0; i < 2; i++) {
        json_t *root;
        const char *db = here(i == 0 ? "a.db" : "b.db");
        RUN(0, "sweep --quiet --model %s --method %s --task %s --cache %s --db %s",
            i == 0 ? model : here("p.ucb"), i == 0 ? "nf4" : "none", task, here("cache"),
            db);
        RUN(0, "export --db %s --format json", db);
        CHECK_EQ(
            strstr(out, "a pack of nf4, ") != NULL &&
                strstr(out, "bits per weight are those of the files that it unpacks to"),
            i == 1);
        CHECK_OK(ucb_json_parse("export", out, strlen(out), &root, &err), err);
        size_t k;
        json_t *row;
        json_array_foreach(root, k, row)
        {
            const char *metric = json_string_value(json_object_get(row, "metric")),
                       *spec = json_string_value(json_object_get(row, "spec"));
            if (metric != NULL && strcmp(metric, "ppl") == 0 &&
                strcmp(spec, i == 0 ? "nf4" : "none") == 0)
                values[i] = json_real_value(json_object_get(row, "value"));
        }
        json_decref(root);
    }
    CHECK(values[0] > 1.0 && values[0] == values[1]);
}

static json_t *tensors_of(const char *pack)
{
    json_t *root;
    RUN(0, "verify --quiet --inputs 0 --json --source %s %s", golden("llama-tied-gqa"),
        pack);
    CHECK_OK(ucb_json_parse("stdout", out, strlen(out), &root, &err), err);
    json_t *tensors = json_incref(json_object_get(root, "tensors"));
    json_decref(root);
    return tensors;
}

TEST(weights_without_a_configuration_are_verified_but_for_the_forward_pass)
{
    const char *bare = here("bare");
    CHECK_EQ(mkdir(bare, 0777), 0);
    CHECK_EQ(
        system(ucb_test_path("cp %s/model.safetensors %s", golden("llama-tied-gqa"), bare)),
        0);
    RUN(0, "pack --quiet --model %s --method lossless --out %s", bare, here("b.ucb"));
    RUN(0, "verify --quiet --source %s %s", bare, here("b.ucb"));
    CHECK_HAS(out, "PASS     source_bits_equal");
    CHECK_HAS(out, "SKIPPED  logits_bit_exact       the engine does not run it: ");
    CHECK_HAS(out, "config.json: no such file");
}

TEST(verify_says_how_far_each_tensor_is_from_the_source)
{
    size_t i, n_equal = 0;
    json_t *t;
    RUN(0, "pack --quiet --model %s --method rtn:bits=8,group=8 --out %s",
        golden("llama-tied-gqa"), here("p.ucb"));
    json_t *tensors = tensors_of(here("p.ucb"));
    CHECK(json_array_size(tensors) > 14);
    json_array_foreach(tensors, i, t)
    {
        bool equal = json_is_true(json_object_get(t, "bit_equal"));
        double off = json_real_value(json_object_get(t, "rel_l2")),
               most = json_real_value(json_object_get(t, "max_abs"));
        n_equal += equal;
        CHECK(equal ? off == 0 && most == 0
                    : off > 0 && off < 0.01 && most > 0 && most < 1);
        CHECK_EQ(equal,
                 strstr(json_string_value(json_object_get(t, "name")), "_proj") == NULL);
    }
    CHECK_EQ(json_array_size(tensors) - n_equal, 14);
    json_decref(tensors);
    RUN(0, "verify --quiet --inputs 0 --tensors --source %s %s", golden("llama-tied-gqa"),
        here("p.ucb"));
    CHECK_HAS(out, "tensors have the source's bits; farthest from it is model.layers.");
    CHECK_HAS(out, "  differs   max_abs ");

    RUN(0, "pack --quiet --model %s --method lossless --out %s", golden("llama-tied-gqa"),
        here("q.ucb"));
    tensors = tensors_of(here("q.ucb"));
    json_array_foreach(tensors, i, t)
    {
        CHECK(json_is_true(json_object_get(t, "bit_equal")));
    }
    json_decref(tensors);
}

TEST(a_file_that_is_no_pack_is_bad_input_and_a_cut_pack_a_failed_check)
{
    struct ucb_file map;
    CHECK_OK(ucb_file_write(here("text"), "some other text", 15, &err), err);
    RUN(3, "verify %s", here("text"));
    CHECK_HAS(out, "do not begin with UCBPACK; `ucbench pack` makes one");
    RUN(3, "unpack %s --out %s", here("text"), here("o"));
    RUN(0, "pack --quiet --model %s --method none --out %s", golden("llama-tied-gqa"),
        here("p.ucb"));
    CHECK_OK(ucb_file_map(here("p.ucb"), &map, &err), err);
    CHECK_OK(ucb_file_write(here("cut.ucb"), map.data, 40, &err), err);
    ucb_file_unmap(&map);
    RUN(1, "verify %s", here("cut.ucb"));
    CHECK_HAS(out, ucb_test_path("ucbench: %s: structure: 40 bytes,", here("cut.ucb")));
    CHECK_HAS(out, "FAIL     structure");
    CHECK_HAS(out, "40 bytes, the header of a pack alone has");
}

TEST(a_tensor_that_a_stream_would_make_larger_is_stored_as_it_is)
{
    RUN(0, "pack --quiet --model %s --method lossless --out %s", golden("llama-tied-gqa"),
        here("p.ucb"));
    RUN(0, "info %s", here("p.ucb"));
    CHECK_HAS(out, "  tensors as the source has them\n"); /* norms of 16 weights */
    CHECK_HAS(out, "  coded tensors: codes\n");
    RUN(0, "verify --quiet --inputs 0 --source %s %s", golden("llama-tied-gqa"),
        here("p.ucb"));
    CHECK_HAS(out, "PASS     source_bits_equal");
}

TEST(info_counts_every_byte_of_a_pack_once)
{
    static const char *const methods[] = {"lossless", "nf4:double_quant=1", "row_overlay",
                                          "none"};
    static const char *const sums[] = {
        "side_data", "gains",    "stored_tensors", "other_files_and_headers",
        "header",    "manifest", "padding"};
    const char *model = tiny();
    for (size_t m = 0; m < 4; m++) {
        json_t *root, *part;
        const char *key;
        RUN(0,
            "pack --quiet --model %s --method %s --calib calib-mini:n=2,ctx=16 --cache %s --out %s",
            model, methods[m], here("cache"), here("p.ucb"));
        RUN(0, "info %s --json", here("p.ucb"));
        CHECK_OK(ucb_json_parse("info", out, strlen(out), &root, &err), err);
        json_t *bytes = json_object_get(root, "bytes");
        json_int_t sum = 0;
        for (size_t i = 0; i < 7; i++)
            sum += json_integer_value(json_object_get(bytes, sums[i]));
        json_object_foreach(json_object_get(bytes, "payloads"), key, part)
            sum += json_integer_value(part);
        json_object_foreach(json_object_get(bytes, "streams"), key, part)
            sum += json_integer_value(part);
        struct stat info;
        CHECK_EQ(stat(here("p.ucb"), &info), 0);
        CHECK_EQ(sum, info.st_size);
        json_decref(root);
    }
}
