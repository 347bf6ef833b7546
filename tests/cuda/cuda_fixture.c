/* cuda_fixture.c - see cuda_fixture.h. */
#include "cuda_fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/cuda.h"
#include "test.h"

void use_emulated_cuda(const char *order)
{
    const char *program = ucb_test_program(), *slash = strrchr(program, '/'), *why = NULL;
    const char *plugin = ucb_test_path("%.*slibucbench_cuda_emulated.so",
                                       (int)(slash + 1 - program), program);
    if (access(plugin, R_OK) != 0) SKIP("%s was not built: no C++ compiler", plugin);
    if (!ucb_kernel_available(UCB_KERNEL_AVX2, UCB_ARITH_FP32, &why))
        SKIP("the emulation is compiled for x86-64-v3: %s", why);
    setenv("UCBENCH_CUDA_PLUGIN", plugin, 1);
    setenv("UCB_EMULATION_ORDER", order, 1);
}

void use_real_plugin(void)
{
    const char *program = ucb_test_program(), *slash = strrchr(program, '/');
    const char *plugin = ucb_test_path("%.*slibucbench_cuda.so", (int)(slash + 1 - program),
                                       program);
    if (access(plugin, R_OK) != 0) SKIP("%s was not built: no nvcc", plugin);
    setenv("UCBENCH_CUDA_PLUGIN", plugin, 1);
}

void use_real_device(void)
{
    const char *why;
    use_real_plugin();
    if (!ucb_cuda_available(&why)) SKIP("no CUDA device");
}
