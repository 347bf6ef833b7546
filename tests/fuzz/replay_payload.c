/* The corpus of fuzz_payload as a plain test; and for every spec of its list the payload as
 * it was written, cut short, and with a byte turned over. */
#define LLVMFuzzerTestOneInput fuzz_payload_one
#include "fuzz_payload.c"
#undef LLVMFuzzerTestOneInput

#include "test.h"

#include "fuzz/replay.h"

TEST(the_payload_corpus_replays)
{
    replay_corpus("payload", fuzz_payload_one);
}

TEST(payloads_of_every_method_and_choice_decode_whole_and_survive_damage)
{
    CHECK_EQ(fuzz_payload_one((const uint8_t *)"", 0), 0);
    for (size_t spec = 0; spec < n_specs; spec++) {
        size_t n_made = 0;
        for (uint8_t shape = 0; shape < N_SHAPES; shape++) {
            uint8_t low = (uint8_t)spec, high = (uint8_t)(spec >> 8),
                    way = (uint8_t)(2 * shape);
            const uint8_t whole[] = {low, high, way}, cut[] = {low, high, way, 99, 0, 2, 0},
                          turned[] = {low, high, way, 3, 1, 0, 0x40};
            fuzz_payload_one(whole, sizeof(whole));
            fuzz_payload_one(cut, sizeof(cut));
            fuzz_payload_one(turned, sizeof(turned));
            n_made += specs[spec].payload[shape].n_bytes > 0;
        }
        if (n_made == 0 && !ucb_chain_is_none(specs[spec].chain))
            ucb_test_fail(__FILE__, __LINE__, "%s encodes none of the shapes",
                          ucb_chain_spec(specs[spec].chain));
    }
    CHECK(n_specs > 20);
}
