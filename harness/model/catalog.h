/*
 * catalog.h - models that have names: where their files are, and what is to be said about
 * them.
 */
#ifndef UCB_MODEL_CATALOG_H
#define UCB_MODEL_CATALOG_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/pool.h"

struct ucb_catalog_model {
    const char *name, *summary, *origin, *licence;
    const char *file; /* under CACHE/models/<name>/; NULL: the folder itself is the model */
    const char *sha256; /* of the file, or of model.safetensors in the folder */
    uint64_t n_bytes;   /* of the same */
    const char *caveat; /* to be printed with every result, or NULL */
};
/* Ended by a NULL name. */
const struct ucb_catalog_model *ucb_catalog(void);
const struct ucb_catalog_model *ucb_catalog_find(const char *name); /* or NULL */

struct ucb_model;
/* The entry that a model is, by its name or, wherever its file lies, by size and digest; or
 * NULL. */
const struct ucb_catalog_model *ucb_catalog_recognize(const char *name_or_path,
                                                      const struct ucb_model *model);

/* The cache folder: `cache` when not NULL, else $UCBENCH_CACHE, $XDG_CACHE_HOME/ucbench or
 * ~/.cache/ucbench. */
ucb_status ucb_cache_folder(const char *cache, char *out, size_t size, struct ucb_err *err);

/* OK when ucb_model_locate could find it by name or path; USAGE otherwise, with near
 * matches. Opens nothing. */
ucb_status ucb_model_known(const char *name_or_path, struct ucb_err *err);

/*
 * The path of a model given as a name of the catalogue or as a path. A path is passed
 * through. A name whose files are not in the cache: `smollm2-135m-smooth` is built from
 * `smollm2-135m`; otherwise MISSING says how to get them. A file whose digest is not the
 * pinned one is CORRUPT. USAGE: neither a name nor an existing path (with near matches).
 */
ucb_status ucb_model_locate(const char *name_or_path, const char *cache, char *path,
                            size_t size, struct ucb_err *err);

#endif
