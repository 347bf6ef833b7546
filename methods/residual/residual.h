/*
 * residual.h - the parts of residual: words as differences count them, symbols and classes,
 * writing a payload, and restoring weights from an open one. The layout: ../residual.c.
 */
#ifndef UCB_METHODS_RESIDUAL_H
#define UCB_METHODS_RESIDUAL_H

#include "codec/codec.h"
#include "core/half.h"
#include "method/method.h"
#include "residual_plan.h"

enum { RESIDUAL_HEAD_WORDS = 1 + RESIDUAL_CLASSES /* of a segment: u32 each */ };

/* ---- words: bits of the source's dtype ---- */

static inline unsigned residual_width(enum ucb_dtype dtype)
{
    return dtype == UCB_F32 ? 32 : 16;
}

/* p: the bits of x in that dtype. */
static inline uint32_t residual_rounded(enum ucb_dtype dtype, float x)
{
    return dtype == UCB_F32   ? ucb_f32_bits(x)
           : dtype == UCB_F16 ? ucb_f16_from_f32(x)
                              : ucb_bf16_from_f32(x);
}

/* t(v) */
static inline uint32_t residual_ordered(uint32_t v, unsigned width)
{
    uint32_t sign = (uint32_t)1 << (width - 1), all = sign | (sign - 1);
    return v & sign ? v ^ all : v | sign;
}

/* ---- symbols and classes ---- */

/* z of 32 and more: bits that follow the symbol. */
static inline unsigned residual_raw_bits(unsigned symbol)
{
    return symbol < RESIDUAL_DIRECT ? 0 : (symbol - RESIDUAL_DIRECT) / 8 + 2;
}

/* The weights of a segment of n. */
static inline size_t residual_segment_size(size_t n, size_t segment)
{
    return n - segment * RESIDUAL_SEGMENT < RESIDUAL_SEGMENT
               ? n - segment * RESIDUAL_SEGMENT
               : RESIDUAL_SEGMENT;
}

/* The classes of up to 64 neighbours, the first of which stands at a multiple of 64. */
void residual_classify(const float *p, size_t n, bool by_scale, uint8_t *classes);

/* ---- payloads ---- */

/* USAGE where residual does not restore the matrix's dtype. */
ucb_status residual_check_dtype(const struct ucb_matrix *matrix, struct ucb_err *err);
/* One matrix's payload; temporary memory from job->scratch. NOMEM, USAGE. */
ucb_status residual_encode(struct ucb_job *job, const struct ucb_source *src,
                           struct ucb_writer *out, struct ucb_err *err);

/* An open payload. */
struct residual_state {
    const struct ucb_matrix *matrix;
    struct ucb_pool *pool;
    size_t n, n_segments;
    bool by_scale;
    struct ucb_codec codec[RESIDUAL_CLASSES];
    uint8_t *symbols[RESIDUAL_CLASSES]; /* behind each other */
    size_t totals[RESIDUAL_CLASSES];
    size_t (*starts)[RESIDUAL_CLASSES];
    const uint8_t **raw; /* [n_segments + 1]: where a segment's raw bits begin */
};

/* Weights [start, end), from a segment's start to a segment's end: bits of the source's
 * dtype from the decode `before`, both from weight `start` on. CORRUPT where the payload
 * does not fit. The pool may be NULL. */
ucb_status residual_decode(const struct residual_state *state, struct ucb_pool *pool,
                           size_t start, size_t end, const float *before, void *bits,
                           struct ucb_err *err);

#endif
