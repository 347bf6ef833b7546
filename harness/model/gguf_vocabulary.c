/*
 * gguf_vocabulary.c - the tokenizer.* entries of a GGUF for a safetensors model.
 *
 * A vocabulary.gguf beside the weights is copied. A tokenizer.json is spelled anew: GGUF
 * has one list of tokens by id, a kind for each, the merges as "left right", and a single
 * name for normalizer and pretokenizer together, so only tokenizers with such a name can be
 * written. Ids that no token has, up to the rows of the embedding, become "[PAD<id>]".
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/json.h"
#include "core/text.h"
#include "model/gguf_layout.h"
#include "model/model_internal.h"
#include "model/tokenizer_internal.h"

enum { TYPE_I32 = 5, TYPE_STRING = 8, TYPE_ARRAY = 9 };
#define KEY(name) "tokenizer.ggml." name

struct entry {
    const char *text;
    size_t n_chars;
    enum ucb_token_kind kind; /* ABSENT: no token has this id */
};

struct vocabulary {
    struct ucb_arena arena;
    struct ucb_gguf_metadata *out;
    const struct ucb_model *model;
    const char *json_path;
    struct ucb_tokenizer *tokenizer;
    json_t *root, *config,
        *settings;         /* tokenizer.json, config.json, tokenizer_config.json */
    struct entry *entries; /* one an id of the embedding */
    uint32_t n_ids;
};

/* ---- vocabulary.gguf ---- */

static ucb_status copy_entries(const struct ucb_checkpoint *c, const char *path,
                               struct ucb_gguf_metadata *out, struct ucb_err *err)
{
    size_t n = ucb_checkpoint_n_entries(c);
    struct ucb_gguf_entry *entries = ucb_mem_alloc(n * sizeof(*entries));
    if (entries == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its entries", path);
    ucb_checkpoint_entries(c, entries);
    for (size_t i = 0; i < n; i++) {
        if (entries[i].key_chars < 10 || memcmp(entries[i].key, "tokenizer.", 10) != 0)
            continue;
        ucb_put_bytes(&out->bytes, entries[i].bytes, entries[i].n_bytes);
        out->n_entries++;
    }
    ucb_mem_free(entries);
    return UCB_OK;
}

static ucb_status copy_vocabulary(const char *path, struct ucb_gguf_metadata *out,
                                  struct ucb_err *err)
{
    struct ucb_checkpoint *c;
    UCB_TRY(ucb_checkpoint_open(path, &c, err));
    ucb_status status = copy_entries(c, path, out, err);
    ucb_checkpoint_close(c);
    return status;
}

/* ---- tokenizer.json ---- */

static ucb_status set_entry(struct vocabulary *v, const char *text, size_t n_chars,
                            json_int_t id, enum ucb_token_kind kind, struct ucb_err *err)
{
    if (id < 0 || id >= v->n_ids)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: `%s` has the id %lld, and the embedding has %u rows: a GGUF "
                        "holds as many tokens as rows",
                        v->json_path, ucb_show(text, n_chars).text, (long long)id,
                        v->n_ids);
    v->entries[id] = (struct entry){text, n_chars, kind};
    return UCB_OK;
}

/* Added tokens may give a token of the vocabulary another kind. */
static ucb_status list_tokens(struct vocabulary *v, struct ucb_err *err)
{
    json_t *vocab = json_object_get(json_object_get(v->root, "model"), "vocab"), *id, *one;
    const char *key;
    size_t n_chars, i;
    v->entries = UCB_NEW(&v->arena, struct entry, v->n_ids);
    if (v->entries == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %u tokens", v->json_path,
                        v->n_ids);
    json_object_keylen_foreach(vocab, key, n_chars, id)
        UCB_TRY(set_entry(v, key, n_chars, json_integer_value(id), UCB_TOKEN_NORMAL, err));
    json_array_foreach(json_object_get(v->root, "added_tokens"), i, one)
    {
        const json_t *content = json_object_get(one, "content");
        bool special = json_is_true(json_object_get(one, "special"));
        UCB_TRY(set_entry(v, json_string_value(content), json_string_length(content),
                          json_integer_value(json_object_get(one, "id")),
                          special ? UCB_TOKEN_CONTROL : UCB_TOKEN_USER, err));
    }
    return UCB_OK;
}

static void put_array(struct ucb_gguf_metadata *m, const char *key, uint32_t element_type,
                      uint64_t n)
{
    ucb_put_u64(&m->bytes, strlen(key));
    ucb_put_bytes(&m->bytes, key, strlen(key));
    ucb_put_u32(&m->bytes, TYPE_ARRAY);
    ucb_put_u32(&m->bytes, element_type);
    ucb_put_u64(&m->bytes, n);
    m->n_entries++;
}

static void put_element(struct ucb_gguf_metadata *m, const char *text, size_t n_chars)
{
    ucb_put_u64(&m->bytes, n_chars);
    ucb_put_bytes(&m->bytes, text, n_chars);
}

static void put_tokens(struct vocabulary *v)
{
    char pad[32];
    put_array(v->out, KEY("tokens"), TYPE_STRING, v->n_ids);
    for (uint32_t id = 0; id < v->n_ids; id++) {
        const struct entry *e = &v->entries[id];
        snprintf(pad, sizeof(pad), "[PAD%u]", id);
        if (e->kind == UCB_TOKEN_ABSENT)
            put_element(v->out, pad, strlen(pad));
        else
            put_element(v->out, e->text, e->n_chars);
    }
    put_array(v->out, KEY("token_type"), TYPE_I32, v->n_ids);
    for (uint32_t id = 0; id < v->n_ids; id++) {
        enum ucb_token_kind kind = v->entries[id].kind;
        ucb_put_u32(&v->out->bytes, kind == UCB_TOKEN_ABSENT ? UCB_TOKEN_UNUSED : kind);
    }
}

/* "left right", or ["left", "right"] in newer files; the reader has checked them. */
static void put_merges(struct vocabulary *v)
{
    const json_t *merges = json_object_get(json_object_get(v->root, "model"), "merges"),
                 *merge;
    size_t i;
    put_array(v->out, KEY("merges"), TYPE_STRING, json_array_size(merges));
    json_array_foreach(merges, i, merge)
    {
        if (json_is_string(merge)) {
            put_element(v->out, json_string_value(merge), json_string_length(merge));
            continue;
        }
        const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        ucb_put_u64(&v->out->bytes,
                    json_string_length(left) + 1 + json_string_length(right));
        ucb_put_bytes(&v->out->bytes, json_string_value(left), json_string_length(left));
        ucb_put_u8(&v->out->bytes, ' ');
        ucb_put_bytes(&v->out->bytes, json_string_value(right), json_string_length(right));
    }
}

/* "<s>", or {"content": "<s>"}: the id of such a setting, or UCB_NO_ID. */
static uint32_t find_setting(const struct vocabulary *v, const char *name)
{
    const json_t *value = json_object_get(v->settings, name);
    if (json_is_object(value)) value = json_object_get(value, "content");
    for (uint32_t id = 0; id < v->n_ids && json_is_string(value); id++)
        if (v->entries[id].kind != UCB_TOKEN_ABSENT &&
            v->entries[id].n_chars == json_string_length(value) &&
            memcmp(v->entries[id].text, json_string_value(value), v->entries[id].n_chars) ==
                0)
            return id;
    return UCB_NO_ID;
}

/* Of several ids the first. */
static uint32_t find_config_id(const struct vocabulary *v, const char *name)
{
    const json_t *value = json_object_get(v->config, name);
    if (json_is_array(value)) value = json_array_get(value, 0);
    return json_is_integer(value) && json_integer_value(value) >= 0 &&
                   json_integer_value(value) < v->n_ids
               ? (uint32_t)json_integer_value(value)
               : UCB_NO_ID;
}

static void put_ids(struct vocabulary *v)
{
    static const struct {
        const char *key, *setting, *config;
    } ids[] = {
        {KEY("eos_token_id"), "eos_token", "eos_token_id"},
        {KEY("padding_token_id"), "pad_token", "pad_token_id"},
    };
    const json_t *chat = json_object_get(v->settings, "chat_template");
    uint32_t bos = ucb_tokenizer_bos(v->tokenizer);
    if (bos != UCB_NO_ID) ucb_gguf_put_u32(v->out, KEY("bos_token_id"), bos);
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        uint32_t id = find_setting(v, ids[i].setting);
        if (id == UCB_NO_ID) id = find_config_id(v, ids[i].config);
        if (id != UCB_NO_ID) ucb_gguf_put_u32(v->out, ids[i].key, id);
    }
    ucb_gguf_put_bool(v->out, KEY("add_bos_token"), ucb_tokenizer_adds_bos(v->tokenizer));
    if (json_is_string(chat))
        ucb_gguf_put_text(v->out, "tokenizer.chat_template", json_string_value(chat),
                          json_string_length(chat));
}

static ucb_status make_vocabulary(struct vocabulary *v, struct ucb_err *err)
{
    const char *pre;
    UCB_TRY(ucb_tokenizer_open(v->json_path, &v->tokenizer, err));
    pre = ucb_tokenizer_gguf_pre(v->tokenizer);
    if (pre == NULL)
        return UCB_FAIL(
            err, UCB_UNSUPPORTED,
            "%s: a GGUF has no name for this tokenizer among those that are written (gpt-2, "
            "smollm, llama-bpe, qwen2); convert the model with llama.cpp's own script, and "
            "pack that GGUF",
            v->json_path);
    UCB_TRY(ucb_json_load(v->json_path, &v->root, err));
    UCB_TRY(list_tokens(v, err));
    ucb_gguf_put_text(v->out, KEY("model"), "gpt2", 4);
    ucb_gguf_put_text(v->out, KEY("pre"), pre, strlen(pre));
    put_tokens(v);
    put_merges(v);
    put_ids(v);
    return UCB_OK;
}

static ucb_status beside(struct vocabulary *v, const char *name, const char **out,
                         struct ucb_err *err)
{
    const char *config = v->model->config_path, *slash = strrchr(config, '/');
    int n_folder = slash == NULL ? 0 : (int)(slash + 1 - config);
    *out = ucb_arena_printf(&v->arena, "%.*s%s", n_folder, config, name);
    return *out != NULL ? UCB_OK
                        : UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a path", config);
}

static ucb_status load_settings(struct vocabulary *v, struct ucb_err *err)
{
    const char *path;
    UCB_TRY(ucb_json_load(v->model->config_path, &v->config, err));
    UCB_TRY(beside(v, "tokenizer_config.json", &path, err));
    return access(path, R_OK) == 0 ? ucb_json_load(path, &v->settings, err) : UCB_OK;
}

ucb_status ucb_gguf_put_vocabulary(struct ucb_gguf_metadata *m,
                                   const struct ucb_model *model, struct ucb_err *err)
{
    struct vocabulary v = {.out = m, .model = model, .n_ids = model->arch.vocabulary};
    const char *gguf;
    ucb_status status;
    ucb_arena_init(&v.arena);
    UCB_TRY_OUT(beside(&v, "tokenizer.json", &v.json_path, err));
    UCB_TRY_OUT(beside(&v, "vocabulary.gguf", &gguf, err));
    if (access(v.json_path, R_OK) != 0 && access(gguf, R_OK) == 0) {
        status = copy_vocabulary(gguf, m, err);
        goto out;
    }
    UCB_TRY_OUT(load_settings(&v, err));
    status = make_vocabulary(&v, err);
out:
    json_decref(v.root);
    json_decref(v.config);
    json_decref(v.settings);
    ucb_tokenizer_close(v.tokenizer);
    ucb_arena_free(&v.arena);
    return status;
}
