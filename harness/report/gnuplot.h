/*
 * gnuplot.h - runs gnuplot on a script, without a shell.
 */
#ifndef UCB_REPORT_GNUPLOT_H
#define UCB_REPORT_GNUPLOT_H

#include "core/err.h"

/*
 * Runs `gnuplot` on FOLDER/SCRIPT with FOLDER as its working folder and the string variable
 * `kind` set, with default settings, the C locale and UTC, so that the same script and data
 * give the same bytes. ENVIRONMENT: gnuplot is not installed (says how to install it), or
 * it failed (with its words).
 */
ucb_status ucb_gnuplot_run(const char *folder, const char *script, const char *kind,
                           struct ucb_err *err);

/* Sets the time in a PDF's /CreationDate to a fixed one of equal length. MISSING, IO;
 * CORRUPT: no such date in it. */
ucb_status ucb_pdf_fix_date(const char *path, struct ucb_err *err);

#endif
