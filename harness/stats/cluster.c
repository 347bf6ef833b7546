/* cluster.c - see cluster.h. Every sum is compensated and runs in document order. */
#include "stats/cluster.h"

#include <math.h>

#include "core/fmath.h"
#include "stats/distribution.h"
#include "stats/sum.h"

static ucb_status sum_weights(const double *weights, size_t n_documents, double *out,
                              struct ucb_err *err)
{
    struct ucb_sum sum = {0};
    for (size_t i = 0; i < n_documents; i++) {
        if (!(weights[i] >= 0 && isfinite(weights[i])))
            return UCB_FAIL(err, UCB_USAGE,
                            "document %zu weighs %g, expected a finite count", i,
                            weights[i]);
        ucb_sum_add(&sum, weights[i]);
    }
    *out = ucb_sum_value(&sum);
    if (*out == 0)
        return UCB_FAIL(err, UCB_USAGE, "%zu documents hold nothing to average over",
                        n_documents);
    return UCB_OK;
}

static double standard_error(const double *totals, const double *weights,
                             size_t n_documents, double mean, double weight)
{
    struct ucb_sum squares = {0};
    for (size_t i = 0; i < n_documents; i++) {
        double u = totals[i] - mean * weights[i];
        ucb_sum_add(&squares, u * u);
    }
    double n = (double)n_documents;
    return sqrt(n / (n - 1) * ucb_sum_value(&squares)) / weight;
}

ucb_status ucb_cluster_ratio(const double *totals, const double *weights,
                             size_t n_documents, double confidence,
                             struct ucb_estimate *out, struct ucb_err *err)
{
    double weight = 0;
    if (!(confidence > 0 && confidence < 1))
        return UCB_FAIL(err, UCB_USAGE, "confidence is %g, expected between 0 and 1",
                        confidence);
    if (n_documents == 0)
        return UCB_FAIL(err, UCB_USAGE, "no documents; an estimate needs at least one");
    UCB_TRY(sum_weights(weights, n_documents, &weight, err));

    struct ucb_estimate e = {ucb_sum_of(totals, n_documents) / weight, NAN, NAN};
    if (n_documents > 1 && isfinite(e.value)) {
        double half = ucb_student_quantile(0.5 + confidence / 2,
                                           (double)(n_documents - 1)) *
                      standard_error(totals, weights, n_documents, e.value, weight);
        e.low = e.value - half;
        e.high = e.value + half;
    }
    *out = e;
    return UCB_OK;
}

struct ucb_estimate ucb_estimate_exp(struct ucb_estimate log_scale)
{
    return (struct ucb_estimate){ucb_exp(log_scale.value), ucb_exp(log_scale.low),
                                 ucb_exp(log_scale.high)};
}
