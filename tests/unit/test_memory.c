/* Memory of an evaluation, counted by what the program allocates: one layer whatever the
 * depth, a slab whatever the vocabulary. And hidden states that were spilled. */
#include "test.h"

#include <string.h>

#include "calib_fixture.h"
#include "core/file.h"
#include "eval/eval.h"
#include "eval/pass.h"
#include "synthetic.h"

enum { WINDOWS = 2, CTX = 40 };

/* The most that the original's pass, its noise floor's and one method's hold beyond what
 * was there before; bytes of the tokens' states are not counted: they are mapped. */
static uint64_t peak_of(const struct synthetic_shape *shape, const char *method,
                        enum ucb_scope scope)
{
    struct calib_fixture f;
    uint32_t ids[WINDOWS][CTX];
    struct ucb_window windows[WINDOWS];
    struct ucb_item items[WINDOWS];
    struct ucb_document document = {.name = "made up"};
    struct ucb_eval_result original, floor, result;
    struct ucb_progress progress;
    struct ucb_backend *other;
    struct ucb_eval *eval;
    struct ucb_chain *chain;
    struct ucb_err err;
    const char *folder = ucb_test_path("%s/%s", ucb_test_folder(), shape->name);
    CHECK_OK(ucb_folder_make(folder, &err), err);
    CHECK_EQ(synthetic_write(folder, shape), 0);
    for (uint32_t w = 0; w < WINDOWS; w++) {
        for (uint32_t i = 0; i < CTX; i++) ids[w][i] = (w * 131 + i * 17) % 256;
        windows[w] = (struct ucb_window){.ids = ids[w], .n_ids = CTX};
        items[w] = (struct ucb_item){.window = w, .from = 0, .to = CTX - 1};
    }
    struct ucb_items set = {.windows = windows,
                            .n_windows = WINDOWS,
                            .items = items,
                            .n_items = WINDOWS,
                            .documents = &document,
                            .n_documents = 1,
                            .dataset = "made up"};
    const struct ucb_items *sets[] = {&set};
    calib_fixture_open_model(&f, folder, 1, 64);
    CHECK_OK(ucb_chain_parse(method, &f.arena, &chain, &err), err);
    struct ucb_eval_options options = {.backend = f.backend,
                                       .pool = f.pool,
                                       .scope = scope,
                                       .seed = 1,
                                       .model_digest = f.digest,
                                       .batch = 64,
                                       .memory_bytes = (uint64_t)1 << 30,
                                       .cache = f.options.cache};
    uint64_t before = ucb_mem_bytes();
    ucb_mem_restart_peak();
    ucb_progress_start(&progress, "test", 1);
    CHECK_OK(ucb_eval_open(f.model, &options, sets, 1, &eval, &err), err);
    CHECK_OK(ucb_eval_original(eval, f.none, &progress, &original, &err), err);
    CHECK_OK(ucb_backend_open(UCB_ARITH_BF16, UCB_KERNEL_AUTO, f.pool, &other, &err), err);
    CHECK_OK(ucb_eval_noise_floor(eval, NULL, other, &progress, &floor, &err), err);
    CHECK_OK(floor.status, floor.err);
    ucb_backend_close(other);
    ucb_eval_result_free(&floor);
    CHECK_OK(ucb_eval_group(eval, (const struct ucb_chain *const *)&chain, 1, &progress,
                            &result, &err),
             err);
    CHECK_OK(result.status, result.err);
    uint64_t peak = ucb_mem_peak_bytes() - before;
    ucb_eval_result_free(&result);
    ucb_eval_result_free(&original);
    ucb_eval_close(eval);
    calib_fixture_close(&f);
    return peak;
}

/* The C library rounds a piece by some tens of bytes, as its neighbours happen to lie. */
enum { ROUNDING = 4096 };

TEST(memory_of_an_evaluation_does_not_grow_with_the_depth)
{
    const struct synthetic_shape shallow = {"shallow", 2, 64, 4, 2, 16, 512, 300, true},
                                 deep = {"deep", 16, 64, 4, 2, 16, 512, 300, true};
    static const char *const methods[] = {"nf4", "hqq:bits=4,group=64,iters=2"};
    for (int i = 0; i < 2; i++)
        CHECK(peak_of(&deep, methods[i], UCB_SCOPE_BODY) <=
              peak_of(&shallow, methods[i], UCB_SCOPE_BODY) + ROUNDING);
}

/* A layer packed, the source and one decoded of its largest matrix: less than two layers.
 * What else the pass needs is activations of 80 rows of 18,000 floats, and scratch. */
TEST(memory_of_an_evaluation_is_less_than_two_layers_and_little_else)
{
    const struct synthetic_shape shape = {"wide", 2, 256, 4, 2, 64, 8192, 300, true};
    uint64_t layer = synthetic_layer_weights(&shape) * sizeof(float);
    uint64_t peak = peak_of(&shape, "nf4", UCB_SCOPE_BODY);
    CHECK(peak > layer);
    CHECK(peak < 2 * layer + (12 << 20));
}

/* Heads of 168 and 336 MB, packed: neither is ever in memory. Logits of some positions are,
 * in about 120 MB however many there are. */
TEST(memory_of_an_evaluation_does_not_grow_with_the_vocabulary_beyond_a_slab)
{
    const struct synthetic_shape less = {"less", 1, 320, 4, 2, 16, 64, 131072, true},
                                 more = {"more", 1, 320, 4, 2, 16, 64, 262144, true},
                                 apart = {"apart", 1, 320, 4, 2, 16, 64, 262144, false};
    uint64_t small = peak_of(&less, "nf4", UCB_SCOPE_BODY),
             large = peak_of(&more, "nf4", UCB_SCOPE_BODY);
    CHECK(small < 140 << 20);
    CHECK(large < small + (8 << 20));
    CHECK(peak_of(&apart, "nf4", UCB_SCOPE_BODY) <= large + ROUNDING);
}

TEST(spilled_states_keep_their_values_when_their_pages_are_released)
{
    enum { N = 1 << 20, WIDTH = 1000 };
    struct ucb_states spilled, kept;
    struct ucb_err err;
    CHECK_OK(ucb_states_alloc(N, true, ucb_test_folder(), &spilled, &err), err);
    CHECK_OK(ucb_states_alloc(N, false, ucb_test_folder(), &kept, &err), err);
    for (size_t i = 0; i < N; i++) spilled.x[i] = kept.x[i] = (float)i;
    ucb_states_release(&spilled, 0, N);
    ucb_states_release(&spilled, 12345, 6789);
    ucb_states_release(&kept, 0, N);
    CHECK(memcmp(spilled.x, kept.x, N * sizeof(float)) == 0);
    CHECK_EQ(ucb_states_stretch(&spilled, WIDTH), (16 << 20) / 4000);
    CHECK(ucb_states_stretch(&kept, WIDTH) == SIZE_MAX);
    ucb_states_free(&spilled);
    ucb_states_free(&kept);
}

/* 1700 windows of 41 rows of 64 floats are a stretch of 16 MB and a little. */
TEST(a_pass_over_spilled_states_gives_the_bits_of_one_in_memory)
{
    enum { N_WINDOWS = 1700, ROWS = 41, HIDDEN = 64 };
    static size_t start[N_WINDOWS + 1];
    static uint32_t ids[N_WINDOWS * ROWS];
    struct calib_fixture f;
    struct ucb_loader *loader;
    struct ucb_forward *forward;
    struct ucb_layer layer;
    struct ucb_tally tally;
    struct ucb_states x[2];
    struct ucb_err err;
    uint8_t unused[UCB_SHA256_BYTES];
    calib_fixture_open(&f, 2, 256);
    ucb_tally_begin(&tally);
    for (size_t w = 0; w <= N_WINDOWS; w++) start[w] = w * ROWS;
    for (size_t i = 0; i < N_WINDOWS * ROWS; i++) ids[i] = (uint32_t)(i * 31 % 256);
    CHECK_OK(ucb_loader_open(f.model, f.backend, f.pool, UCB_SCOPE_BODY, 1, f.digest,
                             &loader, &err),
             err);
    CHECK_OK(
        ucb_forward_open(f.backend, ucb_model_arch(f.model), 256, ROWS, &forward, &err),
        err);
    for (int spill = 0; spill < 2; spill++) {
        CHECK_OK(ucb_states_alloc((size_t)N_WINDOWS * ROWS * HIDDEN, spill == 1,
                                  ucb_test_folder(), &x[spill], &err),
                 err);
        struct ucb_pass pass = {N_WINDOWS, start, HIDDEN, &x[spill]};
        CHECK_OK(ucb_pass_embed(&pass, loader, f.none, &tally, ids, &err), err);
        CHECK_OK(ucb_loader_layer(loader, f.none, 0, &tally, NULL, &layer, &err), err);
        CHECK_OK(ucb_pass_layer(&pass, forward, &layer, NULL, &err), err);
    }
    CHECK_EQ(x[0].n_bytes, x[1].n_bytes);
    CHECK(memcmp(x[0].x, x[1].x, x[0].n_bytes) == 0);
    ucb_states_free(&x[0]);
    ucb_states_free(&x[1]);
    ucb_sha256_final(&tally.digest, unused);
    ucb_forward_close(forward);
    ucb_loader_close(loader);
    calib_fixture_close(&f);
}
