/*
 * detokenize.c - see detokenize.h.
 *
 * Every rule removes bytes or keeps their number, so all work happens in place. The order
 * of the rules is part of the protocol: each sees what the one before it left.
 */
#include "task/detokenize.h"

#include <assert.h>
#include <string.h>

struct rule {
    const char *from, *to;
};

/* One group of the protocol a line. */
/* clang-format off */
static const struct rule before_pairs[] = {
    {"s '", "s'"},
    {" @-@ ", "-"}, {" @,@ ", ","}, {" @.@ ", "."},
    {" : ", ": "}, {" ; ", "; "}, {" . ", ". "}, {" ! ", "! "}, {" ? ", "? "}, {" , ", ", "},
};
static const char pairs[][2] = {{'(', ')'}, {'[', ']'}, {'{', '}'}, {'"', '"'}, {'\'', '\''}};
static const struct rule after_pairs[] = {
    {"= = = =", "===="}, {"= = =", "==="}, {"= =", "=="},
    {" \xc2\xb0 ", "\xc2\xb0"}, /* the degree sign */
    {" \n", "\n"}, {"\n ", "\n"},
    {" N ", " 1 "}, {" 's", "'s"},
};
/* clang-format on */
/* What a line goes through before it is asked whether it is an article's heading. */
static const struct rule heading_marks[] = {{"= = =", "==="}, {"= =", "=="}};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* All occurrences, left to right without overlap. `to` is not longer than `from`. */
static size_t replace(char *text, size_t n_bytes, const struct rule *rule)
{
    size_t n_from = strlen(rule->from), n_to = strlen(rule->to);
    const char *in = text, *end = text + n_bytes;
    char *out = text;
    assert(n_to <= n_from);
    for (const char *hit;
         (hit = memmem(in, (size_t)(end - in), rule->from, n_from)) != NULL;
         in = hit + n_from) {
        memmove(out, in, (size_t)(hit - in));
        out += hit - in;
        memcpy(out, rule->to, n_to);
        out += n_to;
    }
    memmove(out, in, (size_t)(end - in));
    return (size_t)(out + (end - in) - text);
}

static size_t replace_all(char *text, size_t n_bytes, const struct rule *rules,
                          size_t n_rules)
{
    for (size_t i = 0; i < n_rules; i++) n_bytes = replace(text, n_bytes, &rules[i]);
    return n_bytes;
}

/* Removes white space just inside each pair of marks: "( a )" becomes "(a)". A pair ends at
 * the first closing mark. */
static size_t tighten(char *text, size_t n_bytes, char opening, char closing)
{
    const char *in = text, *end = text + n_bytes;
    char *out = text;
    while (in < end) {
        const char *open = memchr(in, opening, (size_t)(end - in));
        const char *close = open == NULL
                                ? NULL
                                : memchr(open + 1, closing, (size_t)(end - open - 1));
        if (close == NULL) break;
        struct ucb_span inside = ucb_span_trim(ucb_span_between(open + 1, close));
        memmove(out, in, (size_t)(open + 1 - in));
        out += open + 1 - in;
        memmove(out, inside.at, inside.n);
        out += inside.n;
        *out++ = closing;
        in = close + 1;
    }
    memmove(out, in, (size_t)(end - in));
    return (size_t)(out + (end - in) - text);
}

size_t ucb_wiki_detokenize(char *text, size_t n_bytes)
{
    n_bytes = replace_all(text, n_bytes, before_pairs, COUNT(before_pairs));
    for (size_t i = 0; i < COUNT(pairs); i++)
        n_bytes = tighten(text, n_bytes, pairs[i][0], pairs[i][1]);
    return replace_all(text, n_bytes, after_pairs, COUNT(after_pairs));
}

/* `line` has its heading marks joined. */
static bool is_heading(struct ucb_span line)
{
    line = ucb_span_trim(line);
    return line.n >= 4 && ucb_span_begins(line, "= ") && ucb_span_ends(line, " =");
}

static char *title_of(struct ucb_span line, struct ucb_arena *arena)
{
    line = ucb_span_trim(line);
    struct ucb_span title = ucb_span_trim((struct ucb_span){line.at + 2, line.n - 4});
    char *out = ucb_arena_alloc(arena, title.n + 1);
    if (out != NULL) memcpy(out, title.at, title.n);
    return out;
}

/* Walks both texts line by line; fills `out` where it is not NULL. False when memory ran
 * out. */
static bool walk_headings(struct ucb_span text, struct ucb_span marked,
                          struct ucb_arena *arena, struct ucb_heading *out, size_t *n)
{
    const char *begin = text.at;
    struct ucb_span line, marked_line;
    *n = 0;
    /* Joining marks never touches a line feed, so line k of one text is line k of the
     * other. */
    while (ucb_span_next_line(&text, &line) && ucb_span_next_line(&marked, &marked_line)) {
        if (!is_heading(marked_line)) continue;
        if (out != NULL) {
            out[*n] = (struct ucb_heading){(size_t)(line.at - begin),
                                           title_of(marked_line, arena)};
            if (out[*n].title == NULL) return false;
        }
        ++*n;
    }
    return true;
}

ucb_status ucb_wiki_headings(struct ucb_span text, struct ucb_arena *arena,
                             struct ucb_heading **out, size_t *n, struct ucb_err *err)
{
    struct ucb_heading *headings = NULL;
    struct ucb_arena scratch;
    ucb_arena_init(&scratch);
    char *marks = ucb_arena_alloc(&scratch, text.n);
    bool enough = marks != NULL;
    if (enough) {
        memcpy(marks, text.at, text.n);
        struct ucb_span marked = {
            marks, replace_all(marks, text.n, heading_marks, COUNT(heading_marks))};
        walk_headings(text, marked, arena, NULL, n);
        headings = *n == 0 ? NULL : UCB_NEW(arena, struct ucb_heading, *n);
        enough = *n == 0 ||
                 (headings != NULL && walk_headings(text, marked, arena, headings, n));
    }
    ucb_arena_free(&scratch);
    if (!enough)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the headings of %zu bytes of text",
                        text.n);
    *out = headings;
    return UCB_OK;
}
