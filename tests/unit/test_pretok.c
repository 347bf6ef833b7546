/* Pretokenizers, normalizer and added tokens, on texts small enough to cut by hand. */
#include "test.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "core/text.h"
#include "model/tokenizer_internal.h"

static ucb_status collect(void *context, const char *piece, size_t n_bytes,
                          struct ucb_err *err)
{
    (void)err;
    struct ucb_text *out = context;
    if (out->n_chars > 0) ucb_text_add(out, "/");
    ucb_text_add_chars(out, piece, n_bytes);
    return UCB_OK;
}

/* The pieces with a slash between them. */
static const char *cut(const char *first_step, const char *second_step, const char *text)
{
    struct ucb_pretok p = {0};
    struct ucb_text out = {0};
    struct ucb_err err;
    CHECK_OK(ucb_pretok_add(&p, first_step, &err), err);
    if (second_step != NULL) CHECK_OK(ucb_pretok_add(&p, second_step, &err), err);
    pcre2_match_data *match = ucb_pretok_match_data();
    CHECK(match != NULL);
    CHECK_OK(ucb_pretok_split(&p, match, text, strlen(text), collect, &out, &err), err);
    const char *kept = ucb_test_path("%s", ucb_text_get(&out));
    pcre2_match_data_free(match);
    ucb_pretok_free(&p);
    ucb_text_free(&out);
    return kept;
}

TEST(gpt2_keeps_a_space_with_the_word_behind_it)
{
    CHECK_TEXT(cut("gpt2", NULL, ""), "");
    CHECK_TEXT(cut("gpt2", NULL, "Hello, big world!"), "Hello/,/ big/ world/!");
    CHECK_TEXT(cut("gpt2", NULL, "it's IT'S we'll"), "it/'s/ IT/'/S/ we/'ll");
    CHECK_TEXT(cut("gpt2", NULL, "a   b  "), "a/  / b/  ");
    CHECK_TEXT(cut("gpt2", NULL, "x\n\n y 123z"), "x/\n\n/ y/ 123/z");
    CHECK_TEXT(cut("gpt2", NULL, "a -- b"), "a/ --/ b");
}

TEST(a_step_sees_each_piece_of_the_step_before_as_a_whole_text)
{
    /* " 12": the digits go first, so the space ends its text and is a piece of its own. */
    CHECK_TEXT(cut("digit", "gpt2", "in 12 y"), "in/ /1/2/ y");
    CHECK_TEXT(cut("digit", "gpt2", "x  7"), "x/  /7");
    CHECK_TEXT(cut("digit", "gpt2",
                   "\xe2\x85\xa7\xc2\xbd"
                   "a"),
               "\xe2\x85\xa7/\xc2\xbd/a"); /* U+2167 is Nl, U+00BD is No */
    CHECK_TEXT(cut("digits", "gpt2", "in 12 y"), "in/ /12/ y");
}

TEST(llama3_takes_up_to_three_digits_and_qwen2_takes_one)
{
    CHECK_TEXT(cut("llama3", NULL, "12345 a"), "123/45/ a");
    CHECK_TEXT(cut("qwen2", NULL, "123 a"), "1/2/3/ a");
    CHECK_TEXT(cut("llama3", NULL, "IT'S (you)\n\n x"), "IT/'S/ (/you/)\n\n/ x");
    CHECK_TEXT(cut("qwen2", NULL, "a \n b"), "a/ \n/ b");
}

TEST(white_space_is_the_unicode_property_and_not_the_one_of_pcre2)
{
    /*
     * U+180E was white space until Unicode 6.3; PCRE2's \s still has it. U+0085, U+00A0 and
     * U+3000 are.
     */
    CHECK_TEXT(cut("gpt2", NULL, "!\xe1\xa0\x8e!"), "!\xe1\xa0\x8e!");
    CHECK_TEXT(cut("gpt2", NULL, "!\xc2\x85!"), "!/\xc2\x85/!");
    CHECK_TEXT(cut("gpt2", NULL, "!\xc2\xa0!"), "!/\xc2\xa0/!");
    CHECK_TEXT(cut("gpt2", NULL, "!\xe3\x80\x80!"), "!/\xe3\x80\x80/!");
    CHECK_TEXT(cut("gpt2", NULL, "!\xe2\x80\x8b!"), "!\xe2\x80\x8b!"); /* U+200B is not */
}

/* ---- expressions out of a file ---- */

/* Adds an expression alone; its pieces with a slash between them, or a failure in *err. */
static ucb_status cut_by(const char *pattern, struct ucb_pretok_rule rule, const char *text,
                         size_t n_bytes, struct ucb_text *out, struct ucb_err *err)
{
    struct ucb_pretok p = {0};
    struct ucb_arena arena;
    ucb_arena_init(&arena);
    ucb_status status = ucb_pretok_add_pattern(&p, pattern, strlen(pattern), rule, &arena,
                                               err);
    pcre2_match_data *match = ucb_pretok_match_data();
    CHECK(match != NULL);
    if (status == UCB_OK)
        status = ucb_pretok_split(&p, match, text, n_bytes, collect, out, err);
    pcre2_match_data_free(match);
    ucb_pretok_free(&p);
    ucb_arena_free(&arena);
    return status;
}

static const char *cut_as(const char *pattern, struct ucb_pretok_rule rule,
                          const char *text)
{
    struct ucb_text out = {0};
    struct ucb_err err;
    CHECK_OK(cut_by(pattern, rule, text, strlen(text), &out, &err), err);
    const char *kept = ucb_test_path("%s", ucb_text_get(&out));
    ucb_text_free(&out);
    return kept;
}

TEST(an_expression_of_the_table_keeps_its_name)
{
    static const struct ucb_pretok_rule kept = {.split = UCB_SPLIT_REMOVED, .invert = true},
                                        isolated = {0};
    struct ucb_pretok p = {0};
    struct ucb_arena arena;
    struct ucb_err err;
    const char *gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
                       "\\s+(?!\\S)|\\s+";
    ucb_arena_init(&arena);
    CHECK_OK(ucb_pretok_add_pattern(&p, "\\p{N}", 5, isolated, &arena, &err), err);
    CHECK_OK(ucb_pretok_add_pattern(&p, gpt2, strlen(gpt2), kept, &arena, &err), err);
    CHECK_OK(ucb_pretok_add_pattern(&p, "\\p{N}", 5, kept, &arena, &err), err);
    CHECK(p.steps[0].known && p.steps[1].known && !p.steps[2].known);
    CHECK_TEXT(p.steps[0].name, "digit");
    CHECK_TEXT(p.steps[1].name, "gpt2");
    ucb_pretok_free(&p);
    ucb_arena_free(&arena);
}

TEST(each_behavior_of_split_does_what_hugging_face_does)
{
    static const struct {
        enum ucb_split split;
        bool invert;
        const char *pieces;
    } rules[] = {
        {UCB_SPLIT_ISOLATED, false, "-/a/-/-/b/-"},
        {UCB_SPLIT_ISOLATED, true, "-/a/-/-/b/-"},
        {UCB_SPLIT_REMOVED, false, "a/b"},
        {UCB_SPLIT_REMOVED, true, "-/-/-/-"},
        {UCB_SPLIT_MERGED_WITH_PREVIOUS, false, "-/a-/-/b-"},
        {UCB_SPLIT_MERGED_WITH_PREVIOUS, true, "-a/-/-b/-"},
        {UCB_SPLIT_MERGED_WITH_NEXT, false, "-a/-/-b/-"},
        {UCB_SPLIT_MERGED_WITH_NEXT, true, "-/a-/-/b-"},
        {UCB_SPLIT_CONTIGUOUS, false, "-/a/--/b/-"},
        {UCB_SPLIT_CONTIGUOUS, true, "-/a/--/b/-"},
    };
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        struct ucb_pretok_rule rule = {rules[i].split, rules[i].invert, true};
        CHECK_TEXT(cut_as("-", rule, "-a--b-"), rules[i].pieces);
    }
}

TEST(expressions_mean_what_oniguruma_means)
{
    static const struct {
        const char *pattern, *text, *pieces;
    } cases[] = {
        {"\\p{N}{1,3}+", "12345", "12345"}, /* there not possessive, but repeated */
        {"a{,2}", "aaab", "aa/a/b"},
        {"(?:a?b|c+){2}|(?:a?|b){1}", "abcaa", "abc/a/a"},
        {"\\s+$", "a  \n  b \n", "a/  /\n  b/ \n"}, /* $ at each line's end */
        {"^", "a\nb\n", "a\n/b\n"},
        {"\\v", "a\x0b\x0c", "a/\x0b/\x0c"},
        {"\\p{Han}+", "a\xe4\xb8\x80\xe3\x83\xbc", "a/\xe4\xb8\x80/\xe3\x83\xbc"},
        {"\\w+", "a\xc2\xb2-", "a\xc2\xb2/-"},
        {"[\\w]+", "a\xc2\xb2-", "a/\xc2\xb2-"},
        {"(?i:'s|ll)", "'Sa'\xc5\xbfLl", "'S/a/'\xc5\xbf/Ll"},
        {"(?i)b|c", "aBC", "a/B/C"},
        {"(?>a+)a|a++b|c*?d", "aabccd", "aab/ccd"},
        {"(?<=a)b(?!c)", "abbabc", "a/b/babc"},
        {"x*", "axxb", "a/xx/b"},
        {"(?:|a)*", "aab", "a/a/b"},
        {"[^\\S\\n]+|[-a-c^&.\\]]", " \n-d]", " /\n/-/d/]"},
        {"(?>\\S+?|b)\\u4e00",
         "\xc3\x9f"
         "s\xe4\xb8\x80",
         "\xc3\x9f/s\xe4\xb8\x80"},
        {"\\u0061\\x62\\x{63}", "abcd", "abc/d"},
    };
    struct ucb_pretok_rule isolated = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_TEXT(cut_as(cases[i].pattern, isolated, cases[i].text), cases[i].pieces);
}

TEST(a_construct_that_may_mean_something_else_is_refused_by_name_and_offset)
{
    static const struct {
        const char *pattern, *message;
    } cases[] = {
        {"a\\h", "an escape of another meaning at byte 1 (there: \\h)"},
        {"(a)\\1", "an escape of another meaning at byte 3"},
        {"\\Ga", "an escape of another meaning at byte 0"},
        {"a\\K", "an escape of another meaning at byte 1"},
        {"\\X", "an escape of another meaning at byte 0"},
        {"\\bx", "an escape of another meaning at byte 0"},
        {"\\xff", "an escape of another meaning at byte 0"},
        {"\\x{d800}", "an escape of another meaning at byte 0"},
        {"a\\", "a \\ at its end at byte 1"},
        {"(?C1)", "a group of another kind at byte 0"},
        {"x(?R)", "a group of another kind at byte 1"},
        {"(?<n>a)", "a group of another kind at byte 0"},
        {"(?m:.)", "a group of another kind at byte 0"},
        {"a(?i)b", "a group of another kind at byte 1"},
        {"(*FAIL)", "a quantifier of nothing, or of a quantifier at byte 1"},
        {"a**", "a quantifier of nothing, or of a quantifier at byte 2"},
        {"(?=a)+", "a quantifier of nothing, or of a quantifier at byte 5"},
        {"[[:alpha:]]", "a class (or [:name:]) in a class at byte 1"},
        {"[\\p{L}&&a]", "an intersection of classes at byte 6"},
        {"[]a]", "a class that begins with ] at byte 0"},
        {"[a", "a class without its end at byte 0"},
        {"[a-z-9]", "a - that may be a range (write \\-) at byte 4"},
        {"[z-a]", "a range to less at byte 1"},
        {"\\p{Greek_Extended}", "a property that is not known at byte 0"},
        {"\\p{Alphabetic}", "a property that is not known at byte 0"}, /* grew after 14.0 */
        {"\\pL", "\\p without a brace at byte 0"},
        {"a{x", "a { that begins no interval (write \\{) at byte 1"},
        {"a{3}?", "{n}? at byte 1"},
        {"(?:a?|b){2}", "an interval of what may be empty at byte 8"},
        {"(?:\\Aa*){1,2}", "an interval of what may be empty at byte 8"},
        {"(?:a|(?=b)){,2}", "an interval of what may be empty at byte 11"},
        {"a{1001}", "an interval of this size or order at byte 1"},
        {"(?i:ss)", "ff, fi, fl, ss or st that ignores case at byte 5"},
        {"(?i:\xc3\xa9)", "a character outside ASCII that ignores case at byte 4"},
        {"(a", "a ( without its ) before the end at byte 2"},
        {"a)", "a ) without its ( at byte 1"},
    };
    struct ucb_pretok_rule isolated = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ucb_text out = {0};
        struct ucb_err err;
        CHECK_STATUS(cut_by(cases[i].pattern, isolated, "a", 1, &out, &err),
                     UCB_UNSUPPORTED, err);
        CHECK_HAS(err.text, cases[i].message);
        ucb_text_free(&out);
    }
}

/* `n` times a character, then an end. */
static char *repeated(const char *text, size_t n, const char *end)
{
    size_t n_text = strlen(text);
    char *all = malloc(n * n_text + strlen(end) + 1);
    CHECK(all != NULL);
    for (size_t i = 0; i < n; i++) memcpy(all + i * n_text, text, n_text);
    strcpy(all + n * n_text, end);
    return all;
}

TEST(an_expression_that_backtracks_without_end_gives_up_with_a_sentence)
{
    static const char *const patterns[] = {"(?:a+)+$", "(?:a|a)*[cd]", "(?:a*a*)*[cd]",
                                           "[\\s\\S]+[\\s\\S]+[\\s\\S]+\\p{Co}"};
    struct ucb_pretok_rule isolated = {0};
    char *text = repeated("a", 3000, "b");
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        struct ucb_text out = {0};
        struct ucb_err err;
        CHECK_STATUS(cut_by(patterns[i], isolated, text, 3001, &out, &err), UCB_UNSUPPORTED,
                     err);
        CHECK_HAS(err.text, patterns[i]);
        CHECK_HAS(err.text, "from its byte 0 on, before \"aaa");
        CHECK_HAS(err.text, "cut the text");
        ucb_text_free(&out);
    }
    free(text);
}

/* A window is 32 KiB; what it hides must not be missed and what it ends is no end. */
TEST(a_match_of_any_length_is_found_whole_and_windows_are_not_seen)
{
    static const struct {
        const char *pattern, *character, *end;
        size_t n_pieces;
    } cases[] = {
        {"\\p{L}+", "\xc3\xa9", "!", 2},
        {"\\s+(?!\\S)|\\s+", " ", "a", 3},
        {"(?:\\p{L}|')+", "a", "!", 2}, /* more iterations than the compiled code's stack */
        {"a+!", "a", "!", 1},
        {"b", "a", "b!", 3},
        {"a$", "a", "!", 1},
        {"(?<=aa)!", "a", "!", 2},
        {"z*", "\xc3\xa9", "zz", 40001},
    };
    struct ucb_pretok_rule isolated = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = repeated(cases[i].character, 40000, cases[i].end);
        struct ucb_text out = {0};
        struct ucb_err err;
        size_t n_pieces = 1;
        CHECK_OK(cut_by(cases[i].pattern, isolated, text, strlen(text), &out, &err), err);
        for (size_t k = 0; k < out.n_chars; k++) n_pieces += out.data[k] == '/';
        CHECK_EQ(n_pieces, cases[i].n_pieces);
        ucb_text_free(&out);
        free(text);
    }
}

TEST(the_libraries_have_the_unicode_versions_that_the_vectors_were_checked_with)
{
    char version[64];
    CHECK(pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version) > 0);
    CHECK_TEXT(version, "14.0.0");
    CHECK_TEXT(utf8proc_unicode_version(), "15.0.0");
}

/* ---- normalizer ---- */

static const char *normalized(const struct ucb_normalizer *how, const char *text)
{
    struct ucb_arena arena;
    struct ucb_err err;
    const char *out;
    size_t n;
    ucb_arena_init(&arena);
    CHECK_OK(ucb_normalize(how, text, strlen(text), &arena, &out, &n, &err), err);
    CHECK_OK(ucb_metaspace(how, out, n, true, &arena, &out, &n, &err), err);
    const char *kept = ucb_test_path("%.*s", (int)n, out);
    ucb_arena_free(&arena);
    return kept;
}

TEST(nfc_composes_orders_and_excludes)
{
    const struct ucb_normalizer nfc = {.nfc = true};
    CHECK_TEXT(normalized(&nfc, "e\xcc\x81"), "\xc3\xa9");
    CHECK_TEXT(normalized(&nfc, "a\xcc\x81\xcc\xa3"),
               "\xe1\xba\xa1\xcc\x81"); /* dot below (220) before acute (230) */
    CHECK_TEXT(normalized(&nfc, "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8"),
               "\xea\xb0\x81"); /* three jamo: one syllable */
    CHECK_TEXT(normalized(&nfc, "\xe0\xa5\x98"),
               "\xe0\xa4\x95\xe0\xa4\xbc"); /* U+0958 is excluded from composition */
    CHECK_TEXT(normalized(&nfc, "plain"), "plain");
}

static void check_point(const struct ucb_normalizer *nfc, utf8proc_int32_t point,
                        struct ucb_arena *arena)
{
    static const char tail[] =
        "\xcc\x81\xcc\xa3\xcc\xa8z"; /* marks of the classes 230, 220 and 202 */
    char text[32];
    const char *out;
    size_t n;
    struct ucb_err err;
    utf8proc_uint8_t *expected;
    size_t used = (size_t)utf8proc_encode_char(point, (utf8proc_uint8_t *)text);
    memcpy(text + used, tail, sizeof(tail));
    CHECK_OK(ucb_normalize(nfc, text, used + sizeof(tail) - 1, arena, &out, &n, &err), err);
    utf8proc_ssize_t n_expected = utf8proc_map(
        (utf8proc_uint8_t *)text, (utf8proc_ssize_t)(used + sizeof(tail) - 1), &expected,
        UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    if ((size_t)n_expected != n || memcmp(out, expected, n) != 0)
        ucb_test_fail(__FILE__, __LINE__, "U+%04X differs", (unsigned)point);
    free(expected);
    ucb_arena_reset(arena);
}

TEST(nfc_equals_utf8procs_own_for_every_code_point_with_marks_behind_it)
{
    const struct ucb_normalizer nfc = {.nfc = true};
    struct ucb_arena arena;
    ucb_arena_init(&arena);
    for (utf8proc_int32_t point = 1; point < 0x110000; point++)
        if (utf8proc_codepoint_valid(point)) check_point(&nfc, point, &arena);
    ucb_arena_free(&arena);
}

TEST(nfc_of_a_megabyte_of_marks_is_not_quadratic)
{
    enum { N = 1 << 18 };
    const struct ucb_normalizer nfc = {.nfc = true};
    struct ucb_arena arena;
    struct ucb_err err;
    const char *out;
    size_t n;
    char *text = malloc(N * 4);
    CHECK(text != NULL);
    for (size_t i = 0; i < N; i++) memcpy(text + 4 * i, "\xcc\x81\xcc\xa3", 4);
    ucb_arena_init(&arena);
    CHECK_OK(ucb_normalize(&nfc, text, N * 4, &arena, &out, &n, &err), err);
    CHECK_EQ(n, N * 4);
    for (size_t i = 0; i < n; i += 2)
        CHECK(memcmp(out + i, i < n / 2 ? "\xcc\xa3" : "\xcc\x81", 2) == 0);
    ucb_arena_free(&arena);
    free(text);
}

TEST(sentencepiece_marks_are_spaces_and_one_is_put_before)
{
    const struct ucb_normalizer spaces = {.spaces = true, .prefix = true},
                                bare = {.spaces = true};
    CHECK_TEXT(normalized(&spaces, "a\xe2\x96\x81"
                                   "b c"),
               " a b c");
    CHECK_TEXT(normalized(&bare, "\xe2\x96\x81\xe2\x96\x82"), " \xe2\x96\x82");
    CHECK_TEXT(normalized(&spaces, ""), "");
}

TEST(metaspace_puts_a_space_before_a_text_that_has_none)
{
    const struct ucb_normalizer always = {.spaces = true,
                                          .prefix = true,
                                          .metaspace = true},
                                first = {.spaces = true,
                                         .prefix = true,
                                         .metaspace = true,
                                         .first = true};
    struct ucb_arena arena;
    struct ucb_err err;
    const char *out;
    size_t n;
    CHECK_TEXT(normalized(&always, "a b"), " a b");
    CHECK_TEXT(normalized(&always, " a b"), " a b");
    CHECK_TEXT(normalized(&always, "\xe2\x96\x81"
                                   "a"),
               " a");
    CHECK_TEXT(normalized(&first, "a"), " a");
    ucb_arena_init(&arena);
    CHECK_OK(ucb_metaspace(&first, "a", 1, false, &arena, &out, &n, &err), err);
    CHECK(n == 1 && out[0] == 'a');
    CHECK_OK(ucb_metaspace(&always, "a", 1, false, &arena, &out, &n, &err), err);
    CHECK(n == 2 && out[0] == ' ');
    ucb_arena_free(&arena);
}

/* ---- added tokens ---- */

static void put_added(struct ucb_added *added, const char *text, uint32_t id)
{
    ucb_added_put(added, (struct ucb_added_token){.text = text,
                                                  .n_bytes = (uint32_t)strlen(text),
                                                  .id = id,
                                                  .lstrip = strchr(text, 'L') != NULL,
                                                  .rstrip = strchr(text, 'R') != NULL});
}

/* The next match is this token at [begin, end). */
static void check_next(const struct ucb_added *added, const char *text,
                       struct ucb_added_match *m, uint32_t id, size_t begin, size_t end)
{
    CHECK(ucb_added_next(added, text, strlen(text), m));
    CHECK_EQ(m->id, id);
    CHECK_EQ(m->begin, begin);
    CHECK_EQ(m->end, end);
}

TEST(the_leftmost_and_there_the_longest_added_token_is_found)
{
    static const char *const words[] = {"<a>", "<a><b>", "b", "<", "<a><c"};
    struct ucb_added added = {0};
    struct ucb_added_match m = {0};
    struct ucb_arena arena;
    struct ucb_err err;
    ucb_arena_init(&arena);
    CHECK_OK(ucb_added_reserve(&added, 5, &arena, &err), err);
    for (uint32_t i = 0; i < 5; i++) put_added(&added, words[i], i);
    CHECK_OK(ucb_added_sort(&added, &err), err);
    check_next(&added, "xx<a><b>", &m, 1, 2, 8);
    m = (struct ucb_added_match){0};
    check_next(&added, "xx<a><b", &m, 0, 2, 5);
    check_next(&added, "xx<a><b>", &m, 3, 5, 6);
    m = (struct ucb_added_match){.from = 1};
    check_next(&added, "<<a><c", &m, 4, 1, 6);
    m = (struct ucb_added_match){0};
    CHECK(!ucb_added_next(&added, "aaa>", 4, &m));
    ucb_arena_free(&arena);
}

TEST(added_tokens_take_the_white_space_beside_them_but_none_that_was_taken)
{
    struct ucb_added added = {0};
    struct ucb_added_match m = {0};
    struct ucb_arena arena;
    struct ucb_err err;
    ucb_arena_init(&arena);
    CHECK_OK(ucb_added_reserve(&added, 4, &arena, &err), err);
    put_added(&added, "<L>", 0);
    put_added(&added, "<R>", 1);
    put_added(&added, "<LR>", 2);
    put_added(&added, "\n", 3);
    CHECK_OK(ucb_added_sort(&added, &err), err);
    check_next(&added, "a \xc2\xa0<L> <R>\t\xe3\x80\x80 <L>b", &m, 0, 1, 7);
    check_next(&added, "a \xc2\xa0<L> <R>\t\xe3\x80\x80 <L>b", &m, 1, 8, 16);
    check_next(&added, "a \xc2\xa0<L> <R>\t\xe3\x80\x80 <L>b", &m, 0, 16, 19);
    m = (struct ucb_added_match){0};
    check_next(&added, "  <LR>  ", &m, 2, 0, 8);
    m = (struct ucb_added_match){0};
    check_next(&added, "<R> \n ", &m, 1, 0, 6); /* and yet what is a token itself ... */
    check_next(&added, "<R> \n ", &m, 3, 4, 5); /* ... is found in what it took */
    m = (struct ucb_added_match){0};
    check_next(&added, "\xe2\x80\x8b<LR>\xe2\x80\x8b", &m, 2, 3, 7); /* U+200B is none */
    ucb_arena_free(&arena);
}

TEST(an_added_token_with_two_ids_is_corrupt)
{
    struct ucb_added added = {0};
    struct ucb_arena arena;
    struct ucb_err err;
    ucb_arena_init(&arena);
    CHECK_OK(ucb_added_reserve(&added, 2, &arena, &err), err);
    put_added(&added, "<a>", 7);
    put_added(&added, "<a>", 9);
    CHECK_STATUS(ucb_added_sort(&added, &err), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "<a>");
    ucb_arena_free(&arena);
}
