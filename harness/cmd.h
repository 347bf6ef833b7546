/*
 * cmd.h - one verb, one file cmd_<verb>.c, ending in its entry of the table in main.c.
 */
#ifndef UCB_CMD_H
#define UCB_CMD_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"

struct ucb_command {
    const char *name, *summary; /* one line for `ucbench --help` */
    const char *help; /* what `ucbench NAME --help` prints: usage, options, examples */
    /* args[0] is the verb. A failure's text is printed by main, which exits with the
     * status's code. */
    ucb_status (*run)(int n_args, char **args, struct ucb_err *err);
};

/* clang-format off */
#define UCB_COMMAND_LIST(X) \
    X(sweep) X(report) X(compare) X(gate) X(digest) X(export) X(list) X(info) X(doctor) X(tokenize) X(dump) X(quantize) X(pack) X(unpack) X(verify)
/* clang-format on */
#define UCB_COMMAND_DECLARE(name) extern const struct ucb_command ucb_command_##name;
UCB_COMMAND_LIST(UCB_COMMAND_DECLARE)
#undef UCB_COMMAND_DECLARE

/*
 * Options of a verb: "--name VALUE", "--name=VALUE" or, for a switch, "--name"; the rest
 * are operands. An unknown option is a USAGE error with near matches, a repeated one too
 * unless it is a list.
 */
struct ucb_option {
    const char *name; /* with the dashes */
    enum { UCB_OPTION_TEXT, UCB_OPTION_SWITCH, UCB_OPTION_LIST } kind;
    const char **text; /* TEXT */
    bool *on;          /* SWITCH */
    const char **list; /* LIST: room for `capacity` */
    size_t *n_list, capacity;
};
ucb_status ucb_options_parse(const char *verb, int n_args, char **args,
                             const struct ucb_option *options, size_t n_options,
                             const char **operands, size_t *n_operands, size_t max_operands,
                             struct ucb_err *err);

/* The values of --threads (0 when NULL: all cores) and --batch (1024 when NULL); USAGE
 * names the range. */
ucb_status ucb_option_threads(const char *text, unsigned *out, struct ucb_err *err);
ucb_status ucb_option_batch(const char *text, size_t *out, struct ucb_err *err);
/* The values of --band-ppl, --band-accuracy and --band-ear into *out, which holds the
 * defaults; what is NULL stays. USAGE names the range. */
struct ucb_bands;
ucb_status ucb_option_bands(const char *ppl, const char *accuracy, const char *ear,
                            struct ucb_bands *out, struct ucb_err *err);

#endif
