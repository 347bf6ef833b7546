/* The corpus of fuzz_task as a plain test, and every beginning of each of its files. */
#define LLVMFuzzerTestOneInput                                \
    fuzz_task_one /* several fuzzers live in one test program \
                   */
#include "fuzz_task.c"

#include "test.h"

#include <dirent.h>

#include "core/file.h"

static void replay(const char *path)
{
    struct ucb_file file;
    struct ucb_err err;
    CHECK_OK(ucb_file_map(path, &file, &err), err);
    for (size_t n = 0; n <= file.n_bytes; n++) CHECK_EQ(fuzz_task_one(file.data, n), 0);
    ucb_file_unmap(&file);
}

TEST(the_task_corpus_and_all_its_beginnings_are_read_or_refused)
{
    DIR *dir = opendir(ucb_test_path("%s/tests/fuzz/corpus/task", ucb_test_root()));
    size_t n = 0;
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        replay(ucb_test_path("%s/tests/fuzz/corpus/task/%s", ucb_test_root(), e->d_name));
        n++;
    }
    closedir(dir);
    CHECK(n >= 5);
}
