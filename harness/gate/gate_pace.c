/*
 * gate_pace.c - see gate.h: times over nights, and where their level changed.
 *
 * A night is one value: the median of the candidate's repeats over that of the baseline's,
 * which were taken in turn (A B B A), so that a machine that is busy or warm slows both.
 * The level of the last nights is held against the one before; a slower one waits for a
 * rerun.
 */
#include <math.h>
#include <string.h>

#include "core/pcg.h"
#include "gate/gate.h"
#include "stats/changepoint.h"
#include "stats/quantile.h"

const char *ucb_gate_pace_text(enum ucb_gate_pace pace)
{
    static const char *const texts[] = {
#define PACE_TEXT(code, text) text,
        UCB_GATE_PACE_LIST(PACE_TEXT)
#undef PACE_TEXT
    };
    return texts[pace];
}

/* ---- repeats -> the value of a night ---- */

/* All repeats of one name and night, both sides. */
struct repeats {
    const struct ucb_timing *timings;
    size_t n;
};

/* The night that starts at timings[0]. */
static struct repeats night_at(const struct ucb_timing *timings, size_t n)
{
    struct repeats r = {timings, n > 0 ? 1 : 0};
    while (r.n < n && strcmp(timings[r.n].night, timings[0].night) == 0) r.n++;
    return r;
}

/* NaN where there is none; *n_found of them. */
static double median_of(struct repeats r, bool is_candidate, bool is_rerun, double *scratch,
                        size_t *n_found)
{
    size_t n = 0;
    for (size_t i = 0; i < r.n; i++)
        if (r.timings[i].is_candidate == is_candidate && r.timings[i].is_rerun == is_rerun)
            scratch[n++] = r.timings[i].seconds;
    *n_found = n;
    if (n == 0) return NAN;
    ucb_sort(scratch, n);
    return ucb_quantile_sorted(scratch, n, 0.5);
}

/* The baseline's program that was timed that night; NULL: none was. */
static const char *baseline_build(struct repeats r)
{
    for (size_t i = 0; i < r.n; i++)
        if (!r.timings[i].is_candidate) return r.timings[i].build_id;
    return NULL;
}

/* The value of a night beside the baseline's program `beside`, or alone where that is NULL;
 * NaN where the night has no such value. */
static double value_of(struct repeats r, const char *beside, bool is_rerun, double *scratch)
{
    size_t n;
    double candidate = median_of(r, true, is_rerun, scratch, &n);
    if (beside == NULL) return candidate;
    const char *build = baseline_build(r);
    if (build == NULL || strcmp(build, beside) != 0) return NAN;
    return candidate / median_of(r, false, is_rerun, scratch, &n);
}

/* ---- nights -> levels ---- */

static double level(const double *values, size_t from, size_t to, double *scratch)
{
    memcpy(scratch, values + from, (to - from) * sizeof(*values));
    ucb_sort(scratch, to - from);
    return ucb_quantile_sorted(scratch, to - from, 0.5);
}

/* Two levels of the shortest kind cannot be told apart: of 20 ways to split six values two
 * are as extreme as the most extreme one. */
static bool too_short(const struct ucb_gate_timing *t,
                      const struct ucb_change_options *options)
{
    return t->n < 2 * options->min_segment + 2;
}

static void judge(struct ucb_gate_timing *t, const struct ucb_change_options *options)
{
    double change = t->after / t->before - 1;
    if (t->n_points == 0)
        t->pace = too_short(t, options) ? UCB_PACE_SHORT : UCB_PACE_STEADY;
    else if (change < 0)
        t->pace = UCB_PACE_FASTER;
    else if (isnan(t->rerun))
        t->pace = UCB_PACE_UNCONFIRMED;
    else
        t->pace = t->rerun / t->before - 1 >= options->min_effect ? UCB_PACE_SLOWER
                                                                  : UCB_PACE_REFUTED;
}

static ucb_status find_levels(struct ucb_gate_timing *t,
                              const struct ucb_change_options *options, double *scratch,
                              struct ucb_err *err)
{
    struct ucb_pcg stream;
    ucb_pcg_named(&stream, 1, t->name);
    UCB_TRY(ucb_change_points(t->values, t->n, options, &stream, scratch, t->points,
                              &t->n_points, err));
    t->before = t->after = NAN;
    if (t->n_points == 0) return UCB_OK;
    size_t last = t->points[t->n_points - 1],
           first = t->n_points > 1 ? t->points[t->n_points - 2] : 0;
    t->before = level(t->values, first, last, scratch);
    t->after = level(t->values, last, t->n, scratch);
    return UCB_OK;
}

/* What is wanted of every series. */
struct wanted {
    const char *since, *night;
    struct ucb_change_options options;
    struct ucb_arena *arena;
    double *scratch;
};

/* The nights of one name that count, oldest first; the newest of them. */
static void collect(struct ucb_gate_timing *t, struct repeats all, const char *beside,
                    const struct wanted *w)
{
    for (size_t at = 0; at < all.n;) {
        struct repeats r = night_at(all.timings + at, all.n - at);
        const char *night = r.timings[0].night;
        at += r.n;
        if (strcmp(night, w->since) < 0 || strcmp(night, w->night) > 0) continue;
        double value = value_of(r, beside, false, w->scratch);
        if (isnan(value)) continue;
        t->nights[t->n] = night;
        t->values[t->n++] = value;
    }
    size_t n_cut = t->n > UCB_CHANGE_NIGHTS ? t->n - UCB_CHANGE_NIGHTS : 0;
    t->nights += n_cut;
    t->values += n_cut;
    t->n -= n_cut;
}

static struct repeats tonight(struct repeats all, const char *night)
{
    size_t at = 0;
    while (at < all.n && strcmp(all.timings[at].night, night) != 0) at++;
    return night_at(all.timings + at, all.n - at);
}

static ucb_status make(struct repeats all, const struct wanted *w,
                       struct ucb_gate_timing *t, struct ucb_err *err)
{
    struct repeats r = tonight(all, w->night);
    const char *beside = baseline_build(r);
    t->name = all.timings[0].name;
    t->nights = UCB_NEW(w->arena, const char *, all.n);
    t->values = UCB_NEW(w->arena, double, all.n);
    t->points = UCB_NEW(w->arena, size_t, all.n);
    if (t->nights == NULL || t->values == NULL || t->points == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for a series of %zu times", all.n);
    t->is_ratio = beside != NULL;
    t->seconds = median_of(r, true, false, w->scratch, &t->n_repeats);
    t->rerun = value_of(r, beside, true, w->scratch);
    t->before = t->after = NAN;
    if (isnan(t->seconds)) return UCB_OK; /* UNMEASURED */
    collect(t, all, beside, w);
    UCB_TRY(find_levels(t, &w->options, w->scratch, err));
    judge(t, &w->options);
    return UCB_OK;
}

static size_t count_names(const struct ucb_timing *timings, size_t n)
{
    size_t n_names = 0;
    for (size_t i = 0; i < n; i++)
        n_names += i == 0 || strcmp(timings[i].name, timings[i - 1].name) != 0;
    return n_names;
}

ucb_status ucb_gate_pace(const struct ucb_timing *timings, size_t n_timings,
                         const char *since, const char *night, struct ucb_arena *arena,
                         struct ucb_gate_timing **out, size_t *n_out, struct ucb_err *err)
{
    size_t n_names = count_names(timings, n_timings), at = 0;
    struct ucb_gate_timing *series = UCB_NEW(arena, struct ucb_gate_timing, n_names);
    double *scratch = UCB_NEW(arena, double, n_timings);
    if (series == NULL || scratch == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu times", n_timings);
    *out = series;
    *n_out = n_names;
    if (n_names == 0) return UCB_OK;
    struct wanted w = {since, night, ucb_change_of_nights(n_names), arena, scratch};
    for (size_t k = 0; k < n_names; k++) {
        struct repeats all = {timings + at, 1};
        while (at + all.n < n_timings &&
               strcmp(timings[at + all.n].name, timings[at].name) == 0)
            all.n++;
        UCB_TRY(make(all, &w, &series[k], err));
        at += all.n;
    }
    return UCB_OK;
}
