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

#include <math.h>

/* The positive half; negatives mirror it, 0 stands at index 127, and only the positive side
 * ends in 1. */
static const float positive[127] = {
    /* clang-format off */
    5.5000004e-07f, 3.2500002e-06f, 7.75e-06f, 2.1249998e-05f, 4.375e-05f, 6.625e-05f,
    8.875e-05f, 0.00015625001f, 0.00026875004f, 0.00038125002f, 0.00049375003f,
    0.0006062501f, 0.00071875006f, 0.00083125f, 0.0009437501f, 0.0012812499f, 0.00184375f,
    0.00240625f, 0.00296875f, 0.0035312497f, 0.00409375f, 0.0046562497f, 0.0052187503f,
    0.00578125f, 0.00634375f, 0.00690625f, 0.00746875f, 0.00803125f, 0.00859375f,
    0.009156249f, 0.00971875f, 0.01140625f, 0.01421875f, 0.01703125f, 0.019843752f,
    0.02265625f, 0.02546875f, 0.028281251f, 0.03109375f, 0.03390625f, 0.036718752f,
    0.03953125f, 0.042343747f, 0.04515625f, 0.04796875f, 0.05078125f, 0.05359375f,
    0.05640625f, 0.059218753f, 0.06203125f, 0.06484375f, 0.067656256f, 0.070468746f,
    0.07328125f, 0.07609375f, 0.07890625f, 0.08171876f, 0.08453125f, 0.08734375f,
    0.09015625f, 0.092968754f, 0.09578126f, 0.09859375f, 0.107031256f, 0.12109375f,
    0.13515624f, 0.14921875f, 0.16328125f, 0.17734376f, 0.19140625f, 0.20546874f,
    0.21953125f, 0.23359375f, 0.24765624f, 0.26171875f, 0.27578127f, 0.28984374f,
    0.30390626f, 0.31796873f, 0.33203125f, 0.34609374f, 0.36015624f, 0.37421876f,
    0.38828123f, 0.40234375f, 0.41640624f, 0.43046874f, 0.44453126f, 0.45859373f,
    0.47265625f, 0.4867187f, 0.50078124f, 0.5148437f, 0.5289062f, 0.54296875f, 0.5570313f,
    0.5710938f, 0.58515626f, 0.5992187f, 0.61328125f, 0.6273438f, 0.6414063f, 0.65546876f,
    0.6695312f, 0.68359375f, 0.6976563f, 0.7117188f, 0.72578126f, 0.7398437f, 0.75390625f,
    0.7679688f, 0.78203124f, 0.79609376f, 0.8101562f, 0.82421875f, 0.8382813f,
    0.85234374f, 0.86640626f, 0.8804687f, 0.89453125f, 0.9085938f, 0.92265624f,
    0.93671876f, 0.9507812f, 0.96484375f, 0.9789063f, 0.99296874f,
    /* clang-format on */
};

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
