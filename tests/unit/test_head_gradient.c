/* The divergence of two sets of hidden states and its gradient, against a head in double
 * and its central differences. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/pcg.h"
#include "model/head_gradient.h"

/* More rows than a block of 256, more ids than a tile of 1024, multiples of nothing. */
enum { IDS = 1101, HIDDEN = 27, ROWS = 260 };

struct head {
    struct ucb_arch arch;
    float *w, *bias, *norm, *norm_bias, *teacher, *student, *dstudent;
    double loss;
};

static float *values(size_t n, const char *name, float scale)
{
    struct ucb_pcg r;
    float *x = malloc(n * sizeof(*x));
    CHECK(x != NULL);
    ucb_pcg_named(&r, 3, name);
    for (size_t i = 0; i < n; i++) x[i] = scale * (2 * ucb_pcg_unit(&r) - 1);
    return x;
}

static struct head make_head(enum ucb_norm norm, float softcap)
{
    return (struct head){.arch = {.norm = norm,
                                  .hidden = HIDDEN,
                                  .norm_eps = 1e-5f,
                                  .final_softcap = softcap},
                         .w = values(IDS * HIDDEN, "w", 1),
                         .bias = values(IDS, "bias", 1),
                         .norm = values(HIDDEN, "norm", 1),
                         .norm_bias = values(HIDDEN, "norm bias", 1),
                         .teacher = values(ROWS * HIDDEN, "teacher", 2),
                         .student = values(ROWS * HIDDEN, "student", 2),
                         .dstudent = values(ROWS * HIDDEN, "nothing", 0)};
}

static void free_head(struct head *h)
{
    float *all[] = {h->w,       h->bias,    h->norm,    h->norm_bias,
                    h->teacher, h->student, h->dstudent};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) free(all[i]);
}

static void *new_packed(const struct ucb_backend *backend, uint32_t n_out, uint32_t n_in)
{
    void *p = ucb_mem_alloc(ucb_pack_bytes(backend, n_out, n_in));
    CHECK(p != NULL);
    return p;
}

/* In slabs of 320 rows, as a large head is packed. */
static void run_head(struct head *h, enum ucb_kernel kernel, unsigned n_threads)
{
    struct ucb_pool *pool;
    struct ucb_backend *backend;
    struct ucb_err err;
    CHECK_OK(ucb_pool_open(n_threads, &pool, &err), err);
    CHECK_OK(ucb_backend_open(UCB_ARITH_FP32, kernel, pool, &backend, &err), err);
    struct ucb_packed weight = {new_packed(backend, IDS, HIDDEN), IDS, HIDDEN},
                      turned = {new_packed(backend, HIDDEN, IDS), HIDDEN, IDS};
    for (uint32_t row = 0; row < IDS; row += 320) {
        uint32_t n = IDS - row < 320 ? IDS - row : 320;
        ucb_pack_rows(backend, h->w + row * HIDDEN, row, n, &weight);
        ucb_pack_transposed_rows(backend, h->w + row * HIDDEN, row, n, &turned);
    }
    struct ucb_final final = {&weight, &turned, h->bias, h->norm, h->norm_bias};
    CHECK_OK(ucb_head_gradient(backend, &h->arch, &final, h->teacher, h->student, ROWS,
                               &h->loss, h->dstudent, &err),
             err);
    ucb_mem_free(weight.data);
    ucb_mem_free(turned.data);
    ucb_backend_close(backend);
    ucb_pool_close(pool);
}

/* Log-probabilities of a row in double. */
static void log_softmax(const struct head *h, const double *x, double out[IDS])
{
    bool is_layer = h->arch.norm == UCB_NORM_LAYER;
    double mean = 0, square = 0, sum = 0, cap = (double)h->arch.final_softcap;
    for (int i = 0; is_layer && i < HIDDEN; i++) mean += x[i] / HIDDEN;
    for (int i = 0; i < HIDDEN; i++) square += (x[i] - mean) * (x[i] - mean) / HIDDEN;
    for (int id = 0; id < IDS; id++) {
        double z = (double)h->bias[id];
        for (int i = 0; i < HIDDEN; i++)
            z += (double)h->w[id * HIDDEN + i] *
                 ((double)h->norm[i] * (x[i] - mean) / sqrt(square + 1e-5) +
                  (is_layer ? (double)h->norm_bias[i] : 0));
        out[id] = cap != 0 ? cap * tanh(z / cap) : z;
        sum += exp(out[id]);
    }
    for (int id = 0; id < IDS; id++) out[id] -= log(sum);
}

static double divergence(const struct head *h, size_t row, const double *student)
{
    double x[HIDDEN], p[IDS], q[IDS], sum = 0;
    for (int i = 0; i < HIDDEN; i++) x[i] = (double)h->teacher[row * HIDDEN + (size_t)i];
    log_softmax(h, x, p);
    log_softmax(h, student, q);
    for (int id = 0; id < IDS; id++) sum += exp(p[id]) * (p[id] - q[id]);
    return sum;
}

/* The loss, and the gradient of some rows. Slopes are of the order of 0.1 / ROWS. */
static void check_head(enum ucb_norm norm, float softcap)
{
    struct head h = make_head(norm, softcap);
    double loss = 0, x[HIDDEN];
    run_head(&h, UCB_KERNEL_AUTO, 2);
    for (size_t row = 0; row < ROWS; row++) {
        for (int i = 0; i < HIDDEN; i++) x[i] = (double)h.student[row * HIDDEN + (size_t)i];
        loss += divergence(&h, row, x) / ROWS;
        for (int i = 0; row % 37 == 0 && i < HIDDEN; i += 5) {
            double at = x[i], step = 1e-5, side;
            x[i] = at + step;
            side = divergence(&h, row, x);
            x[i] = at - step;
            double slope = (side - divergence(&h, row, x)) / (2 * step);
            x[i] = at;
            CHECK_NEAR((double)h.dstudent[row * HIDDEN + (size_t)i] * ROWS, slope, 2e-6);
        }
    }
    CHECK_NEAR(h.loss, loss, 2e-6);
    free_head(&h);
}

TEST(the_gradient_of_a_divergence_is_the_central_difference_of_a_head_in_double)
{
    check_head(UCB_NORM_RMS, 0);
    check_head(UCB_NORM_LAYER, 0);
    check_head(UCB_NORM_RMS, 2);
}

TEST(the_gradient_of_a_divergence_has_the_same_bits_on_every_path)
{
    struct head expected = make_head(UCB_NORM_RMS, 2), h = make_head(UCB_NORM_RMS, 2);
    run_head(&expected, UCB_KERNEL_SCALAR, 1);
    for (int k = UCB_KERNEL_SCALAR; k < UCB_N_KERNELS; k++) {
        if (!ucb_kernel_available((enum ucb_kernel)k, UCB_ARITH_FP32, NULL)) continue;
        run_head(&h, (enum ucb_kernel)k, 1 + (unsigned)k);
        CHECK(h.loss == expected.loss);
        CHECK(memcmp(h.dstudent, expected.dstudent, ROWS * HIDDEN * sizeof(float)) == 0);
    }
    free_head(&expected);
    free_head(&h);
}

TEST(two_equal_sets_of_states_do_not_diverge)
{
    struct head h = make_head(UCB_NORM_RMS, 0);
    memcpy(h.student, h.teacher, ROWS * HIDDEN * sizeof(float));
    run_head(&h, UCB_KERNEL_AUTO, 2);
    CHECK(h.loss == 0);
    for (int i = 0; i < ROWS * HIDDEN; i++) CHECK(h.dstudent[i] == 0);
    free_head(&h);
}
