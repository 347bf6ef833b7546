/*
 * options.c - the one parser of every verb's options, strict: what is not known is an error
 * that lists what is.
 */
#include "cmd.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"
#include "eval/compare.h"

enum { MAX_OPTIONS = 48 };

static const struct ucb_option *find(const struct ucb_option *options, size_t n,
                                     const char *arg, size_t n_chars)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(options[i].name) == n_chars &&
            memcmp(options[i].name, arg, n_chars) == 0)
            return &options[i];
    return NULL;
}

static ucb_status unknown(const char *verb, const char *arg,
                          const struct ucb_option *options, size_t n, struct ucb_err *err)
{
    const char *names[MAX_OPTIONS];
    char near[256];
    assert(n <= MAX_OPTIONS);
    for (size_t i = 0; i < n; i++) names[i] = options[i].name;
    ucb_text_near(arg, names, n, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE,
                    "ucbench %s has no option %s; %s (see `ucbench %s --help`)", verb, arg,
                    near, verb);
}

static ucb_status store_value(const char *verb, const struct ucb_option *o,
                              const char *value, struct ucb_err *err)
{
    if (o->kind == UCB_OPTION_LIST) {
        if (*o->n_list == o->capacity)
            return UCB_FAIL(err, UCB_USAGE, "ucbench %s: more than %zu times %s", verb,
                            o->capacity, o->name);
        o->list[(*o->n_list)++] = value;
        return UCB_OK;
    }
    if (*o->text != NULL)
        return UCB_FAIL(err, UCB_USAGE, "ucbench %s: %s stands twice", verb, o->name);
    *o->text = value;
    return UCB_OK;
}

/* A value that was forgotten: nothing, as of a variable that is not set (SQLite would take
 * no name for a database in memory), or the next option. */
static ucb_status check_value(const char *verb, const struct ucb_option *o,
                              const char *value, bool is_joined, struct ucb_err *err)
{
    if (value[0] == '\0')
        return UCB_FAIL(err, UCB_USAGE, "ucbench %s: the value of %s is empty", verb,
                        o->name);
    if (!is_joined && strncmp(value, "--", 2) == 0)
        return UCB_FAIL(
            err, UCB_USAGE,
            "ucbench %s: %s needs a value, and `%s` looks like an option; if it "
            "is meant, write %s=%s",
            verb, o->name, value, o->name, value);
    return UCB_OK;
}

ucb_status ucb_options_parse(const char *verb, int n_args, char **args,
                             const struct ucb_option *options, size_t n_options,
                             const char **operands, size_t *n_operands, size_t max_operands,
                             struct ucb_err *err)
{
    size_t n_found = 0;
    bool only_operands = false;
    for (int i = 1; i < n_args; i++) {
        const char *arg = args[i];
        if (!only_operands && strcmp(arg, "--") == 0) {
            only_operands = true;
            continue;
        }
        if (only_operands || arg[0] != '-' || arg[1] == '\0') {
            if (n_found == max_operands)
                return UCB_FAIL(
                    err, UCB_USAGE,
                    "ucbench %s takes no further argument `%s`; see `ucbench %s --help`",
                    verb, arg, verb);
            operands[n_found++] = arg;
            continue;
        }
        const char *equals = strchr(arg, '=');
        size_t n_chars = equals == NULL ? strlen(arg) : (size_t)(equals - arg);
        const struct ucb_option *o = find(options, n_options, arg, n_chars);
        if (o == NULL) return unknown(verb, arg, options, n_options, err);
        if (o->kind == UCB_OPTION_SWITCH) {
            if (equals != NULL)
                return UCB_FAIL(err, UCB_USAGE, "ucbench %s: %s takes no value", verb,
                                o->name);
            *o->on = true;
            continue;
        }
        if (equals == NULL && i + 1 == n_args)
            return UCB_FAIL(err, UCB_USAGE,
                            "ucbench %s: %s needs a value; see `ucbench %s --help`", verb,
                            o->name, verb);
        const char *value = equals != NULL ? equals + 1 : args[++i];
        UCB_TRY(check_value(verb, o, value, equals != NULL, err));
        UCB_TRY(store_value(verb, o, value, err));
    }
    if (n_operands != NULL) *n_operands = n_found;
    return UCB_OK;
}

ucb_status ucb_option_threads(const char *text, unsigned *out, struct ucb_err *err)
{
    uint64_t n = 0;
    if (text != NULL && (!ucb_parse_u64(text, &n) || n == 0 || n > 256))
        return UCB_FAIL(err, UCB_USAGE, "--threads %s: a number from 1 to 256", text);
    *out = (unsigned)n;
    return UCB_OK;
}

ucb_status ucb_option_batch(const char *text, size_t *out, struct ucb_err *err)
{
    uint64_t n = 1024;
    if (text != NULL && (!ucb_parse_u64(text, &n) || n == 0 || n > 1 << 20))
        return UCB_FAIL(err, UCB_USAGE, "--batch %s: tokens per product, from 1 to 1048576",
                        text);
    *out = n;
    return UCB_OK;
}

static ucb_status parse_band_ppl(const char *text, struct ucb_band *out,
                                 struct ucb_err *err)
{
    char low[32];
    struct ucb_band band;
    if (text == NULL) return UCB_OK;
    int n = 0;
    if (sscanf(text, "%31[^,],%n", low, &n) != 1 || n == 0 ||
        !ucb_parse_f64(low, &band.low) || !ucb_parse_f64(text + n, &band.high) ||
        !(band.low > 0 && band.low < 1 && band.high > 1))
        return UCB_FAIL(err, UCB_USAGE,
                        "--band-ppl %s: LOW,HIGH with 0 < LOW < 1 < HIGH; try 0.995,1.005",
                        text);
    *out = band;
    return UCB_OK;
}

ucb_status ucb_option_bands(const char *ppl, const char *accuracy, const char *ear,
                            struct ucb_bands *out, struct ucb_err *err)
{
    double points = 0;
    UCB_TRY(parse_band_ppl(ppl, &out->ppl, err));
    if (accuracy != NULL) {
        if (!ucb_parse_f64(accuracy, &points) || !(points > 0 && points <= 100))
            return UCB_FAIL(
                err, UCB_USAGE,
                "--band-accuracy %s: percentage points above 0, to 100; try 0.5", accuracy);
        out->accuracy = (struct ucb_band){-points / 100, points / 100};
    }
    if (ear != NULL && (!ucb_parse_f64(ear, &out->ear) || !(out->ear > 0 && out->ear < 1)))
        return UCB_FAIL(err, UCB_USAGE, "--band-ear %s: between 0 and 1; try 0.99", ear);
    return UCB_OK;
}
