/*
 * report.h - a report turns the results of a database into files of one folder.
 */
#ifndef UCB_REPORT_REPORT_H
#define UCB_REPORT_REPORT_H

#include "core/arena.h"
#include "core/err.h"
#include "core/text.h"
#include "store/store.h"

/* What `ucbench report` was asked. The reports add the paths of the files they made to
 * `files`, one a line. */
struct ucb_report_job {
    struct ucb_store *store;
    const char *database;      /* its path, for captions */
    const char *folder;        /* exists */
    const char *const *models; /* only these; none: all */
    size_t n_models;
    const char *task,
        *metric; /* of the chart, and task of the ladder; NULL: chosen from what is there */
    bool quiet;  /* nothing on standard output */
    bool latex;  /* the chart for cairolatex, too */
    struct ucb_arena *arena;
    struct ucb_text *files;
};

struct ucb_report {
    const char *name, *summary;
    ucb_status (*run)(struct ucb_report_job *job, struct ucb_err *err);
};
/* All reports, ended by NULL, in name order. */
const struct ucb_report *const *ucb_reports(void);
/* Whether it stores into the database too: opened for writing, made where there is none. */
bool ucb_report_stores(const struct ucb_report *report);

/* "FOLDER/NAME" from the job's arena, also added to `files`; NULL when memory ran out. */
const char *ucb_report_path(struct ucb_report_job *job, const char *name);

#endif
