/*
 * environment.h - what a run ran on: for the record and for `ucbench doctor`; never part of
 * a result's identity.
 */
#ifndef UCB_ENVIRONMENT_H
#define UCB_ENVIRONMENT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* CPU, cores, memory, system, kernel paths, library versions. A new reference; NULL when
 * memory ran out. */
json_t *ucb_environment(void);
/* The CPU's name as the system gives it, or "unknown". */
void ucb_cpu_name(char *out, size_t size);
/* Bytes of memory in the machine. */
uint64_t ucb_ram_bytes(void);

#endif
