/*
 * attention.cuh - causal attention: a block makes 32 queries of one head, in the order of
 * harness/backend/attention.c.
 *
 * Scores are made twice, for their maximum and for the weights: they never leave the block,
 * whatever the length of a window. Weights of 256 keys at a time, a chunk of the product,
 * lie in shared memory; a chunk's sum with the values goes on where the last one ended, in
 * `out`, each element of which belongs to one thread.
 */
#ifndef UCB_CUDA_ATTENTION_CUH
#define UCB_CUDA_ATTENTION_CUH

#include "tile.cuh"

constexpr unsigned GROUP = 32; /* queries of a block */
constexpr int PART = 2;        /* sums of a thread, each way */

struct attention_call {
    struct ucb_attention shape;
    const float *q, *k, *v;
    const uint64_t *start;
    float *out;
    uint32_t n_groups; /* of the longest window */
};

struct attention_memory {
    tile_memory<PART, PART> tile;
    float weight[GROUP][CHUNK];
};

/* A block's work: what score_group() and weigh_group() of the CPU know. */
struct attention_group {
    size_t row, n_rows, n_window; /* rows of the inputs; of the whole window */
    uint32_t position, head, kv_head;
    uint32_t key, end; /* keys [key, end): key a multiple of 256, end of 32 */
    uint32_t seen;     /* panels before hold no seen key */
};

__device__ static inline uint32_t first_seen(const struct ucb_attention *shape,
                                             uint32_t position)
{
    return shape->sliding > 0 && position >= shape->sliding ? position - shape->sliding + 1
                                                            : 0;
}

__device__ static inline struct attention_group group_of(const struct attention_call *call)
{
    struct attention_group g;
    const struct ucb_attention *shape = &call->shape;
    g.head = blockIdx.y;
    g.kv_head = g.head / (shape->n_heads / shape->n_kv_heads);
    g.position = (call->n_groups - 1 - blockIdx.x) * GROUP; /* the longest ones first */
    g.n_window = call->start[blockIdx.z + 1] - call->start[blockIdx.z];
    g.row = call->start[blockIdx.z] + g.position;
    g.n_rows = g.position >= g.n_window          ? 0
               : g.n_window - g.position < GROUP ? g.n_window - g.position
                                                 : GROUP;
    uint32_t first = first_seen(shape, g.position);
    g.key = first / CHUNK * CHUNK;
    g.seen = first / GROUP * GROUP;
    g.end = g.position + GROUP;
    return g;
}

/* Scores of 32 keys from `key` on, scaled or capped. */
template <class A>
__device__ static void
make_scores(const struct attention_call *call, const struct attention_group *g,
            struct attention_memory &m, uint32_t key, float (&score)[PART][PART])
{
    const struct ucb_attention *shape = &call->shape;
    uint32_t d = shape->head_dim;
    const float *q = call->q + (g->row * shape->n_heads + g->head) * d,
                *k = call->k +
                     ((g->row - g->position) * shape->n_kv_heads + g->kv_head) * d;
    auto x = [&](unsigned row, unsigned i) {
        return row < g->n_rows ? q[(size_t)row * shape->n_heads * d + i] : 0.0f;
    };
    auto w = [&](unsigned column, unsigned i) {
        size_t at = key + column;
        return at < g->n_window ? k[at * shape->n_kv_heads * d + i] : 0.0f;
    };
    tile_product<A>(m.tile, d, true, x, w, score);
    for (int r = 0; r < PART; r++)
        for (int c = 0; c < PART; c++)
            score[r][c] = shape->softcap != 0
                              ? capped(score[r][c], shape->scale, shape->softcap)
                              : score[r][c] * shape->scale;
}

__device__ static inline bool sees(const struct ucb_attention *shape, uint32_t position,
                                   uint32_t key)
{
    return key >= first_seen(shape, position) && key <= position;
}

/* Of this thread's rows: the largest score that is seen. */
template <class A>
__device__ static void find_peaks(const struct attention_call *call,
                                  const struct attention_group *g,
                                  struct attention_memory &m, float (&peak)[PART])
{
    for (int r = 0; r < PART; r++) peak[r] = __uint_as_float(0xff800000u);
    for (uint32_t key = g->seen; key < g->end; key += GROUP) {
        float score[PART][PART] = {};
        make_scores<A>(call, g, m, key, score);
        for (int r = 0; r < PART; r++)
            for (int c = 0; c < PART; c++) {
                uint32_t row = threadIdx.x / SIDE + SIDE * r,
                         at = key + threadIdx.x % SIDE + SIDE * c;
                if (sees(&call->shape, g->position + row, at) && score[r][c] > peak[r])
                    peak[r] = score[r][c];
            }
    }
    for (int r = 0; r < PART; r++) peak[r] = fold_max_for_all(peak[r]);
}

/* Weights of the chunk from `chunk` on; unseen ones are +0. */
template <class A>
__device__ static void make_weights(const struct attention_call *call,
                                    const struct attention_group *g,
                                    struct attention_memory &m, uint32_t chunk,
                                    uint32_t end, const float (&peak)[PART])
{
    for (uint32_t key = chunk; key < end; key += GROUP) {
        float score[PART][PART] = {};
        if (key >= g->seen) make_scores<A>(call, g, m, key, score);
        for (int r = 0; r < PART; r++)
            for (int c = 0; c < PART; c++) {
                uint32_t row = threadIdx.x / SIDE + SIDE * r,
                         at = key + threadIdx.x % SIDE + SIDE * c;
                m.weight[row][at - chunk] = sees(&call->shape, g->position + row, at)
                                                ? exp_bounded(score[r][c] - peak[r])
                                                : 0.0f;
            }
    }
    __syncthreads();
}

/* o += weights V over a chunk, for all columns of the head. */
template <class A>
__device__ static void add_values(const struct attention_call *call,
                                  const struct attention_group *g,
                                  struct attention_memory &m, uint32_t chunk, uint32_t end)
{
    const struct ucb_attention *shape = &call->shape;
    uint32_t d = shape->head_dim;
    const float *v = call->v +
                     ((g->row - g->position) * shape->n_kv_heads + g->kv_head) * d;
    float *out = call->out + (g->row * shape->n_heads + g->head) * d;
    auto x = [&](unsigned row, unsigned key) { return m.weight[row][key]; };
    for (uint32_t column = 0; column < d; column += GROUP) {
        float o[PART][PART] = {};
        auto w = [&](unsigned c, unsigned key) {
            size_t at = chunk + key;
            return at < g->n_window && column + c < d
                       ? v[at * shape->n_kv_heads * d + column + c]
                       : 0.0f;
        };
        auto element = [&](int r, int c) {
            size_t row = threadIdx.x / SIDE + SIDE * r;
            uint32_t at = column + threadIdx.x % SIDE + SIDE * c;
            return row < g->n_rows && at < d ? out + row * shape->n_heads * d + at : NULL;
        };
        for (int r = 0; r < PART; r++)
            for (int c = 0; c < PART; c++)
                if (chunk != g->key && element(r, c) != NULL) o[r][c] = *element(r, c);
        tile_product<A>(m.tile, end - chunk, chunk == g->key, x, w, o);
        for (int r = 0; r < PART; r++)
            for (int c = 0; c < PART; c++)
                if (element(r, c) != NULL) *element(r, c) = o[r][c];
    }
}

/* Adding +0 makes -0, from an underflow, +0. */
__device__ static inline void divide_rows(const struct attention_call *call,
                                          const struct attention_group *g,
                                          const float (&sum)[PART])
{
    uint32_t d = call->shape.head_dim;
    for (int r = 0; r < PART; r++) {
        size_t row = threadIdx.x / SIDE + SIDE * r;
        float *out = call->out + ((g->row + row) * call->shape.n_heads + g->head) * d;
        for (uint32_t c = threadIdx.x % SIDE; row < g->n_rows && c < d; c += SIDE)
            out[c] = (out[c] + 0.0f) / sum[r];
    }
}

template <class A> __global__ void attention_kernel(struct attention_call call)
{
    UCB_SHARED(struct attention_memory, m);
    struct attention_group g = group_of(&call);
    float peak[PART], sum[PART] = {};
    if (g.n_rows == 0) return; /* a shorter window than the longest: the whole block */
    find_peaks<A>(&call, &g, m, peak);
    for (uint32_t chunk = g.key; chunk < g.end; chunk += CHUNK) {
        uint32_t end = g.end - chunk < CHUNK ? g.end : chunk + CHUNK;
        make_weights<A>(&call, &g, m, chunk, end, peak);
        for (int r = 0; r < PART; r++)
            for (uint32_t key = threadIdx.x % SIDE; key < end - chunk; key += LANES)
                sum[r] = sum[r] + m.weight[threadIdx.x / SIDE + SIDE * r][key];
        add_values<A>(&call, &g, m, chunk, end);
    }
    for (int r = 0; r < PART; r++) sum[r] = fold_sum_for_all(sum[r]);
    divide_rows(&call, &g, sum);
}

static const char *run_attention(struct ucb_cuda_device *device,
                                 enum ucb_arithmetic arithmetic,
                                 const struct ucb_attention *shape, const float *q,
                                 const float *k, const float *v, size_t n_windows,
                                 const uint64_t *start, const uint64_t *host_start,
                                 float *out)
{
    uint64_t longest = 0;
    for (size_t w = 0; w < n_windows; w++)
        if (host_start[w + 1] - host_start[w] > longest)
            longest = host_start[w + 1] - host_start[w];
    if (longest == 0) return NULL;
    struct attention_call call = {*shape, q, k, v, start, out, n_blocks(longest, GROUP)};
    dim3 grid(call.n_groups, shape->n_heads, (unsigned)n_windows);
    cudaStream_t s = device->stream[UCB_CUDA_COMPUTE];
    if (arithmetic == UCB_ARITH_BF16)
        UCB_LAUNCH(attention_kernel<bf16_products>, grid, TILE_THREADS, s, call);
    else if (arithmetic == UCB_ARITH_BF16_DOT)
        UCB_LAUNCH(attention_kernel<dot_products>, grid, TILE_THREADS, s, call);
    else
        UCB_LAUNCH(attention_kernel<fp32_products>, grid, TILE_THREADS, s, call);
    return launched(device, "attention");
}

#endif
