/* Layers that a device decodes beside the products of another: what an evaluation finds is
 * what it finds on the CPU, whatever the order of streams, the room and the failures; and
 * the work is queued before the products, not after. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "backend/cuda.h"
#include "calib_fixture.h"
#include "core/file.h"
#include "cuda_fixture.h"
#include "cuda_spy.h"
#include "eval/eval.h"
#include "synthetic.h"

enum { N_IDS = 24, MOST_CHAINS = 4, LAYERS = 3, MATRICES = 7 };

/* An evaluation whose original has run, of one window whose positions are all scored. */
struct bench {
    struct calib_fixture f;
    struct ucb_backend *backend;
    uint32_t ids[N_IDS];
    struct ucb_window window;
    struct ucb_item item;
    struct ucb_document document;
    struct ucb_items items;
    const struct ucb_items *sets[1];
    struct ucb_chain *chain[MOST_CHAINS];
    size_t n_chains;
    struct ucb_eval *eval;
    struct ucb_eval_result original, result[MOST_CHAINS];
    struct ucb_progress progress;
};

static void make_items(struct bench *b)
{
    for (uint32_t i = 0; i < N_IDS; i++) b->ids[i] = (i * 37 + 11) % 256;
    b->window = (struct ucb_window){.ids = b->ids, .n_ids = N_IDS};
    b->item = (struct ucb_item){.window = 0, .from = 0, .to = N_IDS - 1};
    b->document = (struct ucb_document){.name = "made up"};
    b->items = (struct ucb_items){.windows = &b->window,
                                  .n_windows = 1,
                                  .items = &b->item,
                                  .n_items = 1,
                                  .documents = &b->document,
                                  .n_documents = 1,
                                  .dataset = "made up"};
    b->sets[0] = &b->items;
}

static void open_bench(struct bench *b, enum ucb_kernel kernel, const char *const *specs)
{
    const struct synthetic_shape shape = {"deep", LAYERS, 64, 4, 2, 16, 128, 300, true};
    const char *folder = ucb_test_path("%s/deep", ucb_test_folder());
    struct ucb_err err;
    CHECK_OK(ucb_folder_make(folder, &err), err);
    CHECK_EQ(synthetic_write(folder, &shape), 0);
    calib_fixture_open_model(&b->f, folder, 1, 16);
    make_items(b);
    CHECK_OK(ucb_backend_open(UCB_ARITH_FP32, kernel, b->f.pool, &b->backend, &err), err);
    for (b->n_chains = 0; specs[b->n_chains] != NULL; b->n_chains++)
        CHECK_OK(
            ucb_chain_parse(specs[b->n_chains], &b->f.arena, &b->chain[b->n_chains], &err),
            err);
    struct ucb_eval_options options = {.backend = b->backend,
                                       .pool = b->f.pool,
                                       .scope = UCB_SCOPE_BODY,
                                       .seed = 1,
                                       .model_digest = b->f.digest,
                                       .batch = 16,
                                       .memory_bytes = (uint64_t)1 << 30,
                                       .cache = b->f.options.cache,
                                       .calib = &b->f.text};
    ucb_progress_start(&b->progress, "test", 1);
    CHECK_OK(ucb_eval_open(b->f.model, &options, b->sets, 1, &b->eval, &err), err);
    CHECK_OK(ucb_eval_original(b->eval, b->f.none, &b->progress, &b->original, &err), err);
}

static ucb_status run_group(struct bench *b, struct ucb_err *err)
{
    return ucb_eval_group(b->eval, (const struct ucb_chain *const *)b->chain, b->n_chains,
                          &b->progress, b->result, err);
}

static void close_bench(struct bench *b)
{
    for (size_t i = 0; i < b->n_chains; i++) ucb_eval_result_free(&b->result[i]);
    ucb_eval_result_free(&b->original);
    ucb_eval_close(b->eval);
    ucb_backend_close(b->backend);
    calib_fixture_close(&b->f);
}

static void check_equal(const struct ucb_eval_result *found,
                        const struct ucb_eval_result *expected)
{
    CHECK_EQ(found->status, expected->status);
    CHECK_TEXT(found->weights_digest, expected->weights_digest);
    CHECK_EQ(found->tally.n_decoded_twice, expected->tally.n_decoded_twice);
    CHECK_EQ(found->tally.n_decodes_differing, 0);
    if (expected->status != UCB_OK) {
        CHECK_TEXT(found->err.text, expected->err.text);
        return;
    }
    struct ucb_sample x = found->samples[0][0], y = expected->samples[0][0];
    CHECK(memcmp(x.kld, y.kld, x.n_tokens * sizeof(float)) == 0);
    x.kld = y.kld = NULL;
    CHECK(memcmp(&x, &y, sizeof(x)) == 0);
}

/* One multiplies in its own arithmetic, one is calibrated on the layers before. */
static const char *const several[] = {"int8:threshold=6", "gptq:group=64", "none",
                                      "rtn:bits=4,group=-1+residual", NULL};

static void check_group(const char *order, const char *const *specs)
{
    static struct bench cpu, gpu;
    struct ucb_err err;
    use_emulated_cuda(order);
    open_bench(&cpu, UCB_KERNEL_AUTO, specs);
    open_bench(&gpu, UCB_KERNEL_CUDA, specs);
    CHECK_OK(run_group(&cpu, &err), err);
    CHECK_OK(run_group(&gpu, &err), err);
    for (size_t i = 0; i < cpu.n_chains; i++) {
        CHECK_OK(cpu.result[i].status, cpu.result[i].err);
        check_equal(&gpu.result[i], &cpu.result[i]);
    }
    close_bench(&gpu);
    close_bench(&cpu);
}

TEST(a_group_that_is_decoded_ahead_as_late_as_may_be_scores_as_on_the_cpu)
{
    check_group("forward", several);
}

TEST(a_group_that_is_decoded_ahead_by_blocks_in_reverse_scores_as_on_the_cpu)
{
    check_group("reverse", several);
}

TEST(a_group_that_is_decoded_ahead_in_random_order_scores_as_on_the_cpu)
{
    check_group("random:11", several);
}

/* Three layers: the states of the original and of what is tuned change places. */
TEST(what_is_tuned_on_its_own_inputs_or_the_originals_scores_as_on_the_cpu)
{
    static const char *const tuned[] = {"nf4+lowrank:rank=4+distill:steps=1",
                                        "nf4+lowrank:rank=4+distill:steps=1,online=1",
                                        NULL};
    check_group("random:12", tuned);
}

/* nf4 that refuses layer 1, which is loaded while layer 0 still has to run. */
static ucb_status encode_one_layer(struct ucb_job *job, const struct ucb_source *src,
                                   uint32_t n_src, struct ucb_writer *const *out,
                                   struct ucb_err *err)
{
    struct ucb_chain *nf4;
    struct ucb_arena arena = {0};
    if (src[0].matrix->layer == 1)
        return UCB_FAIL(err, UCB_UNSUPPORTED, "%s: refused", src[0].matrix->name);
    UCB_TRY(ucb_chain_parse("nf4", &arena, &nf4, err));
    ucb_status status = nf4->stages[0].method->encode(job, src, n_src, out, err);
    ucb_arena_free(&arena);
    return status;
}

TEST(a_method_that_fails_on_a_layer_fails_as_on_the_cpu_and_its_neighbours_do_not)
{
    static const char *const specs[] = {"nf4", "fp4", NULL};
    static struct bench cpu, gpu;
    struct bench *both[] = {&cpu, &gpu};
    struct ucb_err err;
    use_emulated_cuda("forward");
    for (int first = 0; first < 2; first++) { /* alone, and beside fp4 */
        struct ucb_method refuses;
        for (int k = 0; k < 2; k++) {
            open_bench(both[k], k == 0 ? UCB_KERNEL_AUTO : UCB_KERNEL_CUDA, specs);
            if (first == 0) both[k]->n_chains = 1;
            refuses = *both[k]->chain[0]->stages[0].method;
            refuses.encode = encode_one_layer;
            both[k]->chain[0]->stages[0].method = &refuses;
            CHECK_OK(run_group(both[k], &err), err);
        }
        CHECK_EQ(cpu.result[0].status, UCB_UNSUPPORTED);
        CHECK_HAS(cpu.result[0].err.text, "layer 1: ");
        for (size_t i = 0; i < cpu.n_chains; i++)
            check_equal(&gpu.result[i], &cpu.result[i]);
        close_bench(&gpu);
        close_bench(&cpu);
    }
}

TEST(the_next_layer_is_queued_before_the_products_of_this_one_and_nobody_waits_for_it)
{
    static const char *const specs[] = {"nf4", NULL};
    static struct bench gpu;
    struct ucb_err err;
    use_emulated_cuda("forward");
    open_bench(&gpu, UCB_KERNEL_CUDA, specs);
    cuda_spy_begin(ucb_backend_cuda(gpu.backend), true);
    CHECK_OK(run_group(&gpu, &err), err);
    cuda_spy_end();
    CHECK_OK(gpu.result[0].status, gpu.result[0].err);
    /* Both layers, then products; no wait since the first weight of the second one. */
    const char *seen = cuda_spy_seen();
    size_t n_packs = 0, at = 0;
    for (; seen[at] != 'm'; at++) {
        n_packs += seen[at] == 'p';
        CHECK(n_packs <= MATRICES || seen[at] != 'w');
    }
    CHECK_EQ(n_packs, 2 * MATRICES);
    close_bench(&gpu);
}

/* From what it takes at most, less and less, to little more than the head does. */
TEST(a_device_without_room_for_two_layers_scores_the_same)
{
    static const char *const specs[] = {"nf4", "fp4", NULL};
    static struct bench cpu, gpu;
    struct ucb_err err;
    use_emulated_cuda("random:5");
    open_bench(&cpu, UCB_KERNEL_AUTO, specs);
    CHECK_OK(run_group(&cpu, &err), err);
    uint64_t room = 0;
    for (int i = 0; i < 7; i++) {
        open_bench(&gpu, UCB_KERNEL_CUDA, specs);
        CHECK_OK(run_group(&gpu, &err), err);
        for (size_t k = 0; k < cpu.n_chains; k++)
            check_equal(&gpu.result[k], &cpu.result[k]);
        uint64_t peak = ucb_backend_device_peak_bytes(gpu.backend);
        CHECK(i == 0 || peak <= room);
        room = (i == 0 ? peak : room) * 9 / 10;
        setenv("UCB_EMULATION_MEMORY", ucb_test_path("%llu", (unsigned long long)room), 1);
        close_bench(&gpu);
    }
    close_bench(&cpu);
}

/* Whatever allocation of the host is refused: an error, or the result; then all is well. */
TEST(a_group_that_is_decoded_ahead_survives_memory_that_runs_out)
{
    static const char *const specs[] = {"nf4", NULL};
    static struct bench gpu;
    struct ucb_err err;
    struct ucb_eval_result expected;
    use_emulated_cuda("forward");
    open_bench(&gpu, UCB_KERNEL_CUDA, specs);
    CHECK_OK(run_group(&gpu, &err), err);
    expected = gpu.result[0];
    size_t n_failed = 0, in_a_row = 0; /* some are made up for: the CPU packs */
    for (long n = 1; in_a_row < 8; n += 7) {
        gpu.result[0] = (struct ucb_eval_result){.status = UCB_OK};
        ucb_mem_fail_after(n);
        ucb_status status = run_group(&gpu, &err);
        ucb_mem_fail_after(0);
        if (status == UCB_OK) status = gpu.result[0].status;
        CHECK(status == UCB_OK || status == UCB_NOMEM);
        n_failed += status != UCB_OK;
        in_a_row = status == UCB_OK ? in_a_row + 1 : 0;
        if (status == UCB_OK) check_equal(&gpu.result[0], &expected);
        ucb_eval_result_free(&gpu.result[0]);
    }
    CHECK(n_failed > 10);
    ucb_eval_result_free(&expected);
    close_bench(&gpu);
}
