/*
 * bench_widen.c - what a weight costs on its way from the file to a product, on one thread:
 * ggml's blocks to fp32, and rows of fp32 to a panel. A head that is not kept in memory
 * pays both for every block of positions.
 *
 * Counted are the bytes of fp32 that widening writes and packing reads. A type is verified
 * when blocks one by one, each at an odd address, give the same floats; a panel by its
 * definition.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend_internal.h"
#include "core/pcg.h"
#include "model/blocks.h"

enum { N_IN = 640, N_WEIGHTS = UCB_PANEL * N_IN, TIMES = 256, MOST_BYTES = 4 * N_WEIGHTS };

static struct widening {
    enum ucb_dtype dtype;
    uint8_t blocks[MOST_BYTES];
    float w[N_WEIGHTS], panel[N_WEIGHTS];
} job;

static size_t n_blocks(void)
{
    return N_WEIGHTS / ucb_dtype_block_elements(job.dtype);
}

static void widen(void *context)
{
    (void)context;
    for (int i = 0; i < TIMES; i++)
        ucb_blocks_widen(job.dtype, job.blocks, n_blocks(), job.w);
}

static bool verify_widened(void)
{
    size_t n_bytes = ucb_dtype_block_bytes(job.dtype),
           n = ucb_dtype_block_elements(job.dtype);
    uint8_t odd[1 + 256];
    float block[UCB_BLOCK_ELEMENTS_MAX];
    ucb_blocks_widen(job.dtype, job.blocks, n_blocks(), job.w);
    for (size_t i = 0; i < n_blocks(); i++) {
        memcpy(odd + 1, job.blocks + i * n_bytes, n_bytes);
        ucb_blocks_widen(job.dtype, odd + 1, 1, block);
        if (memcmp(block, job.w + i * n, n * sizeof(*block)) != 0) return false;
    }
    return true;
}

static void pack(void *context)
{
    struct ucb_source source = {job.w, N_IN, 1};
    (void)context;
    for (int i = 0; i < TIMES; i++)
        ucb_panel_pack(UCB_ARITH_FP32, &source, UCB_PANEL, N_IN, job.panel);
}

static bool verify_packed(void)
{
    pack(NULL);
    for (size_t k = 0; k < N_IN; k++)
        for (size_t column = 0; column < UCB_PANEL; column++)
            if (job.panel[k * UCB_PANEL + column] != job.w[column * N_IN + k]) return false;
    return true;
}

static void show(const char *what, void (*run)(void *), bool verified)
{
    bench_row(&(struct bench_row){.what = what,
                                  .kernel = UCB_KERNEL_AUTO,
                                  .arithmetic = "",
                                  .work = (double)TIMES * N_WEIGHTS * sizeof(float),
                                  .unit = "GB/s",
                                  .run = run,
                                  .verified = verified});
}

BENCH(widening)
{
    struct ucb_pcg r;
    char what[64];
    ucb_pcg_named(&r, 1, "bench_widen");
    /* below 0x78 no half is infinite or NaN, wherever it stands */
    for (size_t i = 0; i < MOST_BYTES; i++)
        job.blocks[i] = (uint8_t)(ucb_pcg_next(&r) % 0x78);
    for (int d = 0; d < UCB_N_DTYPES; d++) {
        job.dtype = (enum ucb_dtype)d;
        if (!ucb_dtype_is_blocks(job.dtype)) continue;
        snprintf(what, sizeof(what), "widen %s", ucb_dtype_name(job.dtype));
        show(what, widen, verify_widened());
    }
    show("pack a panel of 32 rows", pack, verify_packed());
}
