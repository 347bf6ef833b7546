/* Spans, WikiText headings, and every rule of the detokenizer, on strings made up here. */
#include "test.h"

#include <stdio.h>
#include <string.h>

#include "task/detokenize.h"

static struct ucb_span span(const char *text)
{
    return (struct ucb_span){text, strlen(text)};
}

static void check_detokenized(const char *from, const char *to)
{
    char text[256];
    snprintf(text, sizeof(text), "%s", from);
    text[ucb_wiki_detokenize(text, strlen(text))] = '\0';
    CHECK_TEXT(text, to);
}

TEST(every_white_space_character_is_found_from_both_sides_and_no_other)
{
    static const char *const spaces[] = {
        "\t",           "\n",           "\v",           "\f",
        "\r",           "\x1c",         "\x1f",         " ",
        "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80",
        "\xe2\x80\x8a", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf",
        "\xe2\x81\x9f", "\xe3\x80\x80"};
    static const char *const others[] = {"a",
                                         "\x08",
                                         "\x0e",
                                         "\x1b",
                                         "!",
                                         "\xc2\x84",
                                         "\xc2\xa1",
                                         "\xe2\x80\x8b",
                                         "\xe2\x80\xa7",
                                         "\xe2\x81\xa0",
                                         "\xe3\x80\x81",
                                         "\x85",
                                         "\xa0",
                                         "\xe2\x80",
                                         "\xc2"};
    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
        struct ucb_span s = span(spaces[i]);
        CHECK_EQ(ucb_space_at(s.at, s.at + s.n), s.n);
        CHECK_EQ(ucb_space_before(s.at, s.at + s.n), s.n);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct ucb_span s = span(others[i]);
        CHECK_EQ(ucb_space_at(s.at, s.at + s.n), 0);
        CHECK_EQ(ucb_space_before(s.at, s.at + s.n), 0);
    }
    CHECK_EQ(ucb_space_at("", ""), 0);
}

TEST(trimming_removes_white_space_at_the_ends_only)
{
    struct ucb_span s = ucb_span_trim(span(" \xc2\xa0"
                                           "a b\n\xe3\x80\x80"));
    CHECK(ucb_span_is(s, "a b"));
    CHECK_EQ(ucb_span_trim(span(" \n\t ")).n, 0);
    CHECK(ucb_span_is(ucb_span_trim_end(span(" a ")), " a"));
}

TEST(runs_of_white_space_are_counted_with_those_at_the_ends)
{
    CHECK_EQ(ucb_span_space_runs(span("one")), 0);
    CHECK_EQ(ucb_span_space_runs(span(" one  two\n\n")), 3);
    CHECK_EQ(ucb_span_space_runs(span("\xe2\x80\x83 \n")), 1);
}

TEST(lines_end_at_a_line_feed_or_at_the_end)
{
    struct ucb_span rest = span("a\n\nb\n"), line;
    CHECK(ucb_span_next_line(&rest, &line) && ucb_span_is(line, "a"));
    CHECK(ucb_span_next_line(&rest, &line) && line.n == 0);
    CHECK(ucb_span_next_line(&rest, &line) && ucb_span_is(line, "b"));
    CHECK(!ucb_span_next_line(&rest, &line));
    rest = span("last");
    CHECK(ucb_span_next_line(&rest, &line) && ucb_span_is(line, "last") && rest.n == 0);
}

TEST(tokens_of_words_and_numbers_are_joined)
{
    check_detokenized("the foxs ' den", "the foxs' den");
    check_detokenized("a half @-@ open door", "a half-open door");
    check_detokenized("12 @,@ 345 @.@ 5 m", "12,345.5 m");
    check_detokenized("40 \xc2\xb0 C", "40\xc2\xb0"
                                       "C");
    check_detokenized("the crow 's nest", "the crow's nest");
    check_detokenized("vitamin N helps", "vitamin 1 helps");
}

TEST(punctuation_loses_the_space_before_it)
{
    check_detokenized("a , b . c : d ; e ! f ? g", "a, b. c: d; e! f? g");
    check_detokenized("at the end .", "at the end .");
}

TEST(marks_lose_the_white_space_inside_them)
{
    check_detokenized("a ( b ) c", "a (b) c");
    check_detokenized("[\n x\xc2\xa0] { y } ( )", "[x] {y} ()");
    check_detokenized("he said \" yes \" and \" no \" .", "he said \"yes\" and \"no\" .");
    check_detokenized("a ' quoted ' word", "a 'quoted' word");
}

TEST(a_mark_without_its_partner_stays_as_it_is)
{
    check_detokenized("a ( b", "a ( b");
    check_detokenized("a ) b", "a ) b");
    check_detokenized("( a ( b )", "(a ( b)");
    check_detokenized("\" a \" b \" c", "\"a\" b \" c");
}

TEST(heading_marks_are_joined_four_then_three_then_two)
{
    check_detokenized("= = Use = =", "== Use ==");
    check_detokenized("= = = Old = = =", "=== Old ===");
    check_detokenized("= = = = =", "====="); /* four are joined first, then the last two */
}

TEST(line_feeds_lose_one_space_on_each_side)
{
    check_detokenized(" a \n b ", " a\nb ");
    check_detokenized("a  \n  b", "a \n b");
}

TEST(nothing_is_detokenized_to_nothing)
{
    char none[1] = "";
    CHECK_EQ(ucb_wiki_detokenize(none, 0), 0);
}

static size_t n_headings(const char *text, struct ucb_heading **out)
{
    static struct ucb_arena arena;
    struct ucb_err err;
    size_t n;
    CHECK_OK(ucb_wiki_headings(span(text), &arena, out, &n, &err), err);
    return n;
}

TEST(an_article_begins_at_a_heading_with_one_mark_on_each_side)
{
    struct ucb_heading *h;
    CHECK_EQ(n_headings("\n = Heron = \n\n text \n = = Range = = \n\t= Owl =\n", &h), 2);
    CHECK_EQ(h[0].begin, 1);
    CHECK_TEXT(h[0].title, "Heron");
    CHECK_EQ(h[1].begin, 37);
    CHECK_TEXT(h[1].title, "Owl");
}

TEST(what_only_resembles_a_heading_begins_no_article)
{
    struct ucb_heading *h;
    CHECK_EQ(n_headings("", &h), 0);
    CHECK_EQ(n_headings("= x\n x =\n=x=\n = \n= =\n= = =\na = b = c\n = a = = \n", &h), 0);
}

TEST(heading_marks_are_joined_from_the_left_before_a_line_is_judged)
{
    struct ucb_heading *h;
    /* Five marks at the end become four and one, and one is a heading's: as the original's
     * replacements have it. */
    CHECK_EQ(n_headings("= a = = = = =", &h), 1);
    CHECK_TEXT(h[0].title, "a ====");
}
