/*
 * vectors.h - the golden vectors beside this file: their index, and tensors by entry.
 *
 * A missing or damaged file fails the test. Everything stays mapped until the test's
 * process ends.
 */
#ifndef UCB_TESTS_VECTORS_H
#define UCB_TESTS_VECTORS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vector {
    const char *dtype; /* of the file: "F32", "U8" ... */
    uint32_t n_dims;
    uint64_t shape[8];
    size_t n;         /* elements */
    const void *data; /* NULL: only the digest is known */
    size_t n_bytes;
    const char *sha256;
};

/* Calls run(case) for each case of that file (bnb_4bit.safetensors ...) and returns how
 * many there were. */
size_t vectors_each(const char *file, void (*run)(const json_t *test_case));
/* The tensor of a role; fails the test where the case has none. */
struct vector vectors_role(const json_t *test_case, const char *role);
bool vectors_has(const json_t *test_case, const char *role);
/* The case's input, or its first. */
struct vector vectors_input(const json_t *test_case);
/* Input `index` of a case that has several (weights, then activations). */
struct vector vectors_input_at(const json_t *test_case, size_t index);
const char *vectors_id(const json_t *test_case);
const char *vectors_text(const json_t *test_case, const char *setting); /* "" when absent */
int vectors_number(const json_t *test_case,
                   const char *setting); /* also for true, false, 6.0 */
/* Fails the test unless these bytes are the tensor's, by digest. */
void vectors_same(const json_t *test_case, const char *role, const void *data,
                  size_t n_bytes);

#endif
