/*
 * task.h - what is scored: a task turns a data set into windows of ids and items.
 *
 * A window is one independent pass of the model from position 0. An item is a window x
 * document piece: consecutive scored positions of a window whose targets belong to one
 * document. The document is the unit of resampling. A task is one file
 * harness/task/task_<name>.c, ending in `const struct ucb_task ucb_task_<name>`.
 */
#ifndef UCB_TASK_TASK_H
#define UCB_TASK_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/err.h"
#include "core/sha256.h"

struct ucb_tokenizer;

/*
 * ids[0 .. n_ids) of a window: inputs are the first n_ids - 1, the logits at position p
 * predict ids[p + 1]. Positions [score_from, n_ids - 1) are scored.
 */
struct ucb_window {
    const uint32_t *ids;
    uint32_t n_ids, score_from;
};
struct ucb_item {
    uint32_t window, document;
    uint32_t from, to; /* scored positions [from, to) of the window, from < to */
};
/* A document: what words and bytes are counted over (wikitext-words), and a name for
 * people. */
struct ucb_document {
    uint64_t n_words, n_bytes;
    const char *name; /* "12" (line or page number), or a title */
};
struct ucb_items {
    const struct ucb_window *windows;
    size_t n_windows;
    const struct ucb_item *items; /* ordered by window, then position */
    size_t n_items;
    const struct ucb_document *documents;
    size_t n_documents;
    bool rounds_nll; /* an item's sum of log-probabilities is rounded to half precision, as
                        a published protocol had it */
    const char *dataset; /* "lambada", "wikitext-2-raw-test", "lambada_mini", "wiki_mini" */
    char dataset_digest[UCB_SHA256_HEX]; /* of the file's bytes */
};

/* What perplexity means for a task. */
enum ucb_ppl_unit { UCB_PPL_PER_TOKEN, UCB_PPL_PER_PASSAGE, UCB_PPL_PER_WORD };

struct ucb_task_knob {
    const char *name, *help;
    const char *fallback;       /* default value as text */
    int64_t low, high;          /* of an integer knob; low > high: a choice */
    const char *const *choices; /* NULL-terminated, for a choice */
};
enum { UCB_TASK_MAX_KNOBS = 6 };

/* A task with its values: made by ucb_task_parse. `spec` is canonical: knobs in the order
 * of the table, those at their defaults left out (bar the first n_shown). */
struct ucb_task_run {
    const struct ucb_task *task;
    int64_t number[UCB_TASK_MAX_KNOBS]; /* by knob index; of a choice: its index */
    char spec[128];                     /* "wikitext:ctx=2048,join=hf" */
};

struct ucb_task {
    const char *name, *summary, *protocol; /* protocol: one sentence for captions */
    uint32_t revision;                     /* raise when windows, items or scores change */
    const char *full_file,
        *mini_file; /* "lambada_test.jsonl" in --data, resource "datasets/.../x.jsonl" */
    enum ucb_ppl_unit ppl_unit;
    bool has_accuracy; /* an item is right or wrong: accuracy, retention, flips */
    const struct ucb_task_knob *knobs; /* ended by a NULL name */
    uint32_t n_shown; /* the first so many knobs stand in every canonical spec, at defaults
                         too */
    /* `text` is the data set's file; everything in *out comes from `arena`. CORRUPT names
     * line and field. */
    ucb_status (*prepare)(const struct ucb_task_run *run, const char *file,
                          const char *text, size_t n_bytes,
                          const struct ucb_tokenizer *tokenizer, struct ucb_arena *arena,
                          struct ucb_items *out, struct ucb_err *err);
};

/* All tasks, ended by NULL, in name order. */
const struct ucb_task *const *ucb_tasks(void);
/* "wikitext:ctx=512,half=1" -> run. USAGE for an unknown task, knob or value, with near
 * matches. */
ucb_status ucb_task_parse(const char *spec, struct ucb_task_run *out, struct ucb_err *err);
/*
 * Loads the data set and prepares. `data`: "mini" for the sets inside the program, or a
 * folder. Checks the digest of known full files (a file that differs is CORRUPT naming both
 * digests). MISSING says which file to put where. NULL for `data`: the folder that
 * $UCBENCH_DATA names, or "mini" where that is not set.
 */
ucb_status ucb_task_load(const struct ucb_task_run *run, const char *data,
                         const struct ucb_tokenizer *tokenizer, struct ucb_arena *arena,
                         struct ucb_items *out, struct ucb_err *err);
/* The last step of loading, for a text that lies in memory: no data set, no digest.
 * CORRUPT: empty, not UTF-8, or malformed. */
ucb_status ucb_task_prepare(const struct ucb_task_run *run, const char *file,
                            const char *text, size_t n_bytes,
                            const struct ucb_tokenizer *tokenizer, struct ucb_arena *arena,
                            struct ucb_items *out, struct ucb_err *err);
/* The digest and name of the data set a task would use, without preparing it (for cell ids
 * and --dry-run). */
ucb_status ucb_task_dataset(const struct ucb_task_run *run, const char *data,
                            const char **dataset, char digest[UCB_SHA256_HEX],
                            struct ucb_err *err);

/* What one model scored on one item; `kld` has n_tokens values. The store keeps exactly
 * this. */
struct ucb_sample {
    uint32_t n_tokens;
    double sum_logp;
    uint32_t t1_gt_hits, t10_gt_hits; /* target is the argmax / ranks below 10 */
    uint32_t t1_agree_hits,
        t10_agree_hits; /* the reference's argmax is this model's argmax / ranks below 10 */
    uint32_t t10_overlap_sum; /* sum over positions of ids in both top tens, 0..10 each */
    uint32_t
        target_correct; /* 1 when the argmax is the target at every position of the item */
    uint32_t last_t1_gt, last_t10_gt,
        last_t1_agree; /* 0/1: the same at the item's last position */
    double kld_sum, ear_sum;
    const float *kld;
};

#endif
