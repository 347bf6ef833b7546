/*
 * distill.c - tunes the continuous parameters of a layer by gradient descent, so that the
 * layer answers the original's inputs as the original does.
 *
 * Adam with the learning rate falling as a half cosine to 0 and gradients clipped to norm
 * 1; each step sees windows drawn with replacement. The seed calls this "KL distillation";
 * what it does is a mean squared error of hidden states (specification of the seed's
 * systems, 3.3, D-13), which is the default here.
 */
#include <math.h>

#include "core/adam.h"
#include "method/method.h"

enum { STEPS, OBJECTIVE, TRAIN, LR, BATCH, ONLINE };

static const char *const objectives[] = {"mse", "kl", NULL};
static const char *const trained[] = {"factors", "all", NULL};
static const struct ucb_knob knobs[] = {
    {"steps", "Adam steps of a layer", "200", UCB_KNOB_INT, 0, 100000, NULL},
    {"objective",
     "mse: squared error of the layer's output; kl: divergence of the logits that the head "
     "makes of it",
     "mse", UCB_KNOB_CHOICE, 0, 0, objectives},
    {"train",
     "factors: what the added stages hold; all: also the base's scales and the norm gains",
     "factors", UCB_KNOB_CHOICE, 0, 0, trained},
    {"lr", "learning rate at the first step", "0.001", UCB_KNOB_REAL, 1e-9, 1, NULL},
    {"batch", "windows of a step", "8", UCB_KNOB_INT, 1, 4096, NULL},
    {"online", "1: inputs come from the layers already tuned", "0", UCB_KNOB_INT, 0, 1,
     NULL},
    {NULL, NULL, NULL, UCB_KNOB_INT, 0, 0, NULL}};

static double nominal_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job;
    (void)matrix;
    return 0; /* it changes values, not sizes */
}

static void tune_plan(const struct ucb_job *job, struct ucb_tune_plan *out)
{
    bool all = job->value[TRAIN] != 0;
    *out = (struct ucb_tune_plan){
        .objective = job->value[OBJECTIVE] != 0 ? UCB_OBJECTIVE_KL : UCB_OBJECTIVE_MSE,
        .batch = (uint32_t)job->value[BATCH],
        .base = all,
        .gains = all,
        .online = job->value[ONLINE] != 0};
}

static ucb_status list_arrays(const struct ucb_job *job, const struct ucb_tuning *t,
                              struct ucb_adam_array **out, struct ucb_err *err)
{
    struct ucb_adam_array *arrays = UCB_NEW(job->arena, struct ucb_adam_array, t->n_params);
    bool fits = arrays != NULL;
    for (uint32_t i = 0; i < t->n_params && fits; i++) {
        const struct ucb_param *param = &t->params[i];
        arrays[i] = (struct ucb_adam_array){.value = param->value,
                                            .first = UCB_NEW(job->arena, float, param->n),
                                            .second = UCB_NEW(job->arena, float, param->n),
                                            .gradient = t->gradients[i],
                                            .n = param->n};
        fits = arrays[i].first != NULL && arrays[i].second != NULL;
    }
    *out = arrays;
    return fits ? UCB_OK : UCB_FAIL(err, UCB_NOMEM, "no memory for the optimizer");
}

static ucb_status tune(struct ucb_job *job, struct ucb_tuning *t, struct ucb_err *err)
{
    uint32_t n_steps = (uint32_t)job->value[STEPS], batch = (uint32_t)job->value[BATCH];
    uint32_t *window = UCB_NEW(job->arena, uint32_t, batch);
    struct ucb_adam adam = ucb_adam_defaults;
    struct ucb_adam_array *arrays;
    if (window == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a step's windows");
    UCB_TRY(list_arrays(job, t, &arrays, err));
    adam.clip = 1;
    for (uint32_t step = 0; step < n_steps; step++) {
        double loss, norm;
        for (uint32_t i = 0; i < batch; i++)
            window[i] = ucb_pcg_below(&job->random, t->n_windows);
        UCB_TRY(t->evaluate(t->context, window, batch, &loss, err));
        norm = ucb_adam_step(&adam, step + 1, ucb_cosine(step, n_steps, job->value[LR]),
                             arrays, t->n_params, job->pool);
        if (!isfinite(norm))
            return UCB_FAIL(err, UCB_CORRUPT,
                            "step %u: the gradients are not finite; try a smaller lr",
                            step + 1);
    }
    return UCB_OK;
}

const struct ucb_method ucb_method_distill = {
    .name = "distill",
    .summary = "per-layer distillation: gradient steps on scales, factors and gains",
    .source = "the seed's streaming runner; Kingma and Ba 2015 (Adam)",
    .revision = 1,
    .kind = UCB_TUNE,
    .knobs = knobs,
    .n_shown = 1,
    .nominal_bpw = nominal_bpw,
    .claimed_bpw = nominal_bpw,
    .tune_plan = tune_plan,
    .tune = tune};
