/*
 * lambada - predict the last word of each passage (evaluation protocol 3).
 *
 * A passage is cut at its last space: what precedes it is the context, the space and all
 * that follows the target. The whole is tokenized as one string and the context by itself;
 * with c the number of the context's ids, the ids from c on are scored, predicted at the
 * positions from c-1 on. Tokenizing the parts separately would give other ids where a
 * tokenizer merges across the cut. White space that a context ends in belongs to the
 * target, as in lm-evaluation-harness.
 *
 * The reference model's tokenizer adds no BOS. Where one does, the context begins with it:
 * such models have seen no text without (Gemma's perplexity is a hundred times higher
 * then).
 */
#include <string.h>

#include "model/tokenizer.h"
#include "task/passages.h"
#include "task/task.h"

enum { KNOB_N };
static const struct ucb_task_knob knobs[] = {
    [KNOB_N] = {"n", "passages, from the first line on; 0: all of them", "0", 0, 10000000,
                NULL},
    {0},
};

/* Everything of one call that is not the result. */
struct preparation {
    const struct ucb_tokenizer *tokenizer;
    struct ucb_arena *arena, scratch;
};

/* The part before the last space, without white space at its end. */
static ucb_status find_context(struct ucb_span text, struct ucb_span *context,
                               struct ucb_err *err)
{
    const char *cut = memrchr(text.at, ' ', text.n);
    if (cut == NULL)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "no space in \"text\"; expected words, the last of them to predict");
    if (ucb_span_trim(ucb_span_between(cut, text.at + text.n)).n == 0)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "\"text\" ends in a space; expected a last word to predict");
    *context = ucb_span_trim_end(ucb_span_between(text.at, cut));
    if (context->n == 0)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "nothing but one word in \"text\"; expected a context before it");
    return UCB_OK;
}

static ucb_status make_window(struct preparation *p, struct ucb_span text,
                              struct ucb_window *out, struct ucb_err *err)
{
    struct ucb_ids all, before;
    struct ucb_span context;
    UCB_TRY(find_context(text, &context, err));
    UCB_TRY(ucb_tokenize(p->tokenizer, text.at, text.n, &p->scratch, &all, err));
    UCB_TRY(ucb_tokenize(p->tokenizer, context.at, context.n, &p->scratch, &before, err));
    if (before.n == 0 || before.n >= all.n)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%zu tokens, %zu of them before the last word; expected at least "
                        "one of each kind",
                        all.n, before.n);
    size_t bos = ucb_tokenizer_adds_bos(p->tokenizer) ? 1 : 0, n = bos + all.n;
    uint32_t *ids = UCB_NEW(p->arena, uint32_t, n);
    if (ids == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu ids", n);
    if (bos != 0) ids[0] = ucb_tokenizer_bos(p->tokenizer);
    memcpy(ids + bos, all.ids, all.n * sizeof(*ids));
    *out = (struct ucb_window){ids, (uint32_t)n, (uint32_t)(bos + before.n) - 1};
    return UCB_OK;
}

static ucb_status make_windows(struct preparation *p, const struct ucb_passage *passages,
                               size_t n, struct ucb_window *windows, struct ucb_err *err)
{
    for (size_t i = 0; i < n; i++) {
        ucb_arena_reset(&p->scratch);
        ucb_status status = make_window(p, passages[i].text, &windows[i], err);
        if (status == UCB_OK) continue;
        ucb_err_prefix(err, "%s", passages[i].name);
        return status;
    }
    return UCB_OK;
}

/* Window, item and document i are all passage i. */
static ucb_status fill_items(const struct ucb_passage *passages,
                             const struct ucb_window *windows, size_t n,
                             struct ucb_arena *arena, struct ucb_items *out,
                             struct ucb_err *err)
{
    struct ucb_item *items = UCB_NEW(arena, struct ucb_item, n);
    struct ucb_document *documents = UCB_NEW(arena, struct ucb_document, n);
    if (items == NULL || documents == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu items", n);
    for (uint32_t i = 0; i < n; i++) {
        items[i] = (struct ucb_item){i, i, windows[i].score_from, windows[i].n_ids - 1};
        documents[i] = (struct ucb_document){.name = passages[i].name};
    }
    *out = (struct ucb_items){.windows = windows,
                              .n_windows = n,
                              .items = items,
                              .n_items = n,
                              .documents = documents,
                              .n_documents = n};
    return UCB_OK;
}

static ucb_status prepare(const struct ucb_task_run *run, const char *file,
                          const char *text, size_t n_bytes,
                          const struct ucb_tokenizer *tokenizer, struct ucb_arena *arena,
                          struct ucb_items *out, struct ucb_err *err)
{
    struct preparation p = {.tokenizer = tokenizer, .arena = arena};
    struct ucb_passage *passages;
    size_t n;
    UCB_TRY(ucb_passages_read(file, text, n_bytes, (size_t)run->number[KNOB_N], arena,
                              &passages, &n, err));
    struct ucb_window *windows = UCB_NEW(arena, struct ucb_window, n);
    if (windows == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu windows", file, n);
    ucb_arena_init(&p.scratch);
    ucb_status status = make_windows(&p, passages, n, windows, err);
    ucb_arena_free(&p.scratch);
    if (status != UCB_OK)
        ucb_err_prefix(err, "%s", file);
    else
        status = fill_items(passages, windows, n, arena, out, err);
    return status;
}

const struct ucb_task ucb_task_lambada = {
    .name = "lambada",
    .summary = "predict the last word of each passage",
    .protocol = "LAMBADA (OpenAI variant): the last word of each passage, scored token by "
                "token given all text before it; a passage is right when every token is "
                "the argmax",
    .revision = 2, /* 2: BOS before a context, for tokenizers that add it */
    .full_file = "lambada_test.jsonl",
    .mini_file = "datasets/lambada_mini/lambada_mini.jsonl",
    .ppl_unit = UCB_PPL_PER_PASSAGE,
    .has_accuracy = true,
    .knobs = knobs,
    .prepare = prepare,
};
