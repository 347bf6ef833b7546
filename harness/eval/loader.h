/*
 * loader.h - the weights of a model, one layer at a time, as a method leaves them: read,
 * encode, decode, pack.
 *
 * A loader has one layer in memory, packed, whatever the depth, and of the matrices that
 * are encoded together the source and one decoded; the file's pages are released behind.
 * Embedding and head are read in slabs of rows; a method that takes one of them sees it
 * whole. What a method wrote is tallied: bytes by part, seconds, and a digest of the
 * decoded values.
 */
#ifndef UCB_EVAL_LOADER_H
#define UCB_EVAL_LOADER_H

#include "backend/backend.h"
#include "core/sha256.h"
#include "eval/scope.h"
#include "method/chain.h"
#include "model/forward.h"
#include "model/model.h"

struct ucb_calibrator;

/* What a method did to the matrices in scope; sums over all of them. */
struct ucb_tally {
    uint64_t part_bytes[UCB_N_PARTS];
    uint64_t n_weights;
    uint64_t stored_bytes; /* of the same matrices in the model's file */
    double nominal_bits;   /* sum of nominal bits per weight x weights */
    double claimed_bits;   /* the same of claimed ones; NaN: the seed counts none */
    /* Of matrices that a method took outside the scope: what it wrote, and what they have
       in the model's file. They count for the model's size only. */
    uint64_t extra_bytes, extra_stored_bytes;
    double encode_seconds, decode_seconds;
    uint32_t n_decoded_twice,
        n_decodes_differing; /* matrices of layer 0, decoded again by one thread */
    uint32_t n_uncalibrated; /* matrices that a calibrated method compressed without having
                                seen an input: no token reached them, all inputs were zero,
                                or nobody collects theirs (head, embedding) */
    /* Of the largest layer, with --resident encoded: what its weights take as they are
       kept (payloads, opened states, decoded what must be) and what they take decoded. */
    uint64_t resident_layer_bytes, decoded_layer_bytes;
    struct ucb_sha256 digest; /* of decoded fp32 values; begun by ucb_tally_begin */
};
void ucb_tally_begin(struct ucb_tally *tally);

/* How one layer came out. Losses are those of a TUNE stage, before it and after it, both of
 * what is stored. */
struct ucb_layer_record {
    double seconds; /* to make its bytes */
    bool is_tuned;
    double loss_before, loss_after;
    uint64_t peak_rss_bytes; /* of the process, once the layer had run */
};

struct ucb_loader;
/* Everything is borrowed. NOMEM. */
ucb_status ucb_loader_open(const struct ucb_model *model, struct ucb_backend *backend,
                           struct ucb_pool *pool, enum ucb_scope scope, uint64_t seed,
                           const char *model_digest, struct ucb_loader **out,
                           struct ucb_err *err);
void ucb_loader_close(struct ucb_loader *loader); /* NULL is fine */
/* From now on matrices stay encoded while their layer lives, where the chain allows it. No
 * result changes. NOMEM. */
ucb_status ucb_loader_keep_encoded(struct ucb_loader *loader, struct ucb_err *err);
/*
 * From now on matrices that a chain wrote are decoded for the products on the backend's
 * device, where there is one and it has the decoders: their payloads' upload, decode and
 * packing are queued on LOAD, beside whatever products run, and the host keeps no packed
 * form of them. The CPU decodes them as ever, for the digest and for whoever watches. No
 * result changes.
 */
void ucb_loader_decode_on_device(struct ucb_loader *loader);
/* Whether that is done with weights of this chain. */
bool ucb_loader_decodes_on_device(const struct ucb_loader *loader,
                                  const struct ucb_chain *chain);
/* Waits for what was queued and answers for it: before a product of the layer is trusted.
 * ENVIRONMENT, and what ucb_chain_verdict_on_cuda() says. */
ucb_status ucb_loader_settle(struct ucb_loader *loader, struct ucb_err *err);
/* Gives back what loading needed; the layer stays. */
void ucb_loader_drop_tools(struct ucb_loader *loader);
/* Gives back the memory of the layer that was loaded last, too; vectors stay. */
void ucb_loader_rest(struct ucb_loader *loader);

/* The side data (see shared.h) of the chain that the next calls are given; borrowed, NULL:
 * it has none. */
void ucb_loader_set_shared(struct ucb_loader *loader, const struct ucb_writer *shared);

/*
 * Told of each matrix that a chain wrote, right after: its bytes, and the values they
 * decode to; both may be read during the call only. `role` is what the matrix is used as: a
 * tied head comes as the embedding's matrix. A status that is not OK ends the loading.
 */
typedef ucb_status ucb_loader_wrote(void *context, const struct ucb_matrix *matrix,
                                    enum ucb_role role, const struct ucb_writer *payload,
                                    const float *decoded, struct ucb_err *err);
void ucb_loader_watch(struct ucb_loader *loader, ucb_loader_wrote *wrote, void *context);

/*
 * The layer's weights through the chain, those of one input after those of the inputs
 * before it; *out points into the loader until the next call. `calibrator` belongs to this
 * chain; NULL: the chain needs none.
 */
ucb_status ucb_loader_layer(struct ucb_loader *loader, const struct ucb_chain *chain,
                            uint32_t layer, struct ucb_tally *tally,
                            struct ucb_calibrator *calibrator, struct ucb_layer *out,
                            struct ucb_err *err);
struct ucb_layer_bytes;
/* The same from payloads and gains that were kept (layer_store.h); nothing is encoded. */
ucb_status ucb_loader_layer_kept(struct ucb_loader *loader, const struct ucb_chain *chain,
                                 uint32_t layer, const struct ucb_layer_bytes *kept,
                                 struct ucb_tally *tally, struct ucb_layer *out,
                                 struct ucb_err *err);
/*
 * Whether the chain's head is not simply the original's: it is rewritten (a tied head with
 * its embedding), or counted. Nothing calibrates the head and the embedding: a method that
 * takes them gets no statistics there.
 */
bool ucb_loader_has_own_head(const struct ucb_loader *loader,
                             const struct ucb_chain *chain);
/* The head through the chain (the original's when not taken), packed into `head`, whose
 * memory is the caller's; NULL where its rows are asked for, or only the watcher wants it.
 */
ucb_status ucb_loader_head(struct ucb_loader *loader, const struct ucb_chain *chain,
                           struct ucb_tally *tally, const struct ucb_packed *head,
                           struct ucb_err *err);
/* The rows of the head that ucb_loader_head was last called for, with this chain: from the
 * model's file, or as the chain left them. They last until the next call. */
struct ucb_weight_rows ucb_loader_head_rows(struct ucb_loader *loader,
                                            const struct ucb_chain *chain);
/* The input of the first layer, rows of all windows: rows of the embedding through the
 * chain (the original's when it does not take them), scaled, and with learned positions
 * where the architecture has such. USAGE for an id past the vocabulary or a window past the
 * positions. */
ucb_status ucb_loader_embed(struct ucb_loader *loader, const struct ucb_chain *chain,
                            struct ucb_tally *tally, const uint32_t *ids, size_t n_windows,
                            const size_t *start, float *out, struct ucb_err *err);
/* The same in two steps: what is done once, then rows [start[0], start[n_windows]) of `ids`
 * to the same rows of `out`, as often as needed before anything else is loaded. */
ucb_status ucb_loader_embed_begin(struct ucb_loader *loader, const struct ucb_chain *chain,
                                  struct ucb_tally *tally, struct ucb_err *err);
ucb_status ucb_loader_embed_rows(struct ucb_loader *loader, const struct ucb_chain *chain,
                                 const uint32_t *ids, size_t n_windows, const size_t *start,
                                 float *out, struct ucb_err *err);
/* The bias of the logits, NULL where there is none; lives as long as the loader. */
ucb_status ucb_loader_head_bias(struct ucb_loader *loader, const float **bias,
                                struct ucb_err *err);
/* x = norm(x) with the model's last norm, n rows; x may be out. */
ucb_status ucb_loader_final_norm(struct ucb_loader *loader, const float *x, size_t n,
                                 float *out, struct ucb_err *err);

#endif
