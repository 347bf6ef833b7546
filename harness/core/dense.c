/*
 * dense.c - products, Cholesky and triangular inverse by blocks of columns.
 *
 * Everything heavy is one step: c += a b, where a and b are a few columns deep and packed
 * so that the innermost loop reads both in order:
 *
 *     left    tiles of TALL rows of a,      [tile][k][TALL]    (negated to subtract)
 *     right   tiles of LANES columns of b,  [tile][k][LANES]
 *
 * The sums of a TALL x LANES tile of c live in registers and start from c itself, so
 * cutting k into blocks does not cut a chain.
 *
 * Cholesky and the inverse go through blocks of BLOCK columns: solve a triangle of that
 * size (vectors run across the right hand sides), then take its part out of all that is
 * still to come.
 */
#include "core/dense.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/clones.h"
#include "core/f64_lanes.h"

enum { LANES = 8, TALL = 6, BLOCK = 128, DEEP = 256, ITEM_ROWS = 96, ITEM_COLUMNS = 256 };
_Static_assert(ITEM_ROWS % TALL == 0 && ITEM_COLUMNS % LANES == 0, "items are whole tiles");

static size_t tiles(size_t n, size_t tile)
{
    return (n + tile - 1) / tile;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- packing ---- */

/* Rows [row, row + TALL) of a, times +1 or -1; zeros past the last. */
static void pack_left(struct ucb_dense a, size_t row, double sign, double *tile)
{
    size_t n = smaller(TALL, a.n_rows - row);
    if (n < TALL) memset(tile, 0, a.n_columns * TALL * sizeof(*tile));
    for (size_t i = 0; i < n; i++) {
        const double *from = a.at + (row + i) * a.row_step;
        for (size_t k = 0; k < a.n_columns; k++)
            tile[k * TALL + i] = sign * from[k * a.column_step];
    }
}

/* Columns [column, column + LANES) of b; zeros past the last. */
static void pack_right(struct ucb_dense b, size_t column, double *tile)
{
    size_t n = smaller(LANES, b.n_columns - column);
    if (n < LANES) memset(tile, 0, b.n_rows * LANES * sizeof(*tile));
    for (size_t j = 0; j < n; j++) {
        const double *from = b.at + (column + j) * b.column_step;
        for (size_t k = 0; k < b.n_rows; k++) tile[k * LANES + j] = from[k * b.row_step];
    }
}

struct pack_run {
    struct ucb_dense a, b;
    double sign, *left, *right;
};

static void pack_left_tile(void *context, size_t tile)
{
    struct pack_run *run = context;
    pack_left(run->a, tile * TALL, run->sign, run->left + tile * TALL * run->a.n_columns);
}

static void pack_right_tile(void *context, size_t tile)
{
    struct pack_run *run = context;
    pack_right(run->b, tile * LANES, run->right + tile * LANES * run->b.n_rows);
}

/* ---- c += left right ---- */

struct product_run {
    const double *left, *right;
    size_t n_k;
    double *c;
    size_t step, n_rows, n_columns; /* of c; step: from row to row */
    bool lower;                     /* c is square: tiles above its diagonal are left out */
};

/* A whole tile of c. */
UCB_F64_INLINE void add_tile(const double *left, const double *right, size_t n_k, double *c,
                             size_t step)
{
    ucb_f64x8 sum[TALL];
#pragma GCC unroll 6
    for (int i = 0; i < TALL; i++) sum[i] = ucb_f64_load(c + i * step);
    for (size_t k = 0; k < n_k; k++, left += TALL, right += LANES) {
        ucb_f64x8 b = ucb_f64_load(right);
#pragma GCC unroll 6
        for (int i = 0; i < TALL; i++) sum[i] += ucb_f64_all(left[i]) * b;
    }
#pragma GCC unroll 6
    for (int i = 0; i < TALL; i++) ucb_f64_store(c + i * step, sum[i]);
}

/* The same where c ends inside the tile. */
UCB_F64_INLINE void add_edge(const double *left, const double *right, size_t n_k, double *c,
                             size_t step, size_t n_rows, size_t n_columns)
{
    double tile[TALL * LANES] = {0};
    for (size_t i = 0; i < n_rows; i++)
        memcpy(tile + i * LANES, c + i * step, n_columns * sizeof(*c));
    add_tile(left, right, n_k, tile, LANES);
    for (size_t i = 0; i < n_rows; i++)
        memcpy(c + i * step, tile + i * LANES, n_columns * sizeof(*c));
}

UCB_CLONES static void add_item(const struct product_run *run, size_t row, size_t column)
{
    size_t last_row = smaller(row + ITEM_ROWS, run->n_rows);
    size_t last_column = smaller(column + ITEM_COLUMNS, run->n_columns);
    for (size_t j = column; j < last_column; j += LANES)
        for (size_t i = row; i < last_row; i += TALL) {
            const double *left = run->left + i * run->n_k,
                         *right = run->right + j * run->n_k;
            double *c = run->c + i * run->step + j;
            if (run->lower && j >= i + TALL) continue;
            if (i + TALL <= run->n_rows && j + LANES <= run->n_columns)
                add_tile(left, right, run->n_k, c, run->step);
            else
                add_edge(left, right, run->n_k, c, run->step,
                         smaller(TALL, run->n_rows - i),
                         smaller(LANES, run->n_columns - j));
        }
}

static void product_item(void *context, size_t item)
{
    const struct product_run *run = context;
    size_t across = tiles(run->n_columns, ITEM_COLUMNS);
    size_t row = item / across * ITEM_ROWS, column = item % across * ITEM_COLUMNS;
    if (!run->lower || column < row + ITEM_ROWS) add_item(run, row, column);
}

static void add_product(struct product_run *run, struct ucb_pool *pool)
{
    size_t n_items = tiles(run->n_rows, ITEM_ROWS) * tiles(run->n_columns, ITEM_COLUMNS);
    ucb_parallel_for(pool, n_items, product_item, run);
}

/* Room for `deep` columns of n packed rows, in tiles of `tile`. */
static double *new_packed(struct ucb_arena *scratch, size_t n, size_t tile, size_t deep,
                          struct ucb_err *err)
{
    size_t rows = tiles(n, tile) * tile, count;
    double *room = ucb_size_mul(rows, deep, &count) ? UCB_NEW(scratch, double, count)
                                                    : NULL;
    if (room == NULL) UCB_FAIL(err, UCB_NOMEM, "no memory to pack a matrix of %zu rows", n);
    return room;
}

ucb_status ucb_dense_multiply(struct ucb_dense a, struct ucb_dense b,
                              enum ucb_dense_mode mode, double *c, struct ucb_pool *pool,
                              struct ucb_arena *scratch, struct ucb_err *err)
{
    size_t n_k = a.n_columns, deep = smaller(n_k, DEEP);
    struct pack_run pack = {.a = a, .b = b, .sign = mode == UCB_DENSE_SUBTRACT ? -1 : 1};
    struct product_run run = {
        .c = c, .step = b.n_columns, .n_rows = a.n_rows, .n_columns = b.n_columns};
    assert(a.n_columns == b.n_rows);
    pack.left = new_packed(scratch, a.n_rows, TALL, deep, err);
    pack.right = new_packed(scratch, b.n_columns, LANES, deep, err);
    if (pack.left == NULL || pack.right == NULL) return UCB_NOMEM;
    run.left = pack.left;
    run.right = pack.right;
    if (mode == UCB_DENSE_SET) memset(c, 0, a.n_rows * b.n_columns * sizeof(*c));
    for (size_t k = 0; k < n_k; k += DEEP) {
        pack.a.n_columns = pack.b.n_rows = run.n_k = smaller(DEEP, n_k - k);
        pack.a.at = a.at + k * a.column_step;
        pack.b.at = b.at + k * b.row_step;
        ucb_parallel_for(pool, tiles(a.n_rows, TALL), pack_left_tile, &pack);
        ucb_parallel_for(pool, tiles(b.n_columns, LANES), pack_right_tile, &pack);
        add_product(&run, pool);
    }
    return UCB_OK;
}

/* ---- triangles ---- */

/* A triangular matrix on its way through the blocks. */
struct triangle_run {
    double *a;
    size_t n, at, width; /* the block: columns [at, at + width) */
    double *corner;      /* its own triangle, turned: corner[j * BLOCK + i] = l_ij */
    struct pack_run pack;
};

static ucb_status begin_triangle(struct triangle_run *run, double *a, size_t n,
                                 struct ucb_arena *scratch, struct ucb_err *err)
{
    *run = (struct triangle_run){.a = a, .n = n, .pack.sign = -1};
    run->corner = new_packed(scratch, BLOCK, BLOCK, BLOCK, err);
    run->pack.left = new_packed(scratch, n, TALL, BLOCK, err);
    run->pack.right = new_packed(scratch, n, LANES, BLOCK, err);
    return run->corner == NULL || run->pack.left == NULL || run->pack.right == NULL
               ? UCB_NOMEM
               : UCB_OK;
}

static void load_corner(struct triangle_run *run)
{
    for (size_t i = 0; i < run->width; i++)
        for (size_t j = 0; j <= i; j++)
            run->corner[j * BLOCK + i] = run->a[(run->at + i) * run->n + run->at + j];
}

static void store_corner(struct triangle_run *run)
{
    for (size_t i = 0; i < run->width; i++)
        for (size_t j = 0; j <= i; j++)
            run->a[(run->at + i) * run->n + run->at + j] = run->corner[j * BLOCK + i];
}

/* Rows below the block, its columns: what the rest still depends on. */
static struct ucb_dense below(const struct triangle_run *run)
{
    size_t row = run->at + run->width;
    return (struct ucb_dense){run->a + row * run->n + run->at, run->n - row, run->width,
                              run->n, 1};
}

/* The Cholesky factor of the corner; the first bad pivot, or its width. */
UCB_CLONES static size_t factor_corner(double *corner, size_t width)
{
    for (size_t j = 0; j < width; j++) {
        double *row = corner + j * BLOCK, square = row[j];
        if (!(square > 0 && square <= DBL_MAX)) return j;
        row[j] = sqrt(square);
        for (size_t i = j + 1; i < width; i++) row[i] /= row[j];
        for (size_t i = j + 1; i < width; i++) {
            double *other = corner + i * BLOCK;
            size_t k = i;
            for (; k + LANES <= width; k += LANES)
                ucb_f64_store(other + k, ucb_f64_load(other + k) -
                                             ucb_f64_load(row + k) * ucb_f64_all(row[i]));
            for (; k < width; k++) other[k] -= row[k] * row[i];
        }
    }
    return width;
}

/* Solves L x = tile for the LANES columns of a packed right tile, in place. */
UCB_CLONES static void solve_tile(const double *corner, size_t width, double *tile)
{
    for (size_t j = 0; j < width; j++, corner += BLOCK) {
        ucb_f64x8 x = ucb_f64_load(tile + j * LANES) / ucb_f64_all(corner[j]);
        ucb_f64_store(tile + j * LANES, x);
        for (size_t i = j + 1; i < width; i++)
            ucb_f64_store(tile + i * LANES,
                          ucb_f64_load(tile + i * LANES) - x * ucb_f64_all(corner[i]));
    }
}

/* Packs the right tile, solves it, and puts what it holds back into its place. */
static void solve_right_tile(void *context, size_t index)
{
    struct triangle_run *run = context;
    struct ucb_dense b = run->pack.b;
    double *tile = run->pack.right + index * LANES * run->width;
    double *home = run->a + (b.at - run->a); /* the same, to be written */
    size_t column = index * LANES, n = smaller(LANES, b.n_columns - column);
    pack_right(b, column, tile);
    solve_tile(run->corner, run->width, tile);
    for (size_t k = 0; k < run->width; k++)
        for (size_t j = 0; j < n; j++)
            home[k * b.row_step + (column + j) * b.column_step] = tile[k * LANES + j];
}

static void clear_above(double *a, size_t n)
{
    for (size_t i = 0; i < n; i++) memset(a + i * n + i + 1, 0, (n - i - 1) * sizeof(*a));
}

/* One block: factor the corner, solve the rows below, take them out of what is right of
 * them. */
static size_t cholesky_block(struct triangle_run *run, struct ucb_pool *pool)
{
    struct pack_run *pack = &run->pack;
    size_t next = run->at + run->width;
    load_corner(run);
    size_t bad = factor_corner(run->corner, run->width);
    if (bad < run->width) return run->at + bad;
    store_corner(run);
    pack->a = below(run);
    pack->b = ucb_dense_turned(pack->a);
    ucb_parallel_for(pool, tiles(pack->b.n_columns, LANES), solve_right_tile, run);
    ucb_parallel_for(pool, tiles(pack->a.n_rows, TALL), pack_left_tile, pack);
    struct product_run rest = {.left = pack->left,
                               .right = pack->right,
                               .n_k = run->width,
                               .c = run->a + next * run->n + next,
                               .step = run->n,
                               .n_rows = run->n - next,
                               .n_columns = run->n - next,
                               .lower = true};
    add_product(&rest, pool);
    return run->n;
}

/* The factor; *bad is n, or the pivot that has no positive finite square, and *square that
 * square. */
static ucb_status factor(double *a, size_t n, struct ucb_pool *pool,
                         struct ucb_arena *scratch, size_t *bad, double *square,
                         struct ucb_err *err)
{
    struct triangle_run run;
    UCB_TRY(begin_triangle(&run, a, n, scratch, err));
    *bad = n;
    for (; run.at < n && *bad == n; run.at += run.width) {
        run.width = smaller(BLOCK, n - run.at);
        *bad = cholesky_block(&run, pool);
        if (*bad < n) *square = run.corner[(*bad - run.at) * (BLOCK + 1)];
    }
    clear_above(a, n);
    return UCB_OK;
}

static ucb_status refuse_pivot(size_t pivot, size_t n, double square, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "not positive definite: the square of pivot %zu of %zu is %g", pivot, n,
                    square);
}

ucb_status ucb_dense_cholesky(double *a, size_t n, struct ucb_pool *pool,
                              struct ucb_arena *scratch, size_t *pivot, struct ucb_err *err)
{
    size_t bad;
    double square = 0;
    UCB_TRY(factor(a, n, pool, scratch, &bad, &square, err));
    if (bad == n) return UCB_OK;
    *pivot = bad;
    return refuse_pivot(bad, n, square, err);
}

/* One block of rows: solve it, take it out of the rows below. Those rows hold l in the
 * block's columns, which is packed and then makes room for x. */
static void invert_block(struct triangle_run *run, struct ucb_pool *pool)
{
    struct pack_run *pack = &run->pack;
    size_t next = run->at + run->width;
    double *rows = run->a + run->at * run->n;
    load_corner(run);
    for (size_t i = 0; i < run->width; i++) {
        memset(rows + i * run->n + run->at, 0, run->width * sizeof(*rows));
        rows[i * run->n + run->at + i] = 1;
    }
    pack->a = below(run);
    pack->b = (struct ucb_dense){rows, run->width, next, run->n, 1};
    ucb_parallel_for(pool, tiles(next, LANES), solve_right_tile, run);
    ucb_parallel_for(pool, tiles(pack->a.n_rows, TALL), pack_left_tile, pack);
    for (size_t i = next; i < run->n; i++)
        memset(run->a + i * run->n + run->at, 0, run->width * sizeof(*rows));
    struct product_run rest = {.left = pack->left,
                               .right = pack->right,
                               .n_k = run->width,
                               .c = run->a + next * run->n,
                               .step = run->n,
                               .n_rows = run->n - next,
                               .n_columns = next};
    add_product(&rest, pool);
}

ucb_status ucb_dense_invert_lower(double *l, size_t n, struct ucb_pool *pool,
                                  struct ucb_arena *scratch, struct ucb_err *err)
{
    struct triangle_run run;
    UCB_TRY(begin_triangle(&run, l, n, scratch, err));
    for (; run.at < n; run.at += run.width) {
        run.width = smaller(BLOCK, n - run.at);
        invert_block(&run, pool);
    }
    clear_above(l, n);
    return UCB_OK;
}

/* Rows and columns in reverse order: of a square matrix, all elements in reverse order. */
static void reverse(double *a, size_t n)
{
    for (size_t i = 0, j = n * n; i + 1 < j; i++) {
        double kept = a[i];
        a[i] = a[--j];
        a[j] = kept;
    }
}

ucb_status ucb_dense_inverse_factor(double *a, size_t n, struct ucb_pool *pool,
                                    struct ucb_arena *scratch, size_t *pivot,
                                    struct ucb_err *err)
{
    size_t bad;
    double square = 0;
    reverse(a, n);
    UCB_TRY(factor(a, n, pool, scratch, &bad, &square, err));
    if (bad < n) {
        *pivot = n - 1 - bad;
        return refuse_pivot(*pivot, n, square, err);
    }
    UCB_TRY(ucb_dense_invert_lower(a, n, pool, scratch, err));
    reverse(a, n);
    return UCB_OK;
}
