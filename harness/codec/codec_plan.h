/*
 * codec_plan.h - streams of codec.h as a device decodes them: header, index, tables and
 * checksums read on the host, by the code that decodes there too; what is left are chunks
 * whose numbers fit their bytes. For C and CUDA: plain numbers, no other header.
 *
 *     struct codec_plan_head
 *     struct codec_plan_chunk [n_chunks]
 *     struct codec_plan_table [n_tables]
 *     chunks of mode max, decoded: their contexts learn from one element to the next, a
 *     million of them in a row, so no device does that sensibly
 */
#ifndef UCB_CODEC_PLAN_H
#define UCB_CODEC_PLAN_H

#include <stdint.h>

enum { CODEC_PLAN_STORED, CODEC_PLAN_CONSTANT, CODEC_PLAN_FAST, CODEC_PLAN_ENTROPY };
enum {
    CODEC_PLAN_LANES = 32,
    CODEC_PLAN_SLOTS = 4096,
    CODEC_PLAN_START = 1 << 16, /* of every state before the first symbol is encoded, and
                                   what is carried in the lower half */
    CODEC_PLAN_FAST_BITS = 3,
    CODEC_PLAN_FAST_ESCAPE = 7,
    CODEC_PLAN_ESCAPE = 15
};

struct codec_plan_head {
    uint64_t n_chunks, n_tables;
};
/* A chunk of n elements; places are bytes from the beginning of the payload, but of a
 * stored chunk with in_plan set, from the beginning of the plan. */
struct codec_plan_chunk {
    uint64_t out;         /* where its first byte goes */
    uint64_t decoded_sum; /* mix64 of all of them */
    uint64_t symbols;     /* stored: elements; constant: the element; fast: packed ranks;
                             entropy: 32 states */
    uint64_t plane;       /* raw bits: planes of bytes, then the plane of bits */
    uint64_t words, escapes;
    uint32_t n, n_words, n_escapes;
    uint32_t table; /* entropy: its index here */
    uint8_t coder, width, exponent_bits, in_plan;
    uint32_t n_carried; /* entropy: last bytes of the plane of bits that are not there: the
                           end states' lower halves have them, two bytes a lane */
    uint8_t exponent[16]; /* by rank */
};
/* What a state's lowest 12 bits mean: frequency - 1 in bits 0-11, rank in 12-23, symbol in
 * 24-31. */
struct codec_plan_table {
    uint32_t slot[CODEC_PLAN_SLOTS];
};

#endif
