/* replay.c - see fuzz/replay.h. */
#include "fuzz/replay.h"

#include <dirent.h>

#include "core/file.h"
#include "test.h"

void replay_corpus(const char *name, fuzz_target *target)
{
    const char *folder = ucb_test_path("%s/tests/fuzz/corpus/%s", ucb_test_root(), name);
    DIR *dir = opendir(folder);
    size_t n = 0;
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        struct ucb_file file;
        struct ucb_err err;
        if (e->d_name[0] == '.') continue;
        CHECK_OK(ucb_file_map(ucb_test_path("%s/%s", folder, e->d_name), &file, &err), err);
        CHECK_EQ(target(file.data == NULL ? (const uint8_t *)"" : file.data, file.n_bytes),
                 0);
        ucb_file_unmap(&file);
        n++;
    }
    closedir(dir);
    CHECK(n > 0);
}
