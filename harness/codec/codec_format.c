/* codec_format.c - elements to fields and back: the turn by one bit, planes of raw bits. */
#include <assert.h>
#include <string.h>

#include "codec/codec_internal.h"
#include "core/clones.h"

const struct codec_format codec_formats[N_FORMATS] = {[FORMAT_BYTES] = {1, 0},
                                                      [FORMAT_BF16] = {2, 8},
                                                      [FORMAT_F16] = {2, 5},
                                                      [FORMAT_F32] = {4, 8}};

uint8_t codec_format_of(enum ucb_dtype dtype)
{
    return dtype == UCB_BF16  ? FORMAT_BF16
           : dtype == UCB_F16 ? FORMAT_F16
           : dtype == UCB_F32 ? FORMAT_F32
                              : FORMAT_BYTES;
}

UCB_CLONES static void turn16(const uint8_t *data, size_t n, uint32_t *out)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t x;
        memcpy(&x, data + 2 * i, sizeof(x));
        out[i] = (uint16_t)(x << 1 | x >> 15);
    }
}

UCB_CLONES static void turn32(const uint8_t *data, size_t n, uint32_t *out)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t x;
        memcpy(&x, data + 4 * i, sizeof(x));
        out[i] = x << 1 | x >> 31;
    }
}

void codec_turn(const struct codec_format *f, const uint8_t *data, size_t n, uint32_t *out)
{
    if (f->width == 2) {
        turn16(data, n, out);
    } else if (f->width == 4) {
        turn32(data, n, out);
    } else {
        for (size_t i = 0; i < n; i++) out[i] = data[i];
    }
}

void codec_turn_back(const struct codec_format *f, const uint32_t *turned, size_t n,
                     uint8_t *out)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t u = turned[i];
        uint16_t half = (uint16_t)(u >> 1 | u << 15);
        uint32_t word = u >> 1 | u << 31;
        if (f->width == 2)
            memcpy(out + 2 * i, &half, sizeof(half));
        else if (f->width == 4)
            memcpy(out + 4 * i, &word, sizeof(word));
        else
            out[i] = (uint8_t)u;
    }
}

unsigned codec_raw_bits(const struct codec_format *f, enum codec_coder coder)
{
    unsigned rest = 8 * f->width - f->exponent_bits; /* mantissa and sign */
    if (f->exponent_bits == 0) return 0;
    return coder == CODER_FAST ? rest : coder == CODER_ENTROPY ? rest - 2 : rest - 3;
}

struct codec_planes codec_planes_of(unsigned raw_bits)
{
    return (struct codec_planes){raw_bits / 8, raw_bits % 8};
}

size_t codec_planes_bytes(struct codec_planes p, size_t n)
{
    return p.n_bytes * n + codec_bits_bytes(n, p.bits);
}

size_t codec_carried(struct codec_planes p, size_t n)
{
    size_t last = n == 0 ? 0 : (n - 1) % CODEC_PIECE + 1,
           n_bytes = codec_bits_bytes(last, p.bits);
    return n_bytes < 2 * RANS_LANES ? n_bytes : 2 * RANS_LANES;
}

/* Eight values of a byte each to the lowest 8 `bits` bits: pairs, fours, all. */
static inline uint64_t pack8(uint64_t x, unsigned bits)
{
    const uint64_t pairs = 0x00ff00ff00ff00ff, fours = 0x0000ffff0000ffff;
    x = (x & pairs) | (x >> 8 & pairs) << bits;
    x = (x & fours) | (x >> 16 & fours) << 2 * bits;
    return (x & 0xffffffff) | x >> 32 << 4 * bits;
}

static inline uint64_t unpack8(uint64_t x, unsigned bits)
{
    uint64_t four = ((uint64_t)1 << 4 * bits) - 1, two = (1u << 2 * bits) - 1,
             one = (1u << bits) - 1;
    x = (x & four) | (x >> 4 * bits & four) << 32;
    x = (x & (two | two << 32)) | (x >> 2 * bits & (two | two << 32)) << 16;
    one |= one << 16;
    one |= one << 32;
    return (x & one) | (x >> bits & one) << 8;
}

void codec_bits_pack(const uint8_t *values, size_t n, unsigned bits, uint8_t *out)
{
    assert(bits <= 8);
    for (size_t i = 0; i < n; i += 8, out += bits) {
        uint64_t x = 0;
        memcpy(&x, values + i, n - i < 8 ? n - i : 8);
        x = pack8(x, bits);
        memcpy(out, &x, bits);
    }
}

void codec_bits_unpack(const uint8_t *in, size_t n, unsigned bits, uint8_t *values)
{
    assert(bits <= 8);
    for (size_t i = 0; i < n; i += 8, in += bits) {
        uint64_t x = 0;
        memcpy(&x, in, bits);
        x = unpack8(x, bits);
        memcpy(values + i, &x, n - i < 8 ? n - i : 8);
    }
}

void codec_planes_put(struct codec_planes p, size_t n, size_t at, const uint32_t *raw,
                      size_t n_raw, uint8_t *out)
{
    uint8_t values[CODEC_PIECE];
    for (unsigned k = 0; k < p.n_bytes; k++)
        for (size_t i = 0; i < n_raw; i++) out[k * n + at + i] = (uint8_t)(raw[i] >> 8 * k);
    if (p.bits == 0) return;
    for (size_t i = 0; i < n_raw; i++)
        values[i] = (uint8_t)(raw[i] >> 8 * p.n_bytes & ((1u << p.bits) - 1));
    codec_bits_pack(values, n_raw, p.bits, out + codec_planes_bits_at(p, n, at));
}

void codec_planes_get(struct codec_planes p, size_t n, size_t at, const uint8_t *in,
                      const uint8_t *bits, size_t n_raw, uint32_t *raw)
{
    uint8_t values[CODEC_PIECE] = {0};
    if (p.bits != 0) codec_bits_unpack(bits, n_raw, p.bits, values);
    for (size_t i = 0; i < n_raw; i++) raw[i] = (uint32_t)values[i] << 8 * p.n_bytes;
    for (unsigned k = 0; k < p.n_bytes; k++)
        for (size_t i = 0; i < n_raw; i++) raw[i] |= (uint32_t)in[k * n + at + i] << 8 * k;
}
