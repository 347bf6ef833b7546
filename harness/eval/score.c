/* score.c - see score.h. */
#include "eval/score.h"

#include <assert.h>
#include <math.h>

#include "core/half.h"
#include "stats/sum.h"

ucb_status ucb_score_item(const struct ucb_position *positions,
                          const struct ucb_position *reference, const uint32_t *target,
                          uint32_t n, struct ucb_arena *arena, struct ucb_sample *out,
                          struct ucb_err *err)
{
    assert(n > 0);
    struct ucb_sum logp = {0}, kld = {0}, ear = {0};
    struct ucb_sample s = {.n_tokens = n, .target_correct = 1};
    float *per_token = UCB_NEW(arena, float, n);
    if (per_token == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %u divergences", n);
    for (uint32_t i = 0; i < n; i++) {
        const struct ucb_position *p = &positions[i];
        if (!isfinite(p->logp) || !isfinite(p->kld) || !isfinite(p->ear))
            return UCB_FAIL(
                err, UCB_CORRUPT,
                "the logits are not finite (log-probability %g, divergence %g at scored position %u)",
                p->logp, (double)p->kld, i);
        bool hit = p->argmax == target[i], agrees = p->argmax == reference[i].argmax;
        ucb_sum_add(&logp, p->logp);
        ucb_sum_add(&kld, (double)p->kld);
        ucb_sum_add(&ear, (double)p->ear);
        per_token[i] = p->kld;
        s.t1_gt_hits += hit;
        s.t10_gt_hits += p->rank < 10;
        s.t1_agree_hits += agrees;
        s.t10_agree_hits += p->teacher_rank < 10;
        s.t10_overlap_sum += p->overlap10;
        s.target_correct &= hit;
        if (i + 1 == n) {
            s.last_t1_gt = hit;
            s.last_t10_gt = p->rank < 10;
            s.last_t1_agree = agrees;
        }
    }
    s.sum_logp = ucb_sum_value(&logp);
    s.kld_sum = ucb_sum_value(&kld);
    s.ear_sum = ucb_sum_value(&ear);
    s.kld = per_token;
    *out = s;
    return UCB_OK;
}

ucb_status ucb_score_round_nll(struct ucb_sample *sample, struct ucb_err *err)
{
    double rounded = (double)ucb_f16_round((float)sample->sum_logp);
    if (!isfinite(rounded))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "the log-probabilities sum to %g, past the largest half; try "
                        "nll=exact",
                        sample->sum_logp);
    sample->sum_logp = rounded;
    return UCB_OK;
}
