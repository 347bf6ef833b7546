/* GGUF files against llama.cpp itself, where its Python package is installed
 * ($UCBENCH_PYTHON, else python3): tests/peers/check_gguf.py says what is compared. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char said[1 << 16];

/* Exit code of a shell command; what it printed goes to `said`. */
static int run(const char *command)
{
    FILE *pipe = popen(command, "r");
    CHECK(pipe != NULL);
    said[fread(said, 1, sizeof(said) - 1, pipe)] = '\0';
    for (char rest[4096]; fread(rest, 1, sizeof(rest), pipe) > 0;) continue;
    int state = pclose(pipe);
    return WIFEXITED(state) ? WEXITSTATUS(state) : 128;
}

static const char *python_or_skip(void)
{
    const char *python = getenv("UCBENCH_PYTHON");
    if (python == NULL) python = "python3";
    if (run(ucb_test_path("'%s' -c 'import numpy, gguf, llama_cpp' 2>&1", python)) != 0)
        SKIP("%s has no numpy, gguf and llama_cpp (pip install llama-cpp-python==0.3.36 "
             "gguf); UCBENCH_PYTHON names another python",
             python);
    return python;
}

static void check(const char *options)
{
    const char *python = python_or_skip();
    int code = run(ucb_test_path("'%s' '%s/tests/peers/check_gguf.py' '%s' '%s' %s 2>&1",
                                 python, ucb_test_root(), ucb_test_program(),
                                 ucb_test_folder(), options));
    if (code != 0)
        ucb_test_fail(__FILE__, __LINE__, "exit code %d; it said: %s", code, said);
}

TEST(llama_cpp_writes_the_same_bytes_for_every_recipe_and_runs_our_files)
{
    check("");
}

TEST(llama_cpp_writes_the_same_bytes_with_our_importance)
{
    check("--imatrix --no-logits --recipes Q4_0,Q5_0,Q2_K_S,Q3_K_M,Q4_K_M,IQ4_XS");
}
