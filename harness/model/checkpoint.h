/*
 * checkpoint.h - the tensors and metadata of a model's files: safetensors (one file, or
 * shards with an index) and GGUF v2/v3, mapped, checked completely before anything is
 * believed. A file that is cut short later reads as zeros; the functions of model.h then
 * answer IO. An open checkpoint may be read by any number of threads.
 */
#ifndef UCB_MODEL_CHECKPOINT_H
#define UCB_MODEL_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dtype.h"
#include "core/err.h"

struct ucb_tensor {
    const char *name;
    enum ucb_dtype dtype;
    uint32_t n_dims;   /* 0 for a scalar */
    uint64_t shape[8]; /* slowest dimension first: [out, in] for a matrix, in GGUF too */
    uint64_t n_elements;
    const uint8_t *data; /* any alignment */
    uint64_t n_bytes;
    const char *file; /* the file it lies in, for messages */
};

struct ucb_checkpoint;
/*
 * `path`: a .safetensors or .gguf file (told apart by content), or a folder with
 * model.safetensors, or model.safetensors.index.json and its shards, or exactly one file
 * that ends in .gguf or .safetensors.
 * MISSING, CORRUPT, UNSUPPORTED, IO, NOMEM; the message names file, field, what was found
 * and what was expected.
 */
ucb_status ucb_checkpoint_open(const char *path, struct ucb_checkpoint **out,
                               struct ucb_err *err);
void ucb_checkpoint_close(struct ucb_checkpoint *checkpoint); /* NULL is fine */

size_t ucb_checkpoint_n_tensors(const struct ucb_checkpoint *c);
const struct ucb_tensor *ucb_checkpoint_tensor(const struct ucb_checkpoint *c,
                                               size_t index); /* in file order */
const struct ucb_tensor *ucb_checkpoint_find(const struct ucb_checkpoint *c,
                                             const char *name); /* or NULL */
/* All files that make it up (shards in name order, then their index): for digests and
 * sizes. */
size_t ucb_checkpoint_n_files(const struct ucb_checkpoint *c);
const char *ucb_checkpoint_file(const struct ucb_checkpoint *c, size_t index);
/* Whether a path leads to one of these files, or to one beside them that a model is read
 * from: an output may not have such a name. */
bool ucb_checkpoint_holds(const struct ucb_checkpoint *c, const char *path);
uint64_t ucb_checkpoint_file_bytes(const struct ucb_checkpoint *c, size_t index);
/* Its bytes, mapped; NULL for the index of shards. */
const uint8_t *ucb_checkpoint_file_data(const struct ucb_checkpoint *c, size_t index);
/* Bytes of the files that hold the tokenizer (a GGUF's tokenizer.* entries): sizes of a
 * model leave them out. */
uint64_t ucb_checkpoint_vocabulary_bytes(const struct ucb_checkpoint *c);
bool ucb_checkpoint_is_gguf(const struct ucb_checkpoint *c);

/* GGUF metadata by key; false when the key is absent or of another kind. Integers of any
 * width, bool as 0/1. */
bool ucb_checkpoint_has(const struct ucb_checkpoint *c, const char *key); /* of any kind */
bool ucb_checkpoint_u64(const struct ucb_checkpoint *c, const char *key, uint64_t *value);
bool ucb_checkpoint_f64(const struct ucb_checkpoint *c, const char *key,
                        double *value); /* any number */
bool ucb_checkpoint_string(const struct ucb_checkpoint *c, const char *key,
                           const char **text, size_t *n_chars);
/* An array of strings / 32-bit ints / floats. Strings: call with index; numbers: a pointer
 * to unaligned elements. */
bool ucb_checkpoint_strings(const struct ucb_checkpoint *c, const char *key, size_t *n);
bool ucb_checkpoint_string_at(const struct ucb_checkpoint *c, const char *key, size_t index,
                              const char **text, size_t *n_chars); /* constant time */
bool ucb_checkpoint_i32s(const struct ucb_checkpoint *c, const char *key, const void **data,
                         size_t *n);
bool ucb_checkpoint_f32s(const struct ucb_checkpoint *c, const char *key, const void **data,
                         size_t *n);

/* An entry of the metadata as its bytes stand in the file: key, type and value. */
struct ucb_gguf_entry {
    const char *key; /* not terminated */
    size_t key_chars;
    const uint8_t *bytes;
    size_t n_bytes;
};
size_t ucb_checkpoint_n_entries(const struct ucb_checkpoint *c); /* 0 for safetensors */
/* In the order of the file; `entries` has room for all of them. */
void ucb_checkpoint_entries(const struct ucb_checkpoint *c, struct ucb_gguf_entry *entries);
uint32_t ucb_checkpoint_alignment(const struct ucb_checkpoint *c); /* of a GGUF's tensors */

/*
 * Widens elements [first, first + n) of the flat tensor to fp32, exactly (F64 is rounded
 * once). For block types `first` and `n` are whole blocks. UNSUPPORTED for a dtype that is
 * no floating-point or quantized weight.
 */
ucb_status ucb_tensor_widen(const struct ucb_tensor *tensor, uint64_t first, uint64_t n,
                            float *out, struct ucb_err *err);

struct ucb_text;
/* The header of a safetensors file with these tensors, without the length before it. USAGE,
 * NOMEM. */
ucb_status ucb_safetensors_header(const char *path, const struct ucb_tensor *tensors,
                                  size_t n_tensors, struct ucb_text *header,
                                  struct ucb_err *err);
/* Writing safetensors: tensors in the given order, header keys in that order, atomically.
 * data must hold n_bytes. */
ucb_status ucb_safetensors_write(const char *path, const struct ucb_tensor *tensors,
                                 size_t n_tensors, struct ucb_err *err);

#endif
