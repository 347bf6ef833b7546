/* What task.h promises, of every task in the registry; with a tokenizer of an id a byte. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/mt19937.h"
#include "task/task.h"
#include "byte_tokenizer.h"

static struct ucb_arena arena;
static struct ucb_err err;

static struct ucb_tokenizer *open_tokenizer(void)
{
    struct ucb_tokenizer *tokenizer;
    CHECK_OK(tiny_tokenizer_open(ucb_test_folder(), 1, &tokenizer, &err), err);
    return tokenizer;
}

/* 300 lines of either kind, made up from numbers. */
static const char *sample_text(const struct ucb_task *task, size_t *n_bytes)
{
    static char text[1 << 16];
    bool json = strstr(task->full_file, ".jsonl") != NULL;
    size_t n = 0;
    for (int i = 0; i < 300; i++) {
        const char *form = json          ? "{\"text\": \"passage %d ends in word%d\"}\n"
                           : i % 50 == 0 ? " = Article %d of %d = \n"
                                         : " some words , number %d of %d . \n";
        n += (size_t)snprintf(text + n, sizeof(text) - n, form, i, i * i);
    }
    *n_bytes = n;
    return text;
}

/* Closes the tokenizer. */
static void prepare_with(struct ucb_tokenizer *tokenizer, const char *spec,
                         const char *text, size_t n_bytes, struct ucb_items *items)
{
    struct ucb_task_run run;
    CHECK_OK(ucb_task_parse(spec, &run, &err), err);
    CHECK_OK(
        ucb_task_prepare(&run, "sample", text, n_bytes, tokenizer, &arena, items, &err),
        err);
    ucb_tokenizer_close(tokenizer);
}

static void prepare(const char *spec, const char *text, size_t n_bytes,
                    struct ucb_items *items)
{
    prepare_with(open_tokenizer(), spec, text, n_bytes, items);
}

static ucb_status prepare_text(const char *spec, const char *text, size_t n_bytes)
{
    struct ucb_task_run run;
    struct ucb_items items;
    struct ucb_tokenizer *tokenizer = open_tokenizer();
    CHECK_OK(ucb_task_parse(spec, &run, &err), err);
    ucb_status status = ucb_task_prepare(&run, "sample", text, n_bytes, tokenizer, &arena,
                                         &items, &err);
    ucb_tokenizer_close(tokenizer);
    return status;
}

TEST(tasks_are_registered_in_name_order_with_all_their_texts)
{
    const struct ucb_task *const *tasks = ucb_tasks();
    CHECK(tasks[0] != NULL);
    for (size_t i = 0; tasks[i] != NULL; i++) {
        const struct ucb_task *t = tasks[i];
        CHECK(i == 0 || strcmp(tasks[i - 1]->name, t->name) < 0);
        CHECK(strchr(t->name, '_') == NULL && t->revision > 0 && t->prepare != NULL);
        CHECK(strlen(t->summary) > 0 && strlen(t->protocol) > 0 &&
              strlen(t->full_file) > 0);
        CHECK_HAS(t->mini_file, "datasets/");
    }
}

TEST(the_default_of_every_knob_is_a_value_of_it)
{
    for (const struct ucb_task *const *t = ucb_tasks(); *t != NULL; t++)
        for (const struct ucb_task_knob *k = (*t)->knobs; k->name != NULL; k++) {
            struct ucb_task_run run;
            CHECK(strlen(k->help) > 0 && (k->choices != NULL) == (k->low > k->high));
            CHECK_OK(
                ucb_task_parse(ucb_test_path("%s:%s=%s", (*t)->name, k->name, k->fallback),
                               &run, &err),
                err);
            struct ucb_task_run bare;
            CHECK_OK(ucb_task_parse((*t)->name, &bare, &err), err);
            CHECK_TEXT(run.spec, bare.spec);
        }
}

static void check_items(const struct ucb_items *items)
{
    size_t at = 0;
    for (uint32_t w = 0; w < items->n_windows; w++) {
        const struct ucb_window *window = &items->windows[w];
        uint32_t position = window->score_from;
        CHECK(position < window->n_ids - 1);
        for (uint32_t i = 0; i < window->n_ids; i++) CHECK(window->ids[i] <= TINY_BOS);
        for (; at < items->n_items && items->items[at].window == w; at++) {
            CHECK_EQ(items->items[at].from, position);
            CHECK(items->items[at].to > position);
            CHECK(items->items[at].document < items->n_documents);
            position = items->items[at].to;
        }
        CHECK_EQ(position, window->n_ids - 1);
    }
    CHECK_EQ(at, items->n_items);
}

static void check_documents(const struct ucb_items *items)
{
    for (uint32_t d = 0; d < items->n_documents; d++) {
        size_t n = 0;
        for (size_t i = 0; i < items->n_items; i++) n += items->items[i].document == d;
        CHECK(n > 0);
        CHECK(items->documents[d].name != NULL && items->documents[d].name[0] != '\0');
    }
}

TEST(items_cover_exactly_the_scored_positions_in_order)
{
    for (const struct ucb_task *const *t = ucb_tasks(); *t != NULL; t++) {
        struct ucb_items items;
        size_t n_bytes;
        const char *text = sample_text(*t, &n_bytes);
        prepare((*t)->name, text, n_bytes, &items);
        check_items(&items);
        check_documents(&items);
    }
}

TEST(preparing_twice_gives_the_same_items)
{
    for (const struct ucb_task *const *t = ucb_tasks(); *t != NULL; t++) {
        struct ucb_items a, b;
        size_t n_bytes;
        const char *text = sample_text(*t, &n_bytes);
        prepare((*t)->name, text, n_bytes, &a);
        prepare((*t)->name, text, n_bytes, &b);
        CHECK(a.n_windows == b.n_windows && a.n_items == b.n_items &&
              a.n_documents == b.n_documents);
        CHECK(memcmp(a.items, b.items, a.n_items * sizeof(*a.items)) == 0);
        for (size_t w = 0; w < a.n_windows; w++) {
            CHECK(a.windows[w].n_ids == b.windows[w].n_ids &&
                  a.windows[w].score_from == b.windows[w].score_from);
            CHECK(memcmp(a.windows[w].ids, b.windows[w].ids,
                         a.windows[w].n_ids * sizeof(uint32_t)) == 0);
        }
    }
}

TEST(fewer_windows_are_the_first_of_more)
{
    for (const struct ucb_task *const *t = ucb_tasks(); *t != NULL; t++) {
        struct ucb_items all, two;
        size_t n_bytes;
        const char *text = sample_text(*t, &n_bytes);
        prepare((*t)->name, text, n_bytes, &all);
        prepare(ucb_test_path("%s:n=2", (*t)->name), text, n_bytes, &two);
        CHECK(two.n_windows < all.n_windows);
        for (size_t w = 0; w < two.n_windows; w++) {
            CHECK_EQ(two.windows[w].n_ids, all.windows[w].n_ids);
            CHECK(memcmp(two.windows[w].ids, all.windows[w].ids,
                         two.windows[w].n_ids * sizeof(uint32_t)) == 0);
        }
    }
}

TEST(more_than_there_is_means_all)
{
    struct ucb_items all, many;
    size_t n_bytes;
    const char *text = sample_text(ucb_tasks()[0], &n_bytes);
    prepare("lambada", text, n_bytes, &all);
    prepare("lambada:n=1000000", text, n_bytes, &many);
    CHECK_EQ(all.n_items, 300);
    CHECK_EQ(many.n_items, 300);
}

TEST(every_failed_allocation_is_reported_as_such)
{
    for (const struct ucb_task *const *t = ucb_tasks(); *t != NULL; t++) {
        struct ucb_tokenizer *tokenizer = open_tokenizer();
        struct ucb_task_run run;
        struct ucb_items items;
        size_t n_bytes;
        const char *text = sample_text(*t, &n_bytes);
        ucb_status status = UCB_NOMEM;
        CHECK_OK(ucb_task_parse(ucb_test_path("%s:n=2", (*t)->name), &run, &err), err);
        for (long nth = 1; status != UCB_OK; nth++) {
            CHECK_EQ(status, UCB_NOMEM);
            CHECK(nth < 10000);
            ucb_arena_reset(&arena);
            ucb_mem_fail_after(nth);
            status = ucb_task_prepare(&run, "sample", text, n_bytes, tokenizer, &arena,
                                      &items, &err);
        }
        ucb_mem_fail_after(0);
        ucb_tokenizer_close(tokenizer);
    }
}

/* ---- what each task scores ---- */

TEST(lambada_scores_the_last_space_and_all_after_it)
{
    static const char text[] = "{\"text\": \"one two three\"}\n{\"text\": \"four  \\u00a0 "
                               "five\"}\n{\"text\": \"a b\\nc\"}";
    struct ucb_items items;
    prepare("lambada", text, sizeof(text) - 1, &items);
    CHECK_EQ(items.n_items, 3);
    CHECK_EQ(items.items[0].from, 6); /* predicts byte 7, the space before "three" */
    CHECK_EQ(items.items[0].to, 12);
    CHECK_EQ(items.items[1].from,
             3); /* white space before the last space is the target's too */
    CHECK_EQ(items.items[2].to - items.items[2].from, 4);
    CHECK_TEXT(items.documents[1].name, "line 2");
}

TEST(lambada_windows_start_where_mt19937_says)
{
    static char text[1000];
    struct ucb_items items;
    struct ucb_mt19937 r;
    size_t n = (size_t)snprintf(
        text, sizeof(text),
        "{\"text\": \"%0400d\"}\n{\"text\": \" \\n\"}\n{\"text\": \"%098d\"}", 1, 2);
    prepare("lambada-windows:n=50,seed=7", text, n, &items);
    ucb_mt19937_seed(&r, 7);
    uint32_t first = ucb_mt19937_next(&r) %
                     (500 -
                      129); /* 400 + two line feeds + 98 ids; the blank text is left out */
    for (size_t w = 1; w < 50; w++) {
        long long start = ucb_mt19937_next(&r) % (500 - 129);
        CHECK_EQ(items.windows[w].ids - items.windows[0].ids, start - first);
        CHECK_EQ(items.windows[w].n_ids, 129);
        CHECK_EQ(items.windows[w].score_from, 0);
    }
    for (size_t i = 0; i < items.n_items; i++) { /* document 1 begins at id 402 */
        const struct ucb_item *item = &items.items[i];
        long long start = items.windows[item->window].ids - items.windows[0].ids + first;
        CHECK_EQ(item->document, start + item->from + 1 >= 402);
    }
    CHECK_TEXT(items.documents[1].name, "line 3");
}

TEST(lambada_windows_are_whole_items_where_their_sums_are_rounded)
{
    static char text[1000];
    struct ucb_items cut, whole;
    size_t n = (size_t)snprintf(text, sizeof(text),
                                "{\"text\": \"%0200d\"}\n{\"text\": \"%020d\"}\n"
                                "{\"text\": \"%0300d\"}",
                                1, 2, 3);
    prepare("lambada-windows:n=40,seed=7", text, n, &cut);
    CHECK(!cut.rounds_nll);
    prepare("lambada-windows:n=40,seed=7,nll=fp16", text, n, &whole);
    CHECK(whole.rounds_nll);
    CHECK_EQ(whole.n_items, 40);
    CHECK(cut.n_items > 40);
    CHECK(whole.n_documents <= cut.n_documents);
    for (size_t w = 0, i = 0; w < 40; w++) {
        const struct ucb_item *item = &whole.items[w];
        CHECK_EQ(item->window, w);
        CHECK_EQ(item->from, 0);
        CHECK_EQ(item->to, 128);
        while (cut.items[i].window != w) i++;
        CHECK_TEXT(whole.documents[item->document].name,
                   cut.documents[cut.items[i].document].name);
    }
}

TEST(wikitext_scores_the_second_half_or_everything)
{
    struct ucb_items items;
    static const char text[] =
        " \n = Crow = \n \n abcdefghijklmnopqrs \n = Jay = \n x \n"; /* 51 bytes */
    prepare("wikitext:ctx=10,half=1", text, sizeof(text) - 1, &items);
    CHECK_EQ(items.n_windows, 5);
    CHECK_EQ(items.items[0].from, 5);
    CHECK_EQ(items.items[0].to, 9);
    prepare("wikitext:ctx=10", text, sizeof(text) - 1, &items);
    CHECK_EQ(items.items[0].from, 0);
    CHECK_EQ(items.n_items, 6); /* the window with the border is two items */
    CHECK_EQ(items.n_documents, 2);
    CHECK_TEXT(items.documents[0].name, "Crow");
    CHECK_TEXT(items.documents[1].name, "Jay");
    const struct ucb_item *jay = &items.items[4]; /* window 3 holds bytes 30 to 39; the
                                                     heading's line begins at 37 */
    CHECK_EQ(jay->document, 1);
    CHECK_EQ(jay->from, 6);
}

/* Under a tokenizer that adds BOS. */
static void prepare_with_bos(const char *task, const char *text, struct ucb_items *items)
{
    struct ucb_tokenizer *tokenizer = open_tokenizer();
    static const char config[] = "{\"bos_token\": \"<s>\", \"add_bos_token\": true}";
    const char *folder = ucb_test_folder();
    ucb_tokenizer_close(tokenizer);
    CHECK_OK(ucb_file_write(ucb_test_path("%s/tokenizer_config.json", folder), config,
                            strlen(config), &err),
             err);
    CHECK_OK(ucb_tokenizer_open(folder, &tokenizer, &err), err);
    prepare_with(tokenizer, task, text, strlen(text), items);
}

TEST(lambada_begins_every_passage_with_the_bos_that_the_tokenizer_adds)
{
    struct ucb_items items;
    prepare_with_bos("lambada", "{\"text\": \"one two\"}\n{\"text\": \"a b\"}\n", &items);
    CHECK_EQ(items.n_windows, 2);
    CHECK_EQ(items.windows[0].ids[0], TINY_BOS);
    CHECK_EQ(items.windows[0].ids[1], 'o');
    CHECK_EQ(items.windows[0].n_ids, 8);
    CHECK_EQ(items.items[0].from, 3); /* "e" predicts the space */
    CHECK_EQ(items.items[0].to, 7);
    CHECK_EQ(items.windows[1].ids[0], TINY_BOS);
    CHECK_EQ(items.items[1].from, 1);
}

/* Windows of 10 bytes. */
static void prepare_letters(const char *knobs, struct ucb_items *items)
{
    prepare_with_bos(ucb_test_path("wikitext:ctx=10,%s", knobs),
                     "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN\n", items);
}

TEST(wikitext_begins_every_raw_window_with_the_bos_that_the_tokenizer_adds)
{
    struct ucb_items items;
    prepare_letters("half=1", &items);
    CHECK_EQ(items.n_windows, 4);
    for (size_t w = 0; w < 4; w++) {
        CHECK_EQ(items.windows[w].ids[0], TINY_BOS);
        CHECK_EQ(items.windows[w].ids[1], "blvF"[w]);
        CHECK_EQ(items.windows[w].ids[9], "jtDN"[w]);
    }
    prepare_letters("half=1,n=2,spread=1", &items); /* windows 0 and 2 */
    CHECK_EQ(items.windows[1].ids[0], TINY_BOS);
    CHECK_EQ(items.windows[1].ids[1], 'v');
    prepare_letters("half=0", &items);
    CHECK_EQ(items.windows[1].ids[0], TINY_BOS);
    CHECK_EQ(items.items[0].from, 0);
}

TEST(wikitext_scores_the_text_alone_in_other_protocols_and_without_such_a_tokenizer)
{
    struct ucb_items items;
    prepare_letters("half=1,join=hf", &items);
    CHECK_EQ(items.windows[1].ids[0], 'k');
    prepare("wikitext:ctx=10,half=1", "abcdefghijklmnopqrst", 20, &items);
    CHECK_EQ(items.windows[1].ids[0], 'k'); /* has a BOS, does not add it */
}

TEST(wikitext_joins_lines_as_hugging_face_stores_them)
{
    struct ucb_items items;
    char joined[64];
    static const char text[] =
        " \n = Tit = \nab\n\xc2\xa0\ncd"; /* the last line without a line feed gets one */
    static const char expected[] = "\n\n = Tit = \n\n\nab\n\n\n\n\ncd\n";
    prepare("wikitext:ctx=24,half=0,join=hf", text, sizeof(text) - 1, &items);
    CHECK_EQ(sizeof(expected) - 1, 24);
    for (size_t i = 0; i < 24; i++) joined[i] = (char)items.windows[0].ids[i];
    CHECK(memcmp(joined, expected, 24) == 0);
}

static void check_window(const struct ucb_window *window, uint32_t n_ids,
                         uint32_t score_from, uint32_t first, char last)
{
    CHECK_EQ(window->n_ids, n_ids);
    CHECK_EQ(window->score_from, score_from);
    CHECK_EQ(window->ids[0], first);
    CHECK_EQ(window->ids[n_ids - 1], last);
}

TEST(wikitext_words_rolls_windows_over_each_page)
{
    struct ucb_items items;
    static const char text[] =
        " \n = Kea = \n \n ab , cd \n = Owl = \n"; /* page 1 becomes " = Kea =\n\nab, cd "
                                                    */
    prepare("wikitext-words:ctx=6", text, sizeof(text) - 1, &items);
    CHECK_EQ(items.n_windows, 5);
    check_window(&items.windows[0], 7, 0, TINY_BOS, 'a'); /* 6, 6 and 5 of 17 ids */
    check_window(&items.windows[1], 7, 0, 'a', 'b');
    check_window(&items.windows[2], 7, 1, 'a', ' ');
    check_window(&items.windows[3], 7, 0, TINY_BOS,
                 'l'); /* 6 and 3 of the 9 ids of " = Owl =\n" */
    check_window(&items.windows[4], 7, 3, ' ', '\n');
    CHECK_EQ(items.items[4].document, 1);
}

TEST(wikitext_words_counts_words_and_bytes_of_the_page_as_it_was)
{
    struct ucb_items items;
    static const char text[] = " \n = Kea = \n \n ab , cd \n = Owl = \n";
    prepare("wikitext-words", text, sizeof(text) - 1, &items);
    CHECK_EQ(items.n_documents, 2);
    CHECK_TEXT(items.documents[0].name, "Kea");
    CHECK_EQ(items.documents[0].n_bytes,
             21); /* the line feed between two pages belongs to neither */
    CHECK_EQ(items.documents[0].n_words, 8); /* "", =, Kea, =, ab, the comma, cd, "" */
    CHECK_EQ(items.documents[1].n_bytes, 10);
    CHECK_EQ(items.documents[1].n_words, 5);
}

TEST(wikitext_words_makes_a_page_of_text_before_the_first_heading_unless_it_is_blank)
{
    struct ucb_items items;
    prepare("wikitext-words", "before\n = Kea = \n", 17, &items);
    CHECK_EQ(items.n_documents, 2);
    CHECK_TEXT(items.documents[0].name, "text before the first heading");
    CHECK_EQ(items.documents[0].n_bytes, 6);
    prepare("wikitext-words", "no heading", 10, &items);
    CHECK_EQ(items.n_documents, 1);
}

/* ---- bad input ---- */

static void check_corrupt(const char *spec, const char *text, const char *part)
{
    CHECK_STATUS(prepare_text(spec, text, strlen(text)), UCB_CORRUPT, err);
    CHECK_HAS(err.text, part);
}

TEST(a_bad_line_of_passages_is_corrupt_and_named)
{
    check_corrupt("lambada", "{\"text\": \"a b\"}\nnonsense\n",
                  "sample: line 2 is not valid JSON");
    check_corrupt("lambada", "{\"text\": \"a b\"}\n\n", "sample: line 2 is not valid JSON");
    check_corrupt("lambada", "[1]\n", "sample: line 1: not a JSON object");
    check_corrupt("lambada", "{\"txt\": \"a b\"}\n", "sample: line 1: no string \"text\"");
    check_corrupt("lambada", "{\"text\": 12}\n", "sample: line 1: no string \"text\"");
    check_corrupt("lambada", "{\"text\": \"word\"}\n", "sample: line 1: no space");
    check_corrupt("lambada", "{\"text\": \" word\"}\n",
                  "sample: line 1: nothing but one word");
    check_corrupt("lambada", "{\"text\": \"word \"}\n",
                  "sample: line 1: \"text\" ends in a space");
    check_corrupt("lambada-windows", "{\"text\": \"\"}\n{\"text\": \" \"}",
                  "every \"text\" is blank");
    check_corrupt("lambada-windows", "{\"text\": \"short\"}\n",
                  "5 tokens in all, expected at least 130");
}

TEST(an_empty_file_or_one_that_is_not_utf8_is_corrupt_for_every_task)
{
    for (const struct ucb_task *const *t = ucb_tasks(); *t != NULL; t++) {
        check_corrupt((*t)->name, "", "sample: empty file");
        check_corrupt((*t)->name, "{\"text\": \"a b\"}\n\xff",
                      "sample: line 2: byte 0xff at offset 16 is not UTF-8");
    }
}

TEST(a_text_shorter_than_a_window_names_a_smaller_ctx_as_the_way_out)
{
    CHECK_STATUS(prepare_text("wikitext", "short", 5), UCB_USAGE, err);
    CHECK_HAS(err.text, "try a smaller ctx");
}

TEST(wikitext_words_says_that_it_needs_a_bos_token)
{
    struct ucb_task_run run;
    struct ucb_items items;
    struct ucb_tokenizer *tokenizer;
    CHECK_OK(tiny_tokenizer_open(ucb_test_folder(), 0, &tokenizer, &err), err);
    CHECK_OK(ucb_task_parse("wikitext-words", &run, &err), err);
    CHECK_STATUS(
        ucb_task_prepare(&run, "sample", "a b", 3, tokenizer, &arena, &items, &err),
        UCB_UNSUPPORTED, err);
    CHECK_HAS(err.text, "no BOS token");
    ucb_tokenizer_close(tokenizer);
}

/* ---- data sets ---- */

TEST(every_task_loads_its_mini_set_with_the_manifests_name_and_digest)
{
    for (const struct ucb_task *const *t = ucb_tasks(); *t != NULL; t++) {
        struct ucb_task_run run;
        struct ucb_items items;
        struct ucb_tokenizer *tokenizer = open_tokenizer();
        const char *dataset;
        char digest[UCB_SHA256_HEX];
        CHECK_OK(ucb_task_parse((*t)->name, &run, &err), err);
        ucb_status status = ucb_task_load(&run, "mini", tokenizer, &arena, &items, &err);
        if (status == UCB_MISSING) SKIP("%s", err.text);
        CHECK_OK(status, err);
        check_items(&items);
        CHECK_OK(ucb_task_dataset(&run, "mini", &dataset, digest, &err), err);
        CHECK_TEXT(items.dataset, dataset);
        CHECK_TEXT(items.dataset_digest, digest);
        CHECK_HAS((*t)->mini_file, dataset);
        ucb_tokenizer_close(tokenizer);
    }
}

TEST(a_missing_full_file_is_named_with_what_to_do)
{
    struct ucb_task_run run;
    const char *dataset;
    char digest[UCB_SHA256_HEX];
    CHECK_OK(ucb_task_parse("wikitext", &run, &err), err);
    CHECK_STATUS(ucb_task_dataset(&run, ucb_test_folder(), &dataset, digest, &err),
                 UCB_MISSING, err);
    CHECK_HAS(err.text, "/wikitext-2-raw.test.txt: not there");
    CHECK_HAS(err.text, "scripts/fetch.sh data");
    CHECK_HAS(err.text, "--data mini");
}

TEST(a_full_file_with_another_digest_is_corrupt_with_both_digests)
{
    struct ucb_task_run run;
    const char *dataset;
    char digest[UCB_SHA256_HEX];
    CHECK_OK(ucb_file_write(ucb_test_path("%s/lambada_test.jsonl", ucb_test_folder()),
                            "abc", 3, &err),
             err);
    CHECK_OK(ucb_task_parse("lambada", &run, &err), err);
    CHECK_STATUS(ucb_task_dataset(&run, ucb_test_folder(), &dataset, digest, &err),
                 UCB_CORRUPT, err);
    CHECK_HAS(err.text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK_HAS(err.text, "4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226");
    CHECK_HAS(err.text, "scripts/fetch.sh data");
}

TEST(without_a_folder_the_variable_decides_and_without_it_the_mini_sets)
{
    struct ucb_task_run run;
    const char *dataset;
    char digest[UCB_SHA256_HEX];
    CHECK_OK(ucb_task_parse("wikitext", &run, &err), err);
    unsetenv("UCBENCH_DATA");
    CHECK_OK(ucb_task_dataset(&run, NULL, &dataset, digest, &err), err);
    CHECK_TEXT(dataset, "wiki_mini");
    setenv("UCBENCH_DATA", ucb_test_folder(), 1);
    CHECK_STATUS(ucb_task_dataset(&run, NULL, &dataset, digest, &err), UCB_MISSING, err);
    CHECK_OK(ucb_task_dataset(&run, "mini", &dataset, digest, &err), err);
}
