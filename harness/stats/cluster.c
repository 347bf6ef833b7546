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

ucb_status ucb_cluster_fit(const double *totals, const double *weights, size_t n_documents,
                           struct ucb_cluster_fit *out, struct ucb_err *err)
{
    double weight = 0;
    if (n_documents == 0)
        return UCB_FAIL(err, UCB_USAGE, "no documents; an estimate needs at least one");
    UCB_TRY(sum_weights(weights, n_documents, &weight, err));
    double value = ucb_sum_of(totals, n_documents) / weight;
    *out = (struct ucb_cluster_fit){value, NAN, (double)(n_documents - 1)};
    if (n_documents > 1 && isfinite(value))
        out->error = standard_error(totals, weights, n_documents, value, weight);
    return UCB_OK;
}

struct ucb_estimate ucb_cluster_interval(const struct ucb_cluster_fit *fit,
                                         double confidence)
{
    struct ucb_estimate e = {fit->value, NAN, NAN};
    if (isnan(fit->error)) return e;
    double half = ucb_student_quantile(0.5 + confidence / 2, fit->n_freedom) * fit->error;
    e.low = e.value - half;
    e.high = e.value + half;
    return e;
}

ucb_status ucb_cluster_ratio(const double *totals, const double *weights,
                             size_t n_documents, double confidence,
                             struct ucb_estimate *out, struct ucb_err *err)
{
    struct ucb_cluster_fit fit;
    if (!(confidence > 0 && confidence < 1))
        return UCB_FAIL(err, UCB_USAGE, "confidence is %g, expected between 0 and 1",
                        confidence);
    UCB_TRY(ucb_cluster_fit(totals, weights, n_documents, &fit, err));
    *out = ucb_cluster_interval(&fit, confidence);
    return UCB_OK;
}

struct ucb_estimate ucb_estimate_exp(struct ucb_estimate log_scale)
{
    return (struct ucb_estimate){ucb_exp(log_scale.value), ucb_exp(log_scale.low),
                                 ucb_exp(log_scale.high)};
}
