/*
 * scope.h - which matrices --scope lets a method touch: the layers', the head too, or all.
 */
#ifndef UCB_EVAL_SCOPE_H
#define UCB_EVAL_SCOPE_H

#include <stdbool.h>

#include "core/err.h"
#include "model/model.h"

enum ucb_scope { UCB_SCOPE_BODY, UCB_SCOPE_LINEAR, UCB_SCOPE_ALL, UCB_N_SCOPES };
const char *ucb_scope_name(enum ucb_scope scope);
ucb_status ucb_scope_find(const char *name, enum ucb_scope *out, struct ucb_err *err);
/* Whether a method touches a matrix. A tied head belongs to the embedding: it is in scope
 * with `linear` as the head. */
bool ucb_scope_holds(enum ucb_scope scope, enum ucb_role role);

#endif
