/*
 * smooth.h - the derived model `smollm2-135m-smooth`: a fair original for comparing 4-bit
 * methods.
 *
 * The weights of a Q4_1 file lie on a grid of 4 bits, which flatters methods that find that
 * grid again. Here each Q4_1 element gets u d added, u uniform in [-1/2, 1/2) and d the
 * step of its block; all else stays, all is rounded to bf16.
 */
#ifndef UCB_MODEL_SMOOTH_H
#define UCB_MODEL_SMOOTH_H

#include "core/err.h"
#include "core/pool.h"

/* SHA-256 of the GGUF that smollm2-135m-smooth is made from, and of the model.safetensors
 * that comes out. */
#define UCB_SMOOTH_SOURCE_SHA256 \
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
#define UCB_SMOOTH_WEIGHTS_SHA256 \
    "b694cc62bd2c89206610de1170bda093f02e07881f0b4aceceb583663a7bb9e3"

/*
 * Writes model.safetensors, config.json and vocabulary.gguf (the source's metadata without
 * tensors) into out_folder, which is made if need be; each file atomically, the weights
 * last, so that a folder with them is complete. The same bytes every time. The pool may be
 * NULL. Whatever ucb_model_open answers; UNSUPPORTED for a source that is no GGUF, whose
 * matrices are quantized otherwise, or whose configuration config.json could not say; IO,
 * NOMEM.
 */
ucb_status ucb_smooth_build(const char *gguf_path, const char *out_folder,
                            struct ucb_pool *pool, struct ucb_err *err);

#endif
