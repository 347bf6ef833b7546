/*
 * int8_dot.c - see int8_dot.h: packing, the path of every x86-64 (tiles of 2 rows x 16
 * outputs: 8 sums, 4 vectors of weights), and which paths this CPU runs.
 */
#include "int8_dot.h"

#include <smmintrin.h>
#include <stdbool.h>
#include <string.h>

typedef __m128i vec;
enum { PATH_ROWS = 2, PATH_PANELS = 1, VEC_PAIRS = 4 };

static inline vec vec_zero(void)
{
    return _mm_setzero_si128();
}
static inline vec vec_widen(const int8_t *pairs)
{
    return _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)pairs));
}
static inline vec vec_pair(const int16_t *pair)
{
    int32_t both;
    memcpy(&both, pair, sizeof(both));
    return _mm_set1_epi32(both);
}
static inline vec vec_madd(vec a, vec b)
{
    return _mm_madd_epi16(a, b);
}
static inline vec vec_add(vec a, vec b)
{
    return _mm_add_epi32(a, b);
}
static inline void vec_store(int32_t *p, vec x)
{
    _mm_storeu_si128((__m128i *)p, x);
}

#include "int8_dot_template.h"

static const struct int8_path path_sse = {"sse", PATH_ROWS, PATH_PANELS, tile};

size_t int8_n_panels(size_t n_out)
{
    enum { STEP = INT8_MAX_PANELS * UCB_LANES };
    return (n_out + STEP - 1) / STEP * INT8_MAX_PANELS;
}

size_t int8_n_pairs(size_t n_in)
{
    return (n_in + UCB_LANES - 1) / UCB_LANES * (UCB_LANES / 2);
}

size_t int8_panel_bytes(size_t n_out, size_t n_in)
{
    return int8_n_panels(n_out) * UCB_LANES * int8_n_pairs(n_in) * 2;
}

struct pack_run {
    const uint8_t *codes;
    size_t n_out, n_in;
    int8_t *panels;
};

static void pack_panel(void *context, size_t panel)
{
    const struct pack_run *run = context;
    size_t n_in = run->n_in, first = panel * UCB_LANES, n = run->n_out - first;
    int8_t *to = run->panels + panel * UCB_LANES * int8_n_pairs(n_in) * 2;
    for (size_t lane = 0; lane < UCB_LANES && lane < n; lane++) {
        const uint8_t *from = run->codes + (first + lane) * n_in;
        for (size_t i = 0; i + 2 <= n_in; i += 2)
            memcpy(to + i * UCB_LANES + 2 * lane, from + i, 2);
        if (n_in % 2 == 1)
            memcpy(to + (n_in - 1) * UCB_LANES + 2 * lane, from + n_in - 1, 1);
    }
}

void int8_pack(const uint8_t *codes, size_t n_out, size_t n_in, struct ucb_pool *pool,
               int8_t *panels)
{
    struct pack_run run = {codes, n_out, n_in, panels};
    ucb_parallel_for(pool, (n_out + UCB_LANES - 1) / UCB_LANES, pack_panel, &run);
}

/* Everything that the compiler may use in a file of that instruction set and that the
 * compiler can ask for. */
static bool runs_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

static bool runs_avx512(void)
{
    return runs_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

const struct int8_path *int8_path_at(size_t i)
{
    static const struct int8_path *const paths[] = {&path_sse, &int8_path_avx2,
                                                    &int8_path_avx512};
    size_t n_paths = runs_avx512() ? 3 : runs_avx2() ? 2 : 1;
    return i < n_paths ? paths[i] : NULL;
}

const struct int8_path *int8_path_best(void)
{
    size_t last = 0;
    while (int8_path_at(last + 1) != NULL) last++;
    return int8_path_at(last);
}
