/*
 * pretok.c - cuts a text into the pieces inside which merges may happen.
 *
 * The expressions of the table stand as tokenizer.json files write them; onig.c writes them
 * anew for PCRE2. \p{N} and \p{L} are those of PCRE2's Unicode version, which a test pins.
 *
 * An expression of the table is checked against vectors of the tokenizer it belongs to and
 * matches in linear time. That cannot be promised for one out of a stranger's file, so such
 * a one is run under limits. PCRE2's own count how often it backtracks, while one count may
 * cost a pass over the text; therefore it sees the text through a window. Where it asks for
 * what lies behind the window (PCRE2 calls that a hard partial match), this one place is
 * tried on all of the text, and how often that may happen is limited, too.
 */
#include <assert.h>
#include <string.h>

#include "core/text.h"
#include "model/tokenizer_internal.h"

#define CONTRACTIONS "'s|'t|'re|'ve|'m|'ll|'d"

static const struct known {
    const char *name, *pattern;
    bool covers; /* matches every text from end to end */
} known[] = {
    {"gpt2", CONTRACTIONS "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
     true},
    {"llama3",
     "(?i:" CONTRACTIONS
     ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
     "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     true},
    {"qwen2",
     "(?i:" CONTRACTIONS
     ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
     "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     true},
    {"digit", "\\p{N}", false},
    {"digits", "\\p{N}+", false},
    {"words", " *[^ ]+| +", true}, /* not from a file: see spm.c */
};
enum {
    N_KNOWN = sizeof(known) / sizeof(known[0]),
    WINDOW = 32 << 10,
    MATCH_LIMIT = 2 << 20, /* a window of the longest expressions needs a tenth of it */
    HEAP_LIMIT_KIB = 64 << 10,
};
/* How much may be looked at behind windows: each time all that follows, of long texts. */
#define FAR_BYTES(n_bytes) (((uint64_t)1 << 30) + 64 * (uint64_t)(n_bytes))

/* ---- compiling ---- */

static ucb_status not_compiled(const char *pattern, size_t n_bytes, bool is_known, int code,
                               PCRE2_SIZE at, struct ucb_err *err)
{
    PCRE2_UCHAR reason[128];
    pcre2_get_error_message(code, reason, sizeof(reason));
    return UCB_FAIL(
        err, is_known ? UCB_ENVIRONMENT : UCB_UNSUPPORTED,
        "PCRE2 does not compile the pretokenizer's regular expression %s: %s at "
        "offset %zu of its rewriting; it needs PCRE2 10.40 or later",
        ucb_onig_show(pattern, n_bytes).text, (const char *)reason, at);
}

/* `text` is an expression for PCRE2; `pattern` is the one for messages. */
static ucb_status compile(const struct ucb_text *text, const char *pattern, size_t n_bytes,
                          bool is_known, pcre2_code **out, struct ucb_err *err)
{
    int code = PCRE2_ERROR_NOMEMORY;
    PCRE2_SIZE at = 0;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    *out = NULL;
    if (context != NULL) {
        /* PCRE2 10.42, compiled, misses matches where it looks for a start: of
         * (?>.+?)\x{4e00}, for one. The expressions of the table have their vectors. */
        uint32_t plain = is_known ? 0 : PCRE2_NO_START_OPTIMIZE;
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        *out = pcre2_compile((PCRE2_SPTR)ucb_text_get(text), text->n_chars,
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | plain, &code, &at,
                             context);
        pcre2_compile_context_free(context);
    }
    if (*out == NULL) return not_compiled(pattern, n_bytes, is_known, code, at, err);
    /*
     * Without executable memory there is no JIT; pcre2_match then interprets, slower and
     * with the same matches.
     */
    pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE | (is_known ? 0 : PCRE2_JIT_PARTIAL_HARD));
    return UCB_OK;
}

static ucb_status add_step(struct ucb_pretok *p, const char *pattern, size_t n_bytes,
                           struct ucb_pretok_step step, struct ucb_err *err)
{
    struct ucb_text text = {0};
    ucb_status status = UCB_OK;
    if (p->n_steps == UCB_PRETOK_STEPS)
        return UCB_FAIL(err, UCB_UNSUPPORTED, "more than %d pretokenizer steps",
                        UCB_PRETOK_STEPS);
    if (step.rule.literal)
        ucb_onig_literal(pattern, n_bytes, &text);
    else
        status = ucb_onig_rewrite(pattern, n_bytes, &text, err);
    if (status == UCB_OK && text.failed)
        status = UCB_FAIL(err, UCB_NOMEM, "no memory for a regular expression");
    if (status == UCB_OK)
        status = compile(&text, pattern, n_bytes, step.known, &step.code, err);
    if (status == UCB_OK) p->steps[p->n_steps++] = step;
    ucb_text_free(&text);
    return status;
}

static ucb_status add_known(struct ucb_pretok *p, const struct known *entry,
                            struct ucb_err *err)
{
    struct ucb_pretok_step step = {.name = entry->name, .known = true};
    return add_step(p, entry->pattern, strlen(entry->pattern), step, err);
}

ucb_status ucb_pretok_add(struct ucb_pretok *p, const char *name, struct ucb_err *err)
{
    for (size_t i = 0; i < N_KNOWN; i++)
        if (strcmp(known[i].name, name) == 0) return add_known(p, &known[i], err);
    assert(!"a pretokenizer that is not in the table of pretok.c");
    return UCB_FAIL(err, UCB_USAGE, "no pretokenizer `%s`", name);
}

/* The same pieces as keeping matches and what lies between? */
static bool keeps_all(const struct known *entry, struct ucb_pretok_rule rule)
{
    return rule.split == UCB_SPLIT_ISOLATED ||
           (entry->covers && rule.split == UCB_SPLIT_REMOVED && rule.invert);
}

static ucb_status set_limits(struct ucb_pretok *p, struct ucb_err *err)
{
    if (p->limits == NULL) p->limits = pcre2_match_context_create(NULL);
    if (p->limits == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the limits of PCRE2");
    pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    pcre2_set_depth_limit(p->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(p->limits, HEAP_LIMIT_KIB);
    return UCB_OK;
}

ucb_status ucb_pretok_add_pattern(struct ucb_pretok *p, const char *pattern, size_t n_bytes,
                                  struct ucb_pretok_rule rule, struct ucb_arena *memory,
                                  struct ucb_err *err)
{
    for (size_t i = 0; i < N_KNOWN && !rule.literal; i++)
        if (strlen(known[i].pattern) == n_bytes &&
            memcmp(known[i].pattern, pattern, n_bytes) == 0 && keeps_all(&known[i], rule))
            return add_known(p, &known[i], err);
    char *name = ucb_arena_alloc(memory, n_bytes + 1);
    if (name == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a regular expression");
    memcpy(name, pattern, n_bytes);
    name[n_bytes] = '\0';
    UCB_TRY(set_limits(p, err));
    struct ucb_pretok_step step = {.name = name, .rule = rule};
    return add_step(p, pattern, n_bytes, step, err);
}

void ucb_pretok_free(struct ucb_pretok *p)
{
    for (size_t i = 0; i < p->n_steps; i++) pcre2_code_free(p->steps[i].code);
    pcre2_match_context_free(p->limits);
    *p = (struct ucb_pretok){0};
}

pcre2_match_data *ucb_pretok_match_data(void)
{
    return pcre2_match_data_create(1, NULL); /* no expression captures */
}

/* ---- matching ---- */

/* One call of split: what stays the same on the way down through the steps. */
struct cut {
    const struct ucb_pretok *pretok;
    pcre2_match_data *match;
    ucb_piece_sink *emit;
    void *context;
    const char *text;  /* all of it */
    uint64_t far_left; /* bytes */
};

/* What one step cuts: a piece of the step before. */
struct stretch {
    const struct ucb_pretok_step *step;
    const char *text;
    size_t n_bytes;
};

static ucb_status match_failed(const struct cut *c, const struct stretch *s, size_t at,
                               const char *why, struct ucb_err *err)
{
    size_t offset = (size_t)(s->text - c->text) + at;
    return UCB_FAIL(
        err, UCB_UNSUPPORTED,
        "the pretokenizer's regular expression %s gave up on the text between added "
        "tokens from its byte %zu on, before \"%s\": %s. It tries too many ways there; "
        "cut the text, or write the expression in tokenizer.json without nested repeats",
        ucb_onig_show(s->step->name, strlen(s->step->name)).text, offset,
        ucb_show(s->text + at, s->n_bytes - at).text, why);
}

static ucb_status code_failed(const struct cut *c, const struct stretch *s, size_t at,
                              int code, struct ucb_err *err)
{
    PCRE2_UCHAR reason[128];
    if (code == PCRE2_ERROR_NOMEMORY)
        return UCB_FAIL(err, UCB_NOMEM, "no memory to match a regular expression");
    pcre2_get_error_message(code, reason, sizeof(reason));
    return match_failed(c, s, at, (const char *)reason, err);
}

/* What the compiled code has too little stack for is interpreted, on the heap. */
static int try_match(const struct cut *c, const struct stretch *s, size_t n_bytes,
                     size_t at, uint32_t options, pcre2_match_context *limits)
{
    const pcre2_code *code = s->step->code;
    PCRE2_SPTR text = (PCRE2_SPTR)s->text;
    options |= PCRE2_NO_UTF_CHECK;
    int found = pcre2_match(code, text, n_bytes, at, options, c->match, limits);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found = pcre2_match(code, text, n_bytes, at, options | PCRE2_NO_JIT, c->match,
                            limits);
    return found;
}

/* Fewer where a single count may cost more, a pass over all that follows. */
static uint32_t far_limit(size_t n_bytes)
{
    if (n_bytes <= WINDOW) return MATCH_LIMIT;
    return (uint32_t)((uint64_t)MATCH_LIMIT * WINDOW / n_bytes) + 1000;
}

/* A match that begins at `at`, with all of the text in view. */
static ucb_status look_far(struct cut *c, const struct stretch *s, size_t at, int *found,
                           struct ucb_err *err)
{
    size_t n_bytes = s->n_bytes - at;
    if (n_bytes > c->far_left)
        return match_failed(c, s, at, "it has looked too far too often", err);
    c->far_left -= n_bytes;
    pcre2_match_context *limits = pcre2_match_context_copy(c->pretok->limits);
    if (limits == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the limits of PCRE2");
    pcre2_set_match_limit(limits, far_limit(n_bytes));
    *found = try_match(c, s, s->n_bytes, at, PCRE2_ANCHORED, limits);
    pcre2_match_context_free(limits);
    return UCB_OK;
}

static size_t next_char(const struct stretch *s, size_t at)
{
    for (at++; at < s->n_bytes && ((unsigned char)s->text[at] & 0xc0) == 0x80;) at++;
    return at;
}

/* The end of the window from `at` on, where a character begins or the text ends. */
static size_t window_end(const struct stretch *s, size_t at)
{
    return s->n_bytes - at <= WINDOW ? s->n_bytes : next_char(s, at + WINDOW - 1);
}

/*
 * The first match from `at` on: *found is negative without one. In a window a match that
 * reaches its end is not believed either.
 */
static ucb_status find(struct cut *c, const struct stretch *s, size_t at, int *found,
                       struct ucb_err *err)
{
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(c->match);
    if (s->step->known) {
        *found = try_match(c, s, s->n_bytes, at, 0, NULL);
        goto out;
    }
    for (;;) {
        size_t end = window_end(s, at);
        bool last = end == s->n_bytes;
        *found = try_match(c, s, end, at, last ? 0 : PCRE2_PARTIAL_HARD, c->pretok->limits);
        bool far = *found == PCRE2_ERROR_PARTIAL || (*found > 0 && span[1] == end);
        if (last || (!far && *found != PCRE2_ERROR_NOMATCH)) break;
        at = end;
        if (!far) continue;
        at = span[0];
        UCB_TRY(look_far(c, s, at, found, err));
        if (*found != PCRE2_ERROR_NOMATCH) break;
        if (at == s->n_bytes) break;
        at = next_char(s, at);
    }
out:
    return *found > 0 || *found == PCRE2_ERROR_NOMATCH ? UCB_OK
                                                       : code_failed(c, s, at, *found, err);
}

/* ---- cutting ---- */

/* A part of the text that waits: the next may join it. */
struct part {
    size_t begin, end;
    bool flag; /* a match, with `invert` none */
    bool open; /* there is one */
};

static ucb_status cut_from(struct cut *c, size_t step, const char *text, size_t n_bytes,
                           struct ucb_err *err);

static ucb_status close_part(struct cut *c, const struct stretch *s,
                             const struct part *part, struct ucb_err *err)
{
    bool removed = part->flag && s->step->rule.split == UCB_SPLIT_REMOVED;
    if (!part->open || removed || part->end == part->begin) return UCB_OK;
    size_t next = (size_t)(s->step - c->pretok->steps) + 1;
    return cut_from(c, next, s->text + part->begin, part->end - part->begin, err);
}

static bool joins(enum ucb_split split, bool flag_before, bool flag)
{
    switch (split) {
    case UCB_SPLIT_CONTIGUOUS: return flag_before == flag;
    case UCB_SPLIT_MERGED_WITH_PREVIOUS: return !flag_before && flag;
    case UCB_SPLIT_MERGED_WITH_NEXT: return flag_before && !flag;
    case UCB_SPLIT_ISOLATED:
    case UCB_SPLIT_REMOVED: break;
    }
    return false;
}

/* A joined pair is flagged as its second half, so that no third joins but a like one. */
static ucb_status put_part(struct cut *c, const struct stretch *s, struct part *part,
                           size_t end, bool is_match, struct ucb_err *err)
{
    bool flag = is_match != s->step->rule.invert;
    if (!part->open || !joins(s->step->rule.split, part->flag, flag)) {
        UCB_TRY(close_part(c, s, part, err));
        part->begin = part->end;
    }
    *part = (struct part){part->begin, end, flag, true};
    return UCB_OK;
}

/*
 * A step sees its piece as a whole text: what stands behind the piece does not count for
 * its look-ahead. An empty match divides; one where a match ended is passed over, as in the
 * onig crate.
 */
static ucb_status cut_from(struct cut *c, size_t step, const char *text, size_t n_bytes,
                           struct ucb_err *err)
{
    if (step == c->pretok->n_steps) return c->emit(c->context, text, n_bytes, err);
    const struct stretch s = {&c->pretok->steps[step], text, n_bytes};
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(c->match);
    struct part part = {0};
    size_t matched = SIZE_MAX;                           /* where a match ended last */
    size_t last = s.step->known ? n_bytes - 1 : n_bytes; /* known ones take a character */
    for (size_t at = 0; at <= last;) {
        int found;
        UCB_TRY(find(c, &s, at, &found, err));
        if (found < 0) break;
        size_t begin = span[0], end = span[1];
        if (begin == end && end == matched) {
            at = next_char(&s, at);
            continue;
        }
        if (begin > part.end) UCB_TRY(put_part(c, &s, &part, begin, false, err));
        UCB_TRY(put_part(c, &s, &part, end, true, err));
        at = matched = end;
    }
    if (n_bytes > part.end) UCB_TRY(put_part(c, &s, &part, n_bytes, false, err));
    return close_part(c, &s, &part, err);
}

ucb_status ucb_pretok_split(const struct ucb_pretok *p, pcre2_match_data *match,
                            const char *text, size_t n_bytes, ucb_piece_sink *emit,
                            void *context, struct ucb_err *err)
{
    if (n_bytes == 0) return UCB_OK;
    struct cut cut = {p, match, emit, context, text, FAR_BYTES(n_bytes)};
    return cut_from(&cut, 0, text, n_bytes, err);
}
