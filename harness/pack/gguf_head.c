/*
 * gguf_head.c - what stands before the tensors of a GGUF file:
 *
 *     "GGUF" | u32 3 | u64 n_tensors | u64 n_entries
 *     n_entries x entry
 *     n_tensors x { text name | u32 n_dims | u64 dims[], fastest first | u32 type |
 *                   u64 offset }
 *     zeros
 *
 * The entries are the source's, in its order, but for the two that tell what the matrices
 * are stored as (and the numbering of a file that was split and joined again).
 */
#include <string.h>

#include "pack/pack_internal.h"

enum { GGUF_VERSION = 3, QUANTIZATION_VERSION = 2 /* ggml's, of the block types */ };
static const char file_type_key[] = "general.file_type",
                  quantization_key[] = "general.quantization_version";

static bool is_key(const struct ucb_gguf_entry *entry, const char *key)
{
    return entry->key_chars == strlen(key) &&
           memcmp(entry->key, key, entry->key_chars) == 0;
}

static bool has_blocks(const struct ucb_gguf_plan *plan)
{
    for (size_t i = 0; i < plan->n_items; i++)
        if (ucb_dtype_block_elements(plan->items[i].dtype) > 1) return true;
    return false;
}

/* general.file_type: the recipe's or type's own number; of plain dtypes 0, 1 and 32. */
static uint32_t find_file_type(const struct ucb_pack_options *o,
                               const struct ucb_gguf_plan *plan)
{
    uint64_t bytes[UCB_N_DTYPES] = {0};
    struct ucb_layout layout;
    if (ucb_chain_layout(o->chain, ucb_model_matrix(o->model, 0, UCB_ROLE_Q), &layout))
        return layout.file_type;
    for (size_t i = 0; i < plan->n_items; i++)
        bytes[plan->items[i].dtype] += plan->items[i].n_elements;
    if (bytes[UCB_F16] >= bytes[UCB_F32] && bytes[UCB_F16] >= bytes[UCB_BF16]) return 1;
    return bytes[UCB_BF16] >= bytes[UCB_F32] ? 32 : 0;
}

static void put_types(const struct ucb_pack_options *o, struct ucb_gguf_plan *plan,
                      bool file_type, bool quantization)
{
    if (file_type)
        ucb_gguf_put_u32(&plan->metadata, file_type_key, find_file_type(o, plan));
    if (quantization)
        ucb_gguf_put_u32(&plan->metadata, quantization_key, QUANTIZATION_VERSION);
}

static ucb_status copy_metadata(const struct ucb_pack_options *o,
                                struct ucb_gguf_plan *plan, struct ucb_err *err)
{
    const struct ucb_checkpoint *c = ucb_model_checkpoint(o->model);
    size_t n = ucb_checkpoint_n_entries(c);
    bool changes = !ucb_chain_is_none(o->chain), file_type = changes,
         quantization = changes && has_blocks(plan);
    struct ucb_gguf_entry *entries = UCB_NEW(&plan->arena, struct ucb_gguf_entry, n);
    if (entries == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its metadata", o->out);
    ucb_checkpoint_entries(c, entries);
    for (size_t i = 0; i < n; i++) {
        const struct ucb_gguf_entry *entry = &entries[i];
        bool replaced = (file_type && is_key(entry, file_type_key)) ||
                        (quantization && is_key(entry, quantization_key));
        if (entry->key_chars > 6 && memcmp(entry->key, "split.", 6) == 0) continue;
        if (replaced) {
            bool is_type = is_key(entry, file_type_key);
            put_types(o, plan, is_type, !is_type);
            *(is_type ? &file_type : &quantization) = false;
            continue;
        }
        ucb_put_bytes(&plan->metadata.bytes, entry->bytes, entry->n_bytes);
        plan->metadata.n_entries++;
    }
    put_types(o, plan, file_type, quantization); /* where the source has none */
    return UCB_OK;
}

/* general.name: the folder's own. */
static const char *model_name(const struct ucb_pack_options *o, struct ucb_gguf_plan *plan)
{
    const char *path = ucb_model_path(o->model);
    size_t end = strlen(path), begin;
    while (end > 1 && path[end - 1] == '/') end--;
    for (begin = end; begin > 0 && path[begin - 1] != '/';) begin--;
    return ucb_arena_printf(&plan->arena, "%.*s", (int)(end - begin), path + begin);
}

static ucb_status make_metadata(const struct ucb_pack_options *o,
                                struct ucb_gguf_plan *plan, struct ucb_err *err)
{
    const char *name = model_name(o, plan);
    if (name == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its metadata", o->out);
    ucb_gguf_put_arch(&plan->metadata, ucb_model_arch(o->model), name);
    put_types(o, plan, true, has_blocks(plan));
    return ucb_gguf_put_vocabulary(&plan->metadata, o->model, err);
}

void ucb_gguf_plan_head(const struct ucb_gguf_plan *plan, struct ucb_writer *out)
{
    ucb_put_bytes(out, "GGUF", 4);
    ucb_put_u32(out, GGUF_VERSION);
    ucb_put_u64(out, plan->n_items);
    ucb_put_u64(out, plan->metadata.n_entries);
    ucb_put_bytes(out, plan->metadata.bytes.data, plan->metadata.bytes.n_bytes);
    for (size_t i = 0; i < plan->n_items; i++) {
        const struct ucb_gguf_item *item = &plan->items[i];
        ucb_put_u64(out, strlen(item->name));
        ucb_put_bytes(out, item->name, strlen(item->name));
        ucb_put_u32(out, item->n_dims);
        for (uint32_t d = item->n_dims; d-- > 0;) ucb_put_u64(out, item->shape[d]);
        ucb_put_u32(out, ucb_gguf_type_number(item->dtype));
        ucb_put_u64(out, item->offset);
    }
    while (out->n_bytes % plan->alignment != 0 && !out->failed) ucb_put_u8(out, 0);
}

ucb_status ucb_gguf_plan_metadata(const struct ucb_pack_options *o,
                                  struct ucb_gguf_plan *plan, struct ucb_err *err)
{
    struct ucb_writer head = {0};
    bool gguf = ucb_checkpoint_is_gguf(ucb_model_checkpoint(o->model));
    UCB_TRY(gguf ? copy_metadata(o, plan, err) : make_metadata(o, plan, err));
    UCB_TRY(ucb_writer_status(&plan->metadata.bytes, err));
    ucb_gguf_plan_head(plan, &head);
    plan->data_begin = head.n_bytes;
    plan->file_bytes += head.n_bytes;
    ucb_status status = ucb_writer_status(&head, err);
    ucb_writer_free(&head);
    return status;
}
