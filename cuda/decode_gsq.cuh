/*
 * decode_gsq.cuh - gsq (layout: methods/gsq.c): level[code] * absmax, a thread a weight.
 */
#ifndef UCB_CUDA_DECODE_GSQ_CUH
#define UCB_CUDA_DECODE_GSQ_CUH

#include "decode.cuh"

enum { GSQ_BLOCKS, GSQ_BLOCKS_128, GSQ_ROWS };         /* the first byte */
enum { GSQ_SCALE_BF16, GSQ_SCALE_F16, GSQ_SCALE_F32 }; /* the knob's choices */

struct gsq_layout {
    size_t n, block, scales, codes;
    unsigned bits, scale;
    bool rows; /* the form GSQ_ROWS: levels are not stored */
};

static struct gsq_layout gsq_layout_of(const struct ucb_cuda_payload *payload)
{
    struct gsq_layout l;
    uint8_t form = payload->host_bytes[0];
    l.n = n_weights(payload);
    l.rows = form == GSQ_ROWS;
    l.block = form == GSQ_BLOCKS       ? (size_t)knob(payload, "block")
              : form == GSQ_BLOCKS_128 ? 128
                                       : payload->n_in;
    l.bits = (unsigned)knob(payload, "bits");
    l.scale = (unsigned)knob(payload, "scale");
    l.scales = 1 + (l.rows ? 0 : (size_t)4 << l.bits);
    l.codes = l.scales + l.n / l.block * (l.scale == GSQ_SCALE_F32 ? 4 : 2);
    return l;
}

__device__ static inline float gsq_scale(const struct gsq_layout &l, const uint8_t *bytes,
                                         size_t block)
{
    const uint8_t *scales = bytes + l.scales;
    if (l.scale == GSQ_SCALE_F32) return load_f32(scales + 4 * block);
    unsigned half = load_u16(scales + 2 * block);
    return l.scale == GSQ_SCALE_BF16 ? bf16_widen(half) : f16_widen(half);
}

__global__ void gsq_kernel(struct gsq_layout l, const uint8_t *bytes, float *out)
{
    size_t i = thread_index();
    if (i >= l.n) return;
    unsigned code = load_code(bytes + l.codes, i, l.bits);
    float half = (float)(1u << (l.bits - 1)),
          level = l.rows ? divide(sub((float)code, half), half)
                         : load_f32(bytes + 1 + 4 * code);
    out[i] = mul(level, gsq_scale(l, bytes, i / l.block));
}

static const char *gsq_decode(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                              const struct ucb_cuda_payload *payload, void *, void *out)
{
    struct gsq_layout l = gsq_layout_of(payload);
    UCB_LAUNCH(gsq_kernel, n_blocks(l.n, 256), 256, device->stream[stream], l,
               payload->bytes, (float *)out);
    return launched(device, "gsq");
}

#endif
