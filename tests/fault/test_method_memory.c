/* Every allocation of an encoder, a decoder and a listing refused in turn: the status says
 * so and nothing leaks. */
#include "test.h"

#include <string.h>

#include "method_fixture.h"

enum { N_OUT = 8, N_IN = 128, MANY = 200 };

static ucb_status discard(void *context, const char *role, enum ucb_dtype dtype,
                          uint32_t n_dims, const uint64_t *shape, const void *data,
                          struct ucb_err *err)
{
    (void)context, (void)role, (void)dtype, (void)n_dims, (void)shape, (void)data,
        (void)err;
    return UCB_OK;
}

/* Of some rows of the weights with themselves: every third is an outlier of 1. */
static ucb_status run_product(struct method_fixture *f, const float *x, struct ucb_err *err)
{
    enum { N_ROWS = 3 };
    float y[N_ROWS * N_OUT];
    struct ucb_product *product;
    UCB_TRY(ucb_product_open(f->chain, &f->context, &f->matrix, f->out.data, f->out.n_bytes,
                             &product, err));
    if (product == NULL) return UCB_OK;
    return ucb_product_run(product, NULL, x, N_ROWS, y, discard, NULL, err);
}

static ucb_status run_all(struct method_fixture *f, const float *w, struct ucb_err *err)
{
    static float decoded[N_OUT * N_IN];
    ucb_arena_free(&f->arena);
    ucb_arena_free(&f->scratch);
    f->context.trace = discard;
    UCB_TRY(fixture_try_encode(f, w, err));
    UCB_TRY(ucb_chain_decode(f->chain, &f->context, &f->matrix, f->out.data, f->out.n_bytes,
                             decoded, NULL, err));
    UCB_TRY(ucb_chain_inspect(f->chain, &f->context, &f->matrix, f->out.data,
                              f->out.n_bytes, discard, NULL, err));
    return run_product(f, w, err);
}

static void refuse_each(const char *spec)
{
    float w[N_OUT * N_IN];
    struct method_fixture f;
    struct ucb_err err;
    long n = 1;
    fill_gaussian(w, N_OUT * N_IN, 1, "memory");
    fixture_open(&f, spec, N_OUT, N_IN, UCB_BF16, 1);
    for (; n < MANY; n++) {
        err.text[0] = '\0';
        ucb_mem_fail_after(n);
        ucb_status status = run_all(&f, w, &err);
        ucb_mem_fail_after(0);
        if (status == UCB_OK) break;
        CHECK_STATUS(status, UCB_NOMEM, err);
        CHECK_HAS(err.text, "no memory");
    }
    CHECK(n > 1 && n < MANY);
    fixture_close(&f);
}

TEST(every_method_reports_the_allocation_that_was_refused)
{
    for (const struct ucb_method *const *m = ucb_methods(); *m != NULL; m++)
        if ((*m)->kind != UCB_TUNE && !(*m)->needs_before)
            refuse_each((*m)->kind == UCB_ADD ? ucb_test_path("nf4+%s", (*m)->name)
                                              : (*m)->name);
    refuse_each("nf4:double_quant=1");
    refuse_each("int8:threshold=1");
    refuse_each("gptq:group=16,act_order=1");
    refuse_each("gsq:init=seed");
    refuse_each("hqq:axis=0,bits=3");
    refuse_each("rtn:sym=0");
    refuse_each("nf4+lowrank:metric=diag,store=int8");
    refuse_each("nf4+lowrank:metric=exact,store=packed");
    refuse_each("lossless:mode=max");
    refuse_each("int5+residual");
}
