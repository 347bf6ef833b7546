/*
 * lambada-windows - the seed's protocol: LAMBADA only as a source of text (seed-systems 1.3
 * and 1.6).
 *
 * The texts that are not blank are joined by two line feeds and tokenized as one string of
 * N ids. A window is 129 consecutive ids: 128 inputs, every one of the 128 predictions
 * scored. Its start is the next 32 bits of MT19937, modulo N - 128 - 1: with replacement,
 * the last possible start never drawn, and small starts favoured by up to N in 2^32, all
 * three as in the original.
 *
 * nll=fp16: the original's recorded perplexities come from sums over a window that were
 * rounded to half precision (D-22). To match them a window is one item, of the document in
 * which its first target begins, and its sum is rounded; otherwise a window is cut where
 * documents change, and nothing is rounded.
 */
#include <string.h>

#include "task/documents.h"
#include "core/mt19937.h"
#include "task/passages.h"

enum { WINDOW_INPUTS = 128 };

enum { KNOB_N, KNOB_SEED, KNOB_NLL };
static const char *const roundings[] = {"exact", "fp16", NULL};
static const struct ucb_task_knob knobs[] = {
    [KNOB_N] = {"n", "windows", "500", 1, 10000000, NULL},
    [KNOB_SEED] = {"seed", "of the MT19937 stream that draws the windows' starts", "42", 0,
                   UINT32_MAX, NULL},
    [KNOB_NLL] =
        {"nll",
         "fp16: a window's sum is rounded to half precision, as the seed's records "
         "were",
         "exact", 1, 0, roundings},
    {0},
};

static const struct ucb_span separator = {"\n\n", 2};

/* One string of all passages that are not blank, and where each of them begins in it. */
struct joined {
    char *text;
    size_t n_bytes;
    struct ucb_document_start *starts;
    size_t n_starts;
};

static void append(struct joined *j, struct ucb_span piece)
{
    memcpy(j->text + j->n_bytes, piece.at, piece.n);
    j->n_bytes += piece.n;
}

static ucb_status join(const struct ucb_passage *passages, size_t n,
                       struct ucb_arena *arena, struct joined *out, struct ucb_err *err)
{
    size_t capacity = 0;
    for (size_t i = 0; i < n; i++) capacity += passages[i].text.n + separator.n;
    struct joined j = {ucb_arena_alloc(arena, capacity), 0,
                       UCB_NEW(arena, struct ucb_document_start, n), 0};
    if (j.text == NULL || j.starts == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu bytes of text", capacity);
    for (size_t i = 0; i < n; i++) {
        if (ucb_span_trim(passages[i].text).n == 0) continue;
        if (j.n_starts > 0) append(&j, separator);
        j.starts[j.n_starts++] = (struct ucb_document_start){(uint32_t)j.n_bytes,
                                                             passages[i].name};
        append(&j, passages[i].text);
    }
    if (j.n_starts == 0)
        return UCB_FAIL(err, UCB_CORRUPT, "every \"text\" is blank; expected passages");
    *out = j;
    return UCB_OK;
}

static ucb_status draw_windows(const struct ucb_task_run *run, const struct ucb_ids *ids,
                               struct ucb_arena *arena, struct ucb_items *out,
                               struct ucb_err *err)
{
    size_t n = (size_t)run->number[KNOB_N];
    struct ucb_mt19937 random;
    if (ids->n < WINDOW_INPUTS + 2)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%zu tokens in all, expected at least %d for a window", ids->n,
                        WINDOW_INPUTS + 2);
    struct ucb_window *windows = UCB_NEW(arena, struct ucb_window, n);
    if (windows == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu windows", n);
    ucb_mt19937_seed(&random, (uint32_t)run->number[KNOB_SEED]);
    for (size_t i = 0; i < n; i++) {
        size_t start = ucb_mt19937_next(&random) % (ids->n - WINDOW_INPUTS - 1);
        windows[i] = (struct ucb_window){ids->ids + start, WINDOW_INPUTS + 1, 0};
    }
    *out = (struct ucb_items){.windows = windows, .n_windows = n};
    return UCB_OK;
}

/* The pieces of each window become one item; documents that lose their last one go. */
static ucb_status join_pieces(struct ucb_arena *arena, struct ucb_items *out,
                              struct ucb_err *err)
{
    struct ucb_item *items = UCB_NEW(arena, struct ucb_item, out->n_windows);
    struct ucb_document *documents = UCB_NEW(arena, struct ucb_document, out->n_documents);
    uint32_t *number = UCB_NEW(arena, uint32_t, out->n_documents), n_documents = 0;
    if (items == NULL || documents == NULL || number == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu items", out->n_windows);
    for (size_t i = 0; i < out->n_items; i++) {
        const struct ucb_item *piece = &out->items[i];
        if (piece->from == 0) {
            items[piece->window] = *piece;
            number[piece->document] = 1;
        }
        items[piece->window].to = piece->to;
    }
    for (size_t k = 0; k < out->n_documents; k++) {
        if (number[k] == 0) continue;
        documents[n_documents] = out->documents[k];
        number[k] = n_documents++;
    }
    for (size_t w = 0; w < out->n_windows; w++)
        items[w].document = number[items[w].document];
    out->items = items;
    out->n_items = out->n_windows;
    out->documents = documents;
    out->n_documents = n_documents;
    out->rounds_nll = true;
    return UCB_OK;
}

static ucb_status prepare(const struct ucb_task_run *run, const char *file,
                          const char *text, size_t n_bytes,
                          const struct ucb_tokenizer *tokenizer, struct ucb_arena *arena,
                          struct ucb_items *out, struct ucb_err *err)
{
    struct ucb_passage *passages;
    struct joined joined = {0};
    struct ucb_ids ids = {0};
    size_t n = 0;
    UCB_TRY(ucb_passages_read(file, text, n_bytes, 0, arena, &passages, &n, err));
    ucb_status status = join(passages, n, arena, &joined, err);
    if (status == UCB_OK)
        status = ucb_tokenize(tokenizer, joined.text, joined.n_bytes, arena, &ids, err);
    if (status == UCB_OK) status = draw_windows(run, &ids, arena, out, err);
    if (status == UCB_OK)
        status = ucb_documents_cut(&ids, joined.starts, joined.n_starts, arena, out, err);
    if (status == UCB_OK && run->number[KNOB_NLL] != 0)
        status = join_pieces(arena, out, err);
    if (status != UCB_OK) ucb_err_prefix(err, "%s", file);
    return status;
}

const struct ucb_task ucb_task_lambada_windows = {
    .name = "lambada-windows",
    .summary =
        "random windows of 128 tokens from the LAMBADA passages, every position scored",
    .protocol = "random 128-token windows of the LAMBADA passages joined into one text "
                "(MT19937 starts), every position scored; not the last-word task",
    .revision = 1,
    .full_file = "lambada_test.jsonl",
    .mini_file = "datasets/lambada_mini/lambada_mini.jsonl",
    .ppl_unit = UCB_PPL_PER_TOKEN,
    .has_accuracy = false,
    .knobs = knobs,
    .n_shown = 2,
    .prepare = prepare,
};
