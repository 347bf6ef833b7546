/*
 * stream.h - the stream of matrices that side data is fitted on, where there is one matrix.
 */
#ifndef UCB_METHOD_STREAM_H
#define UCB_METHOD_STREAM_H

#include "method/method.h"

struct ucb_one_matrix {
    const struct ucb_source *source;
    bool given;
    struct ucb_stream stream;
};
/* Sets one->stream to give `source` (borrowed) and then nothing; *one stays where it is. */
void ucb_stream_of_one(struct ucb_one_matrix *one, const struct ucb_source *source);

#endif
