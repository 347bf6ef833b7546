/*
 * receipt.c - see receipt.h. The digest is over the statement without the digest, as JSON
 * with sorted keys and no spaces: `jq -cS 'del(.predicate.statement_sha256)'` prints it.
 */
#include "pack/receipt.h"

#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/resource.h"

static const char statement_type[] = "https://in-toto.io/Statement/v1",
                  predicate_type[] = "urn:ucbench:verification:1",
                  digest_key[] = "statement_sha256";

static ucb_status digest_of(json_t *statement, char hex[UCB_SHA256_HEX],
                            struct ucb_err *err)
{
    char *text = json_dumps(statement, JSON_COMPACT | JSON_SORT_KEYS);
    if (text == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a receipt");
    ucb_sha256_hex(text, strlen(text), hex);
    free(text);
    return UCB_OK;
}

static json_t *checks_of(const struct ucb_verify_result *r)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < r->n_checks; i++)
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:o}", "name", r->checks[i].name, "status",
                            ucb_check_status_name(r->checks[i].verdict), "detail",
                            ucb_json_text(r->checks[i].detail)));
    return list;
}

static json_t *method_of(const struct ucb_packfile *p)
{
    if (p == NULL) return json_null();
    return json_pack("{s:s, s:s, s:s, s:I, s:s}", "spec", p->spec, "identity", p->identity,
                     "scope", ucb_scope_name(p->scope), "seed", (json_int_t)p->seed,
                     "calib", p->calib);
}

static json_t *make_statement(const struct ucb_verify_result *r, const char *pack_path,
                              const char *source_sha256, uint32_t n_inputs)
{
    const char *slash = strrchr(pack_path, '/');
    const struct ucb_packfile *p = r->pack;
    json_t *predicate = json_pack(
        "{s:s, s:{s:s, s:s}, s:{s:I, s:s?}, s:o, s:s?, s:s?, s:i, s:o}", "verdict",
        r->failed ? "FAILED" : "PASSED", "verifier", "program", "ucbench", "build",
        ucb_build_id(), "pack", "bytes", (json_int_t)r->pack_bytes, "written_by_build",
        p == NULL ? NULL : p->build, "method", method_of(p), "packed_from_sha256",
        p == NULL ? NULL : p->source_sha256, "compared_with_sha256", source_sha256,
        "inputs", (int)n_inputs, "checks", checks_of(r));
    return json_pack(
        "{s:s, s:[{s:o, s:{s:s}}], s:s, s:o}", "_type", statement_type, "subject", "name",
        ucb_json_text(slash == NULL ? pack_path : slash + 1), "digest", "sha256",
        r->pack_sha256, "predicateType", predicate_type, "predicate", predicate);
}

static ucb_status no_memory(const char *path, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a receipt", path);
}

ucb_status ucb_receipt_write(const char *path, const struct ucb_verify_result *result,
                             const char *pack_path, const char *source_sha256,
                             uint32_t n_inputs, struct ucb_err *err)
{
    char hex[UCB_SHA256_HEX];
    json_t *statement = make_statement(result, pack_path, source_sha256, n_inputs);
    ucb_status status = statement == NULL || ucb_json_lost()
                            ? no_memory(path, err)
                            : digest_of(statement, hex, err);
    char *text = NULL;
    if (status == UCB_OK) {
        json_object_set_new(json_object_get(statement, "predicate"), digest_key,
                            json_string(hex));
        text = json_dumps(statement, JSON_INDENT(2) | JSON_SORT_KEYS);
        if (text == NULL || ucb_json_lost()) status = no_memory(path, err);
    }
    if (status == UCB_OK) status = ucb_file_write(path, text, strlen(text), err);
    free(text);
    json_decref(statement);
    return status;
}

/* ---- reading ---- */

#define WRITE_ANOTHER "`ucbench verify PACK --source M --receipt FILE` writes another"

static ucb_status text_of(const char *path, const json_t *value, const char *what,
                          struct ucb_arena *arena, const char **out, struct ucb_err *err)
{
    if (!json_is_string(value))
        return UCB_FAIL(err, UCB_CORRUPT, "%s: a receipt without %s; " WRITE_ANOTHER, path,
                        what);
    *out = ucb_arena_strdup(arena, json_string_value(value));
    return *out == NULL ? UCB_FAIL(err, UCB_NOMEM, "%s: no memory", path) : UCB_OK;
}

static ucb_status check_form(const char *path, const json_t *root, struct ucb_err *err)
{
    const char *type = json_string_value(json_object_get(root, "_type")),
               *predicate = json_string_value(json_object_get(root, "predicateType"));
    if (type == NULL || predicate == NULL || strcmp(type, statement_type) != 0 ||
        strcmp(predicate, predicate_type) != 0)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s: not a receipt; `ucbench verify PACK --receipt FILE` writes one where FILE is not there",
            path);
    return UCB_OK;
}

static ucb_status check_digest(const char *path, json_t *root, struct ucb_err *err)
{
    char found[UCB_SHA256_HEX];
    json_t *predicate = json_object_get(root, "predicate");
    const char *own = json_string_value(json_object_get(predicate, digest_key));
    if (own == NULL || strlen(own) != UCB_SHA256_HEX - 1)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: a receipt without its own SHA-256; " WRITE_ANOTHER, path);
    char expected[UCB_SHA256_HEX];
    memcpy(expected, own, sizeof(expected));
    json_object_del(predicate, digest_key);
    UCB_TRY(digest_of(root, found, err));
    if (strcmp(found, expected) == 0) return UCB_OK;
    return UCB_FAIL(err, UCB_NO,
                    "%s: the statement has SHA-256 %s, the receipt says %s: it was changed",
                    path, found, expected);
}

static void count(const json_t *checks, struct ucb_receipt *out)
{
    for (size_t i = 0; i < json_array_size(checks); i++) {
        const char *status = json_string_value(
            json_object_get(json_array_get(checks, i), "status"));
        if (status == NULL) continue;
        out->n_passed += strcmp(status, "PASS") == 0;
        out->n_failed += strcmp(status, "FAIL") == 0;
        out->n_skipped += strcmp(status, "SKIPPED") == 0;
    }
}

static ucb_status read_all(const char *path, json_t *root, struct ucb_arena *arena,
                           struct ucb_receipt *out, struct ucb_err *err)
{
    UCB_TRY(check_form(path, root, err));
    UCB_TRY(check_digest(path, root, err));
    const json_t *subject = json_array_get(json_object_get(root, "subject"), 0),
                 *predicate = json_object_get(root, "predicate"),
                 *source = json_object_get(predicate, "compared_with_sha256"),
                 *spec = json_object_get(json_object_get(predicate, "method"), "spec");
    UCB_TRY(text_of(path, json_object_get(subject, "name"), "a subject", arena,
                    &out->subject, err));
    UCB_TRY(text_of(path, json_object_get(json_object_get(subject, "digest"), "sha256"),
                    "the pack's SHA-256", arena, &out->pack_sha256, err));
    UCB_TRY(text_of(path, json_object_get(predicate, "verdict"), "a verdict", arena,
                    &out->verdict, err));
    UCB_TRY(text_of(path, json_object_get(json_object_get(predicate, "verifier"), "build"),
                    "a build", arena, &out->build, err));
    if (json_is_string(spec))
        UCB_TRY(text_of(path, spec, "a method", arena, &out->spec, err));
    if (json_is_string(source))
        UCB_TRY(text_of(path, source, "a source", arena, &out->source_sha256, err));
    count(json_object_get(predicate, "checks"), out);
    if ((out->n_failed > 0) != (strcmp(out->verdict, "FAILED") == 0))
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s: its verdict is %s, and %u of its checks failed; " WRITE_ANOTHER, path,
            out->verdict, out->n_failed);
    return UCB_OK;
}

ucb_status ucb_receipt_read(const char *path, struct ucb_arena *arena,
                            struct ucb_receipt *out, struct ucb_err *err)
{
    json_t *root;
    *out = (struct ucb_receipt){0};
    UCB_TRY(ucb_json_load(path, &root, err));
    ucb_status status = read_all(path, root, arena, out, err);
    json_decref(root);
    return status;
}
