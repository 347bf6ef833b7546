/*
 * decode_residual.cuh - residual (layout and arithmetic: methods/residual.c; plan:
 * residual_plan.h): the classes' streams to symbols in scratch, then a warp a segment, 32
 * weights at a time.
 *
 * What one weight after the other would count is counted by the lanes below: how many of
 * a class came before, and how many raw bits. A segment that runs out of either, or does
 * not use up its raw bits, sets `bad`.
 */
#ifndef UCB_CUDA_DECODE_RESIDUAL_CUH
#define UCB_CUDA_DECODE_RESIDUAL_CUH

#include "../methods/residual/residual_plan.h"
#include "codec.cuh"

enum { RESIDUAL_LANES = 32 };

struct residual_call {
    const uint8_t *bytes, *symbols;
    const struct residual_plan_segment *segments;
    const float *before;
    uint8_t *bits;
    uint32_t *bad;
    size_t n;
    uint32_t dtype;
    bool by_scale;
};

/* Where a segment has got to; the same in all lanes. */
struct residual_reader {
    uint64_t at[RESIDUAL_CLASSES];
    uint64_t n_bits; /* raw, taken so far */
};

__device__ static inline uint32_t magnitude_of(float x)
{
    return __float_as_uint(x) & 0x7fffffffu;
}

/* The largest of all lanes, for all. */
__device__ static inline uint32_t warp_max(uint32_t x)
{
    for (int delta = RESIDUAL_LANES / 2; delta > 0; delta /= 2) {
        uint32_t other = __shfl_down_sync(CODEC_WARP, x, delta, RESIDUAL_LANES);
        if (other > x) x = other;
    }
    return __shfl_sync(CODEC_WARP, x, 0, RESIDUAL_LANES);
}

/* The sum over this lane and those below. */
__device__ static inline uint32_t warp_sum_up_to(uint32_t x, unsigned lane)
{
    for (unsigned delta = 1; delta < RESIDUAL_LANES; delta *= 2) {
        int from = lane < delta ? (int)lane : (int)(lane - delta);
        uint32_t other = __shfl_sync(CODEC_WARP, x, from, RESIDUAL_LANES);
        if (lane >= delta) x += other;
    }
    return x;
}

__device__ static inline unsigned residual_raw_bits(unsigned symbol)
{
    return symbol < RESIDUAL_DIRECT ? 0 : (symbol - RESIDUAL_DIRECT) / 8 + 2;
}

__device__ static inline uint32_t residual_value(unsigned symbol, uint32_t raw)
{
    if (symbol < RESIDUAL_DIRECT) return symbol;
    unsigned high = (symbol - RESIDUAL_DIRECT) / 8 + 5;
    return (8 | (symbol - RESIDUAL_DIRECT) % 8) << (high - 3) | raw;
}

/* n bits (28 at most, 0 too) from bit `at`, lowest first. */
__device__ static inline uint32_t load_raw_bits(const uint8_t *raw, uint64_t at, unsigned n)
{
    uint64_t window = 0, last = (at + n + 7) / 8;
    if (n == 0) return 0;
    for (uint64_t i = at / 8; i < last; i++) window |= (uint64_t)raw[i] << 8 * (i - at / 8);
    return (uint32_t)(window >> at % 8) & ((1u << n) - 1);
}

__device__ static inline void residual_restore(const struct residual_call &call, size_t i,
                                               uint32_t z)
{
    bool wide = call.dtype == UCB_F32;
    unsigned width = wide ? 32 : 16;
    uint32_t sign = (uint32_t)1 << (width - 1), all = sign | (sign - 1);
    float x = call.before[i];
    uint32_t p = wide                    ? __float_as_uint(x)
                 : call.dtype == UCB_F16 ? (uint32_t)f16_from(x)
                                         : (uint32_t)bf16_from(x);
    uint32_t r = z >> 1 ^ (z & 1u ? 0xffffffffu : 0), t = p & sign ? p ^ all : p | sign;
    t = (t + r) & all;
    uint32_t v = t & sign ? t ^ sign : t ^ all;
    for (unsigned k = 0; k < width / 8; k++)
        call.bits[i * (width / 8) + k] = (uint8_t)(v >> 8 * k);
}

/* The symbol of each active lane, by its class; false, in all lanes, past a class's end. */
__device__ static inline bool residual_symbol(const struct residual_call &call,
                                              const struct residual_plan_segment &s,
                                              unsigned lane, bool active, unsigned own,
                                              struct residual_reader *r, unsigned *symbol)
{
    bool fits = true;
    uint64_t place = 0;
    for (unsigned c = 0; c < RESIDUAL_CLASSES; c++) {
        unsigned members = __ballot_sync(CODEC_WARP, active && own == c);
        if (own == c) place = r->at[c] + lanes_below(members, lane);
        r->at[c] += (unsigned)__popc(members);
        fits = fits && r->at[c] <= s.end[c];
    }
    if (!fits) return false;
    *symbol = active ? call.symbols[place] : 0;
    return __ballot_sync(CODEC_WARP, *symbol < RESIDUAL_SYMBOLS) == CODEC_WARP;
}

/* 32 weights from `at`, whose neighbourhood's largest prediction is known. */
__device__ static inline bool residual_step(const struct residual_call &call,
                                            const struct residual_plan_segment &s,
                                            unsigned lane, size_t i, bool active,
                                            uint32_t largest, struct residual_reader *r)
{
    unsigned own = 0, symbol = 0;
    if (active && call.by_scale) {
        own = (largest >> 23) - (magnitude_of(call.before[i]) >> 23);
        if (own > RESIDUAL_CLASSES - 1) own = RESIDUAL_CLASSES - 1;
    }
    if (!residual_symbol(call, s, lane, active, own, r, &symbol)) return false;
    unsigned n_raw = residual_raw_bits(symbol);
    uint32_t up_to = warp_sum_up_to(n_raw, lane),
             total = __shfl_sync(CODEC_WARP, up_to, RESIDUAL_LANES - 1, RESIDUAL_LANES);
    if (r->n_bits + total > 8 * s.raw_bytes) return false;
    uint32_t raw = load_raw_bits(call.bytes + s.raw, r->n_bits + up_to - n_raw, n_raw);
    r->n_bits += total;
    if (active) residual_restore(call, i, residual_value(symbol, raw));
    return true;
}

__device__ static inline bool residual_segment(const struct residual_call &call,
                                               size_t segment, unsigned lane)
{
    const struct residual_plan_segment &s = call.segments[segment];
    size_t end = (segment + 1) * RESIDUAL_SEGMENT;
    struct residual_reader r;
    if (end > call.n) end = call.n;
    for (unsigned c = 0; c < RESIDUAL_CLASSES; c++) r.at[c] = s.first[c];
    r.n_bits = 0;
    for (size_t at = segment * RESIDUAL_SEGMENT; at < end; at += RESIDUAL_NEIGHBOURS) {
        size_t low = at + lane, high = low + RESIDUAL_LANES;
        uint32_t a = low < end ? magnitude_of(call.before[low]) : 0,
                 b = high < end ? magnitude_of(call.before[high]) : 0;
        uint32_t largest = warp_max(a > b ? a : b);
        if (!residual_step(call, s, lane, low, low < end, largest, &r) ||
            !residual_step(call, s, lane, high, high < end, largest, &r))
            return false;
    }
    if ((r.n_bits + 7) / 8 != s.raw_bytes) return false;
    return r.n_bits % 8 == 0 || call.bytes[s.raw + r.n_bits / 8] >> r.n_bits % 8 == 0;
}

__global__ void residual_kernel(struct residual_call call)
{
    if (!residual_segment(call, blockIdx.x, threadIdx.x) && threadIdx.x == 0) *call.bad = 1;
}

static size_t residual_scratch_bytes(const struct ucb_cuda_payload *payload)
{
    return n_weights(payload);
}

static const char *residual_decode(struct ucb_cuda_device *device,
                                   enum ucb_cuda_stream stream,
                                   const struct ucb_cuda_payload *payload, void *scratch,
                                   void *out)
{
    struct residual_call call;
    size_t n_segments = (n_weights(payload) + RESIDUAL_SEGMENT - 1) / RESIDUAL_SEGMENT;
    call.bytes = payload->bytes;
    call.symbols = (const uint8_t *)scratch;
    call.segments = (const struct residual_plan_segment *)payload->plan;
    call.before = payload->before;
    call.bits = (uint8_t *)out;
    call.bad = payload->bad;
    call.n = n_weights(payload);
    call.dtype = payload->dtype;
    call.by_scale = knob(payload, "context") != 0;
    const char *failed = run_codec(device, stream, payload,
                                   n_segments * sizeof(*call.segments), false,
                                   (uint8_t *)scratch);
    if (failed != NULL) return failed;
    UCB_LAUNCH(residual_kernel, (unsigned)n_segments, RESIDUAL_LANES,
               device->stream[stream], call);
    return launched(device, "residual");
}

#endif
