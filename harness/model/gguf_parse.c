/*
 * gguf_parse.c - GGUF versions 2 and 3, little-endian.
 *
 *     "GGUF" | u32 version | u64 n_tensors | u64 n_values
 *     n_values x { text key | u32 type | value }            text: u64 length, bytes
 *     n_tensors x { text name | u32 n_dims | u64 dims[], fastest first | u32 type |
 *                   u64 offset }
 *     zeros up to general.alignment | data; offsets count from here
 *
 * Every count is compared with the bytes that are left before memory is asked for, so a
 * small file cannot ask for much. Tensors must follow each other with nothing but alignment
 * between them, as ggml itself demands.
 */
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "model/gguf_layout.h"
#include "model/model_internal.h"

enum value_type {
    TYPE_U8,
    TYPE_I8,
    TYPE_U16,
    TYPE_I16,
    TYPE_U32,
    TYPE_I32,
    TYPE_F32,
    TYPE_BOOL,
    TYPE_STRING,
    TYPE_ARRAY,
    TYPE_U64,
    TYPE_I64,
    TYPE_F64,
    N_VALUE_TYPES
};
/* 0: no fixed size. */
static const uint8_t value_bytes[N_VALUE_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

enum {
    MAX_KEY = 65535,
    MAX_NAME = 64,
    MAX_DIMS = 4,  /* the format's own limits */
    MAX_DEPTH = 4, /* of arrays in arrays; no known file has any */
    DEFAULT_ALIGNMENT = 32,
    MIN_VALUE_BYTES = 8 + 1 + 4 + 1, /* the shortest key and value a file can hold */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8
};
static const char alignment_key[] = "general.alignment";

/* ggml's numbers. known: the dtype of ours; N_DTYPES: a type that exists and that we do not
 * read. */
/* clang-format off */
static const struct {
    uint32_t number;
    enum ucb_dtype dtype;
    const char *name;
} tensor_types[] = {
    {0, UCB_F32, "F32"},        {1, UCB_F16, "F16"},         {2, UCB_Q4_0, "Q4_0"},      {3, UCB_Q4_1, "Q4_1"},
    {6, UCB_Q5_0, "Q5_0"},      {7, UCB_Q5_1, "Q5_1"},       {8, UCB_Q8_0, "Q8_0"},      {9, UCB_N_DTYPES, "Q8_1"},
    {10, UCB_Q2_K, "Q2_K"},     {11, UCB_Q3_K, "Q3_K"},      {12, UCB_Q4_K, "Q4_K"},     {13, UCB_Q5_K, "Q5_K"},
    {14, UCB_Q6_K, "Q6_K"},     {15, UCB_N_DTYPES, "Q8_K"},  {16, UCB_N_DTYPES, "IQ2_XXS"}, {17, UCB_N_DTYPES, "IQ2_XS"},
    {18, UCB_N_DTYPES, "IQ3_XXS"}, {19, UCB_N_DTYPES, "IQ1_S"}, {20, UCB_IQ4_NL, "IQ4_NL"}, {21, UCB_N_DTYPES, "IQ3_S"},
    {22, UCB_N_DTYPES, "IQ2_S"}, {23, UCB_IQ4_XS, "IQ4_XS"}, {24, UCB_I8, "I8"},         {25, UCB_I16, "I16"},
    {26, UCB_I32, "I32"},       {27, UCB_I64, "I64"},        {28, UCB_F64, "F64"},       {29, UCB_N_DTYPES, "IQ1_M"},
    {30, UCB_BF16, "BF16"},     {34, UCB_N_DTYPES, "TQ1_0"}, {35, UCB_N_DTYPES, "TQ2_0"}, {39, UCB_N_DTYPES, "MXFP4"},
};
/* clang-format on */

struct parse {
    const char *path;
    struct ucb_reader in;
    struct ucb_checkpoint *c;
    struct ucb_err *err;
};

static ucb_status cut_short(const struct parse *p, const char *where)
{
    return UCB_FAIL(p->err, UCB_CORRUPT,
                    "%s is cut short: the file ends at byte %zu, inside %s", p->path,
                    p->in.n_bytes, where);
}

static ucb_status no_memory(const struct parse *p)
{
    return UCB_FAIL(p->err, UCB_NOMEM, "%s: no memory for its metadata and list of tensors",
                    p->path);
}

/* A length word and that many bytes. */
static bool get_text(struct ucb_reader *in, const uint8_t **text, uint64_t *n)
{
    struct ucb_reader at = *in;
    if (!ucb_get_u64(&at, n) || *n > ucb_reader_left(&at) ||
        !ucb_get_bytes(&at, (size_t)*n, text))
        return false;
    *in = at;
    return true;
}

/* ---- metadata ---- */

static ucb_status read_array(struct parse *p, struct ucb_gguf_value *value, unsigned depth);

/* Reads a value of value->type; nested arrays are only stepped over. */
static ucb_status read_value(struct parse *p, struct ucb_gguf_value *value, unsigned depth)
{
    if (value->type >= N_VALUE_TYPES)
        return UCB_FAIL(p->err, UCB_CORRUPT,
                        "%s: metadata `%.*s` has type %u, known are 0 to 12", p->path,
                        (int)value->key_chars, value->key, value->type);
    if (value->type == TYPE_ARRAY) return read_array(p, value, depth);
    value->n = 1;
    if (value->type == TYPE_STRING)
        return get_text(&p->in, &value->data, &value->n)
                   ? UCB_OK
                   : cut_short(p, "a text of the metadata");
    if (!ucb_get_bytes(&p->in, value_bytes[value->type], &value->data))
        return cut_short(p, "a number of the metadata");
    if (value->type == TYPE_BOOL && *value->data > 1)
        return UCB_FAIL(p->err, UCB_CORRUPT,
                        "%s: metadata `%.*s` is a bool of value %u, expected 0 or 1",
                        p->path, (int)value->key_chars, value->key, *value->data);
    return UCB_OK;
}

/* Elements without a fixed size: texts get a table for constant-time access,
 * arrays none. */
static ucb_status read_elements(struct parse *p, struct ucb_gguf_value *value,
                                unsigned depth)
{
    bool texts = value->element_type == TYPE_STRING && depth == 0;
    if (texts) value->strings = UCB_NEW(&p->c->arena, const uint8_t *, value->n);
    if (texts && value->strings == NULL) return no_memory(p);
    for (uint64_t i = 0; i < value->n; i++) {
        struct ucb_gguf_value element = {
            .key = value->key, .key_chars = value->key_chars, .type = value->element_type};
        if (texts) value->strings[i] = p->in.data + p->in.at;
        UCB_TRY(read_value(p, &element, depth + 1));
    }
    return UCB_OK;
}

static ucb_status read_array(struct parse *p, struct ucb_gguf_value *value, unsigned depth)
{
    if (!ucb_get_u32(&p->in, &value->element_type) || !ucb_get_u64(&p->in, &value->n))
        return cut_short(p, "an array of the metadata");
    if (value->element_type >= N_VALUE_TYPES || depth == MAX_DEPTH)
        return UCB_FAIL(
            p->err, UCB_CORRUPT,
            "%s: metadata `%.*s`: an array of type %u at depth %u, known are types 0 to 12 "
            "and %d depths",
            p->path, (int)value->key_chars, value->key, value->element_type, depth,
            MAX_DEPTH);
    /* A text takes at least its length word; an array its type and count. */
    size_t fixed = value_bytes[value->element_type];
    size_t least = fixed != 0 ? fixed : value->element_type == TYPE_STRING ? 8 : 12;
    if (value->n > ucb_reader_left(&p->in) / least)
        return UCB_FAIL(
            p->err, UCB_CORRUPT,
            "%s is cut short: metadata `%.*s` is an array of %llu elements, %zu bytes are "
            "left",
            p->path, (int)value->key_chars, value->key, (unsigned long long)value->n,
            ucb_reader_left(&p->in));
    value->data = p->in.data + p->in.at;
    if (fixed == 0) return read_elements(p, value, depth);
    bool inside = ucb_get_bytes(&p->in, (size_t)value->n * fixed, &value->data);
    return inside ? UCB_OK : cut_short(p, "an array of the metadata");
}

static ucb_status read_entry(struct parse *p, struct ucb_gguf_value *value)
{
    const uint8_t *key;
    uint64_t n;
    if (!get_text(&p->in, &key, &n)) return cut_short(p, "a key of the metadata");
    if (n == 0 || n > MAX_KEY || !ucb_name_is_clean((const char *)key, (size_t)n))
        return UCB_FAIL(
            p->err, UCB_CORRUPT,
            "%s: a metadata key of %llu bytes, expected 1 to %d of printable text", p->path,
            (unsigned long long)n, MAX_KEY);
    *value = (struct ucb_gguf_value){.key = (const char *)key, .key_chars = (size_t)n};
    if (!ucb_get_u32(&p->in, &value->type)) return cut_short(p, "the metadata");
    return read_value(p, value, 0);
}

static int compare_keys(const char *a, size_t n_a, const char *b, size_t n_b)
{
    int r = memcmp(a, b, n_a < n_b ? n_a : n_b);
    return r != 0 ? r : n_a < n_b ? -1 : n_a > n_b;
}

static int by_key(const void *a, const void *b)
{
    const struct ucb_gguf_value *x = a, *y = b;
    return compare_keys(x->key, x->key_chars, y->key, y->key_chars);
}

static ucb_status read_metadata(struct parse *p, uint64_t n_values)
{
    struct ucb_checkpoint *c = p->c;
    if (n_values > ucb_reader_left(&p->in) / MIN_VALUE_BYTES)
        return UCB_FAIL(
            p->err, UCB_CORRUPT,
            "%s is cut short: it promises %llu metadata entries, %zu bytes are left",
            p->path, (unsigned long long)n_values, ucb_reader_left(&p->in));
    c->values = UCB_NEW(&c->arena, struct ucb_gguf_value, n_values);
    if (c->values == NULL) return no_memory(p);
    c->gguf_metadata = p->in.data + p->in.at;
    for (; c->n_values < n_values; c->n_values++) {
        struct ucb_gguf_value *value = &c->values[c->n_values];
        size_t begin = p->in.at;
        UCB_TRY(read_entry(p, value));
        if (value->key_chars > 10 && memcmp(value->key, "tokenizer.", 10) == 0)
            c->vocabulary_bytes += p->in.at - begin;
    }
    c->gguf_metadata_bytes = (size_t)(p->in.data + p->in.at - c->gguf_metadata);
    if (n_values > 0) qsort(c->values, n_values, sizeof(*c->values), by_key);
    for (size_t i = 1; i < n_values; i++)
        if (by_key(&c->values[i - 1], &c->values[i]) == 0)
            return UCB_FAIL(p->err, UCB_CORRUPT, "%s: metadata `%.*s` is given twice",
                            p->path, (int)c->values[i].key_chars, c->values[i].key);
    return UCB_OK;
}

static const struct ucb_gguf_value *find_value(const struct ucb_checkpoint *c,
                                               const char *key)
{
    struct ucb_gguf_value wanted = {.key = key, .key_chars = strlen(key)};
    if (c->n_values == 0) return NULL;
    return bsearch(&wanted, c->values, c->n_values, sizeof(*c->values), by_key);
}

static ucb_status read_alignment(struct parse *p)
{
    uint64_t alignment = DEFAULT_ALIGNMENT;
    const struct ucb_gguf_value *value = find_value(p->c, alignment_key);
    if (value != NULL && value->type != TYPE_U32)
        return UCB_FAIL(p->err, UCB_CORRUPT,
                        "%s: %s has type %u, expected 4 (a 32-bit number)", p->path,
                        alignment_key, value->type);
    if (value != NULL) alignment = ucb_load_u32(value->data);
    if (alignment == 0 || (alignment & (alignment - 1)) != 0)
        return UCB_FAIL(p->err, UCB_CORRUPT, "%s: %s is %llu, expected a power of two",
                        p->path, alignment_key, (unsigned long long)alignment);
    p->c->gguf_alignment = (uint32_t)alignment;
    return UCB_OK;
}

/* ---- tensors ---- */

static ucb_status read_tensor_type(struct parse *p, struct ucb_tensor *t)
{
    uint32_t number;
    if (!ucb_get_u32(&p->in, &number)) return cut_short(p, "the list of tensors");
    for (size_t i = 0; i < sizeof(tensor_types) / sizeof(tensor_types[0]); i++) {
        if (tensor_types[i].number != number) continue;
        t->dtype = tensor_types[i].dtype;
        if (t->dtype != UCB_N_DTYPES) return UCB_OK;
        return UCB_FAIL(
            p->err, UCB_UNSUPPORTED,
            "%s: tensor `%s` is stored as %s, which this program does not read; "
            "convert the file to Q8_0 or F16",
            p->path, t->name, tensor_types[i].name);
    }
    return UCB_FAIL(p->err, UCB_UNSUPPORTED,
                    "%s: tensor `%s` has the unknown type %u; types to 39 are known",
                    p->path, t->name, number);
}

/* The file lists the fastest dimension first; ours is the slowest first. */
static ucb_status read_shape(struct parse *p, struct ucb_tensor *t)
{
    if (!ucb_get_u32(&p->in, &t->n_dims)) return cut_short(p, "the list of tensors");
    if (t->n_dims < 1 || t->n_dims > MAX_DIMS)
        return UCB_FAIL(p->err, UCB_CORRUPT,
                        "%s: tensor `%s` has %u dimensions, expected 1 to 4", p->path,
                        t->name, t->n_dims);
    for (uint32_t i = t->n_dims; i-- > 0;) {
        if (!ucb_get_u64(&p->in, &t->shape[i])) return cut_short(p, "the list of tensors");
        if (t->shape[i] == 0)
            return UCB_FAIL(p->err, UCB_CORRUPT,
                            "%s: tensor `%s` has a dimension of 0, expected at least 1",
                            p->path, t->name);
    }
    return UCB_OK;
}

static ucb_status read_tensor(struct parse *p, struct ucb_tensor *t, uint64_t *offset)
{
    const uint8_t *name;
    uint64_t n;
    char shape[UCB_SHAPE_TEXT];
    if (!get_text(&p->in, &name, &n)) return cut_short(p, "a tensor's name");
    if (n == 0 || n > MAX_NAME || !ucb_name_is_clean((const char *)name, (size_t)n))
        return UCB_FAIL(
            p->err, UCB_CORRUPT,
            "%s: a tensor's name of %llu bytes, expected 1 to %d of printable text",
            p->path, (unsigned long long)n, MAX_NAME);
    t->name = ucb_arena_printf(&p->c->arena, "%.*s", (int)n, (const char *)name);
    if (t->name == NULL) return no_memory(p);
    t->file = p->path;
    UCB_TRY(read_shape(p, t));
    UCB_TRY(read_tensor_type(p, t));
    if (!ucb_get_u64(&p->in, offset)) return cut_short(p, "the list of tensors");
    if (*offset % p->c->gguf_alignment != 0)
        return UCB_FAIL(p->err, UCB_CORRUPT,
                        "%s: tensor `%s` begins at offset %llu, expected a multiple of %u",
                        p->path, t->name, (unsigned long long)*offset,
                        p->c->gguf_alignment);
    if (ucb_tensor_measure(t)) return UCB_OK;
    return UCB_FAIL(
        p->err, UCB_CORRUPT,
        "%s: tensor `%s`: %s of %s is too large, or its rows are not whole blocks", p->path,
        t->name, ucb_shape_text(t->shape, t->n_dims, shape), ucb_dtype_name(t->dtype));
}

/* An upper bound is enough here: where each may lie is checked when all are known. */
static ucb_status place_tensor(const struct parse *p, struct ucb_tensor *t, uint64_t offset,
                               size_t begin)
{
    size_t n_data = begin < p->in.n_bytes ? p->in.n_bytes - begin : 0;
    if (offset > n_data || t->n_bytes > n_data - offset)
        return UCB_FAIL(
            p->err, UCB_CORRUPT,
            "%s is cut short: a tensor's data ends after the end of the file: tensor `%s` has %llu bytes "
            "at data "
            "byte %llu, the file holds %zu",
            p->path, t->name, (unsigned long long)t->n_bytes, (unsigned long long)offset,
            n_data);
    t->data = p->in.data + begin + offset;
    return UCB_OK;
}

static size_t align_up(size_t n, size_t alignment)
{
    return (n + alignment - 1) / alignment * alignment;
}

static int by_place(const void *a, const void *b)
{
    const struct ucb_tensor *x = a, *y = b;
    return x->data < y->data ? -1 : x->data > y->data;
}

static ucb_status check_cover(const struct parse *p, size_t begin)
{
    struct ucb_checkpoint *c = p->c;
    size_t at = begin;
    if (c->n_tensors > 0) qsort(c->tensors, c->n_tensors, sizeof(*c->tensors), by_place);
    for (size_t i = 0; i < c->n_tensors; i++) {
        const struct ucb_tensor *t = &c->tensors[i];
        size_t found = (size_t)(t->data - p->in.data);
        if (found != at)
            return UCB_FAIL(p->err, UCB_CORRUPT,
                            "%s: tensor `%s` begins at file byte %zu, expected %zu: %s",
                            p->path, t->name, found, at,
                            found < at ? "it overlaps the tensor before it"
                                       : "the bytes between belong to none");
        at = align_up(found + (size_t)t->n_bytes, c->gguf_alignment);
    }
    if (p->in.n_bytes <= at) return UCB_OK; /* the last padding may be left out */
    return UCB_FAIL(p->err, UCB_CORRUPT,
                    "%s: %zu bytes follow the last tensor; nothing says what they are",
                    p->path, p->in.n_bytes - at);
}

static ucb_status read_tensors(struct parse *p, uint64_t n_tensors)
{
    struct ucb_checkpoint *c = p->c;
    if (n_tensors > ucb_reader_left(&p->in) / MIN_TENSOR_BYTES)
        return UCB_FAIL(p->err, UCB_CORRUPT,
                        "%s is cut short: it promises %llu tensors, %zu bytes are left",
                        p->path, (unsigned long long)n_tensors, ucb_reader_left(&p->in));
    uint64_t *offsets = UCB_NEW(&c->arena, uint64_t, n_tensors);
    if (offsets == NULL) return no_memory(p);
    for (uint64_t i = 0; i < n_tensors; i++) {
        struct ucb_tensor *t = ucb_checkpoint_new_tensor(c);
        if (t == NULL) return no_memory(p);
        UCB_TRY(read_tensor(p, t, &offsets[i]));
    }
    size_t begin = align_up(p->in.at, c->gguf_alignment);
    for (uint64_t i = 0; i < n_tensors; i++)
        UCB_TRY(place_tensor(p, &c->tensors[i], offsets[i], begin));
    return check_cover(p, begin);
}

bool ucb_gguf_is(const uint8_t *data, size_t n_bytes)
{
    return n_bytes >= 4 && memcmp(data, "GGUF", 4) == 0;
}

ucb_status ucb_gguf_parse(struct ucb_checkpoint *c, const char *path, const uint8_t *data,
                          size_t n_bytes, struct ucb_err *err)
{
    struct parse p = {path, {data, n_bytes, 0}, c, err};
    uint32_t magic;
    uint64_t n_tensors, n_values;
    if (!ucb_gguf_is(data, n_bytes))
        return UCB_FAIL(err, UCB_CORRUPT, "%s: does not begin with \"GGUF\"", path);
    if (!ucb_get_u32(&p.in, &magic) || !ucb_get_u32(&p.in, &c->gguf_version))
        return cut_short(&p, "the header");
    if (c->gguf_version != 2 && c->gguf_version != 3)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: GGUF version %u%s; versions 2 and 3, little-endian, are read",
                        path, c->gguf_version,
                        (c->gguf_version & 0xffff) == 0 ? " (a big-endian file?)" : "");
    if (!ucb_get_u64(&p.in, &n_tensors) || !ucb_get_u64(&p.in, &n_values))
        return cut_short(&p, "the header");
    c->is_gguf = true;
    UCB_TRY(read_metadata(&p, n_values));
    UCB_TRY(read_alignment(&p));
    return read_tensors(&p, n_tensors);
}

/* ---- access ---- */

static bool as_integer(const struct ucb_gguf_value *v, uint64_t *out)
{
    switch ((enum value_type)v->type) {
    case TYPE_U8:
    case TYPE_BOOL: *out = *v->data; return true;
    case TYPE_I8: *out = (uint64_t)(int8_t)*v->data; return (int8_t)*v->data >= 0;
    case TYPE_U16: *out = ucb_load_u16(v->data); return true;
    case TYPE_I16: *out = ucb_load_u16(v->data); return *out <= INT16_MAX;
    case TYPE_U32: *out = ucb_load_u32(v->data); return true;
    case TYPE_I32: *out = ucb_load_u32(v->data); return *out <= INT32_MAX;
    case TYPE_U64: *out = ucb_load_u64(v->data); return true;
    case TYPE_I64: *out = ucb_load_u64(v->data); return *out <= INT64_MAX;
    default: return false;
    }
}

bool ucb_checkpoint_u64(const struct ucb_checkpoint *c, const char *key, uint64_t *value)
{
    const struct ucb_gguf_value *v = find_value(c, key);
    uint64_t found;
    if (v == NULL || !as_integer(v, &found)) return false;
    *value = found;
    return true;
}

/* Negative integers come as what they are; 64-bit ones may be rounded. */
static bool as_number(const struct ucb_gguf_value *v, double *out)
{
    uint64_t whole;
    if (v->type == TYPE_BOOL) return false;
    if (as_integer(v, &whole)) {
        *out = (double)whole;
        return true;
    }
    switch ((enum value_type)v->type) {
    case TYPE_I8: *out = (int8_t)*v->data; return true;
    case TYPE_I16: *out = (int16_t)ucb_load_u16(v->data); return true;
    case TYPE_I32: *out = (int32_t)ucb_load_u32(v->data); return true;
    case TYPE_I64: *out = (double)(int64_t)ucb_load_u64(v->data); return true;
    case TYPE_F32: *out = (double)ucb_load_f32(v->data); return true;
    case TYPE_F64: memcpy(out, v->data, sizeof(*out)); return true;
    default: return false;
    }
}

bool ucb_checkpoint_f64(const struct ucb_checkpoint *c, const char *key, double *value)
{
    const struct ucb_gguf_value *v = find_value(c, key);
    double found;
    if (v == NULL || !as_number(v, &found)) return false;
    *value = found;
    return true;
}

bool ucb_checkpoint_has(const struct ucb_checkpoint *c, const char *key)
{
    return find_value(c, key) != NULL;
}

bool ucb_checkpoint_string(const struct ucb_checkpoint *c, const char *key,
                           const char **text, size_t *n_chars)
{
    const struct ucb_gguf_value *v = find_value(c, key);
    if (v == NULL || v->type != TYPE_STRING) return false;
    *text = (const char *)v->data;
    *n_chars = (size_t)v->n;
    return true;
}

static const struct ucb_gguf_value *find_array(const struct ucb_checkpoint *c,
                                               const char *key, uint32_t type)
{
    const struct ucb_gguf_value *v = find_value(c, key);
    return v != NULL && v->type == TYPE_ARRAY && v->element_type == type ? v : NULL;
}

bool ucb_checkpoint_strings(const struct ucb_checkpoint *c, const char *key, size_t *n)
{
    const struct ucb_gguf_value *v = find_array(c, key, TYPE_STRING);
    if (v != NULL) *n = (size_t)v->n;
    return v != NULL;
}

bool ucb_checkpoint_string_at(const struct ucb_checkpoint *c, const char *key, size_t index,
                              const char **text, size_t *n_chars)
{
    const struct ucb_gguf_value *v = find_array(c, key, TYPE_STRING);
    if (v == NULL || index >= v->n) return false;
    const uint8_t *first = v->strings[index] + 8,
                  *end = c->gguf_metadata + c->gguf_metadata_bytes;
    uint64_t n = ucb_load_u64(v->strings[index]);
    if (n > (uint64_t)(end - first))
        return false; /* checked when opened: somebody has written to the file since */
    *n_chars = (size_t)n;
    *text = (const char *)first;
    return true;
}

bool ucb_checkpoint_i32s(const struct ucb_checkpoint *c, const char *key, const void **data,
                         size_t *n)
{
    const struct ucb_gguf_value *v = find_array(c, key, TYPE_I32);
    if (v == NULL) v = find_array(c, key, TYPE_U32);
    if (v == NULL) return false;
    *data = v->data;
    *n = (size_t)v->n;
    return true;
}

bool ucb_checkpoint_f32s(const struct ucb_checkpoint *c, const char *key, const void **data,
                         size_t *n)
{
    const struct ucb_gguf_value *v = find_array(c, key, TYPE_F32);
    if (v == NULL) return false;
    *data = v->data;
    *n = (size_t)v->n;
    return true;
}

/* ---- what a writer needs ---- */

size_t ucb_checkpoint_n_entries(const struct ucb_checkpoint *c)
{
    return c->n_values;
}

static int by_address(const void *a, const void *b)
{
    const struct ucb_gguf_entry *x = a, *y = b;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* An entry ends where the next one begins. */
void ucb_checkpoint_entries(const struct ucb_checkpoint *c, struct ucb_gguf_entry *entries)
{
    const uint8_t *end = c->gguf_metadata + c->gguf_metadata_bytes;
    for (size_t i = 0; i < c->n_values; i++)
        entries[i] = (struct ucb_gguf_entry){.key = c->values[i].key,
                                             .key_chars = c->values[i].key_chars,
                                             .bytes = (const uint8_t *)c->values[i].key -
                                                      sizeof(uint64_t)};
    if (c->n_values > 0) qsort(entries, c->n_values, sizeof(*entries), by_address);
    for (size_t i = 0; i < c->n_values; i++) {
        const uint8_t *next = i + 1 < c->n_values ? entries[i + 1].bytes : end;
        entries[i].n_bytes = (size_t)(next - entries[i].bytes);
    }
}

uint32_t ucb_checkpoint_alignment(const struct ucb_checkpoint *c)
{
    return c->is_gguf ? c->gguf_alignment : DEFAULT_ALIGNMENT;
}

uint32_t ucb_gguf_type_number(enum ucb_dtype dtype)
{
    for (size_t i = 0; i < sizeof(tensor_types) / sizeof(tensor_types[0]); i++)
        if (tensor_types[i].dtype == dtype) return tensor_types[i].number;
    return UINT32_MAX;
}
