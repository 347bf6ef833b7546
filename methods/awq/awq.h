/*
 * awq.h - the parts of awq: the search for a scale per input channel, the search for a
 * clipping per group, the quantization that both use, and the library's word layout.
 *
 * All take temporary memory from job->scratch (NOMEM names the matrix), run over job->pool,
 * and give equal results for any pool. Weights are [n_out][n_in], groups are `group`
 * neighbours of a row, n_in is a multiple of it; arrays "by group" are [n_out][n_in /
 * group].
 */
#ifndef UCB_METHODS_AWQ_H
#define UCB_METHODS_AWQ_H

#include "method/method.h"

struct awq_config {
    unsigned bits, n_grid;
    size_t group;
    bool duo, clip;
};

/* What the search for the scale found; arrays are the caller's. */
struct awq_scaling {
    float *mean_abs; /* [n_in], of the inputs */
    float *mean_rel; /* [n_in], of the weights in their groups */
    float *scale;    /* [n_in], S: weights are multiplied by it, inputs divided */
    double *loss;    /* [n_grid], mean squared error of the outputs */
    unsigned best;   /* the candidate that was taken */
    bool found;      /* false: every S was out of range, and scale is all ones */
};
/*
 * src: the matrices of one input, which share S; calib has mean_abs, second_moment and at
 * least one token.
 */
ucb_status awq_search_scale(struct ucb_job *job, const struct awq_config *config,
                            const struct ucb_source *src, uint32_t n_src,
                            struct awq_scaling *out, struct ucb_err *err);

/*
 * What the inputs of each group look like after the division by S, from every k-th token of
 * calib->sample, k = max(1, n_sample / 512): one packed moment (awq_moment.h) per group.
 */
ucb_status awq_group_moments(struct ucb_job *job, const struct awq_config *config,
                             const struct ucb_matrix *matrix, const struct ucb_calib *calib,
                             const float *scale, const float **moments,
                             struct ucb_err *err);
/* The magnitude to which each group of w * scale is clamped, by group. */
ucb_status awq_search_clip(struct ucb_job *job, const struct awq_config *config,
                           const struct ucb_source *src, const float *scale,
                           const float *moments, float *clip_max, struct ucb_err *err);

struct awq_codes {
    uint8_t *code;       /* [n_out][n_in] */
    float *scale, *zero; /* by group; with `half` they are values of half precision */
};
/*
 * Quantizes w * scale, clamped to clip_max (NULL: not at all): in fp32, or with `half` in
 * half precision, operation by operation. With `half` values past 65504 give scales that
 * are not finite.
 */
ucb_status awq_quantize(struct ucb_job *job, const struct awq_config *config,
                        const struct ucb_source *src, const float *scale,
                        const float *clip_max, bool half, struct awq_codes *out,
                        struct ucb_err *err);

/* Words of the library's GEMM layout: rows of to[n_in][n_out / 8] from from[n_out][n_in]
 * (codes, or zeros by group); n_out is a multiple of 8. */
void awq_gemm_pack(const uint8_t *from, size_t n_out, size_t n_in, uint32_t *to);

#endif
