/*
 * changepoint.c - see changepoint.h.
 *
 *   E = 2/(m k) B - 2/(m (m-1)) W1 - 2/(k (k-1)) W2        Q = m k / (m + k) E
 *
 * B sums |x - y| over pairs across the cut, W1 and W2 over pairs within each side. Moving
 * the cut by one value changes the three sums by that value's distances alone, so all cuts
 * of a segment cost n^2 steps. The test permutes values within segments and compares the
 * largest Q of any segment (p = (1 + n larger or equal) / (1 + n permutations)).
 */
#include "stats/changepoint.h"

#include <math.h>
#include <string.h>

#include "stats/quantile.h"
#include "stats/sum.h"

const struct ucb_change_options ucb_change_defaults = {3, 199, 0.05, 0.03};

struct ucb_change_options ucb_change_of_nights(size_t n_series)
{
    struct ucb_change_options options = ucb_change_defaults;
    options.significance /= 10 * (double)n_series;
    /* The least p-value of n permutations is 1 / (n + 1); two of them must fit. */
    options.n_permutations = (size_t)ceil(2 / options.significance) - 1;
    return options;
}

/* The three sums of a cut. */
struct cut {
    struct ucb_sum across, before, after;
};

static double distance_to(const double *values, size_t from, size_t to, double x)
{
    struct ucb_sum sum = {0};
    for (size_t i = from; i < to; i++) ucb_sum_add(&sum, fabs(values[i] - x));
    return ucb_sum_value(&sum);
}

/* Everything lies after the cut. */
static struct cut cut_at_start(const double *values, size_t n)
{
    struct cut c = {0};
    for (size_t i = 0; i < n; i++)
        ucb_sum_add(&c.after, distance_to(values, i + 1, n, values[i]));
    return c;
}

/* values[at] goes from after the cut to before it. */
static void move_cut(struct cut *c, const double *values, size_t n, size_t at)
{
    double to_before = distance_to(values, 0, at, values[at]),
           to_after = distance_to(values, at + 1, n, values[at]);
    ucb_sum_add(&c->across, to_after);
    ucb_sum_add(&c->across, -to_before);
    ucb_sum_add(&c->before, to_before);
    ucb_sum_add(&c->after, -to_after);
}

static double energy(const struct cut *c, size_t n_before, size_t n_after)
{
    double m = (double)n_before, k = (double)n_after;
    double distance = 2 / (m * k) * ucb_sum_value(&c->across) -
                      2 / (m * (m - 1)) * ucb_sum_value(&c->before) -
                      2 / (k * (k - 1)) * ucb_sum_value(&c->after);
    return m * k / (m + k) * distance;
}

double ucb_change_energy(const double *values, size_t n_values, size_t at)
{
    struct cut c = cut_at_start(values, n_values);
    for (size_t i = 0; i < at; i++) move_cut(&c, values, n_values, i);
    return energy(&c, at, n_values - at);
}

/* The largest Q of a segment and its place; -inf where the segment is too short to cut. */
static double best_cut(const double *values, size_t n, size_t min_segment, size_t *at)
{
    double best = -INFINITY;
    if (n < 2 * min_segment) return best;
    struct cut c = cut_at_start(values, n);
    for (size_t i = 0; i + min_segment < n; i++) {
        move_cut(&c, values, n, i);
        if (i + 1 < min_segment) continue;
        double q = energy(&c, i + 1, n - i - 1);
        if (q > best) {
            best = q;
            *at = i + 1;
        }
    }
    return best;
}

/* The series, the cuts so far, and the work space. */
struct search {
    const struct ucb_change_options *options;
    size_t n_values, *points, n_points;
    double *scratch;
};

static size_t segment_start(const struct search *s, size_t k)
{
    return k == 0 ? 0 : s->points[k - 1];
}
static size_t segment_end(const struct search *s, size_t k)
{
    return k == s->n_points ? s->n_values : s->points[k];
}

static double best_of_all(const struct search *s, const double *values, size_t *at)
{
    double best = -INFINITY;
    for (size_t k = 0; k <= s->n_points; k++) {
        size_t start = segment_start(s, k), found = 0;
        double q = best_cut(values + start, segment_end(s, k) - start,
                            s->options->min_segment, &found);
        if (q > best) {
            best = q;
            *at = start + found;
        }
    }
    return best;
}

/* Fisher and Yates, within each segment. */
static void shuffle_segments(const struct search *s, struct ucb_pcg *stream)
{
    for (size_t k = 0; k <= s->n_points; k++) {
        double *x = s->scratch + segment_start(s, k);
        for (size_t n = segment_end(s, k) - segment_start(s, k); n > 1; n--) {
            size_t j = ucb_pcg_below(stream, (uint32_t)n);
            double moved = x[j];
            x[j] = x[n - 1];
            x[n - 1] = moved;
        }
    }
}

static double p_value(const struct search *s, const double *values, double found,
                      struct ucb_pcg *stream)
{
    size_t n_as_large = 0, ignored;
    memcpy(s->scratch, values, s->n_values * sizeof(*values));
    for (size_t b = 0; b < s->options->n_permutations; b++) {
        shuffle_segments(s, stream);
        n_as_large += best_of_all(s, s->scratch, &ignored) >= found;
    }
    return (double)(1 + n_as_large) / (double)(1 + s->options->n_permutations);
}

static void add_point(struct search *s, size_t at)
{
    size_t k = s->n_points++;
    for (; k > 0 && s->points[k - 1] > at; k--) s->points[k] = s->points[k - 1];
    s->points[k] = at;
}

static double segment_median(const struct search *s, const double *values, size_t k)
{
    size_t start = segment_start(s, k), n = segment_end(s, k) - start;
    memcpy(s->scratch, values + start, n * sizeof(*values));
    ucb_sort(s->scratch, n);
    return ucb_quantile_sorted(s->scratch, n, 0.5);
}

/* Takes out the cut with the smallest effect until every one is large enough. */
static void drop_small_effects(struct search *s, const double *values)
{
    while (s->n_points > 0) {
        size_t weakest = 0;
        double smallest = INFINITY;
        for (size_t k = 0; k < s->n_points; k++) {
            double before = segment_median(s, values, k),
                   after = segment_median(s, values, k + 1);
            double effect = before == after ? 0 : fabs(after - before) / fabs(before);
            if (effect < smallest) {
                smallest = effect;
                weakest = k;
            }
        }
        if (smallest >= s->options->min_effect) return;
        s->n_points--;
        for (size_t k = weakest; k < s->n_points; k++) s->points[k] = s->points[k + 1];
    }
}

ucb_status ucb_change_points(const double *values, size_t n_values,
                             const struct ucb_change_options *options,
                             struct ucb_pcg *stream, double *scratch, size_t *points,
                             size_t *n_points, struct ucb_err *err)
{
    struct search s = {
        .options = options, .n_values = n_values, .points = points, .scratch = scratch};
    if (options->min_segment < 2)
        return UCB_FAIL(err, UCB_USAGE, "segments of %zu values; at least 2 show a spread",
                        options->min_segment);
    for (size_t i = 0; i < n_values; i++)
        if (!isfinite(values[i]))
            return UCB_FAIL(err, UCB_USAGE, "value %zu of the series is %g", i, values[i]);
    for (;;) {
        size_t at = 0;
        double found = best_of_all(&s, values, &at);
        if (isinf(found)) break; /* every segment is too short */
        if (p_value(&s, values, found, stream) > options->significance) break;
        add_point(&s, at);
    }
    drop_small_effects(&s, values);
    *n_points = s.n_points;
    return UCB_OK;
}
