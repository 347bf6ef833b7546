/* A sweep that distills, killed while it does: the layers that were finished are kept, and
 * the results are those of a sweep that was left alone. */
#include "test.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tiny.h"

/* Seconds of tuning in two layers, so that kills meet every stage of it. */
static const char work[] =
    "--task lambada:n=8 --task wikitext:ctx=64,n=3 --calib calib-mini:n=8,ctx=48 "
    "--method gsq:bits=3+lowrank:rank=8+distill:steps=40,batch=4 "
    "--method gsq:bits=3+lowrank:rank=8+distill:steps=20,batch=4,train=all,online=1";

static const char *command(const char *name)
{
    const char *folder = ucb_test_folder();
    return ucb_test_path("sweep --quiet --data mini --model %s/tiny --cache %s/cache-%s "
                         "--db %s/%s.db %s",
                         folder, folder, name, folder, name, work);
}

static void finish(const char *name, char hex[65])
{
    static char out[1 << 16];
    int code = ucb_run_program(out, sizeof(out), "%s", command(name));
    if (code != 0) ucb_test_fail(__FILE__, __LINE__, "%s: exit %d: %s", name, code, out);
    code = ucb_run_program(out, sizeof(out), "digest --db %s/%s.db", ucb_test_folder(),
                           name);
    CHECK_EQ(code, 0);
    snprintf(hex, 65, "%.64s", out);
}

/* As a child of its own, which gets no chance to tidy up. */
static void start_and_kill(const char *name, useconds_t microseconds)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        const char *line = ucb_test_path("exec %s %s >/dev/null 2>&1", ucb_test_program(),
                                         command(name));
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    usleep(microseconds);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

TEST(a_sweep_killed_while_it_distills_continues_to_the_same_digest)
{
    char whole[65], resumed[65];
    ucb_tiny_model(ucb_test_path("%s/tiny", ucb_test_folder()));
    finish("whole", whole);
    for (useconds_t ms = 30; ms < 700; ms = ms * 3 / 2) start_and_kill("killed", ms * 1000);
    finish("killed", resumed);
    CHECK_TEXT(resumed, whole);
}

/* The layers kept by one sweep serve another database; nothing is tuned again. */
TEST(layers_kept_in_the_cache_give_another_database_the_same_digest)
{
    char first[65], second[65];
    ucb_tiny_model(ucb_test_path("%s/tiny", ucb_test_folder()));
    finish("first", first);
    CHECK(rename(ucb_test_path("%s/cache-first", ucb_test_folder()),
                 ucb_test_path("%s/cache-second", ucb_test_folder())) == 0);
    finish("second", second);
    CHECK_TEXT(second, first);
}
