/* Metrics: from hand-made samples to values and intervals, and what is refused. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "core/arena.h"
#include "eval/metrics.h"

enum { MAX_ITEMS = 64 };

static const struct ucb_task per_token = {.name = "windows", .ppl_unit = UCB_PPL_PER_TOKEN};
static const struct ucb_task per_passage = {
    .name = "last-word", .ppl_unit = UCB_PPL_PER_PASSAGE, .has_accuracy = true};
static const struct ucb_task per_word = {.name = "pages", .ppl_unit = UCB_PPL_PER_WORD};

/* A cell made by hand: item i belongs to document i unless the test says otherwise. */
struct made {
    struct ucb_sample samples[MAX_ITEMS];
    uint32_t document[MAX_ITEMS];
    struct ucb_document documents[MAX_ITEMS];
    float kld[MAX_ITEMS][4];
    struct ucb_samples all;
};

static void make(struct made *m, size_t n, uint32_t n_tokens)
{
    memset(m, 0, sizeof(*m));
    for (size_t i = 0; i < n; i++) {
        m->document[i] = (uint32_t)i;
        m->samples[i] = (struct ucb_sample){.n_tokens = n_tokens, .kld = m->kld[i]};
    }
    m->all = (struct ucb_samples){m->samples, m->document, n, NULL, n};
}

/* What a model compared with itself scores. */
static void agree(struct made *m)
{
    for (size_t i = 0; i < m->all.n; i++) {
        struct ucb_sample *s = &m->samples[i];
        s->t1_agree_hits = s->t10_agree_hits = s->n_tokens;
        s->t10_overlap_sum = 10 * s->n_tokens;
        s->last_t1_agree = 1;
        s->ear_sum = s->n_tokens;
    }
}

static struct ucb_metric metrics[UCB_MAX_METRICS];
static size_t n_metrics;
static struct ucb_arena notes; /* of the last computation: a note may live there */

static ucb_status compute(const struct ucb_task *task, const struct made *cell,
                          const struct made *reference, struct ucb_err *err)
{
    ucb_arena_free(&notes);
    ucb_arena_init(&notes);
    return ucb_metrics_compute(task, task->name, &cell->all,
                               reference == NULL ? NULL : &reference->all, 1, &notes,
                               metrics, &n_metrics, err);
}

static const struct ucb_metric *find(const char *name)
{
    for (size_t i = 0; i < n_metrics; i++)
        if (strcmp(metrics[i].name, name) == 0) return &metrics[i];
    return NULL;
}

static const struct ucb_metric *must_find(const char *name)
{
    const struct ucb_metric *metric = find(name);
    if (metric == NULL) ucb_test_fail(__FILE__, __LINE__, "no metric %s", name);
    return metric;
}

TEST(a_student_equal_to_its_teacher_changes_nothing_to_the_bit)
{
    static struct made m;
    struct ucb_err err;
    make(&m, 40, 3);
    agree(&m);
    for (size_t i = 0; i < 40; i++) {
        m.samples[i].sum_logp = -1.7 * (double)i - 0.3;
        m.samples[i].target_correct = i % 3 == 0;
        m.samples[i].t1_gt_hits = i % 4;
        m.samples[i].t10_gt_hits = 3;
    }
    CHECK_OK(compute(&per_passage, &m, &m, &err), err);
    static const char *const ones[] = {"ppl_ratio", "ppl_ratio_bootstrap",
                                       "ppl_ratio_percentile", "ear"};
    for (size_t k = 0; k < sizeof(ones) / sizeof(ones[0]); k++) {
        const struct ucb_metric *metric = must_find(ones[k]);
        CHECK(metric->value == 1 && metric->low == 1 && metric->high == 1);
    }
    static const char *const zeros[] = {"kld_mean",   "kld_p50",   "kld_max",
                                        "flips_lost", "flips_won", "accuracy_difference"};
    for (size_t k = 0; k < sizeof(zeros) / sizeof(zeros[0]); k++)
        CHECK(must_find(zeros[k])->value == 0);
    static const char *const rates[] = {"t1_agree", "t10_agree", "t10_overlap",
                                        "t1_agree_last"};
    for (size_t k = 0; k < sizeof(rates) / sizeof(rates[0]); k++) {
        const struct ucb_metric *rate = must_find(
            rates[k]); /* all of 40 documents is not all documents there are */
        CHECK(rate->value == 1 && rate->high == 1 && rate->low > 0.9 && rate->low < 1);
    }
    CHECK(must_find("mcnemar_p")->value == 1 &&
          must_find("ppl_ratio_interval_gap")->value == 0);
    CHECK(must_find("ppl_ratio")->note == NULL);
    CHECK(must_find("retention")->value == 1 && must_find("retention")->low < 1 &&
          must_find("retention")->high > 1);
    CHECK(must_find("t1_ret")->value == 1 &&
          isnan(must_find("t1_ret")->low)); /* three trials a document */
    CHECK_HAS(must_find("t1_ret")->note, "no interval");
}

TEST(retention_without_a_flip_is_no_certainty)
{
    static struct made before, after;
    struct ucb_err err;
    make(&before, 20, 1);
    make(&after, 20, 1);
    for (size_t i = 0; i < 10; i++)
        before.samples[i].target_correct = before.samples[i].t1_gt_hits = 1;
    for (size_t i = 0; i < 10; i++)
        after.samples[i].target_correct = after.samples[i].t1_gt_hits = 1;
    CHECK_OK(compute(&per_passage, &after, &before, &err), err);
    static const char *const names[] = {"retention", "t1_ret"};
    for (size_t k = 0; k < 2; k++) {
        const struct ucb_metric *m = must_find(names[k]),
                                *difference = must_find("accuracy_difference");
        CHECK(m->value == 1);
        CHECK_TEXT(m->interval, "newcombe");
        CHECK_HAS(m->note, "all resamples are equal");
        /* half of the items were right before, so the difference counts double */
        CHECK_NEAR(m->low, 1 + 2 * difference->low, 1e-15);
        CHECK_NEAR(m->high, 1 + 2 * difference->high, 1e-15);
        CHECK(m->low < 0.95 && m->high > 1.05);
    }
    for (size_t i = 0; i < 10; i++)
        after.samples[i].target_correct = 0; /* nothing is retained, in any resample */
    CHECK_OK(compute(&per_passage, &after, &before, &err), err);
    CHECK(must_find("retention")->value == 0 && must_find("retention")->low == 0 &&
          must_find("retention")->high > 0.1);
}

TEST(documents_that_share_one_ratio_give_no_interval)
{
    static struct made before, after;
    struct ucb_err err;
    make(&before, 6, 3);
    make(&after, 6, 3);
    for (size_t i = 0; i < 6; i++) {
        before.document[i] = after.document[i] =
            (uint32_t)(i / 2); /* three documents, each: two right, then one */
        before.samples[i].target_correct = 1;
        after.samples[i].target_correct = i % 2 == 0;
        after.samples[i].t1_gt_hits = before.samples[i].t1_gt_hits =
            1; /* a third, which has no exact double */
    }
    CHECK_OK(compute(&per_passage, &after, &before, &err), err);
    static const char *const names[] = {"accuracy", "retention", "accuracy_difference",
                                        "t1_gt", "t1_ret"};
    for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
        const struct ucb_metric *m = must_find(names[k]);
        CHECK(isfinite(m->value) && isnan(m->low) && isnan(m->high) && m->note != NULL);
        CHECK_TEXT(m->interval, "none");
        CHECK_HAS(m->note, "every document has the same ratio");
    }
    CHECK_NEAR(must_find("accuracy")->value, 0.5, 0);
}

TEST(intervals_stay_within_what_their_quantity_can_be)
{
    static struct made before, after;
    struct ucb_err err;
    make(&before, 3, 1);
    make(&after, 3, 1);
    after.samples[0].kld_sum =
        1; /* two documents of three lose nothing: t reaches below 0 and above 1 */
    for (size_t i = 0; i < 3; i++) after.samples[i].ear_sum = i == 0 ? 0.1 : 1;
    CHECK_OK(compute(&per_token, &after, &before, &err), err);
    CHECK(must_find("kld_mean")->low == 0 && must_find("kld_mean")->high > 1);
    CHECK(must_find("ear")->low == 0 && must_find("ear")->high == 1);
    for (size_t i = 0; i < 3; i++)
        after.samples[i].kld_sum = -1e-9; /* rounding of nearly equal models */
    CHECK_OK(compute(&per_token, &after, &before, &err), err);
    CHECK(must_find("kld_mean")->low <= must_find("kld_mean")->value);
}

TEST(perplexity_per_token_is_clustered_by_document)
{
    static struct made m;
    struct ucb_err err;
    make(&m, 3, 2);
    m.samples[2].n_tokens = 4;
    m.document[1] =
        0; /* items 0 and 1 are pieces of one document, the index 1 stays unused */
    m.document[2] = 2;
    m.samples[0].sum_logp = -4;
    m.samples[1].sum_logp = -2;
    m.samples[2].sum_logp = -10;
    CHECK_OK(compute(&per_token, &m, NULL, &err), err);
    const struct ucb_metric *ppl = must_find("ppl");
    /* d = 6, 10; t = 4, 4; m = 2; u = -2, 2; SE = sqrt(2 * 8) / 8 = 1/2; t(1) at 0.975
     * is 12.7062047361747 */
    CHECK_NEAR(ppl->value, exp(2), 1e-14 * exp(2));
    CHECK_NEAR(log(ppl->low), 2 - 12.7062047361747 / 2, 1e-12);
    CHECK_NEAR(log(ppl->high), 2 + 12.7062047361747 / 2, 1e-12);
    CHECK_EQ(ppl->n, 2);
    CHECK_TEXT(ppl->interval, "t-cluster");
    CHECK(find("ppl_ratio") == NULL && find("accuracy") == NULL &&
          find("kld_mean") == NULL);
}

TEST(perplexity_per_passage_counts_passages_not_tokens)
{
    static struct made m;
    struct ucb_err err;
    make(&m, 2, 1);
    m.samples[1].n_tokens = 3;
    m.samples[0].sum_logp = -1;
    m.samples[1].sum_logp = -5;
    CHECK_OK(compute(&per_passage, &m, NULL, &err), err);
    CHECK_NEAR(must_find("ppl")->value, exp(3), 1e-13 * exp(3));
    CHECK(find("token_ppl") == NULL);
}

TEST(perplexity_per_word_counts_the_words_of_scored_documents_once)
{
    static struct made m;
    struct ucb_err err;
    make(&m, 2, 4);
    m.document[1] = 0; /* both windows lie in document 0 of two */
    m.samples[0].sum_logp = -3;
    m.samples[1].sum_logp = -5;
    m.documents[0] = (struct ucb_document){4, 16, "a"};
    m.documents[1] = (struct ucb_document){1000, 5000, "b"};
    CHECK_STATUS(compute(&per_word, &m, NULL, &err), UCB_USAGE, err);
    m.all.documents = m.documents;
    CHECK_OK(compute(&per_word, &m, NULL, &err), err);
    CHECK_NEAR(must_find("ppl")->value, exp(2), 1e-13);
    CHECK_NEAR(must_find("byte_ppl")->value, exp(0.5), 1e-14);
    CHECK_NEAR(must_find("bits_per_byte")->value, 0.5 / log(2), 1e-15);
    CHECK_NEAR(must_find("token_ppl")->value, exp(1), 1e-14);
    m.all.n_documents = 0;
    CHECK_STATUS(compute(&per_word, &m, NULL, &err), UCB_USAGE, err);
}

TEST(one_document_gives_values_without_intervals)
{
    static struct made m;
    struct ucb_err err;
    make(&m, 1, 2);
    agree(&m);
    m.samples[0].sum_logp = -2;
    m.samples[0].t1_gt_hits = 1; /* of two */
    CHECK_OK(compute(&per_token, &m, &m, &err), err);
    static const char *const names[] = {"ppl", "ppl_ratio", "kld_mean", "ear", "t1_gt"};
    for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
        const struct ucb_metric *metric = must_find(names[k]);
        CHECK(isfinite(metric->value) && isnan(metric->low) && isnan(metric->high) &&
              metric->n == 1);
        CHECK_TEXT(metric->interval, "none");
        CHECK_HAS(metric->note, "one document");
    }
}

TEST(a_rate_is_wilson_only_where_each_document_is_one_trial)
{
    static struct made m;
    struct ucb_err err;
    make(&m, 10, 1);
    for (size_t i = 0; i < 3; i++) m.samples[i].t1_gt_hits = 1;
    CHECK_OK(compute(&per_token, &m, NULL, &err), err);
    const struct ucb_metric *rate = must_find("t1_gt");
    CHECK_TEXT(rate->interval, "wilson");
    /* 3 of 10 with z = 1.9599639845400545, from (x + z^2/2 -+ z sqrt(x (n-x)/n + z^2/4)) /
     * (n + z^2) */
    CHECK_NEAR(rate->low, 0.10779126740630090, 1e-12);
    CHECK_NEAR(rate->high, 0.60322185253885465, 1e-12);
    m.samples[9].n_tokens = 2;
    CHECK_OK(compute(&per_token, &m, NULL, &err), err);
    CHECK_TEXT(must_find("t1_gt")->interval, "t-cluster");
    CHECK_TEXT(must_find("t10_gt")->interval,
               "wilson"); /* no hit in any document: ten verdicts */
    CHECK(must_find("t10_gt")->low == 0 && must_find("t10_gt")->high > 0.2);
}

TEST(retention_needs_a_reference_that_was_right_somewhere)
{
    static struct made before, after;
    struct ucb_err err;
    make(&before, 20, 1);
    make(&after, 20, 1);
    after.samples[3].target_correct = 1;
    CHECK_OK(compute(&per_passage, &after, &before, &err), err);
    CHECK(find("retention") == NULL && find("t1_ret") == NULL);
    before.samples[3].target_correct =
        1; /* one of 20: most resamples miss it now and then */
    CHECK_OK(compute(&per_passage, &after, &before, &err), err);
    CHECK(must_find("retention")->value == 1 && isnan(must_find("retention")->low));
    CHECK_HAS(must_find("retention")->note, "some resamples hold no hit");
    for (size_t i = 0; i < 16; i++) before.samples[i].target_correct = 1;
    for (size_t i = 0; i < 12; i++) after.samples[i].target_correct = 1;
    CHECK_OK(compute(&per_passage, &after, &before, &err), err);
    CHECK(must_find("retention")->value == 0.75);
    CHECK(must_find("retention")->low < 0.65 && must_find("retention")->high > 0.85 &&
          must_find("retention")->high <= 1);
    CHECK_TEXT(must_find("retention")->interval, "bootstrap");
}

TEST(resampled_and_linearised_ratio_agree_on_tame_documents_and_say_when_not)
{
    static struct made before, after;
    struct ucb_err err;
    make(&before, 60, 1);
    make(&after, 60, 1);
    for (size_t i = 0; i < 60; i++)
        after.samples[i].sum_logp = -0.01 * (double)((i * 37) % 60);
    CHECK_OK(compute(&per_passage, &after, &before, &err), err);
    const struct ucb_metric *t = must_find("ppl_ratio"),
                            *bca = must_find("ppl_ratio_bootstrap");
    CHECK(t->value == bca->value && must_find("ppl_ratio_interval_gap")->value < 0.1 &&
          t->note == NULL);
    CHECK_NEAR(t->low, bca->low, 0.1 * (t->high - t->low));
    after.samples[7].sum_logp = -40; /* one passage holds nearly all the damage */
    CHECK_OK(compute(&per_passage, &after, &before, &err), err);
    t = must_find("ppl_ratio");
    bca = must_find("ppl_ratio_bootstrap");
    double gap = fmax(fabs(t->low - bca->low), fabs(t->high - bca->high)) /
                 (t->high - t->low);
    CHECK(gap > 0.1);
    CHECK_NEAR(must_find("ppl_ratio_interval_gap")->value, gap, 1e-15);
    CHECK_TEXT(t->note,
               ucb_test_path("t and BCa intervals differ by %.0f%% of the former's width",
                             100 * gap));
}

TEST(metrics_are_the_same_bits_whatever_order_the_windows_had)
{
    static struct made there, back;
    static struct ucb_metric kept[UCB_MAX_METRICS];
    struct ucb_err err;
    make(&there, 50, 2);
    for (size_t i = 0; i < 50; i++)
        there.samples[i].sum_logp = -0.1 * (double)((i * 29) % 50) - 1;
    make(&back, 50, 2);
    for (size_t i = 0; i < 50; i++) {
        back.samples[i].sum_logp = there.samples[49 - i].sum_logp;
        back.document[i] = there.document[49 - i];
    }
    CHECK_OK(compute(&per_token, &there, &there, &err), err);
    size_t n_kept = n_metrics;
    memcpy(kept, metrics, sizeof(kept));
    CHECK_OK(compute(&per_token, &back, &back, &err), err);
    CHECK_EQ(n_metrics, n_kept);
    for (size_t i = 0; i < n_kept; i++)
        CHECK(memcmp(&kept[i].value, &metrics[i].value, 3 * sizeof(double)) == 0);
}

TEST(flips_are_counted_in_both_directions)
{
    static struct made before, after;
    struct ucb_err err;
    make(&before, 10, 1);
    make(&after, 10, 1);
    for (size_t i = 0; i < 6; i++) before.samples[i].target_correct = 1;
    for (size_t i = 4; i < 7; i++) after.samples[i].target_correct = 1;
    CHECK_OK(compute(&per_passage, &after, &before, &err), err);
    CHECK_EQ(must_find("flips_lost")->value, 4);
    CHECK_EQ(must_find("flips_won")->value, 1);
    CHECK_NEAR(must_find("accuracy_difference")->value, -0.3, 1e-15);
    CHECK_TEXT(must_find("accuracy_difference")->interval, "newcombe");
    CHECK_NEAR(must_find("mcnemar_p")->value, 12.0 / 32, 1e-15);    /* 2 (1 + 5) / 2^5 */
    CHECK_NEAR(must_find("mcnemar_mid_p")->value, 7.0 / 32, 1e-15); /* less 5 / 2^5 */
    CHECK_NEAR(must_find("mcnemar_worse_p")->value, 6.0 / 32, 1e-15);
}

TEST(kld_quantiles_run_over_all_tokens)
{
    static struct made m;
    struct ucb_err err;
    make(&m, 5, 2);
    for (size_t i = 0; i < 10; i++) m.kld[i / 2][i % 2] = (float)(9 - i);
    for (size_t i = 0; i < 5; i++)
        m.samples[i].kld_sum = (double)m.kld[i][0] + (double)m.kld[i][1];
    CHECK_OK(compute(&per_token, &m, &m, &err), err);
    CHECK_EQ(must_find("kld_mean")->value * 2, 9);
    CHECK_EQ(must_find("kld_p50")->value * 2, 9);
    CHECK_NEAR(must_find("kld_p90")->value, 8.1, 1e-15);
    CHECK_EQ(must_find("kld_max")->value, 9);
    CHECK_EQ(must_find("kld_max")->n, 10);
    m.kld[2][1] = NAN;
    CHECK_OK(compute(&per_token, &m, &m, &err), err);
    CHECK(isnan(must_find("kld_p50")->value) && isnan(must_find("kld_max")->value));
}

TEST(a_model_that_broke_is_reported_not_refused)
{
    static struct made good, bad;
    struct ucb_err err;
    make(&good, 3, 1);
    make(&bad, 3, 1);
    bad.samples[1].sum_logp = -INFINITY;
    CHECK_OK(compute(&per_token, &bad, &good, &err), err);
    CHECK(isinf(must_find("ppl")->value) && isnan(must_find("ppl")->low));
    CHECK(isinf(must_find("ppl_ratio")->value));
    bad.samples[1].sum_logp = NAN;
    CHECK_OK(compute(&per_token, &bad, &good, &err), err);
    CHECK(isnan(must_find("ppl")->value));
    CHECK_TEXT(must_find("ppl")->interval, "none");
}

TEST(two_cells_on_different_items_are_refused)
{
    static struct made a, b;
    struct ucb_err err;
    make(&a, 3, 2);
    make(&b, 3, 2);
    b.all.n = 2;
    CHECK_STATUS(compute(&per_token, &a, &b, &err), UCB_USAGE, err);
    b.all.n = 3;
    b.samples[2].n_tokens = 1;
    CHECK_STATUS(compute(&per_token, &a, &b, &err), UCB_USAGE, err);
    CHECK_HAS(err.text, "item 2");
    b.samples[2].n_tokens = 2;
    b.document[1] = 0;
    CHECK_STATUS(compute(&per_token, &a, &b, &err), UCB_USAGE, err);
    b.document[1] = 1;
    CHECK_OK(compute(&per_token, &a, &b, &err), err);
    a.samples[0].kld = NULL;
    CHECK_STATUS(compute(&per_token, &a, &b, &err), UCB_USAGE, err);
}

TEST(no_items_and_empty_items_are_refused)
{
    static struct made m;
    struct ucb_err err;
    make(&m, 2, 1);
    m.all.n = 0;
    CHECK_STATUS(compute(&per_token, &m, NULL, &err), UCB_USAGE, err);
    m.all.n = 2;
    m.samples[1].n_tokens = 0;
    CHECK_STATUS(compute(&per_token, &m, NULL, &err), UCB_USAGE, err);
    CHECK_HAS(err.text, "item 1 has no scored token");
}

TEST(every_refused_allocation_is_answered_with_nomem)
{
    static struct made m;
    struct ucb_err err;
    make(&m, 5, 1);
    agree(&m);
    ucb_status status = UCB_NOMEM;
    for (long n = 1; n < 100 && status == UCB_NOMEM; n++) {
        ucb_mem_fail_after(n);
        status = compute(&per_passage, &m, &m, &err);
        CHECK(n > 1 || status == UCB_NOMEM);
    }
    ucb_mem_fail_after(0);
    CHECK_OK(status, err);
}
