/*
 * quantize_input.c - see quantize_input.h. Activations go through the same collector as in
 * a sweep, so a method sees the same statistics there and here.
 */
#include "quantize_input.h"

#include <math.h>

#include "core/text.h"

enum { NEAR_TEXT = 512 };

ucb_status ucb_quantize_find(const struct ucb_checkpoint *checkpoint, const char *file,
                             const char *name, struct ucb_arena *arena,
                             const struct ucb_tensor **out, struct ucb_err *err)
{
    char near[NEAR_TEXT];
    size_t n = ucb_checkpoint_n_tensors(checkpoint);
    *out = ucb_checkpoint_find(checkpoint, name);
    if (*out != NULL) return UCB_OK;
    const char **names = UCB_NEW(arena, const char *, n);
    if (names == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu tensor names", n);
    for (size_t i = 0; i < n; i++) names[i] = ucb_checkpoint_tensor(checkpoint, i)->name;
    ucb_text_near(name, names, n, near, sizeof(near));
    return UCB_FAIL(err, UCB_MISSING, "%s holds no tensor %s; %s", file, name, near);
}

/* What is read, and for what. */
struct request {
    const char *file, *name, *spec;
    uint32_t n_in, needs;
    struct ucb_pool *pool;
    struct ucb_arena *arena;
};

static ucb_status check_shape(const struct request *r, const struct ucb_tensor *t,
                              struct ucb_err *err)
{
    if (t->n_dims < 1 || t->n_dims > 2)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s of %s has %u dimensions; activations have 2, [tokens, %u], an "
                        "importance matrix has 1, [%u]",
                        r->name, r->file, t->n_dims, r->n_in, r->n_in);
    uint64_t columns = t->shape[t->n_dims - 1];
    if (columns != r->n_in)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s of %s has %llu columns, the matrix reads %u inputs; give the "
                        "input of this matrix",
                        r->name, r->file, (unsigned long long)columns, r->n_in);
    if (t->n_elements == 0)
        return UCB_FAIL(err, UCB_CORRUPT, "%s of %s holds no token", r->name, r->file);
    if (t->n_dims == 1 && (r->needs & ~(uint32_t)UCB_NEEDS_DIAG) != 0)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s of %s has 1 dimension and so is an importance matrix, and %s "
                        "needs more than that; give activations [tokens, %u]",
                        r->name, r->file, r->spec, r->n_in);
    return UCB_OK;
}

static ucb_status widen(const struct request *r, const struct ucb_tensor *t, float **out,
                        struct ucb_err *err)
{
    float *x = UCB_NEW(r->arena, float, t->n_elements);
    if (x == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %llu values", r->name,
                        (unsigned long long)t->n_elements);
    *out = x;
    return ucb_tensor_widen(t, 0, t->n_elements, x, err);
}

static ucb_status take_importance(const struct request *r, const float *x,
                                  struct ucb_quantize_calib *out, struct ucb_err *err)
{
    double *sq_mean = UCB_NEW(r->arena, double, r->n_in);
    if (sq_mean == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %u values", r->name, r->n_in);
    for (uint32_t i = 0; i < r->n_in; i++) {
        if (!(x[i] >= 0) || isinf(x[i]))
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s of %s: value %u is %g, and a mean of squares is finite and "
                            "not negative",
                            r->name, r->file, i, (double)x[i]);
        sq_mean[i] = x[i];
    }
    out->calib = (struct ucb_calib){.n_tokens = 1, .n_sequences = 1, .sq_mean = sq_mean};
    return UCB_OK;
}

static bool all_zero(const float *x, uint64_t n)
{
    uint64_t i = 0;
    while (i < n && x[i] == 0) i++;
    return i == n;
}

static ucb_status take_activations(const struct request *r, const float *x,
                                   uint64_t n_tokens, struct ucb_quantize_calib *out,
                                   struct ucb_err *err)
{
    if (n_tokens > UINT32_MAX)
        return UCB_FAIL(err, UCB_UNSUPPORTED, "%s of %s: %llu tokens, below 2^32 are read",
                        r->name, r->file, (unsigned long long)n_tokens);
    for (uint64_t i = 0; i < n_tokens * r->n_in; i++)
        if (!isfinite(x[i]))
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s of %s: token %llu, column %llu is %g, and activations are "
                            "finite",
                            r->name, r->file, (unsigned long long)(i / r->n_in),
                            (unsigned long long)(i % r->n_in), (double)x[i]);
    out->x = x;
    out->n_tokens = n_tokens;
    if (r->needs == UCB_NEEDS_NONE) return UCB_OK;
    if (all_zero(x, n_tokens * r->n_in))
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s of %s: every activation is 0, which says nothing of the weights "
            "that matter; give inputs of real tokens",
            r->name, r->file);
    UCB_TRY(ucb_collector_open(r->needs, r->n_in, n_tokens, 1, (uint32_t)n_tokens, r->pool,
                               &out->collector, err));
    ucb_collector_add(out->collector, x, n_tokens);
    ucb_collector_finish(out->collector, &out->calib);
    return UCB_OK;
}

ucb_status ucb_quantize_calib_read(const char *file, const char *name, uint32_t n_in,
                                   const char *spec, uint32_t needs, struct ucb_pool *pool,
                                   struct ucb_arena *arena, struct ucb_quantize_calib *out,
                                   struct ucb_err *err)
{
    const struct request r = {file, name, spec, n_in, needs, pool, arena};
    struct ucb_checkpoint *checkpoint;
    const struct ucb_tensor *t;
    float *x = NULL;
    ucb_status status;
    UCB_TRY(ucb_checkpoint_open(file, &checkpoint, err));
    UCB_TRY_OUT(ucb_quantize_find(checkpoint, file, name, arena, &t, err));
    UCB_TRY_OUT(check_shape(&r, t, err));
    UCB_TRY_OUT(widen(&r, t, &x, err));
    status = t->n_dims == 1 ? take_importance(&r, x, out, err)
                            : take_activations(&r, x, t->shape[0], out, err);
out:
    ucb_checkpoint_close(checkpoint);
    return status;
}

void ucb_quantize_calib_close(struct ucb_quantize_calib *calib)
{
    ucb_collector_close(calib->collector);
    *calib = (struct ucb_quantize_calib){0};
}
