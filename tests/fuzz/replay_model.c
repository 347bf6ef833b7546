/* The corpus of the model readers' fuzzers, as plain tests: a crash found once stays found.
 */
#include "test.h"

#include <dirent.h>
#include <string.h>

#include "core/file.h"

#define LLVMFuzzerTestOneInput fuzz_one_safetensors
#include "fuzz/fuzz_safetensors.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_one_gguf
#include "fuzz/fuzz_gguf.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_one_config
#include "fuzz/fuzz_config.c"
#undef LLVMFuzzerTestOneInput

static void replay(const char *target, int (*one)(const uint8_t *, size_t))
{
    const char *folder = ucb_test_path("%s/tests/fuzz/corpus/%s", ucb_test_root(), target);
    DIR *dir = opendir(folder);
    size_t n = 0;
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        struct ucb_file file;
        struct ucb_err err;
        if (e->d_name[0] == '.') continue;
        CHECK_OK(ucb_file_map(ucb_test_path("%s/%s", folder, e->d_name), &file, &err), err);
        one(file.data == NULL ? (const uint8_t *)"" : file.data, file.n_bytes);
        ucb_file_unmap(&file);
        n++;
    }
    closedir(dir);
    CHECK(n > 0);
}

TEST(the_safetensors_corpus_replays)
{
    replay("safetensors", fuzz_one_safetensors);
}

TEST(the_gguf_corpus_replays)
{
    replay("gguf", fuzz_one_gguf);
}

TEST(the_config_corpus_replays)
{
    replay("config", fuzz_one_config);
}
