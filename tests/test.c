/*
 * test.c - the runner: finds the tests that registered themselves, runs each in a process
 * of its own (a crash is a failure, not the end), and closes with "N passed, N failed, N
 * skipped".
 */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef UCB_TEST_ROOT
#error "the Makefile says where the repository is"
#endif

enum outcome { PASSED = 0, FAILED = 1, SKIPPED = 77 };

static struct ucb_test *tests;
static char folder[256];

void ucb_test_register(struct ucb_test *test)
{
    test->next = tests;
    tests = test;
}

void ucb_test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("\n    %s:%d: ", file, line);
    vprintf(format, args);
    va_end(args);
    if (folder[0] != '\0') printf("\n    its files are kept in %s", folder);
    printf("\n");
    fflush(stdout);
    _exit(FAILED);
}

static void remove_tree(const char *path)
{
    DIR *dir = opendir(path);
    if (dir != NULL) {
        for (struct dirent *e; (e = readdir(dir)) != NULL;) {
            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
            char child[1024];
            struct stat info;
            snprintf(child, sizeof(child), "%s/%s", path, e->d_name);
            if (lstat(child, &info) == 0 && S_ISDIR(info.st_mode)) {
                chmod(child, 0700);
                remove_tree(child);
            } else {
                unlink(child);
            }
        }
        closedir(dir);
    }
    rmdir(path);
}

void ucb_test_skip(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf(" skipped: ");
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    if (folder[0] != '\0') remove_tree(folder);
    _exit(SKIPPED);
}

const char *ucb_test_root(void)
{
    return UCB_TEST_ROOT;
}

const char *ucb_test_program(void)
{
    const char *p = getenv("UCBENCH");
    return p != NULL ? p : UCB_TEST_PROGRAM;
}

const char *ucb_test_shared(void)
{
    static char path[512];
    const char *p = getenv("UCBENCH_SHARED");
    struct stat info;
    snprintf(path, sizeof(path), "%s", p != NULL ? p : UCB_TEST_ROOT "/../shared");
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode) ? path : NULL;
}

const char *ucb_test_folder(void)
{
    if (folder[0] == '\0') {
        const char *tmp = getenv("TMPDIR");
        snprintf(folder, sizeof(folder), "%s/ucb-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
        if (mkdtemp(folder) == NULL)
            ucb_test_fail(__FILE__, __LINE__, "%s: %s", folder, strerror(errno));
    }
    return folder;
}

const char *ucb_test_path(const char *format, ...)
{
    static char ring[512][1024];
    static unsigned at;
    char *out = ring[at++ % 512];
    va_list args;
    va_start(args, format);
    vsnprintf(out, sizeof(ring[0]), format, args);
    va_end(args);
    return out;
}

static const char *layer_of(const struct ucb_test *test, char *out, size_t size)
{
    const char *p = strstr(test->file, "tests/");
    p = p == NULL ? test->file : p + strlen("tests/");
    snprintf(out, size, "%.*s", (int)strcspn(p, "/"), p);
    return out;
}

static int by_place(const void *a, const void *b)
{
    const struct ucb_test *x = *(struct ucb_test *const *)a,
                          *y = *(struct ucb_test *const *)b;
    int r = strcmp(x->file, y->file);
    return r != 0 ? r : strcmp(x->name, y->name);
}

static enum outcome run_one(const struct ucb_test *test, double *seconds)
{
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        test->run();
        if (folder[0] != '\0') remove_tree(folder);
        fflush(stdout);
        exit(PASSED);
    }
    int state = 0;
    if (child < 0 || waitpid(child, &state, 0) < 0) return FAILED;
    clock_gettime(CLOCK_MONOTONIC, &t1);
    *seconds = (double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec);
    if (WIFSIGNALED(state))
        printf("\n    ended by signal %d (%s)\n", WTERMSIG(state),
               strsignal(WTERMSIG(state)));
    if (WIFEXITED(state) && WEXITSTATUS(state) == PASSED) return PASSED;
    return WIFEXITED(state) && WEXITSTATUS(state) == SKIPPED ? SKIPPED : FAILED;
}

static bool wanted(const struct ucb_test *test, int n_args, char **args)
{
    char layer[64];
    bool any_layer = false, layer_match = false;
    layer_of(test, layer, sizeof(layer));
    for (int i = 1; i < n_args; i++) {
        if (strcmp(args[i], "-k") == 0 && i + 1 < n_args) {
            i++;
            if (strstr(test->name, args[i]) == NULL && strstr(test->file, args[i]) == NULL)
                return false;
        } else if (args[i][0] != '-') {
            any_layer = true;
            layer_match |= strcmp(args[i], layer) == 0;
        }
    }
    return !any_layer || layer_match;
}

int main(int n_args, char **args)
{
    size_t n = 0, count[3] = {0};
    bool list = n_args > 1 && strcmp(args[1], "--list") == 0;
    for (struct ucb_test *t = tests; t != NULL; t = t->next) n++;
    struct ucb_test **order = calloc(n + 1, sizeof(*order));
    if (order == NULL) return 1;
    n = 0;
    for (struct ucb_test *t = tests; t != NULL; t = t->next) order[n++] = t;
    qsort(order, n, sizeof(*order), by_place);
    for (size_t i = 0; i < n; i++) {
        char layer[64];
        layer_of(order[i], layer, sizeof(layer));
        if (list) {
            printf("%s %s\n", layer, order[i]->name);
            continue;
        }
        if (!wanted(order[i], n_args, args)) continue;
        printf("%s: %s ...", layer, order[i]->name);
        double seconds = 0;
        enum outcome outcome = run_one(order[i], &seconds);
        count[outcome == PASSED ? 0 : outcome == FAILED ? 1 : 2]++;
        if (outcome == PASSED) printf(seconds >= 0.5 ? " ok (%.1f s)\n" : " ok\n", seconds);
        if (outcome == FAILED)
            printf("    FAILED %s (%s)\n", order[i]->name, order[i]->file);
    }
    free(order);
    if (list) return 0;
    printf("%zu passed, %zu failed, %zu skipped\n", count[0], count[1], count[2]);
    return count[1] != 0 || count[0] == 0;
}
