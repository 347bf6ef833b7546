/*
 * widen.c - stored elements to fp32, exactly, and the search for the first that is not
 * finite. Block types are in blocks.c.
 *
 * Inner loops have fixed counts, because that is what gcc vectorizes at -O2.
 */
#include "model/widen.h"

#include <math.h>
#include <string.h>

#include "core/bytes.h"
#include "core/clones.h"
#include "core/half.h"
#include "model/blocks.h"
#include "model/checkpoint.h"

enum { RUN = 64 };

/* ---- plain types ---- */

/* ucb_f16_widen without branches, for vectors. */
static inline float half_to_float(uint32_t h)
{
    uint32_t magnitude = h & 0x7fffu;
    uint32_t normal = (magnitude << 13) + (112u << 23);
    uint32_t special = magnitude << 13 | 0x7f800000u;
    uint32_t subnormal = ucb_f32_bits((float)(int32_t)magnitude * 0x1p-24f); /* exact */
    uint32_t bits = magnitude < 0x400u     ? subnormal
                    : magnitude >= 0x7c00u ? special
                                           : normal;
    return ucb_f32_from_bits(bits | (h & 0x8000u) << 16);
}

UCB_CLONES static void widen_f16(const uint8_t *source, size_t n, float *out)
{
    size_t i = 0;
    for (; i + RUN <= n; i += RUN) {
        uint16_t h[RUN];
        memcpy(h, source + 2 * i, sizeof(h));
        for (size_t j = 0; j < RUN; j++) out[i + j] = half_to_float(h[j]);
    }
    for (; i < n; i++) out[i] = half_to_float(ucb_load_u16(source + 2 * i));
}

UCB_CLONES static void widen_bf16(const uint8_t *source, size_t n, float *out)
{
    size_t i = 0;
    for (; i + RUN <= n; i += RUN) {
        uint16_t h[RUN];
        memcpy(h, source + 2 * i, sizeof(h));
        for (size_t j = 0; j < RUN; j++) out[i + j] = ucb_bf16_widen(h[j]);
    }
    for (; i < n; i++) out[i] = ucb_bf16_widen(ucb_load_u16(source + 2 * i));
}

static void widen_f64(const uint8_t *source, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        double v;
        memcpy(&v, source + 8 * i, sizeof(v));
        out[i] = (float)v;
    }
}

bool ucb_dtype_widens(enum ucb_dtype dtype)
{
    switch (dtype) {
    case UCB_F32:
    case UCB_F16:
    case UCB_BF16:
    case UCB_F64: return true;
    default: return ucb_dtype_is_blocks(dtype);
    }
}

void ucb_widen(enum ucb_dtype dtype, const uint8_t *source, size_t n_elements, float *out)
{
    switch (dtype) {
    case UCB_F32: memcpy(out, source, n_elements * sizeof(*out)); break;
    case UCB_F16: widen_f16(source, n_elements, out); break;
    case UCB_BF16: widen_bf16(source, n_elements, out); break;
    case UCB_F64: widen_f64(source, n_elements, out); break;
    default:
        ucb_blocks_widen(dtype, source, n_elements / ucb_dtype_block_elements(dtype), out);
    }
}

ucb_status ucb_tensor_widen(const struct ucb_tensor *tensor, uint64_t first, uint64_t n,
                            float *out, struct ucb_err *err)
{
    uint32_t block = ucb_dtype_block_elements(tensor->dtype);
    if (!ucb_dtype_widens(tensor->dtype))
        return UCB_FAIL(
            err, UCB_UNSUPPORTED,
            "%s: tensor `%s` is stored as %s; F32, F16, BF16, F64 and ggml's block types can "
            "be read as weights",
            tensor->file, tensor->name, ucb_dtype_name(tensor->dtype));
    if (first > tensor->n_elements || n > tensor->n_elements - first ||
        first % block != 0 || n % block != 0)
        return UCB_FAIL(
            err, UCB_USAGE,
            "tensor `%s`: elements %llu to %llu asked for, it has %llu in blocks of %u",
            tensor->name, (unsigned long long)first, (unsigned long long)(first + n),
            (unsigned long long)tensor->n_elements, block);
    if (n == 0) return UCB_OK; /* an empty tensor may have no bytes to point at */
    ucb_widen(tensor->dtype,
              tensor->data + first / block * ucb_dtype_block_bytes(tensor->dtype),
              (size_t)n, out);
    return UCB_OK;
}

/* ---- not finite ---- */

/*
 * All exponent bits set means NaN or infinity. Adding one unit of the exponent to the
 * exponent field carries into the bit above it exactly then, so an OR over many elements
 * answers for all of them.
 */
UCB_CLONES static bool any_nonfinite_16(const uint8_t *source, size_t n, uint16_t exponent,
                                        uint16_t unit)
{
    uint16_t seen = 0;
    size_t i = 0;
    for (; i + RUN <= n; i += RUN) {
        uint16_t h[RUN];
        memcpy(h, source + 2 * i, sizeof(h));
        for (size_t j = 0; j < RUN; j++) seen |= (uint16_t)((h[j] & exponent) + unit);
    }
    for (; i < n; i++) seen |= (uint16_t)((ucb_load_u16(source + 2 * i) & exponent) + unit);
    return (seen & 0x8000u) != 0;
}

UCB_CLONES static bool any_nonfinite_32(const uint8_t *source, size_t n)
{
    uint32_t seen = 0;
    size_t i = 0;
    for (; i + RUN <= n; i += RUN) {
        uint32_t w[RUN];
        memcpy(w, source + 4 * i, sizeof(w));
        for (size_t j = 0; j < RUN; j++) seen |= (w[j] & 0x7f800000u) + 0x00800000u;
    }
    for (; i < n; i++) seen |= (ucb_load_u32(source + 4 * i) & 0x7f800000u) + 0x00800000u;
    return (seen & 0x80000000u) != 0;
}

static bool any_nonfinite(enum ucb_dtype dtype, const uint8_t *source, size_t n_elements)
{
    size_t n_blocks = n_elements / ucb_dtype_block_elements(dtype);
    float widened;
    switch (dtype) {
    case UCB_F32: return any_nonfinite_32(source, n_elements);
    case UCB_F16: return any_nonfinite_16(source, n_elements, 0x7c00, 0x0400);
    case UCB_BF16: return any_nonfinite_16(source, n_elements, 0x7f80, 0x0080);
    case UCB_F64:
        for (size_t i = 0; i < n_elements; i++) {
            widen_f64(source + 8 * i, 1,
                      &widened); /* past the largest fp32 counts as infinite */
            if (!isfinite(widened)) return true;
        }
        return false;
    default: return ucb_blocks_find_nonfinite(dtype, source, n_blocks) < n_blocks;
    }
}

uint64_t ucb_find_nonfinite(enum ucb_dtype dtype, const uint8_t *source,
                            uint64_t n_elements)
{
    enum { CHUNK = 1 << 14 }; /* stays in the first cache when a hit is narrowed down */
    uint64_t block = ucb_dtype_block_elements(dtype);
    size_t block_bytes = ucb_dtype_block_bytes(dtype);
    for (uint64_t i = 0; i < n_elements; i += CHUNK) {
        uint64_t n = n_elements - i < CHUNK ? n_elements - i : CHUNK;
        if (!any_nonfinite(dtype, source + i / block * block_bytes, (size_t)n)) continue;
        while (!any_nonfinite(dtype, source + i / block * block_bytes, (size_t)block))
            i += block;
        return i;
    }
    return n_elements;
}
