/*
 * head_gradient.c - a block of rows at a time: norm, logits of teacher and student, the
 * gradient of the divergence, back through the head and the norm.
 */
#include "model/head_gradient.h"

#include <assert.h>

#include "core/arena.h"

enum { LOGIT_BYTES = 16 << 20, MIN_ROWS = 32, MAX_ROWS = 256 };

/* Buffers of a block of rows. */
struct block {
    struct ucb_backend *backend;
    const struct ucb_arch *arch;
    const struct ucb_final *final;
    float *normed, *z0, *z; /* [rows][hidden], [rows][vocabulary] twice */
    double *divergence;     /* [rows] */
    float factor;
};

static ucb_status make_logits(const struct block *b, const float *x, size_t n_rows,
                              float *z, struct ucb_err *err)
{
    const struct ucb_arch *a = b->arch;
    const struct ucb_final *f = b->final;
    if (a->norm == UCB_NORM_LAYER)
        ucb_layernorm(b->backend, x, n_rows, a->hidden, f->norm, f->norm_bias, a->norm_eps,
                      b->normed);
    else
        ucb_rmsnorm(b->backend, x, n_rows, a->hidden, f->norm, a->norm_eps, b->normed);
    UCB_TRY(ucb_linear(b->backend, f->weight, f->bias, b->normed, n_rows, z, err));
    if (a->final_softcap != 0)
        ucb_softcap(b->backend, z, n_rows * f->weight->n_out, a->final_softcap);
    return UCB_OK;
}

static ucb_status run_block(const struct block *b, const float *teacher,
                            const float *student, size_t n_rows, float *dstudent,
                            struct ucb_err *err)
{
    const struct ucb_arch *a = b->arch;
    const struct ucb_final *f = b->final;
    UCB_TRY(make_logits(b, teacher, n_rows, b->z0, err));
    UCB_TRY(make_logits(b, student, n_rows, b->z, err));
    ucb_divergence_gradient(b->backend, b->z0, n_rows, f->weight->n_out, a->final_softcap,
                            b->factor, b->z, b->divergence);
    UCB_TRY(ucb_linear(b->backend, f->turned, NULL, b->z, n_rows, b->normed, err));
    if (a->norm == UCB_NORM_LAYER)
        return ucb_layernorm_gradient(b->backend, student, b->normed, n_rows, a->hidden,
                                      f->norm, a->norm_eps, dstudent, NULL, NULL, err);
    return ucb_rmsnorm_gradient(b->backend, student, b->normed, n_rows, a->hidden, f->norm,
                                a->norm_eps, dstudent, NULL, err);
}

ucb_status ucb_head_gradient(struct ucb_backend *backend, const struct ucb_arch *arch,
                             const struct ucb_final *final, const float *teacher,
                             const float *student, size_t n_rows, double *loss,
                             float *dstudent, struct ucb_err *err)
{
    size_t ids = final->weight->n_out, hidden = arch->hidden,
           rows = LOGIT_BYTES / (ids * sizeof(float));
    ucb_status status = UCB_OK;
    struct ucb_arena arena;
    double sum = 0;
    assert(n_rows > 0);
    assert(final->turned->n_out == hidden && final->turned->n_in == ids);
    rows = rows < MIN_ROWS ? MIN_ROWS : rows > MAX_ROWS ? MAX_ROWS : rows;
    if (rows > n_rows) rows = n_rows;
    ucb_arena_init(&arena);
    struct block b = {.backend = backend,
                      .arch = arch,
                      .final = final,
                      .normed = UCB_NEW(&arena, float, rows *hidden),
                      .z0 = UCB_NEW(&arena, float, rows *ids),
                      .z = UCB_NEW(&arena, float, rows *ids),
                      .divergence = UCB_NEW(&arena, double, rows),
                      .factor = 1.0f / (float)n_rows};
    if (b.normed == NULL || b.z0 == NULL || b.z == NULL || b.divergence == NULL) {
        status = UCB_FAIL(err, UCB_NOMEM, "no memory for the logits of %zu rows", rows);
        goto out;
    }
    for (size_t row = 0; row < n_rows; row += rows) {
        size_t n = n_rows - row < rows ? n_rows - row : rows, at = row * hidden;
        UCB_TRY_OUT(run_block(&b, teacher + at, student + at, n, dstudent + at, err));
        for (size_t i = 0; i < n; i++) sum += b.divergence[i];
    }
    *loss = sum / (double)n_rows;
out:
    ucb_arena_free(&arena);
    return status;
}
