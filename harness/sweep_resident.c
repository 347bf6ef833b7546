/*
 * sweep_resident.c - what `--resident encoded` says of a method: bytes of its largest
 * layer, and the products of the first layer against decoded weights. The overhead is the
 * ratio of two sums over repeats; its interval takes a repeat for a document.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "stats/cluster.h"
#include "sweep_internal.h"

ucb_status ucb_sweep_resident_costs(const struct ucb_eval_result *r,
                                    struct ucb_metric out[UCB_SWEEP_RESIDENT_COSTS],
                                    size_t *n, struct ucb_err *err)
{
    const struct ucb_resident_cost *c = &r->resident;
    struct ucb_estimate e;
    *n = 0;
    if (c->n_matrices == 0) return UCB_OK;
    UCB_TRY(ucb_cluster_ratio(c->encoded_seconds, c->decoded_seconds, c->n_repeats,
                              UCB_CONFIDENCE, &e, err));
    out[(*n)++] = (struct ucb_metric){"resident_overhead",
                                      e.value - 1,
                                      e.low - 1,
                                      e.high - 1,
                                      c->n_repeats,
                                      isnan(e.low) ? "none" : "t-cluster",
                                      "time of the first layer's products from encoded "
                                      "over decoded weights, less 1; depends on --batch"};
    out[(*n)++] = (struct ucb_metric){"resident_layer_bytes",
                                      (double)r->tally.resident_layer_bytes,
                                      NAN,
                                      NAN,
                                      1,
                                      "none",
                                      NULL};
    out[(*n)++] = (struct ucb_metric){"decoded_layer_bytes",
                                      (double)r->tally.decoded_layer_bytes,
                                      NAN,
                                      NAN,
                                      1,
                                      "none",
                                      NULL};
    return UCB_OK;
}

/* Once a process: a machine does not begin to expose its counters. */
static void say_no_energy(void)
{
    static bool said;
    if (said) return;
    said = true;
    fprintf(stderr, "  energy: not exposed by this machine\n");
}

static void show_energy(const struct ucb_resident_cost *c)
{
    double tokens = (double)c->batch * c->n_repeats / 1000;
    if (isnan(c->decoded_joules) || isnan(c->encoded_joules)) {
        say_no_energy();
        return;
    }
    fprintf(stderr,
            "  energy of these products, the whole package: %.4g J per 1000 tokens from "
            "the encoded form, %.4g J from decoded weights\n",
            c->encoded_joules / tokens, c->decoded_joules / tokens);
}

void ucb_sweep_resident_show(const struct ucb_sweep_method *m,
                             const struct ucb_eval_result *r)
{
    const struct ucb_resident_cost *c = &r->resident;
    const char *spec = ucb_chain_spec(m->chain);
    struct ucb_metric cost[UCB_SWEEP_RESIDENT_COSTS];
    size_t n;
    if (ucb_chain_is_none(m->chain)) return;
    if (ucb_sweep_resident_costs(r, cost, &n, NULL) != UCB_OK || n == 0) {
        fprintf(stderr,
                "  %-32s nothing of it stays encoded: the method multiplies in its "
                "own arithmetic, or takes no matrix of the first layer\n",
                spec);
        return;
    }
    fprintf(stderr, "  %-32s largest layer in memory: %.3f MB encoded, %.3f MB decoded\n",
            spec, (double)r->tally.resident_layer_bytes * 1e-6,
            (double)r->tally.decoded_layer_bytes * 1e-6);
    fprintf(
        stderr,
        "  inference from the encoded form: %+.1f %% [%+.1f, %+.1f] over decoded weights, "
        "%zu rows a product, n = %u repeats of %u products (the article claims < 2 %%)\n",
        100 * cost[0].value, 100 * cost[0].low, 100 * cost[0].high, c->batch, c->n_repeats,
        c->n_matrices);
    show_energy(c);
}
