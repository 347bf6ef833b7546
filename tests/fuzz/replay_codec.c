/* The corpus of the codec's fuzzer, as a plain test. */
#include "test.h"

#include "fuzz/replay.h"

#define LLVMFuzzerTestOneInput fuzz_one_codec
#include "fuzz/fuzz_codec.c"
#undef LLVMFuzzerTestOneInput

TEST(the_codec_corpus_replays)
{
    replay_corpus("codec", fuzz_one_codec);
}
