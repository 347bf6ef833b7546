/* documents.c - see documents.h. */
#include "task/documents.h"

#include <assert.h>

/* owner[i]: index of the document in which ids[i] begins. */
static void find_owners(const struct ucb_ids *ids, const struct ucb_document_start *starts,
                        size_t n_starts, uint32_t *owner)
{
    size_t document = 0;
    for (size_t i = 0; i < ids->n; i++) {
        while (document + 1 < n_starts && starts[document + 1].begin <= ids->start[i])
            document++;
        owner[i] = (uint32_t)document;
    }
}

/* Counts the pieces of all windows; writes them where `items` is not NULL. */
static size_t cut_windows(const struct ucb_items *in, const struct ucb_ids *ids,
                          const uint32_t *owner, struct ucb_item *items)
{
    size_t n_items = 0;
    for (size_t w = 0; w < in->n_windows; w++) {
        const struct ucb_window *window = &in->windows[w];
        const uint32_t *target_owner = owner + (window->ids - ids->ids) + 1;
        uint32_t end = window->n_ids - 1;
        for (uint32_t from = window->score_from, to; from < end; from = to) {
            for (to = from + 1; to < end && target_owner[to] == target_owner[from];) to++;
            if (items != NULL)
                items[n_items] = (struct ucb_item){(uint32_t)w, target_owner[from], from,
                                                   to};
            n_items++;
        }
    }
    return n_items;
}

/* Numbers the documents that occur in `items` from 0, in the order of the text; number[k]
 * counts k's items on entry. */
static void renumber(struct ucb_item *items, size_t n_items, uint32_t *number,
                     const struct ucb_document_start *starts, size_t n_starts,
                     struct ucb_document *documents)
{
    uint32_t next = 0;
    for (size_t k = 0; k < n_starts; k++) {
        if (number[k] == 0) continue;
        documents[next] = (struct ucb_document){.name = starts[k].name};
        number[k] = next++;
    }
    for (size_t i = 0; i < n_items; i++) items[i].document = number[items[i].document];
}

ucb_status ucb_documents_cut(const struct ucb_ids *ids,
                             const struct ucb_document_start *starts, size_t n_starts,
                             struct ucb_arena *arena, struct ucb_items *out,
                             struct ucb_err *err)
{
    assert(n_starts > 0 && starts[0].begin == 0);
    uint32_t *owner = UCB_NEW(arena, uint32_t, ids->n);
    uint32_t *number = UCB_NEW(arena, uint32_t, n_starts);
    if (owner == NULL || number == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the owners of %zu tokens", ids->n);
    find_owners(ids, starts, n_starts, owner);

    size_t n_items = cut_windows(out, ids, owner, NULL), n_documents = 0;
    struct ucb_item *items = UCB_NEW(arena, struct ucb_item, n_items);
    if (items == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu items", n_items);
    cut_windows(out, ids, owner, items);
    for (size_t i = 0; i < n_items; i++) n_documents += number[items[i].document]++ == 0;

    struct ucb_document *documents = UCB_NEW(arena, struct ucb_document, n_documents);
    if (documents == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu documents", n_documents);
    renumber(items, n_items, number, starts, n_starts, documents);
    out->items = items;
    out->n_items = n_items;
    out->documents = documents;
    out->n_documents = n_documents;
    return UCB_OK;
}
