/*
 * codec_mix.c - the coder of mode max: exponent, sign and two mantissa bits as binary
 * decisions, each predicted in a few contexts whose logits are mixed with weights that
 * learn (Mahoney, "Adaptive weighing of context models", 2005), then an arithmetic coder.
 *
 * What weights have that their order does not show: columns and rows with a scale and a
 * mean of their own. The contexts are the column; the classes of the row's and the column's
 * mean exponent so far; the neighbours to the left and above. Integers only, so every
 * machine predicts the same.
 *
 * The exponent is d = top - exponent, counted off one decision at a time; d of 15 stands
 * for every other exponent, which follows as eight plain bits. `top` is the first byte.
 */
#include <assert.h>
#include <string.h>

#include "codec/codec_internal.h"

enum {
    ESCAPED = 15, /* d of an exponent that is not in top - 14 .. top */
    N_D = 16,
    N_COLUMNS = 1024, /* columns further on share the counters of column mod 1024 */
    N_CLASSES = 32,
    MEAN_ONE = 256, /* unit of the running means */
    LIMIT = 255,    /* observations after which a counter's rate stays */
    MAX_INPUTS = 6,
    N_SETS = 3 * N_D /* of mixing weights: exponent, sign, mantissa, by d */
};

/* The probability of a one in the upper 22 bits, how often it was seen in the lower 10. */
typedef uint32_t counter;

struct model {
    counter exponent0[N_D], sign0[N_D], mantissa0[N_D][4];
    counter column_exponent[N_COLUMNS][N_D], column_sign[N_COLUMNS][N_D / 2],
        column_mantissa[N_COLUMNS][4], column_bias[N_COLUMNS];
    counter neighbours[N_D][N_D][N_D], classes[N_CLASSES][N_CLASSES][N_D],
        row_class[N_CLASSES][N_D], column_class[N_CLASSES][N_D];
    counter bias_sign[N_CLASSES][N_D], near_sign[8][N_D];
    counter mean_mantissa[N_CLASSES][N_D][4], bias_mantissa[2 * N_CLASSES][N_D][4];
    int32_t weights[N_SETS][MAX_INPUTS];
    uint16_t column_mean[N_COLUMNS], bias[N_COLUMNS]; /* of d; of the sign, 1 is 2^16 - 1 */
    uint8_t above_d[N_COLUMNS], above_sign[N_COLUMNS];
    uint32_t row_mean, mean;
    uint8_t left_d, left_sign, corner_sign;
    int16_t stretch[4096];
    uint32_t rate[LIMIT + 1];
};

struct coder {
    uint32_t low, high, code;
    const uint8_t *in, *in_end;
    uint8_t *out;
    bool failed; /* the bytes ended */
};

/* 4096 / (1 + exp(-x / 256)), between points half a unit apart. */
static int squash(int x)
{
    static const int16_t points[] = {1,    2,    3,    6,    10,   16,   27,   45,   73,
                                     120,  194,  310,  488,  747,  1101, 1546, 2047, 2549,
                                     2994, 3348, 3607, 3785, 3901, 3975, 4022, 4050, 4068,
                                     4079, 4085, 4089, 4092, 4093, 4094};
    if (x > 2047) return 4095;
    if (x < -2047) return 1;
    int part = x & 127, at = (x >> 7) + 16;
    return (points[at] * (128 - part) + points[at + 1] * part + 64) >> 7;
}

static void fill_counters(void *counters, size_t n_bytes)
{
    counter *c = counters;
    for (size_t i = 0; i < n_bytes / sizeof(*c); i++) c[i] = (counter)1 << 31;
}

static void model_begin(struct model *m)
{
    memset(m, 0, sizeof(*m));
    fill_counters(m, offsetof(struct model, weights));
    for (int s = 0; s < N_SETS; s++)
        for (int i = 0; i < MAX_INPUTS; i++) m->weights[s][i] = (1 << 16) * 3 / 10;
    for (int i = 0; i < N_COLUMNS; i++) {
        m->column_mean[i] = 5 * MEAN_ONE;
        m->bias[i] = 1 << 15;
    }
    m->row_mean = m->mean = 5 * MEAN_ONE;
    for (int p = 0, x = -2047, next = 0; x <= 2047; x++) /* the inverse of squash */
        for (next = squash(x); p <= next; p++) m->stretch[p] = (int16_t)x;
    for (int p = squash(2047) + 1; p < 4096; p++) m->stretch[p] = 2047;
    for (uint32_t n = 0; n <= LIMIT; n++) m->rate[n] = 131072 / (2 * n + 3);
}

static inline void counter_learn(const struct model *m, counter *c, int bit)
{
    uint32_t n = *c & 1023;
    int64_t p = *c >> 10, target = bit ? (1 << 22) - 1 : 0;
    p += ((target - p) * m->rate[n]) >> 16;
    *c = (counter)p << 10 | (n < LIMIT ? n + 1 : LIMIT);
}

/* ---- the arithmetic coder; p is the probability of a one, of 4096 ---- */

static inline int code_bit(struct coder *c, bool decode, int bit, uint32_t p)
{
    uint32_t middle = c->low + (uint32_t)(((uint64_t)(c->high - c->low) * p) >> 12);
    if (decode) bit = c->code <= middle;
    if (bit)
        c->high = middle;
    else
        c->low = middle + 1;
    while (((c->low ^ c->high) & 0xff000000) == 0) {
        if (!decode) *c->out++ = (uint8_t)(c->high >> 24);
        c->low <<= 8;
        c->high = c->high << 8 | 255;
        if (!decode) continue;
        c->failed |= c->in == c->in_end;
        c->code = c->code << 8 | (c->in == c->in_end ? 0 : *c->in++);
    }
    return bit;
}

/* One decision, predicted by n counters and mixed with weights of `set`; all learn. */
static inline int decide(struct model *m, struct coder *c, bool decode, int bit,
                         counter *const *input, int n, int set)
{
    int logit[MAX_INPUTS];
    int64_t dot = 0;
    int32_t *weights = m->weights[set];
    for (int i = 0; i < n; i++) {
        logit[i] = m->stretch[*input[i] >> 20];
        dot += (int64_t)weights[i] * logit[i];
    }
    dot >>= 16;
    int p = squash(dot > 2047 ? 2047 : dot < -2047 ? -2047 : (int)dot);
    bit = code_bit(c, decode, bit, (uint32_t)p);
    int error = ((bit << 12) - p) * 6;
    for (int i = 0; i < n; i++) {
        weights[i] += (logit[i] * error + (1 << 13)) >> 14;
        counter_learn(m, input[i], bit);
    }
    return bit;
}

static inline unsigned class_of(uint32_t mean)
{
    unsigned c = mean * 3 / MEAN_ONE;
    return c < N_CLASSES ? c : N_CLASSES - 1;
}

/* ---- an element ---- */

static inline unsigned code_exponent(struct model *m, struct coder *c, bool decode,
                                     unsigned d, unsigned column)
{
    unsigned row = class_of(m->row_mean), col = class_of(m->column_mean[column]), k = 0;
    for (; k < ESCAPED; k++) {
        counter *const inputs[] = {&m->exponent0[k],
                                   &m->column_exponent[column][k],
                                   &m->neighbours[m->left_d][m->above_d[column]][k],
                                   &m->classes[row][col][k],
                                   &m->row_class[row][k],
                                   &m->column_class[col][k]};
        if (decide(m, c, decode, d == k, inputs, 6, (int)k)) break;
    }
    return k;
}

static inline unsigned code_sign(struct model *m, struct coder *c, bool decode,
                                 unsigned sign, unsigned d, unsigned column)
{
    unsigned near = m->left_sign * 4u + m->above_sign[column] * 2u + m->corner_sign;
    counter *const inputs[] = {
        &m->sign0[d], &m->column_sign[column][d / 2], &m->column_bias[column],
        &m->bias_sign[m->bias[column] >> 11][d], &m->near_sign[near][d]};
    return (unsigned)decide(m, c, decode, (int)sign, inputs, 5, N_D + (int)d);
}

static inline unsigned code_mantissa(struct model *m, struct coder *c, bool decode,
                                     unsigned two, unsigned sign, unsigned d,
                                     unsigned column)
{
    unsigned col = class_of(m->column_mean[column]), node = 1;
    unsigned leaning = sign * N_CLASSES + (m->bias[column] >> 11);
    for (int i = 1; i >= 0; i--) {
        counter *const inputs[] = {
            &m->mantissa0[d][node], &m->column_mantissa[column][node],
            &m->mean_mantissa[col][d][node], &m->bias_mantissa[leaning][d][node]};
        node = node << 1 |
               (unsigned)decide(m, c, decode, two >> i & 1, inputs, 4, 2 * N_D + (int)d);
    }
    return node & 3;
}

static inline void remember(struct model *m, unsigned d, unsigned sign, unsigned column)
{
    uint32_t scaled = d * MEAN_ONE, mean = m->column_mean[column];
    m->column_mean[column] = (uint16_t)(mean + scaled / 32 - mean / 32);
    m->row_mean += scaled / 32 - m->row_mean / 32;
    m->mean += scaled / 1024 - m->mean / 1024;
    m->bias[column] = (uint16_t)(m->bias[column] + (sign ? 65535 / 64 : 0) -
                                 m->bias[column] / 64);
    m->corner_sign = m->above_sign[column];
    m->above_d[column] = m->left_d = (uint8_t)d;
    m->above_sign[column] = m->left_sign = (uint8_t)sign;
}

/* Exponent, sign and two mantissa bits of an element in the place of which `u` stands; raw
 * bits are left zero. */
static inline uint32_t code_element(struct model *m, struct coder *c, bool decode,
                                    const struct codec_format *f, unsigned top, uint32_t u,
                                    unsigned column)
{
    unsigned rest = 8 * f->width - f->exponent_bits;
    unsigned exponent = u >> rest, d = top - exponent;
    if (d > ESCAPED) d = ESCAPED; /* above the top, too: top - exponent has wrapped */
    d = code_exponent(m, c, decode, d, column);
    if (d == ESCAPED) {
        unsigned escaped = 0;
        for (int i = (int)f->exponent_bits - 1; i >= 0; i--)
            escaped = escaped << 1 |
                      (unsigned)code_bit(c, decode, (int)(exponent >> i & 1), 2048);
        exponent = escaped;
    } else {
        exponent = (top - d) & ((1u << f->exponent_bits) - 1);
    }
    unsigned sign = code_sign(m, c, decode, u & 1, d, column);
    unsigned two = code_mantissa(m, c, decode, u >> (rest - 2) & 3, sign, d, column);
    remember(m, d, sign, column);
    return exponent << rest | two << (rest - 2) | sign;
}

/* A new row begins like the last ones. */
static inline uint32_t next_column(struct model *m, uint32_t column, uint32_t n_columns)
{
    if (++column < n_columns) return column;
    m->row_mean = m->mean;
    return 0;
}

/* The highest exponent, but for one in 1024 elements. */
static unsigned find_top(const struct codec_format *f, const uint32_t *turned, size_t n)
{
    uint32_t counts[256] = {0};
    size_t above = 0;
    unsigned top = 255;
    for (size_t i = 0; i < n; i++) counts[turned[i] >> (8 * f->width - f->exponent_bits)]++;
    for (; top > 0 && above + counts[top] <= n / 1024; top--) above += counts[top];
    return top;
}

size_t codec_mix_encode(const struct codec_format *f, const uint32_t *turned, size_t n,
                        uint32_t column, uint32_t n_columns, uint8_t *out, size_t limit)
{
    /* 12 bits for each of 15 + 1 + 2 decisions and 8 plain bits are the most
     * that one costs */
    enum { MOST_BYTES = (18 * 12 + 8) / 8 };
    struct model m;
    struct coder c = {.high = UINT32_MAX, .out = out};
    unsigned top = find_top(f, turned, n);
    if (n_columns == 0) n_columns = N_COLUMNS;
    model_begin(&m);
    if (limit == 0) return 1;
    *c.out++ = (uint8_t)top;
    for (size_t i = 0; i < n; i++) {
        if ((size_t)(c.out - out) + MOST_BYTES > limit) return limit + 1;
        code_element(&m, &c, false, f, top, turned[i], column % N_COLUMNS);
        column = next_column(&m, column, n_columns);
    }
    if ((size_t)(c.out - out) + 4 > limit) return limit + 1;
    for (int shift = 24; shift >= 0; shift -= 8) *c.out++ = (uint8_t)(c.high >> shift);
    return (size_t)(c.out - out);
}

bool codec_mix_decode(const struct codec_format *f, const uint8_t *in, size_t n_bytes,
                      size_t n, uint32_t column, uint32_t n_columns, codec_mix_take *take,
                      void *context)
{
    struct model m;
    uint32_t piece[CODEC_PIECE];
    if (n_bytes < 5) return false;
    struct coder c = {.high = UINT32_MAX, .in = in + 5, .in_end = in + n_bytes};
    for (int i = 1; i <= 4; i++) c.code = c.code << 8 | in[i];
    if (n_columns == 0) n_columns = N_COLUMNS;
    model_begin(&m);
    for (size_t at = 0; at < n; at += CODEC_PIECE) {
        size_t some = n - at < CODEC_PIECE ? n - at : CODEC_PIECE;
        for (size_t i = 0; i < some; i++) {
            piece[i] = code_element(&m, &c, true, f, in[0], 0, column % N_COLUMNS);
            column = next_column(&m, column, n_columns);
        }
        if (c.failed || !take(context, piece, some)) return false;
    }
    return c.in == c.in_end;
}
