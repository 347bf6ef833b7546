/*
 * decode_rtn.cuh - rtn (layout: methods/rtn.c): (code - middle) * scale + zero, a thread a
 * weight.
 */
#ifndef UCB_CUDA_DECODE_RTN_CUH
#define UCB_CUDA_DECODE_RTN_CUH

#include "decode.cuh"

struct rtn_layout {
    size_t n, group, scales, zeros; /* the last two: where they begin */
    unsigned bits;
    bool symmetric;
};

__global__ void rtn_kernel(struct rtn_layout l, const uint8_t *bytes, float *out)
{
    size_t i = thread_index(), g = i / l.group;
    if (i >= l.n) return;
    float middle = l.symmetric ? (float)(1u << (l.bits - 1)) : 0.0f,
          zero = l.symmetric ? 0.0f : load_f16(bytes + l.zeros + 2 * g);
    float code = (float)load_code(bytes, i, l.bits);
    out[i] = add(mul(sub(code, middle), load_f16(bytes + l.scales + 2 * g)), zero);
}

static const char *rtn_decode(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                              const struct ucb_cuda_payload *payload, void *, void *out)
{
    struct rtn_layout l;
    double group = knob(payload, "group");
    l.n = n_weights(payload);
    l.group = group < 0 ? payload->n_in : (size_t)group;
    l.bits = (unsigned)knob(payload, "bits");
    l.symmetric = knob(payload, "sym") != 0;
    l.scales = (l.n * l.bits + 7) / 8;
    l.zeros = l.scales + 2 * (l.n / l.group);
    UCB_LAUNCH(rtn_kernel, n_blocks(l.n, 256), 256, device->stream[stream], l,
               payload->bytes, (float *)out);
    return launched(device, "rtn");
}

#endif
