/*
 * The evaluation protocols on the full data sets: numbers and digests of evaluation.md 2,
 * 3, 4 and 7, which come from lm-evaluation-harness, llama.cpp and Hugging Face's
 * tokenizers. Skipped where data or model is not at hand.
 */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "model/tokenizer.h"
#include "task/detokenize.h"
#include "task/task.h"

static struct ucb_arena arena;
static struct ucb_err err;

static const char *data_folder(void)
{
    const char *shared = ucb_test_shared();
    if (shared == NULL) SKIP("no shared folder with data/ (set UCBENCH_SHARED)");
    return ucb_test_path("%s/data", shared);
}

static const char *model_path(void)
{
    static const char file[] = "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";
    const char *cache = getenv("UCBENCH_CACHE"), *xdg = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    if (cache != NULL) return ucb_test_path("%s/%s", cache, file);
    if (xdg != NULL) return ucb_test_path("%s/ucbench/%s", xdg, file);
    return ucb_test_path("%s/.cache/ucbench/%s", home != NULL ? home : "", file);
}

static struct ucb_tokenizer *open_tokenizer(void)
{
    struct ucb_tokenizer *tokenizer;
    const char *path = model_path();
    if (access(path, R_OK) != 0)
        SKIP("no %s (scripts/fetch.sh model smollm2-135m brings it)", path);
    CHECK_OK(ucb_tokenizer_open(path, &tokenizer, &err), err);
    return tokenizer;
}

static void load(const char *spec, struct ucb_items *items)
{
    struct ucb_task_run run;
    const char *data = data_folder();
    struct ucb_tokenizer *tokenizer = open_tokenizer();
    CHECK_OK(ucb_task_parse(spec, &run, &err), err);
    CHECK_OK(ucb_task_load(&run, data, tokenizer, &arena, items, &err), err);
    ucb_tokenizer_close(tokenizer);
}

/* Ids are digested as little-endian 32-bit integers: as they lie in memory. */
static const char *digest_of(const uint32_t *ids, size_t n)
{
    static char hex[UCB_SHA256_HEX];
    ucb_sha256_hex(ids, n * sizeof(*ids), hex);
    return hex;
}

/* Digest of the scored targets of all windows, one after the other. */
static const char *digest_of_targets(const struct ucb_items *items, size_t *n_targets)
{
    static char hex[UCB_SHA256_HEX];
    struct ucb_sha256 h;
    ucb_sha256_init(&h);
    *n_targets = 0;
    for (size_t i = 0; i < items->n_items; i++) {
        const struct ucb_item *item = &items->items[i];
        ucb_sha256_update(&h, items->windows[item->window].ids + item->from + 1,
                          (item->to - item->from) * sizeof(uint32_t));
        *n_targets += item->to - item->from;
    }
    ucb_sha256_final_hex(&h, hex);
    return hex;
}

TEST(wikitext_raw_is_592_windows_of_llama_cpp)
{
    struct ucb_items items;
    load("wikitext:ctx=512,half=1", &items);
    CHECK_EQ(items.n_windows, 592);
    CHECK_EQ(items.n_documents,
             61); /* the page of 31 ids lies in a half that is not scored */
    CHECK_TEXT(items.dataset, "wikitext-2-raw-test");
    static const uint32_t first[] = {3717, 446, 6356, 389, 9226, 352, 446, 3717};
    CHECK(memcmp(items.windows[0].ids, first, sizeof(first)) == 0);
    size_t n_scored = 0;
    for (size_t i = 0; i < items.n_items; i++)
        n_scored += items.items[i].to - items.items[i].from;
    CHECK_EQ(n_scored, 592 * 255);
    CHECK_EQ(items.items[0].from, 256);
    CHECK_EQ(items.windows[591].ids - items.windows[0].ids, 591 * 512);
}

TEST(wikitext_raw_is_303415_ids)
{
    struct ucb_items items;
    load("wikitext:ctx=303415,half=0", &items);
    CHECK_EQ(items.n_windows, 1);
    CHECK_TEXT(digest_of(items.windows[0].ids, 303415),
               "18e663b61dd00f49796c8a6ae498b7dbe009cac4a2eaf3c67fa7d81baf47d945");
}

TEST(wikitext_hf_is_148_windows_of_2048_and_297_of_1024)
{
    struct ucb_items items;
    load("wikitext:ctx=2048,half=0,join=hf", &items);
    CHECK_EQ(items.n_windows, 148);
    CHECK_EQ(items.n_documents, 62);
    CHECK_EQ(items.items[0].from, 0);
    CHECK_EQ(items.items[items.n_items - 1].to, 2047);
    load("wikitext:ctx=1024,half=0,join=hf", &items);
    CHECK_EQ(items.n_windows, 297);
}

TEST(wikitext_hf_is_304978_ids)
{
    struct ucb_items items;
    load("wikitext:ctx=304978,half=0,join=hf", &items);
    CHECK_EQ(items.n_windows, 1);
    CHECK_TEXT(digest_of(items.windows[0].ids, 304978),
               "aa72485a43ad244db418ec90db75b81905cf39905a80d72a8f56121c2a8593f3");
}

TEST(wikitext_pages_detokenize_to_the_digest_of_lm_evaluation_harness)
{
    struct ucb_file file;
    struct ucb_heading *headings;
    struct ucb_sha256 h;
    char hex[UCB_SHA256_HEX];
    size_t n;
    CHECK_OK(ucb_file_map(ucb_test_path("%s/wikitext-2-raw.test.txt", data_folder()), &file,
                          &err),
             err);
    const char *text = (const char *)file.data;
    CHECK_OK(ucb_wiki_headings((struct ucb_span){text, file.n_bytes}, &arena, &headings, &n,
                               &err),
             err);
    CHECK_EQ(n, 62);
    ucb_sha256_init(&h);
    for (size_t i = 0; i < n; i++) {
        size_t end = i + 1 < n ? headings[i + 1].begin - 1 : file.n_bytes,
               n_page = end - headings[i].begin;
        char *page = ucb_arena_alloc(&arena, n_page);
        memcpy(page, text + headings[i].begin, n_page);
        if (i > 0) ucb_sha256_update(&h, "", 1);
        ucb_sha256_update(&h, page, ucb_wiki_detokenize(page, n_page));
    }
    ucb_sha256_final_hex(&h, hex);
    CHECK_TEXT(hex, "b0ae50e166add20959a5406d9b3c99fe1f23819ec0a10149047149434fb85d81");
}

TEST(wikitext_words_is_62_pages_with_the_known_words_bytes_and_ids)
{
    struct ucb_items items;
    size_t n_words = 0, n_bytes = 0, n_targets;
    load("wikitext-words", &items);
    CHECK_EQ(items.n_documents, 62);
    for (size_t i = 0; i < items.n_documents; i++) {
        n_words += items.documents[i].n_words;
        n_bytes += items.documents[i].n_bytes;
    }
    CHECK_EQ(n_words, 241335);
    CHECK_EQ(n_bytes, 1290527);
    CHECK_TEXT(digest_of_targets(&items, &n_targets),
               "622734b112c5124fc9212a9ee50ebb78a714531808b911c3961832e2d0037ffb");
    CHECK_EQ(n_targets, 291941);
    CHECK_EQ(items.windows[0].ids[0], 1); /* BOS */
}

TEST(wikitext_words_windows_have_at_most_ctx_inputs_and_long_contexts_at_the_end)
{
    struct ucb_items items;
    load("wikitext-words", &items);
    for (size_t i = 0; i < items.n_windows; i++) {
        const struct ucb_window *w = &items.windows[i];
        CHECK(w->n_ids - 1 <= 2048);
        CHECK(w->ids[0] == 1 || w->n_ids - 1 == 2048);
    }
}

TEST(lambada_is_5153_passages_with_the_known_ids)
{
    struct ucb_items items;
    struct ucb_sha256 h;
    char hex[UCB_SHA256_HEX];
    load("lambada", &items);
    CHECK_EQ(items.n_windows, 5153);
    CHECK_EQ(items.n_documents, 5153);
    ucb_sha256_init(&h);
    for (size_t i = 0; i < items.n_windows; i++) {
        CHECK(items.windows[i].n_ids >= 59 && items.windows[i].n_ids <= 224);
        ucb_sha256_update(&h, items.windows[i].ids,
                          items.windows[i].n_ids * sizeof(uint32_t));
    }
    ucb_sha256_final_hex(&h, hex);
    CHECK_TEXT(hex, "ce65b61d11d63417e38c6780cccb4056ec91c52ecb96a7cc1260e215d1cbc0a7");
}

TEST(lambada_targets_have_the_known_numbers_of_tokens)
{
    struct ucb_items items;
    size_t by_length[10] = {0};
    load("lambada", &items);
    for (size_t i = 0; i < items.n_items; i++) {
        size_t n = items.items[i].to - items.items[i].from;
        CHECK(n <= 9);
        by_length[n]++;
    }
    CHECK_EQ(by_length[1], 3610);
    CHECK_EQ(by_length[2], 1234);
    CHECK_EQ(by_length[3], 280);
    CHECK(by_length[9] > 0);
}

TEST(lambada_lines_0_to_9_have_the_known_target_ids)
{
    static const uint32_t known[10][2] = {{4120},  {1541, 1674}, {6697}, {22420},
                                          {11966}, {35179, 254}, {9568}, {21625, 276},
                                          {26971}, {6728}};
    struct ucb_items items;
    load("lambada:n=10", &items);
    CHECK_EQ(items.n_items, 10);
    for (size_t i = 0; i < 10; i++) {
        const struct ucb_item *item = &items.items[i];
        CHECK_EQ(item->to - item->from, known[i][1] == 0 ? 1 : 2);
        for (uint32_t p = item->from; p < item->to; p++)
            CHECK_EQ(items.windows[i].ids[p + 1], known[i][p - item->from]);
    }
}
