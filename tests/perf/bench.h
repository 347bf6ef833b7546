/*
 * bench.h - a measurement is BENCH(name) { ... bench_row(...) ... }; the file it stands in
 * registers it.
 *
 * `ucbench-bench [--peers FILE]` runs all, `ucbench-bench [--peers FILE] word ...` those
 * whose name holds a word, `ucbench-bench --serve` those that another program asks for. A
 * row is verified first, then timed: warm-up, then repeats that alternate with the peak of
 * the same path, because both change with the load of the machine. The table shows medians;
 * the share is the median of the shares of the repeats.
 */
#ifndef UCB_TESTS_PERF_BENCH_H
#define UCB_TESTS_PERF_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/backend.h"

struct bench {
    const char *name;
    void (*run)(void);
    struct bench *next;
};
void bench_register(struct bench *bench);

#define BENCH(bench_name)                                                     \
    static void bench_name(void);                                             \
    static struct bench bench_name##_entry = {#bench_name, bench_name, NULL}; \
    __attribute__((constructor)) static void bench_name##_register(void)      \
    {                                                                         \
        bench_register(&bench_name##_entry);                                  \
    }                                                                         \
    static void bench_name(void)

struct bench_row {
    const char *what;       /* the shape, in words */
    enum ucb_kernel kernel; /* UCB_KERNEL_AUTO: no path, and no share of a peak */
    const char *arithmetic; /* "" where it means nothing */
    double work;            /* of one run; in `unit` per second it is divided by 1e9 */
    const char *unit;       /* "GFLOP/s", "GB/s" */
    void (*run)(void *context);
    void *context;
    bool verified;
    bool is_fp64; /* the peak is half of the fp32 one */
    bool slow; /* a run takes many seconds: one warm-up and three repeats instead of two and
                  fifteen */
};
void bench_row(const struct bench_row *row);

/*
 * The table at the end (bench_table.c). bench_row adds its row; a measurement that prints
 * for itself adds what it found. Text is copied. A ratio is ours to the peer's: 2 is twice
 * as fast.
 */
struct bench_result {
    const char *what, *arithmetic, *path;
    double rate; /* in `unit` */
    const char *unit;
    double share; /* of the limit; NAN: none was measured */
    const char *limit;
};
void bench_table_add(const struct bench_result *result);
void bench_table_peer(const char *what, const char *arithmetic, const char *peer,
                      double ratio);
void bench_table_absent(const char *peer);
/* After the rows: the lines of other programs. MISSING, CORRUPT. */
ucb_status bench_table_read(const char *path, struct ucb_err *err);
void bench_table_print(void);
/* Behind the point of a rate that is printed: three digits count. */
int bench_decimals(double rate);

/* All threads of the machine, shared by every row. */
struct ucb_pool *bench_pool(void);
/* Ends the program with a sentence unless the call succeeded. */
void bench_require(ucb_status status, const struct ucb_err *err);

/* For --serve: a model stays open, and an evaluation of the original over the windows of a
 * file (BENCH_WINDOW_IDS ids each, little-endian 32 bits, no header) is timed: layers read
 * and widened, hidden states, head and statistics of every position. */
enum { BENCH_WINDOW_IDS = 513 };
struct bench_score {
    double seconds, mean_logp;
};
ucb_status bench_scoring_open(const char *model, struct ucb_err *err);
ucb_status bench_scoring_run(const char *arithmetic, const char *path,
                             struct bench_score *out, struct ucb_err *err);

/* `ucbench-bench --serve`: measurements on demand, see bench_serve.c; returns at the end of
 * standard input. */
void bench_serve(void);

/* About 50 million fused multiply-adds (or products of pairs by VDPBF16PS) in one thread,
 * nothing else; the number of floating point operations done. */
double bench_fma_scalar(void);
double bench_fma_avx2(void);
double bench_fma_avx512(void);
double bench_dot_avx512bf16(void);

#endif
