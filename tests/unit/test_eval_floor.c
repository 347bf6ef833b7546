/* The original in a second arithmetic beside the first: an evaluation's noise floor. */
#include "test.h"

#include <string.h>

#include "calib_fixture.h"
#include "eval/eval.h"

enum { N_IDS = 40, N_WINDOWS = 3 };

struct made_items {
    uint32_t ids[N_WINDOWS][N_IDS];
    struct ucb_window windows[N_WINDOWS];
    struct ucb_item items[N_WINDOWS];
    struct ucb_document documents[N_WINDOWS];
    struct ucb_items set;
};

/* One window, item and document each; the first half is context. */
static void make_items(struct made_items *m)
{
    for (uint32_t w = 0; w < N_WINDOWS; w++) {
        for (uint32_t i = 0; i < N_IDS; i++) m->ids[w][i] = (i * 37 + 11 + w * 5) % 256;
        m->windows[w] = (struct ucb_window){.ids = m->ids[w], .n_ids = N_IDS};
        m->items[w] = (struct ucb_item){
            .window = w, .document = w, .from = N_IDS / 2, .to = N_IDS - 1};
        m->documents[w] = (struct ucb_document){.name = "made up"};
    }
    m->set = (struct ucb_items){.windows = m->windows,
                                .n_windows = N_WINDOWS,
                                .items = m->items,
                                .n_items = N_WINDOWS,
                                .documents = m->documents,
                                .n_documents = N_WINDOWS,
                                .dataset = "made up"};
}

/* An evaluation whose original has run. */
struct floor_bench {
    struct calib_fixture f;
    struct made_items made;
    const struct ucb_items *sets[1];
    struct ucb_backend *backend[UCB_N_STRICT_ARITHS];
    struct ucb_eval *eval;
    struct ucb_eval_result original;
    struct ucb_progress progress;
    struct ucb_err err;
};

static void open_bench(struct floor_bench *b, enum ucb_arithmetic arithmetic,
                       unsigned n_threads, uint64_t memory_bytes, bool keep_encoded)
{
    calib_fixture_open(&b->f, n_threads, 16);
    make_items(&b->made);
    b->sets[0] = &b->made.set;
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++)
        CHECK_OK(ucb_backend_open((enum ucb_arithmetic)a, UCB_KERNEL_AUTO, b->f.pool,
                                  &b->backend[a], &b->err),
                 b->err);
    struct ucb_eval_options options = {.backend = b->backend[arithmetic],
                                       .pool = b->f.pool,
                                       .scope = UCB_SCOPE_ALL,
                                       .seed = 1,
                                       .model_digest = b->f.digest,
                                       .batch = n_threads == 1 ? 16 : 7,
                                       .memory_bytes = memory_bytes,
                                       .cache = b->f.options.cache,
                                       .keep_encoded = keep_encoded};
    ucb_progress_start(&b->progress, "test", 1);
    CHECK_OK(ucb_eval_open(b->f.model, &options, b->sets, 1, &b->eval, &b->err), b->err);
    CHECK_OK(ucb_eval_original(b->eval, b->f.none, &b->progress, &b->original, &b->err),
             b->err);
}

static void close_bench(struct floor_bench *b)
{
    ucb_eval_result_free(&b->original);
    ucb_eval_close(b->eval);
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++) ucb_backend_close(b->backend[a]);
    calib_fixture_close(&b->f);
}

static void run_floor(struct floor_bench *b, enum ucb_arithmetic other,
                      struct ucb_eval_result *out)
{
    CHECK_OK(
        ucb_eval_noise_floor(b->eval, NULL, b->backend[other], &b->progress, out, &b->err),
        b->err);
    CHECK_OK(out->status, out->err);
}

static void check_equal(const struct ucb_sample *a, const struct ucb_sample *b)
{
    for (size_t i = 0; i < N_WINDOWS; i++) {
        struct ucb_sample x = a[i], y = b[i];
        CHECK(memcmp(x.kld, y.kld, x.n_tokens * sizeof(float)) == 0);
        x.kld = y.kld = NULL;
        CHECK(memcmp(&x, &y, sizeof(x)) == 0);
    }
}

TEST(the_floor_scores_what_the_original_scores_by_itself_in_that_arithmetic)
{
    for (int first = 0; first < UCB_N_STRICT_ARITHS; first++) {
        enum ucb_arithmetic own = (enum ucb_arithmetic)first,
                            other = (enum ucb_arithmetic) !first;
        static struct floor_bench b, plain;
        struct ucb_eval_result floor;
        open_bench(&plain, other, 1, (uint64_t)1 << 30, false);
        open_bench(&b, own, 1, (uint64_t)1 << 30, false);
        run_floor(&b, other, &floor);
        for (size_t i = 0; i < N_WINDOWS; i++) {
            const struct ucb_sample *found = &floor.samples[0][i],
                                    *expected = &plain.original.samples[0][i],
                                    *reference = &b.original.samples[0][i];
            CHECK(found->sum_logp == expected->sum_logp);
            CHECK_EQ(found->t1_gt_hits, expected->t1_gt_hits);
            CHECK(found->sum_logp != reference->sum_logp);
            CHECK(found->kld_sum > 0 && found->kld_sum < 0.1);
            CHECK(found->ear_sum < found->n_tokens &&
                  found->ear_sum > 0.9 * found->n_tokens);
        }
        /* Counted as of scope body, though the evaluation's is all. */
        CHECK(floor.tally.n_weights < b.original.tally.n_weights);
        ucb_eval_result_free(&floor);
        close_bench(&b);
        close_bench(&plain);
    }
}

TEST(threads_batch_and_spilled_states_leave_the_floor_alone)
{
    static struct floor_bench b, c;
    struct ucb_eval_result expected, found;
    open_bench(&b, UCB_ARITH_FP32, 1, (uint64_t)1 << 30, false);
    run_floor(&b, UCB_ARITH_BF16, &expected);
    for (unsigned n_threads = 1; n_threads <= 3; n_threads += 2) {
        open_bench(&c, UCB_ARITH_FP32, n_threads, 0, n_threads == 3);
        run_floor(&c, UCB_ARITH_BF16, &found);
        check_equal(found.samples[0], expected.samples[0]);
        CHECK_TEXT(found.weights_digest, expected.weights_digest);
        ucb_eval_result_free(&found);
        close_bench(&c);
    }
    ucb_eval_result_free(&expected);
    close_bench(&b);
}

TEST(a_group_after_the_floor_finds_what_it_finds_without)
{
    static struct floor_bench b;
    struct ucb_eval_result floor, found[2];
    struct ucb_chain chain = fixture_chain(UCB_NEEDS_NONE, false);
    const struct ucb_chain *chains[] = {&chain};
    open_bench(&b, UCB_ARITH_FP32, 1, (uint64_t)1 << 30, false);
    for (int k = 0; k < 2; k++) {
        if (k == 1) run_floor(&b, UCB_ARITH_BF16, &floor);
        CHECK_OK(ucb_eval_group(b.eval, chains, 1, &b.progress, &found[k], &b.err), b.err);
        CHECK_OK(found[k].status, found[k].err);
    }
    check_equal(found[1].samples[0], found[0].samples[0]);
    ucb_eval_result_free(&floor);
    for (int k = 0; k < 2; k++) ucb_eval_result_free(&found[k]);
    close_bench(&b);
}

/* Whatever allocation is refused: an error, and an evaluation that works afterwards. */
TEST(a_floor_that_runs_out_of_memory_is_an_error_and_can_be_made_again)
{
    static struct floor_bench b;
    struct ucb_eval_result expected, found;
    open_bench(&b, UCB_ARITH_FP32, 1, (uint64_t)1 << 30, false);
    run_floor(&b, UCB_ARITH_BF16, &expected);
    bool done = false;
    for (long n = 1; !done; n++) {
        CHECK(n < 1000);
        ucb_mem_fail_after(n);
        ucb_status status = ucb_eval_noise_floor(b.eval, NULL, b.backend[UCB_ARITH_BF16],
                                                 &b.progress, &found, &b.err);
        ucb_mem_fail_after(0);
        if (status != UCB_OK) {
            CHECK_EQ(status, UCB_NOMEM);
            continue;
        }
        done = found.status == UCB_OK;
        CHECK(done || found.status == UCB_NOMEM);
        if (done) check_equal(found.samples[0], expected.samples[0]);
        ucb_eval_result_free(&found);
        CHECK(!done || n > 20);
    }
    ucb_eval_result_free(&expected);
    close_bench(&b);
}
