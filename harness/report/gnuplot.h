/*
 * gnuplot.h - runs gnuplot on a script, without a shell.
 */
#ifndef UCB_REPORT_GNUPLOT_H
#define UCB_REPORT_GNUPLOT_H

#include "core/err.h"

/*
 * Runs `gnuplot` on FOLDER/SCRIPT with the string variable `kind` set, with default
 * settings, the C locale and UTC, so that the same script and data give the same bytes.
 * Its working folder is one of its own inside FOLDER, which the string variable `folder`
 * leads back to ("../"); the pictures in it, `made` (names, NULL behind the last), get
 * their names in FOLDER once all of them are whole, PDFs with a fixed date in them.
 * Whatever happens before that, files of those names stay as they were; a folder that a
 * killed report left is removed by a later one. ENVIRONMENT: gnuplot is not installed (says
 * how to install it), it failed (with its words), or it left out a picture; IO; CORRUPT: a
 * PDF without a date.
 */
ucb_status ucb_gnuplot_run(const char *folder, const char *script, const char *kind,
                           const char *const *made, struct ucb_err *err);

#endif
