/*
 * model_scan.c - looks at every weight once, before anything is computed with it: one NaN
 * in a scale would spoil every number that follows. Tensors are scanned in any order, by
 * all threads; the first in the model's order is reported.
 */
#include <assert.h>
#include <math.h>

#include "model/blocks.h"
#include "model/model_internal.h"

enum { SLAB_BYTES = 8 << 20 };

struct scan_slot {
    const struct ucb_tensor *tensor;
    const char *name; /* of the model's matrix, where the tensor holds one */
    bool interleaved;
    uint64_t first_bad; /* n_elements: none */
};

struct scan {
    struct scan_slot *slots;
    size_t n, room;
};

static void add(struct scan *scan, const struct ucb_view *view, const char *name)
{
    /* Parts of a fused tensor follow each other: it is looked at once. */
    if (view->tensor == NULL) return;
    if (scan->n > 0 && scan->slots[scan->n - 1].tensor == view->tensor) return;
    bool whole = view->base == 0 && view->block == view->stride && !view->transposed &&
                 (uint64_t)view->block * view->columns == view->tensor->n_elements;
    assert(scan->n < scan->room);
    scan->slots[scan->n++] = (struct scan_slot){
        view->tensor, whole ? name : view->tensor->name, view->interleaved, 0};
}

static void add_layer(struct scan *scan, const struct ucb_bound_layer *layer)
{
    for (size_t i = 0; i < layer->n_matrices; i++)
        if (layer->matrices[i].first_of_tensor)
            add(scan, &layer->matrices[i].view, layer->matrices[i].matrix.name);
    for (unsigned i = 0; i < UCB_N_VECTORS; i++)
        add(scan, &layer->vectors[i].view, layer->vectors[i].name);
}

static void list_tensors(struct scan *scan, const struct ucb_model *model)
{
    add(scan, &model->embed.view, model->embed.matrix.name);
    for (uint32_t layer = 0; layer < model->arch.n_layers; layer++)
        add_layer(scan, &model->layers[layer]);
    add_layer(scan, &model->top);
    add(scan, &model->head.view, model->head.matrix.name);
}

static size_t count_slots(const struct ucb_model *model)
{
    size_t n = 2 + UCB_N_VECTORS;
    for (uint32_t layer = 0; layer < model->arch.n_layers; layer++)
        n += model->layers[layer].n_matrices + UCB_N_VECTORS;
    return n;
}

/* Slab by slab, pages released behind: the embedding of a large model is a gigabyte. */
static void scan_one(void *context, size_t index)
{
    struct scan_slot *slot = &((struct scan *)context)->slots[index];
    const struct ucb_tensor *t = slot->tensor;
    uint64_t block = ucb_dtype_block_elements(t->dtype),
             block_bytes = ucb_dtype_block_bytes(t->dtype),
             step = SLAB_BYTES / block_bytes * block;
    slot->first_bad = t->n_elements;
    for (uint64_t at = 0; at < t->n_elements && slot->first_bad == t->n_elements;
         at += step) {
        uint64_t n = t->n_elements - at < step ? t->n_elements - at : step,
                 from = at / block * block_bytes,
                 bad = ucb_find_nonfinite(t->dtype, t->data + from, n);
        if (bad < n) slot->first_bad = at + bad;
        ucb_file_forget_behind(t->data, from, n / block * block_bytes);
    }
}

static ucb_status report(const struct scan_slot *slot, uint32_t head_dim,
                         struct ucb_err *err)
{
    const struct ucb_tensor *t = slot->tensor;
    float widened[UCB_BLOCK_ELEMENTS_MAX];
    uint32_t block = ucb_dtype_block_elements(t->dtype);
    uint64_t n_in = t->shape[t->n_dims - 1], row = slot->first_bad / n_in,
             column = slot->first_bad % n_in;
    bool is_vector = t->n_dims == 1;
    if (is_vector) row = column;
    if (slot->interleaved) row = ucb_model_row((uint32_t)row, head_dim);
    ucb_widen(t->dtype, t->data + slot->first_bad / block * ucb_dtype_block_bytes(t->dtype),
              block, widened);
    const char *what = block > 1           ? "a block scale that is not finite"
                       : isnan(widened[0]) ? "a NaN"
                                           : "an infinity";
    if (is_vector)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: %s holds %s at element %llu, expected finite numbers", t->file,
                        slot->name, what, (unsigned long long)row);
    return UCB_FAIL(err, UCB_CORRUPT,
                    "%s: %s holds %s at row %llu, column %llu, expected finite numbers",
                    t->file, slot->name, what, (unsigned long long)row,
                    (unsigned long long)column);
}

ucb_status ucb_model_scan(const struct ucb_model *model, struct ucb_pool *pool,
                          struct ucb_err *err)
{
    ucb_status status = UCB_OK;
    size_t room = count_slots(model);
    struct scan scan = {ucb_mem_alloc(room * sizeof(*scan.slots)), 0, room};
    if (scan.slots == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to list %zu tensors", model->path,
                        room);
    list_tensors(&scan, model);
    ucb_parallel_for(pool, scan.n, scan_one, &scan);
    for (size_t i = 0; i < scan.n && status == UCB_OK; i++)
        if (scan.slots[i].first_bad < scan.slots[i].tensor->n_elements)
            status = report(&scan.slots[i], model->arch.head_dim, err);
    ucb_mem_free(scan.slots);
    return status;
}
