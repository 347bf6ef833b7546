/*
 * gguf_encode_template.h - ggml's encoders, for as many lanes as the file that includes
 * this has; it defines GGUF_PATH, the table at the end, and GGUF_PATH_NAME.
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

/* ---- 256 elements: what the searches of sixteen super-blocks answer ---- */

enum { SUPER = 256, BATCH = 16, MAX_SUBS = 16 * BATCH };

/* By sub-block, in flat order; room for the idle lanes of the last group. */
struct batch {
    const struct gguf_span *span; /* of at most BATCH super-blocks */
    struct lane_source source;
    size_t n_sub; /* of a super-block */
    float scale[MAX_SUBS + GGUF_LANES], minus[MAX_SUBS + GGUF_LANES],
        inverse[MAX_SUBS + GGUF_LANES], low[MAX_SUBS + GGUF_LANES],
        weight[MAX_SUBS + GGUF_LANES];     /* sum of the weights */
    float mean_square[BATCH + GGUF_LANES]; /* by super-block, times what the type says */
    /* Then, by sub-block and by super-block. */
    float scale_code[MAX_SUBS + GGUF_LANES], min_code[MAX_SUBS + GGUF_LANES],
        d[BATCH + GGUF_LANES], dmin[BATCH + GGUF_LANES];
};

/* The batch of super-blocks from `at` on. */
static void begin_batch(const struct gguf_span *s, size_t at, size_t n_sub,
                        struct gguf_span *part, struct batch *b)
{
    *part = *s;
    part->first += at;
    part->n = s->n - at < BATCH ? s->n - at : BATCH;
    b->span = part;
    b->n_sub = n_sub;
    b->source = source_of(part, SUPER, n_sub);
}

/* mean_square = factor * (sum of squares of each super-block). */
GGUF_INLINE void sum_batch(struct batch *b, float factor)
{
    const struct gguf_span *s = b->span;
    struct lane_source source = source_of(s, SUPER, 1);
    for (size_t i = 0; i < s->n; i += GGUF_LANES) {
        const float *from[GGUF_LANES];
        gguf_lanes sum = {0}, x[16];
        for (int e = 0; e < SUPER; e += 16) {
            for (size_t lane = 0; lane < GGUF_LANES; lane++) {
                size_t block = i + lane < s->n ? i + lane : s->n - 1;
                from[lane] = source.w + block * SUPER + e;
            }
            lanes_turn(from, 16, x);
            for (int j = 0; j < 16; j++) sum += x[j] * x[j];
        }
        lanes_store(b->mean_square + i, sum * factor);
    }
}

/* The weights of the sub-blocks from `first` on with importance; q may be w. */
GGUF_INLINE void weigh_subs(struct batch *b, size_t first, int n, const gguf_lanes *x,
                            gguf_lanes *w)
{
    gguf_lanes mean_square;
    float of_lane[GGUF_LANES];
    for (size_t i = 0; i < GGUF_LANES; i++) {
        size_t sub = first + i < b->source.count ? first + i : b->source.count - 1;
        of_lane[i] = b->mean_square[sub / b->n_sub];
    }
    memcpy(&mean_square, of_lane, sizeof(mean_square));
    weigh(x, w, n, mean_square, w);
}

/* v[j] lane i = of sub-block j of super-block first + i. */
GGUF_INLINE void turn_subs(const struct batch *b, const float *of_sub, size_t first,
                           int n_sub, gguf_lanes *v)
{
    const float *from[GGUF_LANES];
    for (size_t i = 0; i < GGUF_LANES; i++) {
        size_t block = first + i < b->span->n ? first + i : b->span->n - 1;
        from[i] = of_sub + block * (size_t)n_sub;
    }
    lanes_turn(from, n_sub, v);
}

GGUF_INLINE void turn_subs_back(struct batch *b, const gguf_lanes *v, size_t first,
                                int n_sub, float *of_sub)
{
    for (size_t i = 0; i < GGUF_LANES && first + i < b->span->n; i++)
        for (int j = 0; j < n_sub; j++)
            of_sub[(first + i) * (size_t)n_sub + (size_t)j] = v[j][i];
}

/* As lanes_nearest. */
static int32_t nearest(float x)
{
    return (int32_t)(ucb_f32_bits(x + 0x1.8p23f) & 0x7fffffu) - 0x400000;
}

/* The first of the largest size, with its sign. */
static float signed_peak(const float *v, size_t n)
{
    float m = 0;
    for (size_t i = 0; i < n; i++)
        if (fabsf(v[i]) > fabsf(m)) m = v[i];
    return m;
}

/* ---- Q2_K, Q4_K, Q5_K: a scale and a minimum a sub-block ---- */

struct affine_type {
    int n, n_sub; /* elements of a sub-block, sub-blocks */
    struct gguf_aff_grid plain, weighed;
    float top;    /* the largest code of a scale or a minimum */
    float factor; /* of the sum of squares in weights of importance */
    bool root;    /* plain weights: |x|, or that and the root mean square */
};

GGUF_INLINE void weigh_plainly(const struct affine_type *t, const gguf_lanes *x,
                               gguf_lanes *w)
{
    gguf_lanes root = {0};
    if (t->root) root = lanes_sqrt(sum_of_squares(x, t->n) / (float)t->n);
    for (int e = 0; e < t->n; e++)
        w[e] = t->root ? root + lanes_abs(x[e]) : lanes_abs(x[e]);
}

GGUF_INLINE void search_affine(struct batch *b, const struct affine_type *t)
{
    gguf_lanes x[BLOCK], w[BLOCK];
    bool weighed = b->span->importance != NULL;
    if (weighed) sum_batch(b, t->factor);
    for (size_t i = 0; i < b->source.count; i += GGUF_LANES) {
        struct gguf_aff fit;
        if (weighed) {
            turn_blocks(&b->source, i, t->n, x, w);
            weigh_subs(b, i, t->n, x, w);
            lanes_store(b->weight + i, sum_in_order(w, t->n));
            fit = gguf_aff(x, w, t->n, t->weighed);
        } else {
            turn_blocks(&b->source, i, t->n, x, NULL);
            weigh_plainly(t, x, w);
            fit = gguf_aff(x, w, t->n, t->plain);
        }
        lanes_store(b->scale + i, fit.scale);
        lanes_store(b->minus + i, fit.minus);
        lanes_store(b->inverse + i, fit.inverse);
        lanes_store(b->low + i, fit.low);
    }
}

/* d and codes of 0..top of one super-block's scales, or minima. */
static float code_by_largest(const float *v, size_t n, float top, float *code)
{
    float largest = 0;
    for (size_t j = 0; j < n; j++) largest = v[j] > largest ? v[j] : largest;
    float inverse = largest > 0 ? top / largest : 0;
    for (size_t j = 0; j < n; j++) {
        float c = (float)(nearest(inverse * v[j]) & 255);
        code[j] = c < top ? c : top;
    }
    return largest / top;
}

GGUF_INLINE void code_by_weight(struct batch *b, const float *v, int n_sub, float top,
                                float *code, float *d)
{
    gguf_lanes values[16], weights[16], codes[16];
    for (size_t i = 0; i < b->span->n; i += GGUF_LANES) {
        turn_subs(b, v, i, n_sub, values);
        turn_subs(b, b->weight, i, n_sub, weights);
        lanes_store(d + i, gguf_pos(values, weights, n_sub, top, codes));
        turn_subs_back(b, codes, i, n_sub, code);
    }
}

GGUF_INLINE void code_scales(struct batch *b, const struct affine_type *t)
{
    if (b->span->importance != NULL) {
        code_by_weight(b, b->scale, t->n_sub, t->top, b->scale_code, b->d);
        code_by_weight(b, b->minus, t->n_sub, t->top, b->min_code, b->dmin);
        return;
    }
    for (size_t i = 0; i < b->span->n; i++) {
        size_t sub = i * (size_t)t->n_sub, n = (size_t)t->n_sub;
        b->d[i] = code_by_largest(b->scale + sub, n, t->top, b->scale_code + sub);
        b->dmin[i] = code_by_largest(b->minus + sub, n, t->top, b->min_code + sub);
    }
}

/* Codes of super-block i for the scales as they are stored; where a stored scale is 0, the
 * search's. */
GGUF_INLINE void affine_codes(const struct batch *b, const struct affine_type *t, size_t i,
                              uint8_t code[SUPER])
{
    const float *x = block_at(b->span, i, SUPER);
    float d = ucb_f16_round(b->d[i]), dmin = ucb_f16_round(b->dmin[i]), N = t->plain.N;
    for (int j = 0; j < t->n_sub; j++, x += t->n, code += t->n) {
        size_t sub = i * (size_t)t->n_sub + (size_t)j;
        float D = d * b->scale_code[sub], min = dmin * b->min_code[sub];
        if (D != 0)
            gguf_codes_divided(x, t->n, D, min, 0, N, 0, code);
        else
            gguf_codes_affine(x, t->n, b->inverse[sub], b->low[sub], N, code);
    }
}

/* Runs `put` for each super-block with its codes. */
GGUF_INLINE void encode_affine(const struct gguf_span *s, const struct affine_type *t,
                               void (*put)(const struct batch *, size_t i,
                                           const uint8_t *code, uint8_t *out),
                               size_t bytes, uint8_t *out)
{
    struct gguf_span part;
    struct batch b;
    uint8_t code[SUPER];
    for (size_t at = 0; at < s->n; at += BATCH) {
        begin_batch(s, at, (size_t)t->n_sub, &part, &b);
        search_affine(&b, t);
        code_scales(&b, t);
        for (size_t i = 0; i < part.n; i++, out += bytes) {
            affine_codes(&b, t, i, code);
            put(&b, i, code, out);
        }
    }
}

static void put_q2_k(const struct batch *b, size_t i, const uint8_t *code, uint8_t *out)
{
    for (size_t j = 0; j < 16; j++)
        out[j] = (uint8_t)((int)b->scale_code[16 * i + j] | (int)b->min_code[16 * i + j]
                                                                << 4);
    gguf_pack_pairs(code, 0, out + 16);
    gguf_put_half(out + 80, b->d[i]);
    gguf_put_half(out + 82, b->dmin[i]);
}

static void put_q4_k_scales(const struct batch *b, size_t i, uint8_t *out)
{
    uint8_t scale[8], min[8];
    for (size_t j = 0; j < 8; j++) {
        scale[j] = (uint8_t)b->scale_code[8 * i + j];
        min[j] = (uint8_t)b->min_code[8 * i + j];
    }
    gguf_put_half(out, b->d[i]);
    gguf_put_half(out + 2, b->dmin[i]);
    gguf_pack_q4_k_scales(scale, min, out + 4);
}

static void put_q4_k(const struct batch *b, size_t i, const uint8_t *code, uint8_t *out)
{
    put_q4_k_scales(b, i, out);
    for (int k = 0; k < 4; k++) gguf_pack_apart(code + 64 * k, 32, out + 16 + 32 * k);
}

static void put_q5_k(const struct batch *b, size_t i, const uint8_t *code, uint8_t *out)
{
    put_q4_k_scales(b, i, out);
    gguf_pack_bits(code, 4, out + 16);
    for (int k = 0; k < 4; k++) gguf_pack_apart(code + 64 * k, 32, out + 48 + 32 * k);
}

static void encode_q2_k(const struct gguf_span *s, uint8_t *out)
{
    static const struct affine_type t = {
        16,         16,   {3, -0.5f, 0.1f, 15, true}, {3, -0.9f, 0.05f, 36, false}, 15,
        1.0f / 256, false};
    encode_affine(s, &t, put_q2_k, 84, out);
}

static void encode_q4_k(const struct gguf_span *s, uint8_t *out)
{
    static const struct affine_type t = {
        32,         8,   {15, -1.0f, 0.1f, 20, false}, {15, -0.9f, 0.05f, 36, false}, 63,
        2.0f / 256, true};
    encode_affine(s, &t, put_q4_k, 144, out);
}

static void encode_q5_k(const struct gguf_span *s, uint8_t *out)
{
    static const struct affine_type t = {
        32,         8,   {31, -0.5f, 0.1f, 15, false}, {31, -0.9f, 0.05f, 36, false}, 63,
        2.0f / 256, true};
    encode_affine(s, &t, put_q5_k, 176, out);
}

/* ---- Q3_K, Q6_K: a signed scale a sub-block of 16 ---- */

GGUF_INLINE void weigh_16(struct batch *b, size_t first, const gguf_lanes *x, gguf_lanes *w)
{
    weigh_subs(b, first, 16, x, w);
    lanes_store(b->weight + first, sum_in_order(w, 16));
}

/* found: the codes of the search, which Q3FIT has no formula for. */
GGUF_INLINE void search_q3_k(struct batch *b, uint8_t found[MAX_SUBS + GGUF_LANES][16])
{
    gguf_lanes x[16], w[16];
    bool weighed = b->span->importance != NULL;
    if (weighed) sum_batch(b, 2.0f / SUPER);
    for (size_t i = 0; i < b->source.count; i += GGUF_LANES) {
        turn_blocks(&b->source, i, 16, x, weighed ? w : NULL);
        if (weighed) {
            weigh_16(b, i, x, w);
            struct gguf_sym fit = gguf_sym(x, w, 16, 4);
            lanes_store(b->scale + i, fit.scale);
            lanes_store(b->inverse + i, fit.inverse);
            continue;
        }
        lanes_store(b->scale + i, gguf_q3fit(x, w));
        for (int e = 0; e < 16; e++)
            for (int lane = 0; lane < GGUF_LANES; lane++)
                found[i + (size_t)lane][e] = (uint8_t)w[e][lane];
    }
}

static void code_q3_k_scales(struct batch *b)
{
    for (size_t i = 0; i < b->span->n; i++) {
        const float *scale = b->scale + 16 * i;
        float peak = signed_peak(scale, 16), inverse = -32.0f / peak;
        b->d[i] = peak != 0 ? 1.0f / inverse : 0;
        for (size_t j = 0; j < 16; j++) {
            int c = (int8_t)nearest(inverse * scale[j]);
            c = c < -32 ? -32 : c > 31 ? 31 : c;
            b->scale_code[16 * i + j] = peak != 0 ? (float)(c + 32) : 0;
        }
    }
}

GGUF_INLINE void code_q3_k_scales_by_weight(struct batch *b)
{
    gguf_lanes values[16], weights[16];
    for (size_t i = 0; i < b->span->n; i += GGUF_LANES) {
        turn_subs(b, b->scale, i, 16, values);
        turn_subs(b, b->weight, i, 16, weights);
        struct gguf_sym fit = gguf_sym(values, weights, 16, 32);
        lanes_store(b->d + i, fit.scale);
        gguf_ints sound = fit.inverse != 0;
        for (int j = 0; j < 16; j++) {
            gguf_lanes c = gguf_round_clamp(fit.inverse * values[j], -32, 31) + 32.0f;
            values[j] = (gguf_lanes)((gguf_ints)c & sound);
        }
        turn_subs_back(b, values, i, 16, b->scale_code);
    }
}

static void put_q3_k(const struct batch *b, uint8_t found[][16], size_t i, uint8_t *out)
{
    uint8_t code[SUPER], scale[16];
    const float *x = block_at(b->span, i, SUPER);
    float d = ucb_f16_round(b->d[i]);
    for (size_t j = 0; j < 16; j++, x += 16) {
        size_t sub = 16 * i + j;
        float D = d * (b->scale_code[sub] - 32);
        scale[j] = (uint8_t)b->scale_code[sub];
        if (D != 0)
            gguf_codes_divided(x, 16, D, 0, -4, 3, 4, code + 16 * j);
        else if (b->span->importance != NULL)
            gguf_codes_symmetric(x, 16, b->inverse[sub], 4, code + 16 * j);
        else
            memcpy(code + 16 * j, found[sub], 16);
    }
    gguf_pack_bits(code, 2, out);
    gguf_pack_pairs(code, 0, out + 32);
    gguf_pack_q3_k_scales(scale, out + 96);
    gguf_put_half(out + 108, b->d[i]);
}

static void encode_q3_k(const struct gguf_span *s, uint8_t *out)
{
    uint8_t found[MAX_SUBS + GGUF_LANES][16];
    struct gguf_span part;
    struct batch b;
    for (size_t at = 0; at < s->n; at += BATCH) {
        begin_batch(s, at, 16, &part, &b);
        search_q3_k(&b, found);
        if (s->importance != NULL)
            code_q3_k_scales_by_weight(&b);
        else
            code_q3_k_scales(&b);
        for (size_t i = 0; i < part.n; i++, out += 110) put_q3_k(&b, found, i, out);
    }
}

/* Importance stands for the weights themselves here, with no x in them. */
GGUF_INLINE void search_q6_k(struct batch *b)
{
    gguf_lanes x[16], w[16];
    bool weighed = b->span->importance != NULL;
    for (size_t i = 0; i < b->source.count; i += GGUF_LANES) {
        turn_blocks(&b->source, i, 16, x, weighed ? w : NULL);
        for (int e = 0; e < 16 && !weighed; e++) w[e] = x[e] * x[e];
        struct gguf_sym fit = gguf_sym(x, w, 16, 32);
        lanes_store(b->scale + i, fit.scale);
        lanes_store(b->inverse + i, fit.inverse);
    }
}

static void put_q6_k(const struct batch *b, size_t i, uint8_t *out)
{
    uint8_t code[SUPER];
    const float *x = block_at(b->span, i, SUPER), *scale = b->scale + 16 * i;
    float peak = signed_peak(scale, 16), inverse = -128.0f / peak;
    memset(out, 0, 210);
    if (fabsf(peak) < GGUF_TINY) return;
    gguf_put_half(out + 208, 1.0f / inverse);
    float d = ucb_f16_round(1.0f / inverse);
    for (size_t j = 0; j < 16; j++, x += 16) {
        int c = nearest(inverse * scale[j]);
        c = c < 127 ? c : 127;
        out[192 + j] = (uint8_t)c;
        float D = d * (float)(int8_t)c;
        if (D != 0)
            gguf_codes_divided(x, 16, D, 0, -32, 31, 32, code + 16 * j);
        else
            gguf_codes_symmetric(x, 16, b->inverse[16 * i + j], 32, code + 16 * j);
    }
    for (int h = 0; h < 2; h++) {
        gguf_pack_apart(code + 128 * h, 64, out + 64 * h);
        gguf_pack_apart(code + 128 * h + 32, 64, out + 64 * h + 32);
    }
    gguf_pack_pairs(code, 4, out + 128);
}

static void encode_q6_k(const struct gguf_span *s, uint8_t *out)
{
    struct gguf_span part;
    struct batch b;
    for (size_t at = 0; at < s->n; at += BATCH) {
        begin_batch(s, at, 16, &part, &b);
        search_q6_k(&b);
        for (size_t i = 0; i < part.n; i++, out += 210) put_q6_k(&b, i, out);
    }
}

/* ---- IQ4_XS ---- */

GGUF_INLINE void search_iq4_xs(struct batch *b)
{
    gguf_lanes x[BLOCK], w[BLOCK];
    bool weighed = b->span->importance != NULL;
    if (weighed) sum_batch(b, 2.0f / SUPER);
    for (size_t i = 0; i < b->source.count; i += GGUF_LANES) {
        turn_blocks(&b->source, i, BLOCK, x, weighed ? w : NULL);
        if (weighed)
            weigh_subs(b, i, BLOCK, x, w);
        else
            for (int e = 0; e < BLOCK; e++) w[e] = x[e] * x[e];
        lanes_store(b->scale + i, gguf_nl(x, w));
    }
}

static void put_iq4_xs(const struct batch *b, size_t i, uint8_t *out)
{
    uint8_t code[BLOCK];
    const float *x = block_at(b->span, i, SUPER), *scale = b->scale + 8 * i;
    float d = -signed_peak(scale, 8) / 32.0f, inverse = d != 0 ? 1.0f / d : 0;
    unsigned high = 0;
    gguf_put_half(out, d);
    memset(out + 4, 0, 4);
    for (int j = 0; j < 8; j++, x += BLOCK) {
        int c = nearest(inverse * scale[j]);
        c = c < -32 ? -32 : c > 31 ? 31 : c;
        float D = d * (float)c;
        gguf_codes_nl(x, D != 0 ? 1.0f / D : 0, code);
        gguf_pack_nibbles(code, out + 8 + 16 * j);
        out[4 + j / 2] |= (uint8_t)(((c + 32) & 15) << 4 * (j % 2));
        high |= (unsigned)(c + 32) >> 4 << 2 * j;
    }
    out[2] = (uint8_t)high;
    out[3] = (uint8_t)(high >> 8);
}

static void encode_iq4_xs(const struct gguf_span *s, uint8_t *out)
{
    struct gguf_span part;
    struct batch b;
    for (size_t at = 0; at < s->n; at += BATCH) {
        begin_batch(s, at, 8, &part, &b);
        search_iq4_xs(&b);
        for (size_t i = 0; i < part.n; i++, out += 136) put_iq4_xs(&b, i, out);
    }
}

/* ---- the table ---- */

extern const struct gguf_path GGUF_PATH;
const struct gguf_path GGUF_PATH = {
    .name = GGUF_PATH_NAME,
    .encode = {[UCB_Q4_0] = encode_q4_0,
               [UCB_Q4_1] = encode_q4_1,
               [UCB_Q5_0] = encode_q5_0,
               [UCB_Q5_1] = encode_q5_1,
               [UCB_Q8_0] = encode_q8_0,
               [UCB_Q2_K] = encode_q2_k,
               [UCB_Q3_K] = encode_q3_k,
               [UCB_Q4_K] = encode_q4_k,
               [UCB_Q5_K] = encode_q5_k,
               [UCB_Q6_K] = encode_q6_k,
               [UCB_IQ4_NL] = encode_iq4_nl,
               [UCB_IQ4_XS] = encode_iq4_xs},
    .row_mean_squares = row_mean_squares,
};
