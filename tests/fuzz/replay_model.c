/*
 * The corpus of the model readers' fuzzers, as plain tests: a crash found once stays found.
 */
#include "test.h"

#include <string.h>

#include "fuzz/replay.h"

#define LLVMFuzzerTestOneInput fuzz_one_safetensors
#include "fuzz/fuzz_safetensors.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_one_gguf
#include "fuzz/fuzz_gguf.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_one_config
#include "fuzz/fuzz_config.c"
#undef LLVMFuzzerTestOneInput

TEST(the_safetensors_corpus_replays)
{
    replay_corpus("safetensors", fuzz_one_safetensors);
}

TEST(the_gguf_corpus_replays)
{
    replay_corpus("gguf", fuzz_one_gguf);
}

TEST(the_config_corpus_replays)
{
    replay_corpus("config", fuzz_one_config);
}
