/*
 * collector.c - statistics of an input from its rows, see calib.h.
 *
 * Every sum is one chain of doubles in token order, so neither threads nor the way rows
 * come can change a bit. The second moment is what costs: rows wait in a buffer of CHUNK
 * until the pool goes over the upper triangle in squares of SQUARE x SQUARE panels (what
 * they read stays in the second-level cache), register tile by register tile. The lower
 * triangle is mirrored at the end.
 *
 * The sample keeps token floor(i N / S), i = 0 .. S - 1, of N tokens: where S divides N,
 * every (N / S)-th from the first on.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/arena.h"
#include "core/clones.h"
#include "eval/collector_internal.h"

enum {
    PANEL = UCB_MOMENT_PANEL,
    CHUNK = 512, /* rows of the buffer: 96 KiB a panel */
    SQUARE = 4,  /* panels of a side: two sides take 768 KiB */
    MIRROR = 64, /* side of a square of the mirror */
    COLUMNS = 64 /* of one item of the loops over columns */
};

struct ucb_collector {
    uint32_t needs, n_in, n_sample, n_sampled;
    uint64_t n_tokens, n_seen, n_sequences;
    struct ucb_pool *pool;
    ucb_moment_block *block;
    double *sq, *abs, *peak; /* [n_in] */
    double *moment;          /* [n_in][n_in] */
    double *buffer;          /* [n_panels][CHUNK][PANEL], columns past n_in are zeros */
    size_t n_panels, n_buffered;
    float *sample; /* [n_sample][n_in] */
    bool finished; /* sums have become means */
};

static ucb_moment_block *block_of(enum ucb_kernel kernel)
{
    bool any = kernel == UCB_KERNEL_AUTO;
    if ((any || kernel == UCB_KERNEL_AVX512) &&
        ucb_kernel_available(UCB_KERNEL_AVX512, UCB_ARITH_FP32, NULL))
        return ucb_moment_block_avx512;
    if ((any || kernel == UCB_KERNEL_AVX2) &&
        ucb_kernel_available(UCB_KERNEL_AVX2, UCB_ARITH_FP32, NULL))
        return ucb_moment_block_avx2;
    return ucb_moment_block_scalar;
}

/* [rows][columns] doubles, or NULL also where that overflows. */
static double *new_doubles(size_t rows, size_t columns)
{
    size_t n, n_bytes;
    if (!ucb_size_mul(rows, columns, &n) || !ucb_size_mul(n, sizeof(double), &n_bytes))
        return NULL;
    return ucb_mem_alloc(n_bytes);
}

static bool alloc_sums(struct ucb_collector *c)
{
    if (c->needs & UCB_NEEDS_DIAG) c->sq = new_doubles(1, c->n_in);
    if (c->needs & UCB_NEEDS_ABS) {
        c->abs = new_doubles(1, c->n_in);
        c->peak = new_doubles(1, c->n_in);
    }
    if (c->needs & UCB_NEEDS_H) {
        c->moment = new_doubles(c->n_in, c->n_in);
        c->buffer = new_doubles(c->n_panels * PANEL, CHUNK);
    }
    if (c->needs & UCB_NEEDS_SAMPLE)
        c->sample = (float *)new_doubles(c->n_sample, (c->n_in + 1) / 2);
    return !((c->needs & UCB_NEEDS_DIAG && c->sq == NULL) ||
             (c->needs & UCB_NEEDS_ABS && (c->abs == NULL || c->peak == NULL)) ||
             (c->needs & UCB_NEEDS_H && (c->moment == NULL || c->buffer == NULL)) ||
             (c->needs & UCB_NEEDS_SAMPLE && c->sample == NULL));
}

uint64_t ucb_collector_bytes(uint32_t needs, uint32_t n_in, uint32_t n_sample)
{
    uint64_t n = n_in, n_bytes = 0;
    if (needs & UCB_NEEDS_DIAG) n_bytes += n * sizeof(double);
    if (needs & UCB_NEEDS_ABS) n_bytes += 2 * n * sizeof(double);
    if (needs & UCB_NEEDS_H) n_bytes += (n + CHUNK) * n * sizeof(double);
    if (needs & UCB_NEEDS_SAMPLE) n_bytes += n * n_sample * sizeof(float);
    return n_bytes;
}

ucb_status ucb_collector_open_path(enum ucb_kernel kernel, uint32_t needs, uint32_t n_in,
                                   uint64_t n_tokens, uint64_t n_sequences,
                                   uint32_t n_sample, struct ucb_pool *pool,
                                   struct ucb_collector **out, struct ucb_err *err)
{
    assert(n_in > 0);
    struct ucb_collector *c = ucb_mem_alloc(sizeof(*c));
    if (c == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a collector");
    *c = (struct ucb_collector){.needs = needs,
                                .n_in = n_in,
                                .n_sample = n_tokens < n_sample ? (uint32_t)n_tokens
                                                                : n_sample,
                                .n_tokens = n_tokens,
                                .n_sequences = n_sequences,
                                .pool = pool,
                                .block = block_of(kernel),
                                .n_panels = (n_in + PANEL - 1) / PANEL};
    if (!alloc_sums(c)) {
        ucb_collector_close(c);
        return UCB_FAIL(err, UCB_NOMEM,
                        "no memory for the statistics of an input of %u values", n_in);
    }
    *out = c;
    return UCB_OK;
}

ucb_status ucb_collector_open(uint32_t needs, uint32_t n_in, uint64_t n_tokens,
                              uint64_t n_sequences, uint32_t n_sample,
                              struct ucb_pool *pool, struct ucb_collector **out,
                              struct ucb_err *err)
{
    return ucb_collector_open_path(UCB_KERNEL_AUTO, needs, n_in, n_tokens, n_sequences,
                                   n_sample, pool, out, err);
}

void ucb_collector_close(struct ucb_collector *c)
{
    if (c == NULL) return;
    ucb_mem_free(c->sq);
    ucb_mem_free(c->abs);
    ucb_mem_free(c->peak);
    ucb_mem_free(c->moment);
    ucb_mem_free(c->buffer);
    ucb_mem_free(c->sample);
    ucb_mem_free(c);
}

static size_t n_units(size_t n, size_t unit)
{
    return (n + unit - 1) / unit;
}

/* Rows on their way into a collector. */
struct rows {
    struct ucb_collector *c;
    const float *x; /* [n][n_in] */
    size_t n;
};

/* ---- sums by column ---- */

UCB_CLONES
static void add_squares(const float *x, size_t n_rows, size_t pitch, uint32_t n, double *sq)
{
    for (size_t row = 0; row < n_rows; row++, x += pitch)
        for (uint32_t j = 0; j < n; j++) sq[j] += (double)x[j] * (double)x[j];
}

UCB_CLONES
static void add_sizes(const float *x, size_t n_rows, size_t pitch, uint32_t n, double *sum,
                      double *peak)
{
    for (size_t row = 0; row < n_rows; row++, x += pitch)
        for (uint32_t j = 0; j < n; j++) {
            double size = fabs((double)x[j]);
            sum[j] += size;
            peak[j] = size > peak[j] ? size : peak[j];
        }
}

static void add_columns(void *context, size_t item)
{
    struct rows *rows = context;
    struct ucb_collector *c = rows->c;
    uint32_t at = (uint32_t)item * COLUMNS,
             n = c->n_in - at < COLUMNS ? c->n_in - at : COLUMNS;
    if (c->sq != NULL) add_squares(rows->x + at, rows->n, c->n_in, n, c->sq + at);
    if (c->abs != NULL)
        add_sizes(rows->x + at, rows->n, c->n_in, n, c->abs + at, c->peak + at);
}

/* ---- the second moment ---- */

/* Widens the rows of one panel to where the buffer ends. */
UCB_CLONES
static void widen_panel(void *context, size_t panel)
{
    struct rows *rows = context;
    const struct ucb_collector *c = rows->c;
    size_t at = panel * PANEL, n = c->n_in - at < PANEL ? c->n_in - at : PANEL;
    double *out = c->buffer + (panel * CHUNK + c->n_buffered) * PANEL;
    for (size_t row = 0; row < rows->n; row++, out += PANEL)
        for (size_t j = 0; j < n; j++) out[j] = (double)rows->x[row * c->n_in + at + j];
}

/* A block that hangs over the edge is summed aside. */
static void add_edge(const struct ucb_collector *c, const double *a, const double *b,
                     size_t row, size_t column)
{
    double part[PANEL * PANEL] = {0};
    size_t n_rows = c->n_in - row < PANEL ? c->n_in - row : PANEL,
           n_columns = c->n_in - column < PANEL ? c->n_in - column : PANEL;
    double *sum = c->moment + row * c->n_in + column;
    for (size_t i = 0; i < n_rows; i++)
        memcpy(part + i * PANEL, sum + i * c->n_in, n_columns * sizeof(*sum));
    c->block(a, b, c->n_buffered, part, PANEL);
    for (size_t i = 0; i < n_rows; i++)
        memcpy(sum + i * c->n_in, part + i * PANEL, n_columns * sizeof(*sum));
}

static void add_block(const struct ucb_collector *c, size_t i, size_t j)
{
    const double *a = c->buffer + i * CHUNK * PANEL, *b = c->buffer + j * CHUNK * PANEL;
    if ((j + 1) * PANEL > c->n_in)
        add_edge(c, a, b, i * PANEL, j * PANEL);
    else
        c->block(a, b, c->n_buffered, c->moment + i * PANEL * c->n_in + j * PANEL, c->n_in);
}

/* Square `item` of the triangle, counted row by row. */
static void square_at(size_t n_squares, size_t item, size_t *row, size_t *column)
{
    *row = 0;
    for (size_t left = n_squares; item >= left; left--) {
        item -= left;
        ++*row;
    }
    *column = *row + item;
}

static void add_square(void *context, size_t item)
{
    const struct ucb_collector *c = context;
    size_t row, column;
    square_at(n_units(c->n_panels, SQUARE), item, &row, &column);
    for (size_t j = column * SQUARE; j < c->n_panels && j < (column + 1) * SQUARE; j++)
        for (size_t i = row * SQUARE; i <= j && i < (row + 1) * SQUARE; i++)
            add_block(c, i, j);
}

static void empty_buffer(struct ucb_collector *c)
{
    size_t n = n_units(c->n_panels, SQUARE);
    if (c->n_buffered == 0) return;
    ucb_parallel_for(c->pool, n * (n + 1) / 2, add_square, c);
    c->n_buffered = 0;
}

static void add_moment(struct rows *rows)
{
    struct ucb_collector *c = rows->c;
    for (size_t done = 0; done < rows->n;) {
        size_t room = CHUNK - c->n_buffered, left = rows->n - done;
        struct rows part = {c, rows->x + done * c->n_in, left < room ? left : room};
        ucb_parallel_for(c->pool, c->n_panels, widen_panel, &part);
        c->n_buffered += part.n;
        done += part.n;
        if (c->n_buffered == CHUNK) empty_buffer(c);
    }
}

/* ---- the sample ---- */

static void add_sample(struct ucb_collector *c, const float *x, size_t n_rows)
{
    for (; c->n_sampled < c->n_sample; c->n_sampled++) {
        uint64_t token = (uint64_t)((unsigned __int128)c->n_sampled * c->n_tokens /
                                    c->n_sample);
        if (token >= c->n_seen + n_rows) return;
        memcpy(c->sample + (size_t)c->n_sampled * c->n_in,
               x + (token - c->n_seen) * c->n_in, c->n_in * sizeof(*x));
    }
}

void ucb_collector_add(struct ucb_collector *c, const float *x, size_t n_rows)
{
    struct rows rows = {c, x, n_rows};
    if (c->sq != NULL || c->abs != NULL)
        ucb_parallel_for(c->pool, n_units(c->n_in, COLUMNS), add_columns, &rows);
    if (c->moment != NULL) add_moment(&rows);
    if (c->sample != NULL) add_sample(c, x, n_rows);
    c->n_seen += n_rows;
}

/* ---- sums to means ---- */

struct mirror {
    double *m;
    size_t n;
    double divisor;
};

/* Rows of one band of the upper triangle, square by square. */
static void mirror_band(void *context, size_t band)
{
    const struct mirror *run = context;
    size_t n = run->n, from = band * MIRROR, to = from + MIRROR < n ? from + MIRROR : n;
    for (size_t at = from; at < n; at += MIRROR)
        for (size_t i = from; i < to; i++)
            for (size_t j = at > i ? at : i; j < n && j < at + MIRROR; j++)
                run->m[i * n + j] = run->m[j * n + i] = run->m[i * n + j] / run->divisor;
}

void ucb_moment_mirror(double *m, size_t n, double divisor, struct ucb_pool *pool)
{
    struct mirror run = {m, n, divisor};
    ucb_parallel_for(pool, n_units(n, MIRROR), mirror_band, &run);
}

static void divide(double *sum, uint32_t n, uint64_t by)
{
    if (sum == NULL) return;
    for (uint32_t j = 0; j < n; j++) sum[j] /= (double)by;
}

void ucb_collector_finish(struct ucb_collector *c, struct ucb_calib *out)
{
    if (c->n_seen > 0 && !c->finished) {
        divide(c->sq, c->n_in, c->n_seen);
        divide(c->abs, c->n_in, c->n_seen);
        if (c->moment != NULL) {
            empty_buffer(c);
            ucb_moment_mirror(c->moment, c->n_in, (double)c->n_seen, c->pool);
        }
    }
    c->finished = true;
    *out = (struct ucb_calib){.n_tokens = c->n_seen,
                              .n_sequences = c->n_sequences,
                              .sq_mean = c->sq,
                              .abs_mean = c->abs,
                              .abs_max = c->peak,
                              .second_moment = c->moment,
                              .sample = c->sample,
                              .n_sample = c->n_sampled};
}
