/* A sweep on the emulated device: the digest of the CPU's database, with weights decoded or
 * given in tiles; what is recorded of the device; and cublas, which has no emulation. */
#include "test.h"

#include <stdio.h>
#include <string.h>

#include "cuda_fixture.h"
#include "tiny.h"

static char out[1 << 16];

static void sweep_digest(const char *name, const char *options, char hex[65])
{
    ucb_sweep_digest(ucb_test_path("%s/tiny", ucb_test_folder()), name,
                     ucb_test_path("--task lambada:n=1 --method nf4 %s", options), hex);
}

TEST(a_sweep_on_the_device_has_the_digest_of_the_cpu)
{
    static const char *const arithmetics[] = {"fp32", "bf16", "bf16-dot"};
    char expected[65], found[65];
    use_emulated_cuda("random:7");
    ucb_tiny_model(ucb_test_path("%s/tiny", ucb_test_folder()));
    for (int a = 0; a < 3; a++) {
        const char *cpu = ucb_test_path("--arithmetic %s", arithmetics[a]),
                   *cuda = ucb_test_path("%s --kernel cuda", cpu);
        sweep_digest(ucb_test_path("cpu%d", a), cpu, expected);
        sweep_digest(ucb_test_path("cuda%d", a), cuda, found);
        CHECK_TEXT(found, expected);
    }
    sweep_digest("cpu-encoded", "--resident encoded", expected);
    sweep_digest("cuda-encoded", "--resident encoded --kernel cuda --threads 2", found);
    CHECK_TEXT(found, expected);
}

/* A tuned layer is loaded when its turn comes; heads are decoded by the CPU. */
TEST(a_sweep_of_tuned_and_other_methods_on_the_device_has_the_digest_of_the_cpu)
{
    static const char methods[] = "--method nf4+lowrank:rank=4+distill:steps=2 "
                                  "--method int5 --method lossless --scope all";
    char expected[65], found[65];
    use_emulated_cuda("random:9");
    ucb_tiny_model(ucb_test_path("%s/tiny", ucb_test_folder()));
    sweep_digest("cpu", methods, expected);
    sweep_digest("cuda", ucb_test_path("%s --kernel cuda", methods), found);
    CHECK_TEXT(found, expected);
}

TEST(a_sweep_on_the_device_records_its_peak_memory)
{
    char hex[65];
    use_emulated_cuda("forward");
    ucb_tiny_model(ucb_test_path("%s/tiny", ucb_test_folder()));
    sweep_digest("cuda", "--kernel cuda", hex);
    CHECK_EQ(ucb_run_program(out, sizeof(out), "export --db %s/cuda.db --format csv",
                             ucb_test_folder()),
             0);
    CHECK_HAS(out, "peak_device_bytes");
}

TEST(cublas_on_the_emulated_device_is_refused_with_exit_4)
{
    use_emulated_cuda("forward");
    ucb_tiny_model(ucb_test_path("%s/tiny", ucb_test_folder()));
    CHECK_EQ(ucb_run_program(out, sizeof(out),
                             "sweep --model %s/tiny --task lambada:n=3 --data mini "
                             "--arithmetic cublas --db %s/x.db",
                             ucb_test_folder(), ucb_test_folder()),
             4);
    CHECK_HAS(out, "no cuBLAS");
    CHECK_EQ(ucb_run_program(out, sizeof(out),
                             "sweep --model %s/tiny --task lambada:n=3 --data mini "
                             "--arithmetic cublas --kernel avx2 --db %s/x.db",
                             ucb_test_folder(), ucb_test_folder()),
             2);
}
