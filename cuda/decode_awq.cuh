/*
 * decode_awq.cuh - awq (layout: methods/awq.c): (code - zero) * scale, alone rounded to
 * half precision, / S of the column. A thread a weight.
 */
#ifndef UCB_CUDA_DECODE_AWQ_CUH
#define UCB_CUDA_DECODE_AWQ_CUH

#include "decode.cuh"

struct awq_layout {
    size_t n, n_in, group, scales, zeros, channels;
    unsigned bits;
    bool rounds;
};

__global__ void awq_kernel(struct awq_layout l, const uint8_t *bytes, float *out)
{
    size_t i = thread_index(), g = i / l.group;
    if (i >= l.n) return;
    float code = (float)load_code(bytes, i, l.bits),
          zero = (float)load_code(bytes + l.zeros, g, l.bits);
    float w = mul(sub(code, zero), load_f16(bytes + l.scales + 2 * g));
    if (l.rounds) w = f16_rounded(w);
    out[i] = divide(w, load_f16(bytes + l.channels + 2 * (i % l.n_in)));
}

static const char *awq_decode(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                              const struct ucb_cuda_payload *payload, void *, void *out)
{
    struct awq_layout l;
    l.n = n_weights(payload);
    l.n_in = payload->n_in;
    l.group = (size_t)knob(payload, "group");
    l.bits = (unsigned)knob(payload, "bits");
    l.rounds = payload->deployed;
    size_t n_groups = l.n / l.group;
    l.scales = (l.n * l.bits + 7) / 8;
    l.zeros = l.scales + 2 * n_groups;
    l.channels = l.zeros + (n_groups * l.bits + 7) / 8;
    UCB_LAUNCH(awq_kernel, n_blocks(l.n, 256), 256, device->stream[stream], l,
               payload->bytes, (float *)out);
    return launched(device, "awq");
}

#endif
