/*
 * tiny.h - a made-up model for tests of the program's mechanics: two layers, random
 * weights, a tokenizer of single bytes. Never a source of results.
 */
#ifndef UCB_TESTS_TINY_H
#define UCB_TESTS_TINY_H

#include <stdint.h>

/* Writes config.json, model.safetensors (bf16) and tokenizer.json into `folder` (made when
 * absent). */
void ucb_tiny_model(const char *folder);
/* The same with the layers' matrices times `scale`: large ones overflow in the forward
 * pass. */
void ucb_tiny_model_scaled(const char *folder, float scale);

/* Runs the program under test: `arguments` go through the shell, output (both streams) into
 * `out`. Returns the exit code. */
int ucb_run_program(char *out, unsigned long size, const char *arguments, ...)
    __attribute__((format(printf, 3, 4)));

/* Sweeps `model` over the mini sets into NAME.db of the test's folder; `hex` gets that
 * database's digest. Ends the test where either fails. */
void ucb_sweep_digest(const char *model, const char *name, const char *options,
                      char hex[65]);

/* Writes one sequence of ids to `path`, as `ucbench dump --ids` wants them. */
void ucb_write_ids(const char *path, const int32_t *ids, uint32_t n);

/* A whole file of the test's folder as text, until the next call. */
const char *ucb_test_content(const char *name);

/* Runs the program into the caller's array `out`; ends the test where it does not exit with
 * `expected`. */
#define RUN(expected, ...)                                                              \
    do {                                                                                \
        int code_ = ucb_run_program(out, sizeof(out), __VA_ARGS__);                     \
        if (code_ != (expected))                                                        \
            ucb_test_fail(__FILE__, __LINE__, "exit code %d, expected %d; it said: %s", \
                          code_, (expected), out);                                      \
    } while (0)

#endif
