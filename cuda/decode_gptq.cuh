/*
 * decode_gptq.cuh - gptq (layout: methods/gptq.c): scale * (code - zero), a thread a
 * weight.
 */
#ifndef UCB_CUDA_DECODE_GPTQ_CUH
#define UCB_CUDA_DECODE_GPTQ_CUH

#include "decode.cuh"

struct gptq_layout {
    size_t n_out, n_in, group, zero_words, scales, zeros, index;
    unsigned bits;
    bool has_index;
};

static struct gptq_layout gptq_layout_of(const struct ucb_cuda_payload *payload)
{
    struct gptq_layout l;
    double group = knob(payload, "group");
    l.n_out = payload->n_out;
    l.n_in = payload->n_in;
    l.bits = code_bits(payload);
    l.group = group < 0 || group > (double)l.n_in ? l.n_in : (size_t)group;
    size_t n_groups = (l.n_in + l.group - 1) / l.group;
    l.zero_words = (l.n_out * l.bits + 31) / 32;
    l.scales = (l.n_in * l.bits + 31) / 32 * 4 * l.n_out;
    l.zeros = l.scales + 2 * n_groups * l.n_out;
    l.index = l.zeros + 4 * n_groups * l.zero_words;
    l.has_index = knob(payload, "act_order") != 0 && knob(payload, "static_groups") == 0 &&
                  n_groups > 1;
    return l;
}

/* Code i of a stream whose 32-bit words lie `step` words apart. */
__device__ static inline unsigned gptq_code(const uint8_t *words, size_t step, size_t i,
                                            unsigned bits)
{
    size_t word = i * bits / 32;
    unsigned shift = (unsigned)(i * bits % 32);
    unsigned code = load_u32(words + 4 * word * step) >> shift;
    if (shift + bits > 32) code |= load_u32(words + 4 * (word + 1) * step) << (32 - shift);
    return code & ((1u << bits) - 1);
}

__global__ void gptq_kernel(struct gptq_layout l, const uint8_t *bytes, float *out)
{
    size_t i = thread_index(), row = i / l.n_in, column = i % l.n_in;
    if (row >= l.n_out) return;
    size_t g = l.has_index ? load_u32(bytes + l.index + 4 * column) : column / l.group;
    unsigned code = gptq_code(bytes + 4 * row, l.n_out, column, l.bits),
             zero = gptq_code(bytes + l.zeros + 4 * g * l.zero_words, 1, row, l.bits) + 1;
    zero &= (1u << l.bits) - 1;
    out[i] = mul(load_f16(bytes + l.scales + 2 * (g * l.n_out + row)),
                 sub((float)code, (float)zero));
}

static const char *gptq_decode(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                               const struct ucb_cuda_payload *payload, void *, void *out)
{
    UCB_LAUNCH(gptq_kernel, n_blocks(n_weights(payload), 256), 256, device->stream[stream],
               gptq_layout_of(payload), payload->bytes, (float *)out);
    return launched(device, "gptq");
}

#endif
