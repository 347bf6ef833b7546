/*
 * tokenizer.h - text to ids, exactly as the model's own tokenizer does it.
 *
 * From a tokenizer.json or from GGUF metadata. No BOS or EOS is added; added and special
 * tokens written out in the text are recognised. Thread-safe after opening (each call has
 * its own match data).
 */
#ifndef UCB_MODEL_TOKENIZER_H
#define UCB_MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/err.h"

struct ucb_tokenizer;
struct ucb_checkpoint;

/* A folder or .safetensors file (tokenizer.json beside it), a tokenizer.json, or a GGUF
 * (vocabulary-only ones too). */
ucb_status ucb_tokenizer_open(const char *path, struct ucb_tokenizer **out,
                              struct ucb_err *err);
/* The vocabulary inside an open GGUF; nothing of the checkpoint is kept. */
ucb_status ucb_tokenizer_open_gguf(const struct ucb_checkpoint *c,
                                   struct ucb_tokenizer **out, struct ucb_err *err);
void ucb_tokenizer_close(struct ucb_tokenizer *t); /* NULL is fine */

uint32_t ucb_tokenizer_n_ids(const struct ucb_tokenizer *t);
/* The id of the BOS token, or UINT32_MAX where there is none. */
uint32_t ucb_tokenizer_bos(const struct ucb_tokenizer *t);
/*
 * True when the model's own tokenizer puts BOS before a text; ucb_tokenize never does.
 * GGUF: tokenizer.ggml.add_bos_token; absent, as llama.cpp has it: true for SentencePiece,
 * and for byte-level BPE with Llama 3's pretokenizer only. tokenizer.json: add_bos_token of
 * the tokenizer_config.json beside it; absent: true when the post-processor's template of a
 * single text begins with the BOS. Always false where there is no BOS.
 */
bool ucb_tokenizer_adds_bos(const struct ucb_tokenizer *t);

/* ids[i] begins at byte start[i] of the text (after any normaliser: of the normalised
 * text). From `arena`. */
struct ucb_ids {
    uint32_t *ids;
    uint32_t *start;
    size_t n;
};
/* `text` is UTF-8 and may hold zero bytes; CORRUPT names the offset of the first byte that
 * is not UTF-8. */
ucb_status ucb_tokenize(const struct ucb_tokenizer *t, const char *text, size_t n_bytes,
                        struct ucb_arena *arena, struct ucb_ids *out, struct ucb_err *err);
/* The bytes of one id, or NULL. */
const char *ucb_token_text(const struct ucb_tokenizer *t, uint32_t id, size_t *n_bytes);

#endif
