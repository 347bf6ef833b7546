/*
 * decode.cuh - what decoders share: bytes that may stand at any address, knobs by name.
 */
#ifndef UCB_CUDA_DECODE_CUH
#define UCB_CUDA_DECODE_CUH

#include "halves.cuh"

/* Little-endian, at any address: parts of a payload follow each other without gaps. */
__device__ static inline uint32_t load_u16(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}
__device__ static inline uint32_t load_u32(const uint8_t *p)
{
    return load_u16(p) | load_u16(p + 2) << 16;
}
__device__ static inline float load_f32(const uint8_t *p)
{
    return __uint_as_float(load_u32(p));
}

/* A method's own knob; a name that it does not have is a mistake of the decoder. */
static double knob(const struct ucb_cuda_payload *payload, const char *name)
{
    for (uint32_t i = 0; i < payload->n_knobs; i++)
        if (strcmp(payload->knobs[i].name, name) == 0) return payload->knobs[i].value;
    fprintf(stderr, "libucbench_cuda: a decoder asks for the knob %s\n", name);
    abort();
}

static size_t n_weights(const struct ucb_cuda_payload *payload)
{
    return (size_t)payload->n_out * payload->n_in;
}

#endif
