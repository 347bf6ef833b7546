/* pass.c - see pass.h. */
#include "eval/pass.h"

/* How many windows from `first` on are the next stretch: at least one. */
static size_t next_stretch(const struct ucb_pass *p, size_t first)
{
    size_t most = ucb_states_stretch(p->x, p->hidden), n = 1;
    while (first + n < p->n_windows && p->start[first + n + 1] - p->start[first] <= most)
        n++;
    return n;
}

static void release(const struct ucb_pass *p, size_t first, size_t n)
{
    size_t row = p->start[first], end = p->start[first + n];
    ucb_states_release(p->x, row * p->hidden, (end - row) * p->hidden);
}

ucb_status ucb_pass_embed(const struct ucb_pass *p, struct ucb_loader *loader,
                          const struct ucb_chain *chain, struct ucb_tally *tally,
                          const uint32_t *ids, struct ucb_err *err)
{
    UCB_TRY(ucb_loader_embed_begin(loader, chain, tally, err));
    for (size_t w = 0, n; w < p->n_windows; w += n) {
        n = next_stretch(p, w);
        UCB_TRY(ucb_loader_embed_rows(loader, chain, ids, n, p->start + w, p->x->x, err));
        release(p, w, n);
    }
    return UCB_OK;
}

ucb_status ucb_pass_layer(const struct ucb_pass *p, struct ucb_forward *forward,
                          const struct ucb_layer *layer, const struct ucb_tap *tap,
                          struct ucb_err *err)
{
    for (size_t w = 0, n; w < p->n_windows; w += n) {
        n = next_stretch(p, w);
        UCB_TRY(
            ucb_forward_layer_tapped(forward, layer, n, p->start + w, p->x->x, tap, err));
        release(p, w, n);
    }
    return UCB_OK;
}

ucb_status ucb_pass_peek(const struct ucb_pass *p, struct ucb_forward *forward,
                         const struct ucb_layer *layer, enum ucb_input input,
                         const struct ucb_tap *tap, struct ucb_err *err)
{
    for (size_t w = 0, n; w < p->n_windows; w += n) {
        n = next_stretch(p, w);
        UCB_TRY(
            ucb_forward_peek(forward, layer, n, p->start + w, p->x->x, input, tap, err));
        release(p, w, n);
    }
    return UCB_OK;
}
