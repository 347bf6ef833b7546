/*
 * Vocabularies in GGUF metadata: written here byte by byte, opened, and refused when they
 * contradict themselves.
 */
#include "test.h"

#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/text.h"
#include "model/tokenizer.h"

enum {
    GGUF_U32 = 4,
    GGUF_I32 = 5,
    GGUF_F32 = 6,
    GGUF_BOOL = 7,
    GGUF_STRING = 8,
    GGUF_ARRAY = 9
};

static void put_string(struct ucb_writer *out, const char *text)
{
    ucb_put_u64(out, strlen(text));
    ucb_put_bytes(out, text, strlen(text));
}

static void put_key(struct ucb_writer *out, const char *key, uint32_t type)
{
    char full[64] = "tokenizer.ggml.";
    strncat(full, key, sizeof(full) - strlen(full) - 1);
    put_string(out, full);
    ucb_put_u32(out, type);
}

static void put_array(struct ucb_writer *out, const char *key, uint32_t type, size_t n)
{
    put_key(out, key, GGUF_ARRAY);
    ucb_put_u32(out, type);
    ucb_put_u64(out, n);
}

/* What a test changes about a vocabulary that is otherwise in order. */
struct vocabulary {
    const char *model, *pre;
    const char *tokens[8]; /* up to the first NULL */
    int32_t types[8];
    size_t n_types;
    const char *merges[4];
    float scores[8];
    size_t n_scores; /* with scores, 256 byte tokens stand before the others */
    uint32_t bos;
    enum { BOS_UNSAID, BOS_NOT_ADDED, BOS_ADDED } adds_bos;
};

static size_t count(const char *const *texts, size_t limit)
{
    size_t n = 0;
    while (n < limit && texts[n] != NULL) n++;
    return n;
}

static void put_tokens(struct ucb_writer *out, const struct vocabulary *v)
{
    size_t n_bytes = v->n_scores > 0 ? 256 : 0;
    size_t n = count(v->tokens, 8);
    char byte[8];
    put_array(out, "tokens", GGUF_STRING, n_bytes + n);
    for (size_t b = 0; b < n_bytes; b++) {
        snprintf(byte, sizeof(byte), "<0x%02X>", (unsigned)b);
        put_string(out, byte);
    }
    for (size_t i = 0; i < n; i++) put_string(out, v->tokens[i]);
    put_array(out, "token_type", GGUF_I32, n_bytes + v->n_types);
    for (size_t b = 0; b < n_bytes; b++) ucb_put_u32(out, 6);
    for (size_t i = 0; i < v->n_types; i++) ucb_put_u32(out, (uint32_t)v->types[i]);
}

static void put_merging(struct ucb_writer *out, const struct vocabulary *v)
{
    size_t n_bytes = v->n_scores > 0 ? 256 : 0;
    if (v->n_scores > 0) {
        put_array(out, "scores", GGUF_F32, n_bytes + v->n_scores);
        for (size_t b = 0; b < n_bytes; b++) ucb_put_f32(out, 0);
        for (size_t i = 0; i < v->n_scores; i++) ucb_put_f32(out, v->scores[i]);
    } else {
        put_array(out, "merges", GGUF_STRING, count(v->merges, 4));
        for (size_t i = 0; i < count(v->merges, 4); i++) put_string(out, v->merges[i]);
    }
}

/* A GGUF v3 without tensors. */
static const char *write_vocabulary(const struct vocabulary *v)
{
    const char *path = ucb_test_path("%s/vocabulary.gguf", ucb_test_folder());
    struct ucb_writer out = {0};
    struct ucb_err err;
    ucb_put_bytes(&out, "GGUF", 4);
    ucb_put_u32(&out, 3);
    ucb_put_u64(&out, 0);                                 /* tensors */
    ucb_put_u64(&out, v->adds_bos == BOS_UNSAID ? 6 : 7); /* keys */
    put_key(&out, "model", GGUF_STRING);
    put_string(&out, v->model);
    put_key(&out, "pre", GGUF_STRING);
    put_string(&out, v->pre);
    put_tokens(&out, v);
    put_merging(&out, v);
    put_key(&out, "bos_token_id", GGUF_U32);
    ucb_put_u32(&out, v->bos);
    if (v->adds_bos != BOS_UNSAID) {
        put_key(&out, "add_bos_token", GGUF_BOOL);
        ucb_put_u8(&out, v->adds_bos == BOS_ADDED);
    }
    CHECK_OK(ucb_writer_status(&out, &err), err);
    CHECK_OK(ucb_file_write(path, out.data, out.n_bytes, &err), err);
    ucb_writer_free(&out);
    return path;
}

/* Two byte symbols, their merge, and a control token. */
static struct vocabulary sound(void)
{
    return (struct vocabulary){.model = "gpt2",
                               .pre = "smollm",
                               .tokens = {"<|x|>", "a", "b", "ab", "1"},
                               .types = {3, 1, 1, 1, 1},
                               .n_types = 5,
                               .merges = {"a b"},
                               .bos = 0};
}

static const char *ids_of(const struct vocabulary *v, const char *text)
{
    struct ucb_text shown = {0};
    struct ucb_tokenizer *t;
    struct ucb_arena arena;
    struct ucb_ids ids;
    struct ucb_err err;
    ucb_arena_init(&arena);
    CHECK_OK(ucb_tokenizer_open(write_vocabulary(v), &t, &err), err);
    CHECK_EQ(ucb_tokenizer_bos(t), v->bos);
    CHECK_OK(ucb_tokenize(t, text, strlen(text), &arena, &ids, &err), err);
    for (size_t i = 0; i < ids.n; i++)
        ucb_text_add(&shown, "%s%u@%u", i == 0 ? "" : " ", (unsigned)ids.ids[i],
                     (unsigned)ids.start[i]);
    const char *kept = ucb_test_path("%s", ucb_text_get(&shown));
    ucb_text_free(&shown);
    ucb_tokenizer_close(t);
    ucb_arena_free(&arena);
    return kept;
}

static void check_refused(const struct vocabulary *v, ucb_status status, const char *part)
{
    struct ucb_tokenizer *t;
    struct ucb_err err;
    CHECK_STATUS(ucb_tokenizer_open(write_vocabulary(v), &t, &err), status, err);
    CHECK_HAS(err.text, part);
    CHECK_HAS(err.text, "vocabulary.gguf");
}

TEST(a_byte_level_vocabulary_opens_from_gguf_metadata)
{
    struct vocabulary v = sound();
    CHECK_TEXT(ids_of(&v, "ab1<|x|>ba"), "3@0 4@2 0@3 2@8 1@9");
}

/* Ids 256 to 262: the space, a, b, c, ab, bc, aa. Of ab and bc, bc has the better score. */
static struct vocabulary sentencepiece(void)
{
    return (struct vocabulary){.model = "llama",
                               .pre = "default",
                               .tokens = {"\xe2\x96\x81", "a", "b", "c", "ab", "bc", "aa"},
                               .types = {1, 1, 1, 1, 1, 1, 1},
                               .n_types = 7,
                               .scores = {-1, -2, -3, -4, -6, -5, -7},
                               .n_scores = 7,
                               .bos = 1};
}

TEST(the_highest_score_merges_first)
{
    struct vocabulary v = sentencepiece();
    CHECK_TEXT(ids_of(&v, "abc ab"), "256@0 257@1 261@2 256@4 260@5");
    CHECK_TEXT(ids_of(&v, "aaa"), "256@0 262@1 257@3");
    CHECK_TEXT(ids_of(&v, "\xc3\xa9"), "256@0 195@1 169@2");
    v.scores[4] = -5; /* equal scores: the leftmost */
    CHECK_TEXT(ids_of(&v, "abc"), "256@0 260@1 259@3");
}

static bool adds_bos(const struct vocabulary *v)
{
    struct ucb_tokenizer *t;
    struct ucb_err err;
    CHECK_OK(ucb_tokenizer_open(write_vocabulary(v), &t, &err), err);
    bool adds = ucb_tokenizer_adds_bos(t);
    ucb_tokenizer_close(t);
    return adds;
}

TEST(a_gguf_says_whether_bos_is_added_and_otherwise_its_kind_decides_as_in_llama_cpp)
{
    struct vocabulary bytes = sound(), pieces = sentencepiece();
    CHECK(!adds_bos(&bytes));
    CHECK(adds_bos(&pieces));
    bytes.adds_bos = BOS_ADDED;
    pieces.adds_bos = BOS_NOT_ADDED;
    CHECK(adds_bos(&bytes));
    CHECK(!adds_bos(&pieces));
    bytes.adds_bos = BOS_UNSAID;
    bytes.pre = "llama-bpe";
    CHECK(adds_bos(&bytes));
    bytes.adds_bos = BOS_NOT_ADDED;
    CHECK(!adds_bos(&bytes));
}

TEST(a_token_with_an_inner_space_is_found_across_words)
{
    struct vocabulary v = sentencepiece();
    v.tokens[6] = "a\xe2\x96\x81";
    CHECK_TEXT(ids_of(&v, "a b"), "256@0 262@1 258@3");
}

/* As llama.cpp 0.3.36 (llama-cpp-python) does it. */
TEST(a_user_token_spelled_with_marks_is_what_merges_make_of_spaces)
{
    struct vocabulary v = sentencepiece();
    v.tokens[6] = "a\xe2\x96\x81";
    v.types[6] = 4;
    CHECK_TEXT(ids_of(&v, "a b"), "256@0 262@1 258@3");
    v.tokens[6] = "a "; /* which a text may hold, and merges do not make */
    CHECK_TEXT(ids_of(&v, "ba b"), "256@0 258@1 262@2 256@4 258@5");
}

TEST(a_pretokenizer_that_is_not_known_is_refused_by_name)
{
    struct vocabulary v = sound();
    v.pre = "smolm";
    check_refused(&v, UCB_UNSUPPORTED, "tokenizer.ggml.pre is `smolm`");
    check_refused(&v, UCB_UNSUPPORTED, "did you mean `smollm`");
    v.pre = "default";
    check_refused(&v, UCB_UNSUPPORTED, "known: gpt-2, smollm");
    v.model = "bert";
    check_refused(&v, UCB_UNSUPPORTED, "tokenizer.ggml.model is `bert`");
}

TEST(a_vocabulary_that_contradicts_itself_is_corrupt)
{
    struct vocabulary v = sound();
    v.n_types = 4;
    check_refused(&v, UCB_CORRUPT, "token_type has 4 entries, tokenizer.ggml.tokens has 5");
    v = sound();
    v.types[2] = 7;
    check_refused(&v, UCB_CORRUPT, "token_type[2] is 7, must be 1 to 6");
    v = sound();
    v.types[2] = 6;
    check_refused(&v, UCB_CORRUPT, "`b` is marked as a byte token");
    v = sound();
    v.tokens[4] = "a";
    check_refused(&v, UCB_CORRUPT, "tokens[1] and [4] are both `a`");
    v = sound();
    v.merges[1] = "a x";
    check_refused(&v, UCB_CORRUPT, "merges[1]: `x` is no token");
    v = sound();
    v.merges[0] = "ab";
    check_refused(&v, UCB_CORRUPT, "merges[0]: `ab`, must be");
    v = sound();
    v.bos = 5;
    check_refused(&v, UCB_CORRUPT, "bos_token_id is 5, must be below 5");
    v = sentencepiece();
    v.n_scores = 6;
    check_refused(&v, UCB_CORRUPT, "scores has 262 entries, must have 263");
    v = sentencepiece();
    v.scores[2] = __builtin_nanf("");
    check_refused(&v, UCB_CORRUPT, "scores[258] is NaN");
}
