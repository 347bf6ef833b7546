/*
 * decode_lowrank.cuh - lowrank (layout: methods/lowrank.c): adds u v, the sum over the rank
 * rising. The factors are widened first, a thread a value; then a thread adds to a weight.
 *
 * store=packed: the coders of core/entropy.h are one stream with one state for each plane,
 * a step waiting for the one before it, so open() decodes them on the host and the plan
 * holds what store=fp16 would have written.
 */
#ifndef UCB_CUDA_DECODE_LOWRANK_CUH
#define UCB_CUDA_DECODE_LOWRANK_CUH

#include "decode.cuh"

enum { LOWRANK_FP16, LOWRANK_INT8, LOWRANK_PACKED }; /* the knob's choices */

struct lowrank_layout {
    size_t n_out, n_in, rank;
    bool int8;
};

static struct lowrank_layout lowrank_layout_of(const struct ucb_cuda_payload *payload)
{
    struct lowrank_layout l;
    l.n_out = payload->n_out;
    l.n_in = payload->n_in;
    l.rank = (size_t)knob(payload, "rank");
    if (l.rank > l.n_out) l.rank = l.n_out;
    if (l.rank > l.n_in) l.rank = l.n_in;
    l.int8 = knob(payload, "store") == LOWRANK_INT8;
    return l;
}

/* value[i]: v[rank][n_in], then u[n_out][rank]. */
__global__ void lowrank_widen_kernel(struct lowrank_layout l, const uint8_t *bytes,
                                     float *value)
{
    size_t i = thread_index(), n_v = l.rank * l.n_in, n_u = l.n_out * l.rank;
    if (i >= n_v + n_u) return;
    if (!l.int8) {
        value[i] = load_f16(bytes + 2 * i);
        return;
    }
    bool is_v = i < n_v;
    size_t j = is_v ? i / l.n_in : (i - n_v) % l.rank;
    const uint8_t *codes = is_v ? bytes : bytes + n_v + 2 * l.rank,
                  *scales = codes + (is_v ? n_v : n_u);
    value[i] = mul((float)(int8_t)codes[is_v ? i : i - n_v], load_f16(scales + 2 * j));
}

__global__ void lowrank_add_kernel(struct lowrank_layout l, const float *value, float *out)
{
    size_t i = thread_index(), row = i / l.n_in;
    if (row >= l.n_out) return;
    const float *v = value + i % l.n_in, *u = value + l.rank * l.n_in + row * l.rank;
    float sum = 0;
    for (size_t j = 0; j < l.rank; j++) sum = add(sum, mul(u[j], v[j * l.n_in]));
    out[i] = add(out[i], sum);
}

static size_t lowrank_scratch_bytes(const struct ucb_cuda_payload *payload)
{
    struct lowrank_layout l = lowrank_layout_of(payload);
    return l.rank * (l.n_out + l.n_in) * sizeof(float);
}

static const char *lowrank_decode(struct ucb_cuda_device *device,
                                  enum ucb_cuda_stream stream,
                                  const struct ucb_cuda_payload *payload, void *scratch,
                                  void *out)
{
    struct lowrank_layout l = lowrank_layout_of(payload);
    bool packed = knob(payload, "store") == LOWRANK_PACKED;
    UCB_LAUNCH(lowrank_widen_kernel, n_blocks(l.rank * (l.n_out + l.n_in), 256), 256,
               device->stream[stream], l, packed ? payload->plan : payload->bytes,
               (float *)scratch);
    UCB_LAUNCH(lowrank_add_kernel, n_blocks(n_weights(payload), 256), 256,
               device->stream[stream], l, (const float *)scratch, (float *)out);
    return launched(device, "lowrank");
}

#endif
