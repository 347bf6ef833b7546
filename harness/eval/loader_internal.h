/*
 * loader_internal.h - what the files of the loader share: its buffers, and the way of a few
 * matrices through a chain.
 */
#ifndef UCB_EVAL_LOADER_INTERNAL_H
#define UCB_EVAL_LOADER_INTERNAL_H

#include "core/arena.h"
#include "eval/layer_store.h"
#include "eval/loader.h"
#include "method/resident.h"

struct ucb_loader {
    const struct ucb_model *model;
    const struct ucb_arch *arch;
    struct ucb_backend *backend;
    struct ucb_pool *pool;
    enum ucb_scope scope;
    struct ucb_arena arena, scratch; /* of the method's job; emptied between matrices */
    struct ucb_arena products;       /* the layer's, with their payloads */
    struct ucb_chain_context context;
    struct ucb_writer payload[UCB_MAX_GROUPED];
    float *w[UCB_MAX_GROUPED],
        *decoded; /* one matrix each, as large as the largest so far */
    size_t w_floats[UCB_MAX_GROUPED], decoded_floats;
    void *bits[UCB_MAX_GROUPED]; /* for exact methods */
    size_t bits_bytes[UCB_MAX_GROUPED];
    /* Of the layer at work, by slot; as many as the fullest layer so far has. */
    struct ucb_packed *weight;
    struct ucb_own_product *product;
    struct ucb_tiles *tiles; /* decode is NULL where the weight is packed */
    size_t *packed_bytes, n_slots;
    struct ucb_rooms *rooms; /* NULL: layers are decoded */
    bool decodes_there;      /* on the backend's device, as far as it has decoders */
    bool is_queued;          /* something there, that the verdict is not taken on */
    float *vector[UCB_N_VECTORS];
    uint32_t vector_size[UCB_N_VECTORS];
    const struct ucb_layer_bytes *kept; /* NULL, or what stands in for the encoder */
    ucb_loader_wrote *wrote;            /* NULL, or told of every matrix that was written */
    void *wrote_context;
};

/* What a chain is run on: matrices that are encoded together, and what they are used as (a
 * tied head is stored under the embedding's name and role). */
struct ucb_loader_group {
    const struct ucb_matrix *matrix[UCB_MAX_GROUPED];
    enum ucb_role role[UCB_MAX_GROUPED];
    size_t slot[UCB_MAX_GROUPED]; /* in the layer */
    uint32_t n;
};

/* Whether the chain rewrites matrices of a role. */
bool ucb_loader_takes(const struct ucb_loader *l, const struct ucb_chain *chain,
                      enum ucb_role role);
/* Reads and encodes a group: l->payload[i] holds the bytes of matrix i. */
ucb_status ucb_loader_encode(struct ucb_loader *l, const struct ucb_chain *chain,
                             const struct ucb_loader_group *g,
                             const struct ucb_calib *calib, struct ucb_tally *tally,
                             struct ucb_err *err);
/* l->decoded becomes matrix i of the group as the method leaves it. */
ucb_status ucb_loader_decode(struct ucb_loader *l, const struct ucb_chain *chain,
                             const struct ucb_loader_group *g, uint32_t i,
                             struct ucb_tally *tally, struct ucb_err *err);
/* Encodes a group, then decodes, counts and packs matrix after matrix; packed may be NULL
 * where l->decoded is what is wanted (of a group of one). */
ucb_status ucb_loader_chain(struct ucb_loader *l, const struct ucb_chain *chain,
                            const struct ucb_loader_group *g, const struct ucb_calib *calib,
                            struct ucb_tally *tally, const struct ucb_packed *const *packed,
                            struct ucb_err *err);
/* From the file, a slab of rows at a time, into the packed layout and into the digest;
 * either may be NULL. */
ucb_status ucb_loader_slabs(struct ucb_loader *l, const struct ucb_matrix *m,
                            const struct ucb_packed *packed, struct ucb_sha256 *digest,
                            struct ucb_err *err);
/* A matrix that the chain does not take: counted where it is in scope, and packed where
 * `packed` is not NULL. */
ucb_status ucb_loader_original(struct ucb_loader *l, const struct ucb_matrix *m,
                               enum ucb_role role, struct ucb_tally *tally,
                               const struct ucb_packed *packed, struct ucb_err *err);
/* A vector, widened; *out lives until the next one of its kind,
 * NULL where there is none. */
ucb_status ucb_loader_vector(struct ucb_loader *l, uint32_t layer, enum ucb_vector which,
                             const float **out, struct ucb_err *err);
/* Whether the matrices that the chain takes stay encoded. */
bool ucb_loader_stays_encoded(const struct ucb_loader *l, const struct ucb_chain *chain);
/* Keeps the payloads of a group, opened, in the place of packed weights. */
ucb_status ucb_loader_open_residents(struct ucb_loader *l, const struct ucb_chain *chain,
                                     const struct ucb_loader_group *g, struct ucb_err *err);
/* The layer's bytes into the tally, where it is the largest so far. */
void ucb_loader_count_resident(const struct ucb_loader *l, size_t n_matrices,
                               struct ucb_tally *tally);
/* Memory for the packed matrix at `slot`; where it is to be made on a device (`there`), an
 * address that names it. */
ucb_status ucb_loader_reserve_packed(struct ucb_loader *l, const struct ucb_matrix *m,
                                     size_t slot, bool there, struct ucb_err *err);
/* Queues upload, decode and packing of a group's payloads; nothing is waited for. Where the
 * device's memory has no room to decode in, the CPU does it. */
ucb_status ucb_loader_pack_on_device(struct ucb_loader *l, const struct ucb_chain *chain,
                                     const struct ucb_loader_group *g, struct ucb_err *err);
/* *differs becomes true where the device decodes payload i to other bits than l->decoded
 * has; l->w[i] is overwritten. */
ucb_status ucb_loader_compare_on_device(struct ucb_loader *l, const struct ucb_chain *chain,
                                        const struct ucb_matrix *m, uint32_t i,
                                        bool *differs, struct ucb_err *err);
/* Frees what encoding needed: the sources and the payloads. */
void ucb_loader_drop_sources(struct ucb_loader *l);

/*
 * The layer's weights through the chain; calibration is not told that the layer is
 * complete. Where `kept` is not NULL, its payloads and gains are decoded and counted, and
 * nothing is encoded.
 */
ucb_status ucb_loader_build(struct ucb_loader *l, const struct ucb_chain *chain,
                            uint32_t layer, const struct ucb_layer_bytes *kept,
                            struct ucb_tally *tally, struct ucb_calibrator *calibrator,
                            struct ucb_layer *out, struct ucb_err *err);

#endif
