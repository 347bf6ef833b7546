/* The corpus of the fuzzer of packs, as a plain test. */
#include "test.h"

#include "fuzz/replay.h"

#define LLVMFuzzerTestOneInput fuzz_one_packfile
#include "fuzz/fuzz_packfile.c"
#undef LLVMFuzzerTestOneInput

TEST(the_packfile_corpus_replays)
{
    replay_corpus("packfile", fuzz_one_packfile);
}
