/*
 * dataset.h - the bytes of a data set, after its digest has been checked.
 */
#ifndef UCB_TASK_DATASET_H
#define UCB_TASK_DATASET_H

#include <stddef.h>

#include "core/err.h"
#include "core/file.h"
#include "core/sha256.h"

struct ucb_dataset {
    const char *name; /* of its manifest; lives as long as the program */
    const char *text;
    size_t n_bytes;
    char digest[UCB_SHA256_HEX];
    char file[512]; /* for messages */
    struct ucb_file mapping;
};

/* `data` itself; for NULL the folder that $UCBENCH_DATA names, or "mini" where that is not
 * set. Points into `data` or the environment. */
const char *ucb_data_folder(const char *data);

/*
 * `data`: "mini" opens `mini_file`, a resource inside the program; a folder, `full_file` in
 * it; NULL, what ucb_data_folder answers. The file's digest must be the manifest's (else
 * CORRUPT, both digests named). MISSING says which file to put where. Release with
 * ucb_dataset_close.
 */
ucb_status ucb_dataset_open(const char *full_file, const char *mini_file, const char *data,
                            struct ucb_dataset *out, struct ucb_err *err);
void ucb_dataset_close(struct ucb_dataset *dataset);

#endif
