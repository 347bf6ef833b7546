/*
 * safetensors.c - the format's header by a strict parser of our own, and the writer.
 *
 *     u64 n | n bytes of JSON, begins with '{', may end in spaces | data
 *     {"__metadata__": {"k": "v"},
 *      "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
 *
 * A general JSON library would accept what must be refused here (1.0 or 1e3 as an offset,
 * fields given twice, numbers that wrap), and the grammar has a fixed depth: no recursion,
 * so no depth to bound. Tensors must cover the data exactly: a hole or an overlap means
 * that somebody lies about what the bytes are.
 */
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "core/bytes.h"
#include "core/text.h"
#include "model/model_internal.h"

enum { LENGTH_BYTES = 8, MAX_DIMS = 8, ALIGN_DATA = 8 };
/* The limit of the format's reference implementation. */
static const uint64_t MAX_HEADER = 100000000;

struct cursor {
    const char *path, *tensor; /* tensor: the one being read, or NULL */
    const uint8_t *begin, *at, *end;
    struct ucb_arena *arena;
    struct ucb_err *err;
};

struct span {
    const char *chars;
    size_t n;
};

static ucb_status broken(const struct cursor *in, const char *what)
{
    size_t byte = LENGTH_BYTES + (size_t)(in->at - in->begin);
    if (in->tensor == NULL)
        return UCB_FAIL(in->err, UCB_CORRUPT,
                        "%s: broken safetensors header at byte %zu: %s", in->path, byte,
                        what);
    return UCB_FAIL(in->err, UCB_CORRUPT,
                    "%s: broken safetensors header at byte %zu, tensor `%s`: %s", in->path,
                    byte, in->tensor, what);
}

static ucb_status no_memory(const struct cursor *in)
{
    return UCB_FAIL(in->err, UCB_NOMEM, "%s: no memory for its list of tensors", in->path);
}

static void skip_spaces(struct cursor *in)
{
    while (in->at < in->end &&
           (*in->at == ' ' || *in->at == '\n' || *in->at == '\t' || *in->at == '\r'))
        in->at++;
}

static bool accept(struct cursor *in, char c)
{
    skip_spaces(in);
    if (in->at == in->end || *in->at != (uint8_t)c) return false;
    in->at++;
    return true;
}

static ucb_status expect(struct cursor *in, char c)
{
    char what[] = "expected 'x'";
    what[sizeof(what) - 3] = c;
    return accept(in, c) ? UCB_OK : broken(in, what);
}

static ucb_status read_u64(struct cursor *in, uint64_t *value)
{
    uint64_t v = 0;
    skip_spaces(in);
    const uint8_t *first = in->at;
    for (; in->at < in->end && *in->at >= '0' && *in->at <= '9'; in->at++) {
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, *in->at - '0', &v))
            return broken(in, "a number does not fit 64 bits");
    }
    if (in->at == first) return broken(in, "expected a whole number without sign");
    if (*first == '0' && in->at - first > 1) return broken(in, "a number begins with 0");
    if (in->at < in->end && (*in->at == '.' || *in->at == 'e' || *in->at == 'E'))
        return broken(in, "expected a whole number, found a fraction");
    *value = v;
    return UCB_OK;
}

static bool is_hex(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Bytes of the escape at p ("\n", "é"), 0 when it is none. */
static size_t escape_size(const uint8_t *p, const uint8_t *end)
{
    if (end - p < 2 || p[1] == '\0') return 0;
    if (strchr("\"\\/bfnrt", p[1]) != NULL) return 2;
    if (p[1] != 'u' || end - p < 6) return 0;
    return is_hex(p[2]) && is_hex(p[3]) && is_hex(p[4]) && is_hex(p[5]) ? 6 : 0;
}

/* A string as it stands between its quotes: escapes and UTF-8 are checked, not decoded. */
static ucb_status read_raw(struct cursor *in, struct span *out)
{
    if (!accept(in, '"')) return broken(in, "expected a text in quotes");
    const uint8_t *first = in->at;
    while (in->at < in->end && *in->at != '"') {
        size_t n = 1;
        if (*in->at < 0x20) return broken(in, "a control character in a text");
        if (*in->at == '\\') n = escape_size(in->at, in->end);
        if (n == 0) return broken(in, "an escape that JSON does not have");
        if (*in->at >= 0x80) {
            utf8proc_int32_t point;
            utf8proc_ssize_t used = utf8proc_iterate(in->at, in->end - in->at, &point);
            if (used < 1) return broken(in, "a text is not UTF-8");
            n = (size_t)used;
        }
        in->at += n;
    }
    if (in->at == in->end) return broken(in, "a text does not end");
    *out = (struct span){(const char *)first, (size_t)(in->at - first)};
    in->at++;
    return UCB_OK;
}

static uint32_t hex4(const char *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t c = (uint8_t)p[i];
        v = v << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return v;
}

/* Decodes the escape at p into out; returns the characters it takes, 0 for half a surrogate
 * pair or U+0000. */
static size_t decode_escape(const char *p, const char *end, char *out, size_t *n_out)
{
    static const char plain[] = "\"\\/bfnrt", meaning[] = "\"\\/\b\f\n\r\t";
    *n_out = 1;
    if (p[1] != 'u') {
        *out = meaning[strchr(plain, p[1]) - plain];
        return 2;
    }
    uint32_t point = hex4(p + 2);
    size_t used = 6;
    if (point >= 0xd800 && point < 0xdc00 && end - p >= 12 && p[6] == '\\' && p[7] == 'u') {
        uint32_t low = hex4(p + 8);
        if (low < 0xdc00 || low > 0xdfff) return 0;
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
        used = 12;
    }
    if (point == 0 || (point >= 0xd800 && point <= 0xdfff)) return 0;
    *n_out = (size_t)utf8proc_encode_char((utf8proc_int32_t)point, (utf8proc_uint8_t *)out);
    return used;
}

/* A name: decoded, terminated, from the arena. Decoding never lengthens a text. */
static ucb_status read_name(struct cursor *in, const char **out)
{
    struct span raw;
    UCB_TRY(read_raw(in, &raw));
    char *name = ucb_arena_alloc(
        in->arena, raw.n + 4); /* + 4: utf8proc may write a whole code point at the end */
    if (name == NULL) return no_memory(in);
    size_t n = 0;
    for (const char *p = raw.chars, *end = raw.chars + raw.n; p < end;) {
        size_t used = 1, made = 1;
        if (*p == '\\')
            used = decode_escape(p, end, name + n, &made);
        else
            name[n] = *p;
        if (used == 0) return broken(in, "a name holds half a surrogate pair or a zero");
        p += used;
        n += made;
    }
    name[n] = '\0';
    if (n == 0 || !ucb_name_is_clean(name, n))
        return broken(in, "a name is empty or holds a control character");
    *out = name;
    return UCB_OK;
}

/* The texts of __metadata__ mean nothing to us; their form must be right. */
static ucb_status skip_metadata(struct cursor *in)
{
    struct span ignored;
    UCB_TRY(expect(in, '{'));
    if (accept(in, '}')) return UCB_OK;
    do {
        UCB_TRY(read_raw(in, &ignored));
        UCB_TRY(expect(in, ':'));
        UCB_TRY(read_raw(in, &ignored));
    } while (accept(in, ','));
    return expect(in, '}');
}

static ucb_status read_dtype(struct cursor *in, struct ucb_tensor *t)
{
    struct span name;
    UCB_TRY(read_raw(in, &name));
    t->dtype = ucb_dtype_find(name.chars, name.n);
    if (t->dtype <= UCB_BOOL) return UCB_OK; /* the types after BOOL are ggml's blocks */
    return UCB_FAIL(in->err, UCB_UNSUPPORTED,
                    "%s: tensor `%s` has dtype %.*s, which this program does not read",
                    in->path, t->name, name.n > 32 ? 32 : (int)name.n, name.chars);
}

static ucb_status read_shape(struct cursor *in, struct ucb_tensor *t)
{
    UCB_TRY(expect(in, '['));
    if (accept(in, ']')) return UCB_OK;
    do {
        if (t->n_dims == MAX_DIMS) return broken(in, "more than 8 dimensions");
        UCB_TRY(read_u64(in, &t->shape[t->n_dims]));
        t->n_dims++;
    } while (accept(in, ','));
    return expect(in, ']');
}

static ucb_status read_offsets(struct cursor *in, uint64_t range[2])
{
    UCB_TRY(expect(in, '['));
    UCB_TRY(read_u64(in, &range[0]));
    UCB_TRY(expect(in, ','));
    UCB_TRY(read_u64(in, &range[1]));
    return expect(in, ']');
}

static ucb_status read_tensor(struct cursor *in, struct ucb_tensor *t, uint64_t range[2])
{
    static const char *const fields[] = {"dtype", "shape", "data_offsets"};
    unsigned seen = 0;
    UCB_TRY(expect(in, '{'));
    do {
        struct span name;
        unsigned i = 0;
        UCB_TRY(read_raw(in, &name));
        while (i < 3 &&
               (strlen(fields[i]) != name.n || memcmp(fields[i], name.chars, name.n) != 0))
            i++;
        if (i == 3) return broken(in, "a field other than dtype, shape, data_offsets");
        if ((seen & 1u << i) != 0) return broken(in, "a field is given twice");
        seen |= 1u << i;
        UCB_TRY(expect(in, ':'));
        UCB_TRY(i == 0   ? read_dtype(in, t)
                : i == 1 ? read_shape(in, t)
                         : read_offsets(in, range));
    } while (accept(in, ','));
    UCB_TRY(expect(in, '}'));
    return seen == 7 ? UCB_OK : broken(in, "one of dtype, shape, data_offsets is missing");
}

/* Gives the tensor its bytes: the range must be the size of shape x dtype and inside the
 * data. */
static ucb_status place_tensor(const struct cursor *in, struct ucb_tensor *t,
                               const uint64_t range[2], size_t n_data)
{
    char shape[UCB_SHAPE_TEXT];
    if (!ucb_tensor_measure(t))
        return broken(in, "its shape asks for more bytes than 64 bits can count");
    if (range[1] < range[0] || range[1] - range[0] != t->n_bytes)
        return UCB_FAIL(
            in->err, UCB_CORRUPT,
            "%s: tensor `%s`: data_offsets are [%llu, %llu], but %s %s takes %llu bytes",
            in->path, t->name, (unsigned long long)range[0], (unsigned long long)range[1],
            ucb_dtype_name(t->dtype), ucb_shape_text(t->shape, t->n_dims, shape),
            (unsigned long long)t->n_bytes);
    if (range[1] > n_data)
        return UCB_FAIL(
            in->err, UCB_CORRUPT,
            "%s is cut short: a tensor's data ends after the end of the file: tensor `%s` ends at data "
            "byte "
            "%llu, the file holds %zu",
            in->path, t->name, (unsigned long long)range[1], n_data);
    t->data = in->end + range[0]; /* the data begin where the header ends */
    return UCB_OK;
}

static ucb_status read_entry(struct cursor *in, struct ucb_checkpoint *c,
                             bool *metadata_seen, size_t n_data)
{
    const char *name = NULL;
    uint64_t range[2] = {0, 0};
    in->tensor = NULL;
    UCB_TRY(read_name(in, &name));
    UCB_TRY(expect(in, ':'));
    if (strcmp(name, "__metadata__") == 0) {
        if (*metadata_seen) return broken(in, "__metadata__ is given twice");
        *metadata_seen = true;
        return skip_metadata(in);
    }
    struct ucb_tensor *t = ucb_checkpoint_new_tensor(c);
    if (t == NULL) return no_memory(in);
    t->name = in->tensor = name;
    t->file = in->path;
    UCB_TRY(read_tensor(in, t, range));
    return place_tensor(in, t, range, n_data);
}

static ucb_status read_header(struct cursor *in, struct ucb_checkpoint *c, size_t n_data)
{
    bool metadata_seen = false;
    UCB_TRY(expect(in, '{'));
    if (!accept(in, '}')) {
        do UCB_TRY(read_entry(in, c, &metadata_seen, n_data));
        while (accept(in, ','));
        in->tensor = NULL;
        UCB_TRY(expect(in, '}'));
    }
    while (in->at < in->end && *in->at == ' ') in->at++;
    return in->at == in->end ? UCB_OK
                             : broken(in, "something other than spaces after the header");
}

/* By place; tensors without elements lie in one place, there the name decides. */
static int by_place(const void *a, const void *b)
{
    const struct ucb_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    if (x->n_bytes != y->n_bytes) return x->n_bytes < y->n_bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The tensors from `first` on are this file's. */
static ucb_status check_cover(const char *path, const struct ucb_checkpoint *c,
                              size_t first, const uint8_t *data, size_t n_data,
                              struct ucb_err *err)
{
    size_t at = 0;
    if (c->n_tensors > first)
        qsort(&c->tensors[first], c->n_tensors - first, sizeof(*c->tensors), by_place);
    for (size_t i = first; i < c->n_tensors; i++) {
        const struct ucb_tensor *t = &c->tensors[i];
        size_t begin = (size_t)(t->data - data);
        if (begin != at)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s: tensor `%s` begins at data byte %zu, expected %zu: %s",
                            path, t->name, begin, at,
                            begin < at ? "it overlaps the tensor before it"
                                       : "the bytes between belong to no tensor");
        at += t->n_bytes;
    }
    if (at == n_data) return UCB_OK;
    return UCB_FAIL(
        err, UCB_CORRUPT,
        "%s: %zu bytes follow the last tensor's data; nothing says what they are", path,
        n_data - at);
}

/* Where the header ends, or why this cannot be a safetensors file. */
static ucb_status measure_header(const char *path, const uint8_t *data, size_t n_bytes,
                                 size_t *header, struct ucb_err *err)
{
    if (n_bytes < LENGTH_BYTES)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s is cut short: %zu bytes, a safetensors file begins with 8 bytes of length",
            path, n_bytes);
    uint64_t n = ucb_load_u64(data);
    if (n > MAX_HEADER)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s: neither GGUF nor safetensors: its first 8 bytes would mean a header of %llu bytes, the limit is "
            "100 MB%s",
            path, (unsigned long long)n,
            memcmp(data, "PK\3\4", 4) == 0
                ? "; it looks like a PyTorch .bin: convert it to safetensors"
                : "");
    if (n > n_bytes - LENGTH_BYTES)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s is cut short: its header has %llu bytes, the file holds %zu of them", path,
            (unsigned long long)n, n_bytes - LENGTH_BYTES);
    if (n < 2 || data[LENGTH_BYTES] != '{')
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: neither GGUF nor safetensors: no '{' begins the header", path);
    *header = (size_t)n;
    return UCB_OK;
}

ucb_status ucb_safetensors_parse(struct ucb_checkpoint *c, const char *path,
                                 const uint8_t *data, size_t n_bytes, struct ucb_err *err)
{
    size_t header = 0, first = c->n_tensors;
    UCB_TRY(measure_header(path, data, n_bytes, &header, err));
    const uint8_t *begin = data + LENGTH_BYTES;
    size_t n_data = n_bytes - LENGTH_BYTES - header;
    struct cursor in = {path, NULL, begin, begin, begin + header, &c->arena, err};
    UCB_TRY(read_header(&in, c, n_data));
    return check_cover(path, c, first, in.end, n_data, err);
}

/* ---- writing ---- */

static ucb_status check_writable(const char *path, const struct ucb_tensor *t,
                                 struct ucb_err *err)
{
    struct ucb_tensor measured = *t;
    if (t->name == NULL || t->name[0] == '\0' ||
        !ucb_name_is_clean(t->name, strlen(t->name)))
        return UCB_FAIL(
            err, UCB_USAGE,
            "%s: a tensor's name is empty, not UTF-8 or holds a control character", path);
    if (t->dtype > UCB_BOOL)
        return UCB_FAIL(err, UCB_USAGE,
                        "%s: tensor `%s` is %s, which safetensors does not have", path,
                        t->name, ucb_dtype_name(t->dtype));
    if (t->n_dims > MAX_DIMS || !ucb_tensor_measure(&measured) ||
        measured.n_bytes != t->n_bytes)
        return UCB_FAIL(err, UCB_USAGE,
                        "%s: tensor `%s` has %llu bytes, its shape and dtype ask for %llu",
                        path, t->name, (unsigned long long)t->n_bytes,
                        (unsigned long long)measured.n_bytes);
    return UCB_OK;
}

static void put_name(struct ucb_text *header, const char *name)
{
    for (; *name != '\0'; name++)
        ucb_text_add(header, *name == '"' || *name == '\\' ? "\\%c" : "%c", *name);
}

static void put_entry(struct ucb_text *header, const struct ucb_tensor *t, uint64_t begin)
{
    ucb_text_add(header, ",\"");
    put_name(header, t->name);
    ucb_text_add(header, "\":{\"dtype\":\"%s\",\"shape\":[", ucb_dtype_name(t->dtype));
    for (uint32_t i = 0; i < t->n_dims; i++)
        ucb_text_add(header, i == 0 ? "%llu" : ",%llu", (unsigned long long)t->shape[i]);
    ucb_text_add(header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
                 (unsigned long long)(begin + t->n_bytes));
}

/* The metadata say what other programs insist on: without "format" some refuse the file. */
ucb_status ucb_safetensors_header(const char *path, const struct ucb_tensor *tensors,
                                  size_t n_tensors, struct ucb_text *header,
                                  struct ucb_err *err)
{
    uint64_t at = 0;
    ucb_text_add(header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < n_tensors; i++) {
        UCB_TRY(check_writable(path, &tensors[i], err));
        put_entry(header, &tensors[i], at);
        at += tensors[i].n_bytes;
    }
    ucb_text_add(header, "}");
    while (!header->failed && header->n_chars % ALIGN_DATA != 0) ucb_text_add(header, " ");
    if (header->failed)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its header", path);
    if (header->n_chars <= MAX_HEADER) return UCB_OK;
    return UCB_FAIL(err, UCB_USAGE,
                    "%s: %zu tensors need a header of %zu bytes, the limit is 100 MB", path,
                    n_tensors, header->n_chars);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static ucb_status check_names_differ(const char *path, const struct ucb_tensor *tensors,
                                     size_t n_tensors, struct ucb_err *err)
{
    ucb_status status = UCB_OK;
    const char **names = ucb_mem_alloc(n_tensors * sizeof(*names));
    if (names == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu names", path, n_tensors);
    for (size_t i = 0; i < n_tensors; i++) names[i] = tensors[i].name;
    if (n_tensors > 0) qsort(names, n_tensors, sizeof(*names), by_text);
    for (size_t i = 1; i < n_tensors && status == UCB_OK; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            status = UCB_FAIL(err, UCB_USAGE, "%s: two tensors are called `%s`", path,
                              names[i]);
    ucb_mem_free(names);
    return status;
}

ucb_status ucb_safetensors_write(const char *path, const struct ucb_tensor *tensors,
                                 size_t n_tensors, struct ucb_err *err)
{
    ucb_status status = UCB_OK;
    struct ucb_text header = {0};
    struct ucb_out_file out = {0};
    UCB_TRY_OUT(ucb_safetensors_header(path, tensors, n_tensors, &header, err));
    UCB_TRY_OUT(check_names_differ(path, tensors, n_tensors, err));
    UCB_TRY_OUT(ucb_out_open(path, &out, err));
    uint64_t length = header.n_chars;
    fwrite(&length, sizeof(length), 1,
           out.stream); /* errors stay in the stream; commit reports them */
    fwrite(header.data, 1, header.n_chars, out.stream);
    for (size_t i = 0; i < n_tensors; i++)
        if (tensors[i].n_bytes > 0)
            fwrite(tensors[i].data, 1, tensors[i].n_bytes, out.stream);
    status = ucb_out_commit(&out, err);
out:
    ucb_text_free(&header);
    return status;
}
