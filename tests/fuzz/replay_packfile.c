/* The corpus of the fuzzer of packs, as a plain test. */
#include "test.h"

#include <dirent.h>

#include "core/file.h"

#define LLVMFuzzerTestOneInput fuzz_one_packfile
#include "fuzz/fuzz_packfile.c"
#undef LLVMFuzzerTestOneInput

TEST(the_packfile_corpus_replays)
{
    const char *folder = ucb_test_path("%s/tests/fuzz/corpus/packfile", ucb_test_root());
    DIR *dir = opendir(folder);
    size_t n = 0;
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        struct ucb_file file;
        struct ucb_err err;
        if (e->d_name[0] == '.') continue;
        CHECK_OK(ucb_file_map(ucb_test_path("%s/%s", folder, e->d_name), &file, &err), err);
        fuzz_one_packfile(file.data == NULL ? (const uint8_t *)"" : file.data,
                          file.n_bytes);
        ucb_file_unmap(&file);
        n++;
    }
    closedir(dir);
    CHECK(n > 0);
}
