/*
 * model_scan.c - looks at every weight once, before anything is computed with it: one NaN
 * in a scale would spoil every number that follows. Tensors are scanned in any order, by
 * all threads; the first in the model's order is reported.
 */
#include <math.h>

#include "model/blocks.h"
#include "model/model_internal.h"

struct scan_slot {
    const struct ucb_tensor *tensor;
    const char *name;
    bool interleaved;
    uint64_t first_bad; /* n_elements: none */
};

struct scan {
    struct scan_slot *slots;
    size_t n;
};

static void add_matrix(struct scan *scan, const struct ucb_bound_matrix *m)
{
    if (m->tensor == NULL) return;
    scan->slots[scan->n++] = (struct scan_slot){m->tensor, m->matrix.name, m->interleaved,
                                                0};
}

static void add_vector(struct scan *scan, const struct ucb_bound_vector *v)
{
    if (v->tensor == NULL) return;
    scan->slots[scan->n++] = (struct scan_slot){v->tensor, v->name, v->interleaved, 0};
}

static void list_tensors(struct scan *scan, const struct ucb_model *model)
{
    add_matrix(scan, &model->embed);
    for (uint32_t layer = 0; layer < model->arch.n_layers; layer++) {
        for (unsigned i = 0; i < UCB_N_LAYER_ROLES; i++)
            add_matrix(scan, &model->layers[layer].matrices[i]);
        for (unsigned i = 0; i < UCB_N_VECTORS; i++)
            add_vector(scan, &model->layers[layer].vectors[i]);
    }
    add_vector(scan, &model->final_norm);
    add_matrix(scan, &model->head);
}

static void scan_one(void *context, size_t index)
{
    struct scan_slot *slot = &((struct scan *)context)->slots[index];
    const struct ucb_tensor *t = slot->tensor;
    slot->first_bad = ucb_find_nonfinite(t->dtype, t->data, t->n_elements);
    ucb_file_forget(t->data,
                    t->n_bytes); /* or a model larger than memory would stay mapped whole */
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
    size_t room = (size_t)model->arch.n_layers * (UCB_N_LAYER_ROLES + UCB_N_VECTORS) + 3;
    struct scan scan = {ucb_mem_alloc(room * sizeof(*scan.slots)), 0};
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
