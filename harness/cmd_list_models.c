/*
 * cmd_list_models.c - `ucbench list models`: the catalogue, and what of it is in the cache.
 */
#include "cmd_list_models.h"

#include <stdio.h>
#include <string.h>

#include "core/text.h"
#include "model/catalog.h"

static json_t *text_or_null(const char *text)
{
    return text[0] == '\0' ? json_null() : json_string(text);
}

static json_t *files_json(const struct ucb_catalog_model *m)
{
    json_t *files = json_array();
    for (size_t i = 0; i < m->n_files; i++)
        json_array_append_new(files,
                              json_pack("{s:s, s:o, s:o}", "path", m->files[i].path,
                                        "sha256", text_or_null(m->files[i].sha256), "bytes",
                                        m->files[i].bytes == 0
                                            ? json_null()
                                            : json_integer((json_int_t)m->files[i].bytes)));
    return files;
}

/* Of the weights: known, or what that many parameters take at 16 bits. */
static uint64_t size_bytes(const struct ucb_catalog_model *m)
{
    return m->n_files == 1 && m->files[0].bytes > 0 ? m->files[0].bytes : 2 * m->parameters;
}

static json_t *model_json(const struct ucb_catalog_model *m, const char *cache)
{
    json_t *gated = m->gated[0] == '\0' ? json_null()
                                        : json_boolean(strcmp(m->gated, "yes") == 0);
    json_t *present = cache == NULL ? json_null()
                                    : json_boolean(ucb_catalog_in_cache(m, cache));
    json_t *entry = json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:s, s:b, s:I, s:I, s:o, s:o, s:o}", "name",
        m->name, "summary", m->summary, "repository", text_or_null(m->repository),
        "revision", text_or_null(m->revision), "package", text_or_null(m->package),
        "built_from", text_or_null(m->built_from), "licence", text_or_null(m->licence),
        "model_type", m->model_type, "supported", ucb_catalog_runs(m), "parameters",
        (json_int_t)m->parameters, "size_bytes", (json_int_t)size_bytes(m), "gated", gated,
        "in_cache", present, "files", files_json(m));
    json_object_set_new(entry, "caveat", text_or_null(m->caveat));
    json_object_set_new(entry, "package_parts",
                        m->package_parts == 0 ? json_null()
                                              : json_integer((json_int_t)m->package_parts));
    return entry;
}

ucb_status ucb_list_models(const char *cache, json_t *list, struct ucb_err *err)
{
    const struct ucb_catalog_model *models;
    char folder[4096];
    size_t n;
    UCB_TRY(ucb_catalog(&models, &n, err));
    bool has_cache = ucb_cache_folder(cache, folder, sizeof(folder), NULL) == UCB_OK;
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, model_json(&models[i], has_cache ? folder : NULL));
    return UCB_OK;
}

/* ---- for people ---- */

static const char *text_of(json_t *entry, const char *key)
{
    json_t *value = json_object_get(entry, key);
    return json_is_string(value) ? json_string_value(value) : NULL;
}

static void print_origin(json_t *entry)
{
    const char *repository = text_of(entry, "repository"),
               *package = text_of(entry, "package");
    if (repository != NULL)
        puts(repository);
    else if (package != NULL)
        printf("Python package %s%s\n", package,
               json_is_integer(json_object_get(entry, "package_parts")) ? ", in parts"
                                                                        : "");
    else
        printf("built from %s\n", text_of(entry, "built_from"));
}

static void print_model(json_t *entry)
{
    char type[40], licence[96];
    const char *known = text_of(entry, "licence");
    snprintf(type, sizeof(type), "%s%s", text_of(entry, "model_type"),
             json_is_true(json_object_get(entry, "supported")) ? "" : " *");
    snprintf(licence, sizeof(licence), "%s%s", known != NULL ? known : "not known",
             json_is_true(json_object_get(entry, "gated")) ? ", gated" : "");
    printf("%-22s %8.1f GB  %-14s %-5s  %-33s ", text_of(entry, "name"),
           (double)json_integer_value(json_object_get(entry, "size_bytes")) / 1e9, type,
           json_is_true(json_object_get(entry, "in_cache")) ? "yes" : "no", licence);
    print_origin(entry);
}

void ucb_list_models_print(json_t *list)
{
    size_t i;
    json_t *entry;
    bool all_supported = true;
    printf("%-22s %11s  %-14s %-5s  %-33s %s\n", "name", "size", "architecture", "cache",
           "licence", "from");
    json_array_foreach(list, i, entry)
    {
        print_model(entry);
        all_supported &= json_is_true(json_object_get(entry, "supported"));
    }
    puts(
        "\nscripts/fetch.sh model NAME brings one into the cache; gated: accept the licence at the hub, then set\n"
        "HF_TOKEN to an access token. Sizes are those of 16-bit weights where the file's is not known.");
    if (!all_supported) puts("* this build's engine does not read this architecture");
}
