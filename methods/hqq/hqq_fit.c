/*
 * hqq_fit.c - scale and zero of each group, and the codes they give (half-quadratic
 * quantization).
 *
 * Start: with M = 2^bits - 1 and d = max - min, s = (1 / d) * M (1 where d <= 1e-4, at most
 * 2e4), z = -min * s. Then at most `iters` passes over the whole matrix, in fp32, which
 * move the zeros only:
 *
 *     q = clamp(round(w * s + z), 0, M);   e = w - (q - z) / s
 *     e' = sign(e) * max(|e| - 0.1 |e|^-0.3, 0)                       (p = 0.7, beta = 10)
 *     z  = mean over the group of q - (w - e') * s
 *     stop after the pass in which the mean of |e| over the matrix did not fall
 *
 * The zeros of that last pass stay, and the codes are taken from them: the library has no
 * roll-back.
 *
 * What surprises: |e| must pass 0.17 before e' is anything but 0, and weights of language
 * models have smaller errors. Groups without such an error skip the power, with the same
 * bits as if they had computed it.
 *
 * Order of sums: a group is added in 16 lanes, folded 8, 4, 2, 1. The mean of |e| adds
 * groups in index order in double, within chunks of fixed size and then over the chunks, so
 * threads change nothing; it is rounded to fp32 before it is compared, as the library's is.
 */
#include "hqq.h"

#include <math.h>
#include <string.h>

#include "core/clones.h"
#include "method/lanes.h"

enum { CHUNK_WEIGHTS = 1 << 14 };
/* Below this |e|, 0.1 |e|^-0.3 is larger than |e|: 0.1 * 0.17^-0.3 = 0.17014. */
static const float smallest_shrunk = 0.17f;

typedef double f64x16 __attribute__((vector_size(128)));

/*
 * a^-0.3 for a in (0.17, inf), in double and rounded once: 2^(-0.3 log2 a). With a = m 2^k,
 * m in [0.75, 1.5) and t = (m - 1) / (m + 1), |t| <= 0.2: ln m = 2 atanh t as a series to
 * t^15 (the rest is below 0.04^8 / 17 = 4e-13 relative). The power of two takes a Taylor
 * series to f^10 for |f| <= 1/2 (the rest is below 0.35^11 / 11! = 3e-13). So the fp32
 * result is within 0.5001 ulp. Smaller a (0 too) give some large number, which is all that
 * is asked.
 */
UCB_LANES_INLINE ucb_f32x16 power(ucb_f32x16 a)
{
    ucb_i32x16 bits = (ucb_i32x16)a, k = (bits - 0x3f400000) >> 23;
    f64x16 m = __builtin_convertvector((ucb_f32x16)(bits - k * 0x800000), f64x16);
    f64x16 t = (m - 1.0) / (m + 1.0), t2 = t * t, log = t2 * (1.0 / 15) + 1.0 / 13;
    for (int odd = 11; odd >= 1; odd -= 2) log = log * t2 + 1.0 / odd;
    f64x16 x = -0.3 * (2.8853900817779268 * (log * t) +
                       __builtin_convertvector(k, f64x16)); /* 2 / ln 2 */
    f64x16 whole = (x + 0x1.8p52) - 0x1.8p52, f = (x - whole) * 0.6931471805599453;
    f64x16 series = f * (1.0 / 10) + 1.0;
    for (int i = 9; i >= 1; i--) series = series * f * (1.0 / i) + 1.0;
    ucb_i32x16 exponent = (__builtin_convertvector(whole, ucb_i32x16) + 127) * 0x800000;
    return __builtin_convertvector(series, ucb_f32x16) * (ucb_f32x16)exponent;
}

/* e' of the formula above. */
UCB_LANES_INLINE ucb_f32x16 shrink(ucb_f32x16 e)
{
    ucb_f32x16 a = ucb_lanes_abs(e);
    ucb_f32x16 kept = ucb_lanes_max(a - power(a) * 0.1f, ucb_lanes_all(0.0f));
    return (ucb_f32x16)((ucb_i32x16)kept | ((ucb_i32x16)e & ~0x7fffffff));
}

UCB_LANES_INLINE ucb_f32x16 code_of(ucb_f32x16 w, ucb_f32x16 s, ucb_f32x16 z,
                                    float max_code)
{
    /* Clamping first changes nothing, both bounds being whole, and keeps the rounding in
     * its range. */
    return ucb_lanes_rne(ucb_lanes_clamp(w * s + z, 0.0f, max_code));
}

/* -1 in the lanes that hold one of n values; a group's last vector may be short. */
#define LANES_BELOW(n) \
    (((ucb_i32x16){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}) < (int32_t)(n))

UCB_LANES_INLINE ucb_f32x16 only(ucb_i32x16 lanes, ucb_f32x16 x)
{
    return (ucb_f32x16)((ucb_i32x16)x & lanes);
}

/* The sum over a group of q - (w - e') * s where some e' is not 0. */
UCB_CLONES static float sum_shrunk(const float *w, size_t group, float scale, float zero,
                                   float max_code)
{
    ucb_f32x16 sum = {0}, s = ucb_lanes_all(scale), z = ucb_lanes_all(zero);
    for (size_t i = 0; i < group; i += UCB_LANES) {
        ucb_f32x16 x = ucb_lanes_load_some(w + i, group - i);
        ucb_f32x16 q = code_of(x, s, z, max_code);
        sum += only(LANES_BELOW(group - i), q - (x - shrink(x - (q - z) / s)) * s);
    }
    return ucb_lanes_sum(sum);
}

/* One pass over some groups: new zeros; answers the sum of |e| for the old ones. */
UCB_CLONES static double improve(const float *w, size_t n_groups, size_t group,
                                 const float *scale, float *zero, float max_code)
{
    double error = 0;
    for (size_t g = 0; g < n_groups; g++, w += group) {
        ucb_f32x16 s = ucb_lanes_all(scale[g]), z = ucb_lanes_all(zero[g]);
        ucb_f32x16 sum = {0}, errors = {0}, peak = {0}, x, q, e;
        size_t i = 0;
        for (; i + UCB_LANES <= group; i += UCB_LANES) {
            x = ucb_lanes_load(w + i);
            q = code_of(x, s, z, max_code);
            e = ucb_lanes_abs(x - (q - z) / s);
            errors += e;
            peak = ucb_lanes_max(e, peak);
            sum += q - x * s;
        }
        if (i < group) { /* the same, for the lanes that hold a value */
            x = ucb_lanes_load_some(w + i, group - i);
            q = code_of(x, s, z, max_code);
            e = only(LANES_BELOW(group - i), ucb_lanes_abs(x - (q - z) / s));
            errors += e;
            peak = ucb_lanes_max(e, peak);
            sum += only(LANES_BELOW(group - i), q - x * s);
        }
        bool plain = ucb_lanes_peak(peak) <= smallest_shrunk;
        float total = plain ? ucb_lanes_sum(sum)
                            : sum_shrunk(w, group, scale[g], zero[g], max_code);
        zero[g] = total / (float)group;
        error += (double)ucb_lanes_sum(errors);
    }
    return error;
}

/* Of zeros of either sign the first is the minimum, as the library has it: the sign goes
 * on into the zero. */
static float first_zero(const float *w)
{
    while (*w != 0) w++;
    return *w;
}

UCB_CLONES static void start(const float *w, size_t n_groups, size_t group,
                             const struct hqq_fit *fit, float *scale, float *zero)
{
    float max_code = (float)((1u << fit->bits) - 1);
    for (size_t g = 0; g < n_groups; g++, w += group) {
        float low, high;
        ucb_lanes_range(w, group, &low, &high);
        if (low == 0) low = first_zero(w);
        float range = high - low;
        float s = range <= 1e-4f ? 1.0f : 1.0f / range * max_code;
        scale[g] = s < 2e4f ? s : 2e4f;
        zero[g] = -low * scale[g];
        if (fit->round_zero) zero[g] = rintf(zero[g]);
    }
}

UCB_CLONES static void write_codes(const float *w, size_t n_groups, size_t group,
                                   const float *scale, const float *zero, float max_code,
                                   uint8_t *codes)
{
    for (size_t g = 0; g < n_groups; g++, w += group, codes += group) {
        ucb_f32x16 s = ucb_lanes_all(scale[g]), z = ucb_lanes_all(zero[g]);
        size_t i = 0;
        for (; i + UCB_LANES <= group; i += UCB_LANES)
            ucb_lanes_store_code(codes + i, code_of(ucb_lanes_load(w + i), s, z, max_code));
        if (i == group) continue;
        uint8_t some[UCB_LANES];
        ucb_lanes_store_code(
            some, code_of(ucb_lanes_load_some(w + i, group - i), s, z, max_code));
        memcpy(codes + i, some, group - i);
    }
}

struct fit_run {
    const float *w;
    size_t n_groups, group, groups_per_chunk;
    const struct hqq_fit *fit;
    enum { START, IMPROVE, CODES } step;
    double *error; /* by chunk */
};

static void fit_chunk(void *context, size_t chunk)
{
    struct fit_run *run = context;
    size_t first = chunk * run->groups_per_chunk, n = run->n_groups - first,
           at = first * run->group;
    float *scale = run->fit->inverse_scale + first, *zero = run->fit->zero + first;
    float max_code = (float)((1u << run->fit->bits) - 1);
    if (n > run->groups_per_chunk) n = run->groups_per_chunk;
    if (run->step == START) start(run->w + at, n, run->group, run->fit, scale, zero);
    if (run->step == IMPROVE)
        run->error[chunk] = improve(run->w + at, n, run->group, scale, zero, max_code);
    if (run->step == CODES)
        write_codes(run->w + at, n, run->group, scale, zero, max_code,
                    run->fit->codes + at);
}

/* The mean of |e|, rounded to fp32 as the library's is. */
static float mean_error(const struct fit_run *run, size_t n_chunks)
{
    double sum = 0;
    for (size_t chunk = 0; chunk < n_chunks; chunk++) sum += run->error[chunk];
    return (float)(sum / (double)(run->n_groups * run->group));
}

ucb_status hqq_fit_groups(const float *w, size_t n_groups, size_t group,
                          struct hqq_fit *fit, struct ucb_pool *pool,
                          struct ucb_arena *scratch, const char *name, struct ucb_err *err)
{
    struct fit_run run = {w, n_groups, group, CHUNK_WEIGHTS / group + 1, fit, START, NULL};
    size_t n_chunks = (n_groups + run.groups_per_chunk - 1) / run.groups_per_chunk;
    float best = INFINITY;
    run.error = UCB_NEW(scratch, double, n_chunks);
    if (run.error == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to fit %zu groups", name, n_groups);
    ucb_parallel_for(pool, n_chunks, fit_chunk, &run);
    run.step = IMPROVE;
    for (unsigned pass = 0; pass < fit->iters; pass++) {
        ucb_parallel_for(pool, n_chunks, fit_chunk, &run);
        float error = mean_error(&run, n_chunks);
        if (!(error < best)) break;
        best = error;
    }
    run.step = CODES;
    ucb_parallel_for(pool, n_chunks, fit_chunk, &run);
    return UCB_OK;
}
