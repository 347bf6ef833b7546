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

/* Arithmetic that no compiler fuses or reassociates: one IEEE operation each. */
#ifdef __CUDACC__
__device__ static inline float add(float a, float b)
{
    return __fadd_rn(a, b);
}
__device__ static inline float sub(float a, float b)
{
    return __fsub_rn(a, b);
}
__device__ static inline float mul(float a, float b)
{
    return __fmul_rn(a, b);
}
__device__ static inline float divide(float a, float b)
{
    return __fdiv_rn(a, b);
}
#else
static inline float add(float a, float b)
{
    return a + b;
}
static inline float sub(float a, float b)
{
    return a - b;
}
static inline float mul(float a, float b)
{
    return a * b;
}
static inline float divide(float a, float b)
{
    return a / b;
}
#endif

__device__ static inline float load_f16(const uint8_t *p)
{
    return f16_widen(load_u16(p));
}

/* `bits` (8 at most) from bit `at` of a stream, lowest first; no byte is read that has none
 * of them. */
__device__ static inline unsigned load_bits(const uint8_t *stream, size_t at, unsigned bits)
{
    unsigned shift = (unsigned)(at % 8), both = stream[at / 8];
    if (shift + bits > 8) both |= (unsigned)stream[at / 8 + 1] << 8;
    return both >> shift & ((1u << bits) - 1);
}
/* Code i of a stream of codes of equal length. */
__device__ static inline unsigned load_code(const uint8_t *stream, size_t i, unsigned bits)
{
    return load_bits(stream, i * bits, bits);
}

/* The thread's own number in a grid of one dimension. */
__device__ static inline size_t thread_index()
{
    return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}

/* Choices of a knob that are numbers: hqq's and gptq's bits. */
static unsigned code_bits(const struct ucb_cuda_payload *payload)
{
    static const unsigned widths[] = {2, 3, 4, 8};
    return widths[(size_t)knob(payload, "bits")];
}

static size_t n_weights(const struct ucb_cuda_payload *payload)
{
    return (size_t)payload->n_out * payload->n_in;
}

#endif
