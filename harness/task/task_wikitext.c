/*
 * wikitext - perplexity over consecutive windows of WikiText-2 (evaluation protocols 4a,
 * 4b).
 *
 *     ctx=512,half=1      llama.cpp's perplexity tool: the file as it is, the second half
 *                         of each window scored
 *     ctx=2048,join=hf    the GPTQ and AWQ scripts: lines as Hugging Face stores them,
 *                         joined by two line feeds, every position scored
 *
 * llama.cpp begins each window with BOS, in the place of its first id, where the model's
 * tokenizer adds one; ctx=...,half=1 does so too.
 *
 * Windows do not overlap and the remainder is dropped. A document is an article; what
 * precedes the first heading belongs to the first article, and a window that reaches into
 * the next article becomes two items.
 */
#include <string.h>

#include "task/detokenize.h"
#include "task/documents.h"

enum { KNOB_CTX, KNOB_HALF, KNOB_JOIN, KNOB_N, KNOB_SPREAD };
enum { JOIN_RAW, JOIN_HF };
static const char *const joins[] = {[JOIN_RAW] = "raw", [JOIN_HF] = "hf", NULL};
static const struct ucb_task_knob knobs[] = {
    [KNOB_CTX] = {"ctx", "ids in a window", "512", 8, 1 << 20, NULL},
    [KNOB_HALF] = {"half", "1: score the second half of each window; 0: every position",
                   "0", 0, 1, NULL},
    [KNOB_JOIN] = {"join", "raw: the file as it is; hf: two line feeds between its lines",
                   "raw", 1, 0, joins},
    [KNOB_N] = {"n", "windows, from the first on; 0: all of them", "0", 0, 10000000, NULL},
    [KNOB_SPREAD] =
        {"spread",
         "1: the n windows lie evenly over the text, for more articles in few windows", "0",
         0, 1, NULL},
    {0},
};

/* What is tokenized, and where its articles begin. */
struct source {
    struct ucb_span text;
    struct ucb_document_start *starts;
    size_t n_starts;
};

static ucb_status find_articles(struct ucb_span text, struct ucb_arena *arena,
                                struct source *out, struct ucb_err *err)
{
    struct ucb_heading *headings;
    size_t n;
    UCB_TRY(ucb_wiki_headings(text, arena, &headings, &n, err));
    struct ucb_document_start *starts = UCB_NEW(arena, struct ucb_document_start,
                                                n == 0 ? 1 : n);
    if (starts == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu articles", n);
    starts[0].name = "text without headings";
    for (size_t i = 0; i < n; i++) {
        starts[i].begin = (uint32_t)headings[i].begin;
        starts[i].name = headings[i].title;
    }
    starts[0].begin = 0;
    *out = (struct source){text, starts, n == 0 ? 1 : n};
    return UCB_OK;
}

/*
 * Each line that is not blank keeps its text and a line feed, a blank one becomes empty;
 * then two line feeds go between all. Moves the articles' begins along.
 */
static ucb_status join_as_hf(struct source *source, struct ucb_arena *arena,
                             struct ucb_err *err)
{
    struct ucb_span rest = source->text, line;
    size_t capacity = source->text.n + 3, n = 0,
           next = 1; /* three line feeds a line, one of them in n_bytes already */
    for (struct ucb_span r = rest; ucb_span_next_line(&r, &line);) capacity += 2;
    char *out = ucb_arena_alloc(arena, capacity);
    if (out == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu bytes of joined text", capacity);
    while (ucb_span_next_line(&rest, &line)) {
        if (line.at > source->text.at) {
            memcpy(out + n, "\n\n", 2);
            n += 2;
        }
        if (next < source->n_starts &&
            line.at == source->text.at + source->starts[next].begin)
            source->starts[next++].begin = (uint32_t)n;
        if (ucb_span_trim(line).n == 0) continue;
        memcpy(out + n, line.at, line.n);
        n += line.n;
        out[n++] = '\n';
    }
    source->text = (struct ucb_span){out, n};
    return UCB_OK;
}

/* No target is lost: a window's first id is never one. */
static void begin_with_bos(struct ucb_ids *ids, size_t ctx, uint32_t bos)
{
    for (size_t i = 0; i < ids->n; i += ctx) ids->ids[i] = bos;
}

static ucb_status cut_windows(const struct ucb_task_run *run, const struct ucb_ids *ids,
                              struct ucb_arena *arena, struct ucb_items *out,
                              struct ucb_err *err)
{
    size_t ctx = (size_t)run->number[KNOB_CTX], limit = (size_t)run->number[KNOB_N],
           n_all = ids->n / ctx, n = n_all;
    if (n == 0)
        return UCB_FAIL(
            err, UCB_USAGE,
            "%zu tokens in all, fewer than one window of ctx=%zu; try a smaller ctx",
            ids->n, ctx);
    if (limit != 0 && limit < n) n = limit;
    struct ucb_window *windows = UCB_NEW(arena, struct ucb_window, n);
    if (windows == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu windows", n);
    uint32_t score_from = run->number[KNOB_HALF] != 0 ? (uint32_t)ctx / 2 : 0;
    for (size_t i = 0; i < n; i++) {
        size_t place = run->number[KNOB_SPREAD] != 0 ? i * n_all / n : i;
        windows[i] = (struct ucb_window){ids->ids + place * ctx, (uint32_t)ctx, score_from};
    }
    *out = (struct ucb_items){.windows = windows, .n_windows = n};
    return UCB_OK;
}

static ucb_status prepare(const struct ucb_task_run *run, const char *file,
                          const char *text, size_t n_bytes,
                          const struct ucb_tokenizer *tokenizer, struct ucb_arena *arena,
                          struct ucb_items *out, struct ucb_err *err)
{
    struct source source = {0};
    struct ucb_ids ids = {0};
    ucb_status status = find_articles((struct ucb_span){text, n_bytes}, arena, &source,
                                      err);
    if (status == UCB_OK && run->number[KNOB_JOIN] == JOIN_HF)
        status = join_as_hf(&source, arena, err);
    if (status == UCB_OK)
        status = ucb_tokenize(tokenizer, source.text.at, source.text.n, arena, &ids, err);
    if (status == UCB_OK && run->number[KNOB_JOIN] == JOIN_RAW &&
        ucb_tokenizer_adds_bos(tokenizer))
        begin_with_bos(&ids, (size_t)run->number[KNOB_CTX], ucb_tokenizer_bos(tokenizer));
    if (status == UCB_OK) status = cut_windows(run, &ids, arena, out, err);
    if (status == UCB_OK)
        status = ucb_documents_cut(&ids, source.starts, source.n_starts, arena, out, err);
    if (status != UCB_OK) ucb_err_prefix(err, "%s", file);
    return status;
}

const struct ucb_task ucb_task_wikitext = {
    .name = "wikitext",
    .summary = "perplexity over consecutive windows of WikiText-2",
    .protocol = "WikiText-2 (raw) test text in consecutive windows of ctx tokens, "
                "remainder dropped; half=1 scores the second half of each window "
                "(llama.cpp), half=0 every position (GPTQ and AWQ scripts, with join=hf)",
    .revision = 3, /* BOS at the start of raw windows, for tokenizers that add it; 2: with
                      half=1 only */
    .full_file = "wikitext-2-raw.test.txt",
    .mini_file = "datasets/wiki_mini/wiki_mini.txt",
    .ppl_unit = UCB_PPL_PER_TOKEN,
    .has_accuracy = false,
    .knobs = knobs,
    .n_shown = 1,
    .prepare = prepare,
};
