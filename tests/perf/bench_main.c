/* bench_main.c - see bench.h. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/pool.h"

enum { WARM_UP = 2, REPEATS = 15, SLOW_WARM_UP = 1, SLOW_REPEATS = 3 };

static struct bench *benches;
static struct ucb_pool *pool;

void bench_register(struct bench *bench)
{
    bench->next = benches;
    benches = bench;
}

struct ucb_pool *bench_pool(void)
{
    return pool;
}

void bench_require(ucb_status status, const struct ucb_err *err)
{
    if (status == UCB_OK) return;
    fprintf(stderr, "ucbench-bench: %s\n", err->text);
    exit(ucb_exit_code(status));
}

static double now_seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds by the wall, and by the processors divided by the threads: the second does not
   count what other programs took, nor the time in which a thread of ours had nothing to do.
 */
struct span {
    double wall, busy;
};

static struct span span_now(void)
{
    return (struct span){now_seconds(CLOCK_MONOTONIC),
                         now_seconds(CLOCK_PROCESS_CPUTIME_ID) / ucb_pool_threads(pool)};
}

static struct span span_since(struct span start)
{
    struct span now = span_now();
    return (struct span){now.wall - start.wall, now.busy - start.busy};
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof(*values), by_value);
    return values[n / 2];
}

typedef double fma_loop(void);
struct peak_run {
    fma_loop *loop;
    double *flops; /* of each index */
};

static void peak_item(void *context, size_t index)
{
    struct peak_run *run = context;
    run->flops[index] = run->loop();
}

/* What a row is measured against: fused multiply-adds of its path, or the instruction that
 * its products are made of. */
static bool is_of_dot(const char *arithmetic, enum ucb_kernel kernel)
{
    return strcmp(arithmetic, ucb_arithmetic_name(UCB_ARITH_BF16_DOT)) == 0 &&
           kernel == UCB_KERNEL_AVX512 && ucb_dot_is_native();
}

static fma_loop *loop_of(const char *arithmetic, enum ucb_kernel kernel)
{
    static fma_loop *const loops[UCB_N_KERNELS] = {
        [UCB_KERNEL_SCALAR] = bench_fma_scalar,
        [UCB_KERNEL_AVX2] = bench_fma_avx2,
        [UCB_KERNEL_AVX512] = bench_fma_avx512,
        [UCB_KERNEL_AMX] = bench_fma_avx512,
    };
    return is_of_dot(arithmetic, kernel) ? bench_dot_avx512bf16 : loops[kernel];
}

/* Floating point operations a second of all threads together, by the wall and by the
 * processors. */
static struct span peak_rate(fma_loop *loop)
{
    enum { MOST_THREADS = 256 };
    double flops[MOST_THREADS] = {0}, total = 0;
    struct peak_run run = {loop, flops};
    struct span start = span_now();
    ucb_parallel_for(pool, ucb_pool_threads(pool), peak_item, &run);
    struct span spent = span_since(start);
    for (unsigned i = 0; i < ucb_pool_threads(pool); i++) total += flops[i];
    return (struct span){total / spent.wall, total / spent.busy};
}

struct samples {
    double seconds[REPEATS], rate[REPEATS], share_wall[REPEATS], share_busy[REPEATS];
};

static int repeats_of(const struct bench_row *row)
{
    return row->slow ? SLOW_REPEATS : REPEATS;
}

static void take_samples(const struct bench_row *row, struct samples *s)
{
    for (int i = 0; i < (row->slow ? SLOW_WARM_UP : WARM_UP); i++) row->run(row->context);
    for (int i = 0; i < repeats_of(row); i++) {
        struct span peak = {INFINITY, INFINITY}, start, spent;
        if (row->kernel != UCB_KERNEL_AUTO)
            peak = peak_rate(loop_of(row->arithmetic, row->kernel));
        if (row->is_fp64) peak = (struct span){peak.wall / 2, peak.busy / 2};
        start = span_now();
        row->run(row->context);
        spent = span_since(start);
        s->seconds[i] = spent.wall;
        s->rate[i] = row->work / spent.wall;
        s->share_wall[i] = row->work / spent.wall / peak.wall;
        s->share_busy[i] = row->work / spent.busy / peak.busy;
    }
}

void bench_row(const struct bench_row *row)
{
    struct samples s;
    size_t n = (size_t)repeats_of(row);
    bool has_path = row->kernel != UCB_KERNEL_AUTO;
    take_samples(row, &s);
    double rate = median(s.rate, n) * 1e-9, best = s.rate[n - 1] * 1e-9; /* sorted by now */
    printf("%-34s %-8s %-7s %9.3f %9.*f %9.*f %-8s", row->what, row->arithmetic,
           has_path ? ucb_kernel_name(row->kernel) : "", median(s.seconds, n) * 1e3,
           bench_decimals(rate), rate, bench_decimals(best), best, row->unit);
    if (has_path)
        printf("%6.1f%% %6.1f%%", 100 * median(s.share_wall, n),
               100 * median(s.share_busy, n));
    printf("  %s\n", row->verified ? "verified" : "WRONG");
    fflush(stdout);
    bench_table_add(&(struct bench_result){
        .what = row->what,
        .arithmetic = row->arithmetic,
        .path = has_path ? ucb_kernel_name(row->kernel) : "",
        .rate = rate,
        .unit = row->unit,
        .share = has_path ? median(s.share_wall, n) : NAN,
        .limit = row->is_fp64                              ? "fp64 peak"
                 : is_of_dot(row->arithmetic, row->kernel) ? "dot peak"
                                                           : "fma peak"});
}

static void measure_peak(const char *what, const char *arithmetic, enum ucb_kernel kernel)
{
    double rate[REPEATS];
    for (int i = 0; i < REPEATS; i++) rate[i] = peak_rate(loop_of(arithmetic, kernel)).wall;
    printf("%-34s %-8s %-7s %9s %9.1f ", what, arithmetic, ucb_kernel_name(kernel), "",
           median(rate, REPEATS) * 1e-9);
    printf("%9.1f GFLOP/s\n", rate[REPEATS - 1] * 1e-9);
    bench_table_add(&(struct bench_result){.what = what,
                                           .arithmetic = arithmetic,
                                           .path = ucb_kernel_name(kernel),
                                           .rate = median(rate, REPEATS) * 1e-9,
                                           .unit = "GFLOP/s",
                                           .share = NAN,
                                           .limit = ""});
}

BENCH(fma_peak)
{
    const char *dot = ucb_arithmetic_name(UCB_ARITH_BF16_DOT);
    if (is_of_dot(dot, UCB_KERNEL_AVX512)) measure_peak("dot peak", dot, UCB_KERNEL_AVX512);
    for (int k = UCB_KERNEL_AVX512; k >= UCB_KERNEL_SCALAR; k--)
        if (ucb_kernel_available((enum ucb_kernel)k, UCB_ARITH_FP32, NULL))
            measure_peak("fma peak", "fp32", (enum ucb_kernel)k);
}

static bool wanted(const struct bench *bench, int n_words, char **words)
{
    for (int i = 0; i < n_words; i++)
        if (strstr(bench->name, words[i]) != NULL) return true;
    return n_words == 0;
}

static void run_wanted(int n_words, char **words)
{
    printf(
        "%u threads; shares of the path's fp32 fma peak (bf16-dot: of its instruction's, where it is used), which is\n"
        "measured beside each repeat: by the wall, and of the seconds that the processors gave us\n",
        ucb_pool_threads(pool));
    printf("%-34s %-8s %-7s %9s %9s %9s %-8s%7s %7s\n", "what", "", "path", "median ms",
           "median", "best", "", "wall", "busy");
    for (struct bench *b = benches; b != NULL; b = b->next)
        if (wanted(b, n_words, words)) b->run();
}

/* Every row, then the table. */
static void run_all(const char *peers, int n_words, char **words)
{
    struct ucb_err err;
    run_wanted(n_words, words);
    if (peers != NULL)
        bench_require(bench_table_read(peers, &err), &err);
    else
        bench_table_absent("bitsandbytes, hqq, llama.cpp, PyTorch (make bench PEERS=DIR)");
    bench_table_print();
}

int main(int n_args, char **args)
{
    struct ucb_err err;
    bench_require(ucb_pool_open(0, &pool, &err), &err);
    if (n_args == 2 && strcmp(args[1], "--serve") == 0)
        bench_serve();
    else if (n_args >= 3 && strcmp(args[1], "--peers") == 0)
        run_all(args[2], n_args - 3, args + 3);
    else
        run_all(NULL, n_args - 1, args + 1);
    ucb_pool_close(pool);
    return 0;
}
