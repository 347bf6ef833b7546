/*
 * gguf_supers_template.h - ggml's encoders of types of 256 elements; the second part of
 * gguf_encode_template.h.
 *
 * Sixteen super-blocks at a time: their sub-blocks are searched, one a lane; their scales
 * (and minima) are coded; and with these as they are stored, each element gets its code.
 */
/* ---- 256 elements: what the searches of sixteen super-blocks answer ---- */

/* With room for the idle lanes of the last groups. */
enum {
    SUPER = 256,
    BATCH = 16,
    BATCH_ROOM = BATCH + GGUF_LANES,
    SUBS_ROOM = 16 * BATCH + GGUF_GROUPS_MAX * GGUF_LANES
};

/* By sub-block, in flat order. */
struct batch {
    const struct gguf_span *span; /* of at most BATCH super-blocks */
    struct lane_source source;
    size_t n_sub; /* of a super-block */
    float scale[SUBS_ROOM], minus[SUBS_ROOM], inverse[SUBS_ROOM], low[SUBS_ROOM],
        weight[SUBS_ROOM];         /* sum of the weights */
    float mean_square[BATCH_ROOM]; /* by super-block, times what the type says */
    /* Then, by sub-block and by super-block. */
    float scale_code[SUBS_ROOM], min_code[SUBS_ROOM], d[BATCH_ROOM], dmin[BATCH_ROOM];
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

/* Plain, all groups at a time that Q3FIT takes. found: its codes, for which there is no
 * formula; of sub-block i, element e at found[i / GGUF_LANES][e][i % GGUF_LANES]. */
GGUF_INLINE void search_q3_k(struct batch *b, uint8_t found[][16][GGUF_LANES])
{
    enum { GROUPS = GGUF_GROUPS_MAX };
    gguf_lanes x[GROUPS * 16], l[GROUPS * 16], scale[GROUPS];
    for (size_t i = 0; i < b->source.count; i += GROUPS * GGUF_LANES) {
        for (size_t g = 0; g < GROUPS; g++)
            turn_blocks(&b->source, i + g * GGUF_LANES, 16, x + 16 * g, NULL);
        gguf_q3fit(x, GROUPS, l, scale);
        memcpy(b->scale + i, scale, sizeof(scale));
        for (size_t e = 0; e < GROUPS * 16; e++)
            lanes_store_codes(found[i / GGUF_LANES + e / 16][e % 16], l[e]);
    }
}

GGUF_INLINE void search_q3_k_by_weight(struct batch *b)
{
    gguf_lanes x[16], w[16];
    sum_batch(b, 2.0f / SUPER);
    for (size_t i = 0; i < b->source.count; i += GGUF_LANES) {
        turn_blocks(&b->source, i, 16, x, w);
        weigh_subs(b, i, 16, x, w);
        lanes_store(b->weight + i, sum_in_order(w, 16));
        struct gguf_sym fit = gguf_sym(x, w, 16, 4);
        lanes_store(b->scale + i, fit.scale);
        lanes_store(b->inverse + i, fit.inverse);
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

static void put_q3_k(const struct batch *b, uint8_t found[][16][GGUF_LANES], size_t i,
                     uint8_t *out)
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
            for (size_t e = 0; e < 16; e++)
                code[16 * j + e] = found[sub / GGUF_LANES][e][sub % GGUF_LANES];
    }
    gguf_pack_bits(code, 2, out);
    gguf_pack_pairs(code, 0, out + 32);
    gguf_pack_q3_k_scales(scale, out + 96);
    gguf_put_half(out + 108, b->d[i]);
}

static void encode_q3_k(const struct gguf_span *s, uint8_t *out)
{
    uint8_t found[SUBS_ROOM / GGUF_LANES][16][GGUF_LANES];
    struct gguf_span part;
    struct batch b;
    for (size_t at = 0; at < s->n; at += BATCH) {
        begin_batch(s, at, 16, &part, &b);
        if (s->importance != NULL) {
            search_q3_k_by_weight(&b);
            code_q3_k_scales_by_weight(&b);
        } else {
            search_q3_k(&b, found);
            code_q3_k_scales(&b);
        }
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
