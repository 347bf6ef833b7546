/*
 * energy.h - what the processor has used, where the system lets this program read it (RAPL
 * through Linux's powercap: one counter of microjoules for each package).
 *
 * A counter covers everything that runs on its package, not this program alone, and steps
 * about every millisecond.
 */
#ifndef UCB_CORE_ENERGY_H
#define UCB_CORE_ENERGY_H

#include <stdbool.h>
#include <stdint.h>

enum { UCB_ENERGY_PACKAGES = 16 };
struct ucb_energy {
    unsigned n_packages;
    char path[UCB_ENERGY_PACKAGES][256];
    uint64_t last[UCB_ENERGY_PACKAGES], range[UCB_ENERGY_PACKAGES]; /* microjoules */
    double joules;                                                  /* counted so far */
};
/* Looks for counters below `root` (NULL: /sys/class/powercap). False: there is none that
 * may be read. */
bool ucb_energy_open(const char *root, struct ucb_energy *out);
/* Joules of all packages since ucb_energy_open; to be asked more often than a counter runs
 * over (minutes). NaN once a counter cannot be read any more. */
double ucb_energy_joules(struct ucb_energy *energy);

#endif
