/*
 * task.c - the list of tasks, their specs, and the way from a spec to items.
 *
 * A task exists because its file does: the build writes gen/tasks.list from the names
 * harness/task/task_*.c.
 */
#include "task/task.h"

#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

#include "core/text.h"
#include "task/dataset.h"
#include "task/knobs.h"

/* Byte offsets are 32 bits wide, and a join may triple a text of empty lines; a GiB is far
 * beyond any data set here. */
#define MAX_TEXT_BYTES ((size_t)1 << 30)
enum { MAX_SPEC = sizeof(((struct ucb_task_run *)0)->spec) };

/* ---- registry ---- */

#define TASK(name) extern const struct ucb_task ucb_task_##name;
#include "tasks.list"
#undef TASK
static const struct ucb_task *const tasks[] = {
#define TASK(name) &ucb_task_##name,
#include "tasks.list"
#undef TASK
    NULL,
};
enum { N_TASKS = sizeof(tasks) / sizeof(tasks[0]) - 1 };

const struct ucb_task *const *ucb_tasks(void)
{
    return tasks;
}

static ucb_status find_task(const char *name, const struct ucb_task **out,
                            struct ucb_err *err)
{
    const char *names[N_TASKS];
    char near[256];
    for (size_t i = 0; i < N_TASKS; i++) {
        *out = tasks[i];
        if (strcmp(tasks[i]->name, name) == 0) return UCB_OK;
        names[i] = tasks[i]->name;
    }
    ucb_text_near(name, names, N_TASKS, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "unknown task `%s`; %s", name, near);
}

/* ---- specs ---- */

/* The task's name, then its knobs as they are always written. */
static void write_spec(struct ucb_task_run *run)
{
    size_t n = (size_t)snprintf(run->spec, sizeof(run->spec), "%s", run->task->name);
    ucb_knobs_write(run->task->knobs, run->task->n_shown, run->number, run->spec + n,
                    sizeof(run->spec) - n);
}

ucb_status ucb_task_parse(const char *spec, struct ucb_task_run *out, struct ucb_err *err)
{
    struct ucb_task_run run = {0};
    char copy[MAX_SPEC];
    if (strlen(spec) >= sizeof(copy))
        return UCB_FAIL(err, UCB_USAGE,
                        "task `%.40s...`: %zu characters, at most %zu are allowed", spec,
                        strlen(spec), sizeof(copy) - 1);
    strcpy(copy, spec);
    char *pairs = copy, *name = strsep(&pairs, ":");
    UCB_TRY(find_task(name, &run.task, err));
    ucb_status status = ucb_knobs_parse(run.task->name, run.task->knobs, pairs, run.number,
                                        err);
    if (status != UCB_OK) {
        ucb_err_prefix(err, "task `%s`", spec);
        return status;
    }
    write_spec(&run);
    *out = run;
    return UCB_OK;
}

/* ---- from a spec to items ---- */

static ucb_status check_utf8(const char *file, const char *text, size_t n_bytes,
                             struct ucb_err *err)
{
    size_t line = 1;
    for (size_t at = 0; at < n_bytes;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                              (utf8proc_ssize_t)(n_bytes - at), &c);
        if (n <= 0)
            return UCB_FAIL(
                err, UCB_CORRUPT,
                "%s: line %zu: byte 0x%02x at offset %zu is not UTF-8; convert the file",
                file, line, (unsigned char)text[at], at);
        if (c == '\n') line++;
        at += (size_t)n;
    }
    return UCB_OK;
}

static ucb_status check_text(const char *file, const char *text, size_t n_bytes,
                             struct ucb_err *err)
{
    if (n_bytes == 0)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: empty file, expected text", file);
    if (n_bytes > MAX_TEXT_BYTES)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: %zu bytes, at most %zu are read; use a smaller slice", file,
                        n_bytes, MAX_TEXT_BYTES);
    return check_utf8(file, text, n_bytes, err);
}

ucb_status ucb_task_prepare(const struct ucb_task_run *run, const char *file,
                            const char *text, size_t n_bytes,
                            const struct ucb_tokenizer *tokenizer, struct ucb_arena *arena,
                            struct ucb_items *out, struct ucb_err *err)
{
    struct ucb_items items = {0};
    UCB_TRY(check_text(file, text, n_bytes, err));
    UCB_TRY(run->task->prepare(run, file, text, n_bytes, tokenizer, arena, &items, err));
    if (items.n_items == 0)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: no token to score; expected text", file);
    *out = items;
    return UCB_OK;
}

ucb_status ucb_task_load(const struct ucb_task_run *run, const char *data,
                         const struct ucb_tokenizer *tokenizer, struct ucb_arena *arena,
                         struct ucb_items *out, struct ucb_err *err)
{
    struct ucb_dataset dataset;
    UCB_TRY(
        ucb_dataset_open(run->task->full_file, run->task->mini_file, data, &dataset, err));
    ucb_status status = ucb_task_prepare(run, dataset.file, dataset.text, dataset.n_bytes,
                                         tokenizer, arena, out, err);
    if (status == UCB_OK) {
        out->dataset = dataset.name;
        memcpy(out->dataset_digest, dataset.digest, sizeof(out->dataset_digest));
    }
    ucb_dataset_close(&dataset);
    return status;
}

ucb_status ucb_task_dataset(const struct ucb_task_run *run, const char *data,
                            const char **dataset, char digest[UCB_SHA256_HEX],
                            struct ucb_err *err)
{
    struct ucb_dataset opened;
    UCB_TRY(
        ucb_dataset_open(run->task->full_file, run->task->mini_file, data, &opened, err));
    *dataset = opened.name;
    memcpy(digest, opened.digest, sizeof(opened.digest));
    ucb_dataset_close(&opened);
    return UCB_OK;
}
