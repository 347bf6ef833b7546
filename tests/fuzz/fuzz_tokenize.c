/*
 * fuzz_tokenize.c - any bytes as a text for three tiny tokenizers: byte-level, byte-level
 * after NFC with added tokens, SentencePiece. Each has a token for every byte, so the
 * tokens' bytes must spell the normalized text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer_internal.h"
#include "tiny_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void must(bool condition, const char *what)
{
    if (condition) return;
    fprintf(stderr, "broken promise: %s\n", what);
    abort();
}

static struct ucb_tokenizer *make(const struct ucb_text *json)
{
    struct ucb_tokenizer *t = NULL;
    must(ucb_tokenizer_from_json("tiny", json->data, json->n_chars, &t, NULL) == UCB_OK,
         "the tiny tokenizers open");
    return t;
}

enum { N_TOKENIZERS = 3 };

static void make_all(struct ucb_tokenizer **all)
{
    static const char *const merges[] = {"a b", "b c", "ab c", "a a", "aa aa", "! !"};
    static const char *const spaced[] = {"a b", "\xe2\x96\x81 ab", "a a"};
    static const char added[] = "\"normalizer\":{\"type\":\"NFC\"},\"added_tokens\":[{"
                                "\"id\":300,\"content\":\"<|x|>\",\"special\":true},"
                                "{\"id\":301,\"content\":\"  \",\"normalized\":true}]";
    struct ucb_text json[N_TOKENIZERS] = {{0}};
    tiny_byte_level(&json[0], NULL, merges, 6);
    tiny_byte_level(&json[1], added, merges, 6);
    tiny_spaces(&json[2], "ab", spaced, 3);
    for (size_t i = 0; i < N_TOKENIZERS; i++) {
        all[i] = make(&json[i]);
        ucb_text_free(&json[i]);
    }
}

/* Each id starts where the one before ends. */
static void check_spelling(const struct ucb_tokenizer *t, const struct ucb_ids *ids,
                           const char *normal, size_t n_normal)
{
    size_t at = 0, n;
    for (size_t i = 0; i < ids->n; i++) {
        const char *bytes = ucb_token_text(t, ids->ids[i], &n);
        must(bytes != NULL && ids->start[i] == at && n <= n_normal - at,
             "starts are where tokens begin");
        must(memcmp(normal + at, bytes, n) == 0, "tokens spell the text");
        at += n;
    }
    must(at == n_normal, "no byte is lost");
}

static void try_one(const struct ucb_tokenizer *t, const char *text, size_t n_bytes)
{
    struct ucb_arena arena;
    struct ucb_ids ids;
    struct ucb_err err;
    const char *normal;
    size_t n_normal;
    ucb_arena_init(&arena);
    ucb_status status = ucb_tokenize(t, text, n_bytes, &arena, &ids, &err);
    must(status == UCB_OK || (status == UCB_CORRUPT && strstr(err.text, "offset") != NULL),
         "only bad UTF-8 is refused");
    /*
     * A token written in the text is a border for the normalizer, which the check below
     * does not know.
     */
    bool has_added = t->added_raw.n > 0 && memmem(text, n_bytes, "<|x|>", 5) != NULL;
    if (status == UCB_OK && !has_added) {
        must(ucb_normalize(&t->normalizer, text, n_bytes, &arena, &normal, &n_normal,
                           &err) == UCB_OK &&
                 ucb_metaspace(&t->normalizer, normal, n_normal, true, &arena, &normal,
                               &n_normal, &err) == UCB_OK,
             "normalizing works twice");
        check_spelling(t, &ids, normal, n_normal);
    }
    ucb_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static struct ucb_tokenizer
        *all[N_TOKENIZERS]; /* kept: opening costs more than most texts */
    if (all[0] == NULL) make_all(all);
    for (size_t i = 0; i < N_TOKENIZERS; i++) try_one(all[i], (const char *)data, n_bytes);
    return 0;
}
