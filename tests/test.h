/*
 * test.h - a test is TEST(sentence_that_is_true) { ... CHECK(...); }; the file it stands in
 * registers it.
 *
 * A failed CHECK prints where and what and ends that test. SKIP("reason") ends it as
 * skipped. `ucbench-test --list` names all, `ucbench-test unit golden` runs layers,
 * `ucbench-test -k word` runs tests whose name holds the word.
 */
#ifndef UCB_TESTS_TEST_H
#define UCB_TESTS_TEST_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ucb_test {
    const char *name, *file;
    void (*run)(void);
    struct ucb_test *next;
};
void ucb_test_register(struct ucb_test *test);
void ucb_test_fail(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
void ucb_test_skip(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* The folder of the repository (the golden vectors lie below it),
 * without a trailing slash. */
const char *ucb_test_root(void);
/* A fresh folder for this test, deleted when it passes. */
const char *ucb_test_folder(void);
/* The program under test: path of ./ucbench of this build. */
const char *ucb_test_program(void);
/* The folder with the large shared inputs ($UCBENCH_SHARED, else ../shared), or NULL. Skip
 * where it is absent. */
const char *ucb_test_shared(void);
/* printf into one of 512 rotating buffers of 1,024 bytes: for paths and messages. */
const char *ucb_test_path(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define TEST(test_name)                                                                 \
    static void test_name(void);                                                        \
    static struct ucb_test test_name##_entry = {#test_name, __FILE__, test_name, NULL}; \
    __attribute__((constructor)) static void test_name##_register(void)                 \
    {                                                                                   \
        ucb_test_register(&test_name##_entry);                                          \
    }                                                                                   \
    static void test_name(void)

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) ucb_test_fail(__FILE__, __LINE__, "not true: %s", #condition); \
    } while (0)
/* Integers, compared as 64-bit; both values are shown. */
#define CHECK_EQ(found, expected)                                                          \
    do {                                                                                   \
        long long found_ = (long long)(found), expected_ = (long long)(expected);          \
        if (found_ != expected_)                                                           \
            ucb_test_fail(__FILE__, __LINE__, "%s is %lld, expected %lld", #found, found_, \
                          expected_);                                                      \
    } while (0)
/* Doubles within an absolute tolerance; say beside it why it is as wide as it is. */
#define CHECK_NEAR(found, expected, tolerance)                                             \
    do {                                                                                   \
        double found_ = (found), expected_ = (expected), tolerance_ = (tolerance);         \
        double off_ = found_ > expected_ ? found_ - expected_ : expected_ - found_;        \
        if (!(off_ <= tolerance_))                                                         \
            ucb_test_fail(__FILE__, __LINE__, "%s is %.9g, expected %.9g +- %.3g", #found, \
                          found_, expected_, tolerance_);                                  \
    } while (0)
/* Shows err.text when the status is not the expected one. `err` is a struct ucb_err. */
#define CHECK_STATUS(call, expected, err)                                          \
    do {                                                                           \
        ucb_status found_ = (call);                                                \
        if (found_ != (expected))                                                  \
            ucb_test_fail(__FILE__, __LINE__, "%s is %s (%s), expected %s", #call, \
                          ucb_status_name(found_),                                 \
                          found_ == UCB_OK ? "no error" : (err).text,              \
                          ucb_status_name(expected));                              \
    } while (0)
#define CHECK_OK(call, err) CHECK_STATUS(call, UCB_OK, err)
#define CHECK_TEXT(found, expected)                                                    \
    do {                                                                               \
        const char *found_ = (found), *expected_ = (expected);                         \
        if (__builtin_strcmp(found_, expected_) != 0)                                  \
            ucb_test_fail(__FILE__, __LINE__, "%s is \"%s\", expected \"%s\"", #found, \
                          found_, expected_);                                          \
    } while (0)
/* The text holds the part. */
#define CHECK_HAS(text, part)                                                          \
    do {                                                                               \
        const char *text_ = (text), *part_ = (part);                                   \
        if (__builtin_strstr(text_, part_) == NULL)                                    \
            ucb_test_fail(__FILE__, __LINE__, "\"%s\" does not contain \"%s\"", text_, \
                          part_);                                                      \
    } while (0)
#define SKIP(...) ucb_test_skip(__VA_ARGS__)

#endif
