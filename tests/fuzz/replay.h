/*
 * replay.h - the corpus of a fuzzer as a plain test: a crash found once stays found.
 */
#ifndef UCB_TESTS_REPLAY_H
#define UCB_TESTS_REPLAY_H

#include <stddef.h>
#include <stdint.h>

typedef int fuzz_target(const uint8_t *data, size_t n_bytes);
/* Gives each file of tests/fuzz/corpus/NAME to the target; a corpus without files fails. */
void replay_corpus(const char *name, fuzz_target *target);

#endif
