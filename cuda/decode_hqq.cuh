/*
 * decode_hqq.cuh - hqq (layout: methods/hqq.c, words: methods/hqq/hqq_pack.c):
 * (code - zero) * scale; alone with meta=fp16 both steps are rounded to half precision. A
 * thread a weight.
 */
#ifndef UCB_CUDA_DECODE_HQQ_CUH
#define UCB_CUDA_DECODE_HQQ_CUH

#include "decode.cuh"

/* The grouped view of hqq/hqq.h. */
struct hqq_layout {
    size_t n, columns, packed_rows, scales, zeros;
    unsigned bits, per_word, word_bytes;
    bool groups_are_rows, half, rounds;
};

static struct hqq_layout hqq_layout_of(const struct ucb_cuda_payload *payload)
{
    struct hqq_layout l;
    size_t group = (size_t)knob(payload, "group");
    l.n = n_weights(payload);
    l.bits = code_bits(payload);
    l.groups_are_rows = knob(payload, "axis") != 0;
    l.half = knob(payload, "meta") == 0;
    l.rounds = l.half && payload->deployed;
    size_t n_groups = l.n / group, rows = l.groups_are_rows ? n_groups : group;
    l.columns = l.groups_are_rows ? group : n_groups;
    l.per_word = l.bits == 3 ? 10 : 8 / l.bits;
    l.word_bytes = l.bits == 3 ? 4 : 1;
    l.packed_rows = (rows + l.per_word - 1) / l.per_word;
    l.scales = l.packed_rows * l.columns * l.word_bytes;
    l.zeros = l.scales + n_groups * (l.half ? 2 : 4);
    return l;
}

__global__ void hqq_kernel(struct hqq_layout l, const uint8_t *bytes, float *out)
{
    size_t i = thread_index();
    if (i >= l.n) return;
    size_t row = i / l.columns, column = i % l.columns,
           g = l.groups_are_rows ? row : column;
    const uint8_t *word = bytes + (row % l.packed_rows * l.columns + column) * l.word_bytes;
    unsigned shift = (l.per_word - 1 - (unsigned)(row / l.packed_rows)) * l.bits;
    unsigned code = (l.word_bytes == 4 ? load_u32(word) : *word) >> shift &
                    ((1u << l.bits) - 1);
    const uint8_t *scale = bytes + l.scales + g * (l.half ? 2 : 4),
                  *zero = bytes + l.zeros + g * (l.half ? 2 : 4);
    float w = sub((float)code, l.half ? load_f16(zero) : load_f32(zero));
    if (l.rounds) w = f16_rounded(w);
    w = mul(w, l.half ? load_f16(scale) : load_f32(scale));
    out[i] = l.rounds ? f16_rounded(w) : w;
}

static const char *hqq_decode(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                              const struct ucb_cuda_payload *payload, void *, void *out)
{
    struct hqq_layout l = hqq_layout_of(payload);
    UCB_LAUNCH(hqq_kernel, n_blocks(l.n, 256), 256, device->stream[stream], l,
               payload->bytes, (float *)out);
    return launched(device, "hqq");
}

#endif
