/*
 * dot_answers.c - does this CPU's VDPBF16PS add as the arithmetic bf16-dot says?
 *
 * The manuals of CPUs describe the instruction in more or less detail, and a future one may
 * add in another order, as other instruction sets do with the same data. So the instruction
 * is used only after it has given these answers; without it the same bits are made by fma.
 */
#include "backend/backend_internal.h"

#include <stdatomic.h>
#include <string.h>

/* Two pairs of x and w, the last of a block. The sum takes the products of elements 1, 0,
 * 3, 2. */
struct probe {
    float x[4], w[4];
    uint32_t bits; /* of the sum */
};

static const struct probe probes[] = {
    /* 1 + 2^24 rounds to 2^24: the odd product first, one rounding for each */
    {{0, 1, -0x1p24f, 0x1p24f}, {0, 1, 1, 1}, 0},
    {{0, 1, 0x1p24f, -0x1p24f}, {0, 1, 1, 1}, 0x3f800000},
    /* the pairs in rising order */
    {{0, 0x1p24f, -0x1p24f, 1}, {0, 1, 1, 1}, 0},
    /* ties to even, and what is above a tie */
    {{0x1p-23f, 1, 0, 0x1p-24f}, {1, 1, 0, 1}, 0x3f800002},
    {{0, 1, 0, 0x1.02p-24f}, {0, 1, 0, 1}, 0x3f800001},
    /* fused: products beyond the range of fp32, at either end, count; sums do not */
    {{0, -0x1.8p64f, 0, 0x1p64f}, {0, 0x1p63f, 0, 0x1p64f}, 0x7e800000},
    {{0, 0x1p-63f, 0x1p-64f, 0}, {0, 0x1p-63f, 0x1p-63f, 0}, 0x00c00000},
    {{0, 0x1.8p64f, -0x1p64f, 0x1p64f}, {0, 0x1p63f, 0x1p63f, 0x1p63f}, 0x7f800000},
    {{0, 0, 0x1p-64f, 0x1p-64f}, {0, 0, 0x1p-63f, 0x1p-63f}, 0},
    /* flushed to a zero of its sign: what is tiny after rounding */
    {{0, 0, -0x1p-64f, 0}, {0, 0, 0x1p-63f, 0}, 0x80000000},
    {{0, 0x1p-63f, 0, -0x1p-102f}, {0, 0x1p-63f, 0, 0x1p-50f}, 0x00800000},
    {{0, 0x1p-63f, 0, -0x1.8p-101f}, {0, 0x1p-63f, 0, 0x1p-50f}, 0},
    {{0, -0x1p-63f, 0x1.8p-101f, 0}, {0, 0x1p-63f, 0x1p-50f, 0}, 0x80000000},
    /* subnormal operands are zeros */
    {{0, 0, 0x1p-127f, 0x1p100f}, {0, 0, 0x1p100f, 0x1p-127f}, 0},
};
enum { N_PROBES = sizeof(probes) / sizeof(probes[0]), HALF = UCB_PANEL / 2 };
_Static_assert((int)N_PROBES <= (int)HALF, "a probe has a row and a column of each half");

bool ucb_dot_answers(const struct ucb_products *products)
{
    enum { FIRST = UCB_BLOCK - 4 };
    unsigned char slab_bytes[UCB_SLAB_ROWS * UCB_ROW_PITCH] __attribute__((aligned(64)));
    uint16_t panel[UCB_BLOCK * UCB_PANEL] __attribute__((aligned(64)));
    float w[UCB_PANEL][UCB_BLOCK] = {0}, y[N_PROBES][UCB_PANEL];
    const struct ucb_source source = {w[0], UCB_BLOCK, 1};
    struct ucb_slab slab = ucb_slab_place(slab_bytes, N_PROBES);
    bool right = true;

    for (int i = 0; i < N_PROBES; i++) {
        float x[UCB_BLOCK] = {0};
        memcpy(x + FIRST, probes[i].x, sizeof(probes[i].x));
        memcpy(w[i] + FIRST, probes[i].w, sizeof(probes[i].w));
        memcpy(w[HALF + i] + FIRST, probes[i].w, sizeof(probes[i].w));
        products->pack_row(x, UCB_BLOCK, ucb_slab_at(&slab, 0, (size_t)i));
    }
    ucb_panel_pack(UCB_ARITH_BF16_DOT, &source, UCB_PANEL, UCB_BLOCK, panel);
    uint32_t state = products->begin();
    products->multiply(&slab, N_PROBES, UCB_BLOCK, panel, y[0], UCB_PANEL);
    products->end(state);
    for (int i = 0; i < N_PROBES; i++)
        right = right && memcmp(&y[i][i], &probes[i].bits, sizeof(probes[i].bits)) == 0 &&
                memcmp(&y[i][HALF + i], &probes[i].bits, sizeof(probes[i].bits)) == 0;
    return right;
}

/* Racing threads store the same value. */
bool ucb_dot_is_native(void)
{
    enum { UNKNOWN, NO, YES };
    static atomic_int known = UNKNOWN;
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (answer == UNKNOWN) {
        const struct ucb_kernel_table *table = &ucb_kernel_table_avx512bf16;
        answer = ucb_cpu_has_avx512bf16() &&
                         ucb_dot_answers(table->products[UCB_ARITH_BF16_DOT])
                     ? YES
                     : NO;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == YES;
}
