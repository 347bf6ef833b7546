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

static ucb_status put_overhead(const char *name, const double *encoded,
                               const double *decoded, uint32_t n, const char *note,
                               struct ucb_metric *out, struct ucb_err *err)
{
    struct ucb_estimate e;
    UCB_TRY(ucb_cluster_ratio(encoded, decoded, n, UCB_CONFIDENCE, &e, err));
    *out = (struct ucb_metric){name,       e.value - 1, e.low - 1,
                               e.high - 1, n,           isnan(e.low) ? "none" : "t-cluster",
                               note};
    return UCB_OK;
}

ucb_status ucb_sweep_resident_costs(const struct ucb_eval_result *r,
                                    struct ucb_metric out[UCB_SWEEP_RESIDENT_COSTS],
                                    size_t *n, struct ucb_err *err)
{
    static const char by_clock[] = "of the first layer's products; depends on --batch",
                      by_cpu[] = "the same in processor time";
    const struct ucb_resident_cost *c = &r->resident;
    *n = 0;
    if (c->n_matrices == 0) return UCB_OK;
    UCB_TRY(put_overhead("resident_overhead", c->encoded.seconds, c->decoded.seconds,
                         c->n_repeats, by_clock, &out[(*n)++], err));
    UCB_TRY(put_overhead("resident_overhead_busy", c->encoded.busy_seconds,
                         c->decoded.busy_seconds, c->n_repeats, by_cpu, &out[(*n)++], err));
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
    if (isnan(c->decoded.joules) || isnan(c->encoded.joules)) {
        say_no_energy();
        return;
    }
    fprintf(stderr,
            "  energy of these products, the whole package: %.4g J per 1000 tokens from "
            "the encoded form, %.4g J from decoded weights\n",
            c->encoded.joules / tokens, c->decoded.joules / tokens);
}

static void show_overhead(const struct ucb_metric *m, const char *what)
{
    fprintf(stderr, "%+.1f %%", 100 * m->value);
    if (!isnan(m->low)) fprintf(stderr, " [%+.1f, %+.1f]", 100 * m->low, 100 * m->high);
    fprintf(stderr, " %s", what);
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
                "  %-32s nothing stays encoded: it multiplies in its own arithmetic, or "
                "takes no matrix of the first layer\n",
                spec);
        return;
    }
    fprintf(stderr,
            "  %-32s largest layer in memory: %.3f MB encoded, %.3f MB decoded\n"
            "  inference from the encoded form: ",
            spec, (double)r->tally.resident_layer_bytes * 1e-6,
            (double)r->tally.decoded_layer_bytes * 1e-6);
    show_overhead(&cost[0], "over decoded weights");
    fprintf(stderr, ", ");
    show_overhead(&cost[1], "of processor time");
    fprintf(stderr,
            "; %zu rows a product, %u products, n = %u (the article claims < 2 %%)\n",
            c->batch, c->n_matrices, c->n_repeats);
    show_energy(c);
}
