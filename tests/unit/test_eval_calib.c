/* Chains that need calibration among others in one evaluation, and what a chain that takes
 * matrices outside the scope is charged for. */
#include "test.h"

#include <string.h>

#include "calib_fixture.h"
#include "eval/eval.h"

enum { N_IDS = 20, VOCABULARY = 258, HIDDEN = 64 };

/* One window, one item: all of its positions but the first are scored. */
struct one_item {
    uint32_t ids[N_IDS];
    struct ucb_window window;
    struct ucb_item item;
    struct ucb_document document;
    struct ucb_items items;
};

static void make_item(struct one_item *o)
{
    for (uint32_t i = 0; i < N_IDS; i++) o->ids[i] = (i * 37 + 11) % 256;
    o->window = (struct ucb_window){.ids = o->ids, .n_ids = N_IDS};
    o->item = (struct ucb_item){.window = 0, .from = 0, .to = N_IDS - 1};
    o->document = (struct ucb_document){.name = "made up"};
    o->items = (struct ucb_items){.windows = &o->window,
                                  .n_windows = 1,
                                  .items = &o->item,
                                  .n_items = 1,
                                  .documents = &o->document,
                                  .n_documents = 1,
                                  .dataset = "made up"};
}

/* Runs the original, then the chains as one group; results are the caller's to free. */
static void evaluate(struct calib_fixture *f, enum ucb_scope scope,
                     const struct ucb_calib_text *calib,
                     const struct ucb_chain *const *chains, size_t n,
                     struct ucb_eval_result *results)
{
    static struct one_item one;
    struct ucb_eval_options options = {.backend = f->backend,
                                       .pool = f->pool,
                                       .scope = scope,
                                       .seed = 1,
                                       .model_digest = f->digest,
                                       .batch = 16,
                                       .memory_bytes = (uint64_t)1 << 30,
                                       .cache = f->options.cache,
                                       .calib = calib};
    const struct ucb_items *sets[] = {&one.items};
    struct ucb_eval_result original;
    struct ucb_progress progress;
    struct ucb_eval *eval;
    struct ucb_err err;
    make_item(&one);
    ucb_progress_start(&progress, "test", 1);
    CHECK_OK(ucb_eval_open(f->model, &options, sets, 1, &eval, &err), err);
    CHECK_OK(ucb_eval_original(eval, f->none, &progress, &original, &err), err);
    CHECK_OK(ucb_eval_group(eval, chains, n, &progress, results, &err), err);
    ucb_eval_result_free(&original);
    ucb_eval_close(eval);
}

TEST(a_chain_that_needs_calibration_runs_beside_one_that_does_not)
{
    struct calib_fixture f;
    struct ucb_eval_result found[2];
    calib_fixture_open(&f, 2, 16);
    struct ucb_chain chain = fixture_chain(UCB_NEEDS_H, true);
    const struct ucb_chain *chains[] = {f.none, &chain};
    evaluate(&f, UCB_SCOPE_BODY, &f.text, chains, 2, found);
    CHECK_OK(found[0].status, found[0].err);
    CHECK_OK(found[1].status, found[1].err);
    CHECK(found[0].samples[0][0].kld_sum == 0);
    CHECK(found[1].samples[0][0].kld_sum > 0);
    CHECK_EQ(fixture_method.n_noted, 7 * FIXTURE_LAYERS);
    CHECK_EQ(fixture_noted("layers.1.mlp.up")->calib.n_tokens,
             FIXTURE_WINDOWS * FIXTURE_CTX);
    for (int i = 0; i < 2; i++) ucb_eval_result_free(&found[i]);
    calib_fixture_close(&f);
}

TEST(a_chain_without_its_calibration_fails_alone)
{
    struct calib_fixture f;
    struct ucb_eval_result found[2];
    calib_fixture_open(&f, 1, 16);
    struct ucb_chain chain = fixture_chain(UCB_NEEDS_DIAG, false);
    const struct ucb_chain *chains[] = {&chain, f.none};
    evaluate(&f, UCB_SCOPE_BODY, NULL, chains, 2, found);
    CHECK_EQ(found[0].status, UCB_USAGE);
    CHECK_HAS(found[0].err.text, "fixture needs a calibration text");
    CHECK_OK(found[1].status, found[1].err);
    for (int i = 0; i < 2; i++) ucb_eval_result_free(&found[i]);
    calib_fixture_close(&f);
}

/* The model's head is tied: the embedding is written once, and the head follows it. */
static void check_extra(enum ucb_scope scope)
{
    struct calib_fixture f;
    struct ucb_eval_result found[2];
    const uint64_t embedding = (uint64_t)VOCABULARY * HIDDEN,
                   body = FIXTURE_LAYERS * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 128);
    calib_fixture_open(&f, 1, 16);
    fixture_method.takes_embedding = true;
    struct ucb_chain chain = fixture_chain(UCB_NEEDS_NONE, false);
    const struct ucb_chain *chains[] = {&chain, f.none};
    evaluate(&f, scope, NULL, chains, 2, found);
    const struct ucb_tally *t = &found[0].tally;
    CHECK_OK(found[0].status, found[0].err);
    bool inside = scope != UCB_SCOPE_BODY; /* a tied head is the embedding */
    CHECK_EQ(t->n_weights, body + (inside ? embedding : 0));
    CHECK_EQ(t->part_bytes[UCB_PART_CODES], 4 * t->n_weights);
    CHECK_EQ(t->stored_bytes, 2 * t->n_weights);
    CHECK_EQ(t->extra_bytes, inside ? 0 : 4 * embedding);
    CHECK_EQ(t->extra_stored_bytes, inside ? 0 : 2 * embedding);
    CHECK(!fixture_noted("embed_tokens")->has_calib);
    CHECK(found[0].samples[0][0].kld_sum > 0);
    CHECK_OK(found[1].status, found[1].err);
    CHECK(found[1].samples[0][0].kld_sum == 0);
    CHECK_EQ(found[1].tally.n_weights, t->n_weights);
    for (int i = 0; i < 2; i++) ucb_eval_result_free(&found[i]);
    calib_fixture_close(&f);
}

TEST(matrices_taken_outside_the_scope_count_for_the_models_size_only)
{
    check_extra(UCB_SCOPE_BODY);
    check_extra(UCB_SCOPE_LINEAR);
    check_extra(UCB_SCOPE_ALL);
}

TEST(the_bits_of_a_model_do_not_depend_on_the_scope_that_a_method_overrules)
{
    struct calib_fixture f;
    struct ucb_eval_result found[2];
    calib_fixture_open(&f, 1, 16);
    fixture_method.takes_embedding = true;
    struct ucb_chain chain = fixture_chain(UCB_NEEDS_NONE, false);
    const struct ucb_chain *chains[] = {&chain};
    evaluate(&f, UCB_SCOPE_BODY, NULL, chains, 1, &found[0]);
    fixture_forget();
    evaluate(&f, UCB_SCOPE_ALL, NULL, chains, 1, &found[1]);
    CHECK(found[0].samples[0][0].sum_logp == found[1].samples[0][0].sum_logp);
    CHECK_TEXT(found[0].weights_digest, found[1].weights_digest);
    for (int i = 0; i < 2; i++) ucb_eval_result_free(&found[i]);
    calib_fixture_close(&f);
}
