/*
 * metrics.c - from per-item scores to the numbers that are printed, each with its interval.
 *
 *     samples -> tally of each document -> columns (one double per document)
 *             -> ratio of two column sums -> metric
 *
 * Every metric but the percentiles of KLD and the counts of flips is a ratio of two sums
 * over documents, so one table of columns serves the linearised intervals, the Wilson
 * intervals and the bootstrap. Documents stand in ascending order of their index and those
 * without items are left out: the order of windows does not matter.
 *
 * One rule gives a rate its interval: Wilson over documents where each is a single verdict
 * (it holds exactly one trial, or all trials of all documents agree), else the clustered t,
 * because Wilson takes trials for independent and the tokens of a document are not. A
 * sample of counts without spread never gives an interval of no width: it would claim
 * certainty. docs/metrics.md has the definitions.
 */
#include "eval/metrics_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/pcg.h"
#include "stats/bootstrap.h"
#include "stats/cluster.h"
#include "stats/proportion.h"
#include "stats/quantile.h"
#include "stats/sum.h"

/* ---- one metric ---- */

static const char one_document[] = "one document has no spread: no interval";
static const char no_spread[] =
    "every document has the same ratio, which shows no spread: no interval";
static const char missing_resamples[] =
    "some resamples hold no hit of the original: no interval";
static const char equal_resamples[] =
    "all resamples are equal; the interval is Newcombe's of the difference, over the original's rate";

/* The metric in the list, for a caller that has a note to add. */
static struct ucb_metric *put(struct ucb_metrics_run *run, const char *name,
                              struct ucb_estimate e, uint64_t n, const char *interval)
{
    assert(run->n_out < UCB_MAX_METRICS);
    bool open = isnan(e.low) || isnan(e.high), wanted = strcmp(interval, "none") != 0;
    struct ucb_metric *m = &run->out[run->n_out++];
    *m = (struct ucb_metric){
        .name = name,
        .value = e.value,
        .low = open ? NAN : e.low,
        .high = open ? NAN : e.high,
        .n = n,
        .interval = open ? "none" : interval,
        .note = open && wanted && isfinite(e.value) && run->n_documents == 1 ? one_document
                                                                             : NULL,
    };
    return m;
}

static struct ucb_metric *put_number(struct ucb_metrics_run *run, const char *name,
                                     double value, uint64_t n)
{
    return put(run, name, (struct ucb_estimate){value, NAN, NAN}, n, "none");
}

static void put_without_spread(struct ucb_metrics_run *run, const char *name, double value)
{
    put_number(run, name, value, run->n_documents)->note = run->n_documents == 1
                                                               ? one_document
                                                               : no_spread;
}

/* An interval within what its quantity can be; an end never passes the value, which
 * rounding may leave outside. */
static struct ucb_estimate cut(struct ucb_estimate e, double lowest, double highest)
{
    if (!isnan(e.low)) e.low = fmin(fmax(e.low, lowest), e.value);
    if (!isnan(e.high)) e.high = fmax(fmin(e.high, highest), e.value);
    return e;
}

static ucb_status estimate(struct ucb_metrics_run *run, enum ucb_metrics_column total,
                           enum ucb_metrics_column weight, struct ucb_estimate *out)
{
    return ucb_cluster_ratio(run->columns[total], run->columns[weight], run->n_documents,
                             UCB_CONFIDENCE, out, run->err);
}

static ucb_status put_mean(struct ucb_metrics_run *run, const char *name,
                           enum ucb_metrics_column total, enum ucb_metrics_column weight,
                           double lowest, double highest)
{
    struct ucb_estimate e;
    UCB_TRY(estimate(run, total, weight, &e));
    put(run, name, cut(e, lowest, highest), run->n_documents, "t-cluster");
    return UCB_OK;
}

static ucb_status put_exp_mean(struct ucb_metrics_run *run, const char *name,
                               enum ucb_metrics_column total,
                               enum ucb_metrics_column weight)
{
    struct ucb_estimate e;
    UCB_TRY(estimate(run, total, weight, &e));
    put(run, name, ucb_estimate_exp(e), run->n_documents, "t-cluster");
    return UCB_OK;
}

static double total_of(const struct ucb_metrics_run *run, enum ucb_metrics_column column)
{
    return ucb_sum_of(run->columns[column], run->n_documents);
}

bool ucb_metrics_one_trial_each(const struct ucb_metrics_run *run,
                                enum ucb_metrics_column trials)
{
    for (size_t i = 0; i < run->n_documents; i++)
        if (run->columns[trials][i] != 1) return false;
    return true;
}

/* Counts and their products are exact in a double, so equal ratios are found exactly, not
 * by a residual near 0. */
bool ucb_metrics_same_ratio(const struct ucb_metrics_run *run,
                            enum ucb_metrics_column above, enum ucb_metrics_column below)
{
    double all_above = total_of(run, above), all_below = total_of(run, below);
    for (size_t i = 0; i < run->n_documents; i++)
        if (run->columns[above][i] * all_below != all_above * run->columns[below][i])
            return false;
    return true;
}

static ucb_status put_wilson(struct ucb_metrics_run *run, const char *name, uint64_t n_hits)
{
    struct ucb_estimate e;
    UCB_TRY(ucb_wilson(n_hits, run->n_documents, UCB_CONFIDENCE, &e, run->err));
    put(run, name, e, run->n_documents, "wilson");
    return UCB_OK;
}

static ucb_status put_rate(struct ucb_metrics_run *run, const char *name,
                           enum ucb_metrics_column hits, enum ucb_metrics_column trials)
{
    struct ucb_estimate e;
    double n_hits = total_of(run, hits), n_trials = total_of(run, trials);
    if (ucb_metrics_one_trial_each(run, trials))
        return put_wilson(run, name, (uint64_t)n_hits);
    /* No document deviates: the clustered error is 0 and would claim certainty. Each
     * document is one verdict. */
    if (n_hits == 0) return put_wilson(run, name, 0);
    if (n_hits == n_trials) return put_wilson(run, name, run->n_documents);
    if (ucb_metrics_same_ratio(run, hits, trials)) {
        put_without_spread(run, name, n_hits / n_trials);
        return UCB_OK;
    }
    UCB_TRY(estimate(run, hits, trials, &e));
    put(run, name, cut(e, 0, 1), run->n_documents, "t-cluster");
    return UCB_OK;
}

/* ---- the cell by itself ---- */

enum ucb_metrics_column ucb_metrics_ppl_weight(const struct ucb_task *task)
{
    switch (task->ppl_unit) {
    case UCB_PPL_PER_TOKEN: return TOKENS;
    case UCB_PPL_PER_PASSAGE: return ITEMS;
    case UCB_PPL_PER_WORD: return WORDS;
    }
    return TOKENS;
}

static ucb_status put_bits_per_byte(struct ucb_metrics_run *run)
{
    static const double BITS_PER_NAT = 0x1.71547652b82fep+0; /* 1 / log(2) */
    struct ucb_estimate e;
    UCB_TRY(estimate(run, NLL, BYTES, &e));
    e = (struct ucb_estimate){e.value * BITS_PER_NAT, e.low * BITS_PER_NAT,
                              e.high * BITS_PER_NAT};
    put(run, "bits_per_byte", e, run->n_documents, "t-cluster");
    return UCB_OK;
}

static ucb_status put_perplexities(struct ucb_metrics_run *run)
{
    UCB_TRY(put_exp_mean(run, "ppl", NLL, ucb_metrics_ppl_weight(run->task)));
    if (run->task->ppl_unit != UCB_PPL_PER_WORD) return UCB_OK;
    UCB_TRY(put_exp_mean(run, "byte_ppl", NLL, BYTES));
    UCB_TRY(put_bits_per_byte(run));
    return put_exp_mean(run, "token_ppl", NLL, TOKENS);
}

static ucb_status put_own(struct ucb_metrics_run *run)
{
    UCB_TRY(put_perplexities(run));
    UCB_TRY(put_rate(run, "t1_gt", T1_GT, TOKENS));
    UCB_TRY(put_rate(run, "t10_gt", T10_GT, TOKENS));
    if (!run->task->has_accuracy) return UCB_OK;
    UCB_TRY(put_rate(run, "accuracy", CORRECT, ITEMS));
    UCB_TRY(put_rate(run, "t1_gt_last", T1_GT_LAST, ITEMS));
    return put_rate(run, "t10_gt_last", T10_GT_LAST, ITEMS);
}

/* ---- the cell against its reference ---- */

static ucb_status put_agreement(struct ucb_metrics_run *run)
{
    UCB_TRY(put_rate(run, "t1_agree", T1_AGREE, TOKENS));
    UCB_TRY(put_rate(run, "t10_agree", T10_AGREE, TOKENS));
    UCB_TRY(put_rate(run, "t10_overlap", T10_OVERLAP, TOP10_SLOTS));
    if (run->task->has_accuracy)
        UCB_TRY(put_rate(run, "t1_agree_last", T1_AGREE_LAST, ITEMS));
    UCB_TRY(put_mean(run, "kld_mean", KLD, TOKENS, 0, INFINITY));
    return put_mean(run, "ear", EAR, TOKENS, 0, 1);
}

double *ucb_metrics_sorted_kld(const struct ucb_samples *cell, struct ucb_arena *arena,
                               size_t *n_values)
{
    size_t n = 0;
    bool defined = true;
    for (size_t i = 0; i < cell->n; i++) n += cell->samples[i].n_tokens;
    double *values = UCB_NEW(arena, double, n);
    if (values == NULL) return NULL;
    n = 0;
    for (size_t i = 0; i < cell->n; i++) {
        const struct ucb_sample *sample = &cell->samples[i];
        for (uint32_t t = 0; t < sample->n_tokens; t++) {
            defined = defined && !isnan(sample->kld[t]);
            values[n++] = sample->kld[t];
        }
    }
    if (defined) ucb_sort(values, n);
    *n_values = defined ? n : 0;
    return values;
}

static ucb_status put_kld_quantiles(struct ucb_metrics_run *run)
{
    static const struct {
        const char *name;
        double p;
    } wanted[] = {{"kld_p50", 0.5},  {"kld_p90", 0.9},    {"kld_p95", 0.95},
                  {"kld_p99", 0.99}, {"kld_p999", 0.999}, {"kld_max", 1}};
    size_t n;
    double *values = ucb_metrics_sorted_kld(run->cell, run->arena, &n);
    if (values == NULL) return ucb_metrics_no_memory(run, "the KLD values");
    for (size_t k = 0; k < sizeof(wanted) / sizeof(wanted[0]); k++)
        put_number(run, wanted[k].name,
                   n == 0 ? NAN : ucb_quantile_sorted(values, n, wanted[k].p),
                   (uint64_t)total_of(run, TOKENS));
    return UCB_OK;
}

struct ucb_paired_counts ucb_metrics_count_pairs(const struct ucb_metrics_run *run,
                                                 enum ucb_metrics_column before,
                                                 enum ucb_metrics_column after)
{
    struct ucb_paired_counts counts = {0};
    for (size_t i = 0; i < run->n_documents; i++) {
        bool was = run->columns[before][i] != 0, is = run->columns[after][i] != 0;
        counts.both += was && is;
        counts.lost += was && !is;
        counts.won += !was && is;
        counts.neither += !was && !is;
    }
    return counts;
}

static ucb_status put_clustered_difference(struct ucb_metrics_run *run)
{
    static const char name[] = "accuracy_difference";
    if (!ucb_metrics_same_ratio(run, WON_LESS_LOST, ITEMS))
        return put_mean(run, name, WON_LESS_LOST, ITEMS, -1, 1);
    put_without_spread(run, name, total_of(run, WON_LESS_LOST) / total_of(run, ITEMS));
    return UCB_OK;
}

/* McNemar and Newcombe take items for independent, so they speak only where each item is
 * its own document. */
static ucb_status put_flips(struct ucb_metrics_run *run)
{
    uint64_t lost = (uint64_t)total_of(run, LOST), won = (uint64_t)total_of(run, WON),
             n = run->cell->n;
    put_number(run, "flips_lost", (double)lost, n);
    put_number(run, "flips_won", (double)won, n);
    if (!ucb_metrics_one_trial_each(run, ITEMS)) return put_clustered_difference(run);

    struct ucb_paired_counts counts = ucb_metrics_count_pairs(run, REFERENCE_CORRECT,
                                                              CORRECT);
    struct ucb_estimate e;
    UCB_TRY(ucb_newcombe(&counts, UCB_CONFIDENCE, &e, run->err));
    put(run, "accuracy_difference", e, n, "newcombe");
    struct ucb_mcnemar test = ucb_mcnemar_test(lost, won);
    put_number(run, "mcnemar_p", test.p, n);
    put_number(run, "mcnemar_mid_p", test.mid_p, n);
    put_number(run, "mcnemar_worse_p", test.worse_p, n);
    return UCB_OK;
}

/* ---- resampled intervals ---- */

enum {
    LOG_RATIO,
    RETENTION,
    T1_RET,
    T10_RET
}; /* the places in a row; LOG_RATIO is the gap of mean NLLs */

struct resamples {
    struct ucb_bootstrap_row *rows; /* one per document */
    double *replicates;
};

static void fill_rows(const struct ucb_metrics_run *run, struct ucb_bootstrap_row *rows)
{
    const double *weight = run->columns[ucb_metrics_ppl_weight(run->task)];
    for (size_t i = 0; i < run->n_documents; i++) {
        rows[i] = (struct ucb_bootstrap_row){
            .above = {[LOG_RATIO] = run->columns[NLL_GAP][i],
                      [RETENTION] = run->columns[CORRECT][i],
                      [T1_RET] = run->columns[T1_GT][i],
                      [T10_RET] = run->columns[T10_GT][i]},
            .below = {[LOG_RATIO] = weight[i],
                      [RETENTION] = run->columns[REFERENCE_CORRECT][i],
                      [T1_RET] = run->columns[REFERENCE_T1_GT][i],
                      [T10_RET] = run->columns[REFERENCE_T10_GT][i]},
        };
    }
}

static ucb_status resample(struct ucb_metrics_run *run, struct resamples *out)
{
    struct ucb_pcg stream;
    size_t n = run->n_documents;
    const char *name = ucb_arena_printf(run->arena, "%s bootstrap", run->task_spec);
    uint32_t *counts = UCB_NEW(run->arena, uint32_t, n);
    out->rows = UCB_NEW(run->arena, struct ucb_bootstrap_row, n);
    out->replicates = UCB_NEW(run->arena, double,
                              (size_t)UCB_BOOTSTRAP_RATIOS *UCB_BOOTSTRAP_REPLICATES);
    if (name == NULL || counts == NULL || out->rows == NULL || out->replicates == NULL)
        return ucb_metrics_no_memory(run, "the bootstrap");
    fill_rows(run, out->rows);
    ucb_pcg_named(&stream, run->seed, name);
    ucb_bootstrap_draw(out->rows, n, UCB_BOOTSTRAP_REPLICATES, &stream, counts,
                       out->replicates);
    return UCB_OK;
}

/* A rate over the reference's. */
struct retained {
    const char *name;
    size_t k; /* its place in a row */
    enum ucb_metrics_column before, after, trials;
};

/*
 * Resamples that are all equal would make an interval of no width. The difference of the
 * two rates has a score interval that never does; retention is 1 + difference / rate of the
 * reference, with that rate held fixed. Only where each document is one trial: elsewhere
 * there is no interval.
 */
static ucb_status put_retained_without_spread(struct ucb_metrics_run *run,
                                              const struct retained *r, double value)
{
    if (!ucb_metrics_one_trial_each(run, r->trials)) {
        put_without_spread(run, r->name, value);
        return UCB_OK;
    }
    struct ucb_paired_counts counts = ucb_metrics_count_pairs(run, r->before, r->after);
    struct ucb_estimate difference;
    double rate = (double)(counts.both + counts.lost) / (double)run->n_documents;
    UCB_TRY(ucb_newcombe(&counts, UCB_CONFIDENCE, &difference, run->err));
    struct ucb_estimate e = {value, 1 + difference.low / rate, 1 + difference.high / rate};
    put(run, r->name, cut(e, 0, INFINITY), run->n_documents, "newcombe")->note =
        equal_resamples;
    return UCB_OK;
}

/* Absent where the reference's rate is 0, for there is then nothing to retain. */
static ucb_status put_retained(struct ucb_metrics_run *run, const struct retained *r,
                               const struct resamples *drawn)
{
    double value = ucb_bootstrap_value(drawn->rows, run->n_documents, r->k);
    if (isnan(value)) return UCB_OK;
    struct ucb_estimate e = {value, NAN, NAN};
    if (run->n_documents > 1)
        e = ucb_bootstrap_percentile(value,
                                     &drawn->replicates[r->k * UCB_BOOTSTRAP_REPLICATES],
                                     UCB_BOOTSTRAP_REPLICATES, UCB_CONFIDENCE);
    if (e.low == e.high) return put_retained_without_spread(run, r, value);
    struct ucb_metric *m = put(run, r->name, e, run->n_documents, "bootstrap");
    if (run->n_documents > 1 && isnan(e.low)) m->note = missing_resamples;
    return UCB_OK;
}

static ucb_status put_retentions(struct ucb_metrics_run *run, const struct resamples *drawn)
{
    static const struct retained all[] = {
        {"retention", RETENTION, REFERENCE_CORRECT, CORRECT, ITEMS},
        {"t1_ret", T1_RET, REFERENCE_T1_GT, T1_GT, TOKENS},
        {"t10_ret", T10_RET, REFERENCE_T10_GT, T10_GT, TOKENS}};
    for (size_t i = run->task->has_accuracy ? 0 : 1; i < sizeof(all) / sizeof(all[0]); i++)
        UCB_TRY(put_retained(run, &all[i], drawn));
    return UCB_OK;
}

/* The perplexity ratio's resampled ends, formed on the log scale where the ratio
 * is a mean. */
static struct ucb_estimate put_ratio_resampled(struct ucb_metrics_run *run,
                                               const struct resamples *drawn)
{
    double *replicates = &drawn->replicates[(size_t)LOG_RATIO * UCB_BOOTSTRAP_REPLICATES];
    double value = ucb_bootstrap_value(drawn->rows, run->n_documents, LOG_RATIO);
    struct ucb_estimate percentile = {value, NAN, NAN}, bca = percentile;
    if (run->n_documents > 1) {
        double acceleration = ucb_bootstrap_acceleration(drawn->rows, run->n_documents,
                                                         LOG_RATIO);
        percentile = ucb_bootstrap_percentile(value, replicates, UCB_BOOTSTRAP_REPLICATES,
                                              UCB_CONFIDENCE);
        bca = ucb_bootstrap_bca(value, acceleration, replicates, UCB_BOOTSTRAP_REPLICATES,
                                UCB_CONFIDENCE);
    }
    bca = ucb_estimate_exp(bca);
    put(run, "ppl_ratio_bootstrap", bca, run->n_documents, "bca");
    put(run, "ppl_ratio_percentile", ucb_estimate_exp(percentile), run->n_documents,
        "bootstrap");
    return bca;
}

/*
 * By how much of the linearised width the farther end moves when it is resampled; NaN where
 * either has no interval. Both have no width where the cell equals its reference to the
 * bit: that is no gap.
 */
static double interval_gap(struct ucb_estimate linearised, struct ucb_estimate resampled)
{
    double low = linearised.low - resampled.low, high = linearised.high - resampled.high;
    if (isnan(low) || isnan(high)) return NAN;
    double gap = fmax(fabs(low), fabs(high));
    return gap == 0 ? 0 : gap / (linearised.high - linearised.low);
}

static ucb_status put_ratio(struct ucb_metrics_run *run, const struct resamples *drawn)
{
    static const double WORTH_A_NOTE = 0.1; /* spec/statistics.md */
    struct ucb_estimate e;
    UCB_TRY(estimate(run, NLL_GAP, ucb_metrics_ppl_weight(run->task), &e));
    e = ucb_estimate_exp(e);
    struct ucb_metric *ratio = put(run, "ppl_ratio", e, run->n_documents, "t-cluster");
    double gap = interval_gap(e, put_ratio_resampled(run, drawn));
    if (isnan(gap)) return UCB_OK;
    put_number(run, "ppl_ratio_interval_gap", gap, run->n_documents);
    if (gap <= WORTH_A_NOTE) return UCB_OK;
    ratio->note = ucb_arena_printf(
        run->arena, "t and BCa intervals differ by %.0f%% of the former's width",
        100 * gap);
    return ratio->note == NULL ? ucb_metrics_no_memory(run, "a note") : UCB_OK;
}

static ucb_status put_compared(struct ucb_metrics_run *run)
{
    struct resamples drawn;
    UCB_TRY(resample(run, &drawn));
    UCB_TRY(put_ratio(run, &drawn));
    UCB_TRY(put_retentions(run, &drawn));
    UCB_TRY(put_agreement(run));
    UCB_TRY(put_kld_quantiles(run));
    return run->task->has_accuracy ? put_flips(run) : UCB_OK;
}

ucb_status ucb_metrics_compute(const struct ucb_task *task, const char *task_spec,
                               const struct ucb_samples *cell,
                               const struct ucb_samples *reference, uint64_t seed,
                               struct ucb_arena *arena, struct ucb_metric *out,
                               size_t *n_out, struct ucb_err *err)
{
    struct ucb_metrics_run run = {
        .task = task,
        .cell = cell,
        .reference = reference,
        .task_spec = task_spec,
        .seed = seed,
        .arena = arena,
        .out = out,
        .err = err,
    };
    UCB_TRY(ucb_metrics_check_cell(task, cell, err));
    if (reference != NULL) UCB_TRY(ucb_metrics_check_pair(task, cell, reference, err));
    UCB_TRY(ucb_metrics_make_columns(&run));
    UCB_TRY(put_own(&run));
    if (reference != NULL) UCB_TRY(put_compared(&run));
    *n_out = run.n_out;
    return UCB_OK;
}
