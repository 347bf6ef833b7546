/*
 * backend.c - names, the choice of a kernel path, and the life of a backend.
 */
#include "backend/backend_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <xmmintrin.h>

#include "backend/cuda_internal.h"
#include "core/arena.h"
#include "core/text.h"

static const char *const arithmetic_names[UCB_N_ARITHS] = {"fp32", "bf16", "bf16-dot",
                                                           "cublas"};
static const char *const kernel_names[UCB_N_KERNELS] = {"auto",   "scalar", "avx2",
                                                        "avx512", "amx",    "cuda"};

/* Of the CPU. */
static const struct ucb_kernel_table *const tables[UCB_KERNEL_CUDA] = {
    [UCB_KERNEL_SCALAR] = &ucb_kernel_table_scalar,
    [UCB_KERNEL_AVX2] = &ucb_kernel_table_avx2,
    [UCB_KERNEL_AVX512] = &ucb_kernel_table_avx512,
    [UCB_KERNEL_AMX] = &ucb_kernel_table_amx,
};

static const struct ucb_kernel_table *table_of(enum ucb_kernel kernel,
                                               enum ucb_arithmetic arithmetic)
{
    if (kernel == UCB_KERNEL_AVX512 && arithmetic == UCB_ARITH_BF16_DOT &&
        ucb_dot_is_native())
        return &ucb_kernel_table_avx512bf16;
    return tables[kernel];
}

const char *ucb_arithmetic_name(enum ucb_arithmetic arithmetic)
{
    return arithmetic_names[arithmetic];
}

uint32_t ucb_arithmetic_revision(enum ucb_arithmetic arithmetic)
{
    static const uint32_t revisions[UCB_N_ARITHS] = {
        UCB_ARITH_FP32_REVISION, UCB_ARITH_BF16_REVISION, UCB_ARITH_BF16_DOT_REVISION,
        UCB_ARITH_CUBLAS_REVISION};
    return revisions[arithmetic];
}

ucb_status ucb_arithmetic_identity(enum ucb_arithmetic arithmetic, const char **out,
                                   struct ucb_err *err)
{
    static char library[256]; /* the same at every call: one device a process */
    struct ucb_cuda_info info;
    struct ucb_cuda *cuda;
    *out = arithmetic_names[arithmetic];
    if (arithmetic != UCB_ARITH_CUBLAS) return UCB_OK;
    if (library[0] == '\0') {
        UCB_TRY(ucb_cuda_open(arithmetic, &cuda, err));
        ucb_cuda_info(cuda, &info);
        ucb_cuda_close(cuda);
        snprintf(library, sizeof(library), "cublas %s on %s sm_%u%u", info.cublas,
                 info.name, info.major, info.minor);
    }
    *out = library;
    return UCB_OK;
}

const char *ucb_kernel_name(enum ucb_kernel kernel)
{
    return kernel_names[kernel];
}

static ucb_status find_name(const char *kind, const char *const *names, size_t n_names,
                            const char *name, size_t *out, struct ucb_err *err)
{
    for (size_t i = 0; i < n_names; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *out = i;
        return UCB_OK;
    }
    char near[256];
    ucb_text_near(name, names, n_names, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "%s `%s` does not exist; %s", kind, name, near);
}

ucb_status ucb_arithmetic_find(const char *name, enum ucb_arithmetic *out,
                               struct ucb_err *err)
{
    size_t index = 0;
    UCB_TRY(find_name("arithmetic", arithmetic_names, UCB_N_ARITHS, name, &index, err));
    *out = (enum ucb_arithmetic)index;
    return UCB_OK;
}

ucb_status ucb_kernel_find(const char *name, enum ucb_kernel *out, struct ucb_err *err)
{
    size_t index = 0;
    UCB_TRY(find_name("kernel path", kernel_names, UCB_N_KERNELS, name, &index, err));
    *out = (enum ucb_kernel)index;
    return UCB_OK;
}

/* Whether such a pair exists at all, on any machine; if not, *why. */
static bool is_path_of(enum ucb_kernel kernel, enum ucb_arithmetic arithmetic,
                       const char **why)
{
    *why = "cublas is an arithmetic of the path cuda only";
    if (kernel == UCB_KERNEL_CUDA) return true;
    if (arithmetic == UCB_ARITH_CUBLAS) return false;
    *why = "amx is a path of bf16 only";
    return tables[kernel]->products[arithmetic] != NULL;
}

bool ucb_kernel_available(enum ucb_kernel kernel, enum ucb_arithmetic arithmetic,
                          const char **why)
{
    const char *reason = NULL;
    if (kernel == UCB_KERNEL_AUTO && arithmetic != UCB_ARITH_CUBLAS) return true;
    if (kernel == UCB_KERNEL_AUTO) kernel = UCB_KERNEL_CUDA;
    bool available = is_path_of(kernel, arithmetic, &reason) &&
                     (kernel == UCB_KERNEL_CUDA ? ucb_cuda_available(&reason)
                                                : ucb_cpu_runs(kernel, &reason));
    if (!available && why != NULL) *why = reason;
    return available;
}

ucb_status ucb_kernel_check(enum ucb_kernel kernel, enum ucb_arithmetic arithmetic,
                            struct ucb_err *err)
{
    const char *why = NULL;
    if (kernel == UCB_KERNEL_AUTO || is_path_of(kernel, arithmetic, &why)) return UCB_OK;
    return UCB_FAIL(err, UCB_USAGE,
                    "--kernel %s has no %s arithmetic: %s; try --kernel auto or another "
                    "--arithmetic",
                    kernel_names[kernel], arithmetic_names[arithmetic], why);
}

ucb_status ucb_kernel_ready(enum ucb_kernel kernel, enum ucb_arithmetic arithmetic,
                            struct ucb_err *err)
{
    const char *why = NULL;
    UCB_TRY(ucb_kernel_check(kernel, arithmetic, err));
    if (ucb_kernel_available(kernel, arithmetic, &why)) return UCB_OK;
    if (kernel == UCB_KERNEL_AUTO)
        return UCB_FAIL(err, UCB_ENVIRONMENT, "--arithmetic %s: %s",
                        arithmetic_names[arithmetic], why);
    return UCB_FAIL(err, UCB_ENVIRONMENT, "--kernel %s: %s%s", kernel_names[kernel], why,
                    arithmetic == UCB_ARITH_CUBLAS
                        ? ""
                        : "; try --kernel auto, which gives the same bits");
}

/* Of the CPU: a GPU is never taken unasked, so that a nightly run does not change its
 * machine silently. */
static enum ucb_kernel fastest(enum ucb_arithmetic arithmetic)
{
    enum ucb_kernel kernel = UCB_KERNEL_AMX;
    while (kernel > UCB_KERNEL_SCALAR && !ucb_kernel_available(kernel, arithmetic, NULL))
        kernel--;
    return kernel;
}

/* What the device has no kernel for, the CPU does; of cublas that is outside products,
 * where its arithmetic is fp32. */
static ucb_status open_cuda(enum ucb_arithmetic arithmetic, struct ucb_pool *pool,
                            struct ucb_backend **out, struct ucb_err *err)
{
    enum ucb_arithmetic strict = arithmetic == UCB_ARITH_CUBLAS ? UCB_ARITH_FP32
                                                                : arithmetic;
    struct ucb_backend *backend;
    ucb_status status;
    UCB_TRY(ucb_backend_open_table(strict, table_of(fastest(strict), strict), pool,
                                   &backend, err));
    backend->arithmetic = arithmetic;
    status = ucb_cuda_open(arithmetic, &backend->cuda, err);
    if (status == UCB_OK)
        status = ucb_arithmetic_identity(arithmetic, &backend->identity, err);
    if (status == UCB_OK) {
        *out = backend;
        return UCB_OK;
    }
    ucb_backend_close(backend);
    ucb_err_prefix(err, arithmetic == UCB_ARITH_CUBLAS ? "--arithmetic cublas"
                                                       : "--kernel cuda");
    return status;
}

ucb_status ucb_backend_open(enum ucb_arithmetic arithmetic, enum ucb_kernel kernel,
                            struct ucb_pool *pool, struct ucb_backend **out,
                            struct ucb_err *err)
{
    assert(arithmetic < UCB_N_ARITHS);
    assert(kernel < UCB_N_KERNELS);
    UCB_TRY(ucb_kernel_ready(kernel, arithmetic, err));
    if (kernel == UCB_KERNEL_AUTO)
        kernel = arithmetic == UCB_ARITH_CUBLAS ? UCB_KERNEL_CUDA : fastest(arithmetic);
    if (kernel == UCB_KERNEL_CUDA) return open_cuda(arithmetic, pool, out, err);
    return ucb_backend_open_table(arithmetic, table_of(kernel, arithmetic), pool, out, err);
}

ucb_status ucb_backend_open_table(enum ucb_arithmetic arithmetic,
                                  const struct ucb_kernel_table *table,
                                  struct ucb_pool *pool, struct ucb_backend **out,
                                  struct ucb_err *err)
{
    struct ucb_backend *backend = ucb_mem_alloc(sizeof(*backend));
    if (backend == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a backend");
    backend->arithmetic = arithmetic;
    backend->identity = arithmetic_names[arithmetic];
    backend->table = table;
    backend->products = table->products[arithmetic];
    backend->pool = pool;
    assert(backend->products != NULL);
    *out = backend;
    return UCB_OK;
}

void ucb_backend_close(struct ucb_backend *backend)
{
    if (backend == NULL) return;
    ucb_cuda_close(backend->cuda);
    ucb_mem_free(backend->scratch);
    ucb_mem_free(backend);
}

enum ucb_kernel ucb_backend_kernel(const struct ucb_backend *backend)
{
    return backend->cuda != NULL ? UCB_KERNEL_CUDA : backend->table->kernel;
}

enum ucb_arithmetic ucb_backend_arithmetic(const struct ucb_backend *backend)
{
    return backend->arithmetic;
}

struct ucb_cuda *ucb_backend_cuda(const struct ucb_backend *backend)
{
    return backend->cuda;
}

const char *ucb_backend_identity(const struct ucb_backend *backend)
{
    return backend->identity;
}

ucb_status ucb_backend_finish(struct ucb_backend *backend, struct ucb_err *err)
{
    struct ucb_cuda *cuda = backend->cuda;
    if (cuda == NULL) return UCB_OK;
    ucb_cuda_note(cuda, "a kernel", cuda->table->finish(cuda->device, UCB_CUDA_COMPUTE));
    return ucb_cuda_status(cuda, err);
}

void ucb_backend_keep(struct ucb_backend *backend, void *p, size_t n_bytes)
{
    if (backend->cuda != NULL) ucb_cuda_keep(backend->cuda, p, n_bytes);
}

void ucb_backend_forget(struct ucb_backend *backend, const void *p)
{
    if (backend->cuda != NULL) ucb_cuda_give_up(backend->cuda, p);
}

void ucb_backend_read(struct ucb_backend *backend, const void *p, size_t n_bytes)
{
    if (backend->cuda != NULL) ucb_cuda_host_reads(backend->cuda, p, n_bytes);
}

void ucb_backend_write(struct ucb_backend *backend, void *p, size_t n_bytes)
{
    if (backend->cuda != NULL) ucb_cuda_host_writes(backend->cuda, p, n_bytes);
}

uint64_t ucb_backend_device_peak_bytes(const struct ucb_backend *backend)
{
    struct ucb_cuda_info info = {.peak_bytes = 0};
    if (backend->cuda != NULL) ucb_cuda_info(backend->cuda, &info);
    return info.peak_bytes;
}

void ucb_backend_restart_device_peak(struct ucb_backend *backend)
{
    if (backend->cuda != NULL) backend->cuda->table->restart_peak(backend->cuda->device);
}

ucb_status ucb_backend_scratch(struct ucb_backend *backend, size_t n_bytes,
                               const char *what, unsigned char **out, struct ucb_err *err)
{
    if (n_bytes > backend->scratch_bytes) {
        ucb_mem_free(backend->scratch);
        backend->scratch_bytes = 0;
        backend->scratch = ucb_mem_alloc(n_bytes);
        if (backend->scratch == NULL)
            return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu bytes", what, n_bytes);
        backend->scratch_bytes = n_bytes;
    }
    *out = backend->scratch;
    return UCB_OK;
}

uint32_t ucb_begin_plain(void)
{
    return 0;
}

void ucb_end_plain(uint32_t state)
{
    (void)state;
}

/* MXCSR: bit 15 flushes results to zero, bit 6 reads subnormal operands as zero. */
enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x0040 };

uint32_t ucb_begin_flushing(void)
{
    uint32_t state = _mm_getcsr();
    _mm_setcsr(state | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
    return state;
}

void ucb_end_flushing(uint32_t state)
{
    _mm_setcsr(state);
}
