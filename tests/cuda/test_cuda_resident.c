/* Activations that stay on the device: what is copied and what is not, the bits of the CPU
 * whoever reads and writes in between, little memory, failures in the middle, and that a
 * reader or writer who says nothing is found. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../same/kernel_cases.h"
#include "backend/cuda.h"
#include "calib_fixture.h"
#include "core/arena.h"
#include "core/file.h"
#include "core/pcg.h"
#include "cuda_fixture.h"
#include "cuda_spy.h"
#include "synthetic.h"

/* ---- any operations, any ranges ---- */

enum { N = 20000, N_BUFFERS = 3, WIDTH = 50, STEPS = 400 };

/* The same memory twice: as a device has it, and as the CPU does. */
struct twins {
    struct ucb_backend *backend[2]; /* [0] the CPU's */
    float *x[2][N_BUFFERS];
    float *weight; /* [WIDTH], kept by nobody */
};

static void open_twins(struct twins *t)
{
    t->backend[0] = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_SCALAR, NULL);
    t->backend[1] = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_CUDA, NULL);
    t->weight = named_values("weight", WIDTH, 1);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < N_BUFFERS; i++) {
            t->x[k][i] = named_values("x", N, 1);
            if (i > 0) /* one is ordinary memory */
                ucb_backend_keep(t->backend[k], t->x[k][i], N * sizeof(float));
        }
}

static void close_twins(struct twins *t)
{
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < N_BUFFERS; i++) {
            if (i > 0) ucb_backend_forget(t->backend[k], t->x[k][i]);
            free(t->x[k][i]);
        }
    free(t->weight);
    ucb_backend_close(t->backend[0]);
    ucb_backend_close(t->backend[1]);
}

struct step {
    uint32_t what, a, b; /* operation, buffers */
    size_t at, n;
};
enum { N_OPERATIONS = 9 };

static void take_step(struct ucb_backend *b, float *const *x, const float *weight,
                      const struct step *s)
{
    float *y = x[s->a] + s->at;
    const float *other = x[s->b] + s->at;
    size_t rows = s->n / WIDTH;
    switch (s->what) {
    case 0: ucb_add(b, y, other, s->n); break;
    case 1: ucb_clamp(b, y, s->n, 3.0f); break;
    case 2: ucb_activate(b, UCB_ACT_SILU, y, other, s->n, y); break;
    case 3: ucb_activate(b, UCB_ACT_GELU, other, NULL, s->n, y); break;
    case 4: ucb_rmsnorm(b, other, rows, WIDTH, weight, 1e-5f, y); break;
    case 5: ucb_softplus(b, y, s->n); break;
    case 6: ucb_add_scaled(b, y, other, 0.5f, s->n); break;
    case 7:
        ucb_backend_write(b, y, s->n * sizeof(*y));
        for (size_t i = 0; i < s->n; i++) y[i] = (float)((s->at + i) % 17) - 8.0f;
        break;
    default: ucb_backend_read(b, y, s->n * sizeof(*y));
    }
}

static void run_steps(uint64_t seed, bool watches)
{
    struct twins t;
    struct ucb_pcg random;
    struct ucb_err err;
    open_twins(&t);
    cuda_spy_begin(ucb_backend_cuda(t.backend[1]), watches);
    ucb_pcg_named(&random, seed, "steps");
    for (int i = 0; i < STEPS; i++) {
        struct step s = {ucb_pcg_below(&random, N_OPERATIONS),
                         ucb_pcg_below(&random, N_BUFFERS),
                         ucb_pcg_below(&random, N_BUFFERS), ucb_pcg_below(&random, N), 0};
        s.n = ucb_pcg_below(&random, (uint32_t)(N - s.at)) + 1;
        for (int k = 0; k < 2; k++) take_step(t.backend[k], t.x[k], t.weight, &s);
        if (s.what == 8 &&
            memcmp(t.x[0][s.a] + s.at, t.x[1][s.a] + s.at, s.n * sizeof(float)) != 0)
            ucb_test_fail(__FILE__, __LINE__, "seed %d, step %d: other bits", (int)seed, i);
    }
    CHECK_OK(ucb_backend_finish(t.backend[1], &err), err);
    for (int i = 0; i < N_BUFFERS; i++) {
        ucb_backend_read(t.backend[1], t.x[1][i], N * sizeof(float));
        CHECK(memcmp(t.x[0][i], t.x[1][i], N * sizeof(float)) == 0);
    }
    CHECK_OK(ucb_backend_finish(t.backend[1], &err), err);
    cuda_spy_end();
    close_twins(&t);
}

static void check_steps(const char *order, const char *memory, uint64_t seed, bool watches)
{
    use_emulated_cuda(order);
    setenv("UCB_EMULATION_MEMORY", memory, 1);
    run_steps(seed, watches);
}

TEST(operations_on_any_ranges_of_memory_that_a_gpu_holds_give_the_bits_of_the_cpu)
{
    use_real_device();
    for (uint64_t seed = 1; seed < 20; seed++) run_steps(seed, false);
}

TEST(operations_on_any_ranges_of_kept_memory_give_the_bits_of_the_cpu)
{
    check_steps("forward", "1000000000", 1, true);
    check_steps("random:1", "1000000000", 2, false);
}

/* Both buffers at once, one, a part: frames of two buffers take 160 kB. */
TEST(operations_on_kept_memory_for_which_there_is_no_room_give_the_same_bits)
{
    static const char *const memory[] = {"330000", "300000", "250000", "200000", "162000"};
    for (uint64_t i = 0; i < 5; i++)
        check_steps(i % 2 == 0 ? "random:2" : "reverse", memory[i], 3 + i, i < 2);
}

/* ---- who says nothing ---- */

TEST(host_memory_that_is_not_current_holds_nans_on_an_emulated_device)
{
    struct twins t;
    use_emulated_cuda("forward");
    open_twins(&t);
    float *x = t.x[1][1];
    ucb_scale(t.backend[1], x, N, 2.0f);
    for (size_t i = 0; i < N; i++) CHECK(isnan(x[i]));
    ucb_backend_read(t.backend[1], x + 5, sizeof(*x));
    CHECK(x[5] == 2.0f * t.x[0][1][5]);
    CHECK(isnan(x[N - 1])); /* of another block */
    close_twins(&t);
}

TEST(host_code_that_writes_kept_memory_without_saying_so_is_found_on_an_emulated_device)
{
    struct twins t;
    struct ucb_err err;
    use_emulated_cuda("forward");
    open_twins(&t);
    float *x = t.x[1][1];
    for (int current = 0; current < 2; current++) { /* on the device alone, on both */
        ucb_scale(t.backend[1], x, N, 2.0f);
        if (current == 1) ucb_backend_read(t.backend[1], x, N * sizeof(*x));
        CHECK_OK(ucb_backend_finish(t.backend[1], &err), err);
        x[7] = 1.0f;
        ucb_scale(t.backend[1], x, N, 2.0f);
        CHECK(ucb_backend_finish(t.backend[1], &err) != UCB_OK);
        CHECK_HAS(err.text, "without ucb_backend_write()");
        ucb_backend_write(t.backend[1], x, N * sizeof(*x));
        memset(x, 0, N * sizeof(*x));
    }
    close_twins(&t);
}

/* ---- products ---- */

/* y = x w^T where x and y are kept and many times as large as the device, and w nearly. */
TEST(a_product_of_kept_rows_that_no_device_holds_is_made_in_parts_or_of_copies)
{
    enum { OUT = 64, IN = 96, ROWS = 512, SOME = 16 };
    struct ucb_err err;
    use_emulated_cuda("random:4");
    struct ucb_backend *cpu = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL);
    float *x = named_values("x", ROWS * IN, 1), *w = named_values("w", OUT * IN, 1),
          *y = calloc(ROWS * OUT, sizeof(*y)), *expected = malloc(ROWS * OUT * sizeof(*y));
    struct ucb_packed on_cpu = packed_for_test(cpu, w, OUT, IN);
    CHECK_OK(ucb_linear(cpu, &on_cpu, NULL, x, ROWS, expected, &err), err);
    size_t least = ucb_pack_bytes(cpu, OUT, IN) + SOME * (OUT + IN) * sizeof(float);
    for (size_t room = least; room < 8 * least; room += least) {
        setenv("UCB_EMULATION_MEMORY", ucb_test_path("%zu", room), 1);
        struct ucb_backend *gpu = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_CUDA, NULL);
        struct ucb_packed there = packed_for_test(gpu, w, OUT, IN);
        ucb_backend_keep(gpu, x, ROWS * IN * sizeof(*x));
        ucb_backend_keep(gpu, y, ROWS * OUT * sizeof(*y));
        for (size_t row = 0; row < ROWS; row += SOME)
            CHECK_OK(ucb_linear(gpu, &there, NULL, x + row * IN, SOME, y + row * OUT, &err),
                     err);
        ucb_backend_read(gpu, y, ROWS * OUT * sizeof(*y));
        CHECK_OK(ucb_backend_finish(gpu, &err), err);
        CHECK(memcmp(y, expected, ROWS * OUT * sizeof(*y)) == 0);
        CHECK(ucb_backend_device_peak_bytes(gpu) <= room);
        ucb_packed_free(gpu, &there);
        ucb_backend_close(gpu);
    }
    ucb_packed_free(cpu, &on_cpu);
    ucb_backend_close(cpu);
    free(x);
    free(w);
    free(y);
    free(expected);
}

/* Nobody waits for the product, so what replaces its weight does. */
static void decode_weight(struct ucb_cuda *c, const struct ucb_packed *weight,
                          const float *w)
{
    struct ucb_err err;
    void *decoded;
    size_t n_bytes = (size_t)weight->n_out * weight->n_in * sizeof(*w);
    CHECK_OK(ucb_cuda_memory(c, UCB_CUDA_FOR_DECODED, n_bytes, &decoded, &err), err);
    CHECK(ucb_cuda_send(c, decoded, w, n_bytes) == NULL);
    CHECK_OK(ucb_cuda_put_decoded(c, weight, decoded, &err), err);
}

static ucb_status give_rows(void *context, unsigned worker, uint32_t row, uint32_t n_rows,
                            uint32_t end, float *out, struct ucb_err *err)
{
    enum { IN = 40 };
    (void)worker;
    (void)end;
    (void)err;
    memcpy(out, (const float *)context + (size_t)row * IN,
           (size_t)n_rows * IN * sizeof(*out));
    return UCB_OK;
}

TEST(weights_that_are_replaced_while_products_read_them_wait_for_these)
{
    enum { OUT = 192, IN = 40, ROWS = 3, TIMES = 40 };
    static float y[2][TIMES][ROWS * OUT], expected[ROWS * OUT];
    static char name[64];
    struct ucb_err err;
    use_emulated_cuda("random:13");
    struct ucb_backend *cpu = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL),
                       *gpu = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_CUDA, NULL);
    float *x = named_values("x", ROWS * IN, 1), *w = named_values("w", OUT * IN, 1);
    struct ucb_packed there = {name, OUT, IN}, here = packed_for_test(cpu, w, OUT, IN);
    ucb_backend_keep(gpu, x, ROWS * IN * sizeof(*x));
    ucb_backend_keep(gpu, y, sizeof(y));
    for (int i = 0; i < TIMES; i++) {
        w[0] = (float)i;
        decode_weight(ucb_backend_cuda(gpu), &there, w);
        CHECK_OK(ucb_linear(gpu, &there, NULL, x, ROWS, y[0][i], &err), err);
    }
    for (int i = 0; i < TIMES;
         i++) { /* an even number of parts: the last is the second's */
        struct ucb_tiles tiles = {give_rows, w, OUT, IN, i % 2 == 0 ? 32 : 96, 0};
        w[0] = (float)i;
        CHECK_OK(ucb_linear_tiles(gpu, &tiles, NULL, x, ROWS, y[1][i], &err), err);
    }
    ucb_backend_read(gpu, y, sizeof(y));
    CHECK_OK(ucb_backend_finish(gpu, &err), err);
    for (int i = 0; i < TIMES; i++) {
        w[0] = (float)i;
        ucb_pack(cpu, w, &here);
        CHECK_OK(ucb_linear(cpu, &here, NULL, x, ROWS, expected, &err), err);
        CHECK(memcmp(y[0][i], expected, sizeof(expected)) == 0);
        CHECK(memcmp(y[1][i], expected, sizeof(expected)) == 0);
    }
    ucb_cuda_forget(ucb_backend_cuda(gpu), &there);
    ucb_packed_free(cpu, &here);
    ucb_backend_close(gpu);
    ucb_backend_close(cpu);
    free(x);
    free(w);
}

TEST(what_cublas_multiplies_begins_at_256_bytes_wherever_a_batch_begins)
{
    enum { OUT = 7, IN = 30, ROWS = 40, SOME = 3 };
    struct ucb_err err;
    use_emulated_cuda("forward");
    struct ucb_backend *gpu = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_CUDA, NULL);
    float *x = named_values("x", ROWS * IN, 1), *w = named_values("w", OUT * IN, 1),
          y[ROWS * OUT], copied[ROWS * OUT];
    struct ucb_packed weight = packed_for_test(gpu, w, OUT, IN);
    CHECK_OK(ucb_linear(gpu, &weight, NULL, x, ROWS, copied, &err), err);
    ucb_backend_keep(gpu, x, ROWS * IN * sizeof(*x));
    ucb_backend_keep(gpu, y, sizeof(y));
    for (int cublas = 0; cublas < 2; cublas++) {
        cuda_spy_begin(ucb_backend_cuda(gpu), true);
        cuda_spy_as_cublas(cublas);
        for (size_t row = 0, n; row < ROWS; row += n) {
            n = ROWS - row < SOME ? ROWS - row : SOME;
            CHECK_OK(ucb_linear(gpu, &weight, NULL, x + row * IN, n, y + row * OUT, &err),
                     err);
        }
        CHECK_EQ(cuda_spy_alignment() >= 256, cublas);
        cuda_spy_end();
        ucb_backend_read(gpu, y, sizeof(y));
        CHECK_OK(ucb_backend_finish(gpu, &err), err);
        CHECK(memcmp(y, copied, sizeof(y)) == 0);
    }
    ucb_packed_free(gpu, &weight);
    ucb_backend_close(gpu);
    free(x);
    free(w);
}

TEST(scores_read_hidden_states_where_they_are)
{
    enum { IDS = 100, IN = 64, ROWS = 40 };
    struct ucb_err err;
    uint64_t up, down;
    use_emulated_cuda("reverse");
    struct ucb_backend *gpu = backend_for_test(UCB_ARITH_FP32, UCB_KERNEL_CUDA, NULL);
    float *x = named_values("x", ROWS * IN, 1), *w = named_values("w", IDS * IN, 1);
    uint32_t target[ROWS] = {3};
    static struct ucb_position kept[ROWS], copied[ROWS];
    struct ucb_packed weight = packed_for_test(gpu, w, IDS, IN);
    struct ucb_head head = {.weight = &weight, .hidden = x};
    CHECK_OK(ucb_head_score(gpu, &head, 1, target, ROWS, copied, &err), err);
    ucb_backend_keep(gpu, x, ROWS * IN * sizeof(*x));
    cuda_spy_begin(ucb_backend_cuda(gpu), false);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(ucb_head_score(gpu, &head, 1, target, ROWS, kept, &err), err);
        cuda_spy_bytes(&up, &down);
        CHECK_EQ(up, sizeof(target) + (i == 0 ? ROWS * IN * sizeof(*x) : 0));
        CHECK(memcmp(kept, copied, sizeof(kept)) == 0);
    }
    cuda_spy_end();
    ucb_backend_forget(gpu, x);
    ucb_packed_free(gpu, &weight);
    ucb_backend_close(gpu);
    free(x);
    free(w);
}

/* ---- a layer ---- */

enum { LAYERS = 3, HIDDEN = 64, ROWS = FIXTURE_WINDOWS * FIXTURE_CTX };

struct model_run {
    struct calib_fixture f;
    struct ucb_backend *backend;
    struct ucb_loader *loader;
    struct ucb_forward *forward;
    struct ucb_layer layer;
    struct ucb_tally tally;
    float *x; /* [ROWS][HIDDEN] */
};

static void open_run(struct model_run *r, enum ucb_kernel kernel, size_t batch)
{
    const struct synthetic_shape shape = {"deep", LAYERS, HIDDEN, 4, 2, 16, 128, 300, true};
    const char *folder = ucb_test_path("%s/deep", ucb_test_folder());
    struct ucb_err err;
    CHECK_OK(ucb_folder_make(folder, &err), err);
    CHECK_EQ(synthetic_write(folder, &shape), 0);
    calib_fixture_open_model(&r->f, folder, 1, batch);
    CHECK_OK(ucb_backend_open(UCB_ARITH_FP32, kernel, r->f.pool, &r->backend, &err), err);
    ucb_tally_begin(&r->tally);
    CHECK_OK(ucb_loader_open(r->f.model, r->backend, r->f.pool, UCB_SCOPE_BODY, 1,
                             r->f.digest, &r->loader, &err),
             err);
    CHECK_OK(ucb_forward_open(r->backend, ucb_model_arch(r->f.model), batch, FIXTURE_CTX,
                              &r->forward, &err),
             err);
    r->x = malloc(ROWS * HIDDEN * sizeof(*r->x));
    ucb_backend_keep(r->backend, r->x, ROWS * HIDDEN * sizeof(*r->x));
}

static void close_run(struct model_run *r)
{
    uint8_t unused[UCB_SHA256_BYTES];
    ucb_sha256_final(&r->tally.digest, unused);
    ucb_forward_close(r->forward);
    ucb_loader_close(r->loader);
    ucb_backend_forget(r->backend, r->x);
    free(r->x);
    ucb_backend_close(r->backend);
    calib_fixture_close(&r->f);
}

static ucb_status embed(struct model_run *r, struct ucb_err *err)
{
    return ucb_loader_embed(r->loader, r->f.none, &r->tally, r->f.text.ids, FIXTURE_WINDOWS,
                            r->f.start, r->x, err);
}

static ucb_status run_layer(struct model_run *r, uint32_t layer, struct ucb_err *err)
{
    UCB_TRY(ucb_loader_layer(r->loader, r->f.none, layer, &r->tally, NULL, &r->layer, err));
    return ucb_forward_layer(r->forward, &r->layer, FIXTURE_WINDOWS, r->f.start, r->x, err);
}

static ucb_status run_all(struct model_run *r, struct ucb_err *err)
{
    UCB_TRY(embed(r, err));
    for (uint32_t layer = 0; layer < LAYERS; layer++) UCB_TRY(run_layer(r, layer, err));
    ucb_backend_read(r->backend, r->x, ROWS * HIDDEN * sizeof(*r->x));
    return ucb_backend_finish(r->backend, err);
}

/* What the CPU makes of the text; the caller frees it. */
static float *expected_states(size_t batch)
{
    struct model_run cpu;
    struct ucb_err err;
    float *x = malloc(ROWS * HIDDEN * sizeof(*x));
    open_run(&cpu, UCB_KERNEL_AUTO, batch);
    CHECK_OK(run_all(&cpu, &err), err);
    memcpy(x, cpu.x, ROWS * HIDDEN * sizeof(*x));
    close_run(&cpu);
    return x;
}

/* Gains of two norms, starts and positions of the windows of each group. */
TEST(a_llama_layer_on_the_device_copies_no_activations)
{
    enum { BATCH = 36, GROUPS = 3, STATES = ROWS * HIDDEN * sizeof(float) };
    struct model_run gpu;
    struct ucb_err err;
    uint64_t up, down,
        small = GROUPS * 2 * HIDDEN * sizeof(float) +
                (FIXTURE_WINDOWS + GROUPS) * sizeof(size_t) + ROWS * sizeof(uint32_t);
    use_emulated_cuda("random:6");
    float *expected = expected_states(BATCH);
    open_run(&gpu, UCB_KERNEL_CUDA, BATCH);
    cuda_spy_begin(ucb_backend_cuda(gpu.backend), false);
    CHECK_OK(embed(&gpu, &err), err);
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        CHECK_OK(run_layer(&gpu, layer, &err), err);
        cuda_spy_bytes(&up, &down);
        CHECK_EQ(down, 0);
        if (layer > 0) CHECK_EQ(up, small);
    }
    ucb_backend_read(gpu.backend, gpu.x, STATES);
    CHECK_OK(ucb_backend_finish(gpu.backend, &err), err);
    cuda_spy_bytes(&up, &down);
    CHECK_EQ(up, 0);
    CHECK_EQ(down, STATES);
    CHECK(memcmp(gpu.x, expected, STATES) == 0);
    cuda_spy_end();
    close_run(&gpu);
    free(expected);
}

TEST(layers_on_a_gpu_give_the_states_of_the_cpu)
{
    enum { BATCH = 36, STATES = ROWS * HIDDEN * sizeof(float) };
    struct model_run gpu;
    struct ucb_err err;
    use_real_device();
    float *expected = expected_states(BATCH);
    open_run(&gpu, UCB_KERNEL_CUDA, BATCH);
    for (int i = 0; i < 10; i++) {
        CHECK_OK(run_all(&gpu, &err), err);
        CHECK(memcmp(gpu.x, expected, STATES) == 0);
    }
    close_run(&gpu);
    free(expected);
}

/* From what it takes to too little: the right states or an error, and those sizes where
 * copies alone would do are enough. */
TEST(layers_on_a_device_of_any_size_give_the_states_of_the_cpu)
{
    enum { BATCH = 24 };
    struct ucb_err err;
    size_t n_done = 0;
    ucb_status status = UCB_OK;
    use_emulated_cuda("random:8");
    float *expected = expected_states(BATCH);
    uint64_t room = (uint64_t)1 << 30;
    while (status == UCB_OK) {
        struct model_run gpu;
        setenv("UCB_EMULATION_MEMORY", ucb_test_path("%llu", (unsigned long long)room), 1);
        open_run(&gpu, UCB_KERNEL_CUDA, BATCH);
        status = run_all(&gpu, &err);
        if (status == UCB_OK)
            CHECK(memcmp(gpu.x, expected, ROWS * HIDDEN * sizeof(*expected)) == 0);
        uint64_t peak = ucb_backend_device_peak_bytes(gpu.backend);
        CHECK(peak <= room);
        if (status == UCB_OK) room = (n_done++ == 0 ? peak : room) * 9 / 10;
        close_run(&gpu);
    }
    CHECK_EQ(status, UCB_NOMEM);
    /* A weight of 128 columns, 24 rows in and out. */
    CHECK(room < 2 * (128 * HIDDEN + BATCH * (128 + HIDDEN)) * sizeof(float));
    CHECK(n_done > 10);
    free(expected);
}

/* Each copy and each product in turn: the failure is answered,
 * and the next run is right. */
TEST(a_failure_in_the_middle_of_a_layer_is_answered_and_nothing_stale_is_read_after_it)
{
    enum { BATCH = 48 };
    struct model_run gpu;
    struct ucb_err err;
    ucb_status status = UCB_CORRUPT;
    long n = 1;
    use_emulated_cuda("random:9");
    float *expected = expected_states(BATCH);
    open_run(&gpu, UCB_KERNEL_CUDA, BATCH);
    cuda_spy_begin(ucb_backend_cuda(gpu.backend), true);
    for (; status != UCB_OK; n += 11) {
        cuda_spy_fail_after(n);
        status = run_all(&gpu, &err);
        if (status != UCB_OK) CHECK_HAS(err.text, "a planted failure");
        cuda_spy_fail_after(0);
        CHECK_OK(ucb_backend_finish(gpu.backend, &err), err);
        CHECK_OK(run_all(&gpu, &err), err);
        CHECK(memcmp(gpu.x, expected, ROWS * HIDDEN * sizeof(*expected)) == 0);
    }
    CHECK(n > LAYERS * 7);
    cuda_spy_end();
    close_run(&gpu);
    free(expected);
}
