/*
 * chain_shared.c - side data: what methods fit once from all matrices of a model, the
 * parts of a chain's stages behind their lengths.
 */
#include <string.h>

#include "method/chain.h"
#include "method/chain_internal.h"

void ucb_chain_find_shared(const struct ucb_chain *chain, uint32_t index,
                           const struct ucb_chain_context *context, struct ucb_job *job)
{
    struct ucb_reader in = {context->shared, context->n_shared, 0};
    const uint8_t *lengths;
    if (chain->stages[index].method->fit_shared == NULL ||
        !ucb_get_bytes(&in, (chain->n_coded - 1) * sizeof(uint64_t), &lengths))
        return;
    for (uint32_t i = 0; i <= index; i++) {
        job->n_shared = i + 1 < chain->n_coded
                            ? ucb_load_u64(lengths + i * sizeof(uint64_t))
                            : ucb_reader_left(&in);
        if (ucb_get_bytes(&in, job->n_shared, &job->shared)) continue;
        job->shared = NULL;
        job->n_shared = 0;
        return;
    }
}

/* The caller's stream; its matrices are looked at as encode looks at them. */
struct checked_stream {
    struct ucb_stream *of;
    const struct ucb_chain_context *context; /* with a scratch arena of its own */
};

static ucb_status next_checked(void *context, const struct ucb_source **out,
                               struct ucb_err *err)
{
    struct checked_stream *s = context;
    UCB_TRY(s->of->next(s->of->context, out, err));
    return *out == NULL ? UCB_OK : ucb_chain_check_source(s->context, *out, err);
}

static void rewind_checked(void *context)
{
    struct checked_stream *s = context;
    s->of->rewind(s->of->context);
}

static ucb_status fit_stage(const struct ucb_chain *chain, uint32_t index,
                            const struct ucb_chain_context *context,
                            struct ucb_stream *stream, struct ucb_writer *out,
                            struct ucb_err *err)
{
    struct ucb_arena marks;
    struct ucb_job job;
    ucb_arena_init(&marks);
    struct ucb_chain_context looking = *context;
    looking.scratch = &marks;
    struct checked_stream checked = {stream, &looking};
    struct ucb_stream seen = {.n_matrices = stream->n_matrices,
                              .n_weights = stream->n_weights,
                              .next = next_checked,
                              .rewind = rewind_checked,
                              .context = &checked};
    ucb_status status = ucb_chain_start_random(chain, index, context, "side data", &job,
                                               err);
    if (status == UCB_OK)
        status = chain->stages[index].method->fit_shared(&job, &seen, out, err);
    stream->rewind(stream->context);
    ucb_arena_reset(context->scratch);
    ucb_arena_reset(context->arena);
    ucb_arena_free(&marks);
    return status;
}

ucb_status ucb_chain_fit_shared(const struct ucb_chain *chain,
                                const struct ucb_chain_context *context,
                                struct ucb_stream *stream, struct ucb_writer *out,
                                struct ucb_err *err)
{
    ucb_writer_reset(out);
    if (!ucb_chain_has_shared(chain)) return UCB_OK;
    ucb_part(out, UCB_PART_HEADER);
    for (uint32_t i = 1; i < chain->n_coded; i++) ucb_put_u64(out, 0);
    for (uint32_t i = 0; i < chain->n_coded; i++) {
        uint64_t start = out->n_bytes;
        if (chain->stages[i].method->fit_shared != NULL)
            UCB_TRY(fit_stage(chain, i, context, stream, out, err));
        UCB_TRY(ucb_writer_status(out, err));
        uint64_t length = out->n_bytes - start;
        if (i + 1 < chain->n_coded)
            memcpy(out->data + i * sizeof(length), &length, sizeof(length));
    }
    return UCB_OK;
}
