/* gate_outcome.c - what a night comes to: see gate.h. */
#include "gate/gate.h"

const char *ucb_gate_outcome_text(enum ucb_gate_outcome outcome)
{
    static const char *const texts[] = {
#define OUTCOME_TEXT(code, text) text,
        UCB_GATE_OUTCOME_LIST(OUTCOME_TEXT)
#undef OUTCOME_TEXT
    };
    return texts[outcome];
}

bool ucb_gate_wants_rerun(const struct ucb_gate *gate)
{
    for (size_t i = 0; i < gate->n_timings; i++)
        if (gate->timings[i].pace == UCB_PACE_UNCONFIRMED) return true;
    return false;
}

enum ucb_gate_outcome ucb_gate_outcome(const struct ucb_gate *gate)
{
    bool worse = gate->wealth.alarm, warned = ucb_gate_wants_rerun(gate);
    for (size_t i = 0; i < gate->n_cells; i++) {
        worse |= ucb_gate_cell_is_regression(&gate->cells[i]);
        warned |= ucb_gate_cell_is_warning(&gate->cells[i]);
    }
    for (size_t i = 0; i < gate->n_timings; i++)
        worse |= gate->timings[i].pace == UCB_PACE_SLOWER;
    if (worse || (warned && gate->rules.strict)) return UCB_GATE_REGRESSION;
    return warned ? UCB_GATE_WARNING : UCB_GATE_PASS;
}
