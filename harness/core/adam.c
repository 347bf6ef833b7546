/*
 * adam.c - one step of Adam. Moments and values are fp32, what is common to all elements is
 * double and rounded once.
 */
#include "core/adam.h"

#include <assert.h>
#include <math.h>

#include "core/clones.h"
#include "core/fmath.h"

enum { LANES = 8, ITEM_ELEMENTS = 1 << 14 };

/* Lane i takes elements i, i + 8, ...; then the lanes are added in order. */
UCB_CLONES static double sum_of_squares(const float *x, size_t n)
{
    double lane[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) lane[k] += (double)x[i + k] * (double)x[i + k];
    for (; i < n; i++) lane[i % LANES] += (double)x[i] * (double)x[i];
    for (int k = 0; k < LANES; k++) sum += lane[k];
    return sum;
}

struct step_run {
    const struct ucb_adam_array *array;
    float keep, gradient_scale, weight1, beta2, weight2, root2, epsilon, size;
};

static void step_item(void *context, size_t index)
{
    const struct step_run *r = context;
    const struct ucb_adam_array *a = r->array;
    size_t end = a->n - index * ITEM_ELEMENTS < ITEM_ELEMENTS ? a->n
                                                              : (index + 1) * ITEM_ELEMENTS;
    for (size_t i = index * ITEM_ELEMENTS; i < end; i++) {
        float g = a->gradient[i] * r->gradient_scale,
              m = a->first[i] + r->weight1 * (g - a->first[i]),
              v = a->second[i] * r->beta2 + r->weight2 * (g * g);
        a->first[i] = m;
        a->second[i] = v;
        a->value[i] = a->value[i] * r->keep -
                      r->size * (m / (sqrtf(v) / r->root2 + r->epsilon));
    }
}

double ucb_adam_step(const struct ucb_adam *adam, uint64_t step, double rate,
                     const struct ucb_adam_array *arrays, size_t n_arrays,
                     struct ucb_pool *pool)
{
    assert(step > 0);
    double squares = 0, t = (double)step;
    for (size_t i = 0; i < n_arrays; i++)
        squares += sum_of_squares(arrays[i].gradient, arrays[i].n);
    double norm = sqrt(squares);
    if (!isfinite(norm)) return norm;
    double scale = adam->clip == 0 ? 1 : fmin(1, adam->clip / (norm + 1e-6));
    for (size_t i = 0; i < n_arrays; i++) {
        struct step_run run = {
            .array = &arrays[i],
            .keep = (float)(1 - rate * adam->weight_decay),
            .gradient_scale = (float)scale,
            .weight1 = (float)(1 - adam->beta1),
            .beta2 = (float)adam->beta2,
            .weight2 = (float)(1 - adam->beta2),
            .root2 = (float)sqrt(1 - ucb_pow(adam->beta2, t)),
            .epsilon = (float)adam->epsilon,
            .size = (float)(rate / (1 - ucb_pow(adam->beta1, t))),
        };
        ucb_parallel_for(pool, (arrays[i].n + ITEM_ELEMENTS - 1) / ITEM_ELEMENTS, step_item,
                         &run);
    }
    return norm;
}

double ucb_cosine(uint64_t step, uint64_t n_steps, double peak)
{
    assert(step <= n_steps && n_steps > 0);
    double sine, cosine;
    ucb_sincos(0x1.921fb54442d18p+1 * ((double)step / (double)n_steps), &sine, &cosine);
    return peak * (1 + cosine) / 2;
}
