/*
 * gguf_vocabulary.c - the tokenizer.* entries of a GGUF for a safetensors model.
 *
 * A vocabulary.gguf beside the weights is copied. A tokenizer.json is spelled anew: GGUF
 * has one list of tokens by id and a kind for each; ids that no token has, up to the rows
 * of the embedding, become "[PAD<id>]".
 *
 * Byte-level BPE ("gpt2"): the merges as "left right", and a single name for normalizer and
 * pretokenizer together, so only tokenizers with such a name can be written.
 *
 * SentencePiece ("llama"): no merges; two neighbours merge when their joint text is a
 * token, by the score of that token. A list of merges says the same when those of one
 * result stand together and no such pair is left out; lists made from SentencePiece files
 * are so, and others are refused.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/json.h"
#include "core/text.h"
#include "model/gguf_layout.h"
#include "model/model_internal.h"
#include "model/tokenizer_internal.h"

enum { TYPE_I32 = 5, TYPE_F32 = 6, TYPE_STRING = 8, TYPE_ARRAY = 9 };
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

static bool is_pieces(const struct vocabulary *v)
{
    return v->tokenizer->by_char;
}

static enum ucb_token_kind kind_in_vocab(const struct vocabulary *v, const char *text,
                                         size_t n_chars)
{
    return is_pieces(v) && ucb_byte_token(text, n_chars) >= 0 ? UCB_TOKEN_BYTE
                                                              : UCB_TOKEN_NORMAL;
}

/* An added token may be one of the vocabulary, with another kind. But SentencePiece's runs
 * of spaces stay normal: merges make them out of a text's spaces, while as user tokens they
 * would be looked for as they are spelled. */
static enum ucb_token_kind kind_of_added(const struct vocabulary *v, const json_t *token)
{
    const json_t *model = json_object_get(v->root, "model"),
                 *content = json_object_get(token, "content"),
                 *unknown = json_object_get(model, "unk_token");
    const char *text = json_string_value(content);
    bool in_vocab = json_object_get(json_object_get(model, "vocab"), text) != NULL;
    if (is_pieces(v) && json_is_string(unknown) && json_equal(content, unknown))
        return UCB_TOKEN_UNKNOWN;
    if (json_is_true(json_object_get(token, "special"))) return UCB_TOKEN_CONTROL;
    return is_pieces(v) && in_vocab && strstr(text, "\xe2\x96\x81") != NULL
               ? UCB_TOKEN_NORMAL
               : UCB_TOKEN_USER;
}

static ucb_status list_tokens(struct vocabulary *v, struct ucb_err *err)
{
    json_t *vocab = json_object_get(json_object_get(v->root, "model"), "vocab"), *id, *one;
    const char *key;
    size_t n_chars, i;
    v->entries = UCB_NEW(&v->arena, struct entry, v->n_ids);
    if (v->entries == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %u tokens", v->json_path,
                        v->n_ids);
    json_object_keylen_foreach(vocab, key, n_chars, id) UCB_TRY(set_entry(
        v, key, n_chars, json_integer_value(id), kind_in_vocab(v, key, n_chars), err));
    json_array_foreach(json_object_get(v->root, "added_tokens"), i, one)
    {
        const json_t *content = json_object_get(one, "content");
        UCB_TRY(set_entry(v, json_string_value(content), json_string_length(content),
                          json_integer_value(json_object_get(one, "id")),
                          kind_of_added(v, one), err));
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

/* ---- scores for SentencePiece ---- */

/* The ranks of the merges that make one token. */
struct made {
    uint32_t first, last, n; /* n 0: none does */
};

static ucb_status no_scores(const struct vocabulary *v, uint32_t id, const char *why,
                            struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "%s: the merges of `%s` %s; a GGUF of this kind holds a score for each "
                    "token in place of merges, and cannot say that",
                    v->json_path,
                    ucb_show(v->entries[id].text, v->entries[id].n_chars).text, why);
}

static ucb_status rank_tokens(struct vocabulary *v, struct made *made, struct ucb_err *err)
{
    const struct ucb_pairs *pairs = &v->tokenizer->pairs;
    for (size_t i = 0; i < pairs->n_slots; i++) {
        const struct ucb_pair *pair = &pairs->slots[i];
        if (pair->rank == UCB_NO_ID) continue;
        struct made *m = &made[pair->merged];
        if (m->n++ == 0) m->first = m->last = pair->rank;
        if (pair->rank < m->first) m->first = pair->rank;
        if (pair->rank > m->last) m->last = pair->rank;
    }
    for (uint32_t id = 0; id < v->n_ids; id++)
        if (made[id].n > 0 && made[id].last - made[id].first + 1 != made[id].n)
            return no_scores(v, id, "do not stand together", err);
    return UCB_OK;
}

/* The normal token with these bytes, or UCB_NO_ID. */
static uint32_t find_normal(const struct vocabulary *v, const char *text, size_t n_bytes)
{
    uint32_t id = ucb_vocab_find(&v->tokenizer->vocab, text, n_bytes);
    return id != UCB_NO_ID && v->entries[id].kind == UCB_TOKEN_NORMAL ? id : UCB_NO_ID;
}

/* Every pair of tokens whose joint text is this token is a merge. */
static ucb_status check_splits(const struct vocabulary *v, uint32_t id, struct ucb_err *err)
{
    const struct ucb_token *token = &v->tokenizer->vocab.tokens[id];
    for (uint32_t at = 1; at < token->n_bytes; at++) {
        struct ucb_symbol left = {.id = find_normal(v, token->text, at)},
                          right = {
                              .id = find_normal(v, token->text + at, token->n_bytes - at)};
        uint32_t rank, merged;
        if (left.id == UCB_NO_ID || right.id == UCB_NO_ID) continue;
        if (!ucb_bpe_rule(v->tokenizer, token->text, &left, &right, &rank, &merged))
            return no_scores(v, id, "leave out a pair that spells it", err);
    }
    return UCB_OK;
}

/* Earlier merges have higher scores; what no merge makes is never compared. */
static ucb_status put_scores(struct vocabulary *v, struct ucb_err *err)
{
    struct made *made = UCB_NEW(&v->arena, struct made, v->n_ids);
    if (made == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for the scores of %u ids",
                        v->json_path, v->n_ids);
    UCB_TRY(rank_tokens(v, made, err));
    for (uint32_t id = 0; id < ucb_tokenizer_n_ids(v->tokenizer); id++)
        if (v->entries[id].kind == UCB_TOKEN_NORMAL) UCB_TRY(check_splits(v, id, err));
    put_array(v->out, KEY("scores"), TYPE_F32, v->n_ids);
    for (uint32_t id = 0; id < v->n_ids; id++)
        ucb_put_f32(&v->out->bytes, made[id].n == 0 ? 0.0f : -1.0f - (float)made[id].first);
    return UCB_OK;
}

/* ---- ids of special tokens ---- */

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

/* What SentencePiece has and byte-level BPE has not. */
static ucb_status put_pieces(struct vocabulary *v, struct ucb_err *err)
{
    ucb_gguf_put_text(v->out, KEY("model"), "llama", 5);
    ucb_gguf_put_text(v->out, KEY("pre"), "default", 7);
    put_tokens(v);
    UCB_TRY(put_scores(v, err));
    for (uint32_t id = 0; id < v->n_ids; id++)
        if (v->entries[id].kind == UCB_TOKEN_UNKNOWN)
            ucb_gguf_put_u32(v->out, KEY("unknown_token_id"), id);
    ucb_gguf_put_bool(v->out, KEY("add_space_prefix"), v->tokenizer->normalizer.prefix);
    put_ids(v);
    return UCB_OK;
}

/* SentencePiece cuts a text nowhere, and spm.c where it makes no difference. */
static ucb_status check_pieces(const struct vocabulary *v, struct ucb_err *err)
{
    const struct ucb_tokenizer *t = v->tokenizer;
    bool plain = !t->normalizer.nfc && !t->whole_pieces && !t->normalizer.metaspace;
    for (size_t i = 0; i < t->pretok.n_steps; i++)
        plain &= t->pretok.steps[i].known && strcmp(t->pretok.steps[i].name, "words") == 0;
    if (plain) return UCB_OK;
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "%s: SentencePiece with Unicode NFC, ignore_merges or a pretokenizer, "
                    "which no GGUF says",
                    v->json_path);
}

static ucb_status make_vocabulary(struct vocabulary *v, struct ucb_err *err)
{
    const char *pre;
    UCB_TRY(ucb_tokenizer_open(v->json_path, &v->tokenizer, err));
    if (is_pieces(v)) {
        UCB_TRY(check_pieces(v, err));
        UCB_TRY(ucb_json_load(v->json_path, &v->root, err));
        UCB_TRY(list_tokens(v, err));
        return put_pieces(v, err);
    }
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
