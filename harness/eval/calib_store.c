/*
 * calib_store.c - see calib_store.h. `complete` reads
 *
 *     ucbench calibration 1 <key>
 *     <sha256>  layer-000-000.safetensors
 *     ...
 *     complete
 *
 * with files in the order of layers and slots, so whatever is cut off, added or exchanged
 * does not read as a whole set.
 */
#include "eval/calib_store.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/text.h"
#include "eval/collector_internal.h"
#include "model/checkpoint.h"

enum { PATH = 4096, NAME = 64, HEX = UCB_SHA256_HEX - 1 };
static const char marker[] = "complete";

ucb_status ucb_calib_store_open(const char *cache, const char *key, uint32_t n_layers,
                                uint32_t n_slots, struct ucb_calib_store *out,
                                struct ucb_err *err)
{
    struct ucb_calib_store s = {.n_layers = n_layers, .n_slots = n_slots};
    int n = cache == NULL ? 0 /* nothing is there, and nothing is kept */
                          : snprintf(s.folder, sizeof(s.folder), "%s/calib/%s", cache, key);
    snprintf(s.key, sizeof(s.key), "%s", key);
    if (n < 0 || (size_t)n >= sizeof(s.folder))
        return UCB_FAIL(err, UCB_USAGE, "%s: too long a folder name", cache);
    s.digest = ucb_mem_alloc((size_t)n_layers * n_slots * sizeof(*s.digest));
    if (s.digest == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the digests of %u layers", n_layers);
    *out = s;
    return UCB_OK;
}

void ucb_calib_store_close(struct ucb_calib_store *s)
{
    ucb_mem_free(s->digest);
    s->digest = NULL;
}

static size_t n_files(const struct ucb_calib_store *s)
{
    return (size_t)s->n_layers * s->n_slots;
}

static void file_name(const struct ucb_calib_store *s, size_t file, char out[NAME])
{
    snprintf(out, NAME, "layer-%03zu-%03zu.safetensors", file / s->n_slots,
             file % s->n_slots);
}

static void file_path(const struct ucb_calib_store *s, size_t file, char out[PATH])
{
    char name[NAME];
    file_name(s, file, name);
    snprintf(out, PATH, "%s/%s", s->folder, name);
}

static void put_head(const struct ucb_calib_store *s, struct ucb_text *text)
{
    ucb_text_add(text, "ucbench calibration 1 %s\n", s->key);
}

/* Moves *at past `text` if that is what comes. */
static bool skip(const struct ucb_file *file, size_t *at, const char *text)
{
    size_t n = strlen(text);
    if (file->n_bytes - *at < n || memcmp(file->data + *at, text, n) != 0) return false;
    *at += n;
    return true;
}

/* "<sha256>  <name>\n", if that is what comes. */
static void read_digest(const struct ucb_calib_store *s, const struct ucb_file *file,
                        size_t *at, size_t index, char digest[UCB_SHA256_HEX])
{
    char name[NAME], rest[NAME + 4];
    size_t end = *at + HEX;
    file_name(s, index, name);
    snprintf(rest, sizeof(rest), "  %s\n", name);
    digest[0] = '\0';
    if (file->n_bytes < end || !skip(file, &end, rest)) return;
    memcpy(digest, file->data + *at, HEX);
    digest[HEX] = '\0';
    *at = end;
}

static bool read_marker(struct ucb_calib_store *s, const struct ucb_file *file)
{
    struct ucb_text head = {0};
    size_t at = 0;
    put_head(s, &head);
    bool good = !head.failed && skip(file, &at, ucb_text_get(&head));
    for (size_t i = 0; i < n_files(s); i++) read_digest(s, file, &at, i, s->digest[i]);
    ucb_text_free(&head);
    return good && skip(file, &at, "complete\n") && at == file->n_bytes;
}

bool ucb_calib_store_complete(struct ucb_calib_store *s)
{
    char path[PATH], found[UCB_SHA256_HEX];
    struct ucb_file file;
    if (s->folder[0] == '\0') return false;
    snprintf(path, sizeof(path), "%s/%s", s->folder, marker);
    if (ucb_file_map(path, &file, NULL) != UCB_OK) return false;
    bool good = read_marker(s, &file);
    ucb_file_unmap(&file);
    for (size_t i = 0; i < n_files(s) && good; i++) {
        if (s->digest[i][0] == '\0') continue;
        file_path(s, i, path);
        good = ucb_sha256_file(path, found, NULL) == UCB_OK &&
               strcmp(found, s->digest[i]) == 0;
    }
    if (!good)
        fprintf(stderr, "%s: not what was saved there; the calibration is computed again\n",
                path);
    return good;
}

ucb_status ucb_calib_store_begin(struct ucb_calib_store *s, struct ucb_err *err)
{
    char path[PATH];
    if (s->folder[0] == '\0')
        return UCB_FAIL(err, UCB_ENVIRONMENT,
                        "there is no cache folder: set --cache, UCBENCH_CACHE or HOME");
    UCB_TRY(ucb_folder_make(s->folder, err));
    snprintf(path, sizeof(path), "%s/%s", s->folder, marker);
    unlink(path); /* absent is fine; one that stays names digests that are checked */
    memset(s->digest, 0, n_files(s) * sizeof(*s->digest));
    return UCB_OK;
}

/* ---- one file ---- */

static size_t packed_values(uint32_t n)
{
    return (size_t)n * (n + 1u) / 2;
}

/* The upper triangle, row after row; release with ucb_mem_free. */
static double *pack_triangle(const double *m, uint32_t n)
{
    double *packed = ucb_mem_alloc(packed_values(n) * sizeof(*packed)), *out = packed;
    for (uint32_t i = 0; packed != NULL && i < n; out += n - i, i++)
        memcpy(out, m + (size_t)i * n + i, (n - i) * sizeof(*m));
    return packed;
}

/* The tensors of a file in the making. */
struct contents {
    struct ucb_tensor tensors[6];
    size_t n;
};

static void add(struct contents *c, const char *name, enum ucb_dtype dtype, uint64_t n,
                const void *data)
{
    if (data == NULL) return;
    c->tensors[c->n++] = (struct ucb_tensor){.name = name,
                                             .dtype = dtype,
                                             .n_dims = 1,
                                             .shape = {n},
                                             .n_elements = n,
                                             .data = data,
                                             .n_bytes = n * ucb_dtype_block_bytes(dtype)};
}

static ucb_status write_file(const char *path, uint32_t n_in, const struct ucb_calib *calib,
                             const double *packed, struct ucb_err *err)
{
    uint64_t counts[2] = {calib->n_tokens, calib->n_sequences};
    struct contents c = {.n = 0};
    add(&c, "counts", UCB_I64, 2, counts);
    add(&c, "sq_mean", UCB_F64, n_in, calib->sq_mean);
    add(&c, "abs_mean", UCB_F64, n_in, calib->abs_mean);
    add(&c, "abs_max", UCB_F64, n_in, calib->abs_max);
    add(&c, "second_moment", UCB_F64, packed_values(n_in), packed);
    add(&c, "sample", UCB_F32, (uint64_t)calib->n_sample * n_in, calib->sample);
    return ucb_safetensors_write(path, c.tensors, c.n, err);
}

ucb_status ucb_calib_store_put(struct ucb_calib_store *s, uint32_t layer, size_t slot,
                               uint32_t n_in, const struct ucb_calib *calib,
                               struct ucb_err *err)
{
    char path[PATH];
    size_t file = (size_t)layer * s->n_slots + slot;
    double *packed = NULL;
    file_path(s, file, path);
    if (calib->second_moment != NULL) {
        packed = pack_triangle(calib->second_moment, n_in);
        if (packed == NULL)
            return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a second moment", path);
    }
    ucb_status status = write_file(path, n_in, calib, packed, err);
    ucb_mem_free(packed);
    return status == UCB_OK ? ucb_sha256_file(path, s->digest[file], err) : status;
}

ucb_status ucb_calib_store_commit(struct ucb_calib_store *s, struct ucb_err *err)
{
    char path[PATH], name[NAME];
    struct ucb_text text = {0};
    put_head(s, &text);
    for (size_t i = 0; i < n_files(s); i++) {
        if (s->digest[i][0] == '\0') continue;
        file_name(s, i, name);
        ucb_text_add(&text, "%s  %s\n", s->digest[i], name);
    }
    ucb_text_add(&text, "complete\n");
    snprintf(path, sizeof(path), "%s/%s", s->folder, marker);
    ucb_status status = text.failed
                            ? UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its lines", path)
                            : ucb_file_write(path, text.data, text.n_chars, err);
    ucb_text_free(&text);
    return status;
}

/* A file being read; its members go to the arena. */
struct reading {
    const char *path;
    const struct ucb_checkpoint *checkpoint;
    struct ucb_arena *arena;
};

static ucb_status find(const struct reading *r, const char *name, enum ucb_dtype dtype,
                       uint64_t n, const struct ucb_tensor **out, struct ucb_err *err)
{
    *out = ucb_checkpoint_find(r->checkpoint, name);
    if (*out == NULL)
        return UCB_FAIL(err, UCB_MISSING, "%s: no tensor `%s`; delete the folder", r->path,
                        name);
    if ((*out)->dtype != dtype || (n > 0 && (*out)->n_elements != n))
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s: `%s` is %s with %llu elements, expected %s with %llu; delete the folder",
            r->path, name, ucb_dtype_name((*out)->dtype),
            (unsigned long long)(*out)->n_elements, ucb_dtype_name(dtype),
            (unsigned long long)n);
    return UCB_OK;
}

/* A copy, because a file's tensors may lie at any address. */
static ucb_status copy(const struct reading *r, const char *name, enum ucb_dtype dtype,
                       uint64_t n, void *out, struct ucb_err *err)
{
    const struct ucb_tensor *t;
    void *values;
    UCB_TRY(find(r, name, dtype, n, &t, err));
    values = ucb_arena_alloc(r->arena, t->n_bytes);
    if (values == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for `%s`", r->path, name);
    memcpy(values, t->data, t->n_bytes);
    memcpy(out, &values, sizeof(values));
    return UCB_OK;
}

static ucb_status unpack_triangle(const struct reading *r, uint32_t n,
                                  struct ucb_pool *pool, const double **out,
                                  struct ucb_err *err)
{
    const struct ucb_tensor *t;
    UCB_TRY(find(r, "second_moment", UCB_F64, packed_values(n), &t, err));
    double *m = UCB_NEW(r->arena, double, (size_t)n *n);
    if (m == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for a second moment", r->path);
    const uint8_t *row = t->data;
    for (uint32_t i = 0; i < n; row += (n - i) * sizeof(*m), i++)
        memcpy(m + (size_t)i * n + i, row, (n - i) * sizeof(*m));
    ucb_moment_mirror(m, n, 1.0, pool);
    *out = m;
    return UCB_OK;
}

static ucb_status read_members(const struct reading *r, uint32_t n_in, uint32_t needs,
                               struct ucb_pool *pool, struct ucb_calib *out,
                               struct ucb_err *err)
{
    const struct ucb_tensor *t;
    UCB_TRY(find(r, "counts", UCB_I64, 2, &t, err));
    *out = (struct ucb_calib){.n_tokens = ucb_load_u64(t->data),
                              .n_sequences = ucb_load_u64(t->data + 8)};
    if (needs & UCB_NEEDS_DIAG)
        UCB_TRY(copy(r, "sq_mean", UCB_F64, n_in, &out->sq_mean, err));
    if (needs & UCB_NEEDS_ABS) {
        UCB_TRY(copy(r, "abs_mean", UCB_F64, n_in, &out->abs_mean, err));
        UCB_TRY(copy(r, "abs_max", UCB_F64, n_in, &out->abs_max, err));
    }
    if (needs & UCB_NEEDS_H)
        UCB_TRY(unpack_triangle(r, n_in, pool, &out->second_moment, err));
    if (needs & UCB_NEEDS_SAMPLE) {
        UCB_TRY(copy(r, "sample", UCB_F32, 0, &out->sample, err));
        out->n_sample =
            (uint32_t)(ucb_checkpoint_find(r->checkpoint, "sample")->n_elements / n_in);
    }
    return UCB_OK;
}

ucb_status ucb_calib_store_get(const struct ucb_calib_store *s, uint32_t layer, size_t slot,
                               uint32_t n_in, uint32_t needs, struct ucb_pool *pool,
                               struct ucb_arena *arena, struct ucb_calib *out,
                               struct ucb_err *err)
{
    char path[PATH], found[UCB_SHA256_HEX];
    size_t file = (size_t)layer * s->n_slots + slot;
    struct ucb_checkpoint *c;
    file_path(s, file, path);
    UCB_TRY(ucb_sha256_file(path, found, err));
    if (strcmp(found, s->digest[file]) != 0)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: changed while it was in use; run the same command again",
                        path);
    UCB_TRY(ucb_checkpoint_open(path, &c, err));
    ucb_arena_reset(arena);
    ucb_status status = read_members(&(struct reading){path, c, arena}, n_in, needs, pool,
                                     out, err);
    ucb_checkpoint_close(c);
    return status;
}
