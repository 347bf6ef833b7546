/*
 * documents.h - byte ranges of documents in a tokenized text -> items, the pieces of
 * windows that belong to one document.
 */
#ifndef UCB_TASK_DOCUMENTS_H
#define UCB_TASK_DOCUMENTS_H

#include "model/tokenizer.h"
#include "task/task.h"

struct ucb_document_start {
    uint32_t begin;   /* its first byte; it ends where the next one begins */
    const char *name; /* kept, not copied */
};

/*
 * Cuts the scored positions of out->windows, whose ids point into `ids`, wherever the
 * document of the target changes, and fills items and documents of *out from `arena`. A
 * token belongs to the document its first byte lies in. starts[0].begin is 0 and begins
 * ascend. Documents without an item are left out, so that every document resampled has
 * something in it. NOMEM only.
 */
ucb_status ucb_documents_cut(const struct ucb_ids *ids,
                             const struct ucb_document_start *starts, size_t n_starts,
                             struct ucb_arena *arena, struct ucb_items *out,
                             struct ucb_err *err);

#endif
