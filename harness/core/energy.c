/*
 * energy.c - see energy.h. Packages are the folders intel-rapl:N (AMD's driver has the same
 * name); their parts, intel-rapl:N:M, are in the package's count already.
 */
#include "core/energy.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static bool read_number(const char *path, uint64_t *out)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) return false;
    bool good = fscanf(file, "%" SCNu64, out) == 1;
    fclose(file);
    return good;
}

static void open_package(const char *root, unsigned index, struct ucb_energy *e)
{
    unsigned i = e->n_packages;
    char range[256];
    int n = snprintf(e->path[i], sizeof(e->path[i]), "%s/intel-rapl:%u/energy_uj", root,
                     index);
    snprintf(range, sizeof(range), "%s/intel-rapl:%u/max_energy_range_uj", root, index);
    if (n < 0 || (size_t)n >= sizeof(e->path[i])) return;
    if (!read_number(e->path[i], &e->last[i])) return;
    if (!read_number(range, &e->range[i])) e->range[i] = 0;
    e->n_packages++;
}

bool ucb_energy_open(const char *root, struct ucb_energy *out)
{
    *out = (struct ucb_energy){.n_packages = 0};
    for (unsigned i = 0; i < UCB_ENERGY_PACKAGES; i++)
        open_package(root == NULL ? "/sys/class/powercap" : root, i, out);
    return out->n_packages > 0;
}

double ucb_energy_joules(struct ucb_energy *e)
{
    for (unsigned i = 0; i < e->n_packages; i++) {
        uint64_t now, used;
        if (!read_number(e->path[i], &now)) {
            e->joules = NAN;
            break;
        }
        used = now >= e->last[i] ? now - e->last[i] : now + e->range[i] - e->last[i];
        e->last[i] = now;
        e->joules += 1e-6 * (double)used;
    }
    return e->joules;
}
