/*
 * tokenizer_gguf.c - reads a vocabulary out of GGUF metadata.
 *
 *     tokenizer.ggml.model        "gpt2": byte-level BPE; "llama": SentencePiece BPE
 *     tokenizer.ggml.pre          the pretokenizer of a "gpt2" vocabulary: the table below
 *     tokenizer.ggml.tokens       one text an id, spelled as in its original file
 *     tokenizer.ggml.token_type   one int32 an id: enum ucb_token_kind; absent: normal
 *     tokenizer.ggml.merges       "gpt2": "left right", in order
 *     tokenizer.ggml.scores       "llama": one float an id, higher merges earlier
 *     tokenizer.ggml.add_bos_token   absent: what llama.cpp takes for the vocabulary's kind
 */
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/text.h"
#include "model/checkpoint.h"
#include "model/tokenizer_internal.h"

#define KEY(name) "tokenizer.ggml." name

/* What the name in tokenizer.ggml.pre stands for; GGUF has no other place for it. */
static const struct pre {
    const char *name, *steps[2];
    bool nfc, whole_pieces, adds_bos;
} pres[] = {
    {"gpt-2", {"gpt2"}, false, false, false},
    {"smollm", {"digit", "gpt2"}, false, false, false},
    {"starcoder", {"digit", "gpt2"}, false, false, false},
    {"llama-bpe", {"llama3"}, false, true, true},
    {"llama3", {"llama3"}, false, true, true},
    {"llama-v3", {"llama3"}, false, true, true},
    /* its tokenizer normalizes; llama.cpp, which named it, does not */
    {"qwen2", {"qwen2"}, true, false, false},
};
enum { N_PRES = sizeof(pres) / sizeof(pres[0]) };

/*
 * A string of metadata as a C string; "" when absent, cut at 63 characters, more than any
 * known name has.
 */
struct word {
    char text[64];
};
static struct word get_word(const struct ucb_checkpoint *c, const char *key)
{
    struct word word = {""};
    const char *text;
    size_t n;
    if (ucb_checkpoint_string(c, key, &text, &n))
        snprintf(word.text, sizeof(word.text), "%.*s", (int)(n < 63 ? n : 63), text);
    return word;
}

static ucb_status set_pre(struct ucb_tokenizer *t, const struct ucb_checkpoint *c,
                          struct ucb_err *err)
{
    const char *names[N_PRES];
    char near[256];
    struct word pre = get_word(c, KEY("pre"));
    for (size_t i = 0; i < N_PRES; i++) {
        names[i] = pres[i].name;
        if (strcmp(pres[i].name, pre.text) != 0) continue;
        t->normalizer.nfc = pres[i].nfc;
        t->whole_pieces = pres[i].whole_pieces;
        t->adds_bos = pres[i].adds_bos;
        for (size_t k = 0; k < 2 && pres[i].steps[k] != NULL; k++)
            UCB_TRY(ucb_pretok_add(&t->pretok, pres[i].steps[k], err));
        return UCB_OK;
    }
    ucb_text_near(pre.text, names, N_PRES, near, sizeof(near));
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    KEY("pre") " is `%s`, a pretokenizer that is not implemented; %s; or "
                               "put the model's "
                               "tokenizer.json in place of the GGUF",
                    ucb_show(pre.text, strlen(pre.text)).text, near);
}

/* Of several names the first: they mean the same. */
const char *ucb_tokenizer_gguf_pre(const struct ucb_tokenizer *t)
{
    for (size_t i = 0; i < N_PRES; i++) {
        size_t n = 0;
        while (n < 2 && pres[i].steps[n] != NULL) n++;
        bool same = n == t->pretok.n_steps && pres[i].nfc == t->normalizer.nfc &&
                    pres[i].whole_pieces == t->whole_pieces;
        for (size_t k = 0; k < n && same; k++)
            same = t->pretok.steps[k].known &&
                   strcmp(pres[i].steps[k], t->pretok.steps[k].name) == 0;
        if (same && !t->by_char) return pres[i].name;
    }
    return NULL;
}

/* The kinds of all ids: NULL where the file has none. */
static ucb_status get_kinds(const struct ucb_checkpoint *c, size_t n_ids,
                            const void **kinds, struct ucb_err *err)
{
    size_t n;
    *kinds = NULL;
    if (!ucb_checkpoint_i32s(c, KEY("token_type"), kinds, &n)) return UCB_OK;
    if (n == n_ids) return UCB_OK;
    return UCB_FAIL(
        err, UCB_CORRUPT,
        KEY("token_type") " has %zu entries, " KEY("tokens") " has %zu; they must agree", n,
        n_ids);
}

static ucb_status kind_of(const void *kinds, size_t id, enum ucb_token_kind *kind,
                          struct ucb_err *err)
{
    uint32_t number = kinds == NULL ? UCB_TOKEN_NORMAL
                                    : ucb_load_u32((const char *)kinds + 4 * id);
    if (number < UCB_TOKEN_NORMAL || number > UCB_TOKEN_BYTE)
        return UCB_FAIL(err, UCB_CORRUPT, KEY("token_type") "[%zu] is %u, must be 1 to %d",
                        id, (unsigned)number, UCB_TOKEN_BYTE);
    *kind = (enum ucb_token_kind)number;
    return UCB_OK;
}

static ucb_status put_tokens(struct ucb_tokenizer *t, const struct ucb_checkpoint *c,
                             struct ucb_err *err)
{
    size_t n_ids = 0, n_bytes = 0, n_chars = 0;
    const char *text = NULL;
    const void *kinds;
    if (!ucb_checkpoint_strings(c, KEY("tokens"), &n_ids) || n_ids == 0 ||
        n_ids >= UCB_NO_ID / 4)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            KEY("tokens") " has %zu entries, must be an array of 1 to %u strings", n_ids,
            UCB_NO_ID / 4 - 1);
    UCB_TRY(get_kinds(c, n_ids, &kinds, err));
    for (size_t id = 0; id < n_ids; id++)
        if (ucb_checkpoint_string_at(c, KEY("tokens"), id, &text, &n_chars))
            n_bytes += n_chars;
    UCB_TRY(ucb_vocab_reserve(&t->vocab, (uint32_t)n_ids, n_bytes, &t->memory, err));
    for (size_t id = 0; id < n_ids; id++) {
        enum ucb_token_kind kind = UCB_TOKEN_NORMAL;
        UCB_TRY(kind_of(kinds, id, &kind, err));
        ucb_checkpoint_string_at(c, KEY("tokens"), id, &text, &n_chars);
        UCB_TRY(ucb_vocab_put(&t->vocab, (uint32_t)id, text, n_chars, kind, err));
    }
    return UCB_OK;
}

/* SentencePiece's own spelling has no space, and llama.cpp merges texts spelled so: a user
 * token of plain spaces (Gemma has runs of 2 to 31) is recognised, never merged from U+2581
 * that the text itself holds. */
static bool is_out_of_reach(const struct ucb_tokenizer *t, const struct ucb_token *token)
{
    return t->by_char && memchr(token->text, ' ', token->n_bytes) != NULL;
}

/*
 * Normal tokens first: where a control token has the same bytes, merges mean the normal
 * one.
 */
static ucb_status index_tokens(struct ucb_tokenizer *t, struct ucb_err *err)
{
    struct ucb_vocab *v = &t->vocab;
    for (uint32_t id = 0; id < v->n_ids; id++) {
        if (v->tokens[id].kind != UCB_TOKEN_NORMAL) continue;
        uint32_t twin = ucb_vocab_index(v, id);
        if (twin != UCB_NO_ID)
            return UCB_FAIL(err, UCB_CORRUPT,
                            KEY("tokens") "[%u] and [%u] are both `%s`; they need one id",
                            (unsigned)twin, (unsigned)id,
                            ucb_show(v->tokens[id].text, v->tokens[id].n_bytes).text);
    }
    for (uint32_t id = 0; id < v->n_ids; id++) {
        if ((v->tokens[id].kind != UCB_TOKEN_CONTROL &&
             v->tokens[id].kind != UCB_TOKEN_USER) ||
            is_out_of_reach(t, &v->tokens[id]))
            continue;
        if (t->by_char && v->tokens[id].n_bytes > 0)
            UCB_TRY(ucb_tokenizer_respell(t, id, err));
        ucb_vocab_index(v, id);
    }
    return UCB_OK;
}

/*
 * Control, user and unknown tokens are recognised as they are written, before anything
 * else.
 */
static ucb_status put_added(struct ucb_tokenizer *t, struct ucb_err *err)
{
    size_t n = 0;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) UCB_TRY(ucb_added_reserve(&t->added_raw, n, &t->memory, err));
        for (uint32_t id = 0; id < t->vocab.n_ids; id++) {
            const struct ucb_token *token = &t->vocab.tokens[id];
            bool added = token->kind == UCB_TOKEN_CONTROL ||
                         token->kind == UCB_TOKEN_USER || token->kind == UCB_TOKEN_UNKNOWN;
            if (!added || token->n_bytes == 0) continue;
            if (pass == 0)
                n++;
            else
                ucb_added_put(&t->added_raw,
                              (struct ucb_added_token){.text = token->text,
                                                       .n_bytes = token->n_bytes,
                                                       .id = id});
        }
    }
    return ucb_added_sort(&t->added_raw, err);
}

static ucb_status read_merges(struct ucb_tokenizer *t, const struct ucb_checkpoint *c,
                              struct ucb_err *err)
{
    size_t n = 0, n_chars = 0;
    const char *text = NULL;
    if (!ucb_checkpoint_strings(c, KEY("merges"), &n) || n >= UCB_NO_ID)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            KEY("merges") " is absent or has 2^32 entries, must be an array of strings");
    UCB_TRY(ucb_pairs_reserve(&t->pairs, n, &t->memory, err));
    for (size_t i = 0; i < n; i++) {
        ucb_checkpoint_string_at(c, KEY("merges"), i, &text, &n_chars);
        const char *space = n_chars == 0 ? NULL : memchr(text, ' ', n_chars);
        ucb_status status;
        if (space == NULL)
            status = UCB_FAIL(err, UCB_CORRUPT, "`%s`, must be \"left right\"",
                              ucb_show(text, n_chars).text);
        else
            status = ucb_bpe_merge(t, (uint32_t)i, text, (size_t)(space - text), space + 1,
                                   n_chars - (size_t)(space + 1 - text), err);
        if (status != UCB_OK) {
            ucb_err_prefix(err, KEY("merges") "[%zu]", i);
            return status;
        }
    }
    t->rule = ucb_bpe_rule;
    return UCB_OK;
}

static ucb_status read_scores(struct ucb_tokenizer *t, const struct ucb_checkpoint *c,
                              struct ucb_err *err)
{
    const void *scores;
    size_t n = 0;
    if (!ucb_checkpoint_f32s(c, KEY("scores"), &scores, &n) || n != t->vocab.n_ids)
        return UCB_FAIL(err, UCB_CORRUPT,
                        KEY("scores") " has %zu entries, must have %u floats, one a token",
                        n, (unsigned)t->vocab.n_ids);
    for (int b = 0; b < 256; b++)
        if (t->byte_ids[b] == UCB_NO_ID)
            return UCB_FAIL(err, UCB_CORRUPT,
                            KEY("tokens") " has no byte token <0x%02X>; a vocabulary with "
                                          "byte fallback needs all 256",
                            (unsigned)b);
    t->rule = ucb_spm_rule;
    UCB_TRY(ucb_spm_rank(t, scores, err));
    return ucb_spm_cut_words(t, err);
}

static ucb_status read_tables(struct ucb_tokenizer *t, const struct ucb_checkpoint *c,
                              struct ucb_err *err)
{
    UCB_TRY(put_tokens(t, c, err));
    UCB_TRY(put_added(t, err));
    UCB_TRY(index_tokens(t, err));
    ucb_tokenizer_find_bytes(t);
    return t->by_char ? read_scores(t, c, err) : read_merges(t, c, err);
}

static ucb_status set_kind(struct ucb_tokenizer *t, const struct ucb_checkpoint *c,
                           struct ucb_err *err)
{
    static const char *const known[] = {"gpt2", "llama"};
    struct word model = get_word(c, KEY("model"));
    uint64_t prefix = 1; /* llama.cpp's default for this model */
    char near[256];
    if (strcmp(model.text, "gpt2") == 0) return set_pre(t, c, err);
    if (strcmp(model.text, "llama") != 0) {
        ucb_text_near(model.text, known, 2, near, sizeof(near));
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        KEY("model") " is `%s`, which is not implemented; %s",
                        ucb_show(model.text, strlen(model.text)).text, near);
    }
    ucb_checkpoint_u64(c, KEY("add_space_prefix"), &prefix);
    t->by_char = true;
    t->adds_bos = true;
    t->vocab.spelling = UCB_SPELL_SPACES;
    t->normalizer = (struct ucb_normalizer){.spaces = true, .prefix = prefix != 0};
    return UCB_OK;
}

static ucb_status read_bos(struct ucb_tokenizer *t, const struct ucb_checkpoint *c,
                           struct ucb_err *err)
{
    uint64_t bos, adds_bos;
    if (ucb_checkpoint_u64(c, KEY("add_bos_token"), &adds_bos)) t->adds_bos = adds_bos != 0;
    if (!ucb_checkpoint_u64(c, KEY("bos_token_id"), &bos)) return UCB_OK;
    if (bos >= t->vocab.n_ids)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            KEY("bos_token_id") " is %llu, must be below %u, the number of tokens",
            (unsigned long long)bos, (unsigned)t->vocab.n_ids);
    t->bos = (uint32_t)bos;
    return UCB_OK;
}

ucb_status ucb_tokenizer_read_gguf(struct ucb_tokenizer *t, const struct ucb_checkpoint *c,
                                   struct ucb_err *err)
{
    ucb_status status = UCB_OK;
    if (!ucb_checkpoint_is_gguf(c))
        status = UCB_FAIL(
            err, UCB_UNSUPPORTED,
            "no GGUF file, so it holds no vocabulary; put a tokenizer.json beside it");
    if (status == UCB_OK) status = set_kind(t, c, err);
    if (status == UCB_OK) status = read_tables(t, c, err);
    if (status == UCB_OK) status = read_bos(t, c, err);
    if (status != UCB_OK && ucb_checkpoint_n_files(c) > 0)
        ucb_err_prefix(err, "%s", ucb_checkpoint_file(c, 0));
    return status;
}
