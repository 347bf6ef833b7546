/*
 * lowrank.h - what the files of lowrank share: the weighted residual as an operator, its
 * truncated decomposition, and the factors in bytes. methods/lowrank.c is the method.
 */
#ifndef UCB_METHODS_LOWRANK_H
#define UCB_METHODS_LOWRANK_H

#include "method/method.h"

enum lowrank_metric { LOWRANK_PLAIN, LOWRANK_DIAG, LOWRANK_EXACT };
enum lowrank_store { LOWRANK_FP16, LOWRANK_INT8, LOWRANK_PACKED };
enum { LOWRANK_BLOCK = 16 }; /* vectors that go through a matrix together */

/* What shape and knobs give; encoder and decoder both start here. */
struct lowrank_layout {
    size_t n_out, n_in, rank; /* rank: of the spec, min(n_out, n_in) at most */
    enum lowrank_metric metric;
    enum lowrank_store store;
    double damp;
};

/* u[n_out][rank] v[rank][n_in] is added to the decode of the stages before. */
struct lowrank_factors {
    float *u, *v;
};

/*
 * How errors of the columns count: W - W' is measured as || (W - W') L ||, L L^T the damped
 * second moment of the inputs. `column` is the diagonal of an L that has nothing else,
 * `lower` the whole triangle; both NULL: L = 1.
 */
struct lowrank_weight {
    const double *column; /* [n_in] */
    const double *lower;  /* [n_in][n_in] */
};
/* Damps and factors the statistics, in job->scratch. Without statistics, or with inputs
 * that were always zero, L = 1. NOMEM; UNSUPPORTED where the damped moment is not positive
 * definite. */
ucb_status lowrank_weigh(struct ucb_job *job, const struct lowrank_layout *l,
                         const struct ucb_calib *calib, const char *name,
                         struct lowrank_weight *out, struct ucb_err *err);

/* (w - before) L, never made: only multiplied. */
struct lowrank_target {
    const float *w, *before; /* [n_out][n_in] */
    size_t n_out, n_in;
    struct lowrank_weight weight;
    struct ucb_pool *pool;
    double *between; /* [n_in][LOWRANK_BLOCK], scratch of a product */
};
/* y[n_out][LOWRANK_BLOCK] = target x[n_in][LOWRANK_BLOCK]. Sums over columns rising. */
void lowrank_times(const struct lowrank_target *target, const double *x, double *y);
/* y[n_in][LOWRANK_BLOCK] = target^T x[n_out][LOWRANK_BLOCK]. Sums over rows rising. */
void lowrank_turned_times(const struct lowrank_target *target, const double *x, double *y);

/* The best u v of that rank under the metric (lowrank_svd.c). Uses job->scratch and
 * job->random. */
ucb_status lowrank_fit(struct ucb_job *job, const struct lowrank_layout *l,
                       const struct ucb_source *src, const struct lowrank_weight *weight,
                       const struct lowrank_factors *out, struct ucb_err *err);

/* Bytes of the factors (lowrank_store.c). UNSUPPORTED for a factor past what the store
 * holds. */
ucb_status lowrank_write(struct ucb_job *job, const struct lowrank_layout *l,
                         const struct lowrank_factors *factors, const char *name,
                         struct ucb_writer *out, struct ucb_err *err);
/* And back, strictly. */
ucb_status lowrank_read(struct ucb_job *job, const struct lowrank_layout *l,
                        const struct ucb_matrix *matrix, struct ucb_reader *in,
                        const struct lowrank_factors *factors, struct ucb_err *err);

/* acc[n][n_in] += rows [row, row + n) of u v; the sum over the rank rising, then added. */
void lowrank_add(const struct lowrank_layout *l, const float *u, const float *v,
                 uint32_t row, uint32_t n, float *acc);
/* d_u = d_weight v^T, d_v = u^T d_weight, in fp32: of d_u in sixteen lanes over columns, of
 * d_v over rows rising. */
void lowrank_pull_back(struct ucb_pool *pool, const struct lowrank_layout *l,
                       const float *u, const float *v, const float *d_weight, float *d_u,
                       float *d_v);

#endif
