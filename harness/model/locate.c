/*
 * locate.c - where the files of a named model are, and whether they are the right ones; see
 * catalog.h.
 *
 *     CACHE/models/NAME/         a model of the catalogue
 *     CACHE/models/ORG/MODEL/    any other repository
 *         SHA256SUMS             what scripts/fetch.sh got, as `sha256sum` prints it
 *         FILE.checked           a stamp: size and time of change, then the digest found
 *
 * A digest that is known is checked once per file: the stamp saves the second look.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/text.h"
#include "model/catalog.h"
#include "model/smooth.h"

static const char record_name[] = "SHA256SUMS", config_name[] = "config.json",
                  weights_name[] = "model.safetensors",
                  index_name[] = "model.safetensors.index.json";

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

static ucb_status join(char *out, size_t size, const char *folder, const char *name,
                       struct ucb_err *err)
{
    int n = snprintf(out, size, "%s/%s", folder, name);
    if (n < 0 || (size_t)n >= size)
        return UCB_FAIL(err, UCB_USAGE, "%s/%s: too long a path", folder, name);
    return UCB_OK;
}

static bool is_there(const char *folder, const char *name)
{
    char path[4200];
    return join(path, sizeof(path), folder, name, NULL) == UCB_OK &&
           access(path, R_OK) == 0;
}

/* ---- digests ---- */

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
    char stamp_path[4300], expected[160], found[UCB_SHA256_HEX];
    struct stat info;
    if (stat(path, &info) != 0)
        return UCB_FAIL(err, UCB_MISSING,
                        "%s: no such file; run `scripts/fetch.sh model %s` again", path,
                        name);
    snprintf(stamp_path, sizeof(stamp_path), "%s.checked", path);
    stamp_text(&info, sha256, expected, sizeof(expected));
    if (stamp_matches(stamp_path, expected)) return UCB_OK;
    UCB_TRY(ucb_sha256_file(path, found, err));
    if (strcmp(found, sha256) != 0)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s: SHA-256 is %s, expected %s for %s; delete it and run `scripts/fetch.sh model %s`",
            path, found, sha256, name, name);
    ucb_file_write(stamp_path, expected, strlen(expected),
                   NULL); /* a read-only cache only costs time */
    return UCB_OK;
}

/* One line of SHA256SUMS: "<64 hexadecimal digits>  <file>", or a comment. */
static ucb_status check_record_line(const char *folder, const char *line, size_t n,
                                    const char *name, struct ucb_err *err)
{
    enum { DIGITS = UCB_SHA256_HEX - 1 };
    char digest[UCB_SHA256_HEX], file[256], path[4200];
    if (n == 0 || line[0] == '#') return UCB_OK;
    if (n < DIGITS + 3 || n - DIGITS - 2 >= sizeof(file) || line[DIGITS + 2] == '.' ||
        memchr(line, '/', n) != NULL || memcmp(line + DIGITS, "  ", 2) != 0)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s/%s: `%.*s` is no `<SHA-256>  <file>`; delete the folder and run "
            "`scripts/fetch.sh model %s`",
            folder, record_name, n < 100 ? (int)n : 100, line, name);
    snprintf(digest, sizeof(digest), "%.*s", DIGITS, line);
    snprintf(file, sizeof(file), "%.*s", (int)(n - DIGITS - 2), line + DIGITS + 2);
    UCB_TRY(join(path, sizeof(path), folder, file, err));
    return check_digest(path, digest, name, err);
}

/* What was fetched is still what was fetched; files put there by hand have no record. */
static ucb_status check_record(const char *folder, const char *name, struct ucb_err *err)
{
    char path[4200];
    struct ucb_file record;
    UCB_TRY(join(path, sizeof(path), folder, record_name, err));
    if (access(path, F_OK) != 0) return UCB_OK;
    UCB_TRY(ucb_file_map(path, &record, err));
    ucb_status status = UCB_OK;
    const char *at = (const char *)record.data, *end = at + record.n_bytes;
    while (status == UCB_OK && at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL) stop = end;
        status = check_record_line(folder, at, (size_t)(stop - at), name, err);
        at = stop + 1;
    }
    ucb_file_unmap(&record);
    return status;
}

/* ---- models of the catalogue ---- */

static bool is_complete(const char *folder)
{
    return is_there(folder, config_name) &&
           (is_there(folder, weights_name) || is_there(folder, index_name));
}

bool ucb_catalog_in_cache(const struct ucb_catalog_model *model, const char *cache_folder)
{
    char folder[4096];
    int n = snprintf(folder, sizeof(folder), "%s/models/%s", cache_folder, model->name);
    if (n < 0 || (size_t)n >= sizeof(folder)) return false;
    return model->repository[0] != '\0' ? is_complete(folder)
                                        : is_there(folder, model->files[0].path);
}

/* " --cache 'DIR'" where the cache was named on the command line. */
static const char *cache_option(const char *cache, char *out, size_t size)
{
    out[0] = '\0';
    if (cache != NULL) snprintf(out, size, " --cache '%s'", cache);
    return out;
}

static ucb_status not_in_cache(const struct ucb_catalog_model *m, const char *folder,
                               const char *cache, struct ucb_err *err)
{
    char option[300];
    const char *missing = is_there(folder, config_name) ? "the weights are"
                                                        : "config.json is";
    cache_option(cache, option, sizeof(option));
    return UCB_FAIL(
        err, UCB_MISSING,
        "model %s is not in the cache (%s missing); run `scripts/fetch.sh model %s%s`%s, or put these files of "
        "https://huggingface.co/%s into %s: config.json, tokenizer.json, tokenizer_config.json, and model.safetensors or "
        "model.safetensors.index.json with every shard it names",
        m->name, missing, m->name, option,
        strcmp(m->gated, "yes") == 0 ? " (gated: HF_TOKEN must hold an access token)" : "",
        m->repository, folder);
}

static ucb_status locate_repository(const struct ucb_catalog_model *m, const char *cache,
                                    char *path, struct ucb_err *err)
{
    if (!is_complete(path)) return not_in_cache(m, path, cache, err);
    for (size_t i = 0; i < m->n_files; i++) {
        char file[4200];
        if (m->files[i].sha256[0] == '\0') continue;
        UCB_TRY(join(file, sizeof(file), path, m->files[i].path, err));
        UCB_TRY(check_digest(file, m->files[i].sha256, m->name, err));
    }
    return check_record(path, m->name, err);
}

/* `path` is the model's folder; becomes the file. */
static ucb_status locate_file(const struct ucb_catalog_model *m, const char *cache,
                              char *path, size_t size, struct ucb_err *err)
{
    char folder[4096], option[300];
    snprintf(folder, sizeof(folder), "%s", path);
    UCB_TRY(join(path, size, folder, m->files[0].path, err));
    if (access(path, R_OK) != 0)
        return UCB_FAIL(
            err, UCB_MISSING,
            "model %s is not in the cache; run `scripts/fetch.sh model %s%s`, or put its file %s (%llu bytes, SHA-256 "
            "%s; %s the Python package %s %s) at %s",
            m->name, m->name, cache_option(cache, option, sizeof(option)), m->files[0].path,
            (unsigned long long)m->files[0].bytes, m->files[0].sha256,
            m->package_parts > 0 ? "it is what the parts hold, joined, of"
                                 : "it is inside the wheel of",
            m->package, m->package_version, path);
    return check_digest(path, m->files[0].sha256, m->name, err);
}

static ucb_status locate_named(const struct ucb_catalog_model *m, const char *cache,
                               char *path, size_t size, struct ucb_err *err);

static ucb_status locate_built(const struct ucb_catalog_model *m, const char *cache,
                               const char *path, struct ucb_err *err)
{
    char weights[4200];
    UCB_TRY(join(weights, sizeof(weights), path, m->files[0].path, err));
    if (access(weights, R_OK) != 0) {
        char source[4096];
        const struct ucb_catalog_model *from = ucb_catalog_find(m->built_from);
        if (from == NULL)
            return UCB_FAIL(err, UCB_CORRUPT, "%s: built from `%s`, which has no entry",
                            m->name, m->built_from);
        UCB_TRY(locate_named(from, cache, source, sizeof(source), err));
        UCB_TRY(ucb_folder_make(path, err));
        fprintf(stderr, "building %s into %s (once)\n", m->name, path);
        UCB_TRY(ucb_smooth_build(source, path, NULL, err));
    }
    return check_digest(weights, m->files[0].sha256, m->name, err);
}

static ucb_status locate_named(const struct ucb_catalog_model *m, const char *cache,
                               char *path, size_t size, struct ucb_err *err)
{
    char folder[3900];
    UCB_TRY(ucb_cache_folder(cache, folder, sizeof(folder), err));
    int n = snprintf(path, size, "%s/models/%s", folder, m->name);
    if (n < 0 || (size_t)n >= size)
        return UCB_FAIL(err, UCB_USAGE, "the cache folder's name is too long");
    if (m->repository[0] != '\0') return locate_repository(m, cache, path, err);
    if (m->built_from[0] != '\0') return locate_built(m, cache, path, err);
    return locate_file(m, cache, path, size, err);
}

/* ---- names and paths ---- */

/* A slash or the ending of a model's file makes it a path. */
static bool is_path(const char *name)
{
    static const char *const endings[] = {".gguf", ".safetensors", ".json"};
    if (strchr(name, '/') != NULL) return true;
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        size_t n = strlen(name), n_ending = strlen(endings[i]);
        if (n > n_ending && strcmp(name + n - n_ending, endings[i]) == 0) return true;
    }
    return false;
}

/* "org/model", as a hub names its repositories. */
static bool is_repository(const char *name)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t org = strspn(name, letters);
    if (org == 0 || name[org] != '/' || name[0] == '.') return false;
    const char *model = name + org + 1;
    return model[0] != '\0' && model[0] != '.' && model[strspn(model, letters)] == '\0';
}

static ucb_status no_such_model(const char *name_or_path, struct ucb_err *err)
{
    const struct ucb_catalog_model *all;
    const char *names[128];
    size_t n = 0, n_names = 0;
    char near[256];
    if (is_repository(name_or_path) && !is_path(strchr(name_or_path, '/') + 1))
        return UCB_FAIL(
            err, UCB_MISSING,
            "%s: no such file or folder, nor a repository in the cache; if it is one, run `scripts/fetch.sh model %s`",
            name_or_path, name_or_path);
    if (is_path(name_or_path))
        return UCB_FAIL(err, UCB_MISSING, "%s: no such file or folder", name_or_path);
    UCB_TRY(ucb_catalog(&all, &n, err));
    for (size_t i = 0; i < n && n_names < sizeof(names) / sizeof(names[0]); i++)
        names[n_names++] = all[i].name;
    ucb_text_near(name_or_path, names, n_names, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE,
                    "`%s` is neither a known model (`ucbench list models`) nor a file; %s",
                    name_or_path, near);
}

ucb_status ucb_model_known(const char *name_or_path, struct ucb_err *err)
{
    if (is_path(name_or_path) || ucb_catalog_find(name_or_path) != NULL ||
        access(name_or_path, F_OK) == 0)
        return UCB_OK;
    return no_such_model(name_or_path, err);
}

/* A repository that has no entry, where its files were fetched all the same. */
static ucb_status locate_other(const char *name, const char *cache, char *path, size_t size,
                               struct ucb_err *err)
{
    char folder[3900];
    if (!is_repository(name)) return no_such_model(name, err);
    UCB_TRY(ucb_cache_folder(cache, folder, sizeof(folder), err));
    int n = snprintf(path, size, "%s/models/%s", folder, name);
    if (n < 0 || (size_t)n >= size)
        return UCB_FAIL(err, UCB_USAGE, "the cache folder's name is too long");
    return is_complete(path) ? check_record(path, name, err) : no_such_model(name, err);
}

ucb_status ucb_model_locate(const char *name_or_path, const char *cache, char *path,
                            size_t size, struct ucb_err *err)
{
    const struct ucb_catalog_model *all, *m;
    size_t n_all;
    UCB_TRY(ucb_catalog(&all, &n_all, err));
    m = ucb_catalog_find(name_or_path);
    if (m != NULL && strchr(name_or_path, '/') == NULL)
        return locate_named(m, cache, path, size, err);
    if (access(name_or_path, F_OK) == 0) {
        int n = snprintf(path, size, "%s", name_or_path);
        return n < 0 || (size_t)n >= size
                   ? UCB_FAIL(err, UCB_USAGE, "%s: too long a path", name_or_path)
                   : UCB_OK;
    }
    return m != NULL ? locate_named(m, cache, path, size, err)
                     : locate_other(name_or_path, cache, path, size, err);
}
