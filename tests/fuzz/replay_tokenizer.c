/* The corpora of fuzz_tokenizer.c and fuzz_tokenize.c, as plain tests. */
#include "test.h"

#include <dirent.h>
#include <stdio.h>

#include "core/file.h"

typedef int fuzz_target(const uint8_t *data, size_t n_bytes);
fuzz_target fuzz_tokenizer, fuzz_tokenize;

static void replay(const char *name, fuzz_target *target)
{
    size_t n = 0;
    DIR *dir = opendir(ucb_test_path("%s/tests/fuzz/corpus/%s", ucb_test_root(), name));
    CHECK(dir != NULL);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        struct ucb_file file;
        struct ucb_err err;
        if (e->d_name[0] == '.') continue;
        const char *path = ucb_test_path("%s/tests/fuzz/corpus/%s/%s", ucb_test_root(),
                                         name, e->d_name);
        CHECK_OK(ucb_file_map(path, &file, &err), err);
        target(file.data == NULL ? (const uint8_t *)"" : file.data, file.n_bytes);
        ucb_file_unmap(&file);
        n++;
    }
    closedir(dir);
    CHECK(n > 0);
}

TEST(every_tokenizer_file_of_the_corpus_is_refused_or_works)
{
    replay("tokenizer", fuzz_tokenizer);
}

TEST(every_text_of_the_corpus_is_spelled_by_its_tokens)
{
    replay("tokenize", fuzz_tokenize);
}

/* Both targets have the one name that libFuzzer calls, and each its own `must`. */
#define LLVMFuzzerTestOneInput fuzz_tokenizer
#define must must_tokenizer
#include "fuzz/fuzz_tokenizer.c"
#undef LLVMFuzzerTestOneInput
#undef must
#define LLVMFuzzerTestOneInput fuzz_tokenize
#include "fuzz/fuzz_tokenize.c"
