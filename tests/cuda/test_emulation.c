/* The emulation catches what it is for: planted mistakes, with fibers in each order and
 * with threads under TSan, which also look at every kernel of the plugin. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/backend.h"

static char out[1 << 16];

/* Runs the emulation's own program beside ucbench; its exit code, or 128 + its signal. */
static int run(const char *program, const char *order, const char *mistake)
{
    const char *ours = ucb_test_program(), *slash = strrchr(ours, '/'), *why = NULL;
    const char *path = ucb_test_path("%.*s%s", (int)(slash + 1 - ours), ours, program);
    if (access(path, X_OK) != 0) SKIP("%s was not built", path);
    if (!ucb_kernel_available(UCB_KERNEL_AVX2, UCB_ARITH_FP32, &why))
        SKIP("the emulation is compiled for x86-64-v3: %s", why);
    FILE *pipe = popen(
        ucb_test_path("exec env UCB_EMULATION_ORDER=%s %s %s 2>&1", order, path, mistake),
        "r");
    CHECK(pipe != NULL);
    size_t n = fread(out, 1, sizeof(out) - 1, pipe);
    out[n] = '\0';
    int state = pclose(pipe);
    return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}

static const char *const orders[] = {"forward", "reverse", "random:1", "random:2"};
enum { N_ORDERS = sizeof(orders) / sizeof(orders[0]) };

TEST(a_kernel_without_a_mistake_is_right_in_every_order)
{
    for (int i = 0; i < N_ORDERS; i++) {
        CHECK_EQ(run("emulation-test", orders[i], "none"), 0);
        CHECK_TEXT(out, "right\n");
        CHECK_EQ(run("emulation-test", orders[i], "streams"), 0);
        CHECK_TEXT(out, "right\n");
    }
}

/* It passes in reverse, where the first thread comes last: why all orders are needed. */
TEST(a_missing_barrier_shows_in_one_of_the_orders)
{
    int n_wrong = 0;
    for (int i = 0; i < N_ORDERS; i++) {
        CHECK_EQ(run("emulation-test", orders[i], "no-barrier"), 0);
        n_wrong += strcmp(out, "wrong\n") == 0;
    }
    CHECK(n_wrong > 0);
    CHECK(n_wrong < N_ORDERS);
}

TEST(a_kernel_that_does_not_wait_for_the_other_stream_reads_garbage_in_one_of_the_orders)
{
    int n_wrong = 0;
    for (int i = 0; i < N_ORDERS; i++) {
        CHECK_EQ(run("emulation-test", orders[i], "no-wait"), 0);
        n_wrong += strcmp(out, "wrong\n") == 0;
    }
    CHECK(n_wrong > 0);
}

TEST(divergent_barriers_and_wrong_masks_end_the_program_with_the_reason)
{
    static const char *const mistakes[][2] = {
        {"divergent-barrier", "wait at lines"},
        {"half-barrier", "divergent barrier"},
        {"early-return", "has ended"},
        {"wrong-mask", "waits at a warp operation"},
        {"foreign-mask", "the mask leaves out its caller"},
        {"foreign-source", "the source of a shuffle is not in its mask"}};
    for (size_t m = 0; m < sizeof(mistakes) / sizeof(mistakes[0]); m++)
        for (int i = 0; i < N_ORDERS; i++) {
            CHECK(run("emulation-test", orders[i], mistakes[m][0]) != 0);
            CHECK_HAS(out, mistakes[m][1]);
        }
}

TEST(tsan_sees_the_race_of_a_missing_barrier)
{
    CHECK_EQ(run("emulation-test-threads", "forward", "none"), 0);
    CHECK_TEXT(out, "right\n");
    CHECK(run("emulation-test-threads", "forward", "no-barrier") != 0);
    CHECK_HAS(out, "data race");
}

TEST(kernels_have_no_race_and_give_the_same_bits_with_threads_and_in_every_order)
{
    char expected[64];
    CHECK_EQ(run("emulation-test", "forward", "kernels"), 0);
    snprintf(expected, sizeof(expected), "%s", out);
    for (int i = 1; i < N_ORDERS; i++) {
        CHECK_EQ(run("emulation-test", orders[i], "kernels"), 0);
        CHECK_TEXT(out, expected);
    }
    CHECK_EQ(run("emulation-test-threads", "forward", "kernels"), 0);
    CHECK_TEXT(out, expected);
}
