/*
 * head.cuh - statistics of logits: the ten largest and the ranks (a warp a row), sums of
 * exponentials, divergence and distance (sixteen threads for each 1024 ids, then one thread
 * a row adds those in double, by rising id). What follows a logarithm is the host's.
 */
#ifndef UCB_CUDA_HEAD_CUH
#define UCB_CUDA_HEAD_CUH

#include "arithmetic.cuh"

constexpr int TOP = 10;
constexpr unsigned WARP_THREADS = 32, TILE_IDS = 1024, SCORE_THREADS = 256;

struct score_call {
    float *z, *e;         /* e: of the reference; else NULL, and z takes its place */
    const float *z0, *e0; /* NULL of the reference */
    const struct ucb_cuda_score *score0;
    const uint32_t *target;
    float *partial; /* [n_rows][3][n_tiles] */
    struct ucb_cuda_score *out;
    size_t n_rows, stride;
    uint32_t n_ids, n_tiles;
};

/* ---- the ten largest, and ranks ---- */

struct top_list {
    float value[TOP];
    uint32_t id[TOP];
};
struct top_memory {
    struct top_list of[WARP_THREADS];
    uint32_t rank[WARP_THREADS], teacher_rank[WARP_THREADS];
};

__device__ static inline void top_clear(struct top_list *top)
{
    for (int i = 0; i < TOP; i++) top->value[i] = __uint_as_float(0xff800000u);
    for (int i = 0; i < TOP; i++) top->id[i] = UINT32_MAX;
}

/* Largest first, equal ones by lower id. */
__device__ static inline void top_insert(struct top_list *top, float value, uint32_t id)
{
    int at = TOP - 1;
    if (!(value > top->value[at] || (value == top->value[at] && id < top->id[at]))) return;
    for (; at > 0 && (value > top->value[at - 1] ||
                      (value == top->value[at - 1] && id < top->id[at - 1]));
         at--) {
        top->value[at] = top->value[at - 1];
        top->id[at] = top->id[at - 1];
    }
    top->value[at] = value;
    top->id[at] = id;
}

__device__ static inline uint32_t best_id(const struct ucb_cuda_score *score)
{
    return score->id[0] == UINT32_MAX ? 0 : score->id[0];
}

__global__ void top_kernel(struct score_call call)
{
    UCB_SHARED(struct top_memory, m);
    size_t row = blockIdx.x;
    const float *z = call.z + row * call.stride;
    float target = z[call.target[row]],
          best0 = call.score0 == NULL ? 0.0f : z[best_id(&call.score0[row])];
    struct top_list top;
    uint32_t rank = 0, teacher_rank = 0;
    top_clear(&top);
    for (uint32_t id = threadIdx.x; id < call.n_ids; id += WARP_THREADS) {
        /* Ids rise, so an equal value does not displace. -inf is no number to list. */
        if (z[id] > top.value[TOP - 1]) top_insert(&top, z[id], id);
        rank += z[id] > target;
        teacher_rank += z[id] > best0;
    }
    m.of[threadIdx.x] = top;
    m.rank[threadIdx.x] = rank;
    m.teacher_rank[threadIdx.x] = teacher_rank;
    __syncthreads();
    if (threadIdx.x != 0) return;
    struct ucb_cuda_score *out = &call.out[row];
    for (unsigned t = 1; t < WARP_THREADS; t++) {
        for (int i = 0; i < TOP && m.of[t].id[i] != UINT32_MAX; i++)
            top_insert(&top, m.of[t].value[i], m.of[t].id[i]);
        rank += m.rank[t];
        teacher_rank += m.teacher_rank[t];
    }
    for (int i = 0; i < TOP; i++) out->id[i] = top.id[i];
    out->peak = top.value[0];
    out->target = target;
    out->rank = rank;
    out->teacher_rank = call.score0 == NULL ? 0 : teacher_rank;
}

/* ---- sums over the vocabulary ---- */

/* The tile of a thread's sixteen; past the last one it takes part in the sums only. */
__device__ static inline uint32_t tile_of(const struct score_call *call, uint32_t *n)
{
    uint32_t tile = blockIdx.x * (SCORE_THREADS / LANES) + threadIdx.x / LANES;
    uint32_t left = tile < call->n_tiles ? call->n_ids - tile * TILE_IDS : 0;
    *n = left < TILE_IDS ? left : TILE_IDS;
    return tile;
}

__device__ static inline void store_partial(const struct score_call *call, int which,
                                            uint32_t tile, float lane)
{
    float sum = fold_sum(lane);
    if (threadIdx.x % LANES == 0 && tile < call->n_tiles)
        call->partial[((size_t)blockIdx.y * 3 + which) * call->n_tiles + tile] = sum;
}

__global__ void exp_kernel(struct score_call call)
{
    uint32_t n, tile = tile_of(&call, &n);
    size_t row = blockIdx.y, at = row * call.stride + (size_t)tile * TILE_IDS;
    float peak = call.out[row].peak, sum = 0.0f, products = 0.0f;
    for (uint32_t i = threadIdx.x % LANES; i < n; i += LANES) {
        float below = call.z[at + i] - peak, y = exp_bounded(below);
        if (call.z0 != NULL) {
            float below0 = call.z0[at + i] - call.score0[row].peak;
            products = products + call.e0[at + i] * (below0 - below);
        }
        (call.e != NULL ? call.e : call.z)[at + i] = y;
        sum = sum + y;
    }
    store_partial(&call, 0, tile, sum);
    store_partial(&call, 1, tile, products);
}

__device__ static inline double add_partials(const struct score_call *call, size_t row,
                                             int which)
{
    double sum = 0.0;
    for (uint32_t tile = 0; tile < call->n_tiles; tile++)
        sum += (double)call->partial[(row * 3 + which) * call->n_tiles + tile];
    return sum;
}

__global__ void sum_kernel(struct score_call call)
{
    size_t row = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= call.n_rows) return;
    call.out[row].sum = add_partials(&call, row, 0);
    call.out[row].divergence = call.z0 == NULL ? 0.0 : add_partials(&call, row, 1);
    call.out[row].distance = 0.0;
}

__global__ void distance_kernel(struct score_call call)
{
    uint32_t n, tile = tile_of(&call, &n);
    size_t row = blockIdx.y, at = row * call.stride + (size_t)tile * TILE_IDS;
    float factor0 = (float)(1.0 / call.score0[row].sum),
          factor = (float)(1.0 / call.out[row].sum), sum = 0.0f;
    for (uint32_t i = threadIdx.x % LANES; i < n; i += LANES)
        sum = sum + fabsf(call.e0[at + i] * factor0 - call.z[at + i] * factor);
    store_partial(&call, 2, tile, sum);
}

__global__ void sum_distance_kernel(struct score_call call)
{
    size_t row = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (row < call.n_rows) call.out[row].distance = add_partials(&call, row, 2);
}

static const char *run_score(struct ucb_cuda_device *device, float *z, float *e,
                             const float *z0, const float *e0,
                             const struct ucb_cuda_score *score0, size_t n_rows,
                             uint32_t n_ids, size_t stride, const uint32_t *target,
                             float *partial, struct ucb_cuda_score *out)
{
    struct score_call call = {z,      e,      z0,      e0,
                              score0, target, partial, out,
                              n_rows, stride, n_ids,   n_blocks(n_ids, TILE_IDS)};
    dim3 grid(n_blocks(call.n_tiles, SCORE_THREADS / LANES), (unsigned)n_rows);
    cudaStream_t s = device->stream[UCB_CUDA_COMPUTE];
    UCB_LAUNCH(top_kernel, (unsigned)n_rows, WARP_THREADS, s, call);
    UCB_LAUNCH(exp_kernel, grid, SCORE_THREADS, s, call);
    UCB_LAUNCH(sum_kernel, n_blocks(n_rows, 64), 64, s, call);
    if (z0 != NULL) {
        UCB_LAUNCH(distance_kernel, grid, SCORE_THREADS, s, call);
        UCB_LAUNCH(sum_distance_kernel, n_blocks(n_rows, 64), 64, s, call);
    }
    return launched(device, "score");
}

#endif
