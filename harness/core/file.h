/*
 * file.h - whole files: mapped for reading, written so that a reader sees the old one or
 * the new one.
 */
#ifndef UCB_CORE_FILE_H
#define UCB_CORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/err.h"

struct ucb_file {
    const uint8_t *data; /* page aligned; NULL when the file is empty */
    size_t n_bytes;
};

/* Maps a regular file for reading. MISSING (no such file, or a folder), IO. Pages come in
 * as they are touched. */
ucb_status ucb_file_map(const char *path, struct ucb_file *out, struct ucb_err *err);
void ucb_file_unmap(struct ucb_file *file);
/* Tells the system that these bytes of a mapping will not be needed soon. */
void ucb_file_forget(const void *data, size_t n_bytes);
/*
 * The same for bytes [from, from + n_bytes) of a stretch that is read from its start on:
 * also what the system mapped again before `from` when the pages behind it were touched.
 * Memory that follows a stretch read in pieces then stays at a piece.
 */
void ucb_file_forget_behind(const void *stretch, size_t from, size_t n_bytes);

/*
 * Atomic writing: open gives a stream on a temporary file beside `path`
 * ("PATH.ucb-PROCESS-COUNT.tmp"), with the permissions that the umask leaves a new file,
 * and removes those that writers of `path` left who were killed; commit flushes, syncs and
 * renames it, then syncs the folder: what was committed survives a power cut. discard
 * deletes it. Exactly one of the two ends it. IO names the path and the system's reason.
 */
/* A link stays and its target is replaced; a device or a pipe is written as it is
 * (temporary is NULL). */
struct ucb_out_file {
    FILE *stream;
    char *path, *temporary;
};
ucb_status ucb_out_open(const char *path, struct ucb_out_file *out, struct ucb_err *err);
ucb_status ucb_out_commit(struct ucb_out_file *out, struct ucb_err *err);
void ucb_out_discard(struct ucb_out_file *out);
/* The two above around one buffer. */
ucb_status ucb_file_write(const char *path, const void *data, size_t n_bytes,
                          struct ucb_err *err);

/* Both names lead to one existing file: for refusing to write over an input. */
bool ucb_file_same(const char *a, const char *b);

/* Makes a folder and its parents; an existing folder is fine. */
ucb_status ucb_folder_make(const char *path, struct ucb_err *err);

#endif
