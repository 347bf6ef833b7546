/*
 * decode_lossless.cuh - lossless: one stream (plan: codec_plan.h) to the bits of the
 * source.
 */
#ifndef UCB_CUDA_DECODE_LOSSLESS_CUH
#define UCB_CUDA_DECODE_LOSSLESS_CUH

#include "codec.cuh"

static const char *lossless_decode(struct ucb_cuda_device *device,
                                   enum ucb_cuda_stream stream,
                                   const struct ucb_cuda_payload *payload, void *,
                                   void *out)
{
    return run_codec(device, stream, payload, 0, true, (uint8_t *)out);
}

#endif
