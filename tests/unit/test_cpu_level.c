/* Which compilations of a file this CPU runs: as the kernel paths of the backend say. */
#include "test.h"

#include "backend/backend.h"
#include "core/cpu_level.h"

TEST(files_of_an_instruction_set_run_where_the_kernels_of_that_set_do)
{
    CHECK_EQ(ucb_cpu_runs_v3(),
             ucb_kernel_available(UCB_KERNEL_AVX2, UCB_ARITH_FP32, NULL));
    CHECK_EQ(ucb_cpu_runs_v4(),
             ucb_kernel_available(UCB_KERNEL_AVX512, UCB_ARITH_FP32, NULL));
}
