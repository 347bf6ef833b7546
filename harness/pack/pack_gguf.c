/*
 * pack_gguf.c - writes a GGUF: head, what is copied, and every matrix as the chain leaves
 * it, each at its place.
 *
 * Quantized rows do not depend on each other, so putting encoded rows in the file's order
 * (adjacent-style rope) gives the bytes that quantizing reordered rows would.
 */
#include "pack/pack_gguf.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/half.h"
#include "core/progress.h"
#include "pack/pack_internal.h"

enum { COPY_BYTES = 8 << 20 };

struct pack {
    const struct ucb_pack_options *options;
    const struct ucb_arch *arch;
    struct ucb_gguf_plan plan;
    struct ucb_out_file file;
    struct ucb_tally tally;
    struct ucb_progress progress;
    struct ucb_pack_result *result;
};

static ucb_status write_failed(const struct pack *p, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_IO, "%s: writing failed, nothing was changed: %s",
                    p->options->out, strerror(errno));
}

/* Goes to the place of a part: parts come in any order, each once. */
static ucb_status begin_part(struct pack *p, const struct ucb_gguf_item *item,
                             uint32_t part, struct ucb_err *err)
{
    assert(part < item->n_parts);
    assert(item->n_written < item->n_parts);
    uint64_t at = p->plan.data_begin + item->offset +
                  part * (item->n_bytes / item->n_parts);
    if (fseeko(p->file.stream, (off_t)at, SEEK_SET) != 0) return write_failed(p, err);
    return UCB_OK;
}

static ucb_status end_part(struct pack *p, struct ucb_gguf_item *item, struct ucb_err *err)
{
    struct ucb_pack_result *r = p->result;
    if (ferror(p->file.stream)) return write_failed(p, err);
    if (++item->n_written < item->n_parts) return UCB_OK;
    r->type_tensors[item->dtype]++;
    r->type_elements[item->dtype] += item->n_elements;
    r->type_bytes[item->dtype] += item->n_bytes;
    r->n_elements += item->n_elements;
    r->tensor_bytes += item->n_bytes;
    ucb_progress_add(&p->progress, (double)item->n_bytes, item->name);
    return UCB_OK;
}

/* ---- what is copied ---- */

static void write_rows(struct pack *p, const struct ucb_gguf_item *item,
                       const uint8_t *rows)
{
    uint64_t n_rows = item->shape[item->n_dims - 2];
    size_t row_bytes = (size_t)(item->n_bytes / item->n_parts / n_rows);
    for (uint32_t row = 0; row < n_rows; row++) {
        uint32_t source = ucb_gguf_matrix_row(p->arch, item->role, row);
        fwrite(rows + source * row_bytes, 1, row_bytes, p->file.stream);
    }
}

static ucb_status write_vector(struct pack *p, const struct ucb_gguf_item *item,
                               struct ucb_err *err)
{
    size_t n = (size_t)item->n_elements;
    float *model_order = UCB_NEW(&p->plan.arena, float, n);
    if (model_order == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a vector", item->name);
    UCB_TRY(ucb_model_read_vector(p->options->model, item->layer, item->vector, model_order,
                                  err));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t source = ucb_gguf_vector_row(p->arch, item->vector, i);
        fwrite(&model_order[source], sizeof(float), 1, p->file.stream);
    }
    return UCB_OK;
}

static ucb_status write_rope_factors(struct pack *p, const struct ucb_gguf_item *item,
                                     struct ucb_err *err)
{
    float *factors = UCB_NEW(&p->plan.arena, float, item->n_elements);
    if (factors == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a vector", item->name);
    ucb_gguf_rope_factors(p->arch, factors);
    fwrite(factors, sizeof(float), item->n_elements, p->file.stream);
    return UCB_OK;
}

/* Slab by slab, pages released behind: an embedding may be larger than memory. */
static void copy_bytes(struct pack *p, const struct ucb_tensor *t)
{
    for (size_t at = 0; at < t->n_bytes; at += COPY_BYTES) {
        size_t n = t->n_bytes - at < COPY_BYTES ? t->n_bytes - at : COPY_BYTES;
        fwrite(t->data + at, 1, n, p->file.stream);
        ucb_file_forget_behind(t->data, at, n);
    }
}

static ucb_status write_copy(struct pack *p, const struct ucb_gguf_item *item,
                             uint32_t part, struct ucb_err *err)
{
    const struct ucb_checkpoint *c = ucb_model_checkpoint(p->options->model);
    const struct ucb_tensor *source = item->source;
    if (item->content == UCB_CONTENT_ROWS)
        source = ucb_checkpoint_find(c, ucb_pack_part(p->options, item, part)->name);
    if (item->content == UCB_CONTENT_COPY) copy_bytes(p, source);
    if (item->content == UCB_CONTENT_ROWS) write_rows(p, item, source->data);
    if (item->content == UCB_CONTENT_VECTOR) UCB_TRY(write_vector(p, item, err));
    if (item->content == UCB_CONTENT_ROPE) UCB_TRY(write_rope_factors(p, item, err));
    if (source != NULL) ucb_file_forget(source->data, source->n_bytes);
    return UCB_OK;
}

static ucb_status write_copies(struct pack *p, struct ucb_gguf_item *item,
                               struct ucb_err *err)
{
    for (uint32_t i = 0; item->content != UCB_CONTENT_WRITTEN && i < item->n_parts; i++) {
        UCB_TRY(begin_part(p, item, i, err));
        UCB_TRY(write_copy(p, item, i, err));
        UCB_TRY(end_part(p, item, err));
    }
    return UCB_OK;
}

/* ---- what the chain writes ---- */

static struct ucb_gguf_item *find_written(struct pack *p, enum ucb_role role,
                                          uint32_t layer)
{
    for (size_t i = 0; i < p->plan.n_items; i++) {
        struct ucb_gguf_item *item = &p->plan.items[i];
        if (item->content == UCB_CONTENT_WRITTEN && item->role == role &&
            item->layer == layer)
            return item;
    }
    return NULL;
}

/* Exact: the chain has rounded to this dtype already. */
static void write_decoded(struct pack *p, const struct ucb_gguf_item *item,
                          const float *decoded)
{
    uint64_t n_rows = item->shape[item->n_dims - 2], n_in = item->shape[item->n_dims - 1];
    for (uint32_t row = 0; row < n_rows; row++) {
        const float *w = decoded + ucb_gguf_matrix_row(p->arch, item->role, row) * n_in;
        if (item->dtype == UCB_F32) fwrite(w, sizeof(*w), n_in, p->file.stream);
        for (uint64_t i = 0; i < n_in && item->dtype != UCB_F32; i++) {
            uint16_t half = item->dtype == UCB_F16 ? ucb_f16_from_f32(w[i])
                                                   : ucb_bf16_from_f32(w[i]);
            fwrite(&half, sizeof(half), 1, p->file.stream);
        }
    }
}

static ucb_status take_written(void *context, const struct ucb_matrix *m,
                               enum ucb_role role, const struct ucb_writer *payload,
                               const float *decoded, struct ucb_err *err)
{
    struct pack *p = context;
    struct ucb_gguf_item *item = find_written(p, role, m->layer);
    assert(item != NULL);
    UCB_TRY(begin_part(p, item, m->expert, err));
    if (p->result->form == UCB_PACK_LAYOUT) {
        assert(payload->n_bytes * item->n_parts == item->n_bytes);
        write_rows(p, item, payload->data);
    } else {
        p->result->dtype = item->dtype;
        write_decoded(p, item, decoded);
    }
    return end_part(p, item, err);
}

static ucb_status run_chain(struct pack *p, struct ucb_err *err)
{
    const struct ucb_pack_options *o = p->options;
    struct ucb_layer layer;
    const size_t nothing = 0;
    ucb_loader_watch(o->loader, take_written, p);
    if (find_written(p, UCB_ROLE_EMBED, 0) != NULL)
        UCB_TRY(
            ucb_loader_embed(o->loader, o->chain, &p->tally, NULL, 0, &nothing, NULL, err));
    for (uint32_t i = 0; i < p->arch->n_layers; i++)
        UCB_TRY(ucb_loader_layer(o->loader, o->chain, i, &p->tally, o->calibrator, &layer,
                                 err));
    if (find_written(p, UCB_ROLE_HEAD, 0) != NULL)
        UCB_TRY(ucb_loader_head(o->loader, o->chain, &p->tally, NULL, err));
    return UCB_OK;
}

/* ---- all ---- */

static ucb_status write_head(struct pack *p, struct ucb_err *err)
{
    struct ucb_writer head = {0};
    ucb_gguf_plan_head(&p->plan, &head);
    ucb_status status = ucb_writer_status(&head, err);
    if (status == UCB_OK) fwrite(head.data, 1, head.n_bytes, p->file.stream);
    ucb_writer_free(&head);
    return status;
}

/* The last tensor's padding: what lies between others was left out and reads as zeros. */
static ucb_status write_end(struct pack *p, struct ucb_err *err)
{
    uint64_t end = p->plan.data_begin;
    for (size_t i = 0; i < p->plan.n_items; i++) {
        assert(p->plan.items[i].n_written == p->plan.items[i].n_parts);
        end = p->plan.data_begin + p->plan.items[i].offset + p->plan.items[i].n_bytes;
    }
    if (end == p->plan.file_bytes) return UCB_OK;
    if (fseeko(p->file.stream, (off_t)p->plan.file_bytes - 1, SEEK_SET) != 0)
        return write_failed(p, err);
    fputc(0, p->file.stream);
    return UCB_OK;
}

static ucb_status write_all(struct pack *p, struct ucb_err *err)
{
    struct ucb_layout layout;
    bool none = ucb_chain_is_none(p->options->chain);
    const struct ucb_matrix *any = ucb_model_matrix(p->options->model, 0, UCB_ROLE_Q);
    p->result->form = none ? UCB_PACK_SOURCE
                      : ucb_chain_layout(p->options->chain, any, &layout)
                          ? UCB_PACK_LAYOUT
                          : UCB_PACK_DECODED;
    p->result->file_bytes = p->plan.file_bytes;
    UCB_TRY(write_head(p, err));
    for (size_t i = 0; i < p->plan.n_items; i++)
        UCB_TRY(write_copies(p, &p->plan.items[i], err));
    if (!none) UCB_TRY(run_chain(p, err));
    for (int i = 0; i < UCB_N_PARTS; i++) p->result->matrix_bytes += p->tally.part_bytes[i];
    p->result->n_weights = p->tally.n_weights;
    p->result->extra_bytes = p->tally.extra_bytes;
    return write_end(p, err);
}

ucb_status ucb_pack_gguf(const struct ucb_pack_options *options,
                         struct ucb_pack_result *out, struct ucb_err *err)
{
    struct pack p = {
        .options = options, .arch = ucb_model_arch(options->model), .result = out};
    uint8_t unused[UCB_SHA256_BYTES];
    ucb_status status;
    *out = (struct ucb_pack_result){0};
    ucb_tally_begin(&p.tally);
    UCB_TRY_OUT(ucb_gguf_plan_tensors(options, &p.plan, err));
    UCB_TRY_OUT(ucb_gguf_plan_metadata(options, &p.plan, err));
    UCB_TRY_OUT(ucb_out_open(options->out, &p.file, err));
    ucb_progress_start(&p.progress, options->label, (double)p.plan.file_bytes);
    UCB_TRY_OUT(write_all(&p, err));
    ucb_progress_end(&p.progress);
    status = ucb_out_commit(&p.file, err);
out:
    ucb_out_discard(&p.file);
    ucb_loader_watch(options->loader, NULL, NULL);
    ucb_sha256_final(&p.tally.digest, unused);
    ucb_gguf_plan_free(&p.plan);
    return status;
}
