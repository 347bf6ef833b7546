/*
 * chart_limit.h - the information limit of the Pareto chart.
 *
 * No code of R bits per weight can bring the squared error of Gaussian weights below D(R) =
 * 2^(-2R) of their variance (Shannon 1959). A divergence is not a squared error; but near
 * the original it grows in proportion to it (second order), and for some methods both are
 * known: the divergence was measured, and the squared error on Gaussian weights is a
 * constant of the method. The quotient k of the two is a property of the model, so methods
 * must agree on it: that is checked here, and where they do not, there is no curve.
 *
 *     limit(R) = k 2^(-2R), for a perplexity ratio less 1: exp(k 2^(-2R)) - 1
 */
#ifndef UCB_REPORT_CHART_LIMIT_H
#define UCB_REPORT_CHART_LIMIT_H

#include <stdbool.h>
#include <stddef.h>

enum ucb_limit_state {
    UCB_LIMIT_DRAWN,
    UCB_LIMIT_NO_LAW,   /* a retention: nothing ties it to squared error */
    UCB_LIMIT_ON_GRID,  /* the weights lie on a grid: they are not Gaussian */
    UCB_LIMIT_FEW,      /* fewer than two methods that could be used */
    UCB_LIMIT_DISAGREES /* their k differ by more than UCB_LIMIT_SPREAD */
};
struct ucb_chart_limit {
    enum ucb_limit_state state;
    double scale;       /* k, the least of the methods'; when DRAWN */
    double spread;      /* the largest k over the least */
    size_t n_anchors;   /* points that k was taken from */
    size_t n_methods;   /* of them */
    const char *anchor; /* the spec that has the least k */
};

/* Beyond this many nats divergence is not small, and second order does not hold. */
static const double UCB_LIMIT_LARGEST = 0.5;
static const double UCB_LIMIT_SPREAD = 2;

/* The squared error of a spec on Gaussian weights, as a share of their variance; 0 where it
 * is not known, or depends on more than the spec. */
double ucb_limit_gaussian_error(const char *spec);
/* Specs of which it is known, for the test that measures them; NULL past the last. */
const char *ucb_limit_anchor_spec(size_t i);

/* One point more: takes the divergence `nats` of `spec`, whose method is `is_new_method`,
 * into the limit, which starts as zeros. */
void ucb_limit_add(struct ucb_chart_limit *limit, const char *spec, double nats,
                   bool is_new_method);
/* Decides the state after the last point. */
void ucb_limit_finish(struct ucb_chart_limit *limit);
/* k 2^(-2 bpw) in nats; and the bits at which it is so many. */
double ucb_limit_nats(const struct ucb_chart_limit *limit, double bpw);
double ucb_limit_bpw(const struct ucb_chart_limit *limit, double nats);

#endif
