/*
 * wikitext-words - perplexity per word of WikiText-2's articles (evaluation protocol 4c,
 * lm-evaluation-harness' `wikitext`).
 *
 * A document is a page: an article, detokenized. Its ids follow BOS and every one of them
 * is scored, in rolling windows of at most W = ctx inputs. With the page's sequence s =
 * BOS, id 0, id 1 ... the first window is s[0 .. min(n, W)]; the next ones predict the
 * following k = min(left, W) ids and are the W + 1 entries of s that end with the last of
 * them, so that a short last window still has a long context:
 *
 *     s:  B 0 1 2 3 4 5 6 7 8 9        W = 4, n = 10
 *         [- x x x x]                  x: scored, predicted by the position before
 *                 [- x x x x]
 *                     [- - - x x]
 *
 * Words and bytes are counted in the page as it was before detokenizing.
 */
#include <assert.h>
#include <string.h>

#include "model/tokenizer.h"
#include "task/detokenize.h"
#include "task/task.h"

enum { KNOB_CTX, KNOB_N };
static const struct ucb_task_knob knobs[] = {
    [KNOB_CTX] = {"ctx", "inputs of a window, at most", "2048", 2, 1 << 20, NULL},
    [KNOB_N] = {"n", "pages, from the first on; 0: all of them", "0", 0, 10000000, NULL},
    {0},
};

struct page {
    struct ucb_span text; /* as in the file */
    uint32_t *sequence;   /* BOS and the ids of the detokenized text */
    uint32_t n_ids;       /* without BOS */
};

/* A page begins at each heading, and at the file's begin where text that is not blank
 * precedes the first one. */
static size_t count_pages(struct ucb_span text, const struct ucb_heading *headings,
                          size_t n_headings)
{
    if (n_headings == 0) return 1;
    return n_headings +
           (ucb_span_trim((struct ucb_span){text.at, headings[0].begin}).n > 0);
}

/* All of a page but its ids. The line feed between two pages belongs to neither. */
static void cut_pages(struct ucb_span text, const struct ucb_heading *headings,
                      size_t n_headings, size_t n_pages, struct page *pages,
                      struct ucb_document *documents)
{
    size_t preface = n_headings == 0 || n_pages > n_headings;
    for (size_t i = 0; i < n_pages; i++) {
        const struct ucb_heading *heading = i < preface ? NULL : &headings[i - preface];
        size_t begin = heading == NULL ? 0 : heading->begin;
        size_t end = i + 1 < n_pages ? headings[i + 1 - preface].begin - 1 : text.n;
        pages[i].text = (struct ucb_span){text.at + begin, end - begin};
        documents[i].name = heading == NULL ? "text before the first heading"
                                            : heading->title;
        documents[i].n_bytes = end - begin;
        /* Splitting at runs of white space counts the empty strings at the ends, as the
         * original does. */
        documents[i].n_words = ucb_span_space_runs(pages[i].text) + 1;
    }
}

static ucb_status tokenize_page(const struct ucb_tokenizer *tokenizer,
                                struct ucb_arena *arena, struct ucb_arena *scratch,
                                struct page *page, struct ucb_err *err)
{
    struct ucb_ids ids;
    char *text = ucb_arena_alloc(scratch, page->text.n);
    if (text == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a page of %zu bytes", page->text.n);
    memcpy(text, page->text.at, page->text.n);
    size_t n_bytes = ucb_wiki_detokenize(text, page->text.n);
    UCB_TRY(ucb_tokenize(tokenizer, text, n_bytes, scratch, &ids, err));
    page->sequence = UCB_NEW(arena, uint32_t, ids.n + 1);
    if (page->sequence == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu ids", ids.n + 1);
    page->sequence[0] = ucb_tokenizer_bos(tokenizer);
    memcpy(page->sequence + 1, ids.ids, ids.n * sizeof(*ids.ids));
    page->n_ids = (uint32_t)ids.n;
    return UCB_OK;
}

static ucb_status tokenize_pages(const struct ucb_tokenizer *tokenizer,
                                 struct ucb_arena *arena, struct page *pages, size_t n,
                                 struct ucb_err *err)
{
    ucb_status status = UCB_OK;
    struct ucb_arena scratch;
    ucb_arena_init(&scratch);
    for (size_t i = 0; i < n && status == UCB_OK; i++) {
        ucb_arena_reset(&scratch);
        status = tokenize_page(tokenizer, arena, &scratch, &pages[i], err);
        if (status != UCB_OK) ucb_err_prefix(err, "page %zu", i + 1);
    }
    ucb_arena_free(&scratch);
    return status;
}

/* The window that predicts up to W ids, the first of them ids[done]. */
static struct ucb_window roll(const struct page *page, uint32_t done, uint32_t width)
{
    uint32_t left = page->n_ids - done, end = done + (left < width ? left : width);
    /* Both count from BOS: in the sequence ids[k] stands at k + 1. */
    uint32_t begin = end < width ? 0 : end - width;
    assert(begin <= done && done < end);
    return (struct ucb_window){page->sequence + begin, end - begin + 1, done - begin};
}

static ucb_status roll_windows(const struct page *pages, size_t n_pages, uint32_t width,
                               struct ucb_arena *arena, struct ucb_items *out,
                               struct ucb_err *err)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; i < n_pages; i++) n += (pages[i].n_ids + width - 1) / width;
    struct ucb_window *windows = UCB_NEW(arena, struct ucb_window, n);
    struct ucb_item *items = UCB_NEW(arena, struct ucb_item, n);
    if (windows == NULL || items == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu windows", n);
    for (uint32_t i = 0; i < n_pages; i++)
        for (uint32_t done = 0; done < pages[i].n_ids; done += width, at++) {
            windows[at] = roll(&pages[i], done, width);
            items[at] = (struct ucb_item){(uint32_t)at, i, windows[at].score_from,
                                          windows[at].n_ids - 1};
        }
    assert(at == n);
    *out = (struct ucb_items){
        .windows = windows, .n_windows = n, .items = items, .n_items = n};
    return UCB_OK;
}

static ucb_status prepare_pages(const struct ucb_task_run *run, struct ucb_span text,
                                const struct ucb_tokenizer *tokenizer,
                                struct ucb_arena *arena, struct ucb_items *out,
                                struct ucb_err *err)
{
    struct ucb_heading *headings;
    size_t n_headings, limit = (size_t)run->number[KNOB_N];
    UCB_TRY(ucb_wiki_headings(text, arena, &headings, &n_headings, err));
    size_t n = count_pages(text, headings, n_headings);
    struct page *pages = UCB_NEW(arena, struct page, n);
    struct ucb_document *documents = UCB_NEW(arena, struct ucb_document, n);
    if (pages == NULL || documents == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu pages", n);
    cut_pages(text, headings, n_headings, n, pages, documents);
    if (limit != 0 && limit < n) n = limit;
    UCB_TRY(tokenize_pages(tokenizer, arena, pages, n, err));
    UCB_TRY(roll_windows(pages, n, (uint32_t)run->number[KNOB_CTX], arena, out, err));
    out->documents = documents;
    out->n_documents = n;
    return UCB_OK;
}

static ucb_status prepare(const struct ucb_task_run *run, const char *file,
                          const char *text, size_t n_bytes,
                          const struct ucb_tokenizer *tokenizer, struct ucb_arena *arena,
                          struct ucb_items *out, struct ucb_err *err)
{
    if (ucb_tokenizer_bos(tokenizer) == UINT32_MAX)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: wikitext-words predicts a page's first token from BOS, and "
                        "this tokenizer has no BOS token; use `wikitext`, which needs none",
                        file);
    ucb_status status = prepare_pages(run, (struct ucb_span){text, n_bytes}, tokenizer,
                                      arena, out, err);
    if (status != UCB_OK) ucb_err_prefix(err, "%s", file);
    return status;
}

const struct ucb_task ucb_task_wikitext_words = {
    .name = "wikitext-words",
    .summary = "perplexity per word of WikiText-2's articles",
    .protocol = "WikiText-2 (raw) test articles, detokenized, each after BOS in rolling "
                "windows of at most ctx inputs; perplexity per word of the original "
                "text (lm-evaluation-harness)",
    .revision = 1,
    .full_file = "wikitext-2-raw.test.txt",
    .mini_file = "datasets/wiki_mini/wiki_mini.txt",
    .ppl_unit = UCB_PPL_PER_WORD,
    .has_accuracy = false,
    .knobs = knobs,
    .n_shown = 1,
    .prepare = prepare,
};
