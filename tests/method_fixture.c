/* method_fixture.c - see method_fixture.h. */
#include "method_fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/half.h"
#include "core/pcg.h"
#include "method/stream.h"
#include "test.h"

enum { MAX_MADE_UP = 512 }; /* widths that one test's process may ask statistics for */

static ucb_status keep(void *context, const char *role, enum ucb_dtype dtype,
                       uint32_t n_dims, const uint64_t *shape, const void *data,
                       struct ucb_err *err)
{
    struct method_fixture *f = context;
    struct emitted *e = &f->emitted[f->n_emitted++];
    (void)err;
    CHECK(f->n_emitted <= sizeof(f->emitted) / sizeof(*f->emitted));
    snprintf(e->role, sizeof(e->role), "%s", role);
    e->dtype = dtype;
    e->n_dims = n_dims;
    e->n = 1;
    for (uint32_t i = 0; i < n_dims; i++) e->n *= e->shape[i] = shape[i];
    e->n_bytes = e->n * ucb_dtype_block_bytes(dtype);
    e->data = ucb_arena_alloc(&f->kept, e->n_bytes);
    memcpy(e->data, data, e->n_bytes);
    return UCB_OK;
}

void fixture_open(struct method_fixture *f, const char *spec, uint32_t n_out, uint32_t n_in,
                  enum ucb_dtype dtype, unsigned n_threads)
{
    struct ucb_err err;
    *f = (struct method_fixture){0};
    CHECK_OK(ucb_chain_parse(spec, &f->kept, &f->chain, &err), err);
    CHECK_OK(ucb_pool_open(n_threads, &f->pool, &err), err);
    f->matrix = (struct ucb_matrix){
        .name = "m", .n_out = n_out, .n_in = n_in, .dtype = dtype};
    f->context = (struct ucb_chain_context){.pool = f->pool,
                                            .arena = &f->arena,
                                            .scratch = &f->scratch,
                                            .seed = 1,
                                            .model_digest = "test",
                                            .trace = keep,
                                            .trace_context = f};
    if (ucb_chain_needs(f->chain) != UCB_NEEDS_NONE) f->calib = made_up_calib(n_in);
}

/* Weights rounded to the matrix's dtype, for methods that restore them. */
static const void *bits_of(struct method_fixture *f, const float *w)
{
    size_t n = (size_t)f->matrix.n_out * f->matrix.n_in;
    uint16_t *half = malloc(n * sizeof(*half));
    if (f->matrix.dtype == UCB_F32) {
        free(half);
        return w;
    }
    for (size_t i = 0; i < n; i++)
        half[i] = f->matrix.dtype == UCB_F16 ? ucb_f16_from_f32(w[i])
                                             : ucb_bf16_from_f32(w[i]);
    free(f->bits);
    return f->bits = half;
}

ucb_status fixture_try_encode(struct method_fixture *f, const float *w, struct ucb_err *err)
{
    struct ucb_source src = {.matrix = &f->matrix, .w = w, .calib = f->calib};
    struct ucb_one_matrix one;
    struct ucb_writer *out = &f->out;
    if (ucb_chain_is_exact(f->chain)) src.bits = bits_of(f, w);
    if (ucb_chain_has_shared(f->chain)) {
        ucb_stream_of_one(&one, &src);
        UCB_TRY(ucb_chain_fit_shared(f->chain, &f->context, &one.stream, &f->shared, err));
        f->context.shared = f->shared.data;
        f->context.n_shared = f->shared.n_bytes;
    }
    return ucb_chain_encode(f->chain, &f->context, &src, 1, &out, err);
}

void fixture_run(struct method_fixture *f, const float *w)
{
    struct ucb_err err;
    struct ucb_arena arena = {0}, scratch = {0};
    size_t n = (size_t)f->matrix.n_out * f->matrix.n_in;
    CHECK_OK(fixture_try_encode(f, w, &err), err);
    struct ucb_chain_context elsewhere = {.pool = f->pool,
                                          .arena = &arena,
                                          .scratch = &scratch,
                                          .shared = f->shared.data,
                                          .n_shared = f->shared.n_bytes};
    f->decoded = UCB_NEW(&f->kept, float, n);
    f->decoded_f32 = UCB_NEW(&f->kept, float, n);
    CHECK_OK(ucb_chain_decode(f->chain, &elsewhere, &f->matrix, f->out.data, f->out.n_bytes,
                              f->decoded, f->decoded_f32, &err),
             err);
    CHECK_OK(ucb_chain_inspect(f->chain, &elsewhere, &f->matrix, f->out.data,
                               f->out.n_bytes, keep, f, &err),
             err);
    ucb_arena_free(&arena);
    ucb_arena_free(&scratch);
}

ucb_status fixture_product(struct method_fixture *f, const float *bias, const float *x,
                           size_t n_rows, float *y, struct ucb_err *err)
{
    struct ucb_arena arena = {0}, scratch = {0};
    struct ucb_chain_context elsewhere = {
        .pool = f->pool, .arena = &arena, .scratch = &scratch};
    struct ucb_product *product;
    ucb_status status = ucb_product_open(f->chain, &elsewhere, &f->matrix, f->out.data,
                                         f->out.n_bytes, &product, err);
    if (status == UCB_OK)
        status = ucb_product_run(product, bias, x, n_rows, y,
                                 f->context.trace == NULL ? NULL : keep, f, err);
    ucb_arena_free(&arena);
    ucb_arena_free(&scratch);
    return status;
}

const struct emitted *fixture_role(const struct method_fixture *f, const char *role)
{
    for (size_t i = 0; i < f->n_emitted; i++)
        if (strcmp(f->emitted[i].role, role) == 0) return &f->emitted[i];
    ucb_test_fail(__FILE__, __LINE__, "%s emitted no %s", ucb_chain_spec(f->chain), role);
}

void fixture_close(struct method_fixture *f)
{
    ucb_pool_close(f->pool);
    free(f->bits);
    ucb_writer_free(&f->out);
    ucb_writer_free(&f->shared);
    ucb_arena_free(&f->kept);
    ucb_arena_free(&f->arena);
    ucb_arena_free(&f->scratch);
}

struct ucb_calib calib_of(const float *x, uint32_t n_tokens, uint32_t n_in,
                          struct ucb_arena *arena)
{
    double *sq = UCB_NEW(arena, double, n_in), *mean = UCB_NEW(arena, double, n_in),
           *peak = UCB_NEW(arena, double, n_in),
           *moment = UCB_NEW(arena, double, (size_t)n_in *n_in);
    CHECK(sq != NULL && mean != NULL && peak != NULL && moment != NULL);
    for (uint32_t t = 0; t < n_tokens; t++)
        for (uint32_t i = 0; i < n_in; i++) {
            double a = fabs((double)x[(size_t)t * n_in + i]);
            mean[i] += a;
            peak[i] = fmax(peak[i], a);
            for (uint32_t j = 0; j <= i; j++)
                moment[(size_t)i * n_in + j] += (double)x[(size_t)t * n_in + i] *
                                                x[(size_t)t * n_in + j];
        }
    for (uint32_t i = 0; i < n_in; i++) {
        mean[i] /= n_tokens;
        for (uint32_t j = 0; j <= i; j++)
            moment[(size_t)j * n_in + i] = moment[(size_t)i * n_in + j] /= n_tokens;
        sq[i] = moment[(size_t)i * n_in + i];
    }
    return (struct ucb_calib){.n_tokens = n_tokens,
                              .n_sequences = 1,
                              .sq_mean = sq,
                              .abs_mean = mean,
                              .abs_max = peak,
                              .second_moment = moment,
                              .sample = x,
                              .n_sample = n_tokens};
}

const struct ucb_calib *made_up_calib(uint32_t n_in)
{
    static struct {
        struct ucb_calib calib;
        uint32_t n_in;
    } made[MAX_MADE_UP];
    static struct ucb_arena arena;
    size_t at = 0;
    while (made[at].n_in != 0 && made[at].n_in != n_in) CHECK(++at < MAX_MADE_UP);
    if (made[at].n_in == n_in) return &made[at].calib;
    uint32_t n_tokens = n_in < 120 ? 2 * n_in + 16 : 256;
    float *x = UCB_NEW(&arena, float, (size_t)n_tokens *n_in);
    CHECK(x != NULL);
    fill_gaussian(x, (size_t)n_tokens * n_in, 1, "made up inputs");
    for (uint32_t t = 0; t < n_tokens; t++) {
        float *row = x + (size_t)t * n_in, shared = row[0];
        for (uint32_t i = 0; i < n_in; i++)
            row[i] = (row[i] + 0.5f * shared) * (1 + 3 * (float)i / (float)n_in);
    }
    made[at].calib = calib_of(x, n_tokens, n_in, &arena);
    made[at].n_in = n_in;
    return &made[at].calib;
}

void fill_gaussian(float *w, size_t n, double deviation, const char *name)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, name);
    for (size_t i = 0; i < n; i++) { /* Box and Muller; 1 - u is never 0 */
        double radius = sqrt(-2 * log(1 - (double)ucb_pcg_unit(&r))),
               turn = 2 * 3.14159265358979 * ucb_pcg_unit(&r);
        w[i] = (float)(deviation * radius * cos(turn));
    }
}

double relative_error(const float *a, const float *b, size_t n)
{
    double off = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        off += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)a[i] * a[i];
    }
    return sqrt(off / all);
}
