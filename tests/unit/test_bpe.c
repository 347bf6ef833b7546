/*
 * Merging, on vocabularies made here and calculated by hand; and what a tokenizer.json must
 * not hold.
 */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/file.h"
#include "core/pool.h"
#include "core/text.h"
#include "model/tokenizer_internal.h"
#include "tiny_tokenizer.h"

static struct ucb_tokenizer *parse(const char *json, size_t n_bytes)
{
    struct ucb_err err;
    struct ucb_tokenizer *t;
    CHECK_OK(ucb_tokenizer_from_json("tiny.json", json, n_bytes, &t, &err), err);
    return t;
}

static struct ucb_tokenizer *byte_level(const char *head, const char *const *merges,
                                        size_t n_merges)
{
    struct ucb_text json = {0};
    tiny_byte_level(&json, head, merges, n_merges);
    struct ucb_tokenizer *t = parse(json.data, json.n_chars);
    ucb_text_free(&json);
    return t;
}

/* "id@start id@start ..." */
static const char *ids_of(const struct ucb_tokenizer *t, const char *text, size_t n_bytes)
{
    struct ucb_arena arena;
    struct ucb_ids ids;
    struct ucb_err err;
    struct ucb_text shown = {0};
    ucb_arena_init(&arena);
    CHECK_OK(ucb_tokenize(t, text, n_bytes, &arena, &ids, &err), err);
    for (size_t i = 0; i < ids.n; i++)
        ucb_text_add(&shown, "%s%u@%u", i == 0 ? "" : " ", (unsigned)ids.ids[i],
                     (unsigned)ids.start[i]);
    const char *kept = ucb_test_path("%s", ucb_text_get(&shown));
    ucb_text_free(&shown);
    ucb_arena_free(&arena);
    return kept;
}
#define IDS(t, text) ids_of((t), (text), sizeof(text) - 1)

TEST(the_lowest_rank_merges_first_and_the_leftmost_among_equals)
{
    static const char *const merges[] = {"a b", "b c", "ab c", "a a",
                                         "aa aa"}; /* ids 256 to 260 */
    struct ucb_tokenizer *t = byte_level(NULL, merges, 5);
    CHECK_TEXT(IDS(t, ""), "");
    CHECK_TEXT(ids_of(t, NULL, 0), "");
    CHECK_TEXT(IDS(t, "abc"), "258@0");
    CHECK_TEXT(IDS(t, "bc"), "257@0");
    CHECK_TEXT(IDS(t, "abbc"), "256@0 257@2");
    CHECK_TEXT(IDS(t, "aaa"), "259@0 97@2");
    CHECK_TEXT(IDS(t, "aaaaa"), "260@0 97@4");
    CHECK_TEXT(IDS(t, "aab"), "97@0 256@1"); /* a b has rank 0, a a only rank 3 */
    ucb_tokenizer_close(t);
}

TEST(another_order_of_the_same_merges_gives_other_ids)
{
    static const char *const merges[] = {"b c", "a b", "ab c"};
    struct ucb_tokenizer *t = byte_level(NULL, merges, 3);
    CHECK_TEXT(IDS(t, "abc"), "97@0 256@1");
    ucb_tokenizer_close(t);
}

TEST(no_merge_crosses_the_border_of_two_pieces)
{
    static const char *const merges[] = {"a !", "! !"};
    struct ucb_tokenizer *t = byte_level(NULL, merges, 2);
    CHECK_TEXT(IDS(t, "a!!"), "97@0 257@1");
    ucb_tokenizer_close(t);
}

TEST(a_repeated_piece_has_the_same_ids_at_its_own_place)
{
    static const char *const merges[] = {"\xc4\xa0 a", "a b"};
    struct ucb_tokenizer *t = byte_level(NULL, merges, 2);
    CHECK_TEXT(IDS(t, " abb abb abb"), "256@0 98@2 98@3 256@4 98@6 98@7 256@8 98@10 98@11");
    ucb_tokenizer_close(t);
}

TEST(a_byte_without_a_token_yields_no_id_and_its_neighbours_meet)
{
    static const char json[] =
        "{" TINY_BYTE_LEVEL
        ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"!\":0,\"?\":1,\"!?\":2,\"\\u0120\":3},"
        "\"merges\":[\"! ?\"]}}";
    struct ucb_tokenizer *t = parse(json, sizeof(json) - 1);
    CHECK_TEXT(IDS(t, "!\x01?"), "2@0");
    CHECK_TEXT(IDS(t, "\x01!?"), "2@1");
    CHECK_TEXT(IDS(t, "\x01!? \x01!?"), "2@1 3@3 2@5"); /* " \x01!?" is one piece */
    CHECK_TEXT(IDS(t, "a!a\x01!a\x01!"), "0@1 0@4 0@7");
    CHECK_TEXT(IDS(t, "abc"), "");
    ucb_tokenizer_close(t);
}

TEST(a_megabyte_of_one_letter_is_merged_in_time)
{
    enum { N = 1 << 20 };
    static const char *const merges[] = {"a a", "aa aa", "aaaa aaaa"};
    struct ucb_tokenizer *t = byte_level(NULL, merges, 3);
    struct ucb_arena arena;
    struct ucb_ids ids;
    struct ucb_err err;
    char *text = malloc(N);
    CHECK(text != NULL);
    memset(text, 'a', N);
    ucb_arena_init(&arena);
    CHECK_OK(ucb_tokenize(t, text, N - 1, &arena, &ids, &err), err);
    CHECK_EQ(ids.n, N / 8 + 2); /* what remains, 7 letters, is 4 + 2 + 1 */
    CHECK_EQ(ids.ids[0], 258);
    CHECK_EQ(ids.ids[ids.n - 1], 'a');
    CHECK_EQ(ids.start[ids.n - 1], N - 2);
    ucb_arena_free(&arena);
    free(text);
    ucb_tokenizer_close(t);
}

TEST(whole_pieces_win_over_merges_where_the_file_says_so)
{
    static const char json[] =
        "{" TINY_BYTE_LEVEL ",\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,\"vocab\":"
        "{\"a\":0,\"b\":1,\"ab\":2,\"ba\":3,\"aba\":4},\"merges\":[\"a b\"]}}";
    struct ucb_tokenizer *t = parse(json, sizeof(json) - 1);
    CHECK_TEXT(IDS(t, "aba"), "4@0");
    CHECK_TEXT(IDS(t, "baba"), "1@0 2@1 0@3");
    ucb_tokenizer_close(t);
}

TEST(added_tokens_are_recognised_before_and_after_the_normalizer)
{
    static const char head[] =
        "\"normalizer\":{\"type\":\"NFC\"},\"added_tokens\":["
        "{\"id\":300,\"content\":\"<|x|>\",\"special\":true,\"normalized\":false},"
        "{\"id\":301,\"content\":\"e\\u0301e\\u0301\",\"special\":false,\"normalized\":"
        "true},"
        "{\"id\":302,\"content\":\"  \",\"special\":false,\"normalized\":true}]";
    struct ucb_tokenizer *t = byte_level(head, NULL, 0);
    size_t n;
    CHECK_EQ(ucb_tokenizer_n_ids(t), 303);
    CHECK_TEXT(IDS(t, "a<|x|>b"), "97@0 300@1 98@6");
    CHECK_TEXT(IDS(t, "\xc3\xa9\xc3\xa9"),
               "301@0"); /* the token's own text is normalized, too */
    CHECK_TEXT(IDS(t, "e\xcc\x81<|x|>a"),
               "195@0 169@1 300@2 97@7"); /* starts are those of the normalized text */
    CHECK_TEXT(IDS(t, "   a"), "302@0 32@2 97@3");
    CHECK_TEXT(IDS(t, "<|x|"), "60@0 124@1 120@2 124@3");
    CHECK(memcmp(ucb_token_text(t, 300, &n), "<|x|>", 5) == 0 && n == 5);
    CHECK(ucb_token_text(t, 280, &n) == NULL && ucb_token_text(t, 303, &n) == NULL);
    CHECK(ucb_token_text(t, ' ', &n)[0] == ' ' && n == 1);
    ucb_tokenizer_close(t);
}

TEST(sentencepiece_falls_back_to_bytes_and_puts_a_space_before)
{
    static const char *const merges[] = {
        "a b", "\xe2\x96\x81 ab"}; /* 256, 257; the mark is 258, a 259, b 260 */
    struct ucb_text json = {0};
    tiny_spaces(&json, "ab", merges, 2);
    struct ucb_tokenizer *t = parse(json.data, json.n_chars);
    size_t n;
    ucb_text_free(&json);
    CHECK_TEXT(IDS(t, ""), "");
    CHECK_TEXT(IDS(t, "ab"), "257@0");
    CHECK_TEXT(IDS(t, "b ab  ab"), "258@0 260@1 257@2 258@5 257@6");
    CHECK_TEXT(IDS(t, "a\xc3\xa9\n"), "258@0 259@1 195@2 169@3 10@4");
    CHECK(ucb_token_text(t, 10, &n)[0] == '\n' && n == 1);
    CHECK(memcmp(ucb_token_text(t, 257, &n), " ab", 3) == 0 && n == 3);
    ucb_tokenizer_close(t);
}

TEST(a_text_that_is_not_utf8_is_corrupt_at_the_first_wrong_byte)
{
    static const struct {
        const char *text, *offset;
    } bad[] = {{"abc\xff", "offset 3"},
               {"\xc3", "offset 0"},
               {"a\xc0\x80", "offset 1"},
               {"\xc3\xa9\xed\xa0\x80", "offset 2"},
               {"\xf4\x90\x80\x80", "offset 0"}};
    struct ucb_tokenizer *t = byte_level(NULL, NULL, 0);
    struct ucb_arena arena;
    struct ucb_ids ids;
    struct ucb_err err;
    ucb_arena_init(&arena);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_STATUS(ucb_tokenize(t, bad[i].text, strlen(bad[i].text), &arena, &ids, &err),
                     UCB_CORRUPT, err);
        CHECK_HAS(err.text, bad[i].offset);
    }
    ucb_arena_free(&arena);
    ucb_tokenizer_close(t);
}

struct same {
    const struct ucb_tokenizer *t;
    const char *expected;
    bool equal[64];
};

static void tokenize_again(void *context, size_t index)
{
    struct same *same = context;
    struct ucb_text shown = {0};
    struct ucb_arena arena;
    struct ucb_ids ids;
    ucb_arena_init(&arena);
    if (ucb_tokenize(same->t, " abb abc abb", 12, &arena, &ids, NULL) == UCB_OK)
        for (size_t i = 0; i < ids.n; i++)
            ucb_text_add(&shown, "%s%u@%u", i == 0 ? "" : " ", (unsigned)ids.ids[i],
                         (unsigned)ids.start[i]);
    same->equal[index] = strcmp(ucb_text_get(&shown), same->expected) == 0;
    ucb_text_free(&shown);
    ucb_arena_free(&arena);
}

TEST(threads_share_a_tokenizer)
{
    static const char *const merges[] = {"a b", "b c", "ab c"};
    struct ucb_tokenizer *t = byte_level(NULL, merges, 3);
    struct same same = {.t = t, .expected = IDS(t, " abb abc abb")};
    struct ucb_pool *pool;
    struct ucb_err err;
    CHECK_OK(ucb_pool_open(4, &pool, &err), err);
    ucb_parallel_for(pool, 64, tokenize_again, &same);
    ucb_pool_close(pool);
    for (size_t i = 0; i < 64; i++) CHECK(same.equal[i]);
    ucb_tokenizer_close(t);
}

TEST(every_refused_allocation_of_a_tokenizer_is_reported)
{
    static const char *const merges[] = {"a b"};
    struct ucb_text json = {0};
    struct ucb_arena arena;
    struct ucb_ids ids;
    struct ucb_err err;
    struct ucb_tokenizer *t;
    ucb_status status = UCB_NOMEM;
    long n;
    tiny_byte_level(&json, "\"normalizer\":{\"type\":\"NFC\"}", merges, 1);
    ucb_arena_init(&arena);
    for (n = 1; status != UCB_OK; n++) {
        ucb_mem_fail_after(n);
        status = ucb_tokenizer_from_json("tiny.json", json.data, json.n_chars, &t, &err);
        if (status == UCB_OK) {
            status = ucb_tokenize(t, "ab e\xcc\x81", 6, &arena, &ids, &err);
            ucb_tokenizer_close(t);
        }
        if (status != UCB_OK) CHECK_STATUS(status, UCB_NOMEM, err);
        if (status != UCB_OK) CHECK_HAS(err.text, "no memory");
    }
    ucb_mem_fail_after(0);
    CHECK(n > 15);
    ucb_arena_free(&arena);
    ucb_text_free(&json);
}

/* ---- what is refused, and what the message says ---- */

#define MODEL(vocab, merges) \
    "\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges "}"
#define AB "{\"a\":0,\"b\":1,\"ab\":2}"
#define BYTE_LEVEL_MODEL(vocab, merges) "{" TINY_BYTE_LEVEL "," MODEL(vocab, merges) "}"
#define ADDED(fields) \
    "{\"added_tokens\":[{" fields "}]," TINY_BYTE_LEVEL "," MODEL(AB, "[]") "}"

static const struct refusal {
    const char *json;
    ucb_status status;
    const char *part;
} refusals[] = {
    {"", UCB_CORRUPT, "not valid JSON"},
    {"[]", UCB_CORRUPT, "the file is an array, must be an object"},
    {"{}", UCB_UNSUPPORTED, "neither byte-level BPE"},
    {"{" TINY_BYTE_LEVEL "}", UCB_CORRUPT, "model is absent"},
    {"{" TINY_BYTE_LEVEL ",\"model\":{\"type\":\"Unigram\"}}", UCB_UNSUPPORTED,
     "`Unigram`"},
    {BYTE_LEVEL_MODEL("[]", "[]"), UCB_CORRUPT, "model.vocab is an array"},
    {BYTE_LEVEL_MODEL("{\"a\":\"0\"}", "[]"), UCB_CORRUPT,
     "a is a string, must be an integer id"},
    {BYTE_LEVEL_MODEL("{\"a\":-1}", "[]"), UCB_CORRUPT, "`a` has the id -1"},
    {BYTE_LEVEL_MODEL("{\"a\":4294967296}", "[]"), UCB_CORRUPT,
     "`a` has the id 4294967296; 1 tokens need ids from 0 to 65536"},
    {BYTE_LEVEL_MODEL("{\"a\":1,\"b\":1}", "[]"), UCB_CORRUPT,
     "id 1 belongs to `a` and to `b`"},
    {BYTE_LEVEL_MODEL("{\"a\":1,\"a\":2}", "[]"), UCB_CORRUPT, "duplicate"},
    {BYTE_LEVEL_MODEL(AB, "{}"), UCB_CORRUPT, "model.merges is an object"},
    {BYTE_LEVEL_MODEL(AB, "[\"a b\",\"b x\"]"), UCB_CORRUPT,
     "model.merges[1]: `x` is no token"},
    {BYTE_LEVEL_MODEL(AB, "[\"b a\"]"), UCB_CORRUPT, "model.merges[0]: `ba` is no token"},
    {BYTE_LEVEL_MODEL(AB, "[\"a b\",\"a b\"]"), UCB_CORRUPT,
     "model.merges[1]: `a` + `b` is listed twice"},
    {BYTE_LEVEL_MODEL(AB, "[\"ab\"]"), UCB_CORRUPT, "model.merges[0]: ab, must be"},
    {BYTE_LEVEL_MODEL(AB, "[\"a b c\"]"), UCB_CORRUPT, "model.merges[0]: a b c, must be"},
    {BYTE_LEVEL_MODEL(AB, "[[\"a\",1]]"), UCB_CORRUPT,
     "model.merges[0]: an array, must be"},
    {BYTE_LEVEL_MODEL(AB, "[[\"a\",\"\"]]"), UCB_CORRUPT, "parts of 1 and 0 bytes"},
    {BYTE_LEVEL_MODEL(AB, "[[\"a\",\"\\u4e00\"]]"), UCB_CORRUPT,
     "outside the byte-level alphabet"},
    {ADDED("\"id\":3,\"content\":\"\""), UCB_CORRUPT,
     "added_tokens[0].content is a string, must be"},
    {ADDED("\"id\":3"), UCB_CORRUPT, "added_tokens[0].content is absent"},
    {ADDED("\"id\":1,\"content\":\"x\""), UCB_CORRUPT, "id 1 belongs to `x` and to `b`"},
    {ADDED("\"id\":3,\"content\":\"b\""), UCB_CORRUPT,
     "`b` has the id 3, in model.vocab it has 1"},
    {ADDED("\"id\":3,\"content\":\"x\",\"special\":1"), UCB_CORRUPT,
     "special is an integer, must be true or false"},
    {ADDED("\"id\":3,\"content\":\"x\",\"single_word\":true"), UCB_UNSUPPORTED,
     "sets single_word"},
    {ADDED("\"id\":3,\"content\":\"x\",\"rstrip\":1"), UCB_CORRUPT,
     "rstrip is an integer, must be true or false"},
    {"{\"normalizer\":{\"type\":\"NFKD\"}," TINY_BYTE_LEVEL "," MODEL(AB, "[]") "}",
     UCB_UNSUPPORTED, "`NFKD`"},
    {"{\"normalizer\":{\"type\":\"Sequence\"}," TINY_BYTE_LEVEL "," MODEL(AB, "[]") "}",
     UCB_CORRUPT, "normalizers is absent"},
    {"{\"pre_tokenizer\":{\"type\":\"Whitespace\"}," MODEL(AB, "[]") "}", UCB_UNSUPPORTED,
     "`Whitespace`"},
    {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\"}," MODEL(AB, "[]") "}", UCB_UNSUPPORTED,
     "add_prefix_space"},
    {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x\\\\h\"},"
     "\"behavior\":\"Isolated\"}}",
     UCB_UNSUPPORTED, "the regular expression x\\h has an escape of another meaning"},
};

TEST(a_tokenizer_json_that_contradicts_itself_or_asks_for_more_is_refused_by_name)
{
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct ucb_tokenizer *t;
        struct ucb_err err;
        ucb_status status = ucb_tokenizer_from_json("tiny.json", refusals[i].json,
                                                    strlen(refusals[i].json), &t, &err);
        if (status != refusals[i].status || strstr(err.text, refusals[i].part) == NULL)
            ucb_test_fail(__FILE__, __LINE__, "%s gives %s, %s; expected %s with \"%s\"",
                          refusals[i].json, ucb_status_name(status),
                          status == UCB_OK ? "" : err.text,
                          ucb_status_name(refusals[i].status), refusals[i].part);
        CHECK_HAS(err.text, "tiny.json");
    }
}

TEST(a_folder_without_a_tokenizer_is_told_both_names_that_would_do)
{
    struct ucb_tokenizer *t;
    struct ucb_err err;
    CHECK_STATUS(ucb_tokenizer_open(ucb_test_folder(), &t, &err), UCB_MISSING, err);
    CHECK_HAS(err.text, "/tokenizer.json");
    CHECK_HAS(err.text, "/vocabulary.gguf");
    CHECK_STATUS(
        ucb_tokenizer_open(ucb_test_path("%s/none.json", ucb_test_folder()), &t, &err),
        UCB_MISSING, err);
}

static void write_file(const char *name, const char *text)
{
    struct ucb_err err;
    CHECK_OK(ucb_file_write(ucb_test_path("%s/%s", ucb_test_folder(), name), text,
                            strlen(text), &err),
             err);
}

TEST(a_model_finds_the_tokenizer_and_the_bos_token_beside_it)
{
    struct ucb_tokenizer *t;
    struct ucb_err err;
    write_file("tokenizer.json", BYTE_LEVEL_MODEL(AB, "[\"a b\"]"));
    write_file("model.safetensors", "not read");
    CHECK_OK(ucb_tokenizer_open(ucb_test_path("%s/model.safetensors", ucb_test_folder()),
                                &t, &err),
             err);
    CHECK_TEXT(IDS(t, "ab"), "2@0");
    CHECK_EQ(ucb_tokenizer_bos(t), UINT32_MAX);
    ucb_tokenizer_close(t);
    write_file("config.json", "{\"bos_token_id\":0}");
    CHECK_OK(ucb_tokenizer_open(ucb_test_folder(), &t, &err), err);
    CHECK_EQ(ucb_tokenizer_bos(t), 0);
    ucb_tokenizer_close(t);
    write_file("tokenizer_config.json", "{\"bos_token\":{\"content\":\"ab\"}}");
    CHECK_OK(ucb_tokenizer_open(ucb_test_folder(), &t, &err), err);
    CHECK_EQ(ucb_tokenizer_bos(t), 2);
    ucb_tokenizer_close(t);
}
