/*
 * gate_feed.c - see gate.h: evidence that accumulates over nights.
 *
 * A cell's process bets on flips between the baseline and the changed results of later
 * nights. Each item is looked at once for a baseline, so a rerun of equal code adds
 * nothing. Cells share items, so their processes depend on each other; the mean of
 * e-processes is one whatever the dependence, while a product would not be.
 */
#include <math.h>
#include <stdlib.h>

#include "core/fmath.h"
#include "core/pcg.h"
#include "gate/gate.h"

/* Puts `k` of the unfed items, or all that are left, at the start of `unfed`. */
static void draw(struct ucb_gate_evidence *e, size_t n_items, size_t k,
                 struct ucb_pcg *stream, uint32_t *unfed)
{
    size_t n = 0;
    for (size_t i = 0; i < n_items; i++)
        if (!e->fed[i]) unfed[n++] = (uint32_t)i;
    e->n_items = k < n ? k : n;
    for (size_t i = 0; i < e->n_items; i++) {
        size_t j = i + ucb_pcg_below(stream, (uint32_t)(n - i));
        uint32_t chosen = unfed[j];
        unfed[j] = unfed[i];
        unfed[i] = chosen;
        e->fed[chosen] = true;
    }
}

static int by_number(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static ucb_status feed(struct ucb_gate_cell *cell, const char *night,
                       const struct ucb_gate_rules *rules, struct ucb_arena *arena,
                       struct ucb_err *err)
{
    struct ucb_gate_evidence *e = &cell->evidence;
    const struct ucb_samples *before = &cell->samples[0], *after = &cell->samples[1];
    struct ucb_pcg stream;
    size_t n = after->n;
    const char *name = ucb_arena_printf(arena, "%s %s", night,
                                        cell->side[0]->cell->cell_id);
    uint32_t *unfed = UCB_NEW(arena, uint32_t, n);
    if (name == NULL || unfed == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory to draw a sample of %zu items", n);
    ucb_pcg_named(&stream, 1, name);
    draw(e, n, (n + rules->share - 1) / rules->share, &stream, unfed);
    qsort(unfed, e->n_items, sizeof(*unfed), by_number);
    e->items = unfed;
    for (size_t i = 0; i < e->n_items; i++) {
        bool was = before->samples[unfed[i]].target_correct != 0,
             is = after->samples[unfed[i]].target_correct != 0;
        e->n_lost += was && !is;
        e->n_won += !was && is;
    }
    ucb_eprocess_feed(&e->process, e->n_lost, e->n_won, rules->bet);
    return UCB_OK;
}

/* log of the mean of exp(log_e) over all processes;
 * those that nothing was fed stand at 1. */
static double log_mean(const struct ucb_gate_cell *cells, size_t n_cells, size_t n)
{
    double top = 0, sum = 0;
    for (size_t i = 0; i < n_cells; i++)
        if (cells[i].evidence.takes_part) top = fmax(top, cells[i].evidence.process.log_e);
    for (size_t i = 0; i < n_cells; i++)
        if (cells[i].evidence.takes_part)
            sum += ucb_exp(cells[i].evidence.process.log_e - top);
    return n == 0 ? 0 : top + ucb_log(sum / (double)n);
}

static void count_left(struct ucb_gate_evidence *e, size_t n_items)
{
    e->n_left = n_items;
    for (size_t i = 0; i < n_items; i++) e->n_left -= e->fed[i];
}

ucb_status ucb_gate_feed(struct ucb_gate_cell *cells, size_t n_cells, const char *night,
                         const struct ucb_gate_rules *rules, struct ucb_arena *arena,
                         struct ucb_gate_wealth *out, struct ucb_err *err)
{
    struct ucb_gate_wealth w = {0};
    for (size_t i = 0; i < n_cells; i++) {
        struct ucb_gate_evidence *e = &cells[i].evidence;
        if (!e->takes_part) continue;
        bool changed = cells[i].state == UCB_GATE_CHANGED && !cells[i].result.items_equal;
        size_t n_items = (size_t)cells[i].side[0]->cell->n_items;
        if (changed && cells[i].result.has_tests && !e->fed_tonight_before)
            UCB_TRY(feed(&cells[i], night, rules, arena, err));
        count_left(e, n_items);
        w.n_processes++;
        w.stands |= changed;
        w.n_left += e->n_left;
        w.n_items += n_items;
    }
    w.log_e = log_mean(cells, n_cells, w.n_processes);
    w.alarm = w.stands &&
              ucb_eprocess_alarm(&(struct ucb_eprocess){.log_e = w.log_e}, rules->alpha);
    *out = w;
    return UCB_OK;
}
