/*
 * calib_spec.h - the texts that calibration may see, and where a spec's windows lie in
 * them. Parsing and loading are declared in calib.h.
 */
#ifndef UCB_EVAL_CALIB_SPEC_H
#define UCB_EVAL_CALIB_SPEC_H

#include <stdbool.h>

#include "eval/calib.h"
#include "task/dataset.h"

/* Whether a spec may name this data set (by its manifest's name):
 * no task is scored on it. */
bool ucb_calib_is_text(const char *dataset);
/* Whether a calibration's spec or identity names a text that tasks are scored on. */
bool ucb_calib_is_contaminated(const char *calib);
/*
 * Opens the text of a spec and checks its digest; `data` as in task.h. Release with
 * ucb_dataset_close. MISSING and CORRUPT as ucb_calib_load.
 */
ucb_status ucb_calib_open_text(const struct ucb_calib_spec *spec, const char *data,
                               struct ucb_dataset *out, struct ucb_err *err);

enum { UCB_CALIB_IDENTITY = 144 };
/* What a cell's id holds: the spec, a space, and the first 12 digits of
 * the text's digest. */
void ucb_calib_identity(const struct ucb_calib_spec *spec,
                        const char digest[UCB_SHA256_HEX], char out[UCB_CALIB_IDENTITY]);

/*
 * The windows of a tokenized text: spec->n of them, each ctx consecutive ids from a start
 * drawn uniformly from [0, n_ids - ctx], so windows may overlap or repeat (GPTQ's data
 * loader draws with replacement too). The stream is pcg32 seeded from (seed,
 * "calib/<dataset>"), one draw a window. `bos` takes the place of each window's first id;
 * UINT32_MAX: of none. out->ids and counts are set. USAGE: fewer than ctx ids. NOMEM.
 */
ucb_status ucb_calib_cut(const struct ucb_calib_spec *spec, const uint32_t *ids,
                         size_t n_ids, uint32_t bos, struct ucb_arena *arena,
                         struct ucb_calib_text *out, struct ucb_err *err);

#endif
