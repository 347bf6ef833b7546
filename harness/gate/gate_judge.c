/*
 * gate_judge.c - see gate.h: old against new on the same items, cell by cell, then Holm
 * over all tests of the night.
 *
 * The noise floor of `ucbench compare` is not asked here: it says what another arithmetic
 * changes, and these two programs computed in one.
 */
#include <math.h>
#include <string.h>

#include "gate/gate.h"
#include "stats/distribution.h"
#include "stats/multiple.h"
#include "stats/sum.h"

const struct ucb_gate_rules ucb_gate_rules_default = {
    .alpha = 0.05,
    .bands = {{0.999, 1.001}, {-0.001, 0.001}, 0.99},
    .kld_band = 0.01,
    .bet = UCB_EPROCESS_BET,
    .share = 10,
};

/* A mean KLD below it, in nats a token, is the rounding of a softmax. */
static const double kld_rounding = 1e-5;

const char *ucb_gate_state_text(enum ucb_gate_state state)
{
    static const char *const texts[] = {
#define STATE_TEXT(code, text) text,
        UCB_GATE_STATE_LIST(STATE_TEXT)
#undef STATE_TEXT
    };
    return texts[state];
}

const struct ucb_run_cell *ucb_gate_cell_of(const struct ucb_gate_cell *cell)
{
    return cell->side[1] != NULL ? cell->side[1] : cell->side[0];
}

const char *ucb_gate_cell_name(const struct ucb_gate_cell *cell, struct ucb_arena *arena)
{
    const struct ucb_stored_cell *c = ucb_gate_cell_of(cell)->cell;
    const char *slash = strrchr(c->model, '/');
    const char *text = ucb_arena_printf(
        arena, "%s/%s/%s%s%s%s%s", slash == NULL ? c->model : slash + 1, c->spec, c->task,
        strcmp(c->arithmetic, "fp32") == 0 ? "" : "@",
        strcmp(c->arithmetic, "fp32") == 0 ? "" : c->arithmetic,
        c->reference[0] == '\0' ? "" : " against ", c->reference);
    if (text != NULL && strcmp(c->scope, "body") != 0)
        text = ucb_arena_printf(arena, "%s, scope %s", text, c->scope);
    if (text != NULL && c->calib[0] != '\0')
        text = ucb_arena_printf(arena, "%s, %s", text, c->calib);
    if (text != NULL && c->seed != 0)
        text = ucb_arena_printf(arena, "%s, seed %llu", text, (unsigned long long)c->seed);
    return text == NULL ? "" : text;
}

/* ---- one cell ---- */

/* How much mean KLD to the original grew: paired by document. */
static ucb_status put_kld(struct ucb_gate_cell *cell, const struct ucb_gate_rules *rules,
                          struct ucb_arena *arena, struct ucb_err *err)
{
    const struct ucb_samples *before = &cell->samples[0], *after = &cell->samples[1];
    struct ucb_criterion *c = &cell->criteria[UCB_GATE_KLD];
    struct ucb_cluster_fit fit;
    struct ucb_sum level = {0};
    size_t n = 0;
    for (size_t i = 0; i < after->n; i++) {
        if (before->samples[i].kld == NULL || after->samples[i].kld == NULL) return UCB_OK;
        n = after->document[i] >= n ? after->document[i] + 1u : n;
    }
    double *totals = UCB_NEW(arena, double, n), *weights = UCB_NEW(arena, double, n);
    if (totals == NULL || weights == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu documents", n);
    for (size_t i = 0; i < after->n; i++) {
        uint32_t d = after->document[i];
        totals[d] += after->samples[i].kld_sum - before->samples[i].kld_sum;
        weights[d] += after->samples[i].n_tokens;
        ucb_sum_add(&level, before->samples[i].kld_sum);
    }
    size_t n_kept = 0; /* documents that have items */
    double n_tokens = 0;
    for (size_t d = 0; d < n; d++) {
        if (weights[d] == 0) continue;
        totals[n_kept] = totals[d];
        weights[n_kept++] = weights[d];
        n_tokens += weights[d];
    }
    UCB_TRY(ucb_cluster_fit(totals, weights, n_kept, &fit, err));
    double band = fmax(rules->kld_band * ucb_sum_value(&level) / n_tokens, kld_rounding);
    *c = (struct ucb_criterion){.name = "kld_difference",
                                .evidence = {.band = {-band, band}, .worse_sign = 1}};
    ucb_criterion_fit(c, &fit);
    return UCB_OK;
}

static size_t count_broken(const struct ucb_samples *before,
                           const struct ucb_samples *after)
{
    size_t n = 0;
    for (size_t i = 0; i < after->n; i++)
        n += isfinite(before->samples[i].sum_logp) && !isfinite(after->samples[i].sum_logp);
    return n;
}

static ucb_status compare(struct ucb_gate_cell *cell, const struct ucb_gate_rules *rules,
                          struct ucb_arena *arena, struct ucb_err *err)
{
    struct ucb_task_run task;
    const struct ucb_stored_cell *c = cell->side[1]->cell;
    UCB_TRY(ucb_task_parse(c->task, &task, err));
    struct ucb_compare_job job = {
        .task = task.task,
        .task_spec = c->task,
        .before = &cell->samples[0],
        .after = &cell->samples[1],
        .divergence = UCB_DIVERGES_UNKNOWN, /* neither is the other's original */
        .bands = rules->bands,
        .seed = c->seed,
        .arena = arena,
    };
    UCB_TRY(ucb_compare(&job, &cell->result, err));
    cell->criteria[UCB_GATE_PPL] = cell->result.criteria[UCB_CRITERION_PPL];
    cell->criteria[UCB_GATE_ACCURACY] = cell->result.criteria[UCB_CRITERION_ACCURACY];
    cell->n_broken = count_broken(job.before, job.after);
    return put_kld(cell, rules, arena, err);
}

/* Cells of one id have the same items, unless somebody forgot to raise a revision. */
static ucb_status compare_if_it_fits(struct ucb_gate_cell *cell,
                                     const struct ucb_gate_rules *rules,
                                     struct ucb_arena *arena, struct ucb_err *err)
{
    struct ucb_err why = {0};
    ucb_status status = compare(cell, rules, arena, &why);
    if (status == UCB_OK) return UCB_OK;
    if (status != UCB_USAGE) return UCB_FAIL(err, status, "%s", why.text);
    cell->state = UCB_GATE_INCOMPARABLE;
    cell->message = ucb_arena_strdup(arena, why.text);
    return cell->message == NULL ? UCB_FAIL(err, UCB_NOMEM, "no memory for a message")
                                 : UCB_OK;
}

/* ---- the family ---- */

/* The same on every item: nothing to test, and no member of the family. */
static bool untouched(const struct ucb_gate_cell *cell, int k)
{
    struct ucb_estimate e = cell->criteria[k].evidence.wide;
    if (k == UCB_GATE_ACCURACY) return cell->result.n_lost + cell->result.n_won == 0;
    return e.low == e.high && e.value == cell->criteria[k].evidence.no_change;
}

/* A test of the night; NULL where criterion k of the cell is none. */
static struct ucb_criterion *test_of(struct ucb_gate_cell *cell, int k)
{
    struct ucb_criterion *c = &cell->criteria[k];
    bool tested = cell->state == UCB_GATE_CHANGED && c->present && !isnan(c->worse_p) &&
                  !untouched(cell, k);
    return tested ? c : NULL;
}

static ucb_status correct(struct ucb_gate_cell *cells, size_t n_cells,
                          struct ucb_arena *arena, size_t *n_family, struct ucb_err *err)
{
    size_t n = 0, at = 0;
    double *p = UCB_NEW(arena, double, UCB_GATE_N_CRITERIA *n_cells);
    size_t *order = UCB_NEW(arena, size_t, UCB_GATE_N_CRITERIA * n_cells);
    if (p == NULL || order == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the tests of %zu cells", n_cells);
    for (size_t i = 0; i < n_cells; i++)
        for (int k = 0; k < UCB_GATE_N_CRITERIA; k++)
            if (test_of(&cells[i], k) != NULL) p[n++] = test_of(&cells[i], k)->worse_p;
    UCB_TRY(ucb_holm(p, n, order, p, err));
    for (size_t i = 0; i < n_cells; i++)
        for (int k = 0; k < UCB_GATE_N_CRITERIA; k++)
            cells[i].adjusted_p[k] = test_of(&cells[i], k) != NULL ? p[at++] : NAN;
    *n_family = n;
    return UCB_OK;
}

/* Equal scores make equal metrics, unless what computes them changed, or the rows did. */
static bool find_worse_metrics(struct ucb_gate_cell *cell,
                               const struct ucb_gate_rules *rules)
{
    const struct ucb_run_cell *a = cell->side[0], *b = cell->side[1];
    bool *worse = cell->metric_worse, any = false;
    /* One that is no number any more is worse, one that was none before is not. */
    worse[UCB_GATE_PPL] = !isnan(a->ppl) && !(b->ppl <= a->ppl * rules->bands.ppl.high);
    worse[UCB_GATE_ACCURACY] = !isnan(a->accuracy) &&
                               !(b->accuracy >= a->accuracy + rules->bands.accuracy.low);
    worse[UCB_GATE_KLD] = !isnan(a->kld_mean) &&
                          !(b->kld_mean <=
                            a->kld_mean * (1 + rules->kld_band) + kld_rounding);
    for (int k = 0; k < UCB_GATE_N_CRITERIA; k++) any |= worse[k];
    return any;
}

/*
 * A loss that the correction took back: the documents after which it would pass the first
 * step of Holm among `n_family` tests with 80% power. The mde of n documents is the
 * difference found at 97.5% one-sided, so only the ratio of quantiles is needed.
 */
static double documents_for(const struct ucb_criterion *c, double n, size_t n_family,
                            double alpha)
{
    double power = ucb_normal_quantile(0.8),
           steps = (ucb_normal_quantile(1 - alpha / (double)n_family) + power) /
                   (ucb_normal_quantile(0.975) + power) * c->mde /
                   fabs(c->evidence.wide.value - c->evidence.no_change);
    return fmax(ceil(n * steps * steps), n + 1);
}

/* Worse when one criterion is, whatever another gained: a gate does not weigh them. */
static void decide(struct ucb_gate_cell *cell, const struct ucb_gate_rules *rules,
                   size_t n_family)
{
    enum ucb_verdict verdicts[UCB_GATE_N_CRITERIA];
    size_t n = 0;
    bool worse = cell->n_broken > 0;
    cell->n_decides = NAN;
    for (int k = 0; k < UCB_GATE_N_CRITERIA; k++) {
        struct ucb_criterion *c = &cell->criteria[k];
        if (!c->present) continue;
        if (c->verdict == UCB_VERDICT_WORSE && cell->adjusted_p[k] > rules->alpha) {
            c->verdict = UCB_VERDICT_INCONCLUSIVE;
            c->n_decides = documents_for(c, (double)cell->result.n_documents, n_family,
                                         rules->alpha);
        }
        worse |= c->verdict == UCB_VERDICT_WORSE;
        verdicts[n++] = c->verdict;
        if (c->verdict == UCB_VERDICT_INCONCLUSIVE)
            cell->n_decides = fmax(cell->n_decides, c->n_decides);
    }
    worse |= cell->result.items_equal && find_worse_metrics(cell, rules);
    cell->verdict = worse                      ? UCB_VERDICT_WORSE
                    : cell->result.items_equal ? UCB_VERDICT_IDENTICAL
                                               : ucb_judge_all(verdicts, n);
    if (cell->verdict != UCB_VERDICT_INCONCLUSIVE) cell->n_decides = NAN;
}

ucb_status ucb_gate_judge(struct ucb_gate_cell *cells, size_t n_cells,
                          const struct ucb_gate_rules *rules, struct ucb_arena *arena,
                          size_t *n_family, struct ucb_err *err)
{
    for (size_t i = 0; i < n_cells; i++) {
        if (cells[i].state != UCB_GATE_CHANGED) continue;
        const char *a = cells[i].side[0]->cell->weights_digest,
                   *b = cells[i].side[1]->cell->weights_digest;
        cells[i].weights_differ = a[0] != '\0' && b[0] != '\0' && strcmp(a, b) != 0;
        cells[i].size_differs = cells[i].side[0]->bpw_matrices !=
                                    cells[i].side[1]->bpw_matrices &&
                                !isnan(cells[i].side[0]->bpw_matrices);
        UCB_TRY(compare_if_it_fits(&cells[i], rules, arena, err));
    }
    UCB_TRY(correct(cells, n_cells, arena, n_family, err));
    for (size_t i = 0; i < n_cells; i++)
        if (cells[i].state == UCB_GATE_CHANGED) decide(&cells[i], rules, *n_family);
    return UCB_OK;
}

/* ---- what it means ---- */

bool ucb_gate_cell_is_regression(const struct ucb_gate_cell *cell)
{
    switch (cell->state) {
    case UCB_GATE_MISSING:
    case UCB_GATE_FAILED: return true;
    /* One id with other items: a revision that was not raised. A raised one is meant. */
    case UCB_GATE_INCOMPARABLE: return !cell->revised;
    case UCB_GATE_CHANGED: return cell->verdict == UCB_VERDICT_WORSE;
    default: return false;
    }
}

bool ucb_gate_cell_is_warning(const struct ucb_gate_cell *cell)
{
    switch (cell->state) {
    case UCB_GATE_INCOMPARABLE:
    case UCB_GATE_NEW_FAILED: return true;
    case UCB_GATE_CHANGED:
        return cell->verdict == UCB_VERDICT_INCONCLUSIVE || cell->size_differs;
    default: return false;
    }
}

bool ucb_gate_cell_is_as_before(const struct ucb_gate_cell *cell)
{
    return cell->state == UCB_GATE_SAME_ROW || cell->state == UCB_GATE_IDENTICAL ||
           cell->state == UCB_GATE_STILL_FAILED;
}
