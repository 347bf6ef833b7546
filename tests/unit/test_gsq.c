/* gsq: the optimal grid against brute force, the original's start and iterations by hand,
 * ties, forms, scales, and what is refused. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "../../methods/gsq/gsq.h"
#include "core/half.h"
#include "core/pcg.h"
#include "method_fixture.h"

/* ---- the grid ---- */

/* Squared distances of the bins' means to the nearest level, weighted; less is better. */
static double cost_of(const struct gsq_bin *bins, size_t n, const float *grid, unsigned k)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double nearest = INFINITY, mean = bins[i].moment / bins[i].weight;
        if (bins[i].weight == 0) continue;
        for (unsigned j = 0; j < k; j++)
            nearest = fmin(nearest, fabs(mean - (double)grid[j]));
        sum += bins[i].weight * nearest * nearest;
    }
    return sum;
}

static double cost_of_run(const struct gsq_bin *bins, size_t first, size_t last)
{
    double weight = 0, moment = 0, sum = 0;
    for (size_t i = first; i < last; i++) {
        weight += bins[i].weight;
        moment += bins[i].moment;
    }
    for (size_t i = first; i < last; i++) {
        double off = weight == 0 || bins[i].weight == 0
                         ? 0
                         : bins[i].moment / bins[i].weight - moment / weight;
        sum += bins[i].weight * off * off;
    }
    return sum;
}

/* Every way to cut [first, n) into at most k runs. */
static double brute_force(const struct gsq_bin *bins, size_t first, size_t n, unsigned k)
{
    double best = cost_of_run(bins, first, n);
    for (size_t cut = first + 1; k > 1 && cut < n; cut++)
        best = fmin(best, cost_of_run(bins, first, cut) + brute_force(bins, cut, n, k - 1));
    return best;
}

static void fill_bins(struct gsq_bin *bins, size_t n, struct ucb_pcg *r)
{
    for (size_t i = 0; i < n; i++) {
        bool empty = i > 0 && ucb_pcg_below(r, 4) == 0;
        bins[i].weight = empty ? 0 : exp2((double)ucb_pcg_below(r, 9));
        bins[i].moment = bins[i].weight * ((double)i - 5 + 0.9 * (double)ucb_pcg_unit(r));
    }
}

TEST(the_optimal_grid_is_what_brute_force_finds)
{
    struct gsq_bin bins[13];
    struct ucb_arena scratch = {0};
    struct ucb_pcg r;
    float grid[GSQ_MAX_LEVELS];
    ucb_pcg_named(&r, 1, "gsq brute force");
    for (int round = 0; round < 400; round++) {
        size_t n = 1 + ucb_pcg_below(&r, 13);
        unsigned k = 1 + ucb_pcg_below(&r, 6);
        fill_bins(bins, n, &r);
        CHECK_EQ(gsq_grid_optimal(bins, n, k, grid, &scratch, "m", NULL), UCB_OK);
        double expected = brute_force(bins, 0, n, k);
        /* Levels are fp32: each misses its mean by 2^-24 of at most 8. */
        CHECK_NEAR(cost_of(bins, n, grid, k), expected, 1e-5 * (1 + expected));
        for (unsigned i = 1; i < k; i++) CHECK(grid[i - 1] <= grid[i]);
        ucb_arena_reset(&scratch);
    }
    ucb_arena_free(&scratch);
}

/* O(n^2) per level, every candidate of every cut, beside the bounded search. */
TEST(the_optimal_grid_of_4096_bins_is_what_the_full_recurrence_finds)
{
    enum { N = GSQ_BINS, K = 7 };
    static struct gsq_bin bins[N];
    static double weight[N + 1], moment[N + 1], best[2][N + 1];
    struct ucb_arena scratch = {0};
    struct ucb_pcg r;
    float grid[GSQ_MAX_LEVELS];
    double square = 0;
    ucb_pcg_named(&r, 1, "gsq recurrence");
    for (size_t i = 0; i < N; i++) {
        double x = ((double)i + (double)ucb_pcg_unit(&r)) / (N / 2) - 1;
        bins[i].weight = (double)ucb_pcg_unit(&r) * exp(-8 * x * x) + 1e-6;
        bins[i].moment = bins[i].weight * x;
        square += bins[i].weight * x * x;
        weight[i + 1] = weight[i] + bins[i].weight;
        moment[i + 1] = moment[i] + bins[i].moment;
    }
    for (size_t j = 1; j <= N; j++) best[0][j] = moment[j] * moment[j] / weight[j];
    for (int k = 1; k < K; k++)
        for (size_t j = N; j > (size_t)k; j--) {
            best[k % 2][j] = 0;
            for (size_t i = (size_t)k; i < j; i++) {
                double d = moment[j] - moment[i];
                best[k % 2][j] = fmax(best[k % 2][j],
                                      best[1 - k % 2][i] + d * d / (weight[j] - weight[i]));
            }
        }
    CHECK_EQ(gsq_grid_optimal(bins, N, K, grid, &scratch, "m", NULL), UCB_OK);
    CHECK_NEAR(cost_of(bins, N, grid, K), square - best[(K - 1) % 2][N], 1e-9 * square);
    ucb_arena_free(&scratch);
}

TEST(fewer_values_than_levels_are_levels_themselves)
{
    struct gsq_bin bins[] = {{2, -2}, {0, 0}, {4, 1}, {1e-20, 1e-20}};
    struct ucb_arena scratch = {0};
    float grid[4];
    CHECK_EQ(gsq_grid_optimal(bins, 4, 4, grid, &scratch, "m", NULL), UCB_OK);
    CHECK(grid[0] == -1 && grid[1] == 0.25f && grid[2] == 0.25f && grid[3] == 0.25f);
    ucb_arena_free(&scratch);
}

TEST(the_seeds_start_rises_and_has_a_level_near_zero)
{
    float grid[GSQ_MAX_LEVELS];
    for (unsigned n = 4; n <= 64; n *= 2) {
        float nearest = 1;
        gsq_grid_start(n, grid);
        CHECK(grid[0] == -1 && grid[n - 1] == 1);
        for (unsigned k = 1; k < n; k++) CHECK(grid[k - 1] < grid[k]);
        for (unsigned k = 0; k < n; k++) nearest = fminf(nearest, fabsf(grid[k]));
        CHECK(nearest <= 0.05f);
    }
    gsq_grid_start(4, grid);
    CHECK(grid[1] == 0 && grid[2] == .318f);
    gsq_grid_start(32, grid);
    CHECK(grid[13] == -.0656f && grid[14] == -.0437f && grid[15] == -.0219f);
    CHECK(grid[16] == 0 && grid[17] == .0219f && grid[18] == .0656f);
}

TEST(lloyd_moves_levels_to_the_means_of_their_cells_and_leaves_empty_ones)
{
    static const float value[] = {-.9f, -.7f, .1f, .2f, .3f, .5f};
    float grid[] = {-1, -.3f, .2f, 1};
    double sum[7];
    gsq_grid_lloyd(value, 6, 4, grid, sum);
    CHECK_NEAR(grid[0], -.8, 1e-6);
    CHECK(grid[1] == -.3f);
    /* .5 is nearer to .2 than to 1, so the last level stays as well */
    CHECK_NEAR(grid[2], .275, 1e-6);
    CHECK(grid[3] == 1);
}

TEST(gsq_sorts_floats_of_both_signs)
{
    enum { N = 3000 };
    static float x[N], spare[N];
    fill_gaussian(x, N, 1e-3, "sort");
    x[0] = 0, x[1] = -0.0f, x[2] = 3e38f, x[3] = -3e38f, x[4] = 1e-40f;
    gsq_sort(x, spare, N);
    for (size_t i = 1; i < N; i++) CHECK(x[i - 1] <= x[i]);
    CHECK(x[0] == -3e38f && x[N - 1] == 3e38f);
}

/* ---- codes ---- */

TEST(a_weight_between_two_levels_takes_the_lower_one)
{
    static const float w[] = {-1, -.75f, -.5f, -.25f, 0, .25f, .5f, .75f};
    static const float grid[GSQ_MAX_LEVELS] = {-1, -.5f, 0, 1}, scale[] = {1};
    static const uint8_t expected[] = {0, 0, 1, 1, 2, 2, 2, 3};
    struct gsq_layout l = {.bits = 2,
                           .n_levels = 4,
                           .n_rows = 1,
                           .n_in = 8,
                           .block = 8,
                           .blocks_per_row = 1,
                           .n_blocks = 1,
                           .rows_per_chunk = 8,
                           .n_chunks = 1};
    struct ucb_arena scratch = {0};
    uint8_t packed[2], codes[16];
    CHECK_EQ(gsq_encode_codes(&l, w, scale, grid, packed, NULL, &scratch, "m", NULL),
             UCB_OK);
    gsq_unpack(packed, 2, 2, 0, 8, codes);
    CHECK(memcmp(codes, expected, 8) == 0);
    CHECK_EQ(packed[0], 0 | 0 << 2 | 1 << 4 | 1 << 6); /* lowest bits first */
    gsq_unpack(packed, 2, 2, 3, 5, codes);
    CHECK(memcmp(codes, expected + 3, 5) == 0);
    ucb_arena_free(&scratch);
}

TEST(a_blocks_peak_decodes_to_its_nearest_level_and_zeros_stay_zeros)
{
    static float w[4 * 128];
    struct method_fixture f;
    fixture_open(&f, "gsq:bits=3", 4, 128, UCB_BF16, 1);
    fixture_run(&f, w);
    for (size_t i = 0; i < 4 * 128; i++) CHECK(f.decoded[i] == 0);
    fixture_close(&f);
    fill_gaussian(w, 4 * 128, 1, "peak");
    fixture_open(&f, "gsq:bits=3", 4, 128, UCB_BF16, 1);
    fixture_run(&f, w);
    const uint8_t *codes = fixture_role(&f, "codes")->data;
    for (size_t b = 0; b < 8; b++) {
        size_t at = 64 * b;
        for (size_t i = 64 * b; i < 64 * (b + 1); i++)
            if (fabsf(w[i]) > fabsf(w[at])) at = i;
        CHECK_EQ(codes[at], w[at] < 0 ? 0 : 7);
    }
    fixture_close(&f);
}

TEST(more_bits_of_gsq_lose_less)
{
    enum { N = 64 * 256 };
    static float w[N];
    fill_gaussian(w, N, 0.02, "monotone");
    for (int seed = 0; seed < 2; seed++) {
        double before = 1;
        for (int bits = 2; bits <= 6; bits++) {
            struct method_fixture f;
            fixture_open(&f,
                         ucb_test_path("gsq:bits=%d,init=%s", bits, seed ? "seed" : "dp"),
                         64, 256, UCB_BF16, 1);
            fixture_run(&f, w);
            double error = relative_error(w, f.decoded, N);
            CHECK(error < before);
            before = error;
            fixture_close(&f);
        }
    }
}

/* ---- payload ---- */

/* Bytes of a 5-bit payload: form, grid, absmax, codes. */
static void check_size(const char *spec, uint32_t n_in, uint8_t form, size_t grid,
                       size_t absmax, double nominal)
{
    enum { N_OUT = 6 };
    static float w[N_OUT * 320];
    struct method_fixture f;
    fill_gaussian(w, N_OUT * n_in, 1, "size");
    fixture_open(&f, spec, N_OUT, n_in, UCB_BF16, 1);
    fixture_run(&f, w);
    CHECK_EQ(f.out.data[0], form);
    CHECK_EQ(f.out.part_bytes[UCB_PART_HEADER], 1);
    CHECK_EQ(f.out.part_bytes[UCB_PART_CODEBOOK], grid);
    CHECK_EQ(f.out.part_bytes[UCB_PART_SCALES], absmax);
    CHECK_EQ(f.out.part_bytes[UCB_PART_CODES], (N_OUT * n_in * 5 + 7) / 8);
    CHECK_NEAR(ucb_chain_nominal_bpw(f.chain, &f.matrix), nominal, 0);
    f.out.data[0] ^= 1;
    struct ucb_err err;
    CHECK_STATUS(ucb_chain_decode(f.chain, &f.context, &f.matrix, f.out.data, f.out.n_bytes,
                                  f.decoded, NULL, &err),
                 UCB_CORRUPT, err);
    CHECK_HAS(err.text, "m: the payload's form is");
    fixture_close(&f);
}

TEST(rows_that_are_not_whole_blocks_take_blocks_of_128_or_one_scale)
{
    check_size("gsq:bits=5", 320, GSQ_BLOCKS, 128, 6 * 5 * 2, 5.25);
    check_size("gsq:bits=5,scale=fp32", 320, GSQ_BLOCKS, 128, 6 * 5 * 4, 5.25);
    check_size("gsq:bits=5,block=96,scale=fp16", 256, GSQ_BLOCKS_128, 128, 6 * 2 * 2,
               5 + 16.0 / 96);
    check_size("gsq:bits=5", 100, GSQ_ROWS, 0, 6 * 2, 5.25);
}

TEST(rows_of_their_own_are_rounded_to_nearest_half_to_even)
{
    static float w[] = {-1, 1, .96875f, .09375f, .03125f, -.03125f, -.09375f, 0, .5f};
    static const uint8_t expected[] = {0, 31, 31, 18, 16, 16, 14, 16, 24};
    struct method_fixture f;
    fixture_open(&f, "gsq:bits=5", 1, 9, UCB_F32, 1);
    fixture_run(&f, w);
    CHECK(memcmp(fixture_role(&f, "codes")->data, expected, 9) == 0);
    CHECK(f.decoded[0] == -1 && f.decoded[1] == .9375f && f.decoded[8] == .5f);
    fixture_close(&f);
}

TEST(the_absmax_of_bf16_weights_is_stored_exactly)
{
    enum { N = 8 * 128 };
    static float w[N];
    struct method_fixture half, full;
    fill_gaussian(w, N, 0.02, "exact");
    for (size_t i = 0; i < N; i++) w[i] = ucb_bf16_round(w[i]);
    fixture_open(&half, "gsq:bits=4", 8, 128, UCB_BF16, 1);
    fixture_open(&full, "gsq:bits=4,scale=fp32", 8, 128, UCB_BF16, 1);
    fixture_run(&half, w);
    fixture_run(&full, w);
    CHECK(memcmp(half.decoded_f32, full.decoded_f32, N * sizeof(float)) == 0);
    fixture_close(&half);
    fixture_close(&full);
}

TEST(gsq_refuses_a_scale_that_its_dtype_does_not_hold)
{
    static float w[2 * 128];
    struct method_fixture f;
    struct ucb_err err;
    w[128 + 70] = 1e5f;
    fixture_open(&f, "gsq:scale=fp16", 2, 128, UCB_F32, 1);
    CHECK_STATUS(fixture_try_encode(&f, w, &err), UCB_UNSUPPORTED, err);
    CHECK_HAS(err.text, "m: the scale of the block at row 1, column 64 passes the largest "
                        "F16; try scale=bf16");
    fixture_close(&f);
}

TEST(gsq_traces_what_both_grids_would_lose)
{
    enum { N = 32 * 128 };
    static float w[N];
    fill_gaussian(w, N, 1, "trace");
    for (int seed = 0; seed < 2; seed++) {
        struct method_fixture f;
        double off = 0;
        fixture_open(&f, seed ? "gsq:init=seed" : "gsq", 32, 128, UCB_BF16, 2);
        fixture_run(&f, w);
        for (size_t i = 0; i < N; i++)
            off += ((double)w[i] - (double)f.decoded_f32[i]) *
                   ((double)w[i] - (double)f.decoded_f32[i]);
        const double *dp = fixture_role(&f, "squared_error_dp")->data,
                     *by_seed = fixture_role(&f, "squared_error_seed")->data;
        CHECK_NEAR(seed ? *by_seed : *dp, off, 1e-9 * off);
        CHECK(*dp < *by_seed);
        fixture_close(&f);
    }
}
