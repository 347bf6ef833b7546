/*
 * sweep_floor.c - the noise floor of a sweep: the original in another arithmetic, scored
 * against the original, in cells that name the arithmetic of their reference.
 *
 * No method, scope, calibration or seed has a part in it: its cells are those of scope body
 * and seed 0, so that every sweep of a model and task finds the same one.
 */
#include "sweep_internal.h"

#include <string.h>

#include "core/peak.h"

static bool is_compressed(const struct ucb_plan_row *row)
{
    return strcmp(row->method, "none") != 0;
}

bool ucb_sweep_floor_asked(const struct ucb_sweep_group *g)
{
    return g->options->noise_floor && g->arithmetic != UCB_ARITH_CUBLAS;
}

bool ucb_sweep_floor_owned(const struct ucb_plan *plan, const bool *mine, size_t i)
{
    const struct ucb_plan_row *row = &plan->rows[i];
    for (size_t k = 0; k < i; k++) {
        const struct ucb_plan_row *other = &plan->rows[k];
        if (!mine[k] && is_compressed(other) && strcmp(other->model, row->model) == 0 &&
            strcmp(other->arithmetic, row->arithmetic) == 0 &&
            strcmp(other->task, row->task) == 0)
            return false;
    }
    return is_compressed(row);
}

static enum ucb_arithmetic other_arithmetic(enum ucb_arithmetic arithmetic)
{
    return arithmetic == UCB_ARITH_FP32 ? UCB_ARITH_BF16 : UCB_ARITH_FP32;
}

void ucb_sweep_floor_cell(const struct ucb_sweep_group *g, struct ucb_cell *cell)
{
    enum ucb_arithmetic other = other_arithmetic(g->arithmetic);
    cell->reference = cell->arithmetic;
    cell->reference_revision = cell->arithmetic_revision;
    cell->arithmetic = ucb_arithmetic_name(other);
    cell->arithmetic_revision = ucb_arithmetic_revision(other);
    cell->scope = ucb_scope_name(UCB_SCOPE_BODY);
    cell->seed = 0;
}

const char *ucb_sweep_cell_name(const struct ucb_cell *cell)
{
    return cell->reference == NULL ? cell->spec : "noise-floor";
}

/* On the path asked for where the CPU has it for the arithmetic: the bits are the same on
 * all. A device scores heads of one arithmetic in a call, so it has no part in a floor. */
static ucb_status open_backend(const struct ucb_sweep_group *g,
                               enum ucb_arithmetic arithmetic, struct ucb_backend **out,
                               struct ucb_err *err)
{
    enum ucb_kernel kernel = g->options->kernel;
    if (kernel == UCB_KERNEL_CUDA || !ucb_kernel_available(kernel, arithmetic, NULL))
        kernel = UCB_KERNEL_AUTO;
    return ucb_backend_open(arithmetic, kernel, g->options->pool, out, err);
}

ucb_status ucb_sweep_floor_run(struct ucb_sweep_group *g, struct ucb_eval *eval,
                               const size_t *set, size_t n_sets,
                               const struct ucb_eval_result *original, bool lost,
                               struct ucb_err *err)
{
    struct ucb_backend *backend, *reference = NULL;
    struct ucb_eval_result floor;
    if (lost)
        return ucb_sweep_store_method(g, &g->floor, set, n_sets, original, original, err);
    UCB_TRY(open_backend(g, other_arithmetic(g->arithmetic), &backend, err));
    ucb_peak_restart();
    ucb_status status = g->options->kernel == UCB_KERNEL_CUDA
                            ? open_backend(g, g->arithmetic, &reference, err)
                            : UCB_OK;
    if (status == UCB_OK)
        status = ucb_eval_noise_floor(eval, reference, backend, &g->progress, &floor, err);
    ucb_backend_close(reference); /* their memory serves the methods */
    ucb_backend_close(backend);
    UCB_TRY(status);
    status = ucb_sweep_store_method(g, &g->floor, set, n_sets, &floor, original, err);
    ucb_eval_result_free(&floor);
    return status;
}
