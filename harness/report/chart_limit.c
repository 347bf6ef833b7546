/*
 * chart_limit.c - see chart_limit.h.
 *
 * The constants are measured: each method's encoder on 2^18 Gaussian weights of one
 * standard deviation (tests/unit/test_chart_limit.c measures them again). Only methods
 * whose scales cover a fixed number of weights stand here; where the block is a row, the
 * error depends on the model's width. Calibrated methods shape their error, so a quotient
 * of theirs says nothing about the limit.
 */
#include "report/chart_limit.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *spec;
    double error; /* mean squared, of the variance */
} anchors[] = {
    {"nf4", 0.00847},
    {"nf4:double_quant=1", 0.00847},
    {"fp4", 0.01482},
    {"hqq:bits=3,group=64", 0.03385},
    {"hqq:bits=4,group=64", 0.00755},
    {"gsq:bits=4", 0.00759},
    {"gsq:bits=5", 0.00182},
    {"gsq:bits=6", 0.00044},
    {"gguf:type=Q4_0", 0.00733},
    {"gguf:type=Q5_0", 0.00181},
};
enum { N_ANCHORS = sizeof(anchors) / sizeof(anchors[0]) };

const char *ucb_limit_anchor_spec(size_t i)
{
    return i < N_ANCHORS ? anchors[i].spec : NULL;
}

double ucb_limit_gaussian_error(const char *spec)
{
    for (size_t i = 0; i < N_ANCHORS; i++)
        if (strcmp(anchors[i].spec, spec) == 0) return anchors[i].error;
    return 0;
}

void ucb_limit_add(struct ucb_chart_limit *limit, const char *spec, double nats,
                   bool is_new_method)
{
    double scale = nats / ucb_limit_gaussian_error(spec);
    double largest = limit->n_anchors == 0 ? scale
                                           : fmax(scale, limit->scale * limit->spread);
    if (limit->n_anchors == 0 || scale < limit->scale) {
        limit->scale = scale;
        limit->anchor = spec;
    }
    limit->spread = largest / limit->scale;
    limit->n_anchors++;
    limit->n_methods += is_new_method;
}

void ucb_limit_finish(struct ucb_chart_limit *limit)
{
    limit->state = limit->n_methods < 2               ? UCB_LIMIT_FEW
                   : limit->spread > UCB_LIMIT_SPREAD ? UCB_LIMIT_DISAGREES
                                                      : UCB_LIMIT_DRAWN;
}

double ucb_limit_nats(const struct ucb_chart_limit *limit, double bpw)
{
    return limit->scale * exp2(-2 * bpw);
}

double ucb_limit_bpw(const struct ucb_chart_limit *limit, double nats)
{
    return 0.5 * log2(limit->scale / nats);
}
