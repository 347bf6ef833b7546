/* The known answers by which a CPU's VDPBF16PS is taken or not: what adds in another way is
 * refused. */
#include "test.h"

#include <math.h>

#include "backend/backend_internal.h"
#include "core/half.h"

/* What an instruction of that purpose might do. */
static enum {
    AS_DEFINED,
    EVEN_FIRST,
    PAIR_SUMMED_FIRST,
    PAIR_SUMMED_EXACTLY,
    PRODUCTS_ROUNDED,
    KEEPS_SUBNORMAL_RESULTS,
    TAKES_SUBNORMAL_OPERANDS,
    FLUSHES_BEFORE_ROUNDING,
    ROUNDS_TO_ZERO,
    N_WAYS
} way;

static const char *const names[N_WAYS] = {
    "as defined",
    "the even product first",
    "the pair summed first",
    "the pair summed exactly",
    "products rounded",
    "subnormal results kept",
    "subnormal operands taken",
    "flushed before rounding",
    "rounded to zero",
};

/* Products and sums of the probes are exact in 64 bits, or far from a tie: see
 * dot_answers.c. */
static float rounded(long double exact)
{
    const long double least = 0x1p-126L, edge = 0x1p-126L - 0x1p-151L;
    float nearest = (float)exact;
    bool tiny = fabsl(exact) < (way == FLUSHES_BEFORE_ROUNDING ? least : edge);
    if (way == ROUNDS_TO_ZERO && fabsl((long double)nearest) > fabsl(exact))
        nearest = nextafterf(nearest, 0.0f);
    return tiny && way != KEEPS_SUBNORMAL_RESULTS ? copysignf(0.0f, nearest) : nearest;
}

static float operand(float x)
{
    return way != TAKES_SUBNORMAL_OPERANDS && fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}

static long double product(float x, float w)
{
    long double p = (long double)operand(x) * (long double)operand(w);
    return way == PRODUCTS_ROUNDED ? (long double)rounded(p) : p;
}

static float add_pair(float sum, const float *x, const float *w)
{
    long double even = product(x[0], w[0]), odd = product(x[1], w[1]);
    if (way == PAIR_SUMMED_FIRST) return rounded((long double)rounded(even + odd) + sum);
    if (way == PAIR_SUMMED_EXACTLY) return rounded(even + odd + (long double)sum);
    if (way == EVEN_FIRST)
        return rounded(odd + (long double)rounded(even + (long double)sum));
    return rounded(even + (long double)rounded(odd + (long double)sum));
}

static void multiply(const struct ucb_slab *slab, uint32_t n_rows, uint32_t n_in,
                     const void *panel, float *y, size_t y_stride)
{
    enum { HALF = UCB_PANEL / 2, HALF_VALUES = UCB_BLOCK * HALF };
    const uint16_t *values = panel;
    for (uint32_t row = 0; row < n_rows; row++)
        for (uint32_t column = 0; column < UCB_PANEL; column++) {
            const float *x = (const float *)ucb_slab_at(slab, 0, row);
            float sum = 0;
            for (uint32_t k = 0; k < n_in; k += 2) {
                const uint16_t *at = values + column / HALF * HALF_VALUES +
                                     k / 2 * UCB_PANEL + column % HALF * 2;
                const float w[2] = {ucb_bf16_widen(at[0]), ucb_bf16_widen(at[1])};
                sum = add_pair(sum, x + k, w);
            }
            y[row * y_stride + column] = sum;
        }
}

static const struct ucb_products imitation = {
    .tile_rows = 1,
    .row_bytes = UCB_CHUNK * sizeof(float),
    .begin = ucb_begin_plain,
    .end = ucb_end_plain,
    .multiply = multiply,
};

TEST(an_instruction_that_adds_in_any_other_way_is_refused)
{
    struct ucb_products products = imitation;
    products.pack_row = ucb_kernel_table_scalar.products[UCB_ARITH_BF16_DOT]->pack_row;
    for (int i = 0; i < N_WAYS; i++) {
        way = i;
        if (ucb_dot_answers(&products) != (i == AS_DEFINED))
            ucb_test_fail(__FILE__, __LINE__, "%s: %s", names[i],
                          i == AS_DEFINED ? "refused" : "taken");
    }
}

TEST(the_products_of_bf16_dot_give_the_answers_on_every_path_and_those_of_bf16_do_not)
{
    static const struct ucb_kernel_table *const tables[] = {
        [UCB_KERNEL_SCALAR] = &ucb_kernel_table_scalar,
        [UCB_KERNEL_AVX2] = &ucb_kernel_table_avx2,
        [UCB_KERNEL_AVX512] = &ucb_kernel_table_avx512,
    };
    for (int k = UCB_KERNEL_SCALAR; k <= UCB_KERNEL_AVX512; k++) {
        if (!ucb_kernel_available((enum ucb_kernel)k, UCB_ARITH_BF16_DOT, NULL)) continue;
        CHECK(ucb_dot_answers(tables[k]->products[UCB_ARITH_BF16_DOT]));
        CHECK(!ucb_dot_answers(tables[k]->products[UCB_ARITH_BF16]));
    }
}

TEST(the_instruction_is_used_where_the_cpu_has_it_and_it_answers)
{
    const struct ucb_products *native =
        ucb_kernel_table_avx512bf16.products[UCB_ARITH_BF16_DOT];
    CHECK_EQ(ucb_dot_is_native(), ucb_cpu_has_avx512bf16() && ucb_dot_answers(native));
    if (!ucb_dot_is_native()) SKIP("no AVX512-BF16, or it adds in another way");
    struct ucb_backend *backend = NULL;
    struct ucb_err err;
    CHECK_OK(ucb_backend_open(UCB_ARITH_BF16_DOT, UCB_KERNEL_AVX512, NULL, &backend, &err),
             err);
    CHECK(backend->products == native);
    CHECK_EQ(ucb_backend_kernel(backend), UCB_KERNEL_AVX512);
    ucb_backend_close(backend);
}
