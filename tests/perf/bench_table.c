/*
 * bench_table.c - the one table at the end of `make bench`: what every row before it
 * measured, its share of the machine's limit, and how many times as fast as each peer it
 * is.
 *
 * Peers inside the program are memcpy, zstd and lz4. Others come as lines of a file that
 * scripts/peers.py and scripts/peers_scoring.py wrote, six fields between tabs:
 *
 *     kernel   arithmetic   rate   unit   peer   ratio
 *
 * joined by kernel and arithmetic; one that names a kernel without a row of its own gets
 * one, with the rate that the peers' run measured.
 */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 512, MAX_FIELDS = 6 };

static struct row {
    char what[64], arithmetic[12], path[8], unit[12], limit[12], peers[160];
    double rate, share;
} rows[MAX_ROWS];
static size_t n_rows;
static char absent[160];

/* "one, two": appends, cut at the end. */
static void append(char *list, size_t capacity, const char *text)
{
    size_t n = strlen(list);
    snprintf(list + n, capacity - n, "%s%s", n == 0 ? "" : ", ", text);
}

static struct row *add(const char *what, const char *arithmetic, double rate,
                       const char *unit)
{
    struct row *row = &rows[n_rows];
    if (n_rows == MAX_ROWS) return NULL;
    n_rows++;
    *row = (struct row){.rate = rate, .share = NAN};
    snprintf(row->what, sizeof(row->what), "%s", what);
    snprintf(row->arithmetic, sizeof(row->arithmetic), "%s", arithmetic);
    snprintf(row->unit, sizeof(row->unit), "%s", unit);
    return row;
}

/* The fastest path of a kernel, which is the one that a program takes. */
static struct row *find(const char *what, const char *arithmetic)
{
    struct row *best = NULL;
    for (size_t i = 0; i < n_rows; i++)
        if (strcmp(rows[i].what, what) == 0 &&
            strcmp(rows[i].arithmetic, arithmetic) == 0 &&
            (best == NULL || rows[i].rate > best->rate))
            best = &rows[i];
    return best;
}

void bench_table_add(const struct bench_result *r)
{
    struct row *row = add(r->what, r->arithmetic, r->rate, r->unit);
    if (row == NULL) return;
    row->share = r->share;
    snprintf(row->path, sizeof(row->path), "%s", r->path);
    snprintf(row->limit, sizeof(row->limit), "%s", r->limit);
}

void bench_table_peer(const char *what, const char *arithmetic, const char *peer,
                      double ratio)
{
    struct row *row = find(what, arithmetic);
    char text[64];
    if (row == NULL) return;
    snprintf(text, sizeof(text), "%s %.2f", peer, ratio);
    append(row->peers, sizeof(row->peers), text);
}

void bench_table_absent(const char *peer)
{
    append(absent, sizeof(absent), peer);
}

static bool take_line(char *line)
{
    char *fields[MAX_FIELDS] = {0}, *rest = line;
    line[strcspn(line, "\n")] = '\0';
    for (int i = 0; i < MAX_FIELDS; i++)
        if ((fields[i] = strsep(&rest, "\t")) == NULL) return false;
    if (find(fields[0], fields[1]) == NULL &&
        add(fields[0], fields[1], strtod(fields[2], NULL), fields[3]) == NULL)
        return false;
    bench_table_peer(fields[0], fields[1], fields[4], strtod(fields[5], NULL));
    return true;
}

ucb_status bench_table_read(const char *path, struct ucb_err *err)
{
    char line[512];
    bool good = true;
    FILE *file = fopen(path, "r");
    if (file == NULL) return UCB_FAIL(err, UCB_MISSING, "%s: cannot be read", path);
    while (good && fgets(line, sizeof(line), file) != NULL) good = take_line(line);
    fclose(file);
    if (!good)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: a line is not kernel, arithmetic, rate, unit, peer and ratio "
                        "between tabs",
                        path);
    return UCB_OK;
}

int bench_decimals(double rate)
{
    return rate < 0.01 ? 6 : rate < 0.1 ? 4 : rate < 10 ? 2 : 1;
}

void bench_table_print(void)
{
    if (n_rows == 0) return;
    printf("\n%-42s %-8s %-7s %9s %-8s %17s  %s\n", "kernel", "", "path", "median", "",
           "share of limit", "times as fast as");
    for (size_t i = 0; i < n_rows; i++) {
        const struct row *row = &rows[i];
        char share[32] = "-";
        if (!isnan(row->share))
            snprintf(share, sizeof(share), "%.1f%% %s", 100 * row->share, row->limit);
        printf("%-42s %-8s %-7s %9.*f %-8s %17s  %s\n", row->what, row->arithmetic,
               row->path, bench_decimals(row->rate), row->rate, row->unit, share,
               row->peers[0] == '\0' ? "-" : row->peers);
    }
    if (absent[0] != '\0') printf("absent peers: %s\n", absent);
}
