/*
 * quantize_input.h - what `ucbench quantize` reads: a tensor by its name, and what a method
 * is told of the matrix's input.
 */
#ifndef UCB_QUANTIZE_INPUT_H
#define UCB_QUANTIZE_INPUT_H

#include "eval/calib.h"
#include "model/checkpoint.h"

/* MISSING names near matches; the tensor lies in the checkpoint. NOMEM. */
ucb_status ucb_quantize_find(const struct ucb_checkpoint *checkpoint, const char *file,
                             const char *name, struct ucb_arena *arena,
                             const struct ucb_tensor **out, struct ucb_err *err);

/* Activations or an importance matrix. Zero-initialise; release with
 * ucb_quantize_calib_close. */
struct ucb_quantize_calib {
    struct ucb_calib calib; /* what the method needs */
    const float *x;         /* [n_tokens][n_in], finite; NULL: an importance matrix */
    uint64_t n_tokens;
    struct ucb_collector *collector; /* owns what `calib` points to; NULL: there is none */
};
/*
 * Reads tensor `name` of `file` (safetensors or gguf; F32, F16, BF16, F64) for a matrix of
 * n_in columns and a method `spec` that needs `needs` (UCB_NEEDS_*; 0: it is read and
 * checked all the same).
 *
 * [tokens, n_in] are activations, one sequence; the sample is all of them. [n_in] is
 * diag(E[x^2]) itself, an importance matrix. Arrays come from `arena`. CORRUPT: another
 * shape, the method needs more than the diagonal, a value that is not finite or a negative
 * importance, with its index, or activations that are all 0; MISSING; UNSUPPORTED; NOMEM.
 */
ucb_status ucb_quantize_calib_read(const char *file, const char *name, uint32_t n_in,
                                   const char *spec, uint32_t needs, struct ucb_pool *pool,
                                   struct ucb_arena *arena, struct ucb_quantize_calib *out,
                                   struct ucb_err *err);
void ucb_quantize_calib_close(struct ucb_quantize_calib *calib);

#endif
