/*
 * changepoint.h - where the level or the shape of a series changed: e-divisive.
 *
 * Matteson and James 2014. The energy distance between what lies before and after a cut is
 * largest at a change; a permutation test says whether it is larger than chance. Segments
 * are cut again until no cut is. No distribution is assumed, so timings with their long
 * tails need no transformation. Pure function; the stream is the caller's.
 */
#ifndef UCB_STATS_CHANGEPOINT_H
#define UCB_STATS_CHANGEPOINT_H

#include <stddef.h>

#include "core/err.h"
#include "core/pcg.h"

struct ucb_change_options {
    size_t min_segment;    /* values a segment holds at least, > 1 */
    size_t n_permutations; /* of the test */
    double significance;   /* a cut stays when p <= this */
    double min_effect;     /* neighbours whose medians differ by less are joined again */
};
/* One look at one series: segments of 3, 199 permutations, 5%, an effect of 3%. */
extern const struct ucb_change_options ucb_change_defaults;

/* Series that are looked at every night of a year, n_series (> 0) of them: 0.5%, a tenth of
 * the defaults', in equal shares, with permutations enough for p-values that small. */
struct ucb_change_options ucb_change_of_nights(size_t n_series);
/* How far back such a look goes: change points are sought in the newest so many nights. */
enum { UCB_CHANGE_NIGHTS = 60 };

/*
 * Fills points[0 .. *n_points), ascending: the indexes at which a new segment begins.
 * `points` has room for n_values; `scratch` for as many doubles. Takes n^2 n_permutations
 * steps for each cut. USAGE: min_segment below 2, a value that is not finite.
 */
ucb_status ucb_change_points(const double *values, size_t n_values,
                             const struct ucb_change_options *options,
                             struct ucb_pcg *stream, double *scratch, size_t *points,
                             size_t *n_points, struct ucb_err *err);

/* The energy statistic Q of cutting values[0 .. n) at `at`: m k / (m + k) times the energy
 * distance (exponent 1) of the m values before and the k after; m, k > 1. */
double ucb_change_energy(const double *values, size_t n_values, size_t at);

#endif
