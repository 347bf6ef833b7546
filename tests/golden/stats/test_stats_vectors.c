/* stats/ against vectors.tsv, made with mpmath, scipy, numpy and statsmodels by
 * make_vectors.py beside it. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pcg.h"
#include "stats/bootstrap.h"
#include "stats/changepoint.h"
#include "stats/distribution.h"
#include "stats/equivalence.h"
#include "stats/multiple.h"
#include "stats/power.h"
#include "stats/proportion.h"
#include "stats/quantile.h"

enum { MAX_VALUES = 8, N_DOCUMENTS = 30, N_REPLICATES = 999, N_QUANTILE_VALUES = 37 };

/* The made-up series that make_vectors.py uses too. */
static double series(size_t i)
{
    return (double)((i * 7919) % 101) / 16;
}

static void check_relative(const char *kind, double found, double expected,
                           double tolerance)
{
    double off = fabs(found - expected);
    if (!(off <= tolerance * fabs(expected) || off <= 1e-300))
        ucb_test_fail(__FILE__, __LINE__, "%s is %.17g, expected %.17g", kind, found,
                      expected);
}

/* Runs `check` on the values of every line whose first word is `kind`. */
static void each_row(const char *kind,
                     void (*check)(const char *kind, const double *values))
{
    char line[512];
    size_t n_rows = 0, length = strlen(kind);
    FILE *file = fopen(ucb_test_path("%s/tests/golden/stats/vectors.tsv", ucb_test_root()),
                       "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, kind, length) != 0 || line[length] != '\t') continue;
        double values[MAX_VALUES] = {0};
        char *at = line + length;
        for (int k = 0; k < MAX_VALUES && *at == '\t'; k++) values[k] = strtod(at + 1, &at);
        check(kind, values);
        n_rows++;
    }
    fclose(file);
    CHECK(n_rows > 0);
}

static void check_normal_tail(const char *kind, const double *v)
{
    check_relative(kind, ucb_normal_tail(v[0]), v[1], 1e-12);
}
static void check_normal_quantile(const char *kind, const double *v)
{
    check_relative(kind, ucb_normal_quantile(v[0]), v[1], 1e-12);
}
static void check_student_quantile(const char *kind, const double *v)
{
    check_relative(kind, ucb_student_quantile(v[0], v[1]), v[2], 1e-12);
}

TEST(normal_and_student_quantiles_agree_with_mpmath)
{
    each_row("normal_tail", check_normal_tail);
    each_row("normal_quantile", check_normal_quantile);
    each_row("student_quantile", check_student_quantile);
}

static void check_wilson(const char *kind, const double *v)
{
    struct ucb_estimate e;
    struct ucb_err err;
    CHECK_OK(ucb_wilson((uint64_t)v[0], (uint64_t)v[1], 0.95, &e, &err), err);
    (void)kind;
    CHECK_NEAR(
        e.low, v[2],
        1e-14); /* absolute: at no hit statsmodels leaves its rounding error, we say 0 */
    CHECK_NEAR(e.high, v[3], 1e-14);
}

TEST(wilson_agrees_with_statsmodels)
{
    each_row("wilson", check_wilson);
}

static void check_newcombe(const char *kind, const double *v)
{
    struct ucb_paired_counts counts = {(uint64_t)v[0], (uint64_t)v[1], (uint64_t)v[2],
                                       (uint64_t)v[3]};
    struct ucb_estimate e;
    struct ucb_err err;
    CHECK_OK(ucb_newcombe(&counts, 0.95, &e, &err), err);
    check_relative(kind, e.low, v[4], 1e-12);
    check_relative(kind, e.high, v[5], 1e-12);
}

TEST(newcombe_agrees_with_the_formula_in_forty_digits)
{
    each_row("newcombe", check_newcombe);
}

static void check_mcnemar(const char *kind, const double *v)
{
    struct ucb_mcnemar test = ucb_mcnemar_test((uint64_t)v[0], (uint64_t)v[1]);
    check_relative(kind, test.p, v[2], 1e-11);
    check_relative(kind, test.mid_p, v[3], 1e-11);
    check_relative(kind, test.worse_p, v[4], 1e-11);
}

TEST(mcnemar_agrees_with_scipy_and_exact_fractions)
{
    each_row("mcnemar", check_mcnemar);
}

static struct ucb_paired_counts counts_of(const double *v)
{
    return (struct ucb_paired_counts){(uint64_t)v[0], (uint64_t)v[1], (uint64_t)v[2],
                                      (uint64_t)v[3]};
}

static void check_tango(const char *kind, const double *v)
{
    struct ucb_paired_counts counts = counts_of(v);
    struct ucb_estimate e;
    struct ucb_err err;
    CHECK_OK(ucb_tango(&counts, 0.95, &e, &err), err);
    check_relative(kind, e.low, v[4], 1e-12);
    check_relative(kind, e.high, v[5], 1e-12);
}
static void check_tost_paired(const char *kind, const double *v)
{
    struct ucb_paired_counts counts = counts_of(v);
    check_relative(kind, ucb_tost_paired(&counts, (struct ucb_band){-v[4], v[4]}), v[5],
                   1e-11);
}

TEST(tango_agrees_with_a_numerically_maximised_likelihood)
{
    each_row("tango", check_tango);
    each_row("tost_paired", check_tost_paired);
}

static const double many_p[8] = {0.01, 0.04, 0.03, 0.005, 0.04, 0.9, 0.0001, 0.2};

static void check_holm(const char *kind, const double *v)
{
    double adjusted[8];
    size_t order[8];
    struct ucb_err err;
    CHECK_OK(ucb_holm(many_p, 8, order, adjusted, &err), err);
    for (int i = 0; i < 8; i++) check_relative(kind, adjusted[i], v[i], 1e-14);
}
static void check_benjamini_hochberg(const char *kind, const double *v)
{
    double adjusted[8];
    size_t order[8];
    struct ucb_err err;
    CHECK_OK(ucb_benjamini_hochberg(many_p, 8, order, adjusted, &err), err);
    for (int i = 0; i < 8; i++) check_relative(kind, adjusted[i], v[i], 1e-14);
}

TEST(holm_and_benjamini_hochberg_agree_with_statsmodels)
{
    each_row("holm", check_holm);
    each_row("benjamini_hochberg", check_benjamini_hochberg);
}

static struct ucb_cluster_fit fit_series(void)
{
    double totals[N_DOCUMENTS], weights[N_DOCUMENTS];
    struct ucb_cluster_fit fit;
    struct ucb_err err;
    for (size_t i = 0; i < N_DOCUMENTS; i++) {
        totals[i] = (series(i) - 3) / 50;
        weights[i] = 1;
    }
    CHECK_OK(ucb_cluster_fit(totals, weights, N_DOCUMENTS, &fit, &err), err);
    return fit;
}

static void check_cluster_error(const char *kind, const double *v)
{
    struct ucb_cluster_fit fit = fit_series();
    check_relative(kind, fit.value, v[0], 1e-13);
    check_relative(kind, fit.error, v[1], 1e-13);
}
static void check_tost_cluster(const char *kind, const double *v)
{
    struct ucb_cluster_fit fit = fit_series();
    check_relative(kind, ucb_tost_cluster(&fit, (struct ucb_band){v[0], v[1]}), v[2],
                   1e-11);
}

TEST(the_equivalence_test_of_means_agrees_with_statsmodels)
{
    each_row("cluster_error", check_cluster_error);
    each_row("tost_cluster", check_tost_cluster);
}

static void check_n_to_find(const char *kind, const double *v)
{
    struct ucb_power power = {0.95, 0.8, true};
    (void)kind;
    /* A shifted t for a noncentral one: a document and a half, and ours is whole. */
    CHECK_NEAR(ucb_n_to_find(&power, 1, v[0]), v[1], 1.5);
}

TEST(the_documents_needed_are_those_of_the_noncentral_t_to_one_or_two)
{
    each_row("n_to_find", check_n_to_find);
}

static void check_energy(const char *kind, const double *v)
{
    double values[N_QUANTILE_VALUES];
    for (size_t i = 0; i < N_QUANTILE_VALUES; i++)
        values[i] = series(i) + (i >= 20 ? 2 : 0);
    check_relative(kind, ucb_change_energy(values, N_QUANTILE_VALUES, (size_t)v[0]), v[1],
                   1e-12);
}

TEST(the_energy_of_a_cut_agrees_with_all_pairs)
{
    each_row("energy", check_energy);
}

static void check_quantile(const char *kind, const double *v)
{
    double values[N_QUANTILE_VALUES], scratch[N_QUANTILE_VALUES], found;
    struct ucb_err err;
    for (size_t i = 0; i < N_QUANTILE_VALUES; i++) values[i] = series(i);
    CHECK_OK(ucb_quantile(values, N_QUANTILE_VALUES, v[0], scratch, &found, &err), err);
    check_relative(kind, found, v[1], 1e-15);
}

TEST(quantiles_agree_with_numpy)
{
    each_row("quantile", check_quantile);
}

static double replicates[UCB_BOOTSTRAP_RATIOS * N_REPLICATES], acceleration, value;

static void draw_replicates(void)
{
    static struct ucb_bootstrap_row rows[N_DOCUMENTS];
    static uint32_t counts[N_DOCUMENTS];
    struct ucb_pcg stream;
    ucb_pcg_seed(&stream, 42, 54);
    for (size_t i = 0; i < N_DOCUMENTS; i++) {
        rows[i].above[1] = series(i) - 3;
        rows[i].below[1] = (double)(1 + (i * 31) % 7);
    }
    ucb_bootstrap_draw(rows, N_DOCUMENTS, N_REPLICATES, &stream, counts, replicates);
    value = ucb_bootstrap_value(rows, N_DOCUMENTS, 1);
    acceleration = ucb_bootstrap_acceleration(rows, N_DOCUMENTS, 1);
}

static void check_percentile(const char *kind, const double *v)
{
    struct ucb_estimate e = ucb_bootstrap_percentile(value, &replicates[N_REPLICATES],
                                                     N_REPLICATES, 0.95);
    check_relative(kind, e.low, v[0], 1e-13);
    check_relative(kind, e.high, v[1], 1e-13);
}
static void check_bca(const char *kind, const double *v)
{
    struct ucb_estimate e = ucb_bootstrap_bca(
        value, acceleration, &replicates[N_REPLICATES], N_REPLICATES, 0.95);
    check_relative(kind, e.low, v[0], 1e-12);
    check_relative(kind, e.high, v[1], 1e-12);
}

TEST(bootstrap_intervals_agree_with_scipy_on_the_same_draws)
{
    draw_replicates();
    CHECK(isnan(replicates[0])); /* ratio 0 was left unused: 0 / 0 */
    each_row("bootstrap_percentile", check_percentile);
    each_row("bootstrap_bca", check_bca);
}
