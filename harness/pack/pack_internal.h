/*
 * pack_internal.h - what the files of pack/ share: the list of a GGUF's tensors before any
 * of them is written, and its head.
 */
#ifndef UCB_PACK_PACK_INTERNAL_H
#define UCB_PACK_PACK_INTERNAL_H

#include "core/arena.h"
#include "model/checkpoint.h"
#include "model/gguf_layout.h"
#include "pack/pack_gguf.h"

/* Where a tensor's bytes come from. */
enum ucb_content {
    UCB_CONTENT_COPY,   /* `source`, byte for byte: a GGUF's */
    UCB_CONTENT_ROWS,   /* rows in the file's order of safetensors matrices: its parts */
    UCB_CONTENT_VECTOR, /* a vector of the model, as fp32 */
    UCB_CONTENT_ROPE,   /* what the frequencies of scaled positions are divided by */
    UCB_CONTENT_WRITTEN /* the chain */
};
struct ucb_gguf_item {
    const char *name;
    enum ucb_content content;
    const struct ucb_tensor *source; /* of a copy */
    enum ucb_role role;
    enum ucb_vector vector;
    uint32_t layer;
    enum ucb_dtype dtype;
    uint32_t n_dims;
    uint64_t shape[4];                    /* slowest first */
    uint64_t n_elements, n_bytes, offset; /* offset: from the first tensor */
    uint32_t n_parts;                     /* experts of a stacked tensor; otherwise 1 */
    uint32_t n_written;                   /* parts */
};

struct ucb_gguf_plan {
    struct ucb_arena arena;
    struct ucb_gguf_item *items; /* in the order of the file */
    size_t n_items;
    uint32_t alignment;
    struct ucb_gguf_metadata metadata;
    uint64_t data_begin, file_bytes;
};

/* Names, types and places of all tensors. NOMEM, USAGE. Release with ucb_gguf_plan_free,
 * after a failure too. */
ucb_status ucb_gguf_plan_tensors(const struct ucb_pack_options *options,
                                 struct ucb_gguf_plan *plan, struct ucb_err *err);
/* The metadata, once the tensors' types are known; then the place of the data. */
ucb_status ucb_gguf_plan_metadata(const struct ucb_pack_options *options,
                                  struct ucb_gguf_plan *plan, struct ucb_err *err);
/* Everything before the data: header, metadata, list of tensors, padding. */
void ucb_gguf_plan_head(const struct ucb_gguf_plan *plan, struct ucb_writer *out);
void ucb_gguf_plan_free(struct ucb_gguf_plan *plan);

/* The matrix that is part `part` of an item made from safetensors. */
const struct ucb_matrix *ucb_pack_part(const struct ucb_pack_options *options,
                                       const struct ucb_gguf_item *item, uint32_t part);

/* Whether the chain writes the matrix used as `role`, beside or in place of the model's. */
bool ucb_pack_takes(const struct ucb_pack_options *options, enum ucb_role role);

#endif
