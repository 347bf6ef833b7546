/* manifest.c - see manifest.h. */
#include "task/manifest.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/resource.h"
#include "core/text.h"
#include "task/span.h"

enum { MAX_MANIFESTS = 32, MAX_KEYS = 8, MAX_VALUE = 256 };

struct key {
    const char *name;
    size_t offset, size; /* of the field; size 0: a number */
    bool required;
};
/* clang-format off */
#define TEXT_KEY(type, field, required) \
    {#field, offsetof(struct type, field), sizeof(((struct type *)0)->field), required}
#define NUMBER_KEY(type, field) {#field, offsetof(struct type, field), 0, false}

static const struct key dataset_keys[] = {
    TEXT_KEY(ucb_manifest, name, true),
    TEXT_KEY(ucb_manifest, kind, true),
    TEXT_KEY(ucb_manifest, split, true),
    TEXT_KEY(ucb_manifest, licence, true),
    TEXT_KEY(ucb_manifest, origin, false),
    TEXT_KEY(ucb_manifest, description, false),
    NUMBER_KEY(ucb_manifest, revision),
};
static const struct key file_keys[] = {
    TEXT_KEY(ucb_manifest_file, path, true),
    TEXT_KEY(ucb_manifest_file, sha256, true),
    TEXT_KEY(ucb_manifest_file, url, false),
    TEXT_KEY(ucb_manifest_file, mirror, false),
    TEXT_KEY(ucb_manifest_file, member, false),
    NUMBER_KEY(ucb_manifest_file, bytes),
    NUMBER_KEY(ucb_manifest_file, documents),
};
/* clang-format on */

/* The section being read: its keys, and the struct they fill (NULL before the first one).
 */
struct section {
    const char *name;
    const struct key *keys;
    size_t n_keys;
    char *target;
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct section dataset_section(struct ucb_manifest *m)
{
    return (struct section){"dataset", dataset_keys, COUNT(dataset_keys), (char *)m};
}

static struct section file_section(struct ucb_manifest_file *f)
{
    return (struct section){"file", file_keys, COUNT(file_keys), (char *)f};
}

static const struct key *find_key(const struct section *s, const char *name)
{
    for (size_t i = 0; i < s->n_keys; i++)
        if (strcmp(s->keys[i].name, name) == 0) return &s->keys[i];
    return NULL;
}

static ucb_status unknown_key(const struct section *s, const char *name,
                              struct ucb_err *err)
{
    const char *names[MAX_KEYS];
    char near[256];
    for (size_t i = 0; i < s->n_keys; i++) names[i] = s->keys[i].name;
    ucb_text_near(name, names, s->n_keys, near, sizeof(near));
    return UCB_FAIL(err, UCB_CORRUPT, "[%s] has no key `%s`; %s", s->name, name, near);
}

static ucb_status set_value(const struct section *s, const char *name, const char *value,
                            struct ucb_err *err)
{
    const struct key *key = find_key(s, name);
    if (key == NULL) return unknown_key(s, name, err);
    char *field = s->target + key->offset;
    if (key->size == 0) {
        uint64_t number;
        if (!ucb_parse_u64(value, &number))
            return UCB_FAIL(err, UCB_CORRUPT, "%s = %s, expected a whole number", name,
                            value);
        memcpy(field, &number, sizeof(number));
        return UCB_OK;
    }
    if (field[0] != '\0')
        return UCB_FAIL(err, UCB_CORRUPT, "`%s` is given twice in one [%s]", name, s->name);
    if (strlen(value) >= key->size)
        return UCB_FAIL(err, UCB_CORRUPT, "%s has %zu bytes, at most %zu fit", name,
                        strlen(value), key->size - 1);
    strcpy(field, value);
    return UCB_OK;
}

/* `line` is trimmed, not empty, no comment, no section. */
static ucb_status read_pair(const struct section *s, struct ucb_span line,
                            struct ucb_err *err)
{
    char name[32], value[MAX_VALUE];
    const char *equals = memchr(line.at, '=', line.n);
    if (equals == NULL)
        return UCB_FAIL(err, UCB_CORRUPT, "`%.*s` is no `key = value`", (int)line.n,
                        line.at);
    if (s->target == NULL)
        return UCB_FAIL(err, UCB_CORRUPT, "a key stands before the first [section]");
    struct ucb_span left = ucb_span_trim(ucb_span_between(line.at, equals));
    struct ucb_span right = ucb_span_trim(ucb_span_between(equals + 1, line.at + line.n));
    if (left.n >= sizeof(name) || right.n >= sizeof(value))
        return UCB_FAIL(err, UCB_CORRUPT, "a key has at most %zu bytes, a value %zu",
                        sizeof(name) - 1, sizeof(value) - 1);
    snprintf(name, sizeof(name), "%.*s", (int)left.n, left.at);
    snprintf(value, sizeof(value), "%.*s", (int)right.n, right.at);
    return set_value(s, name, value, err);
}

static ucb_status open_section(struct ucb_manifest *m, struct ucb_span line,
                               struct section *s, struct ucb_err *err)
{
    if (ucb_span_is(line, "[dataset]")) {
        *s = dataset_section(m);
        return UCB_OK;
    }
    if (!ucb_span_is(line, "[file]"))
        return UCB_FAIL(err, UCB_CORRUPT, "section %.*s, expected [dataset] or [file]",
                        (int)line.n, line.at);
    if (m->n_files == UCB_MANIFEST_FILES)
        return UCB_FAIL(err, UCB_CORRUPT, "more than %d [file] sections",
                        UCB_MANIFEST_FILES);
    *s = file_section(&m->files[m->n_files]);
    m->n_files++;
    return UCB_OK;
}

static ucb_status read_lines(struct ucb_manifest *m, struct ucb_span rest,
                             struct ucb_err *err)
{
    struct section section = {0};
    struct ucb_span line;
    for (size_t number = 1; ucb_span_next_line(&rest, &line); number++) {
        line = ucb_span_trim(line);
        if (line.n == 0 || line.at[0] == ';' || line.at[0] == '#') continue;
        ucb_status status = line.at[0] == '[' ? open_section(m, line, &section, err)
                                              : read_pair(&section, line, err);
        if (status == UCB_OK) continue;
        ucb_err_prefix(err, "line %zu", number);
        return status;
    }
    return UCB_OK;
}

static ucb_status check_required(const struct section *s, struct ucb_err *err)
{
    for (size_t i = 0; i < s->n_keys; i++)
        if (s->keys[i].required && s->target[s->keys[i].offset] == '\0')
            return UCB_FAIL(err, UCB_CORRUPT, "[%s] lacks `%s = ...`", s->name,
                            s->keys[i].name);
    return UCB_OK;
}

static ucb_status check_complete(struct ucb_manifest *m, struct ucb_err *err)
{
    struct section dataset = dataset_section(m);
    UCB_TRY(check_required(&dataset, err));
    if (m->n_files == 0) return UCB_FAIL(err, UCB_CORRUPT, "no [file] section");
    for (size_t i = 0; i < m->n_files; i++) {
        struct section file = file_section(&m->files[i]);
        UCB_TRY(check_required(&file, err));
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
    ucb_status status = read_lines(&m, (struct ucb_span){text, n_bytes}, err);
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
