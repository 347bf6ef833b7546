/* power.c - see power.h. */
#include "stats/power.h"

#include <math.h>

#include "stats/distribution.h"

double ucb_mde(double scatter, double n, double confidence, double power)
{
    return (ucb_normal_quantile(0.5 + confidence / 2) + ucb_normal_quantile(power)) *
           scatter / sqrt(n);
}

double ucb_n_to_find(double scatter, double difference, double confidence, double power)
{
    if (difference == 0) return INFINITY;
    double steps = ucb_mde(scatter, 1, confidence, power) / difference;
    return fmax(1, ceil(steps * steps));
}

double ucb_n_to_equate(double scatter, double margin, double confidence, double power)
{
    if (margin == 0) return INFINITY;
    /* Both tests must reject; each may miss with half of what is left. */
    double steps = (ucb_normal_quantile(confidence) +
                    ucb_normal_quantile(0.5 + power / 2)) *
                   scatter / margin;
    return fmax(1, ceil(steps * steps));
}
