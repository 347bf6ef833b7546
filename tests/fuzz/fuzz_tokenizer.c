/*
 * fuzz_tokenizer.c - any bytes as a tokenizer.json: refused with a sentence, or a tokenizer
 * that works.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void must(bool condition, const char *what)
{
    if (condition) return;
    fprintf(stderr, "broken promise: %s\n", what);
    abort();
}

/*
 * Ids exist, starts grow and stay in the text (three bytes of it may become nine, and a
 * space comes before).
 */
static void check_ids(const struct ucb_tokenizer *t, const struct ucb_ids *ids,
                      size_t n_bytes)
{
    for (size_t i = 0; i < ids->n; i++) {
        size_t n;
        must(ucb_token_text(t, ids->ids[i], &n) != NULL, "every id has a text");
        must(i == 0 || ids->start[i] > ids->start[i - 1], "starts grow");
        must(ids->start[i] < 3 * n_bytes + 1, "starts lie in the text");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char text[] =
        "Hello  world, it's 123 <|x|> e\xcc\x81\xcc\xa3 ab abc aab\n\n \xe2\x96\x81<s>\x01";
    struct ucb_tokenizer *t;
    struct ucb_err err = {.text = ""};
    struct ucb_arena arena;
    struct ucb_ids ids;
    if (ucb_tokenizer_from_json("input", (const char *)data, n_bytes, &t, &err) != UCB_OK) {
        must(strncmp(err.text, "input", 5) == 0 && strlen(err.text) > 8,
             "a refusal names the file and says why");
        return 0;
    }
    ucb_arena_init(&arena);
    ucb_status status = ucb_tokenize(t, text, sizeof(text) - 1, &arena, &ids, &err);
    must(status == UCB_OK || (status == UCB_UNSUPPORTED && strstr(err.text, "gave up")),
         "an opened tokenizer takes every UTF-8 text that its own expression can cut");
    if (status == UCB_OK) check_ids(t, &ids, sizeof(text) - 1);
    ucb_arena_free(&arena);
    ucb_tokenizer_close(t);
    return 0;
}
