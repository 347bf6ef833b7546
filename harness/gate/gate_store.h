/*
 * gate_store.h - a night from a database: which runs, which cells belong together, and what
 * is written back.
 */
#ifndef UCB_GATE_GATE_STORE_H
#define UCB_GATE_GATE_STORE_H

#include "gate/gate.h"

struct ucb_gate_job {
    struct ucb_store *store;
    const char *baseline, *candidate; /* as the user named them */
    const char *night;                /* NULL: the day on which the candidate's run began */
    struct ucb_gate_rules rules;
    const char *unrecorded; /* why nothing is to be written; NULL: the evidence is stored */
    struct ucb_arena *arena;
};

/*
 * The run that `name` means: its number, the first digits of a build (4 or more; its newest
 * run), "latest", or "previous", the one before `candidate` (NULL: not allowed here). USAGE
 * lists the runs.
 */
ucb_status ucb_gate_find_run(const struct ucb_stored_run *runs, size_t n_runs,
                             const char *name, const struct ucb_stored_run *candidate,
                             struct ucb_arena *arena, const struct ucb_stored_run **out,
                             struct ucb_err *err);

/* Finds the runs and the night's date, and stops there. */
ucb_status ucb_gate_open(const struct ucb_gate_job *job, struct ucb_gate *out,
                         struct ucb_err *err);
/* Compares, feeds, paces, and stores the evidence. Cells come out in the order of a report:
 * what trips the gate first. */
ucb_status ucb_gate_run(const struct ucb_gate_job *job, struct ucb_gate *gate,
                        struct ucb_err *err);

#endif
