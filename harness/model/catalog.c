/* catalog.c - see catalog.h: the entries. Where their files are is locate.c's part. */
#include "model/catalog.h"

#include <pthread.h>
#include <string.h>

#include "core/ini.h"
#include "core/resource.h"
#include "model/checkpoint.h"
#include "model/model.h"
#include "model/model_internal.h"

enum { MAX_MODELS = 96, MAX_PARTS = 99 };

/* clang-format off */
static const struct ucb_ini_key model_keys[] = {
    UCB_INI_TEXT(ucb_catalog_model, name, true),
    UCB_INI_TEXT(ucb_catalog_model, summary, true),
    UCB_INI_TEXT(ucb_catalog_model, repository, false),
    UCB_INI_TEXT(ucb_catalog_model, revision, false),
    UCB_INI_TEXT(ucb_catalog_model, package, false),
    UCB_INI_TEXT(ucb_catalog_model, package_version, false),
    UCB_INI_TEXT(ucb_catalog_model, built_from, false),
    UCB_INI_TEXT(ucb_catalog_model, model_type, true),
    UCB_INI_TEXT(ucb_catalog_model, licence, false),
    UCB_INI_TEXT(ucb_catalog_model, gated, false),
    UCB_INI_TEXT(ucb_catalog_model, caveat, false),
    UCB_INI_NUMBER(ucb_catalog_model, package_parts),
    UCB_INI_NUMBER(ucb_catalog_model, parameters),
};
static const struct ucb_ini_key file_keys[] = {
    UCB_INI_TEXT(ucb_catalog_file, path, true),
    UCB_INI_TEXT(ucb_catalog_file, sha256, false),
    UCB_INI_NUMBER(ucb_catalog_file, bytes),
};
/* clang-format on */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
static const struct ucb_ini_section sections[] = {
    {"model", model_keys, COUNT(model_keys)},
    {"file", file_keys, COUNT(file_keys)},
};

static ucb_status open_section(void *context, const struct ucb_ini_section *section,
                               void **target, struct ucb_err *err)
{
    struct ucb_catalog_model *m = context;
    if (section == &sections[0]) {
        *target = m;
        return UCB_OK;
    }
    if (m->n_files == UCB_CATALOG_FILES)
        return UCB_FAIL(err, UCB_CORRUPT, "more than %d [file] sections",
                        UCB_CATALOG_FILES);
    *target = &m->files[m->n_files++];
    return UCB_OK;
}

static ucb_status check_file(const struct ucb_catalog_file *f, struct ucb_err *err)
{
    UCB_TRY(ucb_ini_require(&sections[1], f, err));
    if (f->path[0] == '.' || strchr(f->path, '/') != NULL)
        return UCB_FAIL(err, UCB_CORRUPT, "path = %s, expected the name of a file",
                        f->path);
    if (f->sha256[0] != '\0' && strspn(f->sha256, "0123456789abcdef") != UCB_SHA256_HEX - 1)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "sha256 = %s, expected 64 lower-case hexadecimal digits",
                        f->sha256);
    return UCB_OK;
}

static ucb_status check_model(const struct ucb_catalog_model *m, struct ucb_err *err)
{
    UCB_TRY(ucb_ini_require(&sections[0], m, err));
    int n_origins = (m->repository[0] != '\0') + (m->package[0] != '\0') +
                    (m->built_from[0] != '\0');
    if (n_origins != 1)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%d of repository, package and built_from are given, expected exactly one",
            n_origins);
    if (m->repository[0] == '\0' && (m->n_files != 1 || m->files[0].sha256[0] == '\0'))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "a model without a repository is one [file] with its sha256");
    if (m->package_parts != 0 && (m->package[0] == '\0' || m->package_parts > MAX_PARTS))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "package_parts = %llu, expected 1 to %d parts of a package",
                        (unsigned long long)m->package_parts, MAX_PARTS);
    if (m->gated[0] != '\0' && strcmp(m->gated, "yes") != 0 && strcmp(m->gated, "no") != 0)
        return UCB_FAIL(err, UCB_CORRUPT, "gated = %s, expected yes or no", m->gated);
    for (size_t i = 0; i < m->n_files; i++) UCB_TRY(check_file(&m->files[i], err));
    return UCB_OK;
}

ucb_status ucb_catalog_parse(const char *name, const char *text, size_t n_bytes,
                             struct ucb_catalog_model *out, struct ucb_err *err)
{
    struct ucb_catalog_model m = {.n_files = 0};
    ucb_status status = ucb_ini_read(text, n_bytes, sections, COUNT(sections), open_section,
                                     &m, err);
    if (status == UCB_OK) status = check_model(&m, err);
    if (status == UCB_OK)
        *out = m;
    else
        ucb_err_prefix(err, "%s", name);
    return status;
}

/* ---- the entries inside the program ---- */

static struct ucb_catalog_model models[MAX_MODELS];
static size_t n_models;
static struct ucb_err parse_err; /* status UCB_OK: all of them are good */
static pthread_once_t parse_once = PTHREAD_ONCE_INIT;

static void parse_resources(void)
{
    for (const struct ucb_resource *r = ucb_resources();
         r->name != NULL && parse_err.status == UCB_OK; r++) {
        if (strncmp(r->name, "models/", strlen("models/")) != 0) continue;
        if (n_models == MAX_MODELS) {
            UCB_FAIL(&parse_err, UCB_CORRUPT, "%s: more than %d models", r->name,
                     MAX_MODELS);
            return;
        }
        if (ucb_catalog_parse(r->name, r->data, r->n_bytes, &models[n_models],
                              &parse_err) == UCB_OK)
            n_models++;
    }
}

ucb_status ucb_catalog(const struct ucb_catalog_model **out, size_t *n, struct ucb_err *err)
{
    pthread_once(&parse_once, parse_resources);
    if (parse_err.status != UCB_OK)
        return UCB_FAIL(err, parse_err.status, "%s", parse_err.text);
    *out = models;
    *n = n_models;
    return UCB_OK;
}

const struct ucb_catalog_model *ucb_catalog_find(const char *name)
{
    const struct ucb_catalog_model *all;
    size_t n = 0;
    if (ucb_catalog(&all, &n, NULL) != UCB_OK) return NULL;
    for (size_t i = 0; i < n; i++)
        if (strcmp(all[i].name, name) == 0 ||
            (name[0] != '\0' && strcmp(all[i].repository, name) == 0))
            return &all[i];
    return NULL;
}

bool ucb_catalog_runs(const struct ucb_catalog_model *model)
{
    return ucb_family_find(model->model_type) != NULL;
}

const struct ucb_catalog_model *ucb_catalog_recognize(const char *name_or_path,
                                                      const struct ucb_model *model)
{
    const struct ucb_checkpoint *c = ucb_model_checkpoint(model);
    const struct ucb_catalog_model *named = ucb_catalog_find(name_or_path), *all;
    char digest[UCB_SHA256_HEX];
    size_t n = 0;
    if (named != NULL || ucb_checkpoint_n_files(c) != 1) return named;
    if (ucb_catalog(&all, &n, NULL) != UCB_OK) return NULL;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < all[i].n_files; k++)
            if (all[i].files[k].bytes == ucb_checkpoint_file_bytes(c, 0) &&
                ucb_sha256_file(ucb_checkpoint_file(c, 0), digest, NULL) == UCB_OK &&
                strcmp(digest, all[i].files[k].sha256) == 0)
                return &all[i];
    return NULL;
}
