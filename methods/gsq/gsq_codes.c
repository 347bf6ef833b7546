/* gsq_codes.c - scales of blocks, the nearest levels of their weights, and the bit stream
 * of codes. */
#include "gsq.h"

#include <math.h>
#include <string.h>

#include "core/clones.h"
#include "core/half.h"
#include "method/lanes.h"
#include "method/payload.h"

enum { CHUNK_WEIGHTS = 1 << 16, MAX_CHUNKS = 64, CODES_PER_WORD = 8 };

/* ---- layout ---- */

struct gsq_layout gsq_layout_of(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    struct gsq_layout l = {.n_rows = matrix->n_out, .n_in = matrix->n_in};
    l.bits = (unsigned)ucb_job_value(job, "bits");
    l.n_levels = 1u << l.bits;
    l.scale = (enum gsq_scale)ucb_job_value(job, "scale");
    l.block = (size_t)ucb_job_value(job, "block");
    if (l.n_in % l.block != 0) {
        l.form = l.n_in % 128 == 0 ? GSQ_BLOCKS_128 : GSQ_ROWS;
        l.block = l.form == GSQ_ROWS ? l.n_in : 128;
    }
    l.blocks_per_row = l.n_in / l.block;
    l.n_blocks = l.n_rows * l.blocks_per_row;
    size_t rows = CHUNK_WEIGHTS / l.n_in, at_least = (l.n_rows - 1) / MAX_CHUNKS;
    if (rows < at_least) rows = at_least;
    l.rows_per_chunk = (rows / CODES_PER_WORD + 1) * CODES_PER_WORD;
    l.n_chunks = (l.n_rows - 1) / l.rows_per_chunk + 1;
    return l;
}

void gsq_chunk_rows(const struct gsq_layout *l, size_t chunk, size_t *first, size_t *last)
{
    *first = chunk * l->rows_per_chunk;
    *last = *first + l->rows_per_chunk;
    if (*last > l->n_rows) *last = l->n_rows;
}

size_t gsq_code_bytes(const struct gsq_layout *l)
{
    return (l->n_rows * l->n_in * l->bits + 7) / 8;
}

/* ---- scales ---- */

float gsq_scale_of(float peak, enum gsq_scale scale)
{
    if (scale == GSQ_F16) return ucb_f16_round(fmaxf(peak, 0x1p-24f));
    peak = fmaxf(peak, 1e-9f);
    return scale == GSQ_BF16 ? ucb_bf16_round(peak) : peak;
}

struct scale_run {
    const struct gsq_layout *layout;
    const float *w;
    float *scale;
};

UCB_CLONES static void find_range(const float *w, size_t n, float *low, float *high)
{
    ucb_lanes_range(w, n, low, high);
}

static void scale_chunk(void *context, size_t chunk)
{
    struct scale_run *run = context;
    const struct gsq_layout *l = run->layout;
    size_t first, last;
    gsq_chunk_rows(l, chunk, &first, &last);
    for (size_t b = first * l->blocks_per_row; b < last * l->blocks_per_row; b++) {
        float low, high;
        find_range(run->w + b * l->block, l->block, &low, &high);
        run->scale[b] = gsq_scale_of(fmaxf(-low, high), l->scale);
    }
}

void gsq_find_scales(const struct gsq_layout *l, const float *w, float *scale,
                     struct ucb_pool *pool)
{
    struct scale_run run = {l, w, scale};
    ucb_parallel_for(pool, l->n_chunks, scale_chunk, &run);
}

void gsq_grid_rows(unsigned n_levels, float *grid)
{
    float half = (float)(n_levels / 2);
    for (unsigned k = 0; k < n_levels; k++) grid[k] = ((float)k - half) / half;
}

/* ---- encoding ---- */

struct code_run {
    const struct gsq_layout *layout;
    const float *w, *scale;
    float middle[GSQ_MAX_LEVELS]; /* [n_levels - 1] */
    uint8_t *codes, *packed;
};

static void store_codes(uint8_t *codes, ucb_i32x16 code, size_t n)
{
    uint8_t some[UCB_LANES];
    ucb_lanes_store_u8(some, code);
    memcpy(codes, some, n);
}

UCB_CLONES static void choose_nearest(const struct code_run *run, const float *w, size_t n,
                                      float scale, uint8_t *codes)
{
    unsigned n_middle = run->layout->n_levels - 1;
    ucb_f32x16 scales = ucb_lanes_all(scale);
    for (size_t i = 0; i < n; i += UCB_LANES) {
        ucb_f32x16 v = ucb_lanes_load_some(w + i, n - i) / scales;
        ucb_i32x16 code = {0};
        for (unsigned k = 0; k < n_middle; k++) code -= v > run->middle[k];
        if (n - i >= UCB_LANES)
            ucb_lanes_store_u8(codes + i, code);
        else
            store_codes(codes + i, code, n - i);
    }
}

UCB_CLONES static void round_row(const float *w, size_t n, float scale, float half,
                                 uint8_t *codes)
{
    ucb_f32x16 scales = ucb_lanes_all(scale);
    for (size_t i = 0; i < n; i += UCB_LANES) {
        ucb_f32x16 v = ucb_lanes_load_some(w + i, n - i) / scales * half;
        ucb_f32x16 code = ucb_lanes_rne(ucb_lanes_clamp(v, -half, half - 1)) + half;
        store_codes(codes + i, __builtin_convertvector(code, ucb_i32x16),
                    n - i < UCB_LANES ? n - i : UCB_LANES);
    }
}

/* Eight codes fill `bits` bytes exactly. A word of eight bytes is stored where `end` leaves
 * the room: its zeros are overwritten by the words after it. */
static void pack(const uint8_t *codes, size_t n, unsigned bits, uint8_t *packed,
                 const uint8_t *end)
{
    for (size_t i = 0; i < n; i += CODES_PER_WORD, packed += bits) {
        uint64_t word = 0;
        size_t left = n - i < CODES_PER_WORD ? n - i : CODES_PER_WORD;
        for (size_t k = 0; k < left; k++) word |= (uint64_t)codes[i + k] << k * bits;
        if (end - packed >= (ptrdiff_t)sizeof(word))
            memcpy(packed, &word, sizeof(word));
        else
            memcpy(packed, &word, (left * bits + 7) / 8);
    }
}

static void encode_chunk(void *context, size_t chunk)
{
    struct code_run *run = context;
    const struct gsq_layout *l = run->layout;
    size_t first, last;
    gsq_chunk_rows(l, chunk, &first, &last);
    for (size_t b = first * l->blocks_per_row; b < last * l->blocks_per_row; b++) {
        const float *w = run->w + b * l->block;
        uint8_t *codes = run->codes + b * l->block;
        if (l->form == GSQ_ROWS)
            round_row(w, l->block, run->scale[b], (float)(l->n_levels / 2), codes);
        else
            choose_nearest(run, w, l->block, run->scale[b], codes);
    }
    size_t start = first * l->n_in, n = (last - first) * l->n_in;
    uint8_t *packed = run->packed + start / CODES_PER_WORD * l->bits;
    pack(run->codes + start, n, l->bits, packed, packed + (n * l->bits + 7) / 8);
}

ucb_status gsq_encode_codes(const struct gsq_layout *l, const float *w, const float *scale,
                            const float *grid, uint8_t *packed, struct ucb_pool *pool,
                            struct ucb_arena *scratch, const char *name,
                            struct ucb_err *err)
{
    struct code_run run = {.layout = l, .w = w, .scale = scale, .packed = packed};
    run.codes = UCB_NEW(scratch, uint8_t, l->n_rows * l->n_in);
    if (run.codes == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu codes", name,
                        l->n_rows * l->n_in);
    for (unsigned k = 0; k + 1 < l->n_levels; k++)
        run.middle[k] = (grid[k] + grid[k + 1]) * 0.5f;
    ucb_parallel_for(pool, l->n_chunks, encode_chunk, &run);
    return UCB_OK;
}

/* ---- decoding ---- */

void gsq_unpack(const uint8_t *packed, size_t n_bytes, unsigned bits, size_t first,
                size_t n, uint8_t *codes)
{
    uint64_t mask = (1u << bits) - 1;
    for (size_t i = 0; i < n; i += CODES_PER_WORD) {
        size_t at = (first + i) * bits, left = n_bytes - at / 8;
        uint64_t word = 0; /* 8 codes of 6 bits from bit 7 on end before bit 56 */
        if (left >= sizeof(word))
            memcpy(&word, packed + at / 8, sizeof(word));
        else
            memcpy(&word, packed + at / 8, left);
        word >>= at % 8;
        for (size_t k = 0; k < CODES_PER_WORD; k++)
            codes[i + k] = (uint8_t)(word >> k * bits & mask);
    }
}

/* The levels of a block, each product rounded once, as a weight's would be. */
UCB_CLONES static void scale_levels(const float *grid, unsigned n_levels, float scale,
                                    float *level)
{
    ucb_f32x16 scales = ucb_lanes_all(scale);
    for (unsigned k = 0; k < n_levels; k += UCB_LANES)
        ucb_lanes_store(level + k, ucb_lanes_load(grid + k) * scales);
}

void gsq_decode_rows(const struct gsq_state *s, const float *scale, const float *grid,
                     uint32_t row, uint32_t n, float *out)
{
    const struct gsq_layout *l = &s->layout;
    size_t n_bytes = gsq_code_bytes(l), start = (size_t)row * l->n_in,
           end = start + (size_t)n * l->n_in;
    float level[GSQ_MAX_LEVELS];
    for (size_t at = start, n_piece; at < end; at += n_piece) {
        uint8_t codes[GSQ_PIECE + CODES_PER_WORD];
        size_t in_block = at % l->block, left = l->block - in_block;
        if (in_block == 0) scale_levels(grid, l->n_levels, scale[at / l->block], level);
        n_piece = left < GSQ_PIECE ? left : GSQ_PIECE;
        gsq_unpack(s->packed, n_bytes, l->bits, at, n_piece, codes);
        for (size_t i = 0; i < n_piece; i++) out[at - start + i] = level[codes[i]];
    }
}
