/* tunable.c - see tunable.h. */
#include "method/tunable.h"

#include <string.h>

#include "method/chain_internal.h"

enum { CHUNK_WEIGHTS = 1 << 14 };

/* The opened stages; those before the TUNE stage. */
struct ucb_tunable_stages {
    const struct ucb_matrix *matrix;
    struct ucb_pool *pool;
    uint32_t n;
    struct ucb_job job[UCB_MAX_STAGES];
    void *state[UCB_MAX_STAGES];
    const uint8_t *bytes[UCB_MAX_STAGES]; /* as stored */
    size_t n_bytes[UCB_MAX_STAGES];
    uint32_t first[UCB_MAX_STAGES + 1]; /* parameter of each stage */
    uint64_t fixed_bytes[UCB_N_PARTS];  /* of the stages that stay as they are */
};

const struct ucb_method *ucb_chain_tuner(const struct ucb_chain *chain, struct ucb_job *job)
{
    const struct ucb_stage *last = &chain->stages[chain->n_stages - 1];
    if (last->method->kind != UCB_TUNE) return NULL;
    if (job != NULL) *job = ucb_stage_job(last);
    return last->method;
}

static ucb_status open_one(const struct ucb_chain *chain,
                           const struct ucb_chain_context *context, uint32_t index,
                           struct ucb_tunable *t, struct ucb_err *err)
{
    struct ucb_tunable_stages *s = t->stages;
    struct ucb_job *job = &s->job[index];
    uint32_t n = 0;
    UCB_TRY(ucb_stage_open(chain, index, context, s->matrix, s->bytes[index],
                           s->n_bytes[index], &s->state[index], job, err));
    s->first[index] = t->n_params;
    if (job->method->unfreeze != NULL)
        UCB_TRY(
            job->method->unfreeze(job, s->state[index], &t->param[t->n_params], &n, err));
    for (uint32_t i = 0; i < n; i++) t->is_base[t->n_params++] = index == 0;
    s->first[index + 1] = t->n_params;
    return UCB_OK;
}

static ucb_status put_stage(struct ucb_tunable_stages *s, uint32_t index,
                            const struct ucb_param *param, struct ucb_writer *out,
                            struct ucb_err *err)
{
    const struct ucb_method *method = s->job[index].method;
    ucb_part(out, UCB_PART_CODES);
    if (method->freeze == NULL)
        ucb_put_bytes(out, s->bytes[index], s->n_bytes[index]);
    else
        UCB_TRY(method->freeze(&s->job[index], s->state[index], param, out, err));
    ucb_arena_reset(s->job[index].scratch);
    return ucb_writer_status(out, err);
}

/*
 * A payload says what its bytes are for as a whole, not stage by stage. What the fixed
 * stages hold is the rest: the whole less the header and less what the others write when
 * nothing has moved, which is what they have written already.
 */
static ucb_status count_fixed(struct ucb_tunable *t, const struct ucb_writer *payload,
                              struct ucb_err *err)
{
    struct ucb_tunable_stages *s = t->stages;
    struct ucb_writer probe = {0};
    ucb_status status = UCB_OK;
    ucb_chain_begin_payload(s->n, &probe);
    for (uint32_t i = 0; i < s->n && status == UCB_OK; i++)
        if (s->job[i].method->freeze != NULL)
            status = put_stage(s, i, &t->param[s->first[i]], &probe, err);
    for (int part = 0; part < UCB_N_PARTS && status == UCB_OK; part++) {
        if (probe.part_bytes[part] > payload->part_bytes[part])
            status = UCB_FAIL(err, UCB_CORRUPT,
                              "%s: the stages hold %llu bytes of %s, the payload %llu",
                              s->matrix->name, (unsigned long long)probe.part_bytes[part],
                              ucb_part_name((enum ucb_part)part),
                              (unsigned long long)payload->part_bytes[part]);
        s->fixed_bytes[part] = payload->part_bytes[part] - probe.part_bytes[part];
    }
    ucb_writer_free(&probe);
    return status;
}

ucb_status ucb_tunable_open(const struct ucb_chain *chain,
                            const struct ucb_chain_context *context,
                            const struct ucb_matrix *matrix,
                            const struct ucb_writer *payload, struct ucb_tunable *out,
                            struct ucb_err *err)
{
    _Static_assert(UCB_MAX_TUNABLE_PARAMS >= 2 * UCB_MAX_STAGES, "two of each stage");
    struct ucb_tunable_stages *s = UCB_NEW(context->arena, struct ucb_tunable_stages, 1);
    if (s == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its parameters", matrix->name);
    s->matrix = matrix;
    s->pool = context->pool;
    s->n = chain->n_coded;
    *out = (struct ucb_tunable){.stages = s};
    UCB_TRY(ucb_chain_split(chain, matrix, payload->data, payload->n_bytes, s->bytes,
                            s->n_bytes, err));
    for (uint32_t i = 0; i < s->n; i++) {
        if (out->n_params + UCB_MAX_PARAMS > UCB_MAX_TUNABLE_PARAMS)
            return UCB_FAIL(err, UCB_UNSUPPORTED,
                            "%s: the stages have more than %d kinds of parameters",
                            matrix->name, UCB_MAX_TUNABLE_PARAMS);
        UCB_TRY(open_one(chain, context, i, out, err));
    }
    return count_fixed(out, payload, err);
}

struct decode_run {
    const struct ucb_tunable *t;
    uint32_t rows; /* of a chunk */
    float *w;
};

static void decode_chunk(void *context, size_t chunk)
{
    const struct decode_run *run = context;
    const struct ucb_tunable_stages *s = run->t->stages;
    uint32_t row = (uint32_t)chunk * run->rows, n = s->matrix->n_out - row;
    if (n > run->rows) n = run->rows;
    float *w = run->w + (size_t)row * s->matrix->n_in;
    for (uint32_t i = 0; i < s->n; i++) {
        const struct ucb_method *method = s->job[i].method;
        if (method->unfreeze == NULL)
            method->decode(s->state[i], row, n, w);
        else
            method->decode_with(s->state[i], &run->t->param[s->first[i]], row, n, w);
    }
}

void ucb_tunable_decode(const struct ucb_tunable *t, float *w)
{
    const struct ucb_matrix *m = t->stages->matrix;
    uint32_t rows = CHUNK_WEIGHTS / m->n_in;
    struct decode_run run = {t, rows == 0 ? 1 : rows, w};
    ucb_parallel_for(t->stages->pool, (m->n_out + run.rows - 1) / run.rows, decode_chunk,
                     &run);
}

/* A stage gives the gradients of all its parameters; those that nobody wants go nowhere. */
ucb_status ucb_tunable_pull_back(const struct ucb_tunable *t, const float *d_weight,
                                 float *const *gradient, struct ucb_err *err)
{
    struct ucb_tunable_stages *s = t->stages;
    for (uint32_t i = 0; i < s->n; i++) {
        bool wanted = false;
        for (uint32_t k = s->first[i]; k < s->first[i + 1]; k++)
            wanted |= gradient[k] != NULL;
        if (!wanted) continue;
        UCB_TRY(s->job[i].method->pull_back(&s->job[i], s->state[i], &t->param[s->first[i]],
                                            d_weight, &gradient[s->first[i]], err));
        ucb_arena_reset(s->job[i].scratch);
    }
    return UCB_OK;
}

ucb_status ucb_tunable_freeze(const struct ucb_tunable *t, struct ucb_writer *out,
                              struct ucb_err *err)
{
    struct ucb_tunable_stages *s = t->stages;
    ucb_chain_begin_payload(s->n, out);
    for (uint32_t i = 0; i < s->n; i++) {
        size_t start = out->n_bytes;
        UCB_TRY(put_stage(s, i, &t->param[s->first[i]], out, err));
        ucb_chain_note_length(s->n, i, out, start);
    }
    for (int part = 0; part < UCB_N_PARTS; part++)
        if (part != UCB_PART_CODES)
            ucb_part_moved(out, UCB_PART_CODES, (enum ucb_part)part, s->fixed_bytes[part]);
    return UCB_OK;
}
