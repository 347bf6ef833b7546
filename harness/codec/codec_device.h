/*
 * codec_device.h - writes the plan of codec_plan.h.
 */
#ifndef UCB_CODEC_DEVICE_H
#define UCB_CODEC_DEVICE_H

#include "codec/codec.h"
#include "codec/codec_plan.h"

/* A stream, and where its decoded bytes are to go. */
struct ucb_codec_part {
    const struct ucb_codec *codec;
    uint64_t out;
};
/*
 * The plan of n streams; `bytes` is where the payload begins that holds them all. The
 * coded checksum, the tables and the lengths of every chunk are checked; what is left to
 * see while decoding is whether words and escapes suffice and end, and the decoded
 * checksum. Memory from `scratch`. CORRUPT, NOMEM.
 */
ucb_status ucb_codec_plan(const struct ucb_codec_part *parts, unsigned n,
                          const uint8_t *bytes, struct ucb_arena *scratch,
                          struct ucb_writer *out, struct ucb_err *err);

#endif
