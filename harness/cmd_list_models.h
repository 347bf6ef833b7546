/* cmd_list_models.h - the part of `ucbench list` that knows models. */
#ifndef UCB_CMD_LIST_MODELS_H
#define UCB_CMD_LIST_MODELS_H

#include <jansson.h>

#include "core/err.h"

/* Appends one object per model of the catalogue. `cache` may be NULL: the usual folder. */
ucb_status ucb_list_models(const char *cache, json_t *list, struct ucb_err *err);
/* The same as a table on stdout. */
void ucb_list_models_print(json_t *list);

#endif
