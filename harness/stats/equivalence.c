/* equivalence.c - see equivalence.h. */
#include "stats/equivalence.h"

#include <assert.h>
#include <math.h>

#include "stats/distribution.h"

double ucb_tost_cluster(const struct ucb_cluster_fit *fit, struct ucb_band band)
{
    assert(band.low < band.high);
    if (isnan(fit->error)) return NAN;
    double above = fit->value - band.low, below = band.high - fit->value;
    /* Without scatter the value is where it is. */
    if (fit->error == 0) return above > 0 && below > 0 ? 0 : 1;
    return fmax(ucb_student_tail(above / fit->error, fit->n_freedom),
                ucb_student_tail(below / fit->error, fit->n_freedom));
}

double ucb_tost_paired(const struct ucb_paired_counts *counts, struct ucb_band band)
{
    assert(band.low < band.high);
    /* A difference of rates cannot pass -1 and 1. */
    double low = band.low <= -1 ? 0 : ucb_normal_tail(ucb_tango_score(counts, band.low)),
           high = band.high >= 1 ? 0 : ucb_normal_tail(-ucb_tango_score(counts, band.high));
    return fmax(low, high);
}

const char *ucb_verdict_text(enum ucb_verdict verdict)
{
    switch (verdict) {
#define VERDICT_TEXT(code, text) \
    case code: return text;
        UCB_VERDICT_LIST(VERDICT_TEXT)
#undef VERDICT_TEXT
    }
    return "";
}

enum ucb_verdict ucb_judge(const struct ucb_evidence *evidence)
{
    struct ucb_estimate wide = evidence->wide, narrow = evidence->narrow;
    struct ucb_band band = evidence->band;
    if (narrow.low > band.low && narrow.high < band.high) return UCB_VERDICT_EQUIVALENT;
    if (wide.low > evidence->no_change && wide.value > band.high)
        return evidence->worse_sign > 0 ? UCB_VERDICT_WORSE : UCB_VERDICT_BETTER;
    if (wide.high < evidence->no_change && wide.value < band.low)
        return evidence->worse_sign < 0 ? UCB_VERDICT_WORSE : UCB_VERDICT_BETTER;
    return UCB_VERDICT_INCONCLUSIVE;
}

enum ucb_verdict ucb_judge_pairs(const struct ucb_evidence *evidence,
                                 const struct ucb_paired_counts *counts)
{
    enum ucb_verdict verdict = ucb_judge(evidence);
    uint64_t n_more = evidence->wide.value < 0 ? counts->lost : counts->won,
             n_fewer = evidence->wide.value < 0 ? counts->won : counts->lost;
    if (verdict != UCB_VERDICT_WORSE && verdict != UCB_VERDICT_BETTER) return verdict;
    return ucb_mcnemar_test(n_more, n_fewer).worse_p > 1 - UCB_CONFIDENCE
               ? UCB_VERDICT_INCONCLUSIVE
               : verdict;
}

enum ucb_verdict ucb_judge_all(const enum ucb_verdict *verdicts, size_t n)
{
    size_t n_of[UCB_VERDICT_INCONCLUSIVE + 1] = {0};
    assert(n > 0);
    for (size_t i = 0; i < n; i++) n_of[verdicts[i]]++;
    size_t n_worse = n_of[UCB_VERDICT_WORSE], n_better = n_of[UCB_VERDICT_BETTER];
    if (n_worse > 0 && n_better == 0) return UCB_VERDICT_WORSE;
    if (n_better > 0 && n_worse == 0) return UCB_VERDICT_BETTER;
    return n_of[UCB_VERDICT_EQUIVALENT] == n ? UCB_VERDICT_EQUIVALENT
                                             : UCB_VERDICT_INCONCLUSIVE;
}
