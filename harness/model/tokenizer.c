/*
 * tokenizer.c - finds the vocabulary of a model: a tokenizer.json, a GGUF, or what lies
 * beside the model's files.
 */
#include "model/tokenizer.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "model/checkpoint.h"
#include "model/tokenizer_internal.h"

static ucb_status new_tokenizer(struct ucb_tokenizer **out, struct ucb_err *err)
{
    struct ucb_tokenizer *t = ucb_mem_alloc(sizeof(*t));
    if (t == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a tokenizer");
    ucb_arena_init(&t->memory);
    memset(t->byte_ids, 0xff, sizeof(t->byte_ids)); /* all UCB_NO_ID */
    t->bos = t->template_first = UCB_NO_ID;
    *out = t;
    return UCB_OK;
}

void ucb_tokenizer_close(struct ucb_tokenizer *t)
{
    if (t == NULL) return;
    ucb_pretok_free(&t->pretok);
    ucb_arena_free(&t->memory);
    ucb_mem_free(t);
}

/* Hands out the tokenizer that was read, or releases what a failed reading left. */
static ucb_status finish(ucb_status status, struct ucb_tokenizer *t,
                         struct ucb_tokenizer **out)
{
    if (status == UCB_OK)
        *out = t;
    else
        ucb_tokenizer_close(t);
    return status;
}

ucb_status ucb_tokenizer_open_gguf(const struct ucb_checkpoint *c,
                                   struct ucb_tokenizer **out, struct ucb_err *err)
{
    struct ucb_tokenizer *t;
    UCB_TRY(new_tokenizer(&t, err));
    return finish(ucb_tokenizer_read_gguf(t, c, err), t, out);
}

ucb_status ucb_tokenizer_from_json(const char *name, const char *text, size_t n_bytes,
                                   struct ucb_tokenizer **out, struct ucb_err *err)
{
    struct ucb_tokenizer *t;
    UCB_TRY(new_tokenizer(&t, err));
    return finish(ucb_tokenizer_parse_json(t, name, text, n_bytes, err), t, out);
}

static ucb_status open_json(const char *path, struct ucb_tokenizer **out,
                            struct ucb_err *err)
{
    struct ucb_tokenizer *t;
    UCB_TRY(new_tokenizer(&t, err));
    return finish(ucb_tokenizer_read_json(t, path, err), t, out);
}

static ucb_status open_gguf(const char *path, struct ucb_tokenizer **out,
                            struct ucb_err *err)
{
    struct ucb_checkpoint *c;
    UCB_TRY(ucb_checkpoint_open(path, &c, err));
    ucb_status status = ucb_tokenizer_open_gguf(c, out, err);
    ucb_checkpoint_close(c);
    return status;
}

static bool is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

/*
 * The only GGUF of a folder is its model and its vocabulary. False when the folder is no
 * GGUF model.
 */
static bool open_folder_gguf(const char *folder, struct ucb_tokenizer **out,
                             ucb_status *status, struct ucb_err *err)
{
    struct ucb_checkpoint *c;
    if (ucb_checkpoint_open(folder, &c, NULL) != UCB_OK) return false;
    bool gguf = ucb_checkpoint_is_gguf(c);
    if (gguf) *status = ucb_tokenizer_open_gguf(c, out, err);
    ucb_checkpoint_close(c);
    return gguf;
}

static ucb_status open_folder(const char *folder, struct ucb_tokenizer **out,
                              struct ucb_err *err)
{
    char json[4096], gguf[4096];
    ucb_status status;
    int n = snprintf(json, sizeof(json), "%s/tokenizer.json", folder);
    int m = snprintf(gguf, sizeof(gguf), "%s/vocabulary.gguf", folder);
    if (n < 0 || m < 0 || (size_t)n >= sizeof(json) || (size_t)m >= sizeof(gguf))
        return UCB_FAIL(err, UCB_USAGE, "a folder name of %zu bytes; at most %zu fit",
                        strlen(folder), sizeof(json) - 32);
    if (is_file(json)) return open_json(json, out, err);
    if (is_file(gguf)) return open_gguf(gguf, out, err);
    if (open_folder_gguf(folder, out, &status, err)) return status;
    return UCB_FAIL(err, UCB_MISSING,
                    "no tokenizer: neither %.400s nor %.400s exists; put the model's "
                    "tokenizer.json there",
                    json, gguf);
}

static ucb_status open_beside(const char *file, struct ucb_tokenizer **out,
                              struct ucb_err *err)
{
    char folder[4096] = ".";
    const char *slash = strrchr(file, '/');
    size_t n = slash == NULL ? 0 : slash == file ? 1 : (size_t)(slash - file);
    if (n >= sizeof(folder))
        return UCB_FAIL(err, UCB_USAGE, "a path of %zu bytes; at most %zu fit", n,
                        sizeof(folder) - 1);
    if (n > 0) snprintf(folder, sizeof(folder), "%.*s", (int)n, file);
    return open_folder(folder, out, err);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

ucb_status ucb_tokenizer_open(const char *path, struct ucb_tokenizer **out,
                              struct ucb_err *err)
{
    struct stat info;
    struct ucb_file file;
    assert(path != NULL);
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return open_folder(path, out, err);
    UCB_TRY(ucb_file_map(path, &file, err));
    bool gguf = file.n_bytes >= 4 && memcmp(file.data, "GGUF", 4) == 0;
    ucb_file_unmap(&file);
    if (gguf) return open_gguf(path, out, err);
    bool tensors = ends_with(path, ".safetensors") ||
                   ends_with(path, ".safetensors.index.json");
    return tensors ? open_beside(path, out, err) : open_json(path, out, err);
}

ucb_status ucb_tokenizer_respell(struct ucb_tokenizer *t, uint32_t id, struct ucb_err *err)
{
    struct ucb_token *token = &t->vocab.tokens[id];
    char *bytes = ucb_arena_alloc(&t->memory, token->n_bytes);
    size_t n;
    if (bytes == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a token's bytes");
    ucb_spelling_decode(UCB_SPELL_SPACES, token->text, token->n_bytes, bytes, &n);
    token->text = bytes;
    token->n_bytes = (uint32_t)n;
    return UCB_OK;
}

void ucb_tokenizer_find_bytes(struct ucb_tokenizer *t)
{
    for (uint32_t id = 0; id < t->vocab.n_ids; id++)
        if (t->vocab.tokens[id].kind == UCB_TOKEN_BYTE)
            t->byte_ids[(unsigned char)t->vocab.tokens[id].text[0]] = id;
    if (t->by_char) return;
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        t->byte_ids[b] = ucb_vocab_find(&t->vocab, &c, 1);
    }
}

uint32_t ucb_tokenizer_n_ids(const struct ucb_tokenizer *t)
{
    return t->vocab.n_ids;
}

uint32_t ucb_tokenizer_bos(const struct ucb_tokenizer *t)
{
    return t->bos;
}

bool ucb_tokenizer_adds_bos(const struct ucb_tokenizer *t)
{
    return t->adds_bos && t->bos != UCB_NO_ID;
}

const char *ucb_token_text(const struct ucb_tokenizer *t, uint32_t id, size_t *n_bytes)
{
    if (id >= t->vocab.n_ids || t->vocab.tokens[id].kind == UCB_TOKEN_ABSENT) return NULL;
    *n_bytes = t->vocab.tokens[id].n_bytes;
    return t->vocab.tokens[id].text;
}
