/*
 * receipt.h - what a verification found, as an in-toto statement (v1): JSON that names the
 * pack by SHA-256 and carries a SHA-256 over itself, so that it can be checked later
 * without the pack, the model or this program's help.
 */
#ifndef UCB_PACK_RECEIPT_H
#define UCB_PACK_RECEIPT_H

#include "pack/verify.h"

/*
 * Writes the receipt of a finished verification, atomically. Nothing in it depends on time,
 * host or path: the same pack, source and build give the same bytes. `source_sha256` NULL:
 * nothing was compared with a source. IO, NOMEM.
 */
ucb_status ucb_receipt_write(const char *path, const struct ucb_verify_result *result,
                             const char *pack_path, const char *source_sha256,
                             uint32_t n_inputs, struct ucb_err *err);

/* A receipt as it was read; texts come from `arena`. */
struct ucb_receipt {
    const char *subject, *pack_sha256, *spec, *verdict, *source_sha256, *build;
    uint32_t n_passed, n_failed, n_skipped;
};
/*
 * Reads a receipt and checks the statement: its form, and the digest over everything in it.
 * NO: a receipt that was changed. CORRUPT: no receipt, and why; MISSING, IO, NOMEM.
 */
ucb_status ucb_receipt_read(const char *path, struct ucb_arena *arena,
                            struct ucb_receipt *out, struct ucb_err *err);

#endif
