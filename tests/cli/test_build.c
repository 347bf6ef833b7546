/* What the Makefile promises: objects and the build id follow compiler and flags. */
#include "test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "core/file.h"

/* Makes `target` in a build folder of this test and returns what make printed: a line for
 * every file compiled. */
static const char *make(const char *flags, const char *target)
{
    static char out[4096];
    const char *folder = ucb_test_folder();
    if (access(ucb_test_path("%s/Makefile", ucb_test_root()), R_OK) != 0)
        SKIP("no Makefile in %s", ucb_test_root());
    FILE *pipe = popen(
        ucb_test_path(
            "env -u MAKEFLAGS -u MAKELEVEL make -s -C %s B=%s CFLAGS='%s' %s/%s 2>&1",
            ucb_test_root(), folder, flags, folder, target),
        "r");
    CHECK(pipe != NULL);
    out[fread(out, 1, sizeof(out) - 1, pipe)] = '\0';
    if (pclose(pipe) != 0) ucb_test_fail(__FILE__, __LINE__, "make %s: %s", target, out);
    return out;
}

static void build_id(const char *flags, char *out, size_t size)
{
    struct ucb_file file;
    struct ucb_err err;
    make(flags, "gen/build_id.h");
    CHECK_OK(
        ucb_file_map(ucb_test_path("%s/gen/build_id.h", ucb_test_folder()), &file, &err),
        err);
    snprintf(out, size, "%.*s", (int)file.n_bytes, (const char *)file.data);
    ucb_file_unmap(&file);
}

TEST(the_build_id_changes_with_the_flags_and_with_nothing_else)
{
    char first[256], again[256], other[256], back[256];
    build_id("", first, sizeof(first));
    build_id("", again, sizeof(again));
    build_id("-DUCB_ANOTHER=\"a b\"", other, sizeof(other));
    build_id("", back, sizeof(back));
    CHECK_EQ(strspn(first + strlen("#define UCB_BUILD_ID \""), "0123456789abcdef"), 64);
    CHECK_TEXT(again, first);
    CHECK(strcmp(other, first) != 0);
    CHECK_TEXT(back, first);
}

TEST(an_object_is_compiled_again_when_the_flags_change_and_only_then)
{
    CHECK_HAS(make("", "harness/core/err.o"), "err.c");
    CHECK_TEXT(make("", "harness/core/err.o"), "");
    CHECK_HAS(make("-DUCB_ANOTHER", "harness/core/err.o"), "err.c");
}
