/* knobs.c - see knobs.h. */
#include "task/knobs.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"

static size_t count_knobs(const struct ucb_task_knob *knobs)
{
    size_t n = 0;
    while (knobs[n].name != NULL) n++;
    assert(n <= UCB_TASK_MAX_KNOBS);
    return n;
}

static ucb_status find_knob(const char *owner, const struct ucb_task_knob *knobs,
                            const char *name, size_t *index, struct ucb_err *err)
{
    const char *names[UCB_TASK_MAX_KNOBS];
    char near[256];
    size_t n = count_knobs(knobs);
    for (size_t i = 0; i < n; i++) {
        *index = i;
        if (strcmp(knobs[i].name, name) == 0) return UCB_OK;
        names[i] = knobs[i].name;
    }
    ucb_text_near(name, names, n, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "%s has no knob `%s`; %s", owner, name, near);
}

static ucb_status parse_choice(const struct ucb_task_knob *knob, const char *value,
                               int64_t *out, struct ucb_err *err)
{
    size_t n = 0;
    char near[256];
    for (; knob->choices[n] != NULL; n++) {
        *out = (int64_t)n;
        if (strcmp(knob->choices[n], value) == 0) return UCB_OK;
    }
    ucb_text_near(value, knob->choices, n, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "%s=%s: unknown value; %s", knob->name, value, near);
}

static ucb_status parse_value(const struct ucb_task_knob *knob, const char *value,
                              int64_t *out, struct ucb_err *err)
{
    int64_t number;
    if (knob->choices != NULL) return parse_choice(knob, value, out, err);
    if (!ucb_parse_i64(value, &number) || number < knob->low || number > knob->high)
        return UCB_FAIL(err, UCB_USAGE,
                        "%s=%s: expected a whole number from %" PRId64 " to %" PRId64
                        " (%s)",
                        knob->name, value, knob->low, knob->high, knob->help);
    *out = number;
    return UCB_OK;
}

static int64_t default_value(const struct ucb_task_knob *knob)
{
    int64_t value = 0;
    ucb_status status = parse_value(knob, knob->fallback, &value, NULL);
    assert(status == UCB_OK); /* the contract test of all tasks parses every default */
    (void)status;
    return value;
}

/* `pair` is "key=value", and is cut at its equals sign. */
static ucb_status set_knob(const char *owner, const struct ucb_task_knob *knobs,
                           int64_t *number, bool *seen, char *pair, struct ucb_err *err)
{
    size_t index = 0;
    char *equals = strchr(pair, '=');
    if (equals == NULL) return UCB_FAIL(err, UCB_USAGE, "`%s`: expected key=value", pair);
    *equals = '\0';
    UCB_TRY(find_knob(owner, knobs, pair, &index, err));
    if (seen[index])
        return UCB_FAIL(err, UCB_USAGE, "%s is given twice; once is enough", pair);
    seen[index] = true;
    return parse_value(&knobs[index], equals + 1, &number[index], err);
}

ucb_status ucb_knobs_parse(const char *owner, const struct ucb_task_knob *knobs,
                           char *pairs, int64_t *number, struct ucb_err *err)
{
    bool seen[UCB_TASK_MAX_KNOBS] = {false};
    size_t n = count_knobs(knobs);
    for (size_t i = 0; i < n; i++) number[i] = default_value(&knobs[i]);
    for (char *pair; (pair = strsep(&pairs, ",")) != NULL;)
        UCB_TRY(set_knob(owner, knobs, number, seen, pair, err));
    return UCB_OK;
}

void ucb_knobs_write(const struct ucb_task_knob *knobs, uint32_t n_shown,
                     const int64_t *number, char *out, size_t size)
{
    size_t n = count_knobs(knobs), used = 0;
    char separator = ':';
    assert(size > 0);
    out[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        const struct ucb_task_knob *knob = &knobs[i];
        char *end = out + used;
        size_t room = size - used;
        if (i >= n_shown && number[i] == default_value(knob)) continue;
        if (knob->choices != NULL)
            used += (size_t)snprintf(end, room, "%c%s=%s", separator, knob->name,
                                     knob->choices[number[i]]);
        else
            used += (size_t)snprintf(end, room, "%c%s=%" PRId64, separator, knob->name,
                                     number[i]);
        assert(used < size);
        separator = ',';
    }
}
