/* power.c - see power.h. */
#include "stats/power.h"

#include <math.h>

#include "stats/distribution.h"

/* Two quantiles summed: how many errors a difference must measure. */
static double errors_needed(const struct ucb_power *p, double p_test, double p_power,
                            double n)
{
    if (!p->student) return ucb_normal_quantile(p_test) + ucb_normal_quantile(p_power);
    if (n < 2) return INFINITY;
    return ucb_student_quantile(p_test, n - 1) + ucb_student_quantile(p_power, n - 1);
}

double ucb_mde(const struct ucb_power *p, double scatter, double n)
{
    return errors_needed(p, 0.5 + p->confidence / 2, p->power, n) * scatter / sqrt(n);
}

/*
 * The smallest whole n with n >= (errors_needed(n) scatter / difference)^2. Student's
 * quantiles add z^2 / 2 documents or so to the normal's n, so counting on from there is
 * short.
 */
static double documents(const struct ucb_power *p, double p_test, double p_power,
                        double scatter, double difference)
{
    struct ucb_power normal = {p->confidence, p->power, false};
    if (difference == 0) return INFINITY;
    double unit = scatter / difference,
           steps = errors_needed(&normal, p_test, p_power, 0) * unit,
           n = fmax(p->student ? 2 : 1, ceil(steps * steps));
    if (!p->student || !(n < 1e6)) return n;
    for (;; n++) {
        steps = errors_needed(p, p_test, p_power, n) * unit;
        if (!(n < steps * steps)) return n;
    }
}

double ucb_n_to_find(const struct ucb_power *p, double scatter, double difference)
{
    return documents(p, 0.5 + p->confidence / 2, p->power, scatter, difference);
}

double ucb_n_to_equate(const struct ucb_power *p, double scatter, double margin)
{
    /* Both tests must reject; each may miss with half of what is left. */
    return documents(p, p->confidence, 0.5 + p->power / 2, scatter, margin);
}
