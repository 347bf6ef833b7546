/* The command line: help, errors and exit codes as a person meets them. */
#include "test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>
#include <sqlite3.h>

#include "core/err.h"
#include "core/file.h"
#include "core/half.h"
#include "core/sha256.h"
#include "tiny.h"

static char out[1 << 16];

TEST(without_arguments_the_program_explains_itself_and_exits_2)
{
    RUN(2, "%s", "");
    CHECK_HAS(out, "usage: ucbench VERB");
    RUN(0, "--help");
    CHECK_HAS(out, "Exit codes: 0 done");
}

TEST(every_verb_has_help_with_its_usage)
{
    static const char *const verbs[] = {"sweep", "report",   "digest", "export",
                                        "list",  "info",     "doctor", "tokenize",
                                        "dump",  "quantize", "pack",   "compare"};
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        RUN(0, "%s --help", verbs[i]);
        CHECK_HAS(out, ucb_test_path("usage: ucbench %s", verbs[i]));
    }
}

TEST(the_version_is_told_as_json_too)
{
    RUN(0, "--version");
    CHECK_HAS(out, "ucbench build ");
    RUN(0, "--version --json");
    CHECK(strncmp(out, "{\"build\": \"", 11) == 0 && strlen(out) == 11 + 64 + 3);
    RUN(0, "version");
    CHECK_HAS(out, "ucbench build ");
    RUN(2, "--version --jsn");
    CHECK_HAS(out, "--json");
}

static void leave_home(void)
{
    CHECK_EQ(unsetenv("HOME"), 0);
    CHECK_EQ(unsetenv("XDG_CACHE_HOME"), 0);
    CHECK_EQ(unsetenv("UCBENCH_CACHE"), 0);
}

TEST(a_sweep_of_a_folder_needs_no_home_until_something_must_be_kept_there)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    const char *db = ucb_test_path("%s/r.db", ucb_test_folder());
    ucb_tiny_model(model);
    leave_home();
    RUN(0, "sweep --model %s --method nf4 --task lambada:n=2 --data mini --db %s", model,
        db);
    RUN(0, "sweep --model %s --method rtn --task lambada:n=2 --data mini --db %s --dry-run",
        model, db);
    RUN(4, "sweep --model smollm2-135m --method nf4 --task lambada:n=2 --db %s", db);
    CHECK_HAS(out, "set --cache, UCBENCH_CACHE or HOME");
    RUN(0,
        "sweep --model %s --method gptq:bits=4,group=32 --method "
        "gsq:bits=4+lowrank:rank=2+distill:steps=1 --task lambada:n=2 --data mini --calib "
        "calib-mini:n=2,ctx=32 --db %s",
        model, db);
    CHECK_HAS(out, "calibration is not kept: there is no cache folder: set --cache");
    CHECK_HAS(out, "tuned layers are not kept: there is no cache folder");
    /* statistics that the methods of a model share go through files */
    RUN(1,
        "sweep --model %s --method awq:bits=4,group=32,grid=2 --task lambada:n=2 --data mini "
        "--calib calib-mini:n=2,ctx=32 --db %s",
        model, db);
    CHECK_HAS(out, "there is no cache folder: set --cache, UCBENCH_CACHE or HOME");
    RUN(4,
        "sweep --model %s --method fp4 --task lambada:n=2 --data mini --memory 1 --db %s",
        model, db);
    CHECK_HAS(out, "there is no folder for a file of them");
}

TEST(recorded_sums_of_the_published_protocol_are_halves)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    const char *db = ucb_test_path("%s/r.db", ucb_test_folder());
    sqlite3 *open;
    sqlite3_stmt *row;
    int n = 0;
    ucb_tiny_model(model);
    RUN(0,
        "sweep --model %s --method nf4 --task lambada-windows:n=3 --data mini --db %s "
        "--compat-fp16-nll",
        model, db);
    CHECK_HAS(out, "lambada-windows:n=3,seed=42,nll=fp16");
    CHECK_EQ(sqlite3_open(db, &open), SQLITE_OK);
    CHECK_EQ(
        sqlite3_prepare_v2(
            open,
            "SELECT sum_logp, item_id, document_id, n_tokens, t1_gt_hits, t10_gt_hits, t1_agree_hits, "
            "t10_agree_hits, t10_overlap_sum, target_correct, kld_sum, ear_sum, kld, document_name, arithmetic "
            "FROM v_items",
            -1, &row, NULL),
        SQLITE_OK);
    for (; sqlite3_step(row) == SQLITE_ROW; n++) {
        double sum = sqlite3_column_double(row, 0);
        CHECK(sum < 0 && sum == (double)ucb_f16_round((float)sum));
    }
    CHECK_EQ(n, 9); /* the original, its noise floor, nf4 */
    sqlite3_finalize(row);
    sqlite3_close(open);
    RUN(2, "sweep --model %s --task lambada:n=2 --db %s --compat-fp16-nll", model, db);
    CHECK_HAS(out, "no task is one");
}

TEST(an_unknown_verb_option_method_task_or_model_is_usage_with_a_hint)
{
    RUN(2, "sweeep");
    CHECK_HAS(out, "did you mean `sweep`");
    RUN(2, "sweep --modle x --db y");
    CHECK_HAS(out, "did you mean `--model`");
    RUN(2, "sweep --model smollm2-135");
    CHECK_HAS(out, "--db");
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    const char *db = ucb_test_path("%s/r.db", ucb_test_folder());
    ucb_tiny_model(model);
    RUN(2, "sweep --model %s --method nf5 --db %s", model, db);
    CHECK_HAS(out, "nf4");
    RUN(2, "sweep --model %s --method nf4:blok=64 --db %s", model, db);
    CHECK_HAS(out, "block");
    RUN(2, "sweep --model %s --method nf4 --task lambda --db %s", model, db);
    CHECK_HAS(out, "lambada");
    RUN(2, "sweep --model %s --method nf4 --task lambada:m=3 --db %s", model, db);
    RUN(2, "sweep --model smollm2-13 --db %s", db);
    CHECK_HAS(out, "smollm2-135m");
    RUN(3, "sweep --model %s/none.gguf --db %s", ucb_test_folder(), db);
    CHECK_HAS(out, "no such file");
}

TEST(a_verb_of_a_later_version_is_told_from_an_unknown_one)
{
    static const char *const verbs[] = {"worker", "emit-slurm", "merge"};
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        RUN(2, "%s --help", verbs[i]);
        CHECK_HAS(out, "is not part of this version");
    }
}

TEST(a_device_that_is_not_there_is_refused_before_a_database_is_made)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder()),
               *db = ucb_test_path("%s/r.db", ucb_test_folder());
    ucb_tiny_model(model);
    setenv("UCBENCH_CUDA_PLUGIN", "/nonexistent/plugin.so", 1);
    RUN(4, "sweep --model %s --kernel cuda --task lambada:n=4 --db %s", model, db);
    CHECK_HAS(out, "--kernel cuda: no GPU plugin");
    CHECK(access(db, F_OK) != 0);
    RUN(0, "sweep --model %s --kernel cuda --task lambada:n=4 --db %s --dry-run", model,
        db);
}

TEST(amx_without_bf16_is_an_impossible_pair)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    ucb_tiny_model(model);
    RUN(2, "sweep --model %s --arithmetic fp32 --kernel amx --db %s/r.db", model,
        ucb_test_folder());
    RUN(2, "sweep --model %s --arithmetic bf16-dot --kernel amx --db %s/r.db", model,
        ucb_test_folder());
    CHECK_HAS(out, "amx is a path of bf16 only");
    RUN(2, "sweep --model %s --arithmetic fp33 --db %s/r.db", model, ucb_test_folder());
}

TEST(a_plan_with_an_unknown_column_is_refused_with_the_known_ones)
{
    struct ucb_err err;
    const char *plan = ucb_test_path("%s/plan.csv", ucb_test_folder());
    CHECK_OK(ucb_file_write(plan, "model,metod\nx,nf4\n", 18, &err), err);
    RUN(2, "sweep %s --db %s/r.db", plan, ucb_test_folder());
    CHECK_HAS(out, "did you mean `method`");
    CHECK_OK(ucb_file_write(plan, "model,method\nx,hqq:bits=4,group=64\n", 35, &err), err);
    RUN(3, "sweep %s --db %s/r.db", plan, ucb_test_folder());
    CHECK_HAS(out, "quotes");
    RUN(3, "sweep %s/absent.csv --db %s/r.db", ucb_test_folder(), ucb_test_folder());
}

TEST(a_truncated_or_foreign_model_file_is_bad_input)
{
    struct ucb_err err;
    const char *gguf = ucb_test_path("%s/tests/golden/arch/llama-tied-gqa/model-f16.gguf",
                                     ucb_test_root());
    const char *cut = ucb_test_path("%s/cut.gguf", ucb_test_folder());
    struct ucb_file file;
    CHECK_OK(ucb_file_map(gguf, &file, &err), err);
    CHECK_OK(ucb_file_write(cut, file.data, file.n_bytes - 1000, &err), err);
    RUN(3, "info %s", cut);
    CHECK_HAS(out, "cut short");
    CHECK_OK(ucb_file_write(cut, "hello, world", 12, &err), err);
    RUN(3, "info %s", cut);
    ucb_file_unmap(&file);
}

TEST(a_dry_run_lists_cells_and_writes_nothing)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder()),
               *db = ucb_test_path("%s/r.db", ucb_test_folder());
    ucb_tiny_model(model);
    RUN(0, "sweep --model %s --method nf4 --task lambada:n=4 --db %s --dry-run", model, db);
    CHECK_HAS(out, "3 cells, 0 finished, 3 to do");
    struct ucb_file file;
    struct ucb_err err;
    CHECK_STATUS(ucb_file_map(db, &file, &err), UCB_MISSING, err);
}

TEST(a_method_that_cannot_take_a_matrix_becomes_a_failed_row_and_exit_1)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder()),
               *db = ucb_test_path("%s/r.db", ucb_test_folder());
    ucb_tiny_model(model);
    RUN(1,
        "sweep --model %s --method hqq:bits=4,group=100 --method nf4 --task lambada:n=4 --db %s --quiet",
        model, db);
    CHECK_HAS(out, "1 of 4 cells failed");
    CHECK_HAS(out, "group");
    RUN(0, "export --db %s --format csv", db);
    CHECK_HAS(out, "FAILED");
    RUN(1,
        "sweep --model %s --method hqq:bits=4,group=100 --method nf4 --task lambada:n=4 --db %s --quiet",
        model, db);
    CHECK_HAS(out, "4 cells, 0 new, 3 finished before, 1 failed");
    json_t *root;
    RUN(1,
        "sweep --model %s --method hqq:bits=4,group=100 --method nf4 --task lambada:n=4 --db %s --quiet --json",
        model, db);
    const char *json = strstr(out, "{\n"); /* behind what standard error had */
    CHECK(json != NULL);
    CHECK((root = json_loads(json, JSON_DISABLE_EOF_CHECK, NULL)) != NULL);
    const json_t *failures = json_object_get(root, "failures"),
                 *cell = json_array_get(failures, 0);
    CHECK_EQ(json_array_size(failures), 1);
    CHECK_TEXT(json_string_value(json_object_get(cell, "spec")), "hqq:bits=4,group=100");
    CHECK_HAS(json_string_value(json_object_get(cell, "message")), "in groups of 100");
    json_decref(root);
}

TEST(a_plan_file_and_flags_multiply)
{
    struct ucb_err err;
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder()),
               *db = ucb_test_path("%s/r.db", ucb_test_folder()),
               *plan = ucb_test_path("%s/plan.csv", ucb_test_folder());
    static const char text[] =
        "method,bits\nnf4,\nhqq:group=64,4\n\"hqq:bits=4,group=64\",\n";
    ucb_tiny_model(model);
    CHECK_OK(ucb_file_write(plan, text, strlen(text), &err), err);
    RUN(0,
        "sweep %s --model %s --task lambada:n=2 --task wikitext:ctx=64,n=2 --db %s --dry-run",
        plan, model, db);
    CHECK_HAS(out, "8 cells"); /* none, nf4, hqq, the noise floor x two tasks: the two
                                  spellings of hqq are one method */
}

TEST(an_original_whose_numbers_break_down_fails_all_its_cells_with_the_reason)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder()),
               *db = ucb_test_path("%s/r.db", ucb_test_folder());
    ucb_tiny_model_scaled(model, 1e37f);
    RUN(1,
        "sweep --model %s --method nf4 --task lambada:n=2 --task wikitext:ctx=64,n=2 --db %s --quiet",
        model, db);
    CHECK_HAS(out, "6 of 6 cells failed");
    RUN(0, "export --db %s --format csv", db);
    CHECK_HAS(out, "the original cannot be scored");
}

TEST(layers_that_the_configuration_does_not_count_are_told_of)
{
    struct ucb_err err;
    struct ucb_file file;
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder()),
               *config = ucb_test_path("%s/tiny/config.json", ucb_test_folder());
    ucb_tiny_model(model);
    RUN(0, "info %s", model);
    CHECK(strstr(out, "warning") == NULL);
    CHECK_OK(ucb_file_map(config, &file, &err), err);
    char text[1024];
    snprintf(text, sizeof(text), "%.*s", (int)file.n_bytes, (const char *)file.data);
    ucb_file_unmap(&file);
    char *count = strstr(text, "\"num_hidden_layers\": 2");
    CHECK(count != NULL);
    count[strlen("\"num_hidden_layers\": ")] = '1';
    CHECK_OK(ucb_file_write(config, text, strlen(text), &err), err);
    RUN(0, "info %s", model);
    CHECK_HAS(out, "more layers");
}

TEST(a_model_that_cannot_be_read_does_not_keep_the_next_one_from_running)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder()),
               *db = ucb_test_path("%s/r.db", ucb_test_folder());
    ucb_tiny_model(model);
    RUN(3, "sweep --model %s/no.gguf --model %s --task lambada:n=2 --db %s --quiet",
        ucb_test_folder(), model, db);
    CHECK_HAS(out, "no such file");
    RUN(0, "sweep --model %s --task lambada:n=2 --db %s --dry-run", model, db);
    CHECK_HAS(out, "1 cells, 1 finished, 0 to do");
}

TEST(a_wrong_row_of_a_plan_is_found_before_anything_is_computed)
{
    struct ucb_err err;
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder()),
               *db = ucb_test_path("%s/r.db", ucb_test_folder()),
               *plan = ucb_test_path("%s/plan.csv", ucb_test_folder());
    const char *text = ucb_test_path("model,method\n%s,none\n%s,nf5\n", model, model);
    ucb_tiny_model(model);
    CHECK_OK(ucb_file_write(plan, text, strlen(text), &err), err);
    RUN(2, "sweep %s --task lambada:n=2 --db %s --quiet", plan, db);
    CHECK_HAS(out, "line 3");
    struct ucb_file file;
    CHECK_STATUS(ucb_file_map(db, &file, &err), UCB_MISSING,
                 err); /* not even the database was made */
}

TEST(an_output_never_replaces_a_device_a_link_or_an_input)
{
    struct ucb_err err;
    struct ucb_file file;
    const char *in = ucb_test_path("%s/tests/golden/inputs.safetensors", ucb_test_root()),
               *link = ucb_test_path("%s/link", ucb_test_folder()),
               *target = ucb_test_path("%s/target", ucb_test_folder()),
               *copy = ucb_test_path("%s/copy.safetensors", ucb_test_folder());
    RUN(4, "quantize --method nf4 --in %s --tensor gauss --out /dev/full", in);
    RUN(0, "quantize --method nf4 --in %s --tensor gauss --out /dev/null", in);
    struct stat info;
    CHECK(stat("/dev/full", &info) == 0 && S_ISCHR(info.st_mode) &&
          stat("/dev/null", &info) == 0 && S_ISCHR(info.st_mode));
    CHECK_OK(ucb_file_write(target, "x", 1, &err), err);
    CHECK(symlink(target, link) == 0);
    RUN(0, "quantize --method nf4 --in %s --tensor gauss --out %s", in, link);
    CHECK(lstat(link, &info) == 0 && S_ISLNK(info.st_mode) && stat(target, &info) == 0 &&
          info.st_size > 1000);
    CHECK_OK(ucb_file_map(in, &file, &err), err);
    CHECK_OK(ucb_file_write(copy, file.data, file.n_bytes, &err), err);
    ucb_file_unmap(&file);
    RUN(2, "quantize --method nf4 --in %s --tensor gauss --out %s", copy, copy);
    CHECK_HAS(out, "is the input");
    RUN(2,
        "quantize --method nf4 --in %s --tensor gauss --calib %s --calib-tensor x --out %s",
        in, copy, copy);
    CHECK_HAS(out, "is the input");
}

TEST(a_value_that_was_forgotten_is_usage_and_no_database_in_memory)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    ucb_tiny_model(model);
    RUN(2, "sweep --model %s --task lambada:n=2 --data mini --db ''", model);
    CHECK_HAS(out, "the value of --db is empty");
    RUN(2, "sweep --model %s --task lambada:n=2 --data mini --db=", model);
    CHECK_HAS(out, "the value of --db is empty");
    RUN(2, "sweep --model %s --task lambada:n=2 --data mini --db --quiet", model);
    CHECK_HAS(out, "--db needs a value, and `--quiet` looks like an option");
    CHECK(access("--quiet", F_OK) != 0);
}

TEST(no_verb_writes_over_the_model_the_pack_or_the_database_that_it_reads)
{
    static const int32_t ids[] = {1, 2, 3};
    static const char *const files[] = {"config.json", "model.safetensors",
                                        "tokenizer.json"};
    struct ucb_err err;
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder()),
               *in = ucb_test_path("%s/ids.safetensors", ucb_test_folder()),
               *pack = ucb_test_path("%s/p.ucb", ucb_test_folder()),
               *db = ucb_test_path("%s/r.db", ucb_test_folder());
    ucb_tiny_model(model);
    ucb_write_ids(in, ids, 3);
    RUN(0, "pack --quiet --model %s --method lossless --out %s", model, pack);
    RUN(0, "sweep --quiet --model %s --task lambada:n=2 --data mini --db %s", model, db);
    for (int i = 0; i < 3; i++) {
        char before[UCB_SHA256_HEX], after[UCB_SHA256_HEX];
        const char *file = ucb_test_path("%s/%s", model, files[i]);
        CHECK_OK(ucb_sha256_file(file, before, &err), err);
        RUN(2, "dump --model %s --ids %s --out %s", model, in, file);
        RUN(2, "verify --quiet %s --source %s --inputs 0 --receipt %s", pack, model, file);
        CHECK_HAS(out, "is an input of this command");
        CHECK_OK(ucb_sha256_file(file, after, &err), err);
        CHECK_TEXT(after, before);
    }
    RUN(2, "verify --quiet %s --source %s --inputs 0 --receipt %s", pack, model, pack);
    RUN(0, "verify --quiet %s", pack);
    RUN(2, "pack --quiet --model %s --method nf4 --out %s --cache %s/cache", pack, pack,
        ucb_test_folder());
    RUN(0, "verify --quiet %s", pack);
    RUN(2, "export --db %s --out %s", db, db);
    CHECK_HAS(out, "is the database");
    RUN(0, "digest --db %s", db);
}

TEST(bits_per_weight_of_the_model_count_a_tied_table_as_often_as_it_is_stored)
{
    static const char *const scopes[] = {"body", "linear", "all"};
    /* 2 layers of 64x64 x 2 + 32x64 x 2 + 128x64 x 3 weights, an embedding of 258 x 64, 5
     * norms of 64 */
    const double body = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 128 * 64), table = 258 * 64,
                 norms = 5 * 64;
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    ucb_tiny_model(model);
    for (int i = 0; i < 3; i++) {
        const char *db = ucb_test_path("%s/%s.db", ucb_test_folder(), scopes[i]);
        RUN(0,
            "sweep --model %s --method int8 --task lambada:n=1 --scope %s --db %s "
            "--noise-floor off --quiet",
            model, scopes[i], db);
        RUN(0, "export --db %s --format json", db);
        json_error_t where;
        json_t *rows = json_loads(out, 0, &where), *row;
        CHECK(rows != NULL);
        size_t k, n_seen = 0;
        double in_scope = body + (i > 0 ? table : 0),
               rows_in_scope = 2 * (2 * 64 + 2 * 32 + 2 * 128 + 64) + (i > 0 ? 258 : 0);
        double written = in_scope + 4 * rows_in_scope,
               kept = 2 * norms + (i < 2 ? 2 * table : 0);
        json_array_foreach(rows, k, row)
        {
            if (strcmp(json_string_value(json_object_get(row, "spec")), "int8") != 0)
                continue;
            double bpw_matrices = json_number_value(json_object_get(row, "bpw_matrices"));
            double bits_model = json_number_value(json_object_get(row, "bpw_model")) *
                                (body + table + norms);
            CHECK_NEAR(bpw_matrices, 8 * written / in_scope, 1e-9);
            CHECK(bits_model >= 8 * (written + kept) &&
                  bits_model < 8 * (written + kept + 4096)); /* headers, config */
            n_seen++;
        }
        CHECK(n_seen > 0);
        json_decref(rows);
    }
}

TEST(claimed_bits_per_weight_stand_beside_the_written_ones_where_the_seed_counts_any)
{
    static const struct {
        const char *spec;
        double bits; /* 0: the seed has no such method */
    } claimed[] = {{"hqq:bits=4,group=64", 4.5},
                   {"gsq:bits=5+lowrank:rank=2", 5.25}, /* factors left out */
                   {"rtn:bits=4,group=64", 0}};
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    ucb_tiny_model(model);
    for (size_t i = 0; i < sizeof(claimed) / sizeof(claimed[0]); i++) {
        const char *db = ucb_test_path("%s/claimed-%zu.db", ucb_test_folder(), i);
        RUN(0,
            "sweep --model %s --method %s --noise-floor off --task lambada:n=1 --db %s --quiet",
            model, claimed[i].spec, db);
        RUN(0, "export --db %s --format json", db);
        json_error_t where;
        json_t *rows = json_loads(out, 0, &where), *row;
        CHECK(json_array_size(rows) > 0);
        size_t k;
        json_array_foreach(rows, k, row)
        {
            json_t *bits = json_object_get(row, "bpw_claimed");
            bool counted = claimed[i].bits > 0 &&
                           strcmp(json_string_value(json_object_get(row, "spec")),
                                  "none") != 0;
            CHECK(counted ? json_is_real(bits) : json_is_null(bits));
            if (counted) CHECK_NEAR(json_real_value(bits), claimed[i].bits, 1e-12);
        }
        json_decref(rows);
    }
}

TEST(a_head_in_scope_is_refused_to_a_method_that_multiplies_in_its_own_arithmetic)
{
    static const char *const scopes[] = {"linear", "all"};
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    ucb_tiny_model(model);
    for (int i = 0; i < 2; i++) {
        RUN(1,
            "sweep --model %s --method int8:threshold=6.0 --task lambada:n=1 --scope %s "
            "--db %s/%s.db --quiet",
            model, scopes[i], ucb_test_folder(), scopes[i]);
        CHECK_HAS(out, ucb_test_path("--scope %s: int8:threshold=6 multiplies in its own",
                                     scopes[i]));
        CHECK_HAS(out, "try --scope body");
    }
}
