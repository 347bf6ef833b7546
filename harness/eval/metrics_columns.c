/*
 * metrics_columns.c - samples -> tally of each document -> columns. Documents stand in
 * ascending order of their index, those without items are left out.
 */
#include "eval/metrics_internal.h"
#include "stats/sum.h"

ucb_status ucb_metrics_no_memory(struct ucb_metrics_run *run, const char *what)
{
    return UCB_FAIL(run->err, UCB_NOMEM,
                    "no memory for %s of %zu items; try a smaller --memory or fewer items",
                    what, run->cell->n);
}

/* Column sums of one document. Counts go through the same compensated sum, where they stay
 * exact. */
struct tally {
    struct ucb_sum column[N_COLUMNS];
};

ucb_status ucb_metrics_check_cell(const struct ucb_task *task,
                                  const struct ucb_samples *cell, struct ucb_err *err)
{
    if (cell->n == 0)
        return UCB_FAIL(err, UCB_USAGE, "%s: no items; a metric needs at least one",
                        task->name);
    if (task->ppl_unit == UCB_PPL_PER_WORD && cell->documents == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "%s: perplexity per word needs the documents' word counts",
                        task->name);
    for (size_t i = 0; i < cell->n; i++) {
        if (cell->samples[i].n_tokens == 0)
            return UCB_FAIL(err, UCB_USAGE, "%s: item %zu has no scored token", task->name,
                            i);
        if (cell->documents != NULL && cell->document[i] >= cell->n_documents)
            return UCB_FAIL(err, UCB_USAGE, "%s: item %zu belongs to document %u of %zu",
                            task->name, i, cell->document[i], cell->n_documents);
    }
    return UCB_OK;
}

ucb_status ucb_metrics_check_items(const struct ucb_task *task,
                                   const struct ucb_samples *cell,
                                   const struct ucb_samples *reference, struct ucb_err *err)
{
    if (cell->n != reference->n)
        return UCB_FAIL(
            err, UCB_USAGE,
            "%s: %zu items, but its reference has %zu; score both on the same items",
            task->name, cell->n, reference->n);
    for (size_t i = 0; i < cell->n; i++) {
        const struct ucb_sample *ours = &cell->samples[i], *theirs = &reference->samples[i];
        if (ours->n_tokens != theirs->n_tokens ||
            cell->document[i] != reference->document[i])
            return UCB_FAIL(
                err, UCB_USAGE,
                "%s: item %zu is %u tokens of document %u, but %u tokens of document %u in its reference",
                task->name, i, ours->n_tokens, cell->document[i], theirs->n_tokens,
                reference->document[i]);
    }
    return UCB_OK;
}

ucb_status ucb_metrics_check_pair(const struct ucb_task *task,
                                  const struct ucb_samples *cell,
                                  const struct ucb_samples *reference, struct ucb_err *err)
{
    UCB_TRY(ucb_metrics_check_items(task, cell, reference, err));
    for (size_t i = 0; i < cell->n; i++)
        if (cell->samples[i].kld == NULL)
            return UCB_FAIL(err, UCB_USAGE,
                            "%s: item %zu has a reference but no KLD values", task->name,
                            i);
    return UCB_OK;
}

static void add(struct tally *tally, enum ucb_metrics_column column, double x)
{
    ucb_sum_add(&tally->column[column], x);
}

static void add_cell(struct tally *tally, const struct ucb_sample *sample)
{
    add(tally, ITEMS, 1);
    add(tally, TOKENS, sample->n_tokens);
    add(tally, TOP10_SLOTS, 10.0 * sample->n_tokens);
    add(tally, NLL, -sample->sum_logp);
    add(tally, T1_GT, sample->t1_gt_hits);
    add(tally, T10_GT, sample->t10_gt_hits);
    add(tally, CORRECT, sample->target_correct);
    add(tally, T1_GT_LAST, sample->last_t1_gt);
    add(tally, T10_GT_LAST, sample->last_t10_gt);
}

static void add_comparison(struct tally *tally, const struct ucb_sample *sample,
                           const struct ucb_sample *reference)
{
    bool was = reference->target_correct != 0, is = sample->target_correct != 0;
    add(tally, NLL_GAP, reference->sum_logp - sample->sum_logp);
    add(tally, KLD, sample->kld_sum);
    add(tally, EAR, sample->ear_sum);
    add(tally, T1_AGREE, sample->t1_agree_hits);
    add(tally, T10_AGREE, sample->t10_agree_hits);
    add(tally, T10_OVERLAP, sample->t10_overlap_sum);
    add(tally, T1_AGREE_LAST, sample->last_t1_agree);
    add(tally, REFERENCE_T1_GT, reference->t1_gt_hits);
    add(tally, REFERENCE_T10_GT, reference->t10_gt_hits);
    add(tally, REFERENCE_CORRECT, reference->target_correct);
    add(tally, LOST, was && !is);
    add(tally, WON, !was && is);
    add(tally, WON_LESS_LOST, (double)is - (double)was);
}

static struct tally *tally_documents(struct ucb_metrics_run *run, size_t *n_tallies)
{
    const struct ucb_samples *cell = run->cell;
    uint32_t last = 0;
    for (size_t i = 0; i < cell->n; i++)
        last = cell->document[i] > last ? cell->document[i] : last;
    *n_tallies = (size_t)last + 1;
    struct tally *tallies = UCB_NEW(run->arena, struct tally, *n_tallies);
    for (size_t i = 0; tallies != NULL && i < cell->n; i++) {
        struct tally *tally = &tallies[cell->document[i]];
        add_cell(tally, &cell->samples[i]);
        if (run->reference != NULL)
            add_comparison(tally, &cell->samples[i], &run->reference->samples[i]);
    }
    return tallies;
}

static void fill_columns(struct ucb_metrics_run *run, const struct tally *tallies,
                         size_t n_tallies)
{
    size_t row = 0;
    for (size_t d = 0; d < n_tallies; d++) {
        if (ucb_sum_value(&tallies[d].column[ITEMS]) == 0) continue;
        for (int k = 0; k < N_COLUMNS; k++)
            run->columns[k][row] = ucb_sum_value(&tallies[d].column[k]);
        if (run->cell->documents != NULL) {
            run->columns[WORDS][row] = (double)run->cell->documents[d].n_words;
            run->columns[BYTES][row] = (double)run->cell->documents[d].n_bytes;
        }
        row++;
    }
    run->n_documents = row;
}

ucb_status ucb_metrics_make_columns(struct ucb_metrics_run *run)
{
    size_t n_tallies;
    struct tally *tallies = tally_documents(run, &n_tallies);
    if (tallies == NULL) return ucb_metrics_no_memory(run, "the document sums");
    for (int k = 0; k < N_COLUMNS; k++) {
        run->columns[k] = UCB_NEW(run->arena, double, n_tallies);
        if (run->columns[k] == NULL) return ucb_metrics_no_memory(run, "the document sums");
    }
    fill_columns(run, tallies, n_tallies);
    return UCB_OK;
}
