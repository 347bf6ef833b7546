/*
 * gguf_blocks_template.h - ggml's encoders of types of 32 elements, and how blocks come
 * into lanes; the first part of gguf_encode_template.h.
 */
#include "gguf.h"
#include "gguf_codes.h"

enum { BLOCK = 32 };

static const float *block_at(const struct gguf_span *s, size_t i, size_t n)
{
    return s->w + (s->first + i) * n;
}

/* ---- 32 elements, no importance ---- */

static void encode_q8_0(const struct gguf_span *s, uint8_t *out)
{
    for (size_t i = 0; i < s->n; i++, out += 34)
        gguf_put_half(out, gguf_plain_q8(block_at(s, i, BLOCK), out + 2));
}

static void put_q4_0(uint8_t *out, float d, const uint8_t code[32])
{
    gguf_put_half(out, d);
    gguf_pack_nibbles(code, out + 2);
}

static void put_q4_1(uint8_t *out, float d, float m, const uint8_t code[32])
{
    gguf_put_half(out, d);
    gguf_put_half(out + 2, m);
    gguf_pack_nibbles(code, out + 4);
}

static void put_q5_0(uint8_t *out, float d, const uint8_t code[32])
{
    gguf_put_half(out, d);
    gguf_pack_fifth_bits(code, out + 2);
    gguf_pack_nibbles(code, out + 6);
}

static void put_q5_1(uint8_t *out, float d, float m, const uint8_t code[32])
{
    gguf_put_half(out, d);
    gguf_put_half(out + 2, m);
    gguf_pack_fifth_bits(code, out + 4);
    gguf_pack_nibbles(code, out + 8);
}

static void plain_q4_0(const struct gguf_span *s, uint8_t *out)
{
    uint8_t code[BLOCK];
    for (size_t i = 0; i < s->n; i++)
        put_q4_0(out + 18 * i, gguf_plain_symmetric(block_at(s, i, BLOCK), 8, code), code);
}

static void plain_q5_0(const struct gguf_span *s, uint8_t *out)
{
    uint8_t code[BLOCK];
    for (size_t i = 0; i < s->n; i++)
        put_q5_0(out + 22 * i, gguf_plain_symmetric(block_at(s, i, BLOCK), 16, code), code);
}

static void plain_q4_1(const struct gguf_span *s, uint8_t *out)
{
    uint8_t code[BLOCK];
    float m;
    for (size_t i = 0; i < s->n; i++) {
        float d = gguf_plain_affine(block_at(s, i, BLOCK), 15, &m, code);
        put_q4_1(out + 20 * i, d, m, code);
    }
}

static void plain_q5_1(const struct gguf_span *s, uint8_t *out)
{
    uint8_t code[BLOCK];
    float m;
    for (size_t i = 0; i < s->n; i++) {
        float d = gguf_plain_affine(block_at(s, i, BLOCK), 31, &m, code);
        put_q5_1(out + 24 * i, d, m, code);
    }
}

/* ---- searches over blocks, one a lane ---- */

/* Sub-blocks of n elements, `count` of them from `w` on; column_of_first is that of the
 * first one's first element. Lanes past the last repeat it. */
struct lane_source {
    const float *w, *importance;
    size_t column_of_first, n_in, count;
};

GGUF_INLINE void turn_blocks(const struct lane_source *s, size_t first, int n,
                             gguf_lanes *x, gguf_lanes *q)
{
    const float *from[GGUF_LANES], *weights[GGUF_LANES];
    for (size_t i = 0; i < GGUF_LANES; i++) {
        size_t block = first + i < s->count ? first + i : s->count - 1;
        from[i] = s->w + block * (size_t)n;
        if (q != NULL)
            weights[i] = s->importance + (s->column_of_first + block * (size_t)n) % s->n_in;
    }
    lanes_turn(from, n, x);
    if (q != NULL) lanes_turn(weights, n, q);
}

static struct lane_source source_of(const struct gguf_span *s, size_t block, size_t n_sub)
{
    return (struct lane_source){.w = s->w + s->first * block,
                                .importance = s->importance,
                                .column_of_first = s->first * block % s->n_in,
                                .n_in = s->n_in,
                                .count = s->n * n_sub};
}

/* q * sqrt(mean_square + x * x): how much an error of x matters. */
GGUF_INLINE void weigh(const gguf_lanes *x, const gguf_lanes *q, int n,
                       gguf_lanes mean_square, gguf_lanes *w)
{
    for (int e = 0; e < n; e++) w[e] = q[e] * lanes_sqrt(mean_square + x[e] * x[e]);
}

GGUF_INLINE gguf_lanes sum_in_order(const gguf_lanes *x, int n)
{
    gguf_lanes sum = {0};
    for (int e = 0; e < n; e++) sum += x[e];
    return sum;
}

GGUF_INLINE gguf_lanes sum_of_squares(const gguf_lanes *x, int n)
{
    gguf_lanes sum = {0};
    for (int e = 0; e < n; e++) sum += x[e] * x[e];
    return sum;
}

/* (sum of squares of a row) / n_in, sixteen columns of as many rows as there are lanes at a
 * time. */
static void row_mean_squares(const float *w, size_t n_rows, size_t n_in, float *out)
{
    for (size_t row = 0; row < n_rows; row += GGUF_LANES) {
        size_t rows = n_rows - row < GGUF_LANES ? n_rows - row : GGUF_LANES;
        gguf_lanes sum = {0}, x[16];
        for (size_t column = 0; column < n_in; column += 16) {
            const float *from[GGUF_LANES];
            for (size_t i = 0; i < GGUF_LANES; i++)
                from[i] = w + (row + (i < rows ? i : 0)) * n_in + column;
            lanes_turn(from, 16, x);
            for (int e = 0; e < 16; e++) sum += x[e] * x[e];
        }
        sum /= lanes_all(n_in);
        memcpy(out + row, &sum, rows * sizeof(float));
    }
}

/* ---- 32 elements, searched ---- */

/* Calls with the weights of 32-element blocks, in lanes, and their answers. */
struct block_group {
    gguf_lanes x[BLOCK], w[BLOCK];
    size_t n; /* lanes in use */
};

/* The group of blocks from span->first + i on. */
GGUF_INLINE void load_group(const struct gguf_span *s, size_t i, struct block_group *g)
{
    struct lane_source source = source_of(s, BLOCK, 1);
    gguf_lanes q[BLOCK], mean_square;
    float of_row[GGUF_LANES];
    turn_blocks(&source, i, BLOCK, g->x, q);
    for (size_t lane = 0; lane < GGUF_LANES; lane++) {
        size_t block = i + lane < s->n ? i + lane : s->n - 1;
        of_row[lane] = s->row_mean_square[(s->first + block) * BLOCK / s->n_in];
    }
    memcpy(&mean_square, of_row, sizeof(mean_square));
    weigh(g->x, q, BLOCK, mean_square, g->w);
    g->n = s->n - i < GGUF_LANES ? s->n - i : GGUF_LANES;
}

/* Q4_0 (N = 8) and Q5_0 (N = 16). */
GGUF_INLINE void searched_symmetric(const struct gguf_span *s, float N, size_t bytes,
                                    void (*put)(uint8_t *, float, const uint8_t *),
                                    uint8_t *out)
{
    struct block_group g;
    uint8_t code[BLOCK];
    for (size_t i = 0; i < s->n; i += GGUF_LANES) {
        load_group(s, i, &g);
        struct gguf_sym fit = gguf_sym(g.x, g.w, BLOCK, N);
        for (size_t lane = 0; lane < g.n; lane++, out += bytes) {
            gguf_codes_symmetric(block_at(s, i + lane, BLOCK), BLOCK, fit.inverse[lane], N,
                                 code);
            put(out, fit.scale[lane], code);
        }
    }
}

/* Q4_1 (N = 15) and Q5_1 (N = 31). */
GGUF_INLINE void searched_affine(const struct gguf_span *s, float N, size_t bytes,
                                 void (*put)(uint8_t *, float, float, const uint8_t *),
                                 uint8_t *out)
{
    const struct gguf_aff_grid grid = {N, -0.9f, 0.05f, 36, false};
    struct block_group g;
    uint8_t code[BLOCK];
    for (size_t i = 0; i < s->n; i += GGUF_LANES) {
        load_group(s, i, &g);
        struct gguf_aff fit = gguf_aff(g.x, g.w, BLOCK, grid);
        for (size_t lane = 0; lane < g.n; lane++, out += bytes) {
            gguf_codes_affine(block_at(s, i + lane, BLOCK), BLOCK, fit.inverse[lane],
                              fit.low[lane], N, code);
            put(out, fit.scale[lane], -fit.minus[lane], code);
        }
    }
}

static void encode_q4_0(const struct gguf_span *s, uint8_t *out)
{
    if (s->importance == NULL)
        plain_q4_0(s, out);
    else
        searched_symmetric(s, 8, 18, put_q4_0, out);
}

static void encode_q4_1(const struct gguf_span *s, uint8_t *out)
{
    if (s->importance == NULL)
        plain_q4_1(s, out);
    else
        searched_affine(s, 15, 20, put_q4_1, out);
}

static void encode_q5_0(const struct gguf_span *s, uint8_t *out)
{
    if (s->importance == NULL)
        plain_q5_0(s, out);
    else
        searched_symmetric(s, 16, 22, put_q5_0, out);
}

static void encode_q5_1(const struct gguf_span *s, uint8_t *out)
{
    if (s->importance == NULL)
        plain_q5_1(s, out);
    else
        searched_affine(s, 31, 24, put_q5_1, out);
}

/* ---- IQ4_NL ---- */

static void encode_iq4_nl(const struct gguf_span *s, uint8_t *out)
{
    struct lane_source source = source_of(s, BLOCK, 1);
    gguf_lanes x[BLOCK], w[BLOCK];
    uint8_t code[BLOCK];
    for (size_t i = 0; i < s->n; i += GGUF_LANES) {
        turn_blocks(&source, i, BLOCK, x, s->importance == NULL ? NULL : w);
        if (s->importance == NULL)
            for (int e = 0; e < BLOCK; e++) w[e] = x[e] * x[e];
        else
            weigh(x, w, BLOCK, sum_of_squares(x, BLOCK) * (2.0f / BLOCK), w);
        gguf_lanes scale = gguf_nl(x, w);
        for (size_t lane = 0; lane < GGUF_LANES && i + lane < s->n; lane++, out += 18) {
            float d = scale[lane];
            gguf_codes_nl(block_at(s, i + lane, BLOCK), d != 0 ? 1.0f / d : 0, code);
            put_q4_0(out, d, code);
        }
    }
}
