/*
 * lowrank - adds u v of a small rank to what the stages before decode: the best such
 * correction of W - W' under a metric.
 *
 *     metric=plain   least || R - u v ||, R = W - W'
 *     metric=diag    least || (R - u v) D ||, D_ii = sqrt(E[x_i^2] + d)       (QERA-approx)
 *     metric=exact   least || (R - u v) L ||, L L^T = E[x x^T] + d 1          (QERA-exact):
 *                    the least mean square error of the outputs, plus d || R - u v ||^2
 *
 * d = damp * mean_i E[x_i^2]. Without statistics (embedding, head, an expert that saw no
 * token) every metric is plain. The rank is min(n_out, n_in) at most. Components come by
 * descending singular value, || u_j || = || v_j ||; the scalar alpha = 1 of UltraCompress
 * is folded in. What is decoded is u v of the factors AS STORED.
 *
 * Payload, r = rank, v [r][n_in] before u [n_out][r]:
 *
 *     store=fp16     v, u in half precision
 *     store=int8     codes of v (int8), scales of v (fp16 [r]), codes of u, scales of u:
 *                    one scale a component and side, the peak / 127; value = code * scale
 *     store=packed   the bytes of fp16 without loss: high bytes of v, low bytes of v, the
 *                    same of u, each a length (u32) and a stream of core/entropy.h
 */
#include <assert.h>
#include <string.h>

#include "core/half.h"
#include "lowrank/lowrank.h"
#include "method/payload.h"

static const char *const metrics[] = {"plain", "diag", "exact", NULL};
static const char *const stores[] = {"fp16", "int8", "packed", NULL};
static const struct ucb_knob knobs[] = {
    {"rank", "columns of u and rows of v", "32", UCB_KNOB_INT, 1, 4096, NULL},
    {"metric",
     "what the correction makes small: the weights' error (plain), by each input's "
     "size (diag), or the outputs' error (exact)",
     "plain", UCB_KNOB_CHOICE, 0, 0, metrics},
    {"store", "the factors: fp16, int8, or fp16 packed by an entropy coder", "fp16",
     UCB_KNOB_CHOICE, 0, 0, stores},
    {"damp", "added to each mean square of diag and exact, of their mean", "1e-6",
     UCB_KNOB_REAL, 1e-9, 10, NULL},
    {NULL, NULL, NULL, UCB_KNOB_INT, 0, 0, NULL},
};

static struct lowrank_layout get_layout(const struct ucb_job *job,
                                        const struct ucb_matrix *matrix)
{
    size_t rank = (size_t)ucb_job_value(job, "rank"),
           most = matrix->n_out < matrix->n_in ? matrix->n_out : matrix->n_in;
    return (struct lowrank_layout){
        .n_out = matrix->n_out,
        .n_in = matrix->n_in,
        .rank = rank < most ? rank : most,
        .metric = (enum lowrank_metric)ucb_job_value(job, "metric"),
        .store = (enum lowrank_store)ucb_job_value(job, "store"),
        .damp = ucb_job_value(job, "damp"),
    };
}

static uint32_t needs(const struct ucb_job *job)
{
    static const uint32_t of_metric[] = {UCB_NEEDS_NONE, UCB_NEEDS_DIAG, UCB_NEEDS_H};
    return of_metric[(size_t)ucb_job_value(job, "metric")];
}

/* Of a stage alone, which never happens: a chain deploys what its first stage does. */
static enum ucb_dtype decoded_dtype(const struct ucb_job *job, enum ucb_dtype source)
{
    (void)job;
    (void)source;
    return UCB_F32;
}

static double nominal_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    struct lowrank_layout l = get_layout(job, matrix);
    double bits = l.store == LOWRANK_INT8 ? 8 : 16;
    return bits * (double)(l.rank * (l.n_out + l.n_in)) / (double)(l.n_out * l.n_in);
}

/* "5 bits per weight" of the tiers leaves the factors out. */
static double claimed_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job, (void)matrix;
    return 0;
}

/* ---- encode ---- */

static ucb_status new_factors(struct ucb_arena *arena, const struct lowrank_layout *l,
                              const char *name, struct lowrank_factors *out,
                              struct ucb_err *err)
{
    out->u = UCB_NEW(arena, float, l->n_out * l->rank);
    out->v = UCB_NEW(arena, float, l->rank * l->n_in);
    if (out->u != NULL && out->v != NULL) return UCB_OK;
    return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for factors of rank %zu", name, l->rank);
}

/* Matrices that read one input share its statistics, and then their factor. */
static ucb_status encode(struct ucb_job *job, const struct ucb_source *src, uint32_t n_src,
                         struct ucb_writer *const *out, struct ucb_err *err)
{
    struct lowrank_weight weight = {0};
    for (uint32_t i = 0; i < n_src; i++) {
        const struct ucb_matrix *matrix = src[i].matrix;
        struct lowrank_layout l = get_layout(job, matrix);
        struct lowrank_factors factors;
        assert(src[i].before != NULL);
        if (i == 0 || src[i].calib != src[i - 1].calib)
            UCB_TRY(lowrank_weigh(job, &l, src[i].calib, matrix->name, &weight, err));
        UCB_TRY(new_factors(job->scratch, &l, matrix->name, &factors, err));
        UCB_TRY(lowrank_fit(job, &l, &src[i], &weight, &factors, err));
        UCB_TRY(lowrank_write(job, &l, &factors, matrix->name, out[i], err));
    }
    return UCB_OK;
}

/* ---- decode ---- */

struct state {
    const struct ucb_matrix *matrix;
    struct lowrank_layout layout;
    struct lowrank_factors factors; /* behind this struct */
    float values[];
};

static size_t state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    struct lowrank_layout l = get_layout(job, matrix);
    return sizeof(struct state) + l.rank * (l.n_out + l.n_in) * sizeof(float);
}

static ucb_status open_payload(struct ucb_job *job, const struct ucb_matrix *matrix,
                               struct ucb_reader *in, void *state, struct ucb_err *err)
{
    struct state *s = state;
    s->matrix = matrix;
    s->layout = get_layout(job, matrix);
    s->factors.v = s->values;
    s->factors.u = s->values + s->layout.rank * s->layout.n_in;
    return lowrank_read(job, &s->layout, matrix, in, &s->factors, err);
}

static void decode(const void *state, uint32_t row, uint32_t n, float *acc)
{
    const struct state *s = state;
    lowrank_add(&s->layout, s->factors.u, s->factors.v, row, n, acc);
}

static ucb_status inspect(struct ucb_job *job, const void *state, ucb_inspect_emit *emit,
                          void *context, struct ucb_err *err)
{
    const struct state *s = state;
    const struct lowrank_layout *l = &s->layout;
    uint64_t shape_u[2] = {l->n_out, l->rank}, shape_v[2] = {l->rank, l->n_in};
    (void)job;
    UCB_TRY(emit(context, "factor_u", UCB_F32, 2, shape_u, s->factors.u, err));
    return emit(context, "factor_v", UCB_F32, 2, shape_v, s->factors.v, err);
}

/*
 * store=packed: the values as store=fp16 has them. Its coders are serial, so a device gets
 * what open() decoded.
 */
static ucb_status device_plan(struct ucb_job *job, const void *state, const uint8_t *bytes,
                              struct ucb_writer *out, struct ucb_err *err)
{
    const struct state *s = state;
    size_t n = s->layout.rank * (s->layout.n_out + s->layout.n_in);
    (void)job, (void)bytes;
    if (s->layout.store != LOWRANK_PACKED) return UCB_OK;
    for (size_t i = 0; i < n; i++) ucb_put_u16(out, ucb_f16_from_f32(s->values[i]));
    return ucb_writer_status(out, err);
}

/* ---- for a stage that tunes ---- */

enum { PARAM_U, PARAM_V, N_PARAMS };

static ucb_status unfreeze(struct ucb_job *job, const void *state,
                           struct ucb_param list[UCB_MAX_PARAMS], uint32_t *n,
                           struct ucb_err *err)
{
    const struct state *s = state;
    const struct lowrank_layout *l = &s->layout;
    struct lowrank_factors own;
    UCB_TRY(new_factors(job->arena, l, s->matrix->name, &own, err));
    list[PARAM_U] = (struct ucb_param){"U", own.u, l->n_out * l->rank};
    list[PARAM_V] = (struct ucb_param){"V", own.v, l->rank * l->n_in};
    memcpy(own.u, s->factors.u, list[PARAM_U].n * sizeof(*own.u));
    memcpy(own.v, s->factors.v, list[PARAM_V].n * sizeof(*own.v));
    *n = N_PARAMS;
    return UCB_OK;
}

static void decode_with(const void *state, const struct ucb_param *list, uint32_t row,
                        uint32_t n, float *acc)
{
    const struct state *s = state;
    lowrank_add(&s->layout, list[PARAM_U].value, list[PARAM_V].value, row, n, acc);
}

static ucb_status pull_back(struct ucb_job *job, const void *state,
                            const struct ucb_param *list, const float *d_weight,
                            float *const *d_param, struct ucb_err *err)
{
    const struct state *s = state;
    (void)err;
    lowrank_pull_back(job->pool, &s->layout, list[PARAM_U].value, list[PARAM_V].value,
                      d_weight, d_param[PARAM_U], d_param[PARAM_V]);
    return UCB_OK;
}

static ucb_status freeze(struct ucb_job *job, const void *state,
                         const struct ucb_param *list, struct ucb_writer *out,
                         struct ucb_err *err)
{
    const struct state *s = state;
    struct lowrank_factors moved = {list[PARAM_U].value, list[PARAM_V].value};
    return lowrank_write(job, &s->layout, &moved, s->matrix->name, out, err);
}

const struct ucb_method ucb_method_lowrank = {
    .name = "lowrank",
    .summary = "adds a correction of low rank to the stages before it",
    .source = "Zhang et al. 2024 (QERA); plain: the correction of UltraCompress 0.5.0",
    .revision = 1,
    .kind = UCB_ADD,
    .knobs = knobs,
    .n_shown = 1, /* rank */
    .needs = needs,
    .decoded_dtype = decoded_dtype,
    .nominal_bpw = nominal_bpw,
    .claimed_bpw = claimed_bpw,
    .state_bytes = state_bytes,
    .encode = encode,
    .open = open_payload,
    .decode = decode,
    .unfreeze = unfreeze,
    .decode_with = decode_with,
    .pull_back = pull_back,
    .freeze = freeze,
    .device_plan = device_plan,
    .inspect = inspect,
};
