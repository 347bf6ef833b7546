/*
 * catalog.h - models that have names: models/NAME.ini says where a model's files come from
 * and what is to be said about it; the files themselves lie in the cache.
 *
 *     [model]   once: the text fields and `parameters` of struct ucb_catalog_model
 *     [file]    for each file of which something is known beforehand: path, sha256, bytes
 *
 * scripts/fetch.sh reads the same files; the program never opens a connection. Every
 * function may be called from any thread.
 */
#ifndef UCB_MODEL_CATALOG_H
#define UCB_MODEL_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/sha256.h"

enum { UCB_CATALOG_FILES = 4 };

struct ucb_catalog_file {
    char path[128];              /* in CACHE/models/<name>/ */
    char sha256[UCB_SHA256_HEX]; /* "" where it is not known beforehand */
    uint64_t bytes;              /* 0: not known */
};
/* A text that is not known is "". Exactly one of repository, package and built_from is
 * given. */
struct ucb_catalog_model {
    char name[64], summary[128];
    char repository[96], revision[64]; /* of the hub: "Qwen/Qwen3-0.6B"; "": its newest */
    char package[64], package_version[32]; /* a Python package with the one [file] in it */
    uint64_t package_parts; /* not 0: the file is cut over the packages <package>-part1,
                               -part2, ...; their pieces follow each other in it */
    char built_from[64];    /* another model's name: built by this program */
    char model_type[32], licence[64];
    char gated[8];       /* "yes": the hub wants its licence accepted; "no" */
    char caveat[384];    /* to be printed with every result */
    uint64_t parameters; /* the publisher's figure, rounded */
    struct ucb_catalog_file files[UCB_CATALOG_FILES];
    size_t n_files;
};

/* `name` stands in errors. CORRUPT names the line or what is missing. */
ucb_status ucb_catalog_parse(const char *name, const char *text, size_t n_bytes,
                             struct ucb_catalog_model *out, struct ucb_err *err);

/* Those inside the program, in name order; they live as long as it does. */
ucb_status ucb_catalog(const struct ucb_catalog_model **out, size_t *n,
                       struct ucb_err *err);
/* By name, or by repository ("Qwen/Qwen3-0.6B"); NULL where there is none. */
const struct ucb_catalog_model *ucb_catalog_find(const char *name);
/* The engine of this build reads this architecture. */
bool ucb_catalog_runs(const struct ucb_catalog_model *model);

struct ucb_model;
/* The entry that a model is, by its name or, wherever its file lies, by size and digest; or
 * NULL. */
const struct ucb_catalog_model *ucb_catalog_recognize(const char *name_or_path,
                                                      const struct ucb_model *model);

/* The cache folder: `cache` when not NULL, else $UCBENCH_CACHE, $XDG_CACHE_HOME/ucbench or
 * ~/.cache/ucbench. */
ucb_status ucb_cache_folder(const char *cache, char *out, size_t size, struct ucb_err *err);

/* All files of a model are in this cache folder; their contents are not looked at. */
bool ucb_catalog_in_cache(const struct ucb_catalog_model *model, const char *cache_folder);

/* OK when ucb_model_locate could find it by name or path; USAGE otherwise, with near
 * matches. Opens nothing. */
ucb_status ucb_model_known(const char *name_or_path, struct ucb_err *err);

/*
 * The path of a model given as a name of the catalogue, as a path, or as the repository
 * ("org/model") of files in the cache; a path that exists comes before a repository. A path
 * is passed through. A name whose files are not in the cache: `smollm2-135m-smooth` is
 * built from `smollm2-135m`; otherwise MISSING says which files to put where. A file whose
 * digest is neither the catalogue's nor the one recorded when it was fetched is CORRUPT.
 * USAGE: neither a name nor an existing path (with near matches).
 */
ucb_status ucb_model_locate(const char *name_or_path, const char *cache, char *path,
                            size_t size, struct ucb_err *err);

#endif
