/*
 * emulation_test.cpp - whether the emulation catches what it is for: a program that runs
 * one planted mistake, or all kernels of the plugin on small inputs.
 * tests/cuda/test_emulation.c runs it, with fibers and (built with UCB_EMULATION_THREADS,
 * under TSan) with threads.
 */
#include "../../cuda/plugin.cu"

#include <cinttypes>

namespace
{
constexpr unsigned THREADS = 96, N = 1000;

cudaStream_t stream()
{
    static cudaStream_t s;
    if (s == nullptr) cudaStreamCreate(&s);
    return s;
}

struct sum_memory {
    float warp[THREADS / 32];
};

/* Sum of x[0..n): by warps, then by the first thread. The planted mistakes are flags. */
enum mistake {
    NONE,
    NO_BARRIER,        /* the first thread adds before the others have written */
    DIVERGENT_BARRIER, /* two halves of the block wait at two places */
    HALF_BARRIER,      /* a part of the block never comes */
    EARLY_RETURN,      /* a part of the block has ended */
    WRONG_MASK,        /* the mask names lanes that do not take part */
    FOREIGN_MASK,      /* the mask leaves out its caller */
    FOREIGN_SOURCE     /* the source is not in the mask */
};

__device__ float warp_sum(float x, enum mistake m)
{
    unsigned lane = threadIdx.x % 32;
    if (m == WRONG_MASK && lane >= 16) return x;
    if (m == FOREIGN_MASK) return __shfl_sync(0x0000ffffu, x, 0, 32);
    if (m == FOREIGN_SOURCE && lane < 16) return __shfl_sync(0x0000ffffu, x, 20, 32);
    if (m == FOREIGN_SOURCE) return x;
    for (int delta = 16; delta > 0; delta /= 2)
        x += __shfl_down_sync(0xffffffffu, x, delta, 32);
    return x;
}

__global__ void sum_kernel_with(enum mistake m, const float *x, unsigned n, float *out)
{
    UCB_SHARED(struct sum_memory, memory);
    float sum = 0;
    if (m == EARLY_RETURN && threadIdx.x >= 64) return;
    for (unsigned i = threadIdx.x; i < n; i += THREADS) sum += x[i];
    sum = warp_sum(sum, m);
    if (threadIdx.x % 32 == 0) memory.warp[threadIdx.x / 32] = sum;
    if (m == DIVERGENT_BARRIER) {
        if (threadIdx.x < 48)
            __syncthreads();
        else
            __syncthreads();
    } else if (m == HALF_BARRIER) {
        if (threadIdx.x < 64) __syncthreads();
    } else if (m != NO_BARRIER) {
        __syncthreads();
    }
    if (threadIdx.x != 0) return;
    float total = 0;
    for (unsigned i = 0; i < THREADS / 32; i++) total += memory.warp[i];
    *out = total;
}

int run_sum(enum mistake m)
{
    std::vector<float> x(N);
    float sum = -1;
    for (unsigned i = 0; i < N; i++) x[i] = (float)(i % 7);
    UCB_LAUNCH(sum_kernel_with, 1, THREADS, stream(), m, x.data(), N, &sum);
    cudaStreamSynchronize(stream());
    float expected = 0;
    for (float v : x) expected += v; /* whole numbers: any order gives the same */
    printf("%s\n", sum == expected ? "right" : "wrong");
    return 0;
}

/* One warp; every second lane votes. */
__global__ void copy_kernel(const float *x, float *y)
{
    unsigned votes = __ballot_sync(0xffffffffu, threadIdx.x % 2 == 0);
    y[threadIdx.x] = votes == 0x55555555u ? x[threadIdx.x] : -1.0f;
}

/* A kernel on one stream reads what another brings, with and without waiting for it. */
int run_streams(bool waits)
{
    cudaStream_t load;
    cudaEvent_t loaded;
    float from[32], to[32];
    void *x, *y;
    for (int i = 0; i < 32; i++) from[i] = (float)i;
    cudaStreamCreate(&load);
    cudaEventCreate(&loaded);
    cudaMalloc(&x, sizeof(from));
    cudaMalloc(&y, sizeof(to));
    cudaMemcpyAsync(x, from, sizeof(from), cudaMemcpyHostToDevice, load);
    cudaEventRecord(loaded, load);
    if (waits) cudaStreamWaitEvent(stream(), loaded);
    UCB_LAUNCH(copy_kernel, 1, 32, stream(), (float *)x, (float *)y);
    cudaMemcpyAsync(to, y, sizeof(to), cudaMemcpyDeviceToHost, stream());
    cudaStreamSynchronize(stream());
    printf("%s\n", memcmp(from, to, sizeof(to)) == 0 ? "right" : "wrong");
    cudaFree(x);
    cudaFree(y);
    cudaEventDestroy(loaded);
    cudaStreamDestroy(load);
    return 0;
}

/* ---- all kernels on small inputs: their results as one number ---- */

uint64_t digest = 1469598103934665603u;

void add_to_digest(const void *data, size_t n)
{
    const unsigned char *bytes = static_cast<const unsigned char *>(data);
    for (size_t i = 0; i < n; i++) digest = (digest ^ bytes[i]) * 1099511628211u;
}

struct ucb_cuda_device *device;

void check(const char *failed)
{
    if (failed == nullptr) return;
    fprintf(stderr, "%s\n", failed);
    exit(1);
}

/* n values in (-1, 1) on the device. */
float *made_up(size_t n)
{
    static uint32_t state = 1;
    std::vector<float> x(n);
    void *p;
    for (float &v : x) {
        state = state * 1664525u + 1013904223u;
        v = (float)(state >> 8) * 0x1p-23f - 1.0f;
    }
    check(ucb_cuda_backend.alloc(device, n * sizeof(float), &p));
    check(
        ucb_cuda_backend.upload(device, UCB_CUDA_COMPUTE, p, x.data(), n * sizeof(float)));
    return static_cast<float *>(p);
}

void take(const void *p, size_t n_bytes)
{
    std::vector<char> bytes(n_bytes);
    check(ucb_cuda_backend.download(device, UCB_CUDA_COMPUTE, bytes.data(), p, n_bytes));
    check(ucb_cuda_backend.finish(device, UCB_CUDA_COMPUTE));
    add_to_digest(bytes.data(), n_bytes);
}

void run_products(enum ucb_arithmetic a)
{
    const struct ucb_cuda_backend &t = ucb_cuda_backend;
    const uint32_t n_out = 20, n_in = 40, n_rows = 5, heads = 1, d = 20, keys = 33;
    const struct ucb_attention shape = {heads, 1, d, 0, 0.25f, 0};
    const uint64_t start[2] = {0, keys};
    float *w = made_up(n_out * n_in), *x = made_up(n_rows * n_in),
          *y = made_up(n_rows * n_out), *packed = made_up(32 * 64), *bias = made_up(n_out),
          *q = made_up(keys * heads * d), *k = made_up(keys * d), *v = made_up(keys * d),
          *out = made_up(keys * heads * d);
    void *starts;
    check(t.alloc(device, sizeof(start), &starts));
    check(t.upload(device, UCB_CUDA_COMPUTE, starts, start, sizeof(start)));
    check(t.pack(device, UCB_CUDA_COMPUTE, a, w, n_out, n_in, packed));
    check(t.linear(device, a, packed, n_out, n_in, bias, x, n_rows, y, n_out));
    take(y, n_rows * n_out * sizeof(float));
    check(t.attention(device, a, &shape, q, k, v, 1, static_cast<uint64_t *>(starts), start,
                      out));
    take(out, keys * heads * d * sizeof(float));
}

void run_rows()
{
    const struct ucb_cuda_backend &t = ucb_cuda_backend;
    const uint32_t n = 50, n_rows = 2, ids = 1100, target[n_rows] = {7, 1099};
    float *x = made_up(n_rows * n), *w = made_up(n), *b = made_up(n),
          *z0 = made_up(n_rows * ids), *e0 = made_up(n_rows * ids),
          *z = made_up(n_rows * ids), *partial = made_up(n_rows * 3 * 2);
    void *targets, *score0, *score;
    const size_t score_bytes = n_rows * sizeof(struct ucb_cuda_score);
    check(t.rmsnorm(device, x, n_rows, n, w, 1e-5f, x));
    check(t.layernorm(device, x, n_rows, n, w, b, 1e-5f, x));
    check(t.activate(device, UCB_ACT_GELU, x, nullptr, n_rows * n, x));
    take(x, n_rows * n * sizeof(float));
    check(t.alloc(device, sizeof(target), &targets));
    check(t.alloc(device, score_bytes, &score0));
    check(t.alloc(device, score_bytes, &score));
    check(t.upload(device, UCB_CUDA_COMPUTE, targets, target, sizeof(target)));
    auto *s0 = static_cast<struct ucb_cuda_score *>(score0),
         *s = static_cast<struct ucb_cuda_score *>(score);
    auto *ids_of = static_cast<uint32_t *>(targets);
    check(t.score(device, z0, e0, nullptr, nullptr, nullptr, n_rows, ids, ids, ids_of,
                  partial, s0));
    check(t.score(device, z, nullptr, z0, e0, s0, n_rows, ids, ids, ids_of, partial, s));
    take(score0, score_bytes);
    take(score, score_bytes);
}

/* ---- decoders whose threads depend on each other, on made-up plans ---- */

void *put(const void *host, size_t n_bytes)
{
    void *p;
    check(ucb_cuda_backend.alloc(device, n_bytes, &p));
    check(ucb_cuda_backend.upload(device, UCB_CUDA_COMPUTE, p, host, n_bytes));
    return p;
}

/* An entropy chunk of any states and words: what it decodes to means nothing. */
void run_codec_kernels()
{
    const uint32_t n = 230, n_words = 2000;
    std::vector<uint8_t> bytes(128 + n + 3 * n + 2 * n_words), plan;
    struct codec_plan_head head = {1, 1};
    struct codec_plan_chunk chunk = {};
    static struct codec_plan_table table;
    uint32_t zero = 0;
    for (size_t i = 0; i < bytes.size(); i++) bytes[i] = (uint8_t)(i * 37 | 1);
    for (uint32_t i = 0; i < CODEC_PLAN_SLOTS; i++)
        table.slot[i] = 63 | i % 64 << 12 | i / 64 << 24;
    chunk.plane = 128;
    chunk.words = 128 + 4 * n;
    chunk.n = n;
    chunk.n_words = n_words;
    chunk.n_escapes = n;
    chunk.coder = CODEC_PLAN_ENTROPY;
    chunk.width = 2;
    chunk.exponent_bits = 8;
    chunk.escapes = 128 + 3 * n;
    plan.insert(plan.end(), (uint8_t *)&head, (uint8_t *)(&head + 1));
    plan.insert(plan.end(), (uint8_t *)&chunk, (uint8_t *)(&chunk + 1));
    plan.insert(plan.end(), (uint8_t *)&table, (uint8_t *)(&table + 1));
    struct ucb_cuda_payload payload = {};
    payload.bytes = (const uint8_t *)put(bytes.data(), bytes.size());
    payload.plan = (const uint8_t *)put(plan.data(), plan.size());
    payload.host_plan = plan.data();
    payload.bad = (uint32_t *)put(&zero, sizeof(zero));
    void *out = made_up(n);
    check(run_codec(device, UCB_CUDA_COMPUTE, &payload, 0, true, (uint8_t *)out));
    take(out, 2 * n);
}

/* All symbols are 0, of one class: the bits are those of the prediction. */
void run_residual_kernel()
{
    const uint32_t n = 150;
    uint8_t symbols[n] = {};
    uint32_t zero = 0;
    struct residual_plan_segment segment = {};
    segment.end[0] = n;
    struct residual_call call = {};
    call.bytes = call.symbols = (const uint8_t *)put(symbols, n);
    call.segments = (const struct residual_plan_segment *)put(&segment, sizeof(segment));
    call.before = made_up(n);
    call.bits = (uint8_t *)made_up(n);
    call.bad = (uint32_t *)put(&zero, sizeof(zero));
    call.n = n;
    call.dtype = UCB_F32;
    UCB_LAUNCH(residual_kernel, 1, RESIDUAL_LANES, device->stream[UCB_CUDA_COMPUTE], call);
    take(call.bits, n * sizeof(float));
    take(call.bad, sizeof(zero));
}

/* Any codes and books; the second of two rows is kept. */
void run_overlay_kernel()
{
    const uint32_t n_in = 48, n_out = 2,
                   rows[n_out] = {OVERLAY_PLAN_CODED, OVERLAY_PLAN_FP16};
    std::vector<uint8_t> bytes(1000), rest(4 * n_in + sizeof(rows));
    std::vector<float> signs(n_in, 1.0f);
    for (size_t i = 0; i < bytes.size(); i++) bytes[i] = (uint8_t)(i * 29 % 59);
    memcpy(rest.data(), signs.data(), 4 * n_in);
    memcpy(rest.data() + 4 * n_in, rows, sizeof(rows));
    struct overlay_call call = {};
    call.plan.second_book = 64;
    call.plan.codes = 300;
    call.plan.fp16 = 400;
    call.plan.b1 = call.plan.b2 = 2;
    call.plan.rotation = 16;
    call.plan.rotation_scale = 0.25f;
    call.bytes = call.shared = (const uint8_t *)put(bytes.data(), bytes.size());
    call.rest = (const uint8_t *)put(rest.data(), rest.size());
    call.n_in = n_in;
    float *out = made_up(n_out * n_in);
    UCB_LAUNCH(overlay_kernel, n_out, 32, device->stream[UCB_CUDA_COMPUTE], call, out);
    take(out, n_out * n_in * sizeof(float));
}

int run_kernels()
{
    check(ucb_cuda_backend.open(0, &device));
    run_products(UCB_ARITH_FP32);
    run_products(UCB_ARITH_BF16);
    run_products(UCB_ARITH_BF16_DOT);
    run_rows();
    run_codec_kernels();
    run_residual_kernel();
    run_overlay_kernel();
    ucb_cuda_backend.close(device);
    printf("%016" PRIx64 "\n", digest);
    return 0;
}
} // namespace

int main(int n_args, char **args)
{
    static const char *const mistakes[] = {
        "none",         "no-barrier", "divergent-barrier", "half-barrier",
        "early-return", "wrong-mask", "foreign-mask",      "foreign-source"};
    const char *which = n_args == 2 ? args[1] : "";
    for (int i = 0; i < 8; i++)
        if (strcmp(which, mistakes[i]) == 0) return run_sum((enum mistake)i);
    if (strcmp(which, "streams") == 0) return run_streams(true);
    if (strcmp(which, "no-wait") == 0) return run_streams(false);
    if (strcmp(which, "kernels") == 0) return run_kernels();
    fprintf(stderr, "usage: emulation-test MISTAKE|streams|no-wait|kernels\n");
    return 2;
}
