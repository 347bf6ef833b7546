/*
 * resource.h - the files of db/, reports/, datasets/ and models/ that are part of the
 * program.
 */
#ifndef UCB_CORE_RESOURCE_H
#define UCB_CORE_RESOURCE_H

#include <stddef.h>

struct ucb_resource {
    const char *name; /* path in the repository: "db/schema.sql"; NULL ends the table */
    const char *data; /* followed by a zero byte */
    size_t n_bytes;
};
/* All of them in name order, ended by a NULL name. */
const struct ucb_resource *ucb_resources(void);
/* The one of that name, or NULL. */
const struct ucb_resource *ucb_resource_find(const char *name);

/*
 * SHA-256, hex, over what the program was built from: names and contents of the sources and
 * resources, the compiler's version and its flags. Not in it: the shared libraries;
 * versions of those that touch a result stand in a run's environment.
 */
const char *ucb_build_id(void);

#endif
