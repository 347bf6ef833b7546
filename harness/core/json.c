/* json.c - see json.h. */
#include "core/json.h"

#include <string.h>

#include "core/file.h"
#include "core/text.h"

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
