/*
 * gguf_layout.h - how a GGUF file holds a model: numbers of types, names of tensors, order
 * of rows, and the metadata that llama.cpp asks for. For writing; checkpoint.h reads.
 */
#ifndef UCB_MODEL_GGUF_LAYOUT_H
#define UCB_MODEL_GGUF_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/dtype.h"
#include "core/err.h"
#include "model/model.h"

/* ggml's number of a type; UINT32_MAX where it has none. */
uint32_t ucb_gguf_type_number(enum ucb_dtype dtype);

enum { UCB_GGUF_NAME_TEXT = 128 };
/*
 * Whether such a model can be written; what is asked below holds for models that can.
 * `is_gguf`: it comes from a GGUF, whose metadata are copied. UNSUPPORTED names what a file
 * would not say.
 */
ucb_status ucb_gguf_check_arch(const struct ucb_arch *arch, bool is_gguf,
                               struct ucb_err *err);
/* How many matrices stand in one tensor of the file, one behind the other: a layer's
 * experts are stacked, [n_experts, out, in]. 1 for all others. */
uint32_t ucb_gguf_n_parts(const struct ucb_arch *arch, enum ucb_role role, uint32_t layer);
/* The tensor's name; `layer` is ignored for what stands outside the layers. */
const char *ucb_gguf_matrix_name(const struct ucb_arch *arch, enum ucb_role role,
                                 uint32_t layer, char out[UCB_GGUF_NAME_TEXT]);
const char *ucb_gguf_vector_name(const struct ucb_arch *arch, enum ucb_vector which,
                                 uint32_t layer, char out[UCB_GGUF_NAME_TEXT]);
/* The model's row that stands in row `file_row` of the file: q and k (and their biases) of
 * some architectures are stored in the order of adjacent-style rope. */
uint32_t ucb_gguf_matrix_row(const struct ucb_arch *arch, enum ucb_role role,
                             uint32_t file_row);
uint32_t ucb_gguf_vector_row(const struct ucb_arch *arch, enum ucb_vector which,
                             uint32_t file_row);
/* True when the positions are scaled: out[rotary_dim / 2] gets what rope_freqs.weight
 * holds, the number each plain frequency is divided by. */
bool ucb_gguf_rope_factors(const struct ucb_arch *arch, float *out);

/* Metadata under construction: entries one after the other.
 * Release with ucb_writer_free. */
struct ucb_gguf_metadata {
    struct ucb_writer bytes;
    uint64_t n_entries;
};
void ucb_gguf_put_u32(struct ucb_gguf_metadata *m, const char *key, uint32_t value);
void ucb_gguf_put_f32(struct ucb_gguf_metadata *m, const char *key, float value);
void ucb_gguf_put_bool(struct ucb_gguf_metadata *m, const char *key, bool value);
void ucb_gguf_put_text(struct ucb_gguf_metadata *m, const char *key, const char *text,
                       size_t n_chars);

/* The sizes of an architecture, under the keys that llama.cpp reads; `name` is
 * general.name. */
void ucb_gguf_put_arch(struct ucb_gguf_metadata *m, const struct ucb_arch *arch,
                       const char *name);
/*
 * tokenizer.* of a safetensors model: copied from vocabulary.gguf, or made from
 * tokenizer.json and what lies beside it. MISSING where neither is there; UNSUPPORTED for a
 * tokenizer that GGUF has no name for.
 */
ucb_status ucb_gguf_put_vocabulary(struct ucb_gguf_metadata *m,
                                   const struct ucb_model *model, struct ucb_err *err);

#endif
