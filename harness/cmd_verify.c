/*
 * cmd_verify.c - whether a pack is whole, decodes to what it says, and is its source; and
 * whether a receipt that says so is whole itself.
 */
#include "cmd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "core/file.h"
#include "core/json.h"
#include "core/progress.h"
#include "core/resource.h"
#include "core/text.h"
#include "environment.h"
#include "model/checkpoint.h"
#include "pack/receipt.h"
#include "pack/seed.h"
#include "pack/unpack.h"
#include "store/store.h"

static const char help[] =
    "usage: ucbench verify PACK [--source M] [--receipt FILE] [--db FILE] [options]\n"
    "       ucbench verify [PACK] --receipt FILE\n"
    "\n"
    "Checks a pack: its structure and every digest; each tensor decoded twice and by 1, 2 and 3 threads, against the\n"
    "digest recorded when it was packed; the files it unpacks to. With --source the tensors are compared with the\n"
    "model's, bit for bit, and both are run side by side: every hidden state and every logit of a text and of\n"
    "inputs made up to be awkward. What was not run is printed as SKIPPED, with the reason. Of a .uc layer, a folder of\n"
    "them, or a UCV17 file the structure is checked, and what such files leave unverified is said.\n"
    "\n"
    "  --source M       the model it was made from: a name, folder, file, or pack\n"
    "  --receipt FILE   with --source, or where there is no such FILE: written (an in-toto statement, JSON, with a SHA-256\n"
    "                   over everything in it). Otherwise FILE is checked, offline and in milliseconds; PACK, where it is\n"
    "                   named, is hashed and nothing more.\n"
    "  --db FILE        stores the checks (view v_checks)\n"
    "  --tensors        with --source, a line for each tensor: whether its bits are the source's, the largest and the\n"
    "                   relative difference of its values (--json always has them)\n"
    "  --inputs N       inputs of 8 tokens for the forward pass (default 10000; 0: no forward pass)\n"
    "  --limit BYTES    how much the pack may unpack to (default 64 times its size)\n"
    "  --threads N    --cache DIR    --quiet    --json\n"
    "\n"
    "exit code: 0 every check that was run passed; 1 a check failed (the first difference is named), or the receipt\n"
    "was changed; 2 usage; 3 not a pack or a receipt that this program reads; 4 environment\n";

struct verify_args {
    const char *pack, *source, *receipt, *db, *inputs, *limit, *threads, *cache;
    bool tensors, quiet, json;
};

static ucb_status parse_args(int n_args, char **args, struct verify_args *a,
                             struct ucb_err *err)
{
    size_t n = 0;
    const struct ucb_option options[] = {
        {"--source", UCB_OPTION_TEXT, .text = &a->source},
        {"--receipt", UCB_OPTION_TEXT, .text = &a->receipt},
        {"--db", UCB_OPTION_TEXT, .text = &a->db},
        {"--inputs", UCB_OPTION_TEXT, .text = &a->inputs},
        {"--limit", UCB_OPTION_TEXT, .text = &a->limit},
        {"--threads", UCB_OPTION_TEXT, .text = &a->threads},
        {"--tensors", UCB_OPTION_SWITCH, .on = &a->tensors},
        {"--cache", UCB_OPTION_TEXT, .text = &a->cache},
        {"--quiet", UCB_OPTION_SWITCH, .on = &a->quiet},
        {"--json", UCB_OPTION_SWITCH, .on = &a->json},
    };
    UCB_TRY(ucb_options_parse("verify", n_args, args, options,
                              sizeof(options) / sizeof(options[0]), &a->pack, &n, 1, err));
    if (a->pack == NULL && a->receipt == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "ucbench verify needs a pack, or --receipt FILE; see `ucbench "
                        "verify --help`");
    return UCB_OK;
}

/* ---- a receipt that is there ---- */

static ucb_status print_receipt(const struct verify_args *a, const struct ucb_receipt *r,
                                struct ucb_err *err)
{
    if (a->json) {
        json_t *o = json_pack(
            "{s:o, s:s, s:s, s:s, s:s?, s:s?, s:i, s:i, s:i, s:b, s:s}", "receipt",
            ucb_json_text(a->receipt), "statement", "whole", "subject", r->subject,
            "sha256", r->pack_sha256, "method", r->spec, "source_sha256", r->source_sha256,
            "passed", (int)r->n_passed, "failed", (int)r->n_failed, "skipped",
            (int)r->n_skipped, "pack_hashed", a->pack != NULL, "verdict", r->verdict);
        return ucb_json_print(o, "the receipt", err);
    }
    printf(
        "%s: whole, and says of %s (SHA-256 %s): %s, %u checks passed, %u failed, %u not "
        "run\n",
        a->receipt, r->subject, r->pack_sha256, r->verdict, r->n_passed, r->n_failed,
        r->n_skipped);
    printf(a->pack != NULL ? "  %s has that SHA-256\n"
                           : "  no pack was named: none was hashed\n",
           a->pack);
    return UCB_OK;
}

static ucb_status check_receipt(const struct verify_args *a, struct ucb_err *err)
{
    struct ucb_arena arena;
    struct ucb_receipt receipt;
    char found[UCB_SHA256_HEX] = "";
    ucb_arena_init(&arena);
    ucb_status status = ucb_receipt_read(a->receipt, &arena, &receipt, err);
    if (status == UCB_OK && a->pack != NULL) status = ucb_sha256_file(a->pack, found, err);
    if (status == UCB_OK && a->pack != NULL && strcmp(found, receipt.pack_sha256) != 0)
        status = UCB_FAIL(err, UCB_NO, "%s has SHA-256 %s, the receipt is for %s", a->pack,
                          found, receipt.pack_sha256);
    if (status == UCB_OK) status = print_receipt(a, &receipt, err);
    if (status == UCB_OK && receipt.n_failed > 0)
        status = UCB_FAIL(err, UCB_NO, "%s: the verification that it records failed",
                          a->receipt);
    ucb_arena_free(&arena);
    return status;
}

/* ---- a verification ---- */

/* A distance; null: there is none. */
static json_t *distance_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *tensors_json(const struct ucb_verify_result *r)
{
    json_t *tensors = json_array();
    for (uint32_t i = 0; i < r->n_distances; i++) {
        const struct ucb_tensor_distance *t = &r->distances[i];
        json_array_append_new(tensors,
                              json_pack("{s:o, s:b, s:o, s:o}", "name",
                                        ucb_json_text(t->name), "bit_equal", t->bit_equal,
                                        "max_abs", distance_json(t->max_abs), "rel_l2",
                                        distance_json(t->rel_l2)));
    }
    return tensors;
}

static ucb_status print_json(const struct verify_args *a, const struct ucb_verify_result *r,
                             struct ucb_err *err)
{
    json_t *checks = json_array();
    for (uint32_t i = 0; i < r->n_checks; i++)
        json_array_append_new(
            checks, json_pack("{s:s, s:s, s:o}", "name", r->checks[i].name, "status",
                              ucb_check_status_name(r->checks[i].verdict), "detail",
                              ucb_json_text(r->checks[i].detail)));
    json_t *o = json_pack(
        "{s:o, s:s, s:s?, s:s, s:o, s:o}", "pack", ucb_json_text(a->pack), "sha256",
        r->pack_sha256, "method", r->pack == NULL ? NULL : r->pack->spec, "verdict",
        r->failed ? "FAILED" : "PASSED", "checks", checks, "tensors", tensors_json(r));
    return ucb_json_print(o, "the checks", err);
}

static bool passed(const struct ucb_verify_result *r, const char *name)
{
    for (uint32_t i = 0; i < r->n_checks; i++)
        if (strcmp(r->checks[i].name, name) == 0)
            return r->checks[i].verdict == UCB_CHECK_PASS;
    return false;
}

static const char *advice(const struct ucb_verify_result *r)
{
    if (r->failed)
        return "do not use this pack: fetch or make it again, and keep this output if the "
               "new one fails too";
    if (passed(r, "source_bits_equal"))
        return passed(r, "logits_bit_exact")
                   ? "its source bit for bit, and runs as its source"
                   : "its source bit for bit; no forward pass was run";
    if (passed(r, "logits_bit_exact"))
        return "decodes as recorded, and runs as its payloads do in an evaluation";
    return "whole, and decodes as recorded; with --source it is compared with a model";
}

static void print_distances(const struct verify_args *a, const struct ucb_verify_result *r)
{
    uint32_t n_equal = 0, worst = UINT32_MAX;
    for (uint32_t i = 0; i < r->n_distances; i++) {
        const struct ucb_tensor_distance *t = &r->distances[i];
        n_equal += t->bit_equal;
        if (t->rel_l2 > 0 &&
            (worst == UINT32_MAX || t->rel_l2 > r->distances[worst].rel_l2))
            worst = i;
        if (a->tensors)
            printf("  %-9s max_abs %-12g rel_l2 %-12g %s\n",
                   t->bit_equal ? "equal" : "differs", t->max_abs, t->rel_l2, t->name);
    }
    if (r->n_distances == 0) return;
    printf("  %u of %u tensors have the source's bits", (unsigned)n_equal,
           (unsigned)r->n_distances);
    if (worst != UINT32_MAX)
        printf("; farthest from it is %s: rel_l2 %.4g, max_abs %.4g",
               r->distances[worst].name, r->distances[worst].rel_l2,
               r->distances[worst].max_abs);
    putchar('\n');
}

static void print_for_people(const struct verify_args *a, const struct ucb_verify_result *r)
{
    printf("%s: %s\n", a->pack, r->pack == NULL ? "not readable" : r->pack->spec);
    for (uint32_t i = 0; i < r->n_checks; i++)
        printf("  %-8s %-22s %s\n", ucb_check_status_name(r->checks[i].verdict),
               r->checks[i].name, r->checks[i].detail);
    print_distances(a, r);
    printf("%s: %s\n", r->failed ? "FAILED" : "PASSED", advice(r));
}

/* A verification is a cell of its own: the pack in the place of a data set, the source in
 * the task. */
static ucb_status store_checks(const struct verify_args *a, uint32_t n_inputs,
                               const struct ucb_verify_result *r, const char *command,
                               struct ucb_err *err)
{
    static struct ucb_cell_result result;
    struct ucb_store *store;
    int64_t run;
    char task[64], method[64] = "unknown";
    const struct ucb_packfile *p = r->pack;
    if (a->source == NULL)
        snprintf(task, sizeof(task), "verify");
    else
        snprintf(task, sizeof(task), "verify:inputs=%u,source=%.12s", n_inputs,
                 r->source_sha256);
    if (p != NULL) snprintf(method, sizeof(method), "%s", ucb_chain_name(p->chain));
    struct ucb_cell cell = {.model = a->source != NULL ? a->source : a->pack,
                            .model_digest = p == NULL ? r->pack_sha256 : p->source_sha256,
                            .scope = p == NULL ? "body" : ucb_scope_name(p->scope),
                            .method = method,
                            .spec = p == NULL ? "unknown" : p->spec,
                            .identity = p == NULL ? "unknown" : p->identity,
                            .calib = p == NULL ? "" : p->calib,
                            .task = task,
                            .task_revision = 1,
                            .dataset = "pack",
                            .dataset_digest = r->pack_sha256,
                            .arithmetic = ucb_arithmetic_name(UCB_ARITH_FP32),
                            .arithmetic_revision = ucb_arithmetic_revision(UCB_ARITH_FP32),
                            .seed = p == NULL ? 0 : p->seed};
    result = (struct ucb_cell_result){.failed = r->failed,
                                      .message = r->failed ? "a check failed" : NULL,
                                      .reason = r->failed ? "UCB_NO" : NULL};
    for (uint32_t i = 0; i < r->n_checks && i + 1 < UCB_MAX_CHECKS; i++) {
        result.checks[i].name = r->checks[i].name;
        result.checks[i].status = ucb_check_status_name(r->checks[i].verdict);
        result.checks[i].detail = r->checks[i].detail;
    }
    ucb_cell_identify(&cell);
    char *environment;
    UCB_TRY(ucb_environment_text(ucb_environment(), &environment, err));
    const struct ucb_run_info info = {ucb_build_id(), command, environment};
    ucb_status status = ucb_store_open(a->db, UCB_STORE_WRITE, &store, err);
    if (status != UCB_OK) {
        free(environment);
        return status;
    }
    status = ucb_store_begin_run(store, &info, &run, err);
    if (status == UCB_OK)
        status = ucb_store_put_cell(store, run, ucb_build_id(), &cell, &result, err);
    if (status == UCB_OK) status = ucb_store_end_run(store, run, err);
    free(environment);
    ucb_store_close(store);
    return status;
}

/* Readers begin what they say with the file, and so does the line that the
 * detail goes to. */
static const char *behind_name(const char *pack, const char *detail)
{
    size_t n = strlen(pack);
    bool named = strncmp(detail, pack, n) == 0 && strncmp(detail + n, ": ", 2) == 0;
    return named ? detail + n + 2 : detail;
}

static ucb_status conclude(const struct verify_args *a, uint32_t n_inputs,
                           const struct ucb_verify_result *r, const char *source_sha256,
                           struct ucb_err *err)
{
    if (a->json)
        UCB_TRY(print_json(a, r, err));
    else
        print_for_people(a, r);
    if (a->receipt != NULL)
        UCB_TRY(ucb_receipt_write(a->receipt, r, a->pack, source_sha256, n_inputs, err));
    if (a->db != NULL) UCB_TRY(store_checks(a, n_inputs, r, "ucbench verify", err));
    if (!r->failed) return UCB_OK;
    for (uint32_t i = 0; i < r->n_checks; i++)
        if (r->checks[i].verdict == UCB_CHECK_FAIL)
            return UCB_FAIL(err, UCB_NO, "%s: %s: %s", a->pack, r->checks[i].name,
                            behind_name(a->pack, r->checks[i].detail));
    return UCB_OK;
}

/* What is checked is not written over. */
static ucb_status check_receipt_path(const struct verify_args *a, const char *source,
                                     struct ucb_err *err)
{
    struct ucb_checkpoint *checkpoint = NULL;
    if (a->receipt == NULL) return UCB_OK;
    bool is_input = ucb_file_same(a->receipt, a->pack) ||
                    (a->db != NULL && ucb_file_same(a->receipt, a->db));
    if (source != NULL) {
        UCB_TRY(ucb_checkpoint_open(source, &checkpoint, err));
        is_input |= ucb_checkpoint_holds(checkpoint, a->receipt);
        ucb_checkpoint_close(checkpoint);
    }
    if (!is_input) return UCB_OK;
    return UCB_FAIL(err, UCB_USAGE,
                    "--receipt %s is an input of this command; name another file",
                    a->receipt);
}

static ucb_status verify(const struct verify_args *a, struct ucb_err *err)
{
    char source[4096];
    uint64_t n_inputs = 10000, limit = 0;
    unsigned threads;
    struct ucb_verify_result r = {0};
    struct ucb_pool *pool;
    if (a->inputs != NULL && (!ucb_parse_u64(a->inputs, &n_inputs) || n_inputs > 1000000))
        return UCB_FAIL(err, UCB_USAGE, "--inputs %s: a number from 0 to 1000000",
                        a->inputs);
    if (a->limit != NULL && (!ucb_parse_bytes(a->limit, &limit) || limit == 0))
        return UCB_FAIL(err, UCB_USAGE, "--limit %s: a count of bytes, 20G", a->limit);
    UCB_TRY(ucb_option_threads(a->threads, &threads, err));
    if (a->source != NULL)
        UCB_TRY(ucb_pack_locate_model(a->source, a->cache, source, sizeof(source), err));
    UCB_TRY(check_receipt_path(a, a->source == NULL ? NULL : source, err));
    UCB_TRY(ucb_pool_open(threads, &pool, err));
    const struct ucb_verify_options options = {.path = a->pack,
                                               .source = a->source == NULL ? NULL : source,
                                               .cache = a->cache,
                                               .limit_bytes = limit,
                                               .n_inputs = (uint32_t)n_inputs,
                                               .pool = pool,
                                               .memory_bytes = ucb_ram_bytes() / 2};
    ucb_status status = ucb_verify_run(&options, &r, err);
    if (status == UCB_OK)
        status = conclude(a, (uint32_t)n_inputs, &r,
                          a->source == NULL ? NULL : r.source_sha256, err);
    ucb_packfile_close(r.pack);
    ucb_pool_close(pool);
    return status;
}

static ucb_status verify_main(int n_args, char **args, struct ucb_err *err)
{
    struct verify_args a = {0};
    UCB_TRY(parse_args(n_args, args, &a, err));
    ucb_progress_quiet(a.quiet);
    bool is_there = a.receipt != NULL && access(a.receipt, F_OK) == 0;
    if (a.pack == NULL || (is_there && a.source == NULL)) return check_receipt(&a, err);
    if (ucb_seed_is(a.pack)) return ucb_seed_print(a.pack, true, a.json, err);
    return verify(&a, err);
}

const struct ucb_command ucb_command_verify = {
    .name = "verify",
    .summary = "is a pack whole, and is it its source?",
    .help = help,
    .run = verify_main,
};
