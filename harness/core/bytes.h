/*
 * bytes.h - what a method writes and reads: a growing buffer that knows the purpose of
 * every byte, and a cursor that cannot leave its bytes. Everything is little-endian.
 */
#ifndef UCB_CORE_BYTES_H
#define UCB_CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

/* What a stored byte is for; bits per weight are counted from these,
 * never from a formula. */
#define UCB_PART_LIST(X)             \
    X(UCB_PART_CODES, "codes")       \
    X(UCB_PART_SCALES, "scales")     \
    X(UCB_PART_ZEROS, "zeros")       \
    X(UCB_PART_CODEBOOK, "codebook") \
    X(UCB_PART_FACTORS, "factors")   \
    X(UCB_PART_TABLES, "tables")     \
    X(UCB_PART_HEADER, "header")     \
    X(UCB_PART_PADDING, "padding")

enum ucb_part {
#define UCB_PART_ENUM(code, name) code,
    UCB_PART_LIST(UCB_PART_ENUM)
#undef UCB_PART_ENUM
        UCB_N_PARTS
};
const char *ucb_part_name(enum ucb_part part);

/*
 * A writer. Zero-initialise, put, release with ucb_writer_free. When memory runs out,
 * `failed` is set, later puts do nothing, and ucb_writer_status reports it: check once at
 * the end.
 */
struct ucb_writer {
    uint8_t *data;
    size_t n_bytes, capacity;
    enum ucb_part part;               /* of the bytes put next; starts as UCB_PART_CODES */
    uint64_t part_bytes[UCB_N_PARTS]; /* sums to n_bytes */
    bool failed;
};

/* Bytes put from here on are for `part`. */
void ucb_part(struct ucb_writer *out, enum ucb_part part);
/* Says of n_bytes already counted as `from` that they are for `to`: for layouts whose blocks
 * interleave codes and scales. At most part_bytes[from]. */
void ucb_part_moved(struct ucb_writer *out, enum ucb_part from, enum ucb_part to,
                    uint64_t n_bytes);
void ucb_put_bytes(struct ucb_writer *out, const void *data, size_t n_bytes);
void ucb_put_u8(struct ucb_writer *out, uint8_t value);
void ucb_put_u16(struct ucb_writer *out, uint16_t value);
void ucb_put_u32(struct ucb_writer *out, uint32_t value);
void ucb_put_u64(struct ucb_writer *out, uint64_t value);
void ucb_put_f32(struct ucb_writer *out, float value);
void ucb_put_f32s(struct ucb_writer *out, const float *values, size_t n);
/* Room for n_bytes that the caller fills in now (for threads that write slices); NULL when
 * memory ran out. */
uint8_t *ucb_put_room(struct ucb_writer *out, size_t n_bytes);
ucb_status ucb_writer_status(const struct ucb_writer *out, struct ucb_err *err);
/* `out` becomes what `from` holds, parts included. NOMEM. */
ucb_status ucb_writer_copy(struct ucb_writer *out, const struct ucb_writer *from,
                           struct ucb_err *err);
/* Empties it and keeps the memory. */
void ucb_writer_reset(struct ucb_writer *out);
void ucb_writer_free(struct ucb_writer *out);

/* A reader over bytes it does not own. A get past the end returns false and leaves the
 * cursor where it was. */
struct ucb_reader {
    const uint8_t *data;
    size_t n_bytes, at;
};
static inline size_t ucb_reader_left(const struct ucb_reader *in)
{
    return in->n_bytes - in->at;
}
bool ucb_get_u8(struct ucb_reader *in, uint8_t *value);
bool ucb_get_u16(struct ucb_reader *in, uint16_t *value);
bool ucb_get_u32(struct ucb_reader *in, uint32_t *value);
bool ucb_get_u64(struct ucb_reader *in, uint64_t *value);
bool ucb_get_f32(struct ucb_reader *in, float *value);
/* A pointer to the next n_bytes (any alignment), or false. */
bool ucb_get_bytes(struct ucb_reader *in, size_t n_bytes, const uint8_t **data);

/* Unaligned little-endian loads. */
uint16_t ucb_load_u16(const void *p);
uint32_t ucb_load_u32(const void *p);
uint64_t ucb_load_u64(const void *p);
float ucb_load_f32(const void *p);

#endif
