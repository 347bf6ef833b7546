/*
 * The whole program on the reference model: items of each protocol against
 * spec/evaluation.md, section 7, reference values computed with PyTorch 2.15.0 and
 * transformers 5.23.0 in float32 on the dequantized weights.
 *
 * The fewest items that pin a protocol: what cuts windows, picks positions or conditions on
 * BOS wrongly is wrong in the first window already. Skipped where model or data is not at
 * hand.
 */
#include "test.h"

#include <math.h>
#include <sqlite3.h>

#include "core/err.h"
#include "model/catalog.h"
#include "tiny.h"

enum { MAX_ITEMS = 16 };

/* What the database says about the items of a cell, in their order. */
struct scored {
    size_t n;
    int n_tokens[MAX_ITEMS], correct[MAX_ITEMS];
    double sum_logp[MAX_ITEMS];
};

/* Section 8: every window NLL within this, every passage's ll within WORST_LL and on
 * average within MEAN_LL. */
#define WINDOW_NLL 2e-5
#define WORST_LL 5e-4
#define MEAN_LL 5e-5

static void read_items(const char *db, struct scored *out)
{
    static const char query[] =
        "SELECT n_tokens, target_correct, sum_logp FROM items ORDER BY item";
    sqlite3 *connection;
    sqlite3_stmt *rows;
    CHECK(sqlite3_open_v2(db, &connection, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK);
    CHECK(sqlite3_prepare_v2(connection, query, -1, &rows, NULL) == SQLITE_OK);
    for (out->n = 0; sqlite3_step(rows) == SQLITE_ROW; out->n++) {
        CHECK(out->n < MAX_ITEMS);
        out->n_tokens[out->n] = sqlite3_column_int(rows, 0);
        out->correct[out->n] = sqlite3_column_int(rows, 1);
        out->sum_logp[out->n] = sqlite3_column_double(rows, 2);
    }
    sqlite3_finalize(rows);
    sqlite3_close(connection);
}

/* Scores the reference model on one task. */
static void sweep(const char *task, struct scored *out)
{
    static char text[1 << 14], model[4096];
    struct ucb_err err;
    const char *shared = ucb_test_shared(),
               *db = ucb_test_path("%s/reference.db", ucb_test_folder());
    if (shared == NULL) SKIP("no shared folder with data/ (set UCBENCH_SHARED)");
    if (ucb_model_locate("smollm2-135m", NULL, model, sizeof(model), &err) != UCB_OK)
        SKIP("%s", err.text);
    int code = ucb_run_program(
        text, sizeof(text),
        "sweep --quiet --arithmetic fp32 --method none --model %s --task %s --data %s/data "
        "--db %s",
        model, task, shared, db);
    if (code != 0)
        ucb_test_fail(__FILE__, __LINE__, "sweep of %s: exit %d: %s", task, code, text);
    read_items(db, out);
}

/*
 * Windows of n_tokens scored positions each against their mean negative log-likelihoods. A
 * window that reaches into the next article is several items, whose sums are added.
 */
static void check_windows(const struct scored *found, int n_tokens, const double *nll,
                          size_t n_windows)
{
    size_t item = 0;
    for (size_t w = 0; w < n_windows; w++) {
        double sum = 0;
        int left = n_tokens;
        for (; left > 0 && item < found->n; item++) {
            left -= found->n_tokens[item];
            sum -= found->sum_logp[item];
        }
        CHECK_EQ(left, 0);
        CHECK_NEAR(sum / n_tokens, nll[w], WINDOW_NLL);
    }
    CHECK_EQ(item, found->n);
}

TEST(lambada_lines_0_to_9_score_as_the_reference_does)
{
    static const double ll[] = {-5.02836,  -5.18411, -0.71064, -0.24610, -2.98365,
                                -10.34383, -1.42293, -1.69869, -3.72605, -4.05803};
    static const int correct[] = {0, 0, 1, 1, 0, 0, 1, 1, 0, 0};
    struct scored found;
    double off = 0;
    sweep("lambada:n=10", &found);
    CHECK_EQ(found.n, 10);
    for (size_t i = 0; i < 10; i++) {
        CHECK_NEAR(found.sum_logp[i], ll[i], WORST_LL);
        CHECK_EQ(found.correct[i], correct[i]);
        off += fabs(found.sum_logp[i] - ll[i]);
    }
    CHECK_NEAR(off / 10, 0, MEAN_LL);
}

/* The third window reaches into the second article. */
TEST(the_second_halves_of_windows_of_512_score_as_the_reference_does)
{
    static const double nll[] = {2.561436, 3.562748, 3.219441};
    struct scored found;
    sweep("wikitext:ctx=512,half=1,n=3", &found);
    CHECK_EQ(found.n, 4);
    check_windows(&found, 255, nll, 3);
}

TEST(every_position_of_a_window_of_512_scores_as_the_reference_does)
{
    static const double nll[] = {3.043367};
    struct scored found;
    sweep("wikitext:ctx=512,n=1", &found);
    check_windows(&found, 511, nll, 1);
}

TEST(windows_of_1024_of_the_joined_lines_score_as_the_reference_does)
{
    static const double nll[] = {2.645120};
    struct scored found;
    sweep("wikitext:ctx=1024,join=hf,n=1", &found);
    check_windows(&found, 1023, nll, 1);
}

/*
 * Page 0 is one window of 1407 positions that begins with BOS: the longest here. 0.01 is
 * the 3e-6 relative by which the section's two programs agree on a page; a wrong BOS or
 * detokenizer moves the sum by whole nats.
 */
TEST(the_first_page_of_wikitext_words_scores_as_the_reference_does)
{
    struct scored found;
    sweep("wikitext-words:n=1", &found);
    CHECK_EQ(found.n, 1);
    CHECK_EQ(found.n_tokens[0], 1407);
    CHECK_NEAR(found.sum_logp[0], -3315.260, 0.01);
}
