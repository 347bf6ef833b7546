/*
 * packfile_files.c - which files a pack gives back. Of an exact chain the source's own, cut
 * at its tensors; of another one a checkpoint of the same kind that holds the decoded
 * weights and all else as the source has it.
 */
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/text.h"
#include "pack/pack_internal.h"
#include "pack/packfile_write_internal.h"

static ucb_status put_whole(struct ucb_pack_writer *w, const struct ucb_source_file *f,
                            struct ucb_err *err)
{
    struct ucb_file map;
    UCB_TRY(ucb_file_map(f->path, &map, err));
    ucb_pack_begin_file(w);
    ucb_status status = ucb_pack_put_bytes(w, map.data, map.n_bytes, err);
    ucb_file_unmap(&map);
    return status == UCB_OK ? ucb_pack_end_file(w, f->name, f->sha256, err) : status;
}

/* ---- the source's files, byte for byte ---- */

static int by_place(const void *a, const void *b)
{
    const struct ucb_tensor *x = *(const struct ucb_tensor *const *)a,
                            *y = *(const struct ucb_tensor *const *)b;
    return x->data < y->data ? -1 : x->data > y->data;
}

/* Tensors with bytes that lie in [data, data + n_bytes), in the order of the file. */
static ucb_status tensors_of(struct ucb_pack_writer *w, const uint8_t *data,
                             uint64_t n_bytes, const struct ucb_tensor ***list, size_t *n,
                             struct ucb_err *err)
{
    const struct ucb_checkpoint *c = w->options->checkpoint;
    size_t n_all = ucb_checkpoint_n_tensors(c);
    *n = 0;
    *list = UCB_NEW(&w->arena, const struct ucb_tensor *, n_all);
    if (*list == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu tensors", n_all);
    for (size_t i = 0; i < n_all; i++) {
        const struct ucb_tensor *t = ucb_checkpoint_tensor(c, i);
        if (t->n_bytes > 0 && t->data >= data && t->data < data + n_bytes)
            (*list)[(*n)++] = t;
    }
    qsort(*list, *n, sizeof(**list), by_place);
    return UCB_OK;
}

static ucb_status put_exact(struct ucb_pack_writer *w, const struct ucb_source_file *f,
                            struct ucb_err *err)
{
    const uint8_t *data = ucb_checkpoint_file_data(w->options->checkpoint,
                                                   f->in_checkpoint),
                  *at = data;
    const struct ucb_tensor **list;
    size_t n;
    if (data == NULL) return put_whole(w, f, err); /* the index of shards */
    UCB_TRY(tensors_of(w, data, f->n_bytes, &list, &n, err));
    ucb_pack_begin_file(w);
    for (size_t i = 0; i < n; i++) {
        const struct ucb_tensor *t = list[i];
        UCB_TRY(ucb_pack_put_bytes(w, at, (size_t)(t->data - at), err));
        UCB_TRY(ucb_pack_written(w, t, false) != NULL
                    ? ucb_pack_put_made(w, t, t, false, false, err)
                    : ucb_pack_put_tensor(w, t, err));
        at = t->data + t->n_bytes;
    }
    UCB_TRY(ucb_pack_put_bytes(w, at, (size_t)(data + f->n_bytes - at), err));
    return ucb_pack_end_file(w, f->name, f->sha256, err);
}

/* ---- a checkpoint of decoded weights ---- */

static bool head_beside(const struct ucb_pack_writer *w, const struct ucb_tensor **embed)
{
    struct ucb_place place;
    ucb_model_place(w->options->model,
                    ucb_model_matrix(w->options->model, 0, UCB_ROLE_EMBED), &place);
    *embed = place.tensor;
    return ucb_pack_written(w, place.tensor, true) != NULL;
}

static void set_dtype(struct ucb_tensor *t, enum ucb_dtype dtype)
{
    t->dtype = dtype;
    t->n_bytes = t->n_elements / ucb_dtype_block_elements(dtype) *
                 ucb_dtype_block_bytes(dtype);
}

/* A tensor as it will be unpacked. */
static struct ucb_tensor made_of(const struct ucb_pack_writer *w,
                                 const struct ucb_tensor *t)
{
    struct ucb_tensor as = *t;
    const struct ucb_written *x = ucb_pack_written(w, t, false);
    if (x != NULL)
        set_dtype(&as, x->dtype);
    else if (ucb_pack_gain(w, t) != NULL)
        set_dtype(&as, UCB_F32);
    return as;
}

static ucb_status put_tensor(struct ucb_pack_writer *w, const struct ucb_tensor *t,
                             const struct ucb_tensor *as, bool payload, struct ucb_err *err)
{
    const struct ucb_tuned_gain *gain = ucb_pack_gain(w, t);
    if (ucb_pack_written(w, t, false) != NULL)
        return ucb_pack_put_made(w, t, as, false, payload, err);
    return gain != NULL ? ucb_pack_put_gain(w, gain, as, err)
                        : ucb_pack_put_tensor(w, t, err);
}

static const char weights_name[] = "model.safetensors";

static ucb_status put_head(struct ucb_pack_writer *w, const struct ucb_tensor *list,
                           size_t n, struct ucb_err *err)
{
    struct ucb_text header = {0};
    struct ucb_writer bytes = {0};
    ucb_status status = ucb_safetensors_header(weights_name, list, n, &header, err);
    if (status == UCB_OK) {
        ucb_put_u64(&bytes, header.n_chars);
        ucb_put_bytes(&bytes, header.data, header.n_chars);
        status = ucb_writer_status(&bytes, err);
    }
    if (status == UCB_OK) status = ucb_pack_put_bytes(w, bytes.data, bytes.n_bytes, err);
    ucb_writer_free(&bytes);
    ucb_text_free(&header);
    return status;
}

static ucb_status put_safetensors(struct ucb_pack_writer *w, struct ucb_err *err)
{
    const struct ucb_checkpoint *c = w->options->checkpoint;
    size_t n = ucb_checkpoint_n_tensors(c);
    const struct ucb_tensor *embed;
    bool beside = head_beside(w, &embed);
    struct ucb_tensor *list = UCB_NEW(&w->arena, struct ucb_tensor, n + 1);
    if (list == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu tensors", n);
    for (size_t i = 0; i < n; i++) list[i] = made_of(w, ucb_checkpoint_tensor(c, i));
    if (beside) {
        list[n] = *embed;
        list[n].name = "lm_head.weight";
        set_dtype(&list[n], ucb_pack_written(w, embed, true)->dtype);
    }
    ucb_pack_begin_file(w);
    UCB_TRY(put_head(w, list, n + beside, err));
    for (size_t i = 0; i < n; i++)
        if (list[i].n_bytes > 0)
            UCB_TRY(put_tensor(w, ucb_checkpoint_tensor(c, i), &list[i], false, err));
    if (beside) UCB_TRY(ucb_pack_put_made(w, embed, &list[n], true, false, err));
    return ucb_pack_end_file(w, weights_name, NULL, err);
}

/* A head that was tied and is now a tensor of its own. */
static ucb_status put_untied_config(struct ucb_pack_writer *w,
                                    const struct ucb_source_file *f, struct ucb_err *err)
{
    json_t *config;
    UCB_TRY(ucb_json_load(f->path, &config, err));
    json_object_set_new(config, "tie_word_embeddings", json_false());
    char *text = json_dumps(config, JSON_INDENT(2));
    json_decref(config);
    if (text == NULL) return UCB_FAIL(err, UCB_NOMEM, "%s: no memory", f->path);
    ucb_pack_begin_file(w);
    ucb_status status = ucb_pack_put_bytes(w, text, strlen(text), err);
    free(text);
    return status == UCB_OK ? ucb_pack_end_file(w, f->name, NULL, err) : status;
}

static ucb_status put_decoded_folder(struct ucb_pack_writer *w, struct ucb_err *err)
{
    const struct ucb_tensor *embed;
    bool beside = head_beside(w, &embed);
    for (size_t i = 0; i < w->source.n; i++) {
        const struct ucb_source_file *f = &w->source.list[i];
        if (f->in_checkpoint != SIZE_MAX) continue;
        UCB_TRY(beside && strcmp(f->name, "config.json") == 0 ? put_untied_config(w, f, err)
                                                              : put_whole(w, f, err));
    }
    return put_safetensors(w, err);
}

/* ---- a GGUF ---- */

static uint64_t align_up(uint64_t n, uint64_t alignment)
{
    return (n + alignment - 1) / alignment * alignment;
}

/* The plan's dtypes hold but for norms that were tuned. */
static void place_items(struct ucb_pack_writer *w, struct ucb_gguf_plan *plan)
{
    uint64_t at = 0;
    for (size_t i = 0; i < plan->n_items; i++) {
        struct ucb_gguf_item *item = &plan->items[i];
        if (item->source != NULL && ucb_pack_gain(w, item->source) != NULL) {
            item->dtype = UCB_F32;
            item->n_bytes = item->n_elements * sizeof(float);
        }
        item->offset = at;
        at = align_up(at + item->n_bytes, plan->alignment);
    }
    plan->file_bytes = at;
}

static ucb_status put_item(struct ucb_pack_writer *w, const struct ucb_gguf_item *item,
                           struct ucb_err *err)
{
    const struct ucb_tensor *embed;
    struct ucb_tensor as = {.name = item->name,
                            .dtype = item->dtype,
                            .n_dims = item->n_dims,
                            .n_elements = item->n_elements,
                            .n_bytes = item->n_bytes};
    struct ucb_layout layout;
    const struct ucb_written *x;
    memcpy(as.shape, item->shape, sizeof(item->shape));
    if (item->source != NULL) {
        x = ucb_pack_written(w, item->source, false);
        bool payload = x != NULL && ucb_chain_layout(w->options->chain, x->matrix, &layout);
        return put_tensor(w, item->source, &as, payload, err);
    }
    head_beside(w, &embed);
    x = ucb_pack_written(w, embed, true);
    return ucb_pack_put_made(w, embed, &as, true,
                             ucb_chain_layout(w->options->chain, x->matrix, &layout), err);
}

static ucb_status put_items(struct ucb_pack_writer *w, const struct ucb_gguf_plan *plan,
                            struct ucb_err *err)
{
    static const uint8_t zeros[4096];
    uint64_t at = plan->data_begin;
    for (size_t i = 0; i <= plan->n_items; i++) {
        uint64_t next = i < plan->n_items ? plan->data_begin + plan->items[i].offset
                                          : plan->file_bytes;
        for (uint64_t n; at < next; at += n) {
            n = next - at < sizeof(zeros) ? next - at : sizeof(zeros);
            UCB_TRY(ucb_pack_put_bytes(w, zeros, n, err));
        }
        if (i == plan->n_items) break;
        if (plan->items[i].n_bytes > 0) UCB_TRY(put_item(w, &plan->items[i], err));
        at += plan->items[i].n_bytes;
    }
    return UCB_OK;
}

static ucb_status put_gguf_plan(struct ucb_pack_writer *w, const struct ucb_pack_options *o,
                                struct ucb_gguf_plan *plan, struct ucb_err *err)
{
    struct ucb_writer head = {0};
    UCB_TRY(ucb_gguf_plan_tensors(o, plan, err));
    place_items(w, plan);
    UCB_TRY(ucb_gguf_plan_metadata(o, plan, err));
    ucb_pack_begin_file(w);
    ucb_gguf_plan_head(plan, &head);
    ucb_status status = ucb_writer_status(&head, err);
    if (status == UCB_OK) status = ucb_pack_put_bytes(w, head.data, head.n_bytes, err);
    ucb_writer_free(&head);
    if (status == UCB_OK) status = put_items(w, plan, err);
    return status == UCB_OK ? ucb_pack_end_file(w, "model.gguf", NULL, err) : status;
}

static ucb_status put_decoded_gguf(struct ucb_pack_writer *w, struct ucb_err *err)
{
    const struct ucb_packfile_options *o = w->options;
    const struct ucb_pack_options gguf = {.model = o->model,
                                          .chain = o->chain,
                                          .loader = o->loader,
                                          .scope = o->scope,
                                          .out = o->out,
                                          .label = o->label};
    struct ucb_gguf_plan plan = {0};
    ucb_status status = put_gguf_plan(w, &gguf, &plan, err);
    ucb_gguf_plan_free(&plan);
    return status;
}

ucb_status ucb_pack_write_files(struct ucb_pack_writer *w, struct ucb_err *err)
{
    const struct ucb_checkpoint *c = w->options->checkpoint;
    w->kept = UCB_NEW(&w->arena, struct ucb_kept_tensor, ucb_checkpoint_n_tensors(c) + 1);
    if (w->kept == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its lists", w->options->out);
    if (!w->is_exact)
        return ucb_checkpoint_is_gguf(c) ? put_decoded_gguf(w, err)
                                         : put_decoded_folder(w, err);
    for (size_t i = 0; i < w->source.n; i++) {
        const struct ucb_source_file *f = &w->source.list[i];
        UCB_TRY(f->in_checkpoint == SIZE_MAX ? put_whole(w, f, err) : put_exact(w, f, err));
    }
    return UCB_OK;
}
