/*
 * manifest.h - datasets/<folder>/manifest.ini: what a data set is, where it comes from, and
 * the digest of each file.
 *
 *     [dataset]    once: name, kind (lambada, wikitext), revision, split, licence, origin,
 *                  description
 *     [file]       for each file: path, bytes, sha256, documents, and where to fetch it:
 *                  url, mirror, member (its name inside the zip archive behind both URLs)
 *
 * A line is empty, a comment (; or #), a section or `key = value`. `name`, `kind`,
 * `licence`, `split`, `path` and `sha256` must be there. What a file can be fetched from is
 * read by scripts/fetch.sh; the program never opens a connection.
 */
#ifndef UCB_TASK_MANIFEST_H
#define UCB_TASK_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/sha256.h"

enum { UCB_MANIFEST_FILES = 4 };

struct ucb_manifest_file {
    char path[128]; /* mini sets: beside the manifest; full sets: in the folder of --data */
    char sha256[UCB_SHA256_HEX];
    char url[256], mirror[256], member[128]; /* "" where there is none */
    uint64_t bytes, documents;               /* 0: not said */
};
struct ucb_manifest {
    char folder[64]; /* "datasets/wiki_mini" */
    char name[64], kind[32], split[32], licence[128], origin[256], description[256];
    uint64_t revision;
    struct ucb_manifest_file files[UCB_MANIFEST_FILES];
    size_t n_files;
};

/* `folder` is copied, `name` stands in errors. CORRUPT names the line. */
ucb_status ucb_manifest_parse(const char *folder, const char *name, const char *text,
                              size_t n_bytes, struct ucb_manifest *out,
                              struct ucb_err *err);

/* Those inside the program, in folder order; they live as long as it does. Any thread. */
ucb_status ucb_manifests(const struct ucb_manifest **out, size_t *n, struct ucb_err *err);
/*
 * The manifest inside the program, and its file, that `path` means: "lambada_test.jsonl"
 * or, with the folder, "datasets/wiki_mini/wiki_mini.txt". MISSING: no manifest names it.
 */
ucb_status ucb_manifest_find(const char *path, const struct ucb_manifest **out,
                             const struct ucb_manifest_file **file, struct ucb_err *err);

#endif
