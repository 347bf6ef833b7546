/*
 * pack_source.h - the files that a checkpoint consists of, and those beside it that belong
 * to it: configuration, tokenizer, licence.
 */
#ifndef UCB_PACK_PACK_SOURCE_H
#define UCB_PACK_PACK_SOURCE_H

#include "core/arena.h"
#include "core/sha256.h"
#include "model/checkpoint.h"

struct ucb_source_file {
    const char *path, *name; /* name: without the folder */
    char sha256[UCB_SHA256_HEX];
    uint64_t n_bytes;
    size_t in_checkpoint; /* its number there; SIZE_MAX: it lies beside */
    bool is_identity;     /* a part of the model's digest, see ucb_model_digest() */
};
struct ucb_source_files {
    struct ucb_source_file *list; /* in name order */
    size_t n;
    char model_sha256[UCB_SHA256_HEX]; /* what ucb_model_digest() says */
};
/* Lists and hashes them; everything in *out comes from `arena`. UNSUPPORTED: a name that a
 * pack does not take. MISSING, IO, NOMEM. */
ucb_status ucb_source_files_list(const struct ucb_checkpoint *c, struct ucb_arena *arena,
                                 struct ucb_source_files *out, struct ucb_err *err);

#endif
