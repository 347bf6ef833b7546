/*
 * forward_mlp.c - the second half of a layer: a dense MLP, or experts that a router picks
 * for each row. Specification, section 4.
 *
 * Rows sent to an expert are gathered in row order, run together and added back with their
 * weights, expert after expert: a row's sum runs over its experts in index order, whatever
 * else is in the batch.
 */
#include <string.h>

#include "model/forward_internal.h"
#include "model/routing.h"

/* The three roles of a gated MLP. */
struct mlp {
    enum ucb_role gate, up, down;
    enum ucb_input down_input;
    uint32_t expert, width;
};

/* y = down(act(gate(x)) * up(x)), or down(act(up(x))). */
static ucb_status run_mlp(struct ucb_forward *f, const struct ucb_layer_run *run,
                          const struct mlp *m, const struct ucb_rows *rows, const float *x,
                          float *y, bool *done, struct ucb_err *err)
{
    const struct ucb_arch *a = f->arch;
    size_t n = ucb_n_rows(rows);
    UCB_TRY(ucb_forward_linear(f, run, m->up, m->expert, rows, x, f->up, err));
    if (a->gated) {
        UCB_TRY(ucb_forward_linear(f, run, m->gate, m->expert, rows, x, f->gate, err));
        ucb_activate(f->backend, a->activation, f->gate, f->up, n * m->width, f->gate);
    } else {
        ucb_activate(f->backend, a->activation, f->up, NULL, n * m->width, f->gate);
    }
    UCB_TRY(ucb_forward_show(run, m->down_input, m->expert, f->gate, n, m->width, err));
    *done = ucb_run_ends(run, m->down_input);
    if (*done) return UCB_OK;
    return ucb_forward_linear(f, run, m->down, m->expert, rows, f->gate, y, err);
}

/* ---- routing ---- */

static ucb_status route(struct ucb_forward *f, const struct ucb_layer_run *run,
                        struct ucb_err *err)
{
    size_t n = ucb_n_rows(&run->rows);
    const float *x = f->normed;
    for (size_t row = 0; row < n; row += f->batch) {
        size_t m = n - row < f->batch ? n - row : f->batch;
        UCB_TRY(ucb_linear(f->backend, &f->router, NULL, x + row * f->arch->hidden, m,
                           f->scores + row * f->arch->experts.n, err));
    }
    const struct ucb_experts *e = &f->arch->experts;
    ucb_backend_read(f->backend, f->scores, n * e->n * sizeof(*f->scores));
    for (size_t row = 0; row < n; row++)
        ucb_route(e, f->scores + row * e->n, f->expert + row * e->used,
                  f->expert_weight + row * e->used);
    if (run->tap == NULL || run->tap->route == NULL) return UCB_OK;
    return run->tap->route(run->tap->context, f->expert, f->expert_weight, n, err);
}

/* ---- experts ---- */

/* The rows sent to an expert, window by window, into f->sent. */
static struct ucb_rows gather(struct ucb_forward *f, const struct ucb_rows *rows,
                              uint32_t expert)
{
    const struct ucb_experts *x = &f->arch->experts;
    size_t n = 0, hidden = f->arch->hidden,
           n_bytes = ucb_n_rows(rows) * hidden * sizeof(float);
    ucb_backend_read(f->backend, f->normed, n_bytes);
    ucb_backend_write(f->backend, f->sent, n_bytes); /* what is behind them is not read */
    for (size_t w = 0; w < rows->n_windows; w++) {
        f->sent_start[w] = n;
        for (size_t row = rows->start[w]; row < rows->start[w + 1]; row++)
            for (uint32_t i = 0; i < x->used; i++) {
                if (f->expert[row * x->used + i] != expert) continue;
                memcpy(f->sent + n * hidden, f->normed + row * hidden,
                       hidden * sizeof(float));
                f->sent_row[n++] = row * x->used + i;
            }
    }
    f->sent_start[rows->n_windows] = n;
    return (struct ucb_rows){f->sent_start, rows->n_windows};
}

static void add_answers(struct ucb_forward *f, size_t n)
{
    const struct ucb_experts *x = &f->arch->experts;
    size_t hidden = f->arch->hidden;
    ucb_backend_read(f->backend, f->answer, n * hidden * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        size_t place = f->sent_row[i];
        ucb_add_scaled(f->backend, f->out + place / x->used * hidden,
                       f->answer + i * hidden, f->expert_weight[place], hidden);
    }
}

static ucb_status run_experts(struct ucb_forward *f, const struct ucb_layer_run *run,
                              bool *done, struct ucb_err *err)
{
    const struct ucb_arch *a = f->arch;
    bool ends = ucb_run_ends(run, UCB_INPUT_GATE_UP);
    size_t n_bytes = ucb_n_rows(&run->rows) * a->hidden * sizeof(float);
    ucb_backend_write(f->backend, f->out, n_bytes);
    memset(f->out, 0, n_bytes);
    for (uint32_t e = 0; e < a->experts.n; e++) {
        struct mlp m = {UCB_ROLE_GATE,  UCB_ROLE_UP, UCB_ROLE_DOWN,
                        UCB_INPUT_DOWN, e,           a->experts.width};
        struct ucb_rows sent = gather(f, &run->rows, e);
        size_t n = ucb_n_rows(&sent);
        bool ended = false;
        if (n == 0) continue;
        UCB_TRY(ucb_forward_show(run, UCB_INPUT_GATE_UP, e, f->sent, n, a->hidden, err));
        if (ends) continue;
        UCB_TRY(run_mlp(f, run, &m, &sent, f->sent, f->answer, &ended, err));
        if (!ended) add_answers(f, n);
    }
    *done = ends || ucb_run_ends(run, UCB_INPUT_DOWN);
    return UCB_OK;
}

static ucb_status run_shared(struct ucb_forward *f, const struct ucb_layer_run *run,
                             bool *done, struct ucb_err *err)
{
    const struct ucb_arch *a = f->arch;
    struct mlp m = {UCB_ROLE_SHARED_GATE,
                    UCB_ROLE_SHARED_UP,
                    UCB_ROLE_SHARED_DOWN,
                    UCB_INPUT_SHARED_DOWN,
                    0,
                    a->experts.shared_width};
    UCB_TRY(run_mlp(f, run, &m, &run->rows, f->normed, f->answer, done, err));
    if (!*done) ucb_add(f->backend, f->out, f->answer, ucb_n_rows(&run->rows) * a->hidden);
    return UCB_OK;
}

ucb_status ucb_forward_mlp(struct ucb_forward *f, const struct ucb_layer_run *run,
                           bool *done, struct ucb_err *err)
{
    const struct ucb_arch *a = f->arch;
    uint32_t ffn = a->layers[run->layer->index].ffn;
    size_t n = ucb_n_rows(&run->rows);
    if (ffn != 0) {
        struct mlp m = {UCB_ROLE_GATE, UCB_ROLE_UP, UCB_ROLE_DOWN, UCB_INPUT_DOWN, 0, ffn};
        UCB_TRY(ucb_forward_show(run, UCB_INPUT_GATE_UP, 0, f->normed, n, a->hidden, err));
        *done = ucb_run_ends(run, UCB_INPUT_GATE_UP);
        return *done ? UCB_OK
                     : run_mlp(f, run, &m, &run->rows, f->normed, f->out, done, err);
    }
    if (a->experts.shared_width != 0) {
        UCB_TRY(ucb_forward_show(run, UCB_INPUT_SHARED_GATE_UP, 0, f->normed, n, a->hidden,
                                 err));
        *done = ucb_run_ends(run, UCB_INPUT_SHARED_GATE_UP);
        if (*done) return UCB_OK;
    }
    UCB_TRY(route(f, run, err));
    UCB_TRY(run_experts(f, run, done, err));
    if (*done || a->experts.shared_width == 0) return UCB_OK;
    return run_shared(f, run, done, err);
}
