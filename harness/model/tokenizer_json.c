/*
 * tokenizer_json.c - reads a Hugging Face tokenizer.json whose model is BPE.
 *
 *     added_tokens   id, content, normalized, special, lstrip, rstrip: recognised as they
 *                    are written
 *     normalizer     null, NFC, SentencePiece's Prepend U+2581 and Replace " " by U+2581,
 *                    or a Sequence of those
 *     pre_tokenizer  ByteLevel, Digits, Metaspace without split, Split with a known
 *                    expression (or, after Replace, at a space, where there is none left),
 *                    or a Sequence
 *     model          BPE: vocab {text: id}, merges ["a b"] or [["a", "b"]],
 *                    byte_fallback, ignore_merges
 *
 * The post-processor only adds BOS and EOS, which we never do: of it we keep what it puts
 * first. The decoder, truncation and padding do not concern us. Whatever else would change
 * the ids is refused by name.
 */
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/text.h"
#include "model/tokenizer_parts.h"

/* ---- vocabulary ---- */

/* How far ids may run beyond the number of tokens: some files leave room for later ones. */
enum { ID_SLACK = 1 << 16 };

static ucb_status check_id(const char *text, size_t n_chars, const json_t *id,
                           size_t n_tokens, struct ucb_err *err)
{
    if (!json_is_integer(id))
        return ucb_field_wrong(ucb_show(text, n_chars).text, id, "an integer id", err);
    json_int_t limit = (json_int_t)n_tokens + ID_SLACK, value = json_integer_value(id);
    if (value >= 0 && value < limit) return UCB_OK;
    return UCB_FAIL(
        err, UCB_CORRUPT, "`%s` has the id %lld; %zu tokens need ids from 0 to %lld",
        ucb_show(text, n_chars).text, (long long)value, n_tokens, (long long)limit - 1);
}

/*
 * What the whole vocabulary needs: ids and bytes. Also checks every id and text of the two
 * lists.
 */
static ucb_status measure(json_t *vocab, const json_t *added, uint32_t *n_ids,
                          size_t *n_bytes, struct ucb_err *err)
{
    size_t n_tokens = json_object_size(vocab) + json_array_size(added), i;
    const char *key;
    size_t n_chars;
    json_t *id, *token;
    json_int_t top = -1;
    json_object_keylen_foreach(vocab, key, n_chars, id)
    {
        UCB_TRY(check_id(key, n_chars, id, n_tokens, err));
        if (json_integer_value(id) > top) top = json_integer_value(id);
        *n_bytes += n_chars;
    }
    json_array_foreach(added, i, token)
    {
        const json_t *content = json_object_get(token, "content");
        id = json_object_get(token, "id");
        if (json_string_length(content) == 0)
            return UCB_FAIL(
                err, UCB_CORRUPT,
                "added_tokens[%zu].content is %s, must be a string of 1 byte or more", i,
                ucb_field_kind(content));
        UCB_TRY(check_id(json_string_value(content), json_string_length(content), id,
                         n_tokens, err));
        if (json_integer_value(id) > top) top = json_integer_value(id);
        *n_bytes += json_string_length(content);
    }
    *n_ids = (uint32_t)(top + 1);
    return UCB_OK;
}

/* What would change where the token is found, and a second id for the same text. */
static ucb_status check_added(const json_t *vocab, size_t index, const json_t *token,
                              struct ucb_err *err)
{
    const char *text = json_string_value(json_object_get(token, "content"));
    size_t n = json_string_length(json_object_get(token, "content"));
    json_int_t id = json_integer_value(json_object_get(token, "id"));
    const json_t *twin = json_object_getn(vocab, text, n);
    bool whole_words;
    UCB_TRY(ucb_field_bool(token, "single_word", false, &whole_words, err));
    if (whole_words)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "added_tokens[%zu] `%s` sets single_word, which is not implemented",
                        index, ucb_show(text, n).text);
    if (twin == NULL || json_integer_value(twin) == id) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "added_tokens[%zu] `%s` has the id %lld, in model.vocab it has %lld; "
                    "it needs one id",
                    index, ucb_show(text, n).text, (long long)id,
                    (long long)json_integer_value(twin));
}

/*
 * Added tokens come before model.vocab: what that spells like one of them is the same
 * token, and plain text.
 */
static ucb_status put_added(struct ucb_tokenizer *t, const json_t *vocab, size_t index,
                            const json_t *token, struct ucb_err *err)
{
    const json_t *content = json_object_get(token, "content");
    size_t n = json_string_length(content);
    struct ucb_added_token put = {
        .id = (uint32_t)json_integer_value(json_object_get(token, "id"))};
    bool special, normalized;
    UCB_TRY(check_added(vocab, index, token, err));
    UCB_TRY(ucb_field_bool(token, "special", false, &special, err));
    UCB_TRY(ucb_field_bool(token, "normalized", !special, &normalized, err));
    UCB_TRY(ucb_field_bool(token, "lstrip", false, &put.lstrip, err));
    UCB_TRY(ucb_field_bool(token, "rstrip", false, &put.rstrip, err));
    if (normalized && (put.lstrip || put.rstrip) && !t->normalizer.metaspace &&
        t->normalizer.spaces) /* which leaves no white space but line ends to take */
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "added_tokens[%zu] `%s` is normalized and sets lstrip or rstrip, "
                        "which is not implemented where spaces become U+2581",
                        index, ucb_show(json_string_value(content), n).text);
    UCB_TRY(ucb_vocab_put(&t->vocab, put.id, json_string_value(content), n,
                          special ? UCB_TOKEN_CONTROL : UCB_TOKEN_USER, err));
    put.text = t->vocab.tokens[put.id].text; /* lives as long as the tokenizer */
    if (normalized)
        UCB_TRY(ucb_normalize(&t->normalizer, put.text, n, &t->memory, &put.text, &n, err));
    put.n_bytes = (uint32_t)n;
    ucb_added_put(normalized ? &t->added_normalized : &t->added_raw, put);
    return UCB_OK;
}

static ucb_status put_all_added(struct ucb_tokenizer *t, const json_t *vocab,
                                const json_t *added, struct ucb_err *err)
{
    size_t n = json_array_size(added), i;
    const json_t *token;
    UCB_TRY(ucb_added_reserve(&t->added_raw, n, &t->memory, err));
    UCB_TRY(ucb_added_reserve(&t->added_normalized, n, &t->memory, err));
    json_array_foreach(added, i, token) UCB_TRY(put_added(t, vocab, i, token, err));
    UCB_TRY(ucb_added_sort(&t->added_raw, err));
    return ucb_added_sort(&t->added_normalized, err);
}

static ucb_status put_vocab(struct ucb_tokenizer *t, json_t *vocab, struct ucb_err *err)
{
    const char *key;
    size_t n_chars;
    json_t *value;
    json_object_keylen_foreach(vocab, key, n_chars, value)
    {
        uint32_t id = (uint32_t)json_integer_value(value);
        struct ucb_token *token = &t->vocab.tokens[id];
        bool added = token->kind != UCB_TOKEN_ABSENT && token->n_bytes == n_chars &&
                     memcmp(token->text, key, n_chars) == 0;
        bool byte = t->by_char && ucb_byte_token(key, n_chars) >= 0;
        if (!added)
            UCB_TRY(ucb_vocab_put(&t->vocab, id, key, n_chars,
                                  byte ? UCB_TOKEN_BYTE : UCB_TOKEN_NORMAL, err));
        /* Gemma's runs of spaces are added tokens, and what merges make too. */
        if (added && t->by_char) UCB_TRY(ucb_tokenizer_respell(t, id, err));
        if (token->kind == UCB_TOKEN_BYTE || token->kind == UCB_TOKEN_UNUSED) continue;
        uint32_t twin = ucb_vocab_index(&t->vocab, id);
        if (twin != UCB_NO_ID)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "ids %u and %u stand for the same bytes `%s`; they need one id",
                            (unsigned)twin, (unsigned)id,
                            ucb_show(token->text, token->n_bytes).text);
    }
    return UCB_OK;
}

static ucb_status read_vocab(struct ucb_tokenizer *t, json_t *model, const json_t *added,
                             struct ucb_err *err)
{
    json_t *vocab = json_object_get(model, "vocab");
    uint32_t n_ids = 0;
    size_t n_bytes = 0;
    if (json_object_size(vocab) == 0)
        return ucb_field_wrong("model.vocab", vocab, "an object with one token or more",
                               err);
    if (!ucb_field_absent(added) && !json_is_array(added))
        return ucb_field_wrong("added_tokens", added, "an array", err);
    UCB_TRY(measure(vocab, added, &n_ids, &n_bytes, err));
    UCB_TRY(ucb_vocab_reserve(&t->vocab, n_ids, n_bytes, &t->memory, err));
    UCB_TRY(put_all_added(t, vocab, added, err));
    UCB_TRY(put_vocab(t, vocab, err));
    ucb_tokenizer_find_bytes(t);
    return UCB_OK;
}

/* ---- model ---- */

/* "a b", or ["a", "b"] as newer files have it. */
static ucb_status read_merge(struct ucb_tokenizer *t, uint32_t rank, const json_t *merge,
                             struct ucb_err *err)
{
    const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    if (json_array_size(merge) == 2 && json_is_string(left) && json_is_string(right))
        return ucb_bpe_merge(t, rank, json_string_value(left), json_string_length(left),
                             json_string_value(right), json_string_length(right), err);
    const char *text = json_string_value(merge);
    const char *space = text == NULL ? NULL : strchr(text, ' ');
    if (space == NULL || strchr(space + 1, ' ') != NULL ||
        strlen(text) != json_string_length(merge))
        return UCB_FAIL(
            err, UCB_CORRUPT, "%s, must be \"left right\" or [\"left\", \"right\"]",
            text == NULL ? ucb_field_kind(merge) : ucb_show(text, strlen(text)).text);
    return ucb_bpe_merge(t, rank, text, (size_t)(space - text), space + 1,
                         strlen(space + 1), err);
}

static ucb_status read_merges(struct ucb_tokenizer *t, const json_t *model,
                              struct ucb_err *err)
{
    const json_t *merges = json_object_get(model, "merges"), *merge;
    size_t i;
    if (!json_is_array(merges))
        return ucb_field_wrong("model.merges", merges, "an array", err);
    if (json_array_size(merges) >= UCB_NO_ID)
        return UCB_FAIL(err, UCB_CORRUPT, "model.merges has more than %u entries",
                        UCB_NO_ID - 1);
    UCB_TRY(ucb_pairs_reserve(&t->pairs, json_array_size(merges), &t->memory, err));
    json_array_foreach(merges, i, merge)
    {
        ucb_status status = read_merge(t, (uint32_t)i, merge, err);
        if (status != UCB_OK) {
            ucb_err_prefix(err, "model.merges[%zu]", i);
            return status;
        }
    }
    t->rule = ucb_bpe_rule;
    return UCB_OK;
}

/* Fields of the model that would change the ids, and that no supported tokenizer sets. */
static ucb_status check_model(const json_t *model, struct ucb_err *err)
{
    static const char *const known[] = {"BPE"};
    static const char *const unset[] = {"dropout", "continuing_subword_prefix",
                                        "end_of_word_suffix"};
    const json_t *type = json_object_get(model, "type");
    if (!json_is_object(model)) return ucb_field_wrong("model", model, "an object", err);
    /* Files older than the field hold BPE; merges, which only BPE has, must be there. */
    if (type != NULL && strcmp(ucb_field_type(model), "BPE") != 0)
        return ucb_field_unknown("model", model, known, 1, err);
    for (size_t i = 0; i < sizeof(unset) / sizeof(unset[0]); i++) {
        const json_t *value = json_object_get(model, unset[i]);
        bool empty = json_is_string(value) && json_string_length(value) == 0;
        bool zero = json_is_number(value) && json_number_value(value) == 0;
        if (!ucb_field_absent(value) && !empty && !zero)
            return UCB_FAIL(err, UCB_UNSUPPORTED,
                            "model.%s is set, which is not implemented", unset[i]);
    }
    return UCB_OK;
}

/*
 * Where a byte has no token, Hugging Face uses unk_token if there is one; that, no
 * byte-level tokenizer we know needs.
 */
static ucb_status check_bytes(const struct ucb_tokenizer *t, const json_t *model,
                              struct ucb_err *err)
{
    bool has_unknown = !ucb_field_absent(json_object_get(model, "unk_token"));
    for (int b = 0; b < 256; b++) {
        if (t->byte_ids[b] != UCB_NO_ID || (!t->by_char && !has_unknown)) continue;
        return UCB_FAIL(
            err, UCB_UNSUPPORTED,
            "model.vocab has no token for the byte 0x%02x, and model.%s; every byte needs "
            "one then",
            b, t->by_char ? "byte_fallback is set" : "unk_token would stand for it");
    }
    return UCB_OK;
}

static ucb_status read_model(struct ucb_tokenizer *t, const json_t *root,
                             struct ucb_err *err)
{
    json_t *model = json_object_get(root, "model");
    UCB_TRY(check_model(model, err));
    UCB_TRY(ucb_field_bool(model, "ignore_merges", false, &t->whole_pieces, err));
    UCB_TRY(read_vocab(t, model, json_object_get(root, "added_tokens"), err));
    UCB_TRY(check_bytes(t, model, err));
    UCB_TRY(read_merges(t, model, err));
    return t->by_char ? ucb_spm_cut_words(t, err) : UCB_OK;
}

/* ---- post-processor ---- */

static uint32_t find_added(const struct ucb_tokenizer *t, const char *text)
{
    for (uint32_t id = 0; id < t->vocab.n_ids; id++) {
        const struct ucb_token *token = &t->vocab.tokens[id];
        if (token->n_bytes == strlen(text) &&
            memcmp(token->text, text, token->n_bytes) == 0)
            return id;
    }
    return UCB_NO_ID;
}

static void read_template(struct ucb_tokenizer *t, const json_t *processor)
{
    const json_t *first = json_array_get(json_object_get(processor, "single"), 0);
    const char *text = json_string_value(
        json_object_get(json_object_get(first, "SpecialToken"), "id"));
    if (ucb_field_is(processor, "type", "TemplateProcessing") && text != NULL)
        t->template_first = find_added(t, text);
}

/* A TemplateProcessing alone or in a Sequence; other processors put nothing
 * before a text. */
static void read_post_processor(struct ucb_tokenizer *t, const json_t *processor)
{
    const json_t *one;
    size_t i;
    read_template(t, processor);
    json_array_foreach(json_object_get(processor, "processors"), i, one)
        read_template(t, one);
}

ucb_status ucb_tokenizer_parse_json(struct ucb_tokenizer *t, const char *name,
                                    const char *text, size_t n_bytes, struct ucb_err *err)
{
    json_t *root;
    ucb_status status;
    UCB_TRY(ucb_json_parse(name, text, n_bytes, &root, err));
    if (!json_is_object(root))
        status = ucb_field_wrong("the file", root, "an object", err);
    else
        status = ucb_tokenizer_read_parts(t, root, err);
    if (status == UCB_OK) status = read_model(t, root, err);
    if (status == UCB_OK) read_post_processor(t, json_object_get(root, "post_processor"));
    if (status != UCB_OK) ucb_err_prefix(err, "%s", name);
    json_decref(root);
    return status;
}

/* ---- the BOS token stands in files beside ---- */

/* "<s>", or {"content": "<s>"} as older files have it. */
static const char *bos_text(const json_t *config)
{
    const json_t *bos = json_object_get(config, "bos_token");
    return json_string_value(json_is_object(bos) ? json_object_get(bos, "content") : bos);
}

static ucb_status load_beside(const char *path, const char *name, json_t **out,
                              struct ucb_err *err)
{
    char beside[4096];
    const char *slash = strrchr(path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    int n = snprintf(beside, sizeof(beside), "%.*s%s", (int)folder, path, name);
    *out = NULL;
    if (n < 0 || (size_t)n >= sizeof(beside)) return UCB_OK;
    ucb_status status = ucb_json_load(beside, out, err);
    return status == UCB_MISSING ? UCB_OK : status;
}

/* bos_token_id of config.json, where the tokenizer's own file names none. */
static ucb_status read_bos_id(struct ucb_tokenizer *t, const char *path,
                              struct ucb_err *err)
{
    json_t *config;
    UCB_TRY(load_beside(path, "config.json", &config, err));
    const json_t *id = json_object_get(config, "bos_token_id");
    if (json_is_integer(id) && json_integer_value(id) >= 0 &&
        json_integer_value(id) < t->vocab.n_ids)
        t->bos = (uint32_t)json_integer_value(id);
    json_decref(config);
    return UCB_OK;
}

static ucb_status read_bos(struct ucb_tokenizer *t, const char *path, struct ucb_err *err)
{
    json_t *config;
    ucb_status status = UCB_OK;
    UCB_TRY(load_beside(path, "tokenizer_config.json", &config, err));
    if (bos_text(config) != NULL) t->bos = find_added(t, bos_text(config));
    if (t->bos == UCB_NO_ID) status = read_bos_id(t, path, err);
    if (status == UCB_OK) {
        status = ucb_field_bool(config, "add_bos_token", t->template_first == t->bos,
                                &t->adds_bos, err);
        if (status != UCB_OK) ucb_err_prefix(err, "tokenizer_config.json beside %s", path);
    }
    json_decref(config);
    return status;
}

ucb_status ucb_tokenizer_read_json(struct ucb_tokenizer *t, const char *path,
                                   struct ucb_err *err)
{
    struct ucb_file file;
    UCB_TRY(ucb_file_map(path, &file, err));
    ucb_status status = ucb_tokenizer_parse_json(
        t, path, file.data == NULL ? "" : (const char *)file.data, file.n_bytes, err);
    ucb_file_unmap(&file);
    return status != UCB_OK ? status : read_bos(t, path, err);
}
