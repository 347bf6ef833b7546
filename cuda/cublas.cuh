/*
 * cublas.cuh - the arithmetic `cublas`: products by NVIDIA's library, which is loaded when
 * the arithmetic is asked for. The strict arithmetics run without it.
 *
 * What can be fixed is: fp32 with COMPUTE_32F_PEDANTIC (no TF32, no reduced precision), one
 * workspace of our own on one stream, the library's default algorithm, and calls of 256
 * rows (the last ones filled up with zeros) and 4096 columns, so that the library's choice
 * of a kernel depends on the weight's shape alone: neither a batch nor a weight given in
 * parts shows in the bits.
 */
#ifndef UCB_CUDA_CUBLAS_CUH
#define UCB_CUDA_CUBLAS_CUH

#include "linear.cuh"

#ifdef __CUDACC__
#include <cublas_v2.h>
#include <dlfcn.h>

#define CUBLAS_TEXT_(x) #x
#define CUBLAS_TEXT(x) CUBLAS_TEXT_(x)
#define CUBLAS_FILE "libcublas.so." CUBLAS_TEXT(CUBLAS_VER_MAJOR)

constexpr size_t CUBLAS_ROWS = 256, CUBLAS_WORKSPACE = 32 << 20;
constexpr uint32_t CUBLAS_COLUMNS = UCB_CUDA_CUBLAS_COLUMNS;

/* The header overloads the name. */
typedef cublasStatus_t gemm_function(cublasHandle_t, cublasOperation_t, cublasOperation_t,
                                     int, int, int, const void *, const void *,
                                     cudaDataType, int, const void *, cudaDataType, int,
                                     const void *, void *, cudaDataType, int,
                                     cublasComputeType_t, cublasGemmAlgo_t);

/* The functions that are called, by the names the library exports. */
#define CUBLAS_FUNCTIONS(X)                                                   \
    X(create, cublasCreate_v2)                                                \
    X(destroy, cublasDestroy_v2)                                              \
    X(version, cublasGetVersion_v2)                                           \
    X(set_stream, cublasSetStream_v2) X(set_workspace, cublasSetWorkspace_v2) \
        X(set_math, cublasSetMathMode) X(status, cublasGetStatusString)

struct cublas_library {
    cublasHandle_t handle;
    void *workspace, *x, *y; /* [256] rows for the last ones of a product */
    size_t x_bytes, y_bytes;
    gemm_function *gemm;
#define CUBLAS_MEMBER(name, symbol) decltype(&symbol) name;
    CUBLAS_FUNCTIONS(CUBLAS_MEMBER)
#undef CUBLAS_MEMBER
};

static const char *cublas_answer(struct ucb_cuda_device *device,
                                 const struct cublas_library *library, const char *what,
                                 cublasStatus_t status)
{
    if (status == CUBLAS_STATUS_SUCCESS) return NULL;
    snprintf(device->text, sizeof(device->text), "cuBLAS: %s: %s", what,
             library->status(status));
    return device->text;
}

static const char *cublas_find(struct ucb_cuda_device *device,
                               struct cublas_library *library)
{
    void *file = dlopen(CUBLAS_FILE, RTLD_NOW | RTLD_LOCAL);
    const char *missing = NULL;
    if (file == NULL) {
        snprintf(device->text, sizeof(device->text),
                 "no cuBLAS (%s); install the CUDA toolkit's libraries", dlerror());
        return device->text;
    }
#define CUBLAS_LOOK(name, symbol)                                \
    *(void **)&library->name = dlsym(file, CUBLAS_TEXT(symbol)); \
    if (library->name == NULL) missing = CUBLAS_TEXT(symbol);
    CUBLAS_FUNCTIONS(CUBLAS_LOOK)
    CUBLAS_LOOK(gemm, cublasGemmEx)
#undef CUBLAS_LOOK
    if (missing == NULL) return NULL;
    snprintf(device->text, sizeof(device->text), "%s has no %s", CUBLAS_FILE, missing);
    return device->text;
}

static const char *cublas_prepare(struct ucb_cuda_device *device,
                                  struct cublas_library *library)
{
    int version = 0;
    const char *failed = cublas_find(device, library);
    if (failed != NULL) return failed;
    /* Where the library takes memory of its own after all, it takes it in one way. */
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 1);
    failed = cublas_answer(device, library, "create", library->create(&library->handle));
    if (failed != NULL) return failed;
    failed = device_alloc(device, CUBLAS_WORKSPACE, &library->workspace);
    if (failed != NULL) return failed;
    failed = cublas_answer(
        device, library, "stream",
        library->set_stream(library->handle, device->stream[UCB_CUDA_COMPUTE]));
    if (failed != NULL) return failed;
    failed = cublas_answer(
        device, library, "workspace",
        library->set_workspace(library->handle, library->workspace, CUBLAS_WORKSPACE));
    if (failed != NULL) return failed;
    failed = cublas_answer(device, library, "math mode",
                           library->set_math(library->handle, CUBLAS_PEDANTIC_MATH));
    if (failed != NULL) return failed;
    failed = cublas_answer(device, library, "version",
                           library->version(library->handle, &version));
    snprintf(device->info.cublas, sizeof(device->info.cublas), "%d.%d.%d", version / 10000,
             version / 100 % 100, version % 100);
    return failed;
}

static void cublas_close(struct ucb_cuda_device *device)
{
    struct cublas_library *library = (struct cublas_library *)device->cublas;
    if (library == NULL) return;
    if (library->handle != NULL) (void)library->destroy(library->handle);
    delete library; /* its memory is the device's */
    device->cublas = NULL;
}

static const char *run_cublas(struct ucb_cuda_device *device)
{
    if (device->cublas != NULL) return NULL;
    struct cublas_library *library = new (std::nothrow) cublas_library();
    if (library == NULL) return "no memory for cuBLAS";
    device->cublas = library;
    const char *failed = cublas_prepare(device, library);
    if (failed != NULL) cublas_close(device);
    return failed;
}

/* 256 rows: y = x w^T, all row-major, seen by the library as columns. */
static const char *multiply_256(struct ucb_cuda_device *device, const struct linear_call *l,
                                const float *x, float *y)
{
    struct cublas_library *library = (struct cublas_library *)device->cublas;
    const float one = 1.0f, zero = 0.0f;
    size_t width = ((size_t)l->n_in + STEP - 1) / STEP * STEP;
    const char *failed = NULL;
    for (uint32_t column = 0; column < l->n_out && failed == NULL;
         column += CUBLAS_COLUMNS) {
        uint32_t left = l->n_out - column,
                 n = left < CUBLAS_COLUMNS ? left : CUBLAS_COLUMNS;
        failed = cublas_answer(
            device, library, "product",
            library->gemm(
                library->handle, CUBLAS_OP_T, CUBLAS_OP_N, (int)n, (int)CUBLAS_ROWS,
                (int)l->n_in, &one, (const float *)l->packed + column * width, CUDA_R_32F,
                (int)width, x, CUDA_R_32F, (int)l->n_in, &zero, y + column, CUDA_R_32F,
                (int)l->y_stride, CUBLAS_COMPUTE_32F_PEDANTIC, CUBLAS_GEMM_DEFAULT));
    }
    return failed;
}

static const char *grow(struct ucb_cuda_device *device, void **p, size_t *n_bytes,
                        size_t wanted)
{
    if (*n_bytes >= wanted) return NULL;
    if (*p != NULL) device_free(device, *p);
    *p = NULL;
    *n_bytes = 0;
    const char *failed = device_alloc(device, wanted, p);
    if (failed == NULL) *n_bytes = wanted;
    return failed;
}

/* Fewer than 256 rows: through memory that has them all, with the pitch of y, which the
 * library may look at when it chooses a kernel. */
static const char *multiply_rest(struct ucb_cuda_device *device,
                                 const struct linear_call *l, size_t row)
{
    struct cublas_library *library = (struct cublas_library *)device->cublas;
    cudaStream_t s = device->stream[UCB_CUDA_COMPUTE];
    size_t n = l->n_rows - row, x_row = l->n_in * sizeof(float),
           y_row = l->n_out * sizeof(float), y_pitch = l->y_stride * sizeof(float);
    const char *failed = grow(device, &library->x, &library->x_bytes, CUBLAS_ROWS * x_row);
    if (failed == NULL)
        failed = grow(device, &library->y, &library->y_bytes, CUBLAS_ROWS * y_pitch);
    if (failed == NULL)
        failed = answer(device, "clear",
                        cudaMemsetAsync(library->x, 0, CUBLAS_ROWS * x_row, s));
    if (failed == NULL)
        failed = answer(device, "copy",
                        cudaMemcpyAsync(library->x, l->x + row * l->n_in, n * x_row,
                                        cudaMemcpyDeviceToDevice, s));
    if (failed == NULL)
        failed = multiply_256(device, l, (float *)library->x, (float *)library->y);
    if (failed != NULL) return failed;
    return answer(device, "copy",
                  cudaMemcpy2DAsync(l->y + row * l->y_stride, y_pitch, library->y, y_pitch,
                                    y_row, n, cudaMemcpyDeviceToDevice, s));
}

__global__ void bias_kernel(struct linear_call l)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x, row = i / l.n_out,
           column = i % l.n_out;
    if (row < l.n_rows)
        l.y[row * l.y_stride + column] = l.y[row * l.y_stride + column] + l.bias[column];
}

static const char *cublas_linear(struct ucb_cuda_device *device,
                                 const struct linear_call *l)
{
    const char *failed = run_cublas(device);
    size_t row = 0;
    for (; failed == NULL && l->n_rows - row >= CUBLAS_ROWS; row += CUBLAS_ROWS)
        failed = multiply_256(device, l, l->x + row * l->n_in, l->y + row * l->y_stride);
    if (failed == NULL && row < l->n_rows) failed = multiply_rest(device, l, row);
    if (failed != NULL || l->bias == NULL) return failed;
    UCB_LAUNCH(bias_kernel, n_blocks(l->n_rows * l->n_out, 256), 256,
               device->stream[UCB_CUDA_COMPUTE], *l);
    return launched(device, "bias");
}

#else

static void cublas_close(struct ucb_cuda_device *)
{
}

static const char *run_cublas(struct ucb_cuda_device *)
{
    return "the emulated plugin has no cuBLAS: that needs a device";
}

static const char *cublas_linear(struct ucb_cuda_device *device, const struct linear_call *)
{
    return run_cublas(device);
}

#endif
#endif
