/* bytes.c - see bytes.h. Little-endian hosts only (checked below), so memcpy is the byte
 * order. */
#include "core/bytes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "formats are little-endian and loads are memcpy");

static const char *const part_names[UCB_N_PARTS] = {
#define UCB_PART_NAME(code, name) [code] = name,
    UCB_PART_LIST(UCB_PART_NAME)
#undef UCB_PART_NAME
};

const char *ucb_part_name(enum ucb_part part)
{
    assert((unsigned)part < UCB_N_PARTS);
    return part_names[part];
}

void ucb_part(struct ucb_writer *out, enum ucb_part part)
{
    assert((unsigned)part < UCB_N_PARTS);
    out->part = part;
}

uint8_t *ucb_put_room(struct ucb_writer *out, size_t n_bytes)
{
    if (out->failed) return NULL;
    if (n_bytes > out->capacity - out->n_bytes) {
        size_t need = out->n_bytes + n_bytes, capacity = out->capacity * 2;
        if (capacity < need) capacity = need;
        if (capacity < 256) capacity = 256;
        uint8_t *data = need < n_bytes ? NULL : realloc(out->data, capacity);
        if (data == NULL) {
            out->failed = true;
            return NULL;
        }
        out->data = data;
        out->capacity = capacity;
    }
    uint8_t *room = out->data + out->n_bytes;
    out->n_bytes += n_bytes;
    out->part_bytes[out->part] += n_bytes;
    return room;
}

void ucb_part_moved(struct ucb_writer *out, enum ucb_part from, enum ucb_part to,
                    uint64_t n_bytes)
{
    if (out->failed) return;
    assert(n_bytes <= out->part_bytes[from]);
    out->part_bytes[from] -= n_bytes;
    out->part_bytes[to] += n_bytes;
}

void ucb_put_bytes(struct ucb_writer *out, const void *data, size_t n_bytes)
{
    uint8_t *room = ucb_put_room(out, n_bytes);
    if (room != NULL && n_bytes > 0) memcpy(room, data, n_bytes);
}

void ucb_put_u8(struct ucb_writer *out, uint8_t value)
{
    ucb_put_bytes(out, &value, sizeof(value));
}

void ucb_put_u16(struct ucb_writer *out, uint16_t value)
{
    ucb_put_bytes(out, &value, sizeof(value));
}

void ucb_put_u32(struct ucb_writer *out, uint32_t value)
{
    ucb_put_bytes(out, &value, sizeof(value));
}

void ucb_put_u64(struct ucb_writer *out, uint64_t value)
{
    ucb_put_bytes(out, &value, sizeof(value));
}

void ucb_put_f32(struct ucb_writer *out, float value)
{
    ucb_put_bytes(out, &value, sizeof(value));
}

void ucb_put_f32s(struct ucb_writer *out, const float *values, size_t n)
{
    ucb_put_bytes(out, values, n * sizeof(*values));
}

ucb_status ucb_writer_status(const struct ucb_writer *out, struct ucb_err *err)
{
    if (!out->failed) return UCB_OK;
    return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu encoded bytes and more",
                    out->n_bytes);
}

void ucb_writer_reset(struct ucb_writer *out)
{
    struct ucb_writer kept = {.data = out->data, .capacity = out->capacity};
    *out = kept;
}

ucb_status ucb_writer_copy(struct ucb_writer *out, const struct ucb_writer *from,
                           struct ucb_err *err)
{
    ucb_writer_reset(out);
    ucb_put_bytes(out, from->data, from->n_bytes);
    memcpy(out->part_bytes, from->part_bytes, sizeof(out->part_bytes));
    return ucb_writer_status(out, err);
}

void ucb_writer_free(struct ucb_writer *out)
{
    free(out->data);
    *out = (struct ucb_writer){0};
}

bool ucb_get_bytes(struct ucb_reader *in, size_t n_bytes, const uint8_t **data)
{
    if (n_bytes > ucb_reader_left(in)) return false;
    *data = in->at == 0 ? in->data : in->data + in->at; /* NULL + 0 is undefined */
    in->at += n_bytes;
    return true;
}

#define DEFINE_GET(name, type)                                    \
    bool name(struct ucb_reader *in, type *value)                 \
    {                                                             \
        const uint8_t *p;                                         \
        if (!ucb_get_bytes(in, sizeof(*value), &p)) return false; \
        memcpy(value, p, sizeof(*value));                         \
        return true;                                              \
    }
DEFINE_GET(ucb_get_u8, uint8_t)
DEFINE_GET(ucb_get_u16, uint16_t)
DEFINE_GET(ucb_get_u32, uint32_t)
DEFINE_GET(ucb_get_u64, uint64_t)
DEFINE_GET(ucb_get_f32, float)

#define DEFINE_LOAD(name, type)           \
    type name(const void *p)              \
    {                                     \
        type value;                       \
        memcpy(&value, p, sizeof(value)); \
        return value;                     \
    }
DEFINE_LOAD(ucb_load_u16, uint16_t)
DEFINE_LOAD(ucb_load_u32, uint32_t)
DEFINE_LOAD(ucb_load_u64, uint64_t)
DEFINE_LOAD(ucb_load_f32, float)
