/*
 * info.h - what `ucbench info` says, as JSON and as text made from that JSON.
 *
 * Keys are stable: they may be added to, never renamed. docs/info.md explains them.
 */
#ifndef UCB_INFO_H
#define UCB_INFO_H

#include <jansson.h>

#include "model/model.h"
#include "model/survey.h"

/*
 * Everything that needs no weights: architecture, parameters by what they are for, dtypes,
 * sizes, what the catalogue knows of `name` (NULL: nothing is known). `sha256` and
 * `weights` are null; the caller sets them. NULL without memory. The caller releases.
 */
struct ucb_catalog_model;
json_t *ucb_info_facts(const struct ucb_model *model,
                       const struct ucb_catalog_model *known);
/* The value of `weights`: entropies, the detector's verdict, every tensor. */
json_t *ucb_info_weights(const struct ucb_survey *survey);

/* To stdout, for people: the facts; the weights, with a line for each tensor on request. */
void ucb_info_print_facts(json_t *facts);
void ucb_info_print_weights(json_t *weights, bool each_tensor);

#endif
