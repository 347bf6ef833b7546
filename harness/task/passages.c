/* passages.c - see passages.h. */
#include "task/passages.h"

#include <string.h>

#include "core/json.h"

static size_t count_lines(struct ucb_span rest, size_t limit)
{
    struct ucb_span line;
    size_t n = 0;
    while ((limit == 0 || n < limit) && ucb_span_next_line(&rest, &line)) n++;
    return n;
}

static ucb_status copy_text(const json_t *object, struct ucb_arena *arena,
                            struct ucb_passage *out, struct ucb_err *err)
{
    const json_t *field = json_object_get(object, "text");
    if (!json_is_object(object))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "not a JSON object; expected {\"text\": \"...\"}");
    if (!json_is_string(field))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "no string \"text\"; expected {\"text\": \"...\"}");
    size_t n = json_string_length(field);
    char *copy = ucb_arena_alloc(arena, n + 1);
    if (copy == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a passage of %zu bytes", n);
    memcpy(copy, json_string_value(field), n);
    out->text = (struct ucb_span){copy, n};
    return UCB_OK;
}

static ucb_status read_line(const char *file, size_t number, struct ucb_span line,
                            struct ucb_arena *arena, struct ucb_passage *out,
                            struct ucb_err *err)
{
    json_t *object = NULL;
    out->name = ucb_arena_printf(arena, "line %zu", number);
    if (out->name == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for the name of line %zu", file,
                        number);
    ucb_status status = ucb_json_parse(out->name, line.at, line.n, &object, err);
    if (status == UCB_OK) {
        status = copy_text(object, arena, out, err);
        if (status != UCB_OK) ucb_err_prefix(err, "%s", out->name);
    }
    if (status != UCB_OK) ucb_err_prefix(err, "%s", file);
    json_decref(object);
    return status;
}

ucb_status ucb_passages_read(const char *file, const char *text, size_t n_bytes,
                             size_t limit, struct ucb_arena *arena,
                             struct ucb_passage **out, size_t *n, struct ucb_err *err)
{
    struct ucb_span rest = {text, n_bytes}, line;
    size_t n_lines = count_lines(rest, limit);
    if (n_lines == 0)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: empty; expected one JSON object a line",
                        file);
    struct ucb_passage *passages = UCB_NEW(arena, struct ucb_passage, n_lines);
    if (passages == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu passages", file, n_lines);
    for (size_t i = 0; i < n_lines && ucb_span_next_line(&rest, &line); i++)
        UCB_TRY(read_line(file, i + 1, line, arena, &passages[i], err));
    *out = passages;
    *n = n_lines;
    return UCB_OK;
}
