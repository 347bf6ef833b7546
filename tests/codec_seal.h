/*
 * codec_seal.h - puts right the checksums over changed bytes of a codec's stream, so that
 * the readers behind them see the damage. What no longer adds up to a stream is left alone.
 */
#ifndef UCB_TESTS_CODEC_SEAL_H
#define UCB_TESTS_CODEC_SEAL_H

#include <string.h>

#include "codec/codec_internal.h"

static inline void codec_seal(uint8_t *bytes, size_t n_bytes)
{
    if (n_bytes < CODEC_HEADER_BYTES || bytes[8] >= N_FORMATS || bytes[9] >= 32) return;
    uint64_t grain = (uint64_t)codec_formats[bytes[8]].width << bytes[9],
             n_decoded = ucb_load_u64(bytes + 16), tables = ucb_load_u32(bytes + 24);
    uint64_t n_chunks = n_decoded / grain + (n_decoded % grain != 0),
             room = n_bytes - CODEC_HEADER_BYTES, from = 0;
    if (n_chunks > room / CODEC_ENTRY_BYTES) return;
    size_t n_index = n_chunks * CODEC_ENTRY_BYTES;
    if (tables > room - n_index) return;
    uint8_t *index = bytes + CODEC_HEADER_BYTES, *data = index + n_index;
    for (uint64_t i = 0; i < n_chunks; i++) {
        uint8_t *entry = index + i * CODEC_ENTRY_BYTES;
        uint64_t end = ucb_load_u64(entry) & CODEC_END_MASK;
        if (end >= from && end <= room - n_index - tables) {
            uint64_t sum = ucb_mix64(data + from, end - from);
            memcpy(entry + 16, &sum, sizeof(sum));
        }
        from = end;
    }
    uint64_t sum = codec_head_sum(bytes, n_index, bytes + n_bytes - tables, tables);
    memcpy(bytes + CODEC_CHECKED_BYTES, &sum, sizeof(sum));
}

#endif
