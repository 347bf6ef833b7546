/*
 * scope.c - which matrices --scope lets a method touch.
 */
#include "eval/scope.h"

#include <string.h>

#include "core/text.h"

static const char *const scope_names[UCB_N_SCOPES] = {"body", "linear", "all"};

const char *ucb_scope_name(enum ucb_scope scope)
{
    return scope_names[scope];
}

ucb_status ucb_scope_find(const char *name, enum ucb_scope *out, struct ucb_err *err)
{
    char near[128];
    for (unsigned i = 0; i < UCB_N_SCOPES; i++)
        if (strcmp(name, scope_names[i]) == 0) {
            *out = (enum ucb_scope)i;
            return UCB_OK;
        }
    ucb_text_near(name, scope_names, UCB_N_SCOPES, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "--scope %s: %s", name, near);
}

bool ucb_scope_holds(enum ucb_scope scope, enum ucb_role role)
{
    if (role < UCB_N_LAYER_ROLES) return true;
    return role == UCB_ROLE_HEAD ? scope != UCB_SCOPE_BODY : scope == UCB_SCOPE_ALL;
}
