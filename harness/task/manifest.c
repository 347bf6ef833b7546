/* manifest.c - see manifest.h. */
#include "task/manifest.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/ini.h"
#include "core/resource.h"
#include "task/span.h"

enum { MAX_MANIFESTS = 32 };

/* clang-format off */
static const struct ucb_ini_key dataset_keys[] = {
    UCB_INI_TEXT(ucb_manifest, name, true),
    UCB_INI_TEXT(ucb_manifest, kind, true),
    UCB_INI_TEXT(ucb_manifest, split, true),
    UCB_INI_TEXT(ucb_manifest, licence, true),
    UCB_INI_TEXT(ucb_manifest, origin, false),
    UCB_INI_TEXT(ucb_manifest, description, false),
    UCB_INI_NUMBER(ucb_manifest, revision),
};
static const struct ucb_ini_key file_keys[] = {
    UCB_INI_TEXT(ucb_manifest_file, path, true),
    UCB_INI_TEXT(ucb_manifest_file, sha256, true),
    UCB_INI_TEXT(ucb_manifest_file, url, false),
    UCB_INI_TEXT(ucb_manifest_file, mirror, false),
    UCB_INI_TEXT(ucb_manifest_file, member, false),
    UCB_INI_NUMBER(ucb_manifest_file, bytes),
    UCB_INI_NUMBER(ucb_manifest_file, documents),
};
/* clang-format on */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
static const struct ucb_ini_section sections[] = {
    {"dataset", dataset_keys, COUNT(dataset_keys)},
    {"file", file_keys, COUNT(file_keys)},
};

static ucb_status open_section(void *context, const struct ucb_ini_section *section,
                               void **target, struct ucb_err *err)
{
    struct ucb_manifest *m = context;
    if (section == &sections[0]) {
        *target = m;
        return UCB_OK;
    }
    if (m->n_files == UCB_MANIFEST_FILES)
        return UCB_FAIL(err, UCB_CORRUPT, "more than %d [file] sections",
                        UCB_MANIFEST_FILES);
    *target = &m->files[m->n_files++];
    return UCB_OK;
}

static ucb_status check_complete(const struct ucb_manifest *m, struct ucb_err *err)
{
    UCB_TRY(ucb_ini_require(&sections[0], m, err));
    if (m->n_files == 0) return UCB_FAIL(err, UCB_CORRUPT, "no [file] section");
    for (size_t i = 0; i < m->n_files; i++) {
        UCB_TRY(ucb_ini_require(&sections[1], &m->files[i], err));
        const char *digest = m->files[i].sha256;
        if (strspn(digest, "0123456789abcdef") != UCB_SHA256_HEX - 1)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "sha256 = %s, expected 64 lower-case hexadecimal digits",
                            digest);
    }
    return UCB_OK;
}

ucb_status ucb_manifest_parse(const char *folder, const char *name, const char *text,
                              size_t n_bytes, struct ucb_manifest *out, struct ucb_err *err)
{
    struct ucb_manifest m = {0};
    snprintf(m.folder, sizeof(m.folder), "%s", folder);
    ucb_status status = ucb_ini_read(text, n_bytes, sections, COUNT(sections), open_section,
                                     &m, err);
    if (status == UCB_OK) status = check_complete(&m, err);
    if (status == UCB_OK)
        *out = m;
    else
        ucb_err_prefix(err, "%s", name);
    return status;
}

/* ---- the manifests inside the program ---- */

static struct ucb_manifest manifests[MAX_MANIFESTS];
static size_t n_manifests;
static struct ucb_err parse_err; /* status UCB_OK: all of them are good */
static pthread_once_t parse_once = PTHREAD_ONCE_INIT;

static void parse_resources(void)
{
    for (const struct ucb_resource *r = ucb_resources();
         r->name != NULL && parse_err.status == UCB_OK; r++) {
        struct ucb_span name = {r->name, strlen(r->name)};
        char folder[64];
        if (!ucb_span_begins(name, "datasets/") || !ucb_span_ends(name, "/manifest.ini"))
            continue;
        if (n_manifests == MAX_MANIFESTS) {
            UCB_FAIL(&parse_err, UCB_CORRUPT, "%s: more than %d manifests", r->name,
                     MAX_MANIFESTS);
            return;
        }
        snprintf(folder, sizeof(folder), "%.*s", (int)(name.n - strlen("/manifest.ini")),
                 r->name);
        if (ucb_manifest_parse(folder, r->name, r->data, r->n_bytes,
                               &manifests[n_manifests], &parse_err) == UCB_OK)
            n_manifests++;
    }
}

ucb_status ucb_manifests(const struct ucb_manifest **out, size_t *n, struct ucb_err *err)
{
    pthread_once(&parse_once, parse_resources);
    if (parse_err.status != UCB_OK)
        return UCB_FAIL(err, parse_err.status, "%s", parse_err.text);
    *out = manifests;
    *n = n_manifests;
    return UCB_OK;
}

static bool is_file_of(const struct ucb_manifest *m, const struct ucb_manifest_file *f,
                       const char *path)
{
    struct ucb_span rest = {path, strlen(path)};
    if (ucb_span_is(rest, f->path)) return true;
    size_t n = strlen(m->folder);
    return ucb_span_begins(rest, m->folder) && path[n] == '/' &&
           strcmp(path + n + 1, f->path) == 0;
}

ucb_status ucb_manifest_find(const char *path, const struct ucb_manifest **out,
                             const struct ucb_manifest_file **file, struct ucb_err *err)
{
    const struct ucb_manifest *all;
    size_t n = 0;
    UCB_TRY(ucb_manifests(&all, &n, err));
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < all[i].n_files; k++) {
            if (!is_file_of(&all[i], &all[i].files[k], path)) continue;
            *out = &all[i];
            *file = &all[i].files[k];
            return UCB_OK;
        }
    return UCB_FAIL(err, UCB_MISSING,
                    "%s: no manifest under datasets/ of this program names this file",
                    path);
}
