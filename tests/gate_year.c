/* gate_year.c - see gate_year.h. */
#include "gate_year.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/fmath.h"
#include "core/pcg.h"
#include "gate/gate.h"

static void must(ucb_status status, const struct ucb_err *err)
{
    if (status == UCB_OK) return;
    fprintf(stderr, "a simulated night failed: %s\n", err->text);
    abort();
}

static const char *night_name(unsigned night, char out[16])
{
    time_t at = (time_t)1767225600 + (time_t)night * 86400; /* 2026-01-01 */
    struct tm date;
    gmtime_r(&at, &date);
    strftime(out, 16, "%Y-%m-%d", &date);
    return out;
}

/* ---- quality ---- */

enum { MAX_ITEMS = 5153, TOKENS = 1 };

/* The baseline and the candidate of one cell, and what stays from night to night. */
struct cell {
    struct ucb_sample samples[2][MAX_ITEMS];
    uint32_t document[MAX_ITEMS];
    bool fed[MAX_ITEMS];
    struct ucb_eprocess process;
    struct ucb_stored_cell stored;
    struct ucb_run_cell side[2];
};

static void make_baseline(struct cell *c, size_t n, struct ucb_pcg *r)
{
    *c = (struct cell){0};
    for (size_t i = 0; i < n; i++) {
        c->document[i] = (uint32_t)i;
        c->samples[0][i] = (struct ucb_sample){
            .n_tokens = TOKENS, .sum_logp = -2, .target_correct = ucb_pcg_unit(r) < 0.4f};
    }
    c->stored = (struct ucb_stored_cell){.cell_id = "0123456789ab",
                                         .model = "m",
                                         .scope = "body",
                                         .spec = "nf4",
                                         .calib = "",
                                         .task = "lambada",
                                         .arithmetic = "fp32",
                                         .reference = "",
                                         .weights_digest = "",
                                         .n_items = (int64_t)n};
    for (int k = 0; k < 2; k++) c->side[k] = (struct ucb_run_cell){.cell = &c->stored};
}

/* Another program: its scores differ everywhere by a rounding,
 * its answers here and there. */
static void make_candidate(struct cell *c, const struct gate_year_quality *plan,
                           struct ucb_pcg *r)
{
    for (size_t i = 0; i < plan->n_items; i++) {
        bool was = c->samples[0][i].target_correct != 0;
        double turns = was ? plan->lost / 0.4 : plan->won / 0.6;
        c->samples[1][i] = c->samples[0][i];
        c->samples[1][i].sum_logp = -2 + 1e-9 * ((double)ucb_pcg_unit(r) - 0.5);
        c->samples[1][i].target_correct = was != ((double)ucb_pcg_unit(r) < turns);
    }
}

static void judge_night(struct cell *c, size_t n, const char *night,
                        struct ucb_arena *arena, struct ucb_gate_cell *out,
                        struct ucb_gate_wealth *wealth)
{
    struct ucb_err err;
    size_t n_family;
    *out = (struct ucb_gate_cell){
        .side = {&c->side[0], &c->side[1]},
        .state = UCB_GATE_CHANGED,
        .samples = {{c->samples[0], c->document, n, NULL, n},
                    {c->samples[1], c->document, n, NULL, n}},
        .evidence = {.takes_part = true, .fed = c->fed, .process = c->process}};
    must(ucb_gate_judge(out, 1, &ucb_gate_rules_default, arena, &n_family, &err), &err);
    must(ucb_gate_feed(out, 1, night, &ucb_gate_rules_default, arena, wealth, &err), &err);
    c->process = out->evidence.process;
}

struct gate_year_judged gate_year_quality(const struct gate_year_quality *plan)
{
    static struct cell c;
    struct gate_year_judged year = {0, -1, -1, NAN};
    struct ucb_gate_cell cell;
    struct ucb_gate_wealth wealth;
    struct ucb_arena arena;
    struct ucb_pcg r;
    char name[16];
    ucb_pcg_named(&r, plan->seed, "gate year");
    make_baseline(&c, plan->n_items, &r);
    ucb_arena_init(&arena);
    for (unsigned night = 0; night < plan->nights; night++) {
        if (night % plan->every == 0) make_candidate(&c, plan, &r);
        judge_night(&c, plan->n_items, night_name(night, name), &arena, &cell, &wealth);
        bool worse = ucb_gate_cell_is_regression(&cell);
        year.n_worse += worse;
        if (worse && year.worse_night < 0) year.worse_night = (int)night;
        if (wealth.alarm && year.alarm_night < 0) year.alarm_night = (int)night;
        year.n_decides = cell.n_decides;
        ucb_arena_reset(&arena);
    }
    ucb_arena_free(&arena);
    return year;
}

/* ---- times ---- */

enum { REPEATS = 4, MAX_SERIES = 8, A_NIGHT = 4 * REPEATS };

static double normal(struct ucb_pcg *r)
{
    double sine, cosine, u = 1 - (double)ucb_pcg_unit(r);
    ucb_sincos(6.283185307179586 * (double)ucb_pcg_unit(r), &sine, &cosine);
    return sqrt(-2 * ucb_log(u)) * cosine;
}

/* All repeats of a year, in the store's order; reruns of every night among them, which
 * count only on the night that takes them. */
struct year {
    struct ucb_timing timings[MAX_SERIES * GATE_YEAR_NIGHTS * A_NIGHT];
    size_t n;
    char nights[GATE_YEAR_NIGHTS][16], names[MAX_SERIES][16];
};

static void make_year(struct year *y, const struct gate_year_times *plan, bool reruns)
{
    y->n = 0;
    for (unsigned s = 0; s < plan->n_series; s++) {
        snprintf(y->names[s], sizeof(y->names[s]), "m/%u encode", s);
        for (unsigned night = 0; night < GATE_YEAR_NIGHTS; night++) {
            struct ucb_pcg r;
            char stream[48];
            snprintf(stream, sizeof(stream), "times %u %u", s, night);
            ucb_pcg_named(&r, plan->seed, stream);
            double drift = 1 + 0.05 * normal(&r);
            bool slow = s == 0 && plan->slow_at >= 0 && (int)night >= plan->slow_at;
            night_name(night, y->nights[night]);
            for (int k = 0; k < (reruns ? A_NIGHT : A_NIGHT / 2); k++) {
                bool candidate = k % 2 != 0;
                y->timings[y->n++] = (struct ucb_timing){
                    y->nights[night],
                    y->names[s],
                    candidate ? "b" : "a",
                    candidate,
                    k >= A_NIGHT / 2,
                    (uint32_t)k,
                    drift * (candidate && slow ? 1 + plan->slowdown : 1) *
                        ucb_exp(plan->noise * normal(&r))};
            }
        }
    }
}

/* The worst pace of all series; a slower one is told before an unconfirmed one. */
static enum ucb_gate_pace pace(const struct year *y, unsigned night,
                               struct ucb_arena *arena)
{
    struct ucb_gate_timing *series;
    struct ucb_err err;
    size_t n;
    enum ucb_gate_pace worst = UCB_PACE_STEADY;
    ucb_arena_reset(arena);
    must(ucb_gate_pace(y->timings, y->n, y->nights[0], y->nights[night], arena, &series, &n,
                       &err),
         &err);
    for (size_t i = 0; i < n; i++)
        if (series[i].pace == UCB_PACE_SLOWER ||
            (series[i].pace == UCB_PACE_UNCONFIRMED && worst != UCB_PACE_SLOWER))
            worst = series[i].pace;
    return worst;
}

struct gate_year_paced gate_year_times(const struct gate_year_times *plan)
{
    static struct year first, again;
    struct gate_year_paced result = {-1, -1, 0};
    struct ucb_arena arena;
    make_year(&first, plan, false);
    make_year(&again, plan, true);
    ucb_arena_init(&arena);
    for (unsigned night = 0; night < GATE_YEAR_NIGHTS && result.slower_night < 0; night++) {
        if (pace(&first, night, &arena) != UCB_PACE_UNCONFIRMED) continue;
        if (result.unconfirmed_night < 0) result.unconfirmed_night = (int)night;
        result.n_reruns++;
        if (pace(&again, night, &arena) == UCB_PACE_SLOWER)
            result.slower_night = (int)night;
    }
    ucb_arena_free(&arena);
    return result;
}
