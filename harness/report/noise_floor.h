/*
 * noise_floor.h - what another arithmetic alone changes in a model: the stored cell that
 * compares the original with itself, as `sweep` makes one for every model and task.
 *
 * Such a cell has the spec `none`, an arithmetic of its own, and in `reference` the
 * arithmetic of the original that it was scored against. It depends on no method, scope,
 * calibration or seed.
 */
#ifndef UCB_REPORT_NOISE_FLOOR_H
#define UCB_REPORT_NOISE_FLOOR_H

#include "report/report.h"
#include "stats/estimate.h"

struct ucb_noise_floor {
    const char *arithmetic; /* the other one: "bf16" where the results are in fp32 */
    const char *cell_id;
    /* Each with its 95% interval; NaN where unknown. kld_mean in nats per token. */
    struct ucb_estimate kld_mean, ear, ppl_ratio;
    int64_t n_documents; /* that the intervals rest on */
    int64_t n_items;
    int64_t flips_lost,
        flips_won; /* items, of n_items; -1: the task has no right or wrong */
};

/*
 * The floor under results of `model` on `task` and `dataset` in `arithmetic`, each as
 * v_latest has it; the newest one that did not fail. *found is false, and *out not written,
 * where the database has none. Texts live in job->arena. NOMEM; CORRUPT: the database
 * cannot be read.
 */
ucb_status ucb_report_noise_floor(struct ucb_report_job *job, const char *model,
                                  const char *task, const char *dataset,
                                  const char *arithmetic, bool *found,
                                  struct ucb_noise_floor *out, struct ucb_err *err);

#endif
