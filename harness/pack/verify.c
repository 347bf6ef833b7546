/* verify.c - see verify.h. */
#include "pack/verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/progress.h"

const char *ucb_check_status_name(enum ucb_check_status verdict)
{
    static const char *const names[] = {"PASS", "FAIL", "SKIPPED"};
    return names[verdict];
}

void ucb_check_add(struct ucb_verify_result *r, const char *name,
                   enum ucb_check_status verdict, const char *format, ...)
{
    struct ucb_check *c = &r->checks[r->n_checks++];
    va_list args;
    c->name = name;
    c->verdict = verdict;
    r->failed |= verdict == UCB_CHECK_FAIL;
    va_start(args, format);
    vsnprintf(c->detail, sizeof(c->detail), format, args);
    va_end(args);
}

static void skip_rest(struct ucb_verify_result *r, const char *why)
{
    static const char *const names[] = {"pack_digest",         "decode_deterministic",
                                        "threads_invariant",   "recorded_decode_equal",
                                        "roundtrip_bit_exact", "source_bits_equal",
                                        "logits_bit_exact"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        ucb_check_add(r, names[i], UCB_CHECK_SKIPPED, "%s", why);
}

static void check_blobs(const struct ucb_packfile *p, struct ucb_verify_result *r)
{
    struct ucb_err why = {0};
    for (uint32_t i = 0; i < p->n_blobs; i++)
        if (ucb_packfile_check_blob(p, i, &why) != UCB_OK) {
            ucb_check_add(r, "pack_digest", UCB_CHECK_FAIL, "%s", why.text);
            return;
        }
    ucb_check_add(r, "pack_digest", UCB_CHECK_PASS,
                  "header, manifest and %u blobs have their SHA-256", p->n_blobs);
}

/* Of what a pack's own bytes cannot be asked. */
static void skip_invariants(struct ucb_verify_result *r)
{
    ucb_check_add(
        r, "batch_invariant", UCB_CHECK_SKIPPED,
        "a property of the evaluator, not of a pack: `make test` compares batches");
    ucb_check_add(
        r, "kernels_invariant", UCB_CHECK_SKIPPED,
        "a property of the evaluator, not of a pack: `make test` compares kernels");
}

ucb_status ucb_verify_run(const struct ucb_verify_options *o, struct ucb_verify_result *out,
                          struct ucb_err *err)
{
    struct ucb_err why = {0};
    *out = (struct ucb_verify_result){0};
    UCB_TRY(ucb_sha256_file(o->path, out->pack_sha256, err));
    ucb_status status = ucb_packfile_open(o->path, o->limit_bytes, &out->pack, &why);
    if (status != UCB_OK && status != UCB_CORRUPT) {
        if (err != NULL) *err = why;
        return status;
    }
    if (status == UCB_CORRUPT) {
        ucb_check_add(out, "structure", UCB_CHECK_FAIL, "%s", why.text);
        skip_rest(out, "the pack cannot be read");
        return UCB_OK;
    }
    const struct ucb_packfile *p = out->pack;
    out->pack_bytes = p->map.n_bytes;
    ucb_check_add(out, "structure", UCB_CHECK_PASS,
                  "%u blobs cover the pack, %u pieces their %u files, each of %u matrices "
                  "stands in one of them",
                  p->n_blobs, p->n_pieces, p->n_files, p->n_matrices);
    check_blobs(p, out);
    UCB_TRY(ucb_verify_decodes(p, out, err));
    UCB_TRY(ucb_verify_source(o, p, out, err));
    UCB_TRY(ucb_verify_distances(o, out->pack, out, err));
    UCB_TRY(ucb_verify_logits(o, p, out, err));
    skip_invariants(out);
    return UCB_OK;
}
