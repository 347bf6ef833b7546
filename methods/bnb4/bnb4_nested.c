/*
 * bnb4_nested.c - double quantization: the absmax of 4-bit blocks, less their mean, as
 * 8-bit codes of a signed dynamic map, in blocks of 256 with one fp32 peak each.
 *
 *     u = absmax - offset,   v = u * (1 / max |u|),   code = nearest entry of the map to v
 *     absmax' = map[code] * absmax2 + offset          (each operation rounded to fp32)
 *
 * "Nearest" has two published meanings. The GPU kernel compares v with fp32 midpoints and
 * sends an exact tie to the even code. The CPU library first rounds v to one of 65536 bins,
 * whose spacing near zero is wider than the map's, so a few codes differ by one. Published
 * results used the GPU's.
 */
#include "bnb4.h"
#include "bnb4_tables.h"

#include <math.h>

static const float positive[127] = {BNB4_MAP_POSITIVE};

float bnb4_map_value(unsigned code)
{
    if (code < 127) return -positive[126 - code];
    if (code == 127) return 0.0f;
    return code == 255 ? 1.0f : positive[code - 128];
}

float bnb4_offset(const float *absmax, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)absmax[i];
    return (float)(sum / (double)n);
}

/* How many of the 255 ascending midpoints lie below v; 0 for NaN. */
static unsigned count_below(const float *middle, float v)
{
    unsigned low = 0;
    for (unsigned step = 128; step > 0; step /= 2)
        if (low + step <= BNB4_MAP_SIZE - 1 && middle[low + step - 1] < v) low += step;
    return low;
}

static unsigned code_gpu(const float *middle, float v)
{
    unsigned code = count_below(middle, v);
    bool tie = code < BNB4_MAP_SIZE - 1 && middle[code] == v;
    return tie && code % 2 == 1 ? code + 1 : code;
}

static unsigned code_cpu(const float *middle, float v)
{
    /* A block of denormals has an infinite reciprocal and may give NaN; converting that to
     * int is undefined. */
    if (!(v >= -1.0f)) v = -1.0f;
    if (v > 1.0f) v = 1.0f;
    int bin = (int)((v + 1.0f) * 0.5f * 65535.0f + 0.5f);
    return count_below(middle, -1.0f + (float)(2 * bin) / 65535.0f);
}

static float peak_of(const float *absmax, size_t n, float offset)
{
    float peak = 0.0f;
    for (size_t i = 0; i < n; i++) peak = fmaxf(peak, fabsf(absmax[i] - offset));
    return peak;
}

void bnb4_nested_encode(const float *absmax, size_t n, float offset, size_t nested,
                        enum bnb4_rule rule, uint8_t *codes, float *absmax2)
{
    float middle[BNB4_MAP_SIZE - 1];
    for (unsigned i = 0; i < BNB4_MAP_SIZE - 1; i++)
        middle[i] = 0.5f * (bnb4_map_value(i) + bnb4_map_value(i + 1));
    for (size_t start = 0; start < n; start += nested) {
        size_t end = n - start < nested ? n : start + nested;
        float peak = peak_of(absmax + start, end - start, offset), inverse = 1.0f / peak;
        absmax2[start / nested] = peak;
        for (size_t i = start; i < end; i++) {
            float v = (absmax[i] - offset) * inverse;
            unsigned code = rule == BNB4_RULE_GPU ? code_gpu(middle, v)
                                                  : code_cpu(middle, v);
            codes[i] = (uint8_t)(peak == 0.0f ? 0 : code);
        }
    }
}

void bnb4_nested_decode(const uint8_t *codes, size_t n, float offset, size_t nested,
                        const float *absmax2, float *absmax)
{
    for (size_t i = 0; i < n; i++)
        absmax[i] = bnb4_map_value(codes[i]) * absmax2[i / nested] + offset;
}
