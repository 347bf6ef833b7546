/*
 * err.h - how a function says that it could not do its work.
 *
 * Every fallible function returns a ucb_status and takes, last, a `struct ucb_err *` that
 * receives one sentence for a person: the thing, what was found, what was expected, what to
 * try next. `err` may be NULL.
 */
#ifndef UCB_CORE_ERR_H
#define UCB_CORE_ERR_H

/* One list: the code, the exit code of the program, and what it means. */
#define UCB_STATUS_LIST(X)                                                          \
    X(UCB_OK, 0, "done")                                                            \
    X(UCB_NO, 1, "the answer is no: a check failed, a gate tripped, a cell failed") \
    X(UCB_USAGE, 2,                                                                 \
      "the caller asked for something that does not exist or cannot be combined")   \
    X(UCB_MISSING, 3, "an input file or a part of it does not exist")               \
    X(UCB_CORRUPT, 3, "an input contradicts itself or its format")                  \
    X(UCB_UNSUPPORTED, 3, "a valid input that this program cannot honour")          \
    X(UCB_IO, 4, "reading or writing failed: permissions, full disk, device error") \
    X(UCB_NOMEM, 4, "memory ran out")                                               \
    X(UCB_ENVIRONMENT, 4,                                                           \
      "this machine lacks what was asked for: CPU feature, program, device")

typedef enum ucb_status {
#define UCB_STATUS_ENUM(code, exit_code, text) code,
    UCB_STATUS_LIST(UCB_STATUS_ENUM)
#undef UCB_STATUS_ENUM
} ucb_status;

enum { UCB_ERR_TEXT = 1024 };

struct ucb_err {
    ucb_status status;
    const char *file; /* where it was raised, for --debug and tests */
    int line;
    char text[UCB_ERR_TEXT];
};

/* Fills *err (if not NULL) and returns `status`. Use through UCB_FAIL. */
ucb_status ucb_fail(struct ucb_err *err, ucb_status status, const char *file, int line,
                    const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Puts "prefix: " before the text of an error that already stands in *err. */
void ucb_err_prefix(struct ucb_err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The program's exit code for a status, and its name ("UCB_CORRUPT"). */
int ucb_exit_code(ucb_status status);
const char *ucb_status_name(ucb_status status);

#define UCB_FAIL(err, status, ...) \
    ucb_fail((err), (status), __FILE__, __LINE__, __VA_ARGS__)

/* Forwards a failure where nothing is held. */
#define UCB_TRY(call)                                  \
    do {                                               \
        ucb_status try_status_ = (call);               \
        if (try_status_ != UCB_OK) return try_status_; \
    } while (0)

/* The same where something is held: sets `status` and goes to the label `out`. */
#define UCB_TRY_OUT(call)               \
    do {                                \
        status = (call);                \
        if (status != UCB_OK) goto out; \
    } while (0)

#endif
