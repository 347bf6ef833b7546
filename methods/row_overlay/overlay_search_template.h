/*
 * overlay_search_template.h - the search of a codebook, compiled once for each instruction
 * set: the file that includes it defines OVERLAY_PATH and OVERLAY_PATH_NAME.
 *
 * Entries lie in the lanes. A tile of 32 blocks (512 entries, 18 KB) stays in the first
 * cache while all vectors of a call go over it; vectors are held in registers, one value in
 * all lanes, PAIR vectors at a time.
 *
 * The 8 nearest: scores of all entries are kept, with the least one of each of 16 classes
 * (index mod 16). The 8th least of those 16 bounds the 8th least of all, so a second look
 * at the scores finds about eleven candidates, whatever the codebook's size.
 */
#include "overlay.h"
#include "overlay_lanes.h"

enum {
    TILE_BLOCKS = 32,
    PARTS = OVERLAY_BLOCK / OVERLAY_LANES, /* registers of a block */
    PAIR = OVERLAY_LANES == 16 ? 2 : 1,    /* vectors whose values fit the registers */
    MAX_NEAREST = 32,                      /* vectors of one walk over the tiles */
    MAX_BEST = 4,
    MAX_SCORES = 1 << OVERLAY_MAX_BITS
};

/* Counts are known when this is compiled, and arrays of registers must become registers. */
#define UNROLL _Pragma("GCC unroll 8")

/* Scores of one register of entries for n vectors. */
OVERLAY_INLINE void scores_of(const float *tile, overlay_lanes (*x)[OVERLAY_D],
                              overlay_lanes *sum, int n)
{
    overlay_lanes norm = lanes_load(tile);
    UNROLL for (int i = 0; i < n; i++) sum[i] = norm;
    UNROLL for (int d = 0; d < OVERLAY_D; d++)
    {
        overlay_lanes entry = lanes_load(tile + (d + 1) * OVERLAY_BLOCK);
        UNROLL for (int i = 0; i < n; i++) sum[i] = lanes_fma(entry, x[i][d], sum[i]);
    }
}

OVERLAY_INLINE void spread(const float *x, overlay_lanes out[OVERLAY_D])
{
    UNROLL for (int d = 0; d < OVERLAY_D; d++) out[d] = lanes_all(x[d]);
}

/* The least score of each class, and the block it was found in. */
struct least {
    float score[OVERLAY_BLOCK];
    int32_t block[OVERLAY_BLOCK];
};

OVERLAY_INLINE void nearest_of_tile(const float *tile, uint32_t first, uint32_t n_blocks,
                                    const float *x, struct least *least, int n)
{
    overlay_lanes value[PAIR][OVERLAY_D], score[PAIR][PARTS];
    overlay_ints block[PAIR][PARTS];
    for (int i = 0; i < n; i++) {
        spread(x + i * OVERLAY_D, value[i]);
        memcpy(score[i], least[i].score, sizeof(score[i]));
        memcpy(block[i], least[i].block, sizeof(block[i]));
    }
    for (uint32_t b = 0; b < n_blocks; b++, tile += OVERLAY_TILE) {
        overlay_ints here = (int32_t)(first + b) - (overlay_ints){0};
        UNROLL for (int p = 0; p < PARTS; p++)
        {
            overlay_lanes s[PAIR];
            scores_of(tile + p * OVERLAY_LANES, value, s, n);
            UNROLL for (int i = 0; i < n; i++)
            {
                block[i][p] = lanes_pick_below(s[i], score[i][p], here, block[i][p]);
                score[i][p] = lanes_min(s[i], score[i][p]);
            }
        }
    }
    for (int i = 0; i < n; i++) {
        memcpy(least[i].score, score[i], sizeof(score[i]));
        memcpy(least[i].block, block[i], sizeof(block[i]));
    }
}

static uint32_t index_of_least(const struct least *l)
{
    uint32_t best = 0, index = (uint32_t)l->block[0] * OVERLAY_BLOCK;
    for (uint32_t lane = 1; lane < OVERLAY_BLOCK; lane++) {
        uint32_t at = (uint32_t)l->block[lane] * OVERLAY_BLOCK + lane;
        if (l->score[lane] > l->score[best]) continue;
        if (l->score[lane] == l->score[best] && at > index) continue;
        best = lane;
        index = at;
    }
    return index;
}

static void nearest_some(const struct overlay_book *book, const float *x, size_t n,
                         uint32_t *index)
{
    struct least least[MAX_NEAREST];
    uint32_t n_blocks = overlay_blocks(book->n);
    for (size_t i = 0; i < n; i++)
        for (int lane = 0; lane < OVERLAY_BLOCK; lane++) {
            least[i].score[lane] = INFINITY;
            least[i].block[lane] = 0;
        }
    for (uint32_t first = 0; first < n_blocks; first += TILE_BLOCKS) {
        const float *tile = book->tile + (size_t)first * OVERLAY_TILE;
        uint32_t here = n_blocks - first < TILE_BLOCKS ? n_blocks - first : TILE_BLOCKS;
        size_t i = 0;
        for (; i + PAIR <= n; i += PAIR)
            nearest_of_tile(tile, first, here, x + i * OVERLAY_D, least + i, PAIR);
        for (; i < n; i++)
            nearest_of_tile(tile, first, here, x + i * OVERLAY_D, least + i, 1);
    }
    for (size_t i = 0; i < n; i++) index[i] = index_of_least(&least[i]);
}

static void nearest(const struct overlay_book *book, const float *x, size_t n,
                    uint32_t *index)
{
    for (size_t i = 0; i < n; i += MAX_NEAREST)
        nearest_some(book, x + i * OVERLAY_D, n - i < MAX_NEAREST ? n - i : MAX_NEAREST,
                     index + i);
}

/* Scores of a tile's entries for n vectors, which lie MAX_SCORES apart. */
OVERLAY_INLINE void scores_of_tile(const float *tile, uint32_t n_blocks, const float *x,
                                   float *scores, float (*low)[OVERLAY_BLOCK], int n)
{
    overlay_lanes value[PAIR][OVERLAY_D], least[PAIR][PARTS];
    for (int i = 0; i < n; i++) {
        spread(x + i * OVERLAY_D, value[i]);
        memcpy(least[i], low[i], sizeof(least[i]));
    }
    for (uint32_t b = 0; b < n_blocks; b++, tile += OVERLAY_TILE)
        UNROLL for (int p = 0; p < PARTS; p++)
        {
            float *to = scores + b * OVERLAY_BLOCK + p * OVERLAY_LANES;
            overlay_lanes s[PAIR];
            scores_of(tile + p * OVERLAY_LANES, value, s, n);
            UNROLL for (int i = 0; i < n; i++)
            {
                lanes_store(to + i * MAX_SCORES, s[i]);
                least[i][p] = lanes_min(s[i], least[i][p]);
            }
        }
    for (int i = 0; i < n; i++) memcpy(low[i], least[i], sizeof(least[i]));
}

/* The 8th least of 16. */
static float eighth(const float low[OVERLAY_BLOCK])
{
    float sorted[OVERLAY_BEAM];
    for (int n = 0; n < OVERLAY_BLOCK; n++) {
        int at = n < OVERLAY_BEAM ? n : OVERLAY_BEAM - 1;
        if (n >= OVERLAY_BEAM && !(low[n] < sorted[at])) continue;
        for (; at > 0 && sorted[at - 1] > low[n]; at--) sorted[at] = sorted[at - 1];
        sorted[at] = low[n];
    }
    return sorted[OVERLAY_BEAM - 1];
}

/* Candidates come in index order, so an equal score stays behind those before it. */
static void collect_best(const float *scores, uint32_t n, float bound,
                         uint32_t index[OVERLAY_BEAM])
{
    float kept[OVERLAY_BEAM];
    uint32_t n_kept = 0;
    overlay_lanes limit = lanes_all(bound);
    for (uint32_t first = 0; first < n; first += OVERLAY_LANES)
        for (uint32_t bits = lanes_bits_up_to(lanes_load(scores + first), limit); bits != 0;
             bits &= bits - 1) {
            uint32_t i = first + (uint32_t)__builtin_ctz(bits), at = n_kept;
            if (i >= n) break; /* what stands past the last entry */
            if (n_kept < OVERLAY_BEAM)
                n_kept++;
            else if (scores[i] < kept[--at])
                ;
            else
                continue;
            for (; at > 0 && kept[at - 1] > scores[i]; at--) {
                kept[at] = kept[at - 1];
                index[at] = index[at - 1];
            }
            kept[at] = scores[i];
            index[at] = i;
        }
}

static void best_some(const struct overlay_book *book, const float *x, size_t n,
                      uint32_t (*index)[OVERLAY_BEAM])
{
    _Alignas(64) float scores[MAX_BEST * MAX_SCORES];
    float low[MAX_BEST][OVERLAY_BLOCK];
    uint32_t n_blocks = overlay_blocks(book->n);
    for (size_t i = 0; i < n; i++)
        for (int lane = 0; lane < OVERLAY_BLOCK; lane++) low[i][lane] = INFINITY;
    for (uint32_t first = 0; first < n_blocks; first += TILE_BLOCKS) {
        const float *tile = book->tile + (size_t)first * OVERLAY_TILE;
        uint32_t here = n_blocks - first < TILE_BLOCKS ? n_blocks - first : TILE_BLOCKS;
        float *at = scores + first * OVERLAY_BLOCK;
        size_t i = 0;
        for (; i + PAIR <= n; i += PAIR)
            scores_of_tile(tile, here, x + i * OVERLAY_D, at + i * MAX_SCORES, low + i,
                           PAIR);
        for (; i < n; i++)
            scores_of_tile(tile, here, x + i * OVERLAY_D, at + i * MAX_SCORES, low + i, 1);
    }
    for (size_t i = 0; i < n; i++)
        collect_best(scores + i * MAX_SCORES, book->n, eighth(low[i]), index[i]);
}

static void best(const struct overlay_book *book, const float *x, size_t n,
                 uint32_t (*index)[OVERLAY_BEAM])
{
    for (size_t i = 0; i < n; i += MAX_BEST)
        best_some(book, x + i * OVERLAY_D, n - i < MAX_BEST ? n - i : MAX_BEST, index + i);
}

extern const struct overlay_path OVERLAY_PATH;
const struct overlay_path OVERLAY_PATH = {OVERLAY_PATH_NAME, nearest, best};
