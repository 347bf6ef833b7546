/* Numbers of several models at once: the published head-to-head rows give the published
 * aggregates, and intervals widen with what differs. */
#include "test.h"

#include <math.h>

#include "core/pcg.h"
#include "stats/cohort.h"

enum { N_MODELS = 6, N = 400 };

/* The rows behind claim 20 (specification of the seed's systems, 4.4), in its order of
 * models, and what it publishes of them. */
static const struct {
    const char *method;
    double t1_ret[N_MODELS], ppl_ratio[N_MODELS], mean, median;
} rows[] = {
    {"bnb_int8",
     {99.51, 99.76, 99.68, 99.80, 99.83, 99.89},
     {1.0271, 1.0023, 1.0079, 1.0374, 1.0014, 1.0006},
     99.75,
     1.005},
    {"bnb_nf4",
     {98.33, 98.81, 97.43, 97.69, 99.36, 98.24},
     {1.0517, 1.0308, 1.1154, 1.2893, 1.0562, 1.0343},
     98.31,
     1.054},
    {"hqq_4bit_g64",
     {97.99, 98.66, 95.28, 96.90, 98.77, 98.74},
     {1.0764, 1.0526, 1.1802, 1.2048, 1.0802, 0.9985},
     97.72,
     1.078},
    {"our_mixed",
     {94.19, 96.37, 93.81, 93.72, 98.04, 97.63},
     {1.1650, 1.0970, 1.2249, 1.2178, 1.0748, 1.0669},
     95.63,
     1.131},
    {"our_fp8",
     {94.12, 96.43, 93.79, 93.48, 98.03, 97.57},
     {1.1621, 1.0934, 1.2563, 1.2361, 1.0693, 1.0663},
     95.57,
     1.128},
    {"hqq_3bit_g64",
     {86.75, 87.22, 45.42, 30.03, 95.28, 90.05},
     {1.5484, 1.4613, 99.6, 40867, 1.1968, 1.6674},
     72.46,
     1.608},
    {"hqq_2bit_g16",
     {56.29, 27.24, 5.58, 2.68, 61.52, 55.63},
     {4.2614, 29.42, 17582, 7725, 4.1475, 4.8567},
     34.82,
     17.14},
    {"hqq_2bit_g64",
     {6.88, 0.37, 0.48, 0.47, 10.42, 2.11},
     {320.4, 1828, 21641, 8741, 119.4, 15627},
     3.46,
     5284.48},
};

/* Of models without replicates (n_replicates 0) or of `lists` of them. */
static struct ucb_estimate cohort(enum ucb_cohort_statistic statistic, const double *values,
                                  const double *const *lists, size_t n_models,
                                  size_t n_replicates)
{
    static double scratch[N_MODELS + N];
    struct ucb_pcg stream;
    ucb_pcg_named(&stream, 0, "cohort");
    return ucb_cohort(statistic, values, lists, n_models, n_replicates, &stream, scratch,
                      0.95);
}

static double value_of(enum ucb_cohort_statistic statistic, const double values[N_MODELS])
{
    const double *none[N_MODELS] = {0};
    return cohort(statistic, values, none, N_MODELS, 0).value;
}

/* The rows are rounded to two decimals of a percent and about four digits. */
TEST(the_rows_of_the_head_to_head_table_give_its_published_aggregates)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_NEAR(value_of(UCB_COHORT_MEAN, rows[i].t1_ret), rows[i].mean, 0.0101);
        CHECK_NEAR(value_of(UCB_COHORT_MEDIAN, rows[i].ppl_ratio) / rows[i].median, 1,
                   6e-4);
    }
}

/* Replicates of `n` models around their values, uniform within `spread`. */
static struct ucb_estimate estimate(const double *values, size_t n, double spread)
{
    static double replicates[N_MODELS][N];
    const double *list[N_MODELS];
    struct ucb_pcg stream;
    ucb_pcg_named(&stream, 0, "replicates");
    for (size_t m = 0; m < n; m++) {
        for (size_t b = 0; b < N; b++)
            replicates[m][b] = values[m] + spread * (2 * (double)ucb_pcg_unit(&stream) - 1);
        list[m] = replicates[m];
    }
    return cohort(UCB_COHORT_MEAN, values, list, n, N);
}

TEST(a_cohorts_interval_widens_with_models_and_with_their_documents)
{
    static const double equal[3] = {5, 5, 5}, apart[3] = {4.8, 5, 5.2};
    struct ucb_estimate documents = estimate(equal, 3, 0.5), models = estimate(apart, 3, 0),
                        both = estimate(apart, 3, 0.5);
    CHECK(documents.low > 4.5 && documents.low < 5 && documents.high > 5);
    CHECK(models.low >= 4.8 && models.low < 5 && models.high > 5 && models.high <= 5.2);
    CHECK(both.high - both.low > documents.high - documents.low);
    CHECK(both.high - both.low > models.high - models.low);
    CHECK_NEAR(both.value, 5, 1e-12);
}

TEST(one_model_is_no_cohort_and_what_is_not_a_number_has_no_interval)
{
    static const double values[2] = {1, 2}, broken[2] = {1, NAN};
    struct ucb_estimate one = estimate(values, 1, 0.5), none = estimate(broken, 2, 0.5);
    CHECK(one.value == 1 && isnan(one.low) && isnan(one.high));
    CHECK(isnan(none.value) && isnan(none.low) && isnan(none.high));
}
