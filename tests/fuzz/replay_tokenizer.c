/* The corpora of fuzz_tokenizer.c, fuzz_tokenize.c and fuzz_pretok.c, as plain tests. */
#include "test.h"

#include <stdio.h>

#include "fuzz/replay.h"

fuzz_target fuzz_tokenizer, fuzz_tokenize, fuzz_pretok;

TEST(every_tokenizer_file_of_the_corpus_is_refused_or_works)
{
    replay_corpus("tokenizer", fuzz_tokenizer);
}

TEST(every_text_of_the_corpus_is_spelled_by_its_tokens)
{
    replay_corpus("tokenize", fuzz_tokenize);
}

TEST(every_expression_of_the_corpus_is_refused_or_cuts_its_text)
{
    replay_corpus("pretok", fuzz_pretok);
}

/* The targets have the one name that libFuzzer calls, and each its own `must`. */
#define LLVMFuzzerTestOneInput fuzz_tokenizer
#define must must_tokenizer
#include "fuzz/fuzz_tokenizer.c"
#undef LLVMFuzzerTestOneInput
#undef must
#define LLVMFuzzerTestOneInput fuzz_tokenize
#include "fuzz/fuzz_tokenize.c"
#undef LLVMFuzzerTestOneInput
#undef must
#define LLVMFuzzerTestOneInput fuzz_pretok
#define must must_pretok
#include "fuzz/fuzz_pretok.c"
