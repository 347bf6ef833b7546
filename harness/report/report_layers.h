/*
 * report_layers.h - what tuning did to each layer of a chain, for tables and pages.
 */
#ifndef UCB_REPORT_REPORT_LAYERS_H
#define UCB_REPORT_REPORT_LAYERS_H

#include "report/report_data.h"

struct ucb_report_layer {
    uint32_t layer;
    double seconds, peak_rss_bytes, loss_before, loss_after;
};
/* The layers of one tuned chain on one model. */
struct ucb_report_chain {
    const struct ucb_report_cell *cell; /* the first that has them; borrowed */
    const struct ucb_report_layer *layers;
    size_t n_layers;
    double fall_median; /* of 1 - loss_after / loss_before; NaN where no loss is > 0 */
    size_t n_worse;     /* layers whose loss rose */
    double seconds, peak_rss_bytes; /* median of a layer; most of all layers */
};
struct ucb_report_layers {
    const struct ucb_report_chain *chains;
    size_t n_chains; /* those that tune nothing are left out */
};
/* Everything in *out lives in job->arena. CORRUPT, NOMEM. */
ucb_status ucb_report_layers_load(struct ucb_report_job *job,
                                  const struct ucb_report_data *data,
                                  struct ucb_report_layers *out, struct ucb_err *err);
/* A sentence for each chain: "...: layer loss fell by 41% in the median, 0 of 30 layers
 * worse"; nothing where there is no chain. */
void ucb_report_layers_print(const struct ucb_report_layers *layers, struct ucb_text *out);
/* The same of one chain, without its name and without a line feed. */
void ucb_report_chain_print(const struct ucb_report_chain *chain, struct ucb_text *out);
/* layers.csv in the job's folder: a row for each layer; no file where there is no chain. */
ucb_status ucb_report_layers_csv(struct ucb_report_job *job,
                                 const struct ucb_report_layers *layers,
                                 struct ucb_err *err);

#endif
