/* json.c - see json.h. */
#include "core/json.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"

ucb_status ucb_json_parse(const char *name, const char *text, size_t n_bytes, json_t **out,
                          struct ucb_err *err)
{
    json_error_t where;
    *out = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    if (*out != NULL) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT, "%s is not valid JSON: line %d, column %d: %s", name,
                    where.line, where.column, where.text);
}

ucb_status ucb_json_load(const char *path, json_t **out, struct ucb_err *err)
{
    struct ucb_file file;
    UCB_TRY(ucb_file_map(path, &file, err));
    ucb_status status = ucb_json_parse(
        path, file.data == NULL ? "" : (const char *)file.data, file.n_bytes, out, err);
    ucb_file_unmap(&file);
    return status;
}

json_t *ucb_json_text(const char *bytes)
{
    struct ucb_text text = {0};
    ucb_text_add_utf8(&text, bytes, strlen(bytes));
    json_t *out = text.failed ? NULL : json_string(ucb_text_get(&text));
    ucb_text_free(&text);
    return out;
}

/* ---- writing ---- */

static atomic_bool lost;
static atomic_long fail_countdown;

void ucb_json_fail_after(long n)
{
    atomic_store(&fail_countdown, n);
}

static void *allocate(size_t n_bytes)
{
    bool fails = atomic_load_explicit(&fail_countdown, memory_order_relaxed) != 0 &&
                 atomic_fetch_sub(&fail_countdown, 1) == 1;
    void *p = fails ? NULL : malloc(n_bytes);
    if (p == NULL) atomic_store(&lost, true);
    return p;
}

void ucb_json_watch_memory(void)
{
    json_set_alloc_funcs(allocate, free);
}

bool ucb_json_lost(void)
{
    return atomic_exchange(&lost, false);
}

ucb_status ucb_json_add(json_t *document, const char *what, struct ucb_text *out,
                        struct ucb_err *err)
{
    char *text = document == NULL ? NULL : json_dumps(document, JSON_INDENT(2));
    bool whole = !ucb_json_lost() && text != NULL;
    if (whole) ucb_text_add(out, "%s\n", text);
    free(text);
    json_decref(document);
    if (whole && !out->failed) return UCB_OK;
    return UCB_FAIL(err, UCB_NOMEM, "no memory for %s as JSON", what);
}

ucb_status ucb_json_print(json_t *document, const char *what, struct ucb_err *err)
{
    struct ucb_text text = {0};
    ucb_status status = ucb_json_add(document, what, &text, err);
    if (status == UCB_OK) fputs(ucb_text_get(&text), stdout);
    ucb_text_free(&text);
    return status;
}
