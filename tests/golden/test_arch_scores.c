/* The evaluator on every architecture: log-likelihoods of whole sequences against the
 * reference, so that embedding, layers, last norm, bias and cap of a sweep are those of a
 * dump. */
#include "test.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "calib_fixture.h"
#include "core/bytes.h"
#include "core/json.h"
#include "eval/eval.h"
#include "model/checkpoint.h"

enum { MOST_IDS = 128 };

static const char *arch_path(const char *name)
{
    return ucb_test_path("%s/tests/golden/arch/%s", ucb_test_root(), name);
}

/* Ids of a sequence of a case, and its log-likelihood. */
static size_t read_reference(const char *name, int sequence, uint32_t ids[MOST_IDS],
                             double *loglik)
{
    struct ucb_checkpoint *c;
    struct ucb_err err;
    CHECK_OK(ucb_checkpoint_open(ucb_test_path("%s/reference.safetensors", arch_path(name)),
                                 &c, &err),
             err);
    const struct ucb_tensor *t = ucb_checkpoint_find(
                                c, ucb_test_path("input_ids.%d", sequence)),
                            *l = ucb_checkpoint_find(c, "loglik");
    CHECK(t != NULL && l != NULL && t->n_elements <= MOST_IDS && l->dtype == UCB_F64);
    size_t n = t->n_elements;
    for (size_t i = 0; i < n; i++)
        ids[i] = t->dtype == UCB_I64 ? (uint32_t)ucb_load_u64(t->data + 8 * i)
                                     : ucb_load_u32(t->data + 4 * i);
    memcpy(loglik, l->data + (size_t)sequence * sizeof(double), sizeof(double));
    ucb_checkpoint_close(c);
    return n;
}

/* One window, one item: all of its positions but the first. NAN where learned positions end
 * before the window does, which an evaluation refuses. */
static double score(const char *name, const uint32_t *ids, size_t n)
{
    struct calib_fixture f;
    struct ucb_window window = {.ids = ids, .n_ids = (uint32_t)n};
    struct ucb_item item = {.window = 0, .from = 0, .to = (uint32_t)n - 1};
    struct ucb_document document = {.name = "made up"};
    struct ucb_items items = {.windows = &window,
                              .n_windows = 1,
                              .items = &item,
                              .n_items = 1,
                              .documents = &document,
                              .n_documents = 1,
                              .dataset = "made up"};
    const struct ucb_items *sets[] = {&items};
    struct ucb_eval_result result;
    struct ucb_progress progress;
    struct ucb_eval *eval;
    struct ucb_err err;
    calib_fixture_open_model(&f, arch_path(name), 2, 16);
    struct ucb_eval_options options = {.backend = f.backend,
                                       .pool = f.pool,
                                       .scope = UCB_SCOPE_BODY,
                                       .seed = 1,
                                       .model_digest = f.digest,
                                       .batch = 16,
                                       .memory_bytes = (uint64_t)1 << 30,
                                       .cache = f.options.cache};
    ucb_progress_start(&progress, "test", 1);
    const struct ucb_arch *arch = ucb_model_arch(f.model);
    if (arch->positions == UCB_POSITIONS_LEARNED && n - 1 > arch->max_positions) {
        CHECK_STATUS(ucb_eval_open(f.model, &options, sets, 1, &eval, &err), UCB_USAGE,
                     err);
        calib_fixture_close(&f);
        return NAN;
    }
    CHECK_OK(ucb_eval_open(f.model, &options, sets, 1, &eval, &err), err);
    CHECK_OK(ucb_eval_original(eval, f.none, &progress, &result, &err), err);
    double sum = result.samples[0][0].sum_logp;
    ucb_eval_result_free(&result);
    ucb_eval_close(eval);
    calib_fixture_close(&f);
    return sum;
}

static void check_sequence(const char *name, int sequence, double allowed)
{
    uint32_t ids[MOST_IDS];
    double expected;
    size_t n = read_reference(name, sequence, ids, &expected);
    double found = score(name, ids, n);
    if (!(fabs(found - expected) <= allowed))
        ucb_test_fail(__FILE__, __LINE__, "%s: %g, expected %g +- %g", name, found,
                      expected, allowed);
}

TEST(scores_of_every_architecture_are_the_reference_log_likelihoods)
{
    json_t *index, *one;
    struct ucb_err err;
    size_t i;
    CHECK_OK(ucb_json_load(arch_path("index.json"), &index, &err), err);
    json_array_foreach(json_object_get(index, "cases"), i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        double allowed = json_number_value(
            json_object_get(json_object_get(one, "tolerance"), "loglik_abs"));
        check_sequence(name, 1, allowed);
        check_sequence(name, 2, allowed);
    }
    json_decref(index);
}

TEST(only_learned_positions_end)
{
    uint32_t ids[66] = {0};
    CHECK(isnan(score("gpt2-bare-fp32", ids, 66))); /* 65 inputs, 64 positions */
    CHECK(isfinite(score("gpt2-bare-fp32", ids, 64)));
}
