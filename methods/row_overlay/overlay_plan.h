/*
 * overlay_plan.h - what a device is told of a row_overlay payload, for C and CUDA.
 *
 *     struct overlay_device_plan; sign of each column (fp32); of each row kind + 4 place
 *     (u32), the place among the rows of that kind
 */
#ifndef UCB_ROW_OVERLAY_PLAN_H
#define UCB_ROW_OVERLAY_PLAN_H

#include <stdint.h>

/* Places are bytes from the beginning of the payload; those of the books, of the side
 * data. */
struct overlay_device_plan {
    uint64_t first_book, second_book; /* 8 halves an entry */
    uint64_t row_scales, codes, fp16, fp8_scales, fp8;
    uint32_t b1, b2;   /* bits of an index into either book */
    uint32_t rotation; /* columns of a block of the rotation */
    float rotation_scale;
};
/* How a row is stored. */
enum { OVERLAY_PLAN_CODED, OVERLAY_PLAN_FP16, OVERLAY_PLAN_FP8 };

#endif
