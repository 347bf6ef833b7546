/* build.c - what the build put into the program: resources (scripts/resources.sh) and the
 * build id. */
#include "core/resource.h"

#include <string.h>

#include "build_id.h"

extern const struct ucb_resource ucb_resource_table[];

const struct ucb_resource *ucb_resources(void)
{
    return ucb_resource_table;
}

const struct ucb_resource *ucb_resource_find(const char *name)
{
    for (const struct ucb_resource *r = ucb_resource_table; r->name != NULL; r++)
        if (strcmp(r->name, name) == 0) return r;
    return NULL;
}

const char *ucb_build_id(void)
{
    return UCB_BUILD_ID;
}
