/* stream.c - see stream.h. */
#include "method/stream.h"

static ucb_status next(void *context, const struct ucb_source **out, struct ucb_err *err)
{
    struct ucb_one_matrix *one = context;
    (void)err;
    *out = one->given ? NULL : one->source;
    one->given = true;
    return UCB_OK;
}

static void rewind_one(void *context)
{
    struct ucb_one_matrix *one = context;
    one->given = false;
}

void ucb_stream_of_one(struct ucb_one_matrix *one, const struct ucb_source *source)
{
    const struct ucb_matrix *m = source->matrix;
    *one = (struct ucb_one_matrix){.source = source,
                                   .stream = {.n_matrices = 1,
                                              .n_weights = (uint64_t)m->n_out * m->n_in,
                                              .next = next,
                                              .rewind = rewind_one,
                                              .context = one}};
}
