/*
 * onig.c - a regular expression as tokenizer.json files mean it, written for PCRE2.
 *
 * The files mean Oniguruma in its own (nearly Ruby's) syntax, with the full Unicode tables.
 * What is read here is what both libraries have; the rest is refused by name. Each
 * construct is written anew, so that nothing reaches PCRE2 that was not understood:
 *
 *     here               PCRE2                because
 *     \s \d              \p{White_Space} ...  PCRE2's \s also has U+180E
 *     \w                 a class              PCRE2's \w has no marks
 *     \p{Han}            \p{sc:Han}           PCRE2 takes Script_Extensions for a bare name
 *     \v                 U+000B               PCRE2: any vertical white space
 *     \u4e00             \x{4e00}             PCRE2 has no \u
 *     x{1,3}+            (?:x{1,3})+          only after * + ? is it possessive here
 *     x{,3}              x{0,3}               no interval in PCRE2 before 10.43
 *     ^ $                the same             with PCRE2_MULTILINE, newline U+000A
 *     ( )                (?: )                nobody asks what a group matched
 *
 * Ignoring case, Oniguruma also takes the one letter U+00DF for the two "ss", and so for
 * all foldings into several letters; PCRE2 never does. Inside (?i: only ASCII letters are
 * read, and no two in a row that are such a folding.
 */
#include <assert.h>
#include <string.h>
#include <utf8proc.h>

#include "core/text.h"
#include "model/tokenizer_internal.h"

enum { MAX_DEPTH = 32, MAX_REPEATS = 1000, MAX_BYTES = 8192 };
#define NO_ATOM SIZE_MAX

struct group {
    size_t begin; /* in the output, where its parenthesis stands */
    size_t inner; /* behind that */
    bool fold;    /* ignores case */
    bool looks;   /* a look-around: nothing to repeat */
    bool takes;   /* this branch takes a character, its last item aside */
    bool empty;   /* a branch before it may take none */
};

struct rewrite {
    const char *in;
    size_t n, at;
    struct ucb_text *out;
    size_t atom; /* in the output: what a quantifier would repeat, or NO_ATOM */
    bool takes;  /* the last item takes a character in any case */
    char letter; /* under `fold` the literal just before, or 0 */
    struct group groups[MAX_DEPTH + 1]; /* the first is the expression */
    size_t depth;
};

struct ucb_shown ucb_onig_show(const char *pattern, size_t n_bytes)
{
    enum { SHOWN = 120 };
    struct ucb_shown shown = {""};
    size_t n = n_bytes < SHOWN ? n_bytes : SHOWN;
    for (size_t i = 0; i < n; i++)
        shown.text[i] = pattern[i] >= ' ' && pattern[i] < 0x7f ? pattern[i] : '?';
    if (n_bytes > SHOWN) memcpy(shown.text + n, "...", 4);
    return shown;
}

static ucb_status refuse(const struct rewrite *r, size_t at, const char *what,
                         struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "the regular expression %s has %s at byte %zu (there: %.20s), which is "
                    "not implemented; docs/formats.md lists what is",
                    ucb_onig_show(r->in, r->n).text, what, at,
                    ucb_onig_show(r->in + at, r->n - at).text);
}

static bool next_is(const struct rewrite *r, const char *text)
{
    size_t n = strlen(text);
    return r->n - r->at >= n && memcmp(r->in + r->at, text, n) == 0;
}

static bool take(struct rewrite *r, const char *text)
{
    bool is = next_is(r, text);
    if (is) r->at += strlen(text);
    return is;
}

static void put(struct rewrite *r, const char *text)
{
    ucb_text_add_chars(r->out, text, strlen(text));
}

static bool folds(const struct rewrite *r)
{
    return r->groups[r->depth].fold;
}

/* The next item begins: `takes` is for it from now on. */
static void end_item(struct rewrite *r, bool takes)
{
    r->groups[r->depth].takes |= r->takes;
    r->takes = takes;
}

static bool is_letter(uint32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void put_point(struct ucb_text *out, uint32_t c)
{
    if (is_letter(c) || (c >= '0' && c <= '9') || c == ' ')
        ucb_text_add(out, "%c", (char)c);
    else
        ucb_text_add(out, "\\x{%x}", (unsigned)c);
}

/* ---- properties ---- */

/*
 * Names that both libraries have, and the long ones of which PCRE2 has only the short.
 * Alphabetic grew by marks that Unicode had before, and so is not among them.
 */
static const char *const categories[] = {
    "L",  "Ll", "Lm", "Lo", "Lt", "Lu", "M",  "Mc", "Me", "Mn", "N",  "Nd",
    "Nl", "No", "P",  "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S",  "Sc",
    "Sk", "Sm", "So", "Z",  "Zl", "Zp", "Zs", "C",  "Cc", "Cf", "Cn", "Co",
};
static const char *const scripts[] = {
    "Arabic",   "Armenian", "Bengali",   "Bopomofo",  "Cyrillic", "Devanagari",
    "Ethiopic", "Georgian", "Greek",     "Gujarati",  "Gurmukhi", "Han",
    "Hangul",   "Hebrew",   "Hiragana",  "Kannada",   "Katakana", "Khmer",
    "Lao",      "Latin",    "Malayalam", "Mongolian", "Myanmar",  "Oriya",
    "Sinhala",  "Tamil",    "Telugu",    "Thai",      "Tibetan",
};
static const char *const long_names[][2] = {
    {"Letter", "L"},
    {"Mark", "M"},
    {"Number", "N"},
    {"Punctuation", "P"},
    {"Symbol", "S"},
    {"Separator", "Z"},
    {"White_Space", "White_Space"},
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool find_property(const char *name, const char **prefix, const char **pcre2)
{
    *prefix = "";
    for (size_t i = 0; i < COUNT(categories); i++)
        if (strcmp(categories[i], name) == 0) return *pcre2 = categories[i], true;
    for (size_t i = 0; i < COUNT(long_names); i++)
        if (strcmp(long_names[i][0], name) == 0) return *pcre2 = long_names[i][1], true;
    *prefix = "sc:";
    for (size_t i = 0; i < COUNT(scripts); i++)
        if (strcmp(scripts[i], name) == 0) return *pcre2 = scripts[i], true;
    return false;
}

/* \p{...}; r->at is behind the p. */
static ucb_status read_property(struct rewrite *r, size_t begin, struct ucb_err *err)
{
    char name[16];
    const char *prefix, *pcre2;
    size_t n = 0;
    if (folds(r)) return refuse(r, begin, "a property that ignores case", err);
    if (!take(r, "{")) return refuse(r, begin, "\\p without a brace", err);
    while (r->at + n < r->n && r->in[r->at + n] != '}' && n < sizeof(name) - 1) n++;
    memcpy(name, r->in + r->at, n);
    name[n] = '\0';
    r->at += n;
    if (!take(r, "}") || !find_property(name, &prefix, &pcre2))
        return refuse(r, begin, "a property that is not known", err);
    ucb_text_add(r->out, "\\%c{%s%s}", r->in[begin + 1], prefix, pcre2);
    return UCB_OK;
}

/* ---- escapes and literals ---- */

/* Hexadecimal digits up to `max`; false without one. */
static bool read_hex(struct rewrite *r, size_t min, size_t max, uint32_t *value)
{
    size_t n = 0;
    *value = 0;
    for (; n < max && r->at < r->n; n++, r->at++) {
        const char *digits = "0123456789abcdef0123456789ABCDEF";
        const char *digit = memchr(digits, r->in[r->at], 32);
        if (digit == NULL) break;
        *value = *value * 16 + (uint32_t)((digit - digits) % 16);
    }
    return n >= min;
}

static bool read_code(struct rewrite *r, char kind, uint32_t *point)
{
    bool ok;
    if (kind == 'u')
        ok = read_hex(r, 4, 4, point);
    else if (take(r, "{"))
        ok = read_hex(r, 1, 6, point) && take(r, "}");
    else
        ok = read_hex(r, 2, 2, point) && *point < 0x80; /* else a byte, not a character */
    return ok && utf8proc_codepoint_valid((utf8proc_int32_t)*point);
}

/*
 * Oniguruma's \w has U+00B2, B3, B9 and BC to BE, which are numbers but no digits; in a
 * class it has not.
 */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define WORD_ALONE WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

static ucb_status read_word(struct rewrite *r, size_t begin, bool in_class,
                            struct ucb_err *err)
{
    bool inverse = r->in[begin + 1] == 'W';
    if (folds(r)) return refuse(r, begin, "\\w that ignores case", err);
    if (inverse && in_class) return refuse(r, begin, "\\W inside a class", err);
    put(r, in_class ? WORD : inverse ? "[^" WORD_ALONE "]" : "[" WORD_ALONE "]");
    return UCB_OK;
}

/* *set: a set of characters was written; else *point is one, which was not. */
static ucb_status read_escape(struct rewrite *r, bool in_class, bool *set, uint32_t *point,
                              struct ucb_err *err)
{
    static const char controls[] = "tnrfvea", values[] = "\t\n\r\f\v\x1b\a";
    size_t begin = r->at++;
    if (r->at == r->n) return refuse(r, begin, "a \\ at its end", err);
    char kind = r->in[r->at++];
    const char *control = kind == '\0' ? NULL : strchr(controls, kind);
    *set = strchr("sSdDwWpP", kind) != NULL && kind != '\0';
    if (kind == 'p' || kind == 'P') return read_property(r, begin, err);
    if (kind == 'w' || kind == 'W') return read_word(r, begin, in_class, err);
    if (*set)
        ucb_text_add(r->out, "\\%c{%s}", kind < 'a' ? 'P' : 'p',
                     kind == 's' || kind == 'S' ? "White_Space" : "Nd");
    else if (control != NULL)
        *point = (unsigned char)values[control - controls];
    else if ((kind == 'x' || kind == 'u') && read_code(r, kind, point))
        return UCB_OK;
    else if (kind > ' ' && kind < 0x7f && !is_letter((uint32_t)kind) &&
             !(kind >= '0' && kind <= '9'))
        *point = (unsigned char)kind;
    else
        return refuse(r, begin, "an escape of another meaning", err);
    return UCB_OK;
}

/* A character as it stands; the expression was read from JSON and is UTF-8. */
static uint32_t read_point(struct rewrite *r)
{
    utf8proc_int32_t c = 0;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)r->in + r->at,
                                          (utf8proc_ssize_t)(r->n - r->at), &c);
    assert(n > 0);
    r->at += (size_t)n;
    return (uint32_t)c;
}

/* Do two letters in a row have one that folds into them: ff, fi, fl, ss, st? */
static bool is_folding(char left, uint32_t right)
{
    char a = (char)(left | 0x20), b = (char)(right | 0x20);
    return (a == 'f' && (b == 'f' || b == 'i' || b == 'l')) ||
           (a == 's' && (b == 's' || b == 't'));
}

static ucb_status put_literal(struct rewrite *r, size_t begin, uint32_t c,
                              struct ucb_err *err)
{
    if (folds(r) && c >= 0x80)
        return refuse(r, begin, "a character outside ASCII that ignores case", err);
    bool letter = is_letter(c) && folds(r);
    if (letter && r->letter != 0 && is_folding(r->letter, c))
        return refuse(r, begin, "ff, fi, fl, ss or st that ignores case", err);
    end_item(r, true);
    r->atom = r->out->n_chars;
    r->letter = letter ? (char)c : 0;
    put_point(r->out, c);
    return UCB_OK;
}

/* ---- classes ---- */

/* One member or range; r->at is at it. */
static ucb_status read_member(struct rewrite *r, bool first, struct ucb_err *err)
{
    size_t begin = r->at;
    uint32_t ends[2] = {0, 0};
    int n_ends = 0;
    do {
        bool set = false;
        size_t at = r->at;
        if (next_is(r, "[")) return refuse(r, at, "a class (or [:name:]) in a class", err);
        if (next_is(r, "&&")) return refuse(r, at, "an intersection of classes", err);
        if (next_is(r, "--")) return refuse(r, at, "-- in a class", err);
        if (next_is(r, "-") && !first && (n_ends > 0 || r->in[at + 1] != ']'))
            return refuse(r, at, "a - that may be a range (write \\-)", err);
        if (!next_is(r, "\\"))
            ends[n_ends] = read_point(r);
        else
            UCB_TRY(read_escape(r, true, &set, &ends[n_ends], err));
        if (set && n_ends == 0) return UCB_OK;
        if (set) return refuse(r, begin, "a range to a set", err);
        if (folds(r) && ends[n_ends] >= 0x80)
            return refuse(r, at, "a character outside ASCII that ignores case", err);
        n_ends++;
    } while (n_ends == 1 && r->n - r->at >= 2 && r->in[r->at + 1] != ']' && take(r, "-"));
    if (n_ends == 2 && ends[0] > ends[1]) return refuse(r, begin, "a range to less", err);
    put_point(r->out, ends[0]);
    if (n_ends == 2) put(r, "-");
    if (n_ends == 2) put_point(r->out, ends[1]);
    return UCB_OK;
}

static ucb_status read_class(struct rewrite *r, struct ucb_err *err)
{
    size_t begin = r->at++;
    end_item(r, true);
    r->atom = r->out->n_chars;
    r->letter = 0;
    bool inverse = take(r, "^");
    if (inverse && folds(r)) return refuse(r, begin, "[^...] that ignores case", err);
    put(r, inverse ? "[^" : "[");
    if (next_is(r, "]")) return refuse(r, begin, "a class that begins with ]", err);
    for (bool first = true; !take(r, "]"); first = false) {
        if (r->at + 1 >= r->n) return refuse(r, begin, "a class without its end", err);
        UCB_TRY(read_member(r, first, err));
    }
    put(r, "]");
    return UCB_OK;
}

/* ---- quantifiers ---- */

static bool read_count(struct rewrite *r, uint32_t *value)
{
    size_t n = 0;
    for (*value = 0; r->at < r->n && n < 4; n++, r->at++) {
        if (r->in[r->at] < '0' || r->in[r->at] > '9') break;
        *value = *value * 10 + (uint32_t)(r->in[r->at] - '0');
    }
    return n > 0;
}

static void wrap_atom(struct rewrite *r)
{
    put(r, "(?:)");
    if (r->out->failed) return;
    char *atom = r->out->data + r->atom;
    memmove(atom + 3, atom, r->out->n_chars - 4 - r->atom);
    memcpy(atom, "(?:", 3);
}

static ucb_status read_interval(struct rewrite *r, struct ucb_err *err)
{
    size_t begin = r->at++;
    uint32_t low, high = 0;
    bool has_low = read_count(r, &low), comma = take(r, ","), has_high;
    has_high = comma && read_count(r, &high);
    if (!take(r, "}") || (!has_low && !has_high))
        return refuse(r, begin, "a { that begins no interval (write \\{)", err);
    if (!comma || !has_high) high = low;
    if (low > high || high > MAX_REPEATS)
        return refuse(r, begin, "an interval of this size or order", err);
    if (r->letter != 0) return refuse(r, begin, "an interval that ignores case", err);
    /* Oniguruma leaves off after an empty repeat, PCRE2 goes on to the count. */
    if (!r->takes && (low > 1 || high > 1))
        return refuse(r, begin, "an interval of what may be empty", err);
    r->takes &= low > 0;
    ucb_text_add(r->out, comma && !has_high ? "{%u,}" : "{%u,%u}", (unsigned)low,
                 (unsigned)high);
    if (next_is(r, "?") && !comma) return refuse(r, begin, "{n}?", err);
    if (take(r, "?")) {
        put(r, "?");
        return UCB_OK;
    }
    if (!take(r, "+")) return UCB_OK;
    wrap_atom(r);
    put(r, "+");
    return UCB_OK;
}

static ucb_status read_quantifier(struct rewrite *r, struct ucb_err *err)
{
    size_t begin = r->at;
    if (r->atom == NO_ATOM)
        return refuse(r, begin, "a quantifier of nothing, or of a quantifier", err);
    if (r->in[r->at] == '{') {
        UCB_TRY(read_interval(r, err));
    } else {
        r->takes &= r->in[r->at] == '+';
        ucb_text_add_chars(r->out, r->in + r->at++, 1);
        if (take(r, "?"))
            put(r, "?");
        else if (take(r, "+"))
            put(r, "+");
    }
    r->atom = NO_ATOM;
    r->letter = 0;
    return UCB_OK;
}

/* ---- groups ---- */

static ucb_status open_group(struct rewrite *r, struct ucb_err *err)
{
    static const struct {
        const char *here, *pcre2;
        bool fold, looks;
    } kinds[] = {
        {"(?:", "(?:", false, false},  {"(?i:", "(?i:", true, false},
        {"(?>", "(?>", false, false},  {"(?=", "(?=", false, true},
        {"(?!", "(?!", false, true},   {"(?<=", "(?<=", false, true},
        {"(?<!", "(?<!", false, true},
    };
    size_t begin = r->at, i = 0;
    struct group group = {.begin = r->out->n_chars, .fold = folds(r)};
    if (r->depth == MAX_DEPTH) return refuse(r, begin, "a group that lies too deep", err);
    if (next_is(r, "(?i)") && r->out->n_chars == r->groups[r->depth].inner) {
        r->groups[r->depth].fold = take(r, "(?i)"); /* later its branches differ */
        put(r, "(?i)");
        return UCB_OK;
    }
    while (i < COUNT(kinds) && !take(r, kinds[i].here)) i++;
    if (i == COUNT(kinds) && next_is(r, "(?"))
        return refuse(r, begin, "a group of another kind", err);
    if (i == COUNT(kinds)) r->at++;
    put(r, i == COUNT(kinds) ? "(?:" : kinds[i].pcre2);
    group.fold |= i < COUNT(kinds) && kinds[i].fold;
    group.looks = i < COUNT(kinds) && kinds[i].looks;
    group.inner = r->out->n_chars;
    end_item(r, false);
    r->groups[++r->depth] = group;
    r->atom = NO_ATOM;
    return UCB_OK;
}

static ucb_status close_group(struct rewrite *r, struct ucb_err *err)
{
    if (r->depth == 0) return refuse(r, r->at, "a ) without its (", err);
    end_item(r, false);
    const struct group *group = &r->groups[r->depth--];
    r->takes = group->takes && !group->empty && !group->looks;
    r->at++;
    put(r, ")");
    r->atom = group->looks ? NO_ATOM : group->begin;
    return UCB_OK;
}

/* ---- the expression ---- */

static ucb_status read_escaped(struct rewrite *r, struct ucb_err *err)
{
    size_t begin = r->at, out = r->out->n_chars;
    bool set;
    uint32_t point = 0;
    if (next_is(r, "\\A") || next_is(r, "\\z")) {
        ucb_text_add_chars(r->out, r->in + r->at, 2);
        r->at += 2;
        r->atom = NO_ATOM;
        end_item(r, false);
        return UCB_OK;
    }
    UCB_TRY(read_escape(r, false, &set, &point, err));
    if (!set) return put_literal(r, begin, point, err);
    end_item(r, true);
    r->atom = out;
    r->letter = 0;
    return UCB_OK;
}

static void end_branch(struct rewrite *r)
{
    struct group *group = &r->groups[r->depth];
    end_item(r, false);
    group->empty |= !group->takes;
    group->takes = false;
}

static ucb_status read_next(struct rewrite *r, struct ucb_err *err)
{
    char c = r->in[r->at];
    size_t begin = r->at;
    switch (c) {
    case '\\': return read_escaped(r, err);
    case '[': return read_class(r, err);
    case '(': return open_group(r, err);
    case ')': return close_group(r, err);
    case '*':
    case '+':
    case '?':
    case '{': return read_quantifier(r, err);
    case '.':
    case '^':
    case '$':
    case '|':
        end_item(r, c == '.');
        if (c == '|') end_branch(r);
        r->atom = c == '.' ? r->out->n_chars : NO_ATOM;
        r->letter = 0;
        ucb_text_add_chars(r->out, r->in + r->at++, 1);
        return UCB_OK;
    default: return put_literal(r, begin, read_point(r), err);
    }
}

ucb_status ucb_onig_rewrite(const char *pattern, size_t n_bytes, struct ucb_text *out,
                            struct ucb_err *err)
{
    struct rewrite r = {.in = pattern, .n = n_bytes, .out = out, .atom = NO_ATOM};
    assert(out->n_chars == 0);
    if (n_bytes > MAX_BYTES)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "a regular expression of %zu bytes; at most %d are taken", n_bytes,
                        MAX_BYTES);
    while (r.at < r.n) UCB_TRY(read_next(&r, err));
    if (r.depth > 0) return refuse(&r, r.n, "a ( without its ) before the end", err);
    return out->failed ? UCB_FAIL(err, UCB_NOMEM, "no memory for a regular expression")
                       : UCB_OK;
}

void ucb_onig_literal(const char *text, size_t n_bytes, struct ucb_text *out)
{
    struct rewrite r = {.in = text, .n = n_bytes};
    while (r.at < r.n) put_point(out, read_point(&r));
}
