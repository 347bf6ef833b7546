/*
 * pair_text.c - a comparison for people: the verdict first, then the numbers behind it,
 * each with its n and interval.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/pair.h"

/* How a criterion is written. */
static const struct {
    const char *name, *unit;
    int decimals;
    double factor;
} shown[UCB_N_CRITERIA] = {
    {"ppl ratio B / A", "", 4, 1}, {"accuracy B - A", " pp", 2, 100}, {"EAR", "", 4, 1}};

enum { NUMBER_TEXT = 64 };

static const char *number(double x, int k, char out[NUMBER_TEXT])
{
    if (isnan(x))
        snprintf(out, NUMBER_TEXT, "-");
    else if (fabs(x) >= 1e6)
        snprintf(out, NUMBER_TEXT, "%.3g", x);
    else
        snprintf(out, NUMBER_TEXT, "%.*f", shown[k].decimals, x * shown[k].factor);
    return out;
}

static const char *interval(struct ucb_estimate e, int k, char out[2 * NUMBER_TEXT])
{
    char low[NUMBER_TEXT], high[NUMBER_TEXT];
    if (isnan(e.low) || isnan(e.high))
        snprintf(out, 2 * NUMBER_TEXT, "[-]");
    else
        snprintf(out, 2 * NUMBER_TEXT, "[%s, %s]", number(e.low, k, low),
                 number(e.high, k, high));
    return out;
}

/* "ppl ratio B / A 1.0340 [1.0210, 1.0470]" of every criterion with this verdict. */
static void add_criteria(const struct ucb_pair *pair, enum ucb_verdict verdict,
                         bool numbers, struct ucb_text *out)
{
    char value[NUMBER_TEXT], ends[2 * NUMBER_TEXT];
    const char *before = "";
    for (int k = 0; k < UCB_N_CRITERIA; k++) {
        const struct ucb_criterion *c = &pair->result.criteria[k];
        if (!c->present || c->verdict != verdict) continue;
        ucb_text_add(out, "%s%s", before, shown[k].name);
        if (numbers)
            ucb_text_add(out, " %s%s %s", number(c->evidence.wide.value, k, value),
                         shown[k].unit, interval(c->evidence.wide, k, ends));
        before = ", ";
    }
}

static void add_inconclusive(const struct ucb_pair *pair, struct ucb_text *out)
{
    const struct ucb_comparison *r = &pair->result;
    if (r->contradicted) {
        add_criteria(pair, UCB_VERDICT_WORSE, true, out);
        ucb_text_add(out, " is worse, but ");
        add_criteria(pair, UCB_VERDICT_BETTER, true, out);
        ucb_text_add(out, " is better");
        return;
    }
    if (r->below_floor) {
        ucb_text_add(out, "below the noise floor: no difference is claimed; another "
                          "arithmetic alone changes the original as much");
        return;
    }
    add_criteria(pair, UCB_VERDICT_INCONCLUSIVE, false, out);
    ucb_text_add(out, " undecided at %zu documents; ", r->n_documents);
    if (r->n_documents < 2)
        ucb_text_add(out, "one document has no spread, score more");
    else if (isfinite(r->n_decides))
        ucb_text_add(out, "about %.0f would decide", r->n_decides);
    else
        ucb_text_add(out, "no number of documents would decide at this size");
}

void ucb_pair_sentence(const struct ucb_pair *pair, struct ucb_text *out)
{
    const struct ucb_comparison *r = &pair->result;
    ucb_text_add(out, "%s: ", ucb_verdict_text(r->verdict));
    switch (r->verdict) {
    case UCB_VERDICT_IDENTICAL:
        ucb_text_add(
            out, "every stored score of %zu items, %zu tokens, is the same bits; %s",
            r->n_items, r->n_tokens,
            pair->weights_equal ? "so are the decoded weights"
                                : "the decoded weights are not, or have no digest");
        break;
    case UCB_VERDICT_EQUIVALENT:
        add_criteria(pair, UCB_VERDICT_EQUIVALENT, true, out);
        ucb_text_add(out, ", 90%% intervals inside the bands%s",
                     r->kld_below_floor ? "; divergence below the noise floor" : "");
        break;
    case UCB_VERDICT_WORSE:
    case UCB_VERDICT_BETTER: add_criteria(pair, r->verdict, true, out); break;
    case UCB_VERDICT_INCONCLUSIVE: add_inconclusive(pair, out); break;
    }
    ucb_text_add(out, "\n");
}

static void add_cell(const struct ucb_pair *pair, int side, struct ucb_text *out)
{
    const struct ucb_stored_cell *c = pair->cell[side];
    ucb_text_add(out, "%c  %.12s  %s/%s/%s@%s%s%s, build %.12s\n", side == 0 ? 'A' : 'B',
                 c->cell_id, c->model, ucb_stored_cell_spec(c), c->task, c->arithmetic,
                 c->calib[0] == '\0' ? "" : ", calib ", c->calib, c->build_id);
}

static const char *band_text(struct ucb_band band, int k, char out[2 * NUMBER_TEXT])
{
    char low[NUMBER_TEXT], high[NUMBER_TEXT];
    if (isinf(band.high))
        snprintf(out, 2 * NUMBER_TEXT, ">= %s", number(band.low, k, low));
    else
        snprintf(out, 2 * NUMBER_TEXT, "[%s, %s]", number(band.low, k, low),
                 number(band.high, k, high));
    return out;
}

static void add_table(const struct ucb_pair *pair, struct ucb_text *out)
{
    char value[NUMBER_TEXT], wide[2 * NUMBER_TEXT], narrow[2 * NUMBER_TEXT],
        band[2 * NUMBER_TEXT], mde[NUMBER_TEXT], p[NUMBER_TEXT];
    ucb_text_add(out, "%-20s %9s  %-20s %-20s %-18s %8s  %8s  %s\n", "criterion", "value",
                 "95% interval", "90% interval", "band", "TOST p", "MDE 80%", "verdict");
    for (int k = 0; k < UCB_N_CRITERIA; k++) {
        const struct ucb_criterion *c = &pair->result.criteria[k];
        if (!c->present) continue;
        snprintf(p, sizeof(p), isnan(c->tost_p) ? "-" : "%.2g", c->tost_p);
        ucb_text_add(
            out, "%s%-*s %9s  %-20s %-20s %-18s %8s  %8s  %s%s\n", shown[k].name,
            20 - (int)strlen(shown[k].name), shown[k].unit,
            number(c->evidence.wide.value, k, value), interval(c->evidence.wide, k, wide),
            interval(c->evidence.narrow, k, narrow), band_text(c->evidence.band, k, band),
            p, number(c->mde, k, mde), ucb_verdict_text(c->verdict),
            c->below_floor ? ", below the noise floor" : "");
        if (c->verdict == UCB_VERDICT_INCONCLUSIVE && isfinite(c->n_decides) &&
            pair->result.verdict != UCB_VERDICT_IDENTICAL)
            ucb_text_add(out, "  about %.0f documents would decide\n", c->n_decides);
    }
    ucb_text_add(out, "\n");
}

static const char *percent(struct ucb_estimate e, char out[2 * NUMBER_TEXT])
{
    int n = snprintf(out, 2 * NUMBER_TEXT, "%.2f%%", 100 * e.value);
    if (isnan(e.low) || isnan(e.high))
        snprintf(out + n, 2 * NUMBER_TEXT - (size_t)n, " [-]");
    else
        snprintf(out + n, 2 * NUMBER_TEXT - (size_t)n, " [%.2f, %.2f]", 100 * e.low,
                 100 * e.high);
    return out;
}

static void add_example(const struct ucb_pair *pair, const char *what, size_t item,
                        struct ucb_text *out)
{
    const struct ucb_samples *s = &pair->samples[1];
    if (item == SIZE_MAX) return;
    uint32_t document = s->document[item];
    ucb_text_add(out, "  first %s: item %zu, document %s\n", what, item,
                 document < s->n_documents ? s->documents[document].name : "-");
}

static void add_accuracy(const struct ucb_pair *pair, struct ucb_text *out)
{
    const struct ucb_comparison *r = &pair->result;
    char a[2 * NUMBER_TEXT], b[2 * NUMBER_TEXT], ends[2 * NUMBER_TEXT];
    if (!r->has_accuracy) return;
    ucb_text_add(out, "accuracy A %s, B %s, n = %zu items\n", percent(r->accuracy[0], a),
                 percent(r->accuracy[1], b), r->n_items);
    if (!isnan(r->retention.value))
        ucb_text_add(out, "retention %s%s\n", percent(r->retention, a),
                     isnan(r->retention.low) ? ": no spread among resamples"
                                             : " by percentile bootstrap");
    ucb_text_add(out, "flips: %llu lost, %llu won, of %zu items\n",
                 (unsigned long long)r->n_lost, (unsigned long long)r->n_won, r->n_items);
    add_example(pair, "lost", r->lost_item, out);
    add_example(pair, "won", r->won_item, out);
    if (!r->has_tests) {
        ucb_text_add(out, "McNemar: not defined, documents hold several items\n");
        return;
    }
    ucb_text_add(out,
                 "McNemar exact p = %.4g, mid-p = %.4g, one-sided for worse p = %.4g\n",
                 r->mcnemar.p, r->mcnemar.mid_p, r->mcnemar.worse_p);
    ucb_text_add(out, "accuracy B - A by Newcombe's interval: %s pp\n",
                 interval(r->newcombe, UCB_CRITERION_ACCURACY, ends));
}

static void add_divergences(const struct ucb_pair *pair, struct ucb_text *out)
{
    const struct ucb_divergence *d = pair->result.divergence;
    char mean[2 * NUMBER_TEXT];
    if (!d[0].present && !d[1].present) return;
    ucb_text_add(out, "from the original  %-28s %9s %9s %9s %9s %9s %9s  %s\n", "KLD mean",
                 "p50", "p90", "p95", "p99", "p99.9", "max", "EAR");
    for (int k = 0; k < 2; k++) {
        if (!d[k].present) continue;
        snprintf(mean, sizeof(mean), "%.5f [%.5f, %.5f]", d[k].kld_mean.value,
                 fmax(d[k].kld_mean.low, 0), d[k].kld_mean.high);
        ucb_text_add(out, "  %c                %-28s", "AB"[k], mean);
        for (int q = 0; q < UCB_N_KLD_SHOWN; q++) ucb_text_add(out, " %9.5f", d[k].kld[q]);
        ucb_text_add(out, "  %.4f [%.4f, %.4f]\n", d[k].ear.value, d[k].ear.low,
                     fmin(d[k].ear.high, 1));
    }
    ucb_text_add(out, "  percentiles over n = %zu tokens, means over n = %zu documents\n",
                 pair->result.n_tokens, pair->result.n_documents);
    if (!pair->result.criteria[UCB_CRITERION_EAR].present)
        ucb_text_add(out,
                     "  EAR is no criterion here: it was not measured between A and B\n");
}

static void add_floor(const struct ucb_pair *pair, struct ucb_text *out)
{
    const struct ucb_comparison *f = &pair->floor;
    const struct ucb_divergence *kld = &f->divergence[1];
    char value[NUMBER_TEXT], ends[2 * NUMBER_TEXT];
    if (pair->is_floor) {
        ucb_text_add(out, "noise floor: this pair is the noise floor, the original in two "
                          "arithmetics\n");
        return;
    }
    if (pair->floor_cell[0] == NULL) {
        ucb_text_add(out,
                     "noise floor: none, the original in a second arithmetic is not in "
                     "the database\n");
        return;
    }
    struct ucb_estimate ratio = f->criteria[UCB_CRITERION_PPL].evidence.wide;
    ucb_text_add(out, "noise floor: the original in %s against %s: ppl ratio %s %s",
                 pair->floor_cell[1]->arithmetic, pair->floor_cell[0]->arithmetic,
                 number(ratio.value, UCB_CRITERION_PPL, value),
                 interval(ratio, UCB_CRITERION_PPL, ends));
    if (f->has_accuracy)
        ucb_text_add(out, ", flips %llu lost, %llu won", (unsigned long long)f->n_lost,
                     (unsigned long long)f->n_won);
    if (kld->present)
        ucb_text_add(out, ", KLD mean %.3g [%.3g, %.3g], EAR %.4f [%.4f, %.4f]",
                     kld->kld_mean.value, fmax(kld->kld_mean.low, 0), kld->kld_mean.high,
                     kld->ear.value, kld->ear.low, fmin(kld->ear.high, 1));
    ucb_text_add(out, ", n = %zu documents\n", f->n_documents);
}

void ucb_pair_text(const struct ucb_pair *pair, struct ucb_text *out)
{
    const struct ucb_comparison *r = &pair->result;
    char ends[2 * NUMBER_TEXT];
    ucb_pair_sentence(pair, out);
    ucb_text_add(out, "\n");
    add_cell(pair, 0, out);
    add_cell(pair, 1, out);
    ucb_text_add(out, "n = %zu documents, %zu items, %zu scored tokens on %s\n\n",
                 r->n_documents, r->n_items, r->n_tokens, pair->cell[0]->dataset);
    add_table(pair, out);
    if (!isnan(r->ratio_bca.low))
        ucb_text_add(out, "ppl ratio by BCa bootstrap: %s%s\n",
                     interval(r->ratio_bca, UCB_CRITERION_PPL, ends),
                     r->ends_differ ? ", more than a tenth of the width from the t interval"
                                    : "");
    add_accuracy(pair, out);
    add_divergences(pair, out);
    add_floor(pair, out);
}
