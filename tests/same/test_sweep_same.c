/* The same results for any thread count, batch, order, kernel path and resume point: equal
 * digests of the database. */
#include "test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/backend.h"
#include "core/err.h"
#include "tiny.h"

static const char tasks[] =
    "--task lambada:n=12 --task wikitext:ctx=64,n=6 --task lambada-windows:n=5,seed=3 --task wikitext-words:ctx=64,n=1";
static const char methods[] = "--method nf4 --method int8 --method hqq:bits=2,group=16";

TEST(threads_batch_order_memory_and_kernels_never_change_a_result)
{
    static const char *const variants[] = {
        "--threads 1 --batch 1", "--threads 2 --batch 7", "--threads 3 --batch 32",
        "--threads 7",           "--kernel scalar",       "--kernel avx2",
        "--memory 1K",
    };
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    char base[65], other[65];
    ucb_tiny_model(model);
    for (unsigned a = 0; a < UCB_N_STRICT_ARITHS; a++) {
        const char *arithmetic = ucb_arithmetic_name((enum ucb_arithmetic)a);
        ucb_sweep_digest(model, ucb_test_path("base-%s", arithmetic),
                         ucb_test_path("%s %s --arithmetic %s", tasks, methods, arithmetic),
                         base);
        for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
            if (strstr(variants[i], "avx2") != NULL &&
                !ucb_kernel_available(UCB_KERNEL_AVX2, (enum ucb_arithmetic)a, NULL))
                continue;
            ucb_sweep_digest(model, ucb_test_path("%s-%zu", arithmetic, i),
                             ucb_test_path("%s %s %s --arithmetic %s --cache %s/cache",
                                           tasks, methods, variants[i], arithmetic,
                                           ucb_test_folder()),
                             other);
            if (strcmp(base, other) != 0)
                ucb_test_fail(__FILE__, __LINE__, "%s %s: digest %.12s, expected %.12s",
                              arithmetic, variants[i], other, base);
        }
    }
}

/* A window is one call of its product: what stands beside it in a batch must not matter. */
TEST(quantized_activations_give_one_result_for_any_batch_threads_and_path)
{
    static const char options[] =
        "--task lambada:n=9 --task wikitext:ctx=64,n=4 --method int8:threshold=6.0 --method int8:threshold=0.5";
    static const char *const variants[] = {"--batch 1 --threads 1", "--batch 7 --threads 3",
                                           "--batch 512 --threads 3", "--kernel scalar"};
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    char base[65], other[65];
    ucb_tiny_model(model);
    ucb_sweep_digest(model, "own", options, base);
    for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
        ucb_sweep_digest(model, ucb_test_path("own-%zu", i),
                         ucb_test_path("%s %s", options, variants[i]), other);
        CHECK_TEXT(other, base);
    }
}

TEST(the_order_of_methods_and_tasks_never_changes_a_result)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    char a[65], b[65];
    ucb_tiny_model(model);
    ucb_sweep_digest(
        model, "a",
        "--method nf4 --method int8 --task lambada:n=9 --task wikitext:ctx=64,n=3", a);
    ucb_sweep_digest(
        model, "b",
        "--task wikitext:ctx=64,n=3 --method int8 --task lambada:n=9 --method nf4 --method none",
        b);
    CHECK_TEXT(a, b);
}

TEST(a_sweep_in_two_parts_equals_a_sweep_in_one)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    char whole[65], parts[65];
    ucb_tiny_model(model);
    ucb_sweep_digest(model, "whole", ucb_test_path("%s %s", tasks, methods), whole);
    ucb_sweep_digest(model, "parts", "--method int8 --task wikitext:ctx=64,n=6", parts);
    CHECK(strcmp(whole, parts) != 0);
    ucb_sweep_digest(model, "parts", ucb_test_path("%s %s", tasks, methods), parts);
    CHECK_TEXT(parts, whole);
}

/* Starts the sweep as a child of its own and kills it after `microseconds`. */
static void sweep_and_kill(const char *model, const char *db, useconds_t microseconds)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        const char *command = ucb_test_path(
            "exec %s sweep --quiet --data mini --model %s %s %s --db %s >/dev/null 2>&1",
            ucb_test_program(), model, tasks, methods, db);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    usleep(microseconds);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

TEST(a_killed_sweep_continues_to_the_same_digest)
{
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    char whole[65], resumed[65];
    ucb_tiny_model(model);
    ucb_sweep_digest(model, "whole", ucb_test_path("%s %s", tasks, methods), whole);
    for (useconds_t ms = 10; ms < 500; ms = ms * 5 / 3)
        sweep_and_kill(model, ucb_test_path("%s/killed.db", ucb_test_folder()), ms * 1000);
    ucb_sweep_digest(model, "killed", ucb_test_path("%s %s", tasks, methods), resumed);
    CHECK_TEXT(resumed, whole);
}
