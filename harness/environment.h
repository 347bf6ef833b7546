/*
 * environment.h - what a run ran on: for the record and for `ucbench doctor`; never part of
 * a result's identity.
 */
#ifndef UCB_ENVIRONMENT_H
#define UCB_ENVIRONMENT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

/* CPU, cores, memory, system, kernel paths, library versions. A new reference; NULL when
 * memory ran out. */
json_t *ucb_environment(void);
/*
 * The same, with what the caller added, as the compact text that a run's row holds;
 * releases `environment`, which may be NULL. The text is the caller's, by free(). NOMEM,
 * with nothing in *out, where any of it was lost: half an environment would look like a
 * whole one.
 */
ucb_status ucb_environment_text(json_t *environment, char **out, struct ucb_err *err);
/* The CPU's name as the system gives it, or "unknown". */
void ucb_cpu_name(char *out, size_t size);
/* Bytes of memory in the machine. */
uint64_t ucb_ram_bytes(void);

#endif
