/*
 * pair.h - two cells of a database compared, with the model's noise floor where the
 * database has it; as text for people and as JSON.
 */
#ifndef UCB_REPORT_PAIR_H
#define UCB_REPORT_PAIR_H

#include "core/text.h"
#include "eval/compare.h"
#include "store/store_read.h"

struct ucb_pair {
    const struct ucb_stored_cell *cell[2]; /* before (A), after (B) */
    struct ucb_samples samples[2];
    struct ucb_bands bands;
    struct ucb_comparison result;
    bool weights_equal; /* both have a digest of their decoded weights, the same one */
    bool is_floor;      /* this pair is the original in two arithmetics */
    /* The original, and what it is in the other arithmetic: scored against it, or by itself
       and without divergence. NULL: the database has none. */
    const struct ucb_stored_cell *floor_cell[2];
    struct ucb_comparison floor;
};

/*
 * Compares cells[..] `before` and `after`, of which `cells` are all of the database. The
 * floor, the original in one arithmetic against the original in another, is compared on the
 * same items and taken into the verdict. n_replicates 0: without bootstrap. USAGE names the
 * field in which the two are not of one kind: model, task, data set, protocol.
 */
ucb_status ucb_pair_compare(struct ucb_store *store, const struct ucb_stored_cell *cells,
                            size_t n_cells, const struct ucb_stored_cell *before,
                            const struct ucb_stored_cell *after,
                            const struct ucb_bands *bands, size_t n_replicates,
                            struct ucb_arena *arena, struct ucb_pair *out,
                            struct ucb_err *err);

/* The verdict as one sentence, "worse: ppl ratio 1.034 [1.021, 1.047]". */
void ucb_pair_sentence(const struct ucb_pair *pair, struct ucb_text *out);
/* The sentence and every number behind it. */
void ucb_pair_text(const struct ucb_pair *pair, struct ucb_text *out);
/* One object; its keys are listed in docs/statistics.md. NOMEM. */
ucb_status ucb_pair_json(const struct ucb_pair *pair, struct ucb_text *out,
                         struct ucb_err *err);

#endif
