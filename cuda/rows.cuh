/*
 * rows.cuh - norms (sixteen threads a row, the lanes of its sums), rope and elements (a
 * thread each), the scan of a state space (a thread a channel).
 */
#ifndef UCB_CUDA_ROWS_CUH
#define UCB_CUDA_ROWS_CUH

#include "arithmetic.cuh"

constexpr unsigned ROW_THREADS = 256, ROWS_AT_ONCE = ROW_THREADS / LANES;

struct norm_call {
    const float *x, *weight, *bias; /* bias: of a layer norm */
    float *y, eps;
    size_t n_rows;
    uint32_t n;
};

/* Where a thread works; past the last row it takes part in the sums and stores nothing. */
__device__ static inline size_t norm_row(const struct norm_call *call, bool *stores)
{
    size_t row = (size_t)blockIdx.x * ROWS_AT_ONCE + threadIdx.x / LANES;
    *stores = row < call->n_rows;
    return *stores ? row : 0;
}

__global__ void rmsnorm_kernel(struct norm_call call)
{
    bool stores;
    size_t row = norm_row(&call, &stores);
    const float *x = call.x + row * call.n;
    float squares = 0.0f;
    for (uint32_t i = threadIdx.x % LANES; stores && i < call.n; i += LANES)
        squares = squares + x[i] * x[i];
    float scale = 1.0f / sqrtf(fold_sum_for_all(squares) / (float)call.n + call.eps);
    for (uint32_t i = threadIdx.x % LANES; stores && i < call.n; i += LANES)
        call.y[row * call.n + i] = call.weight[i] * (x[i] * scale);
}

__global__ void layernorm_kernel(struct norm_call call)
{
    bool stores;
    size_t row = norm_row(&call, &stores);
    const float *x = call.x + row * call.n;
    float sum = 0.0f, squares = 0.0f;
    for (uint32_t i = threadIdx.x % LANES; stores && i < call.n; i += LANES)
        sum = sum + x[i];
    float mean = fold_sum_for_all(sum) / (float)call.n;
    for (uint32_t i = threadIdx.x % LANES; stores && i < call.n; i += LANES) {
        float d = x[i] - mean;
        squares = squares + d * d;
    }
    float scale = 1.0f / sqrtf(fold_sum_for_all(squares) / (float)call.n + call.eps);
    for (uint32_t i = threadIdx.x % LANES; stores && i < call.n; i += LANES)
        call.y[row * call.n + i] = call.weight[i] * ((x[i] - mean) * scale) + call.bias[i];
}

static const char *run_rmsnorm(struct ucb_cuda_device *device, const float *x,
                               size_t n_rows, uint32_t n, const float *weight, float eps,
                               float *y)
{
    struct norm_call call = {x, weight, NULL, y, eps, n_rows, n};
    UCB_LAUNCH(rmsnorm_kernel, n_blocks(n_rows, ROWS_AT_ONCE), ROW_THREADS,
               device->stream[UCB_CUDA_COMPUTE], call);
    return launched(device, "rmsnorm");
}

static const char *run_layernorm(struct ucb_cuda_device *device, const float *x,
                                 size_t n_rows, uint32_t n, const float *weight,
                                 const float *bias, float eps, float *y)
{
    struct norm_call call = {x, weight, bias, y, eps, n_rows, n};
    UCB_LAUNCH(layernorm_kernel, n_blocks(n_rows, ROWS_AT_ONCE), ROW_THREADS,
               device->stream[UCB_CUDA_COMPUTE], call);
    return launched(device, "layernorm");
}

/* ---- rope ---- */

/* A thread for each pair of each head. */
__global__ void rope_kernel(float *x, size_t n_rows, struct ucb_rotary shape,
                            const float *table, const uint32_t *position)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x, n_pairs = shape.r / 2;
    size_t pair = i % n_pairs, head = i / n_pairs % shape.n_heads,
           row = i / n_pairs / shape.n_heads;
    if (row >= n_rows) return;
    const float *angle = table + 2 * (position[row] * n_pairs + pair);
    float *at = x + (row * shape.n_heads + head) * shape.head_dim + shape.offset;
    float *first = shape.adjacent ? at + 2 * pair : at + pair,
          *second = shape.adjacent ? first + 1 : first + n_pairs;
    float a = *first, b = *second, cosine = angle[0], sine = angle[1];
    *first = a * cosine - b * sine;
    *second = b * cosine + a * sine;
}

static const char *run_rope(struct ucb_cuda_device *device, float *x, size_t n_rows,
                            const struct ucb_rotary *shape, const float *table,
                            const uint32_t *position)
{
    size_t n = n_rows * shape->n_heads * (shape->r / 2);
    if (n == 0) return NULL;
    UCB_LAUNCH(rope_kernel, n_blocks(n, 256), 256, device->stream[UCB_CUDA_COMPUTE], x,
               n_rows, *shape, table, position);
    return launched(device, "rope");
}

/* ---- elements ---- */

__global__ void activate_kernel(enum ucb_activation activation, const float *gate,
                                const float *up, size_t n, float *out)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float x = gate[i];
    float y = activation == UCB_ACT_GELU        ? gelu(x)
              : activation == UCB_ACT_GELU_TANH ? gelu_tanh(x)
                                                : gate_by(x, x);
    out[i] = up == NULL ? y : y * up[i];
}

static const char *run_activate(struct ucb_cuda_device *device,
                                enum ucb_activation activation, const float *gate,
                                const float *up, size_t n, float *out)
{
    UCB_LAUNCH(activate_kernel, n_blocks(n, 256), 256, device->stream[UCB_CUDA_COMPUTE],
               activation, gate, up, n, out);
    return launched(device, "activate");
}

__global__ void cap_kernel(float *x, size_t n, float limit)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] = capped(x[i], 1.0f, limit);
}

static const char *run_cap(struct ucb_cuda_device *device, float *x, size_t n, float limit)
{
    UCB_LAUNCH(cap_kernel, n_blocks(n, 256), 256, device->stream[UCB_CUDA_COMPUTE], x, n,
               limit);
    return launched(device, "cap");
}

__global__ void scale_kernel(float *x, size_t n, float factor)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] = x[i] * factor;
}

static const char *run_scale(struct ucb_cuda_device *device, float *x, size_t n,
                             float factor)
{
    UCB_LAUNCH(scale_kernel, n_blocks(n, 256), 256, device->stream[UCB_CUDA_COMPUTE], x, n,
               factor);
    return launched(device, "scale");
}

__global__ void clamp_kernel(float *x, size_t n, float limit)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i] > limit ? limit : x[i];
    x[i] = -limit > v ? -limit : v;
}

static const char *run_clamp(struct ucb_cuda_device *device, float *x, size_t n,
                             float limit)
{
    UCB_LAUNCH(clamp_kernel, n_blocks(n, 256), 256, device->stream[UCB_CUDA_COMPUTE], x, n,
               limit);
    return launched(device, "clamp");
}

__global__ void add_kernel(float *x, const float *y, size_t n)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] = x[i] + y[i];
}

static const char *run_add(struct ucb_cuda_device *device, float *x, const float *y,
                           size_t n)
{
    UCB_LAUNCH(add_kernel, n_blocks(n, 256), 256, device->stream[UCB_CUDA_COMPUTE], x, y,
               n);
    return launched(device, "add");
}

/* ---- state space ---- */

__global__ void convolve_kernel(struct ucb_scan scan)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x, t = i / scan.width,
           channel = i % scan.width;
    if (t >= scan.n_rows) return;
    float sum = scan.conv_bias == NULL ? 0.0f : scan.conv_bias[channel];
    for (uint32_t k = 0; k < scan.kernel; k++) {
        if (t + k + 1 < scan.kernel) continue; /* zeros before the first */
        sum = sum + scan.conv[k * scan.width + channel] *
                        scan.in[(t + k + 1 - scan.kernel) * scan.in_stride + channel];
    }
    scan.u[t * scan.width + channel] = gate_by(sum, sum);
}

static const char *run_convolve(struct ucb_cuda_device *device, const struct ucb_scan *scan)
{
    UCB_LAUNCH(convolve_kernel, n_blocks(scan->n_rows * scan->width, 256), 256,
               device->stream[UCB_CUDA_COMPUTE], *scan);
    return launched(device, "convolve");
}

__global__ void scan_kernel(struct ucb_scan scan, float *states)
{
    size_t channel = (size_t)blockIdx.x * blockDim.x + threadIdx.x, width = scan.width;
    if (channel >= width) return;
    for (uint32_t s = 0; s < scan.state; s++) states[s * width + channel] = 0.0f;
    for (size_t t = 0; t < scan.n_rows; t++) {
        const float *b = scan.bc + t * scan.bc_stride, *c = b + scan.state;
        float u = scan.u[t * width + channel], dt = scan.dt[t * width + channel],
              in = dt * u, y = 0.0f;
        for (uint32_t s = 0; s < scan.state; s++) {
            float a = scan.a[s * width + channel], h = states[s * width + channel];
            h = exp_any(dt * a) * h + in * b[s];
            states[s * width + channel] = h;
            y = y + h * c[s];
        }
        scan.y[t * width + channel] = y + scan.skip[channel] * u;
    }
}

static const char *run_scan(struct ucb_cuda_device *device, const struct ucb_scan *scan,
                            float *states)
{
    UCB_LAUNCH(scan_kernel, n_blocks(scan->width, 64), 64, device->stream[UCB_CUDA_COMPUTE],
               *scan, states);
    return launched(device, "scan");
}

#endif
