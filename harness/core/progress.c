/* progress.c - see progress.h. */
#include "core/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/peak.h"

static bool is_quiet;

static uint64_t read_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t ucb_clock_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t ucb_busy_ns(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

void ucb_progress_quiet(bool quiet)
{
    is_quiet = quiet;
}

void ucb_progress_start(struct ucb_progress *p, const char *label, double total)
{
    *p = (struct ucb_progress){.total = total, .start_ns = ucb_clock_ns()};
    p->shown_ns = p->start_ns;
    snprintf(p->label, sizeof(p->label), "%s", label);
}

static void format_seconds(double s, char *out, size_t size)
{
    if (s < 100)
        snprintf(out, size, "%.0f s", s);
    else if (s < 5940)
        snprintf(out, size, "%d min %02d s", (int)(s / 60), (int)s % 60);
    else
        snprintf(out, size, "%d h %02d min", (int)(s / 3600), (int)(s / 60) % 60);
}

void ucb_progress_add(struct ucb_progress *p, double work, const char *note)
{
    p->done += work;
    if (is_quiet) return;
    bool terminal = isatty(STDERR_FILENO);
    uint64_t now = ucb_clock_ns(), wait_ns = terminal ? 200000000u : 10000000000u;
    if (now - p->start_ns < 1000000000u || now - p->shown_ns < wait_ns) return;
    p->shown_ns = now;
    double elapsed = (double)(now - p->start_ns) * 1e-9,
           share = p->total > 0 ? p->done / p->total : 0;
    char eta[32] = "?", spent[32];
    if (share > 0.005) format_seconds(elapsed * (1 - share) / share, eta, sizeof(eta));
    format_seconds(elapsed, spent, sizeof(spent));
    fprintf(stderr, "%s%s: %3.0f%%, %s gone, %s to go, peak %.2f GB%s%s%s",
            terminal ? "\r\033[K" : "", p->label, 100 * (share > 1 ? 1 : share), spent, eta,
            (double)ucb_peak_rss() * 1e-9, note ? " (" : "", note ? note : "",
            note ? ")" : "");
    fputs(terminal ? "" : "\n", stderr);
    fflush(stderr);
    p->drawn = terminal;
}

void ucb_progress_end(struct ucb_progress *p)
{
    if (p->drawn) fputs("\r\033[K", stderr);
    p->drawn = false;
}
