/*
 * residual_plan.h - what a device is told of a residual's payload, for C and CUDA.
 *
 *     struct residual_plan_segment [n_segments]
 *     the plan of the eight classes' streams (harness/codec/codec_plan.h), class after
 *     class from byte 0
 */
#ifndef UCB_METHODS_RESIDUAL_PLAN_H
#define UCB_METHODS_RESIDUAL_PLAN_H

#include <stdint.h>

enum {
    RESIDUAL_CLASSES = 8,
    RESIDUAL_SEGMENT = 1 << 16,
    RESIDUAL_NEIGHBOURS = 64,
    RESIDUAL_DIRECT = 32,                       /* symbols that are z itself */
    RESIDUAL_SYMBOLS = RESIDUAL_DIRECT + 27 * 8 /* all that mean something */
};

struct residual_plan_segment {
    uint64_t first[RESIDUAL_CLASSES]; /* its symbols of each class, in all of them */
    uint64_t end[RESIDUAL_CLASSES];
    uint64_t raw, raw_bytes; /* its raw bits: where in the payload, and how many bytes */
};

#endif
