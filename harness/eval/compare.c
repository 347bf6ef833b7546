/*
 * compare.c - see compare.h. The columns of metrics_columns.c serve here too, with `before`
 * in the place of the reference.
 */
#include "eval/compare.h"

#include <math.h>
#include <string.h>

#include "core/fmath.h"
#include "core/pcg.h"
#include "eval/metrics_internal.h"
#include "stats/bootstrap.h"
#include "stats/distribution.h"
#include "stats/power.h"
#include "stats/quantile.h"
#include "stats/sum.h"

const struct ucb_bands ucb_bands_default = {{0.995, 1.005}, {-0.005, 0.005}, 0.99};

/* ---- equal to the bit ---- */

static bool same_scores(const struct ucb_sample *a, const struct ucb_sample *b)
{
    return memcmp(&a->sum_logp, &b->sum_logp, sizeof(a->sum_logp)) == 0 &&
           a->t1_gt_hits == b->t1_gt_hits && a->t10_gt_hits == b->t10_gt_hits &&
           a->target_correct == b->target_correct && a->last_t1_gt == b->last_t1_gt &&
           a->last_t10_gt == b->last_t10_gt;
}

/* An original has no divergences: the other then has to have none but zeros. */
static bool same_divergences(const struct ucb_sample *a, const struct ucb_sample *b)
{
    if (a->kld != NULL && b->kld != NULL)
        return memcmp(a->kld, b->kld, a->n_tokens * sizeof(float)) == 0;
    const float *kld = a->kld != NULL ? a->kld : b->kld;
    for (uint32_t t = 0; kld != NULL && t < a->n_tokens; t++)
        if (kld[t] != 0) return false;
    return true;
}

static bool equal_items(const struct ucb_samples *a, const struct ucb_samples *b)
{
    for (size_t i = 0; i < a->n; i++)
        if (!same_scores(&a->samples[i], &b->samples[i]) ||
            !same_divergences(&a->samples[i], &b->samples[i]))
            return false;
    return true;
}

/* ---- criteria ---- */

/*
 * The n after which a difference as large as the band would be found, and its absence
 * shown, at the scatter seen. Where that n is already reached the value lies too near an
 * edge: then the n that tells it from the nearest edge.
 */
static double documents_to_decide(const struct ucb_power *p, double scatter, double margin,
                                  double to_edge, double n)
{
    double needed = fmax(ucb_n_to_find(p, scatter, margin),
                         ucb_n_to_equate(p, scatter, margin));
    return needed > n ? needed : fmax(ucb_n_to_find(p, scatter, to_edge), n + 1);
}

/* What n shows, and what n would, on the scale where the estimate is a mean; `student`: its
 * interval is a t interval. The verdict stands. */
static void put_power(struct ucb_criterion *c, double scatter, double n, bool student)
{
    const struct ucb_power power = {UCB_CONFIDENCE, 0.8, student};
    const struct ucb_evidence *e = &c->evidence;
    double value = e->wide.value;
    double margin = fmin(e->band.high - e->no_change, e->no_change - e->band.low);
    double to_edge = fmin(fabs(e->band.high - value), fabs(value - e->band.low));
    c->mde = ucb_mde(&power, scatter, n);
    c->n_decides = NAN;
    if (c->verdict == UCB_VERDICT_INCONCLUSIVE && isfinite(scatter))
        c->n_decides = documents_to_decide(&power, scatter, margin, to_edge, n);
}

/* P of a change for the worse at least as large where there is none. */
static double worse_p(const struct ucb_cluster_fit *fit, double no_change,
                      double worse_sign)
{
    double gap = worse_sign * (fit->value - no_change);
    if (fit->error == 0) return gap > 0 ? 0 : 1;
    return isnan(fit->error) ? NAN : ucb_student_tail(gap / fit->error, fit->n_freedom);
}

void ucb_criterion_fit(struct ucb_criterion *c, const struct ucb_cluster_fit *fit)
{
    c->present = true;
    c->evidence.wide = ucb_cluster_interval(fit, UCB_CONFIDENCE);
    c->evidence.narrow = ucb_cluster_interval(fit, UCB_TOST_CONFIDENCE);
    c->interval = isnan(fit->error) ? "none" : "t-cluster";
    c->tost_p = ucb_tost_cluster(fit, c->evidence.band);
    c->worse_p = worse_p(fit, c->evidence.no_change, c->evidence.worse_sign);
    c->verdict = ucb_judge(&c->evidence);
    put_power(c, fit->error * sqrt(fit->n_freedom + 1), fit->n_freedom + 1, true);
}

static ucb_status fit_of(struct ucb_metrics_run *run, enum ucb_metrics_column total,
                         enum ucb_metrics_column weight, struct ucb_cluster_fit *out)
{
    return ucb_cluster_fit(run->columns[total], run->columns[weight], run->n_documents, out,
                           run->err);
}

/* Judged as a mean of log-likelihoods, shown as a ratio. */
static ucb_status put_ppl(struct ucb_metrics_run *run, const struct ucb_bands *bands,
                          struct ucb_criterion *c)
{
    struct ucb_cluster_fit fit;
    UCB_TRY(fit_of(run, NLL_GAP, ucb_metrics_ppl_weight(run->task), &fit));
    *c = (struct ucb_criterion){
        .name = "ppl_ratio",
        .evidence = {.band = {ucb_log(bands->ppl.low), ucb_log(bands->ppl.high)},
                     .worse_sign = 1}};
    ucb_criterion_fit(c, &fit);
    c->evidence.wide = ucb_estimate_exp(c->evidence.wide);
    c->evidence.narrow = ucb_estimate_exp(c->evidence.narrow);
    c->evidence.no_change = 1;
    c->evidence.band = bands->ppl;
    c->mde = ucb_exp(c->mde) - 1;
    return UCB_OK;
}

/* No flip among n does not mean that none ever happens: counted as one. */
static double flip_scatter(uint64_t n_flips, double n)
{
    return sqrt(fmax((double)n_flips, 1) / n);
}

static ucb_status put_accuracy_pairs(struct ucb_metrics_run *run,
                                     struct ucb_comparison *out)
{
    struct ucb_criterion *c = &out->criteria[UCB_CRITERION_ACCURACY];
    struct ucb_paired_counts counts = ucb_metrics_count_pairs(run, REFERENCE_CORRECT,
                                                              CORRECT);
    double n = (double)run->n_documents;
    out->has_tests = true;
    out->mcnemar = ucb_mcnemar_test(counts.lost, counts.won);
    UCB_TRY(ucb_newcombe(&counts, UCB_CONFIDENCE, &out->newcombe, run->err));
    UCB_TRY(ucb_tango(&counts, UCB_CONFIDENCE, &c->evidence.wide, run->err));
    UCB_TRY(ucb_tango(&counts, UCB_TOST_CONFIDENCE, &c->evidence.narrow, run->err));
    c->interval = "tango";
    c->tost_p = ucb_tost_paired(&counts, c->evidence.band);
    c->worse_p = out->mcnemar.worse_p;
    c->verdict = ucb_judge_pairs(&c->evidence, &counts);
    put_power(c, flip_scatter(counts.lost + counts.won, n), n, false);
    return UCB_OK;
}

static ucb_status put_accuracy_difference(struct ucb_metrics_run *run,
                                          const struct ucb_bands *bands,
                                          struct ucb_comparison *out)
{
    struct ucb_criterion *c = &out->criteria[UCB_CRITERION_ACCURACY];
    struct ucb_cluster_fit fit;
    *c = (struct ucb_criterion){.name = "accuracy_difference",
                                .present = true,
                                .evidence = {.band = bands->accuracy, .worse_sign = -1}};
    if (ucb_metrics_one_trial_each(run, ITEMS)) return put_accuracy_pairs(run, out);
    UCB_TRY(fit_of(run, WON_LESS_LOST, ITEMS, &fit));
    /* Documents that all changed alike show no spread, which is not certainty. */
    bool no_spread = ucb_metrics_same_ratio(run, WON_LESS_LOST, ITEMS);
    if (no_spread) fit.error = NAN;
    ucb_criterion_fit(c, &fit);
    if (no_spread)
        put_power(c, flip_scatter(out->n_lost + out->n_won, (double)run->n_documents),
                  (double)run->n_documents, false);
    return UCB_OK;
}

/* The interval of one accuracy, as metrics.c chooses it. */
static ucb_status one_accuracy(struct ucb_metrics_run *run, enum ucb_metrics_column hits,
                               struct ucb_estimate *out)
{
    double n_hits = ucb_sum_of(run->columns[hits], run->n_documents);
    if (ucb_metrics_one_trial_each(run, ITEMS))
        return ucb_wilson((uint64_t)n_hits, run->n_documents, UCB_CONFIDENCE, out,
                          run->err);
    UCB_TRY(ucb_cluster_ratio(run->columns[hits], run->columns[ITEMS], run->n_documents,
                              UCB_CONFIDENCE, out, run->err));
    if (ucb_metrics_same_ratio(run, hits, ITEMS)) out->low = out->high = NAN;
    out->low = fmax(out->low, isnan(out->low) ? NAN : 0);
    out->high = fmin(out->high, isnan(out->high) ? NAN : 1);
    return UCB_OK;
}

static void count_flips(const struct ucb_compare_job *job, struct ucb_comparison *out)
{
    out->lost_item = out->won_item = SIZE_MAX;
    for (size_t i = 0; i < job->after->n; i++) {
        bool was = job->before->samples[i].target_correct != 0,
             is = job->after->samples[i].target_correct != 0;
        if (was && !is && out->n_lost++ == 0) out->lost_item = i;
        if (!was && is && out->n_won++ == 0) out->won_item = i;
    }
}

static ucb_status put_accuracy(struct ucb_metrics_run *run,
                               const struct ucb_compare_job *job,
                               struct ucb_comparison *out)
{
    out->has_accuracy = true;
    count_flips(job, out);
    UCB_TRY(one_accuracy(run, REFERENCE_CORRECT, &out->accuracy[0]));
    UCB_TRY(one_accuracy(run, CORRECT, &out->accuracy[1]));
    return put_accuracy_difference(run, &job->bands, out);
}

/* ---- divergences ---- */

static ucb_status put_divergence(struct ucb_metrics_run *run, struct ucb_divergence *d)
{
    static const double ps[] = {
#define KLD_P(name, p) p,
        UCB_KLD_SHOWN_LIST(KLD_P)
#undef KLD_P
    };
    size_t n;
    for (size_t i = 0; i < run->cell->n; i++)
        if (run->cell->samples[i].kld == NULL) return UCB_OK;
    d->present = true;
    UCB_TRY(ucb_cluster_ratio(run->columns[KLD], run->columns[TOKENS], run->n_documents,
                              UCB_CONFIDENCE, &d->kld_mean, run->err));
    UCB_TRY(ucb_cluster_ratio(run->columns[EAR], run->columns[TOKENS], run->n_documents,
                              UCB_CONFIDENCE, &d->ear, run->err));
    double *values = ucb_metrics_sorted_kld(run->cell, run->arena, &n);
    if (values == NULL) return ucb_metrics_no_memory(run, "the KLD values");
    for (int k = 0; k < UCB_N_KLD_SHOWN; k++)
        d->kld[k] = n == 0 ? NAN : ucb_quantile_sorted(values, n, ps[k]);
    return UCB_OK;
}

/* The rate is symmetric: whichever of the two is the original,
 * the other differs from it. */
static ucb_status put_ear(struct ucb_metrics_run *run, const struct ucb_compare_job *job,
                          struct ucb_criterion *c)
{
    struct ucb_cluster_fit fit;
    UCB_TRY(fit_of(run, EAR, TOKENS, &fit));
    *c = (struct ucb_criterion){
        .name = "ear",
        .evidence = {.no_change = 1,
                     .band = {job->bands.ear, INFINITY},
                     .worse_sign = job->divergence == UCB_AFTER_FROM_BEFORE ? -1 : 1}};
    ucb_criterion_fit(c, &fit);
    c->evidence.wide.high = fmin(c->evidence.wide.high, 1);
    c->evidence.narrow.high = fmin(c->evidence.narrow.high, 1);
    return UCB_OK;
}

static ucb_status put_divergences(struct ucb_metrics_run *run,
                                  const struct ucb_compare_job *job,
                                  struct ucb_comparison *out)
{
    struct ucb_metrics_run swapped = *run;
    struct ucb_criterion *ear = &out->criteria[UCB_CRITERION_EAR];
    swapped.cell = job->before;
    swapped.reference = job->after;
    UCB_TRY(ucb_metrics_make_columns(&swapped));
    UCB_TRY(put_divergence(&swapped, &out->divergence[0]));
    UCB_TRY(put_divergence(run, &out->divergence[1]));
    if (job->divergence == UCB_AFTER_FROM_BEFORE && out->divergence[1].present)
        return put_ear(run, job, ear);
    if (job->divergence == UCB_BEFORE_FROM_AFTER && out->divergence[0].present)
        return put_ear(&swapped, job, ear);
    return UCB_OK;
}

/* ---- resampled intervals ---- */

enum { LOG_RATIO, RETENTION };

static void fill_rows(const struct ucb_metrics_run *run, struct ucb_bootstrap_row *rows)
{
    const double *weight = run->columns[ucb_metrics_ppl_weight(run->task)];
    for (size_t i = 0; i < run->n_documents; i++)
        rows[i] = (struct ucb_bootstrap_row){
            .above = {[LOG_RATIO] = run->columns[NLL_GAP][i],
                      [RETENTION] = run->columns[CORRECT][i]},
            .below = {
                [LOG_RATIO] = weight[i], [RETENTION] = run->columns[REFERENCE_CORRECT][i]}};
}

/* As far as an end of the t interval is from the BCa one, over the width of the former. */
static bool ends_differ(struct ucb_estimate t, struct ucb_estimate bca)
{
    double gap = fmax(fabs(t.low - bca.low), fabs(t.high - bca.high));
    return gap > 0.1 * (t.high - t.low); /* spec/statistics.md; false where an end is NaN */
}

/* The stream of metrics.c: the draws are those of the stored intervals. */
static ucb_status resample(struct ucb_metrics_run *run, const struct ucb_compare_job *job,
                           struct ucb_comparison *out)
{
    size_t n = run->n_documents, n_drawn = job->n_replicates;
    struct ucb_pcg stream;
    const char *name = ucb_arena_printf(run->arena, "%s bootstrap", run->task_spec);
    uint32_t *counts = UCB_NEW(run->arena, uint32_t, n);
    struct ucb_bootstrap_row *rows = UCB_NEW(run->arena, struct ucb_bootstrap_row, n);
    double *drawn = UCB_NEW(run->arena, double, UCB_BOOTSTRAP_RATIOS *n_drawn);
    if (name == NULL || counts == NULL || rows == NULL || drawn == NULL)
        return ucb_metrics_no_memory(run, "the bootstrap");
    fill_rows(run, rows);
    ucb_pcg_named(&stream, job->seed, name);
    ucb_bootstrap_draw(rows, n, n_drawn, &stream, counts, drawn);
    double acceleration = ucb_bootstrap_acceleration(rows, n, LOG_RATIO);
    out->ratio_bca = ucb_estimate_exp(
        ucb_bootstrap_bca(ucb_bootstrap_value(rows, n, LOG_RATIO), acceleration,
                          &drawn[LOG_RATIO * n_drawn], n_drawn, UCB_CONFIDENCE));
    out->ends_differ = ends_differ(out->criteria[UCB_CRITERION_PPL].evidence.wide,
                                   out->ratio_bca);
    out->retention = ucb_bootstrap_percentile(ucb_bootstrap_value(rows, n, RETENTION),
                                              &drawn[RETENTION * n_drawn], n_drawn,
                                              UCB_CONFIDENCE);
    /* Equal resamples would claim certainty. */
    if (out->retention.low == out->retention.high)
        out->retention.low = out->retention.high = NAN;
    return UCB_OK;
}

/* ---- the verdict ---- */

static void decide(struct ucb_comparison *out)
{
    enum ucb_verdict verdicts[UCB_N_CRITERIA];
    bool has[UCB_VERDICT_INCONCLUSIVE + 1] = {false};
    size_t n = 0;
    out->n_decides = NAN;
    for (int k = 0; k < UCB_N_CRITERIA; k++) {
        const struct ucb_criterion *c = &out->criteria[k];
        if (!c->present) continue;
        verdicts[n++] = c->verdict;
        has[c->verdict] = true;
        if (c->verdict == UCB_VERDICT_INCONCLUSIVE)
            out->n_decides = fmax(out->n_decides, c->n_decides); /* fmax passes over NaN */
    }
    out->verdict = out->items_equal ? UCB_VERDICT_IDENTICAL : ucb_judge_all(verdicts, n);
    out->contradicted = has[UCB_VERDICT_WORSE] && has[UCB_VERDICT_BETTER];
    if (out->verdict != UCB_VERDICT_INCONCLUSIVE || out->contradicted) out->n_decides = NAN;
}

static size_t count_tokens(const struct ucb_samples *samples)
{
    size_t n = 0;
    for (size_t i = 0; i < samples->n; i++) n += samples->samples[i].n_tokens;
    return n;
}

ucb_status ucb_compare(const struct ucb_compare_job *job, struct ucb_comparison *out,
                       struct ucb_err *err)
{
    struct ucb_metrics_run run = {
        .task = job->task,
        .cell = job->after,
        .reference = job->before,
        .task_spec = job->task_spec,
        .arena = job->arena,
        .err = err,
    };
    struct ucb_comparison c = {.ratio_bca = {NAN, NAN, NAN}, .retention = {NAN, NAN, NAN}};
    UCB_TRY(ucb_metrics_check_cell(job->task, job->before, err));
    UCB_TRY(ucb_metrics_check_cell(job->task, job->after, err));
    UCB_TRY(ucb_metrics_check_items(job->task, job->after, job->before, err));
    UCB_TRY(ucb_metrics_make_columns(&run));
    c.items_equal = equal_items(job->before, job->after);
    c.n_items = job->after->n;
    c.n_documents = run.n_documents;
    c.n_tokens = count_tokens(job->after);
    UCB_TRY(put_ppl(&run, &job->bands, &c.criteria[UCB_CRITERION_PPL]));
    if (job->task->has_accuracy) UCB_TRY(put_accuracy(&run, job, &c));
    UCB_TRY(put_divergences(&run, job, &c));
    if (job->n_replicates > 0) UCB_TRY(resample(&run, job, &c));
    decide(&c);
    *out = c;
    return UCB_OK;
}

/* ---- the noise floor ---- */

static void take_back(struct ucb_criterion *c)
{
    c->below_floor = true;
    if (c->verdict != UCB_VERDICT_WORSE && c->verdict != UCB_VERDICT_BETTER) return;
    c->verdict = UCB_VERDICT_INCONCLUSIVE;
    c->n_decides = NAN; /* no number of documents tells it from rounding */
}

/* Without an interval the mean itself counts. */
static bool above(const struct ucb_divergence *d, const struct ucb_divergence *floor)
{
    struct ucb_estimate e = d->kld_mean;
    double least = isnan(e.low) ? e.value : e.low;
    return !(least <= floor->kld_mean.value); /* NaN is above */
}

static double least_ear(const struct ucb_divergence *floor)
{
    return isnan(floor->ear.low) ? floor->ear.value : floor->ear.low;
}

/* A floor of zero, equal to the bit, hides nothing. */
static bool kld_below(const struct ucb_comparison *c, const struct ucb_divergence *floor)
{
    bool any = false;
    if (!floor->present || !(floor->kld_mean.value > 0)) return false;
    for (int k = 0; k < 2; k++) {
        if (!c->divergence[k].present) continue;
        if (above(&c->divergence[k], floor)) return false;
        any = true;
    }
    return any;
}

void ucb_compare_apply_floor(struct ucb_comparison *comparison,
                             const struct ucb_comparison *floor)
{
    const struct ucb_divergence *noise_kld = &floor->divergence[1];
    struct ucb_criterion *ppl = &comparison->criteria[UCB_CRITERION_PPL],
                         *accuracy = &comparison->criteria[UCB_CRITERION_ACCURACY],
                         *ear = &comparison->criteria[UCB_CRITERION_EAR];
    struct ucb_estimate noise = floor->criteria[UCB_CRITERION_PPL].evidence.wide;
    enum ucb_verdict before = comparison->verdict;
    if (before == UCB_VERDICT_IDENTICAL) return;
    /* A floor of zero (equal to the bit, no flip) hides nothing. */
    double farthest = fmax(fabs(ucb_log(noise.value)),
                           fmax(fabs(ucb_log(noise.low)), fabs(ucb_log(noise.high))));
    if (farthest > 0 && fabs(ucb_log(ppl->evidence.wide.value)) <= farthest) take_back(ppl);
    double flips = (double)(floor->n_lost + floor->n_won) / (double)floor->n_items;
    if (accuracy->present && flips > 0 && fabs(accuracy->evidence.wide.value) <= flips)
        take_back(accuracy);
    if (ear->present && noise_kld->present && noise_kld->ear.value < 1 &&
        ear->evidence.wide.value >= least_ear(noise_kld))
        take_back(ear);
    comparison->kld_below_floor = kld_below(comparison, noise_kld);
    for (int k = 0; k < UCB_N_CRITERIA && comparison->kld_below_floor; k++)
        if (comparison->criteria[k].present) take_back(&comparison->criteria[k]);
    decide(comparison);
    comparison->below_floor = comparison->verdict == UCB_VERDICT_INCONCLUSIVE &&
                              (before != UCB_VERDICT_INCONCLUSIVE ||
                               comparison->kld_below_floor);
    if (comparison->below_floor) comparison->n_decides = NAN;
}
