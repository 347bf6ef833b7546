/*
 * verify.h - whether a pack is whole, decodes to what it says, and is its source.
 */
#ifndef UCB_PACK_VERIFY_H
#define UCB_PACK_VERIFY_H

#include "core/arena.h"
#include "core/sha256.h"
#include "pack/packfile.h"

enum ucb_check_status { UCB_CHECK_PASS, UCB_CHECK_FAIL, UCB_CHECK_SKIPPED };
struct ucb_check {
    const char *name; /* one of the database's check names */
    enum ucb_check_status verdict;
    char detail[600]; /* what was compared, what differs first, or why it was not run */
};
enum { UCB_MAX_CHECKS = 16 };
const char *
ucb_check_status_name(enum ucb_check_status verdict); /* "PASS", "FAIL", "SKIPPED" */

/* Everything is borrowed. */
struct ucb_verify_options {
    const char *path;      /* of the pack */
    const char *source;    /* path of the model it was made from, NULL: not at hand */
    const char *cache;     /* where it is unpacked for the forward pass; NULL: as usual */
    uint64_t limit_bytes;  /* as ucb_packfile_open() */
    uint32_t n_inputs;     /* inputs of 8 tokens; a hundredth of them of other lengths */
    struct ucb_pool *pool; /* for the forward pass */
    uint64_t memory_bytes; /* hidden states beyond it go to files */
};
/* A tensor of the pack beside the source's of the same name. */
struct ucb_tensor_distance {
    const char *name;
    bool bit_equal; /* the same type and the same bytes */
    double max_abs; /* the largest difference of an element, both widened; NaN: of a type
                       without values, or an element that is no number */
    double rel_l2;  /* the norm of the difference over the source's */
};
struct ucb_verify_result {
    struct ucb_check checks[UCB_MAX_CHECKS];
    uint32_t n_checks;
    bool failed;
    char pack_sha256[UCB_SHA256_HEX];
    uint64_t pack_bytes;
    char source_sha256[UCB_SHA256_HEX]; /* of the source, empty where there was none */
    struct ucb_packfile *pack; /* NULL where it could not be opened; the caller closes it */
    struct ucb_tensor_distance *distances; /* with a source; they last as long as `pack` */
    uint32_t n_distances;
};
/*
 * Runs all checks that can be run; what does not hold is in the result. A status that is
 * not OK: the files could not be read or memory ran out; MISSING, UNSUPPORTED, IO, NOMEM.
 */
ucb_status ucb_verify_run(const struct ucb_verify_options *options,
                          struct ucb_verify_result *out, struct ucb_err *err);

/* ---- for the files of the verifier ---- */

void ucb_check_add(struct ucb_verify_result *r, const char *name,
                   enum ucb_check_status verdict, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* decode_deterministic, threads_invariant, recorded_decode_equal, roundtrip_bit_exact. */
ucb_status ucb_verify_decodes(const struct ucb_packfile *pack, struct ucb_verify_result *r,
                              struct ucb_err *err);
/* source_bits_equal. */
ucb_status ucb_verify_source(const struct ucb_verify_options *o,
                             const struct ucb_packfile *pack, struct ucb_verify_result *r,
                             struct ucb_err *err);
/* No check: the distances of all tensors, where there is a source. */
ucb_status ucb_verify_distances(const struct ucb_verify_options *o,
                                struct ucb_packfile *pack, struct ucb_verify_result *r,
                                struct ucb_err *err);
/* logits_bit_exact. */
ucb_status ucb_verify_logits(const struct ucb_verify_options *o,
                             const struct ucb_packfile *pack, struct ucb_verify_result *r,
                             struct ucb_err *err);

#endif
