/*
 * gguf_build.h - a GGUF in memory, entry by entry, right or wrong as a test asks.
 */
#ifndef UCB_TESTS_GGUF_BUILD_H
#define UCB_TESTS_GGUF_BUILD_H

#include <string.h>

#include "core/bytes.h"

struct gguf_build {
    struct ucb_writer values, infos, data, file;
    uint64_t n_values, n_tensors;
    uint32_t version, alignment; /* 0: 3 and 32 */
};

enum {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_TEXT,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
};

static inline void gguf_put_text(struct ucb_writer *w, const char *text)
{
    ucb_put_u64(w, strlen(text));
    ucb_put_bytes(w, text, strlen(text));
}

/* A key and a type; the caller puts the value into b->values. */
static inline void gguf_key(struct gguf_build *b, const char *key, uint32_t type)
{
    gguf_put_text(&b->values, key);
    ucb_put_u32(&b->values, type);
    b->n_values++;
}

static inline void gguf_u32(struct gguf_build *b, const char *key, uint32_t value)
{
    gguf_key(b, key, GGUF_U32);
    ucb_put_u32(&b->values, value);
}

static inline void gguf_f32(struct gguf_build *b, const char *key, float value)
{
    gguf_key(b, key, GGUF_F32);
    ucb_put_f32(&b->values, value);
}

static inline void gguf_text(struct gguf_build *b, const char *key, const char *value)
{
    gguf_key(b, key, GGUF_TEXT);
    gguf_put_text(&b->values, value);
}

static inline uint32_t gguf_alignment_of(const struct gguf_build *b)
{
    return b->alignment == 0 ? 32 : b->alignment;
}

static inline void gguf_pad(struct ucb_writer *w, uint32_t alignment)
{
    while (w->n_bytes % alignment != 0) ucb_put_u8(w, 0);
}

/* A line of the tensor list: dims fastest first, any type and offset. */
static inline void gguf_info(struct gguf_build *b, const char *name, uint32_t n_dims,
                             const uint64_t *dims, uint32_t type, uint64_t offset)
{
    gguf_put_text(&b->infos, name);
    ucb_put_u32(&b->infos, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) ucb_put_u64(&b->infos, dims[i]);
    ucb_put_u32(&b->infos, type);
    ucb_put_u64(&b->infos, offset);
    b->n_tensors++;
}

/* A tensor with its bytes where they belong. n_out 0: a vector. */
static inline void gguf_tensor(struct gguf_build *b, const char *name, uint64_t n_out,
                               uint64_t n_in, uint32_t type, const void *bytes,
                               size_t n_bytes)
{
    uint64_t dims[2] = {n_in, n_out};
    gguf_pad(&b->data, gguf_alignment_of(b));
    gguf_info(b, name, n_out == 0 ? 1 : 2, dims, type, b->data.n_bytes);
    ucb_put_bytes(&b->data, bytes, n_bytes);
}

/* All together in b->file. */
static inline void gguf_finish(struct gguf_build *b)
{
    ucb_put_bytes(&b->file, "GGUF", 4);
    ucb_put_u32(&b->file, b->version == 0 ? 3 : b->version);
    ucb_put_u64(&b->file, b->n_tensors);
    ucb_put_u64(&b->file, b->n_values);
    ucb_put_bytes(&b->file, b->values.data, b->values.n_bytes);
    ucb_put_bytes(&b->file, b->infos.data, b->infos.n_bytes);
    if (b->n_tensors > 0) gguf_pad(&b->file, gguf_alignment_of(b));
    ucb_put_bytes(&b->file, b->data.data, b->data.n_bytes);
}

static inline void gguf_free(struct gguf_build *b)
{
    ucb_writer_free(&b->values);
    ucb_writer_free(&b->infos);
    ucb_writer_free(&b->data);
    ucb_writer_free(&b->file);
}

#endif
