/*
 * packfile_write_internal.h - what the files of the pack writer share.
 */
#ifndef UCB_PACK_PACKFILE_WRITE_INTERNAL_H
#define UCB_PACK_PACKFILE_WRITE_INTERNAL_H

#include <jansson.h>

#include "core/progress.h"
#include "pack/pack_source.h"
#include "pack/packfile_write.h"

/* A matrix that the chain wrote. */
struct ucb_written {
    const struct ucb_matrix *matrix;
    enum ucb_role used_as;
    struct ucb_place place;
    enum ucb_dtype dtype; /* decoded */
};
/* A norm's weight that was tuned: what its tensor holds instead. */
struct ucb_tuned_gain {
    const struct ucb_tensor *tensor;
    uint32_t blob;
    char sha256[UCB_SHA256_HEX]; /* of the F32 tensor */
};
/* A tensor that lies in the pack, for tensors that are the same. */
struct ucb_kept_tensor {
    char sha256[UCB_SHA256_HEX];
    uint32_t piece;
};

struct ucb_pack_writer {
    const struct ucb_packfile_options *options;
    struct ucb_arena arena, scratch;
    struct ucb_source_files source;
    struct ucb_out_file file;
    uint64_t at, unpacked_bytes;
    json_t *blobs, *matrices, *files;
    json_t *pieces; /* of the file at work */
    uint64_t piece_bytes;
    uint32_t n_blobs, n_pieces;
    struct ucb_written *written;
    uint32_t n_written;
    struct ucb_tuned_gain *gains;
    uint32_t n_gains;
    struct ucb_kept_tensor *kept;
    uint32_t n_kept;
    uint32_t shared; /* its blob, UINT32_MAX: none */
    bool is_exact;
    struct ucb_tally tally;
    struct ucb_progress progress;
};

/* Appends a blob, aligned. IO. */
ucb_status ucb_pack_put_blob(struct ucb_pack_writer *w, const void *data, size_t n_bytes,
                             uint32_t *blob, struct ucb_err *err);
/* Runs the chain over the model: payloads, matrices, side data, gains. */
ucb_status ucb_pack_write_matrices(struct ucb_pack_writer *w, struct ucb_err *err);
/* The source's files, byte for byte, or the checkpoint that holds what was decoded. */
ucb_status ucb_pack_write_files(struct ucb_pack_writer *w, struct ucb_err *err);

/* ---- pieces of the file at work ---- */

void ucb_pack_begin_file(struct ucb_pack_writer *w);
/* Bytes of no tensor; nothing for none. */
ucb_status ucb_pack_put_bytes(struct ucb_pack_writer *w, const void *data, size_t n_bytes,
                              struct ucb_err *err);
void ucb_pack_tensor_digest(const struct ucb_tensor *t, char hex[UCB_SHA256_HEX]);
/* A tensor of the source as it is: stored or coded, once however often it comes. */
ucb_status ucb_pack_put_tensor(struct ucb_pack_writer *w, const struct ucb_tensor *t,
                               struct ucb_err *err);
/* One made of matrices that the chain wrote. `as_head`: of the head that stands beside a
 * tied embedding; `payload`: of their payloads. UNSUPPORTED where matrices are missing. */
ucb_status ucb_pack_put_made(struct ucb_pack_writer *w, const struct ucb_tensor *from,
                             const struct ucb_tensor *as, bool as_head, bool payload,
                             struct ucb_err *err);
ucb_status ucb_pack_put_gain(struct ucb_pack_writer *w, const struct ucb_tuned_gain *gain,
                             const struct ucb_tensor *as, struct ucb_err *err);
/* `source` NULL: the file is no file of the source. */
ucb_status ucb_pack_end_file(struct ucb_pack_writer *w, const char *name,
                             const char *source_sha256, struct ucb_err *err);

/* The first matrix that the chain wrote for a tensor; NULL: it left it alone. */
const struct ucb_written *ucb_pack_written(const struct ucb_pack_writer *w,
                                           const struct ucb_tensor *t, bool as_head);
const struct ucb_tuned_gain *ucb_pack_gain(const struct ucb_pack_writer *w,
                                           const struct ucb_tensor *t);

#endif
