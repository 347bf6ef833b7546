/*
 * chart_caption.c - the words under the Pareto chart: what is drawn, from what, and what
 * it does not say. docs/figures.md says the same at length.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/chart_layout.h"

static void add_wrapped(struct ucb_chart_layout *l, const char *sentence)
{
    double limit = (l->page->width - 2 * UCB_CHART_RIGHT) / (0.82 * l->page->font_size),
           used = 0;
    while (*sentence != '\0') {
        size_t n = strcspn(sentence, " ");
        char word[256];
        snprintf(word, sizeof(word), "%.*s", (int)n, sentence);
        double width = ucb_chart_text_width(word);
        bool breaks = used > 0 && used + 0.34 + width > limit;
        if (l->n_caption_lines == 0 || breaks || used == 0) {
            ucb_text_add(&l->caption, "%s%s", l->n_caption_lines == 0 ? "" : "\n", word);
            l->n_caption_lines++;
            used = width;
        } else {
            ucb_text_add(&l->caption, " %s", word);
            used += 0.34 + width;
        }
        sentence += n;
        sentence += strspn(sentence, " ");
    }
}

static bool lacks_bars(const struct ucb_chart *c)
{
    for (size_t i = 0; i < c->n_points; i++)
        if (!c->points[i].has_interval) return c->interval != NULL;
    return false;
}

static void add_axes(const struct ucb_chart_layout *l, struct ucb_text *out)
{
    static const char *const y_means[] = {
        [UCB_CHART_KLD] = "KL divergence from the original's next-token distribution",
        [UCB_CHART_RATIO] = "Perplexity over the original's, less 1",
        [UCB_CHART_RETENTION] = "Retention: accuracy over the original's"};
    const struct ucb_chart *c = l->chart;
    ucb_text_add(out, "%s, task %s on %s (sha256 %.12s), n = ", y_means[c->quantity],
                 c->task, c->dataset, c->dataset_digest);
    ucb_text_add(out, c->n_low == c->n_high ? "%lld" : "%lld to %lld", (long long)c->n_low,
                 (long long)c->n_high);
    ucb_text_add(out, " document%s. Bars: %s%s.%s", c->n_high == 1 ? "" : "s",
                 c->interval != NULL ? "95% intervals, "
                                     : "none, the documents are too few",
                 c->interval != NULL ? c->interval : "",
                 c->cuts_bars ? " A bar cut off by the frame goes on." : "");
    if (lacks_bars(c)) ucb_text_add(out, " A point without one has no interval.");
    ucb_text_add(
        out, l->page->by_size
                 ? " Size: every byte of the matrices as written, and the rest as in the "
                   "original; 1 GiB = 2^30 bytes."
                 : " bpw: bits of every byte written for the matrices / their weights.");
    if (ucb_chart_colours_models(l))
        ucb_text_add(out, " Each model is compared with its own original, not with the "
                          "other models.");
}

static bool knows_membership(const struct ucb_chart *c)
{
    for (size_t i = 0; i < c->n_points; i++)
        if (isnan(c->points[i].membership)) return false;
    return true;
}

static void add_membership(const struct ucb_chart *c, struct ucb_text *out)
{
    bool any_open = false;
    for (size_t i = 0; i < c->n_points; i++)
        any_open |= ucb_chart_place_is_open(&c->points[i]);
    if (!knows_membership(c))
        ucb_text_add(out, " How sure it is was not computed for all: the cells were not "
                          "scored on the same items.");
    else if (any_open)
        ucb_text_add(out,
                     " In brackets: the share of %d paired resamples of the documents that "
                     "put the point on the frontier, unless above 99.5%% or below 0.5%%.",
                     UCB_CHART_REPLICATES);
    else
        ucb_text_add(out,
                     " More than 99.5%% of %d paired resamples of the documents agree on "
                     "every point.",
                     UCB_CHART_REPLICATES);
}

static void add_frontier(const struct ucb_chart_layout *l, struct ucb_text *out)
{
    const struct ucb_chart *c = l->chart;
    size_t n_low = 0;
    for (size_t i = 0; i < c->n_points; i++)
        n_low += ucb_chart_is_log(c) && !(c->points[i].y > 0);
    ucb_text_add(out, "Steps: the best seen at no more bits.");
    add_membership(c, out);
    if (n_low > 0)
        ucb_text_add(out,
                     " On the lower edge: at or below the original, where a logarithm has "
                     "no place.");
    if (c->n_not_finite > 0)
        ucb_text_add(out, " Without a finite value, not drawn: %zu.", c->n_not_finite);
    if (l->n_unlabelled > 0)
        ucb_text_add(out, " No room for the name%s of %zu point%s; %s has %s.",
                     l->n_unlabelled == 1 ? "" : "s", l->n_unlabelled,
                     l->n_unlabelled == 1 ? "" : "s", l->page->table,
                     l->n_unlabelled == 1 ? "it" : "them");
}

static void add_series(const struct ucb_chart_series *s, const char *before,
                       struct ucb_text *out)
{
    ucb_text_add(out, s->setting[0] == '\0' ? "%s%s" : "%s%s (%s)", before, s->model,
                 s->setting);
}

/* "A, B": those whose limit is in a state. */
static void add_models(const struct ucb_chart *c, enum ucb_limit_state state,
                       struct ucb_text *out)
{
    const char *comma = "";
    for (size_t i = 0; i < c->n_series; i++) {
        const struct ucb_chart_series *s = &c->series[i];
        if (s->limit.state != state) continue;
        add_series(s, comma, out);
        comma = ", ";
    }
}

static size_t count_state(const struct ucb_chart *c, enum ucb_limit_state state)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_series; i++) n += c->series[i].limit.state == state;
    return n;
}

static void add_drawn_limit(const struct ucb_chart_layout *l, struct ucb_text *out)
{
    const struct ucb_chart *c = l->chart;
    const char *comma = "";
    ucb_text_add(out,
                 "Information limit: %s, Shannon's for Gaussian weights, if divergence is "
                 "in proportion to squared error; k = ",
                 c->quantity == UCB_CHART_RATIO ? "exp(k 2^(-2 bpw)) - 1" : "k 2^(-2 bpw)");
    for (size_t i = 0; i < c->n_series; i++) {
        const struct ucb_chart_limit *limit = &c->series[i].limit;
        if (limit->state != UCB_LIMIT_DRAWN) continue;
        ucb_text_add(out, "%s%.3g", comma, limit->scale);
        if (c->n_series > 1) add_series(&c->series[i], " for ", out);
        ucb_text_add(out, " from %s (the largest of %zu is %.2f times it)", limit->anchor,
                     limit->n_anchors, limit->spread);
        comma = "; ";
    }
    ucb_text_add(out, ". Calibrated methods and uneven bits may pass it.");
}

static void add_limit(const struct ucb_chart_layout *l, struct ucb_text *out)
{
    static const char *const why[] = {
        [UCB_LIMIT_NO_LAW] = NULL,
        [UCB_LIMIT_ON_GRID] = "weights on a grid are not Gaussian",
        [UCB_LIMIT_FEW] =
            "it takes two methods of known squared error that diverge by 0.5 nats at most",
        [UCB_LIMIT_DISAGREES] = "divergence is not in proportion to squared error there"};
    const struct ucb_chart *c = l->chart;
    if (c->quantity == UCB_CHART_RETENTION) {
        ucb_text_add(out, "No information limit: nothing ties retention to squared error.");
        return;
    }
    if (l->shows_limit) add_drawn_limit(l, out);
    for (int state = UCB_LIMIT_ON_GRID; state <= UCB_LIMIT_DISAGREES; state++) {
        if (count_state(c, (enum ucb_limit_state)state) == 0) continue;
        ucb_text_add(out, "%sNo information limit for ", out->n_chars == 0 ? "" : " ");
        add_models(c, (enum ucb_limit_state)state, out);
        ucb_text_add(out, ": %s.", why[state]);
    }
}

/* Which two arithmetics, of the first series that has a floor. */
static void add_floor(const struct ucb_chart_layout *l, struct ucb_text *out)
{
    const struct ucb_chart *c = l->chart;
    const struct ucb_chart_floor *floor = NULL;
    size_t n = 0;
    for (size_t i = 0; i < c->n_series; i++) {
        if (isnan(c->series[i].floor.high)) continue;
        if (floor == NULL) floor = &c->series[i].floor;
        n++;
    }
    if (floor == NULL) {
        ucb_text_add(out, "Noise floor: not measured.");
        return;
    }
    ucb_text_add(out, "Noise floor: the original in %s against itself in %s; %s.",
                 floor->arithmetic, floor->reference,
                 c->quantity == UCB_CHART_KLD
                     ? "line: mean, band: to the upper end of its interval. A bar that "
                       "reaches the line shows no difference"
                     : "band: to the farther end of its interval. What lies in it is no "
                       "difference");
    if (!l->shows_floor && ucb_chart_is_log(c))
        ucb_text_add(out, " It lies below the axis, at %.2g.", floor->high);
    else if (!l->shows_floor)
        ucb_text_add(out, " Its accuracy is the same.");
    if (n < c->n_series) ucb_text_add(out, " Measured for %zu of %zu.", n, c->n_series);
}

static void add_reference(const struct ucb_chart_layout *l, struct ucb_text *out)
{
    const struct ucb_chart *c = l->chart;
    if (c->quantity == UCB_CHART_KLD) return; /* it diverges by 0 from itself */
    ucb_text_add(
        out, c->quantity == UCB_CHART_RATIO
                 ? "Dash-dotted: upper end of the 95%% interval of the original's own "
                   "perplexity; the points are paired with it and surer."
                 : "Dash-dotted: the original, and its accuracy's own 95%% interval; the "
                   "points are paired with it and surer.");
}

static void add_calibration(const struct ucb_chart_layout *l, struct ucb_text *out)
{
    if (l->chart->calibration != NULL)
        ucb_text_add(out, "Calibration where needed: %s.", l->chart->calibration);
}

void ucb_chart_write_caption(struct ucb_chart_layout *l)
{
    static void (*const parts[])(const struct ucb_chart_layout *, struct ucb_text *) = {
        add_axes, add_frontier, add_limit, add_floor, add_reference, add_calibration};
    struct ucb_text all = {0};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct ucb_text text = {0};
        parts[i](l, &text);
        if (text.n_chars > 0) ucb_text_add(&all, "%s ", ucb_text_get(&text));
        all.failed |= text.failed;
        ucb_text_free(&text);
    }
    add_wrapped(l, ucb_text_get(&all));
    l->caption.failed |= all.failed;
    ucb_text_free(&all);
    for (size_t i = 0; i < l->chart->n_caveats; i++) {
        struct ucb_text text = {0};
        ucb_text_add(&text, "Caveat: %s", l->chart->caveats[i]);
        add_wrapped(l, ucb_text_get(&text));
        l->caption.failed |= text.failed;
        ucb_text_free(&text);
    }
}
