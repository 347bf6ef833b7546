/*
 * pretok.c - cuts a text into the pieces inside which merges may happen.
 *
 * The expressions stand here as tokenizer.json files write them. Those files mean
 * Oniguruma's \s, the Unicode property White_Space; PCRE2's own \s also has U+180E. So \s
 * and \S are rewritten before compiling, nothing else is. \p{N} and \p{L} are those of
 * PCRE2's Unicode version, which a test pins.
 *
 * Only expressions of this table are taken: each one is checked against vectors of the
 * tokenizer it belongs to, covers every text and matches in linear time, which cannot be
 * promised for an expression out of a stranger's file.
 */
#include <assert.h>
#include <string.h>

#include "core/text.h"
#include "model/tokenizer_internal.h"

#define CONTRACTIONS "'s|'t|'re|'ve|'m|'ll|'d"

static const struct known {
    const char *name, *pattern;
} known[] = {
    {"gpt2", CONTRACTIONS "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
    {"llama3", "(?i:" CONTRACTIONS
               ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
               "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    {"qwen2", "(?i:" CONTRACTIONS
              ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
              "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    {"digit", "\\p{N}"},
    {"digits", "\\p{N}+"},
    {"words", " *[^ ]+| +"}, /* not from a file: see spm.c */
};
enum { N_KNOWN = sizeof(known) / sizeof(known[0]), PATTERN_BYTES = 1024 };

/*
 * \s and \S as the property White_Space. The table's longest expression grows to less than
 * PATTERN_BYTES.
 */
static void rewrite_spaces(const char *pattern, char *out)
{
    size_t n = 0;
    for (const char *p = pattern; *p != '\0'; p++) {
        bool space = p[0] == '\\' && (p[1] == 's' || p[1] == 'S');
        if (space) {
            memcpy(out + n, p[1] == 's' ? "\\p{White_Space}" : "\\P{White_Space}",
                   strlen("\\p{White_Space}"));
            n += strlen("\\p{White_Space}");
            p++;
        } else {
            out[n++] = *p;
        }
        assert(n + strlen("\\p{White_Space}") < PATTERN_BYTES);
    }
    out[n] = '\0';
}

static ucb_status compile(const struct known *entry, pcre2_code **out, struct ucb_err *err)
{
    char pattern[PATTERN_BYTES];
    int code;
    PCRE2_SIZE at;
    rewrite_spaces(entry->pattern, pattern);
    *out = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                         &code, &at, NULL);
    if (*out == NULL) {
        PCRE2_UCHAR reason[128];
        pcre2_get_error_message(code, reason, sizeof(reason));
        return UCB_FAIL(err, UCB_ENVIRONMENT,
                        "PCRE2 does not compile the pretokenizer `%s`: %s at offset %zu; "
                        "it needs PCRE2 10.40 or later",
                        entry->name, (const char *)reason, at);
    }
    /*
     * Without executable memory there is no JIT; pcre2_match then interprets, slower and
     * with the same matches.
     */
    pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
    return UCB_OK;
}

static ucb_status add_step(struct ucb_pretok *p, const struct known *entry,
                           struct ucb_err *err)
{
    if (p->n_steps == UCB_PRETOK_STEPS)
        return UCB_FAIL(err, UCB_UNSUPPORTED, "more than %d pretokenizer steps",
                        UCB_PRETOK_STEPS);
    UCB_TRY(compile(entry, &p->steps[p->n_steps], err));
    p->names[p->n_steps++] = entry->name;
    return UCB_OK;
}

ucb_status ucb_pretok_add(struct ucb_pretok *p, const char *name, struct ucb_err *err)
{
    for (size_t i = 0; i < N_KNOWN; i++)
        if (strcmp(known[i].name, name) == 0) return add_step(p, &known[i], err);
    assert(!"a pretokenizer that is not in the table of pretok.c");
    return UCB_FAIL(err, UCB_USAGE, "no pretokenizer `%s`", name);
}

ucb_status ucb_pretok_add_pattern(struct ucb_pretok *p, const char *pattern,
                                  struct ucb_err *err)
{
    const char *names[N_KNOWN];
    char list[256];
    for (size_t i = 0; i < N_KNOWN; i++) {
        if (strcmp(known[i].pattern, pattern) == 0) return add_step(p, &known[i], err);
        names[i] = known[i].name;
    }
    ucb_text_near("", names, N_KNOWN, list, sizeof(list));
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "the regular expression %.200s is none that was checked (%s); "
                    "a new one goes into the table of pretok.c",
                    pattern, list);
}

void ucb_pretok_free(struct ucb_pretok *p)
{
    for (size_t i = 0; i < p->n_steps; i++) pcre2_code_free(p->steps[i]);
    p->n_steps = 0;
}

pcre2_match_data *ucb_pretok_match_data(void)
{
    return pcre2_match_data_create(1, NULL); /* no expression of the table captures */
}

/* One call of split: what stays the same on the way down through the steps. */
struct cut {
    const struct ucb_pretok *pretok;
    pcre2_match_data *match;
    ucb_piece_sink *emit;
    void *context;
};

static ucb_status match_failed(int code, struct ucb_err *err)
{
    PCRE2_UCHAR reason[128];
    pcre2_get_error_message(code, reason, sizeof(reason));
    return UCB_FAIL(err, code == PCRE2_ERROR_NOMEMORY ? UCB_NOMEM : UCB_UNSUPPORTED,
                    "PCRE2 gave up on the text while pretokenizing: %s",
                    (const char *)reason);
}

/*
 * A step sees its piece as a whole text: what stands behind the piece does not count for
 * its look-ahead.
 */
static ucb_status cut_from(const struct cut *c, size_t step, const char *text,
                           size_t n_bytes, struct ucb_err *err)
{
    if (step == c->pretok->n_steps) return c->emit(c->context, text, n_bytes, err);
    for (size_t at = 0; at < n_bytes;) {
        int code = pcre2_match(c->pretok->steps[step], (PCRE2_SPTR)text, n_bytes, at,
                               PCRE2_NO_UTF_CHECK, c->match, NULL);
        if (code < 0 && code != PCRE2_ERROR_NOMATCH) return match_failed(code, err);
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(c->match);
        size_t begin = code < 0 ? n_bytes : span[0], end = code < 0 ? n_bytes : span[1];
        assert(end > at);
        if (begin > at) UCB_TRY(cut_from(c, step + 1, text + at, begin - at, err));
        if (end > begin) UCB_TRY(cut_from(c, step + 1, text + begin, end - begin, err));
        at = end;
    }
    return UCB_OK;
}

ucb_status ucb_pretok_split(const struct ucb_pretok *p, pcre2_match_data *match,
                            const char *text, size_t n_bytes, ucb_piece_sink *emit,
                            void *context, struct ucb_err *err)
{
    if (n_bytes == 0) return UCB_OK;
    struct cut cut = {p, match, emit, context};
    return cut_from(&cut, 0, text, n_bytes, err);
}
