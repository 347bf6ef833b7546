/*
 * sweep_shapes.c - methods that cannot take a model's matrices are found before anything is
 * computed: their cells fail at once, the others run.
 */
#include <stdio.h>

#include "sweep_internal.h"

static ucb_status check_matrix(const struct ucb_sweep_group *g,
                               const struct ucb_chain *chain,
                               const struct ucb_matrix *matrix, struct ucb_err *err)
{
    bool in_scope = ucb_scope_holds(g->scope, matrix->role);
    if (!ucb_chain_takes(chain, matrix->role, in_scope)) return UCB_OK;
    return ucb_chain_fits(chain, matrix, err);
}

static ucb_status check_shapes(const struct ucb_sweep_group *g,
                               const struct ucb_chain *chain, struct ucb_err *err)
{
    const struct ucb_arch *arch = ucb_model_arch(g->model);
    for (uint32_t layer = 0; layer < arch->n_layers; layer++) {
        size_t n;
        const struct ucb_matrix *const *list = ucb_model_layer_matrices(g->model, layer,
                                                                        &n);
        for (size_t i = 0; i < n; i++) UCB_TRY(check_matrix(g, chain, list[i], err));
    }
    UCB_TRY(check_matrix(g, chain, ucb_model_matrix(g->model, 0, UCB_ROLE_EMBED), err));
    return arch->tied_head
               ? UCB_OK
               : check_matrix(g, chain, ucb_model_matrix(g->model, 0, UCB_ROLE_HEAD), err);
}

ucb_status ucb_sweep_find_misfits(struct ucb_sweep_group *g, struct ucb_err *err)
{
    for (size_t i = 1; i < g->n_methods; i++) {
        struct ucb_err why;
        if (check_shapes(g, g->methods[i].chain, &why) == UCB_OK) continue;
        g->methods[i].misfit = ucb_arena_strdup(&g->arena, why.text);
        if (g->methods[i].misfit == NULL)
            return UCB_FAIL(err, UCB_NOMEM, "no memory for a message");
    }
    return UCB_OK;
}

ucb_status ucb_sweep_store_misfits(struct ucb_sweep_group *g, struct ucb_err *err)
{
    for (size_t i = 1; i < g->n_methods; i++) {
        struct ucb_sweep_method *m = &g->methods[i];
        struct ucb_eval_result result = {.status = UCB_USAGE};
        size_t set[UCB_SWEEP_MAX_TASKS], n_sets = 0;
        if (m->misfit == NULL || m->pending == 0) continue;
        for (size_t t = 0; t < g->n_tasks; t++)
            if ((m->pending >> t & 1) != 0) set[n_sets++] = t;
        if (g->options->dry_run) {
            fprintf(stderr, "  cannot run %s: %s\n", ucb_chain_spec(m->chain), m->misfit);
            g->counts->n_failed += n_sets;
        } else {
            UCB_FAIL(&result.err, UCB_USAGE, "%s", m->misfit);
            UCB_TRY(ucb_sweep_store_method(g, m, set, n_sets, &result, &result, err));
        }
        m->pending = 0;
    }
    return UCB_OK;
}
