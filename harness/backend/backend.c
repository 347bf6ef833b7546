/*
 * backend.c - names, the choice of a kernel path, and the life of a backend.
 */
#include "backend/backend_internal.h"

#include <assert.h>
#include <string.h>
#include <xmmintrin.h>

#include "core/arena.h"
#include "core/text.h"

static const char *const arithmetic_names[UCB_N_ARITHS] = {"fp32", "bf16"};
static const char *const kernel_names[UCB_N_KERNELS] = {"auto", "scalar", "avx2", "avx512",
                                                        "amx"};

static const struct ucb_kernel_table *const tables[UCB_N_KERNELS] = {
    [UCB_KERNEL_SCALAR] = &ucb_kernel_table_scalar,
    [UCB_KERNEL_AVX2] = &ucb_kernel_table_avx2,
    [UCB_KERNEL_AVX512] = &ucb_kernel_table_avx512,
    [UCB_KERNEL_AMX] = &ucb_kernel_table_amx,
};

const char *ucb_arithmetic_name(enum ucb_arithmetic arithmetic)
{
    return arithmetic_names[arithmetic];
}

uint32_t ucb_arithmetic_revision(enum ucb_arithmetic arithmetic)
{
    return arithmetic == UCB_ARITH_FP32 ? UCB_ARITH_FP32_REVISION : UCB_ARITH_BF16_REVISION;
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

bool ucb_kernel_available(enum ucb_kernel kernel, enum ucb_arithmetic arithmetic,
                          const char **why)
{
    const char *reason = "amx is a path of bf16 only";
    bool available = kernel == UCB_KERNEL_AUTO ||
                     (tables[kernel]->products[arithmetic] != NULL &&
                      ucb_cpu_runs(kernel, &reason));
    if (!available && why != NULL) *why = reason;
    return available;
}

static enum ucb_kernel fastest(enum ucb_arithmetic arithmetic)
{
    enum ucb_kernel kernel = UCB_N_KERNELS - 1;
    while (kernel > UCB_KERNEL_SCALAR && !ucb_kernel_available(kernel, arithmetic, NULL))
        kernel--;
    return kernel;
}

ucb_status ucb_backend_open(enum ucb_arithmetic arithmetic, enum ucb_kernel kernel,
                            struct ucb_pool *pool, struct ucb_backend **out,
                            struct ucb_err *err)
{
    assert(arithmetic < UCB_N_ARITHS);
    assert(kernel < UCB_N_KERNELS);
    const char *why = NULL;
    if (kernel == UCB_KERNEL_AUTO) kernel = fastest(arithmetic);
    if (tables[kernel]->products[arithmetic] == NULL)
        return UCB_FAIL(
            err, UCB_USAGE,
            "--kernel %s has no %s arithmetic; try --kernel auto or --arithmetic bf16",
            kernel_names[kernel], arithmetic_names[arithmetic]);
    if (!ucb_kernel_available(kernel, arithmetic, &why))
        return UCB_FAIL(err, UCB_ENVIRONMENT,
                        "--kernel %s: %s; try --kernel auto, which gives the same bits",
                        kernel_names[kernel], why);
    return ucb_backend_open_table(arithmetic, tables[kernel], pool, out, err);
}

ucb_status ucb_backend_open_table(enum ucb_arithmetic arithmetic,
                                  const struct ucb_kernel_table *table,
                                  struct ucb_pool *pool, struct ucb_backend **out,
                                  struct ucb_err *err)
{
    struct ucb_backend *backend = ucb_mem_alloc(sizeof(*backend));
    if (backend == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a backend");
    backend->arithmetic = arithmetic;
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
    ucb_mem_free(backend->scratch);
    ucb_mem_free(backend);
}

enum ucb_kernel ucb_backend_kernel(const struct ucb_backend *backend)
{
    return backend->table->kernel;
}

enum ucb_arithmetic ucb_backend_arithmetic(const struct ucb_backend *backend)
{
    return backend->arithmetic;
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
