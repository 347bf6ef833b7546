/*
 * chain.h - method specs ("nf4:double_quant=1", "gsq:bits=5+lowrank:rank=32") and how a
 * chain is run on a matrix.
 */
#ifndef UCB_METHOD_CHAIN_H
#define UCB_METHOD_CHAIN_H

#include "method/method.h"

struct ucb_chain; /* parsed; lives in the arena it was parsed into */

/* USAGE with near matches for an unknown method, key or value, a repeated key, or stages
 * that cannot follow each other. */
ucb_status ucb_chain_parse(const char *spec, struct ucb_arena *arena,
                           struct ucb_chain **out, struct ucb_err *err);
/* Canonical: knobs at their defaults left out, bar those a method always shows
 * (hqq:bits=4,group=64). */
const char *ucb_chain_spec(const struct ucb_chain *chain);
/* Every knob and every revision: "nf4#1:block=64,...". */
const char *ucb_chain_identity(const struct ucb_chain *chain);
const char *ucb_chain_name(const struct ucb_chain *chain); /* of the first method */
uint32_t ucb_chain_needs(const struct ucb_chain *chain);   /* UCB_NEEDS_* of all stages */
/* Whether the chain wants a calibration text: for statistics, or to tune layers on. */
bool ucb_chain_needs_text(const struct ucb_chain *chain);
/* Whether a stage's original takes statistics from layers already compressed. */
bool ucb_chain_is_sequential(const struct ucb_chain *chain);
/* Whether the chain compresses a matrix used as `role`,
 * where --scope answers `in_scope`. */
bool ucb_chain_takes(const struct ucb_chain *chain, enum ucb_role role, bool in_scope);
/* Whether every stage can take a matrix of this shape; encoding asks too. USAGE names
 * matrix, found, needed, and what to try. */
ucb_status ucb_chain_fits(const struct ucb_chain *chain, const struct ucb_matrix *matrix,
                          struct ucb_err *err);
/* True, and how its payloads lie in a GGUF file, where they can: the chain is one stage of
 * that kind. */
bool ucb_chain_layout(const struct ucb_chain *chain, const struct ucb_matrix *matrix,
                      struct ucb_layout *out);
/* Whether two matrices of one layer, reading one input, go through one encode call. */
bool ucb_chain_groups(const struct ucb_chain *chain, const struct ucb_matrix *a,
                      const struct ucb_matrix *b);
/* Whether a stage has side data: ucb_chain_fit_shared() comes before the first encode. */
bool ucb_chain_has_shared(const struct ucb_chain *chain);
/* Whether the chain restores the source's bits: its sources need their bits then. */
bool ucb_chain_is_exact(const struct ucb_chain *chain);
bool ucb_chain_is_none(const struct ucb_chain *chain); /* the original, untouched */
/* Whether matrices are multiplied by ucb_product_run() in an evaluation, not by what they
 * decode to. Only of a chain of one stage. */
bool ucb_chain_has_product(const struct ucb_chain *chain);
double ucb_chain_nominal_bpw(const struct ucb_chain *chain,
                             const struct ucb_matrix *matrix);
/* NaN where a stage is none of the seed's. */
double ucb_chain_claimed_bpw(const struct ucb_chain *chain,
                             const struct ucb_matrix *matrix);
/* The dtype the merged decode is rounded to. */
enum ucb_dtype ucb_chain_decoded_dtype(const struct ucb_chain *chain,
                                       enum ucb_dtype source);

/* What a chain runs in. The arenas are emptied between matrices. */
struct ucb_chain_context {
    struct ucb_pool *pool;
    struct ucb_arena *arena, *scratch;
    uint64_t seed;
    const char *model_digest; /* with the seed names the random streams of encoders;
                                 decoding reads neither */
    const uint8_t *shared;    /* what ucb_chain_fit_shared() wrote; NULL: nothing was */
    size_t n_shared;
    ucb_inspect_emit *trace; /* NULL, or takes the intermediates of the first stage's
                                encoder (see struct ucb_job) */
    void *trace_context;
};

/*
 * Side data of all stages, from all matrices that the chain will take; `out` is reset
 * first. Every stage sees the matrices as the model holds them. For n stages n - 1 lengths
 * (u64, part HEADER), then what each stage wrote; nothing at all where no stage has any.
 */
ucb_status ucb_chain_fit_shared(const struct ucb_chain *chain,
                                const struct ucb_chain_context *context,
                                struct ucb_stream *stream, struct ucb_writer *out,
                                struct ucb_err *err);

enum { UCB_MAX_GROUPED = 4 };
/*
 * Encodes matrices that ucb_chain_groups() puts together (or one), each to a payload of all
 * stages; every out[i] is reset first. n_src is at most UCB_MAX_GROUPED. Errors name the
 * matrix. A payload of a chain of n stages is n - 1 lengths (u64, part HEADER) and n stage
 * payloads.
 */
ucb_status ucb_chain_encode(const struct ucb_chain *chain,
                            const struct ucb_chain_context *context,
                            const struct ucb_source *src, uint32_t n_src,
                            struct ucb_writer *const *out, struct ucb_err *err);
/*
 * Decodes a payload to w[n_out][n_in]: the sum of the stages in fp32, rounded once to the
 * deployed dtype and widened again; of an exact chain the source's bits, widened.
 * decoded_f32 (may be NULL) gets the values before that rounding. Parallel over rows.
 */
ucb_status ucb_chain_decode(const struct ucb_chain *chain,
                            const struct ucb_chain_context *context,
                            const struct ucb_matrix *matrix, const uint8_t *payload,
                            size_t n_bytes, float *w, float *decoded_f32,
                            struct ucb_err *err);
/*
 * Of an exact chain: the source's own bits, in the source's dtype; `bits` has room for
 * ucb_matrix_bits_bytes(). Weights need not be finite. USAGE for another chain.
 */
ucb_status ucb_chain_decode_bits(const struct ucb_chain *chain,
                                 const struct ucb_chain_context *context,
                                 const struct ucb_matrix *matrix, const uint8_t *payload,
                                 size_t n_bytes, void *bits, struct ucb_err *err);
/* A payload opened for the method's own product (see method.h). */
struct ucb_product;
/*
 * The product lives in context->arena; chain, matrix, payload, pool and scratch are
 * borrowed and outlive it. *out is NULL where the method has no product at all; it may have
 * one that an evaluation does not use (ucb_chain_has_product() is false). CORRUPT, NOMEM.
 */
ucb_status ucb_product_open(const struct ucb_chain *chain,
                            const struct ucb_chain_context *context,
                            const struct ucb_matrix *matrix, const uint8_t *payload,
                            size_t n_bytes, struct ucb_product **out, struct ucb_err *err);
/*
 * y[n_rows][n_out] of x[n_rows][n_in], the rows of ONE window, and bias[n_out] (may be
 * NULL). Empties the scratch arena. `trace` (may be NULL) takes the intermediates. NOMEM,
 * UNSUPPORTED.
 */
ucb_status ucb_product_run(struct ucb_product *product, const float *bias, const float *x,
                           size_t n_rows, float *y, ucb_inspect_emit *trace,
                           void *trace_context, struct ucb_err *err);
/* Lists the arrays of the first stage of a payload. */
ucb_status ucb_chain_inspect(const struct ucb_chain *chain,
                             const struct ucb_chain_context *context,
                             const struct ucb_matrix *matrix, const uint8_t *payload,
                             size_t n_bytes, ucb_inspect_emit *emit, void *emit_context,
                             struct ucb_err *err);

#endif
