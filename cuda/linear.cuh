/*
 * linear.cuh - y = x w^T + bias from the panels that ucb_pack() makes (layouts:
 * harness/backend/backend_internal.h), and those panels from a decoded matrix.
 */
#ifndef UCB_CUDA_LINEAR_CUH
#define UCB_CUDA_LINEAR_CUH

#include "tile.cuh"

constexpr unsigned PANEL = 32, PANEL_BLOCK = STEP * PANEL;
constexpr int LINEAR_R = 4, LINEAR_C = 4;

__device__ static inline size_t rounded_up(size_t n)
{
    return (n + STEP - 1) / STEP * STEP;
}

/* Where (column, k) stands in panels of n_in; the unit is one weight. */
__device__ static inline size_t panel_at(fp32_products, unsigned n_in, unsigned column,
                                         unsigned k)
{
    return column / PANEL * (rounded_up(n_in) * PANEL) + (size_t)k * PANEL + column % PANEL;
}
__device__ static inline size_t panel_at(bf16_products, unsigned n_in, unsigned column,
                                         unsigned k)
{
    return column / PANEL * (rounded_up(n_in) * PANEL) + (size_t)(k / STEP) * PANEL_BLOCK +
           column % PANEL / 16 * (PANEL_BLOCK / 2) + k % STEP / 2 * PANEL +
           column % 16 * 2 + k % 2;
}
__device__ static inline size_t panel_at(dot_products, unsigned n_in, unsigned column,
                                         unsigned k)
{
    return panel_at(bf16_products(), n_in, column, k);
}
__device__ static inline float weight_value(float w)
{
    return w;
}
__device__ static inline float weight_value(uint16_t w)
{
    return bf16_widen(w);
}

struct linear_call {
    const void *packed;
    const float *bias, *x; /* bias: NULL or [n_out] */
    float *y;
    size_t n_rows, y_stride;
    uint32_t n_out, n_in;
};

template <class A> __global__ void linear_kernel(struct linear_call l)
{
    typedef tile_memory<LINEAR_R, LINEAR_C> memory;
    UCB_SHARED(memory, m);
    float y[LINEAR_R][LINEAR_C] = {};
    size_t first_row = (size_t)blockIdx.x * (SIDE * LINEAR_R);
    unsigned first_column = blockIdx.y * (SIDE * LINEAR_C);
    const typename A::weight *packed = (const typename A::weight *)l.packed;
    auto x = [&](unsigned row, unsigned k) {
        return first_row + row < l.n_rows ? l.x[(first_row + row) * l.n_in + k] : 0.0f;
    };
    auto w = [&](unsigned column, unsigned k) {
        return first_column + column < l.n_out
                   ? weight_value(packed[panel_at(A(), l.n_in, first_column + column, k)])
                   : 0.0f;
    };
    tile_product<A>(m, l.n_in, true, x, w, y);
    for (int r = 0; r < LINEAR_R; r++)
        for (int c = 0; c < LINEAR_C; c++) {
            size_t row = first_row + threadIdx.x / SIDE + SIDE * r;
            unsigned column = first_column + threadIdx.x % SIDE + SIDE * c;
            if (row >= l.n_rows || column >= l.n_out) continue;
            l.y[row * l.y_stride + column] = l.bias == NULL ? y[r][c]
                                                            : y[r][c] + l.bias[column];
        }
}

__device__ static inline void store_weight(float *out, float w)
{
    *out = w;
}
__device__ static inline void store_weight(uint16_t *out, float w)
{
    *out = bf16_from(w);
}

/* A thread for each place of the panels; places past the matrix hold 0. */
template <class A>
__global__ void pack_kernel(const float *w, uint32_t n_out, uint32_t n_in,
                            typename A::weight *packed)
{
    size_t width = rounded_up(n_in), i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    size_t column = i / width, k = i % width;
    if (column >= rounded_up(n_out)) return;
    float value = column < n_out && k < n_in ? w[column * n_in + k] : 0.0f;
    store_weight(&packed[panel_at(A(), n_in, (unsigned)column, (unsigned)k)], value);
}

/* For cuBLAS: rows, as long as whole blocks. */
__global__ void pack_rows_kernel(const float *w, uint32_t n_out, uint32_t n_in,
                                 float *packed)
{
    size_t width = rounded_up(n_in), i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    size_t column = i / width, k = i % width;
    if (column >= rounded_up(n_out)) return;
    packed[i] = column < n_out && k < n_in ? w[column * n_in + k] : 0.0f;
}

static const char *run_pack(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                            enum ucb_arithmetic arithmetic, const float *w, uint32_t n_out,
                            uint32_t n_in, void *packed)
{
    size_t rows = ((size_t)n_out + PANEL - 1) / PANEL * PANEL,
           width = ((size_t)n_in + STEP - 1) / STEP * STEP;
    unsigned grid = n_blocks(rows * width, 256);
    cudaStream_t s = device->stream[stream];
    if (arithmetic == UCB_ARITH_CUBLAS)
        UCB_LAUNCH(pack_rows_kernel, grid, 256, s, w, n_out, n_in, (float *)packed);
    else if (arithmetic == UCB_ARITH_BF16 || arithmetic == UCB_ARITH_BF16_DOT)
        UCB_LAUNCH(pack_kernel<bf16_products>, grid, 256, s, w, n_out, n_in,
                   (uint16_t *)packed);
    else
        UCB_LAUNCH(pack_kernel<fp32_products>, grid, 256, s, w, n_out, n_in,
                   (float *)packed);
    return launched(device, "pack");
}

static const char *cublas_linear(struct ucb_cuda_device *device,
                                 const struct linear_call *call);

static const char *run_linear(struct ucb_cuda_device *device,
                              enum ucb_arithmetic arithmetic, const void *packed,
                              uint32_t n_out, uint32_t n_in, const float *bias,
                              const float *x, size_t n_rows, float *y, size_t y_stride)
{
    struct linear_call call = {packed, bias, x, y, n_rows, y_stride, n_out, n_in};
    dim3 grid(n_blocks(n_rows, SIDE * LINEAR_R), n_blocks(n_out, SIDE * LINEAR_C));
    cudaStream_t s = device->stream[UCB_CUDA_COMPUTE];
    if (arithmetic == UCB_ARITH_CUBLAS) return cublas_linear(device, &call);
    if (arithmetic == UCB_ARITH_BF16)
        UCB_LAUNCH(linear_kernel<bf16_products>, grid, TILE_THREADS, s, call);
    else if (arithmetic == UCB_ARITH_BF16_DOT)
        UCB_LAUNCH(linear_kernel<dot_products>, grid, TILE_THREADS, s, call);
    else
        UCB_LAUNCH(linear_kernel<fp32_products>, grid, TILE_THREADS, s, call);
    return launched(device, "linear");
}

#endif
