/*
 * routing.c - the choice of experts and their weights, in double, and the gradient through
 * the weights. Specification, section 4.
 *
 * With u_i = dL/dw_i of the chosen:
 *
 *     w_i = f p_i, p = softmax(s)    ds_j = p_j f (u_j - sum_i u_i p_i), u_j = 0 elsewhere
 *     w = softmax over the chosen    ds_j = w_j (u_j - sum_i u_i w_i), chosen j only
 *     the sparse mixer, each round   ds_j = u w ((j is the best) - p_j), p over those near
 */
#include "model/routing.h"

#include <math.h>
#include <string.h>

#include "core/fmath.h"
#include "model/model_internal.h"

/* The largest of n that is not yet taken (-inf), by lower index among equals. */
static uint32_t best_of(const double *p, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t e = 1; e < n; e++)
        if (p[e] > p[best]) best = e;
    return best;
}

/* Groups of experts compete by their best member; those of the losers get probability 0. */
static void limit_groups(const struct ucb_experts *x, double *p)
{
    uint32_t size = x->n / x->n_groups;
    bool kept[UCB_EXPERTS_MAX] = {false};
    for (uint32_t round = 0; round < x->groups_used; round++) {
        int best = -1;
        double most = -1;
        for (uint32_t g = 0; g < x->n_groups; g++) {
            double peak = p[g * size + best_of(p + g * size, size)];
            if (!kept[g] && peak > most) most = peak, best = (int)g;
        }
        kept[best < 0 ? 0 : best] = true;
    }
    for (uint32_t e = 0; e < x->n; e++)
        if (!kept[e / size]) p[e] = 0;
}

static void route_softmax(const struct ucb_experts *x, const float *scores, double *p,
                          uint32_t *experts, float *weights)
{
    double peak = -INFINITY, sum = 0, chosen = 0;
    for (uint32_t e = 0; e < x->n; e++) peak = fmax(peak, (double)scores[e]);
    for (uint32_t e = 0; e < x->n; e++) sum += p[e] = ucb_exp((double)scores[e] - peak);
    for (uint32_t e = 0; e < x->n; e++) p[e] /= sum;
    if (x->groups_used < x->n_groups) limit_groups(x, p);
    for (uint32_t i = 0; i < x->used; i++) {
        experts[i] = best_of(p, x->n);
        weights[i] = (float)p[experts[i]];
        chosen += p[experts[i]];
        p[experts[i]] = -1;
    }
    for (uint32_t i = 0; i < x->used; i++)
        weights[i] = x->normalise ? (float)((double)weights[i] / chosen)
                                  : weights[i] * x->scale;
}

/* Whether an expert that is left counts beside the best: 0 / 0, of scores that are all 0,
 * is near. */
static bool is_near(const struct ucb_experts *x, float score, double left, double most)
{
    double size = fmax(fabs((double)score), most);
    bool far = (most - (double)score) / size > 2.0 * (double)x->jitter;
    return !far && !isinf(left);
}

/* One round of the sparse mixer: the best expert, weighed among those near it. */
static uint32_t mix_round(const struct ucb_experts *x, const float *scores,
                          const double *left, float *weight)
{
    uint32_t best = best_of(left, x->n);
    double most = left[best], sum = 0;
    for (uint32_t e = 0; e < x->n; e++) {
        if (is_near(x, scores[e], left[e], most)) sum += ucb_exp(left[e] - most);
    }
    *weight = (float)(1 / sum);
    return best;
}

static void route_sparsemixer(const struct ucb_experts *x, const float *scores,
                              double *left, uint32_t *experts, float *weights)
{
    for (uint32_t e = 0; e < x->n; e++) left[e] = (double)scores[e];
    for (uint32_t i = 0; i < x->used; i++) {
        experts[i] = mix_round(x, scores, left, &weights[i]);
        left[experts[i]] = -INFINITY;
    }
}

void ucb_route(const struct ucb_experts *x, const float *scores, uint32_t *experts,
               float *weights)
{
    double p[UCB_EXPERTS_MAX];
    if (x->routing == UCB_ROUTING_SPARSEMIXER)
        route_sparsemixer(x, scores, p, experts, weights);
    else
        route_softmax(x, scores, p, experts, weights);
}

/* ---- the reverse ---- */

static void softmax_gradient(const struct ucb_experts *x, const float *scores,
                             const float *dweights, float *dscores)
{
    double p[UCB_EXPERTS_MAX], peak = -INFINITY, sum = 0, chosen = 0, along = 0;
    uint32_t experts[UCB_EXPERTS_MAX];
    float weights[UCB_EXPERTS_MAX];
    ucb_route(x, scores, experts, weights);
    for (uint32_t e = 0; e < x->n; e++) peak = fmax(peak, (double)scores[e]);
    for (uint32_t e = 0; e < x->n; e++) sum += p[e] = ucb_exp((double)scores[e] - peak);
    for (uint32_t i = 0; i < x->used; i++) chosen += p[experts[i]];
    double whole = x->normalise ? chosen : sum, scale = x->normalise ? 1 : (double)x->scale;
    for (uint32_t i = 0; i < x->used; i++)
        along += (double)dweights[i] * p[experts[i]] / whole;
    for (uint32_t e = 0; e < x->n; e++)
        dscores[e] = x->normalise ? 0 : (float)(-scale * along * p[e] / whole);
    for (uint32_t i = 0; i < x->used; i++)
        dscores[experts[i]] = (float)(scale * p[experts[i]] / whole *
                                      ((double)dweights[i] - along));
}

static void sparsemixer_gradient(const struct ucb_experts *x, const float *scores,
                                 const float *dweights, float *dscores)
{
    double left[UCB_EXPERTS_MAX], sum[UCB_EXPERTS_MAX] = {0};
    for (uint32_t e = 0; e < x->n; e++) left[e] = (double)scores[e];
    for (uint32_t i = 0; i < x->used; i++) {
        float weight;
        uint32_t best = mix_round(x, scores, left, &weight);
        double most = left[best], w = (double)weight, d = (double)dweights[i] * w;
        for (uint32_t e = 0; e < x->n; e++)
            if (is_near(x, scores[e], left[e], most))
                sum[e] -= d * w * ucb_exp(left[e] - most);
        sum[best] += d;
        left[best] = -INFINITY;
    }
    for (uint32_t e = 0; e < x->n; e++) dscores[e] = (float)sum[e];
}

void ucb_route_gradient(const struct ucb_experts *x, const float *scores,
                        const float *dweights, float *dscores)
{
    if (x->routing == UCB_ROUTING_SPARSEMIXER)
        sparsemixer_gradient(x, scores, dweights, dscores);
    else
        softmax_gradient(x, scores, dweights, dscores);
}
