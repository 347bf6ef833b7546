/*
 * decode_int5.cuh - int5 (layout: methods/int5.c): both streams (plan: codec_plan.h) to
 * codes and scales in scratch, then (code - 15) * (scale / 15), a thread a weight.
 */
#ifndef UCB_CUDA_DECODE_INT5_CUH
#define UCB_CUDA_DECODE_INT5_CUH

#include "codec.cuh"

enum { INT5_TOP = 15 };

/* Scales begin behind the codes, at a multiple of 8: as int5's device_plan() has it. */
static size_t int5_scales_at(const struct ucb_cuda_payload *payload)
{
    return (n_weights(payload) + 7) / 8 * 8;
}

static size_t int5_scratch_bytes(const struct ucb_cuda_payload *payload)
{
    size_t block = (size_t)knob(payload, "block");
    return int5_scales_at(payload) + 2 * ((n_weights(payload) + block - 1) / block);
}

__global__ void int5_kernel(const uint8_t *codes, const uint8_t *scales, size_t n,
                            size_t block, float *out)
{
    size_t i = thread_index();
    if (i >= n) return;
    float step = divide(bf16_widen(load_u16(scales + 2 * (i / block))), (float)INT5_TOP);
    out[i] = mul((float)((int)codes[i] - INT5_TOP), step);
}

static const char *int5_decode(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                               const struct ucb_cuda_payload *payload, void *scratch,
                               void *out)
{
    const uint8_t *codes = (const uint8_t *)scratch;
    size_t n = n_weights(payload);
    const char *failed = run_codec(device, stream, payload, 0, false, (uint8_t *)scratch);
    if (failed != NULL) return failed;
    UCB_LAUNCH(int5_kernel, n_blocks(n, 256), 256, device->stream[stream], codes,
               codes + int5_scales_at(payload), n, (size_t)knob(payload, "block"),
               (float *)out);
    return launched(device, "int5");
}

#endif
