/*
 * checkpoint.c - from a path to tensors: which files a path means, and the tables that both
 * formats fill.
 *
 *     folder -> model.safetensors, else model.safetensors.index.json and its shards,
 *               else the only .gguf or .safetensors file
 *     file   -> GGUF when it begins with "GGUF", safetensors otherwise
 */
#include "model/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <utf8proc.h>

#include "core/file.h"
#include "core/json.h"
#include "model/mapping_guard.h"
#include "model/model_internal.h"

static const char single_name[] = "model.safetensors",
                  index_name[] = "model.safetensors.index.json";

/* ---- tables ---- */

struct ucb_tensor *ucb_checkpoint_new_tensor(struct ucb_checkpoint *c)
{
    if (c->n_tensors == c->tensor_capacity) {
        size_t capacity = c->tensor_capacity == 0 ? 64 : 2 * c->tensor_capacity;
        struct ucb_tensor *larger = UCB_NEW(&c->arena, struct ucb_tensor, capacity);
        if (larger == NULL) return NULL;
        if (c->n_tensors > 0) memcpy(larger, c->tensors, c->n_tensors * sizeof(*larger));
        c->tensors = larger;
        c->tensor_capacity = capacity;
    }
    return &c->tensors[c->n_tensors++];
}

bool ucb_tensor_measure(struct ucb_tensor *tensor)
{
    uint64_t n = 1, block = ucb_dtype_block_elements(tensor->dtype);
    for (uint32_t i = 0; i < tensor->n_dims; i++)
        if (__builtin_mul_overflow(n, tensor->shape[i], &n)) return false;
    uint64_t row = tensor->n_dims == 0 ? 1 : tensor->shape[tensor->n_dims - 1];
    if (row % block != 0) return false;
    tensor->n_elements = n;
    return !__builtin_mul_overflow(
        n / block, (uint64_t)ucb_dtype_block_bytes(tensor->dtype), &tensor->n_bytes);
}

static int by_tensor_name(const void *a, const void *b)
{
    return strcmp((*(const struct ucb_tensor *const *)a)->name,
                  (*(const struct ucb_tensor *const *)b)->name);
}

ucb_status ucb_checkpoint_index(struct ucb_checkpoint *c, struct ucb_err *err)
{
    c->by_name = UCB_NEW(&c->arena, const struct ucb_tensor *, c->n_tensors);
    if (c->by_name == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for an index of %zu tensors",
                        c->n_tensors);
    for (size_t i = 0; i < c->n_tensors; i++) c->by_name[i] = &c->tensors[i];
    if (c->n_tensors > 0)
        qsort(c->by_name, c->n_tensors, sizeof(*c->by_name), by_tensor_name);
    for (size_t i = 1; i < c->n_tensors; i++) {
        const struct ucb_tensor *a = c->by_name[i - 1], *b = c->by_name[i];
        if (strcmp(a->name, b->name) == 0)
            return UCB_FAIL(err, UCB_CORRUPT, "%s: tensor `%s` is there twice (also in %s)",
                            a->file, a->name, b->file);
    }
    return UCB_OK;
}

const char *ucb_shape_text(const uint64_t *shape, uint32_t n_dims, char out[UCB_SHAPE_TEXT])
{
    size_t n = 0;
    out[n++] = '[';
    for (uint32_t i = 0; i < n_dims; i++) /* 8 dimensions of at most 22 characters fit */
        n += (size_t)snprintf(out + n, UCB_SHAPE_TEXT - n, i == 0 ? "%llu" : ", %llu",
                              (unsigned long long)shape[i]);
    out[n++] = ']';
    out[n] = '\0';
    return out;
}

bool ucb_name_is_clean(const char *name, size_t n_chars)
{
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)name;
    for (size_t i = 0; i < n_chars;) {
        utf8proc_int32_t point;
        utf8proc_ssize_t used = utf8proc_iterate(at + i, (utf8proc_ssize_t)(n_chars - i),
                                                 &point);
        if (used < 1 || point < 0x20 || (point >= 0x7f && point < 0xa0)) return false;
        i += (size_t)used;
    }
    return true;
}

/* ---- files ---- */

static const char *join(struct ucb_arena *arena, const char *folder, const char *name)
{
    size_t n = strlen(folder);
    return ucb_arena_printf(arena, n > 0 && folder[n - 1] == '/' ? "%s%s" : "%s/%s", folder,
                            name);
}

/* Maps a file and appends it to the list, which has room. */
static ucb_status add_file(struct ucb_checkpoint *c, const char *path, struct ucb_err *err)
{
    struct ucb_checkpoint_file *file = &c->files[c->n_files];
    UCB_TRY(ucb_file_map(path, &file->map, err));
    file->path = path;
    file->guard = ucb_guard_add(file->map.data, file->map.n_bytes);
    c->n_files++;
    if (file->map.n_bytes > 0) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT, "%s: the file is empty", path);
}

static ucb_status no_memory(const char *path, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its list of files", path);
}

static ucb_status open_single(struct ucb_checkpoint *c, const char *path,
                              struct ucb_err *err)
{
    c->files = UCB_NEW(&c->arena, struct ucb_checkpoint_file, 1);
    if (c->files == NULL) return no_memory(path, err);
    UCB_TRY(add_file(c, path, err));
    const struct ucb_file *map = &c->files[0].map;
    if (ucb_gguf_is(map->data, map->n_bytes))
        return ucb_gguf_parse(c, path, map->data, map->n_bytes, err);
    return ucb_safetensors_parse(c, path, map->data, map->n_bytes, err);
}

/* ---- shards ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A shard lies beside its index: a name that could lead elsewhere is refused. */
static ucb_status check_shard_name(const char *index, const char *tensor,
                                   const json_t *shard, struct ucb_err *err)
{
    const char *name = json_string_value(shard);
    if (name == NULL)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: weight_map: `%s` is not the name of a file",
                        index, tensor);
    size_t n = json_string_length(shard);
    if (n > 0 && strlen(name) == n && ucb_name_is_clean(name, n) &&
        strchr(name, '/') == NULL && strstr(name, "..") == NULL)
        return UCB_OK;
    return UCB_FAIL(
        err, UCB_CORRUPT,
        "%s: weight_map: `%s` names the file \"%s\"; a shard's name may hold no / and no ..",
        index, tensor, name);
}

/* The different file names of a weight_map in name order, joined with the folder. */
static ucb_status list_shards(struct ucb_checkpoint *c, const char *index, json_t *map,
                              const char ***out, size_t *n_out, struct ucb_err *err)
{
    size_t n = 0, n_kept = 0;
    const char *key;
    json_t *value;
    const char **names = UCB_NEW(&c->arena, const char *, json_object_size(map));
    if (names == NULL) return no_memory(index, err);
    json_object_foreach(map, key, value)
    {
        UCB_TRY(check_shard_name(index, key, value, err));
        names[n++] = json_string_value(value);
    }
    qsort(names, n, sizeof(*names), by_text);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(names[i], names[n_kept - 1]) != 0) names[n_kept++] = names[i];
    *out = names;
    *n_out = n_kept;
    return UCB_OK;
}

static ucb_status open_shard(struct ucb_checkpoint *c, const char *folder, const char *name,
                             struct ucb_err *err)
{
    const char *path = join(&c->arena, folder, name);
    if (path == NULL) return no_memory(folder, err);
    ucb_status status = add_file(c, path, err);
    if (status == UCB_MISSING)
        return UCB_FAIL(err, UCB_MISSING,
                        "%s: the file %s, named by %s, does not exist; download it again",
                        folder, name, index_name);
    UCB_TRY(status);
    const struct ucb_file *map = &c->files[c->n_files - 1].map;
    return ucb_safetensors_parse(c, path, map->data, map->n_bytes, err);
}

/* Every tensor of the index must be in the file that the index names for it. */
static ucb_status check_map(const struct ucb_checkpoint *c, const char *index, json_t *map,
                            struct ucb_err *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value)
    {
        const struct ucb_tensor *t = ucb_checkpoint_find(c, name);
        const char *shard = json_string_value(value),
                   *slash = t == NULL ? NULL : strrchr(t->file, '/');
        if (t == NULL)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s: tensor `%s` should be in %s, but is in none of the files",
                            index, name, shard);
        const char *found = slash == NULL ? t->file : slash + 1;
        if (strcmp(found, shard) != 0)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s: tensor `%s` should be in %s, but is in %s", index, name,
                            shard, found);
    }
    return UCB_OK;
}

static ucb_status open_shards(struct ucb_checkpoint *c, const char *folder,
                              const char *index, json_t *root, struct ucb_err *err)
{
    const char **names = NULL;
    size_t n = 0;
    json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: no weight_map, expected an object from tensor to file names",
                        index);
    UCB_TRY(list_shards(c, index, map, &names, &n, err));
    c->files = UCB_NEW(&c->arena, struct ucb_checkpoint_file, n + 1);
    if (c->files == NULL) return no_memory(index, err);
    for (size_t i = 0; i < n; i++) UCB_TRY(open_shard(c, folder, names[i], err));
    UCB_TRY(add_file(c, index, err)); /* "model.safetensors..." comes after
                                         "model-00001-of...", so names stay in order */
    UCB_TRY(ucb_checkpoint_index(c, err));
    return check_map(c, index, map, err);
}

static ucb_status open_index(struct ucb_checkpoint *c, const char *folder,
                             const char *index, struct ucb_err *err)
{
    json_t *root = NULL;
    UCB_TRY(ucb_json_load(index, &root, err));
    ucb_status status = open_shards(c, folder, index, root, err);
    json_decref(root);
    return status;
}

/* ---- folders ---- */

static bool exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

static bool ends_with(const char *name, const char *ending)
{
    size_t n = strlen(name), n_ending = strlen(ending);
    return n > n_ending && strcmp(name + n - n_ending, ending) == 0;
}

/* A folder's files that may be a model, by their endings, and the path of one. Starts as
 * zeros. */
struct candidates {
    size_t n_ggufs, n_safetensors;
    const char *path;
};

static ucb_status find_candidates(struct ucb_checkpoint *c, const char *folder,
                                  struct candidates *out, struct ucb_err *err)
{
    ucb_status status = UCB_OK;
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return UCB_FAIL(err, UCB_IO, "%s: cannot list it: %s", folder, strerror(errno));
    for (struct dirent *e; (e = readdir(dir)) != NULL && status == UCB_OK;) {
        bool gguf = ends_with(e->d_name, ".gguf"),
             safetensors = ends_with(e->d_name, ".safetensors");
        if (!gguf && !safetensors) continue;
        out->n_ggufs += gguf;
        out->n_safetensors += safetensors;
        if (out->path == NULL) out->path = join(&c->arena, folder, e->d_name);
        if (out->path == NULL) status = no_memory(folder, err);
    }
    closedir(dir);
    return status;
}

static ucb_status open_folder(struct ucb_checkpoint *c, const char *folder,
                              struct ucb_err *err)
{
    const char *single = join(&c->arena, folder, single_name),
               *index = join(&c->arena, folder, index_name);
    struct candidates found = {0};
    if (single == NULL || index == NULL) return no_memory(folder, err);
    if (exists(single)) return open_single(c, single, err);
    if (exists(index)) return open_index(c, folder, index, err);
    UCB_TRY(find_candidates(c, folder, &found, err));
    if (found.n_ggufs + found.n_safetensors == 1) return open_single(c, found.path, err);
    if (found.n_ggufs + found.n_safetensors > 1)
        return UCB_FAIL(
            err, UCB_MISSING,
            "%s: holds %zu .gguf files and %zu .safetensors files, but no %s and no %s; give the path of one file",
            folder, found.n_ggufs, found.n_safetensors, single_name, index_name);
    return UCB_FAIL(err, UCB_MISSING,
                    "%s: no %s, no %s and no .gguf or .safetensors in this folder", folder,
                    single_name, index_name);
}

static ucb_status open_path(struct ucb_checkpoint *c, const char *path, struct ucb_err *err)
{
    struct stat info;
    const char *copy = ucb_arena_strdup(&c->arena, path);
    if (copy == NULL) return no_memory(path, err);
    bool is_folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    UCB_TRY(is_folder ? open_folder(c, copy, err) : open_single(c, copy, err));
    if (c->by_name == NULL) UCB_TRY(ucb_checkpoint_index(c, err));
    return ucb_checkpoint_intact(c, err);
}

ucb_status ucb_checkpoint_intact(const struct ucb_checkpoint *c, struct ucb_err *err)
{
    for (size_t i = 0; i < c->n_files; i++)
        if (ucb_guard_tripped(c->files[i].guard))
            return UCB_FAIL(
                err, UCB_IO,
                "%s: the file became shorter, or could not be read, while it was in use",
                c->files[i].path);
    return UCB_OK;
}

/* ---- public ---- */

ucb_status ucb_checkpoint_open(const char *path, struct ucb_checkpoint **out,
                               struct ucb_err *err)
{
    struct ucb_checkpoint *c = ucb_mem_alloc(sizeof(*c));
    if (c == NULL) return no_memory(path, err);
    ucb_arena_init(&c->arena);
    ucb_status status = open_path(c, path, err);
    if (status == UCB_OK)
        *out = c;
    else
        ucb_checkpoint_close(c);
    return status;
}

void ucb_checkpoint_close(struct ucb_checkpoint *checkpoint)
{
    if (checkpoint == NULL) return;
    for (size_t i = 0; i < checkpoint->n_files; i++) {
        ucb_guard_remove(checkpoint->files[i].guard);
        ucb_file_unmap(&checkpoint->files[i].map);
    }
    ucb_arena_free(&checkpoint->arena);
    ucb_mem_free(checkpoint);
}

size_t ucb_checkpoint_n_tensors(const struct ucb_checkpoint *c)
{
    return c->n_tensors;
}

const struct ucb_tensor *ucb_checkpoint_tensor(const struct ucb_checkpoint *c, size_t index)
{
    return &c->tensors[index];
}

const struct ucb_tensor *ucb_checkpoint_find(const struct ucb_checkpoint *c,
                                             const char *name)
{
    struct ucb_tensor wanted = {.name = name};
    const struct ucb_tensor *key = &wanted;
    if (c->n_tensors == 0) return NULL;
    const struct ucb_tensor **found = bsearch(&key, c->by_name, c->n_tensors,
                                              sizeof(*c->by_name), by_tensor_name);
    return found == NULL ? NULL : *found;
}

size_t ucb_checkpoint_n_files(const struct ucb_checkpoint *c)
{
    return c->n_files;
}

const uint8_t *ucb_checkpoint_file_data(const struct ucb_checkpoint *c, size_t index)
{
    return c->files[index].map.data;
}

const char *ucb_checkpoint_file(const struct ucb_checkpoint *c, size_t index)
{
    return c->files[index].path;
}

bool ucb_checkpoint_holds(const struct ucb_checkpoint *c, const char *path)
{
    static const char *const beside[] = {
        "config.json",           "tokenizer.json",  "tokenizer_config.json",
        "tokenizer.model",       "vocabulary.gguf", "model.safetensors.index.json",
        "generation_config.json"};
    const char *weights = ucb_checkpoint_file(c, 0), *slash = strrchr(weights, '/');
    int n_folder = slash == NULL ? 0 : (int)(slash + 1 - weights);
    bool found = false;
    for (size_t i = 0; i < ucb_checkpoint_n_files(c); i++)
        found |= ucb_file_same(path, ucb_checkpoint_file(c, i));
    for (size_t i = 0; i < sizeof(beside) / sizeof(beside[0]); i++) {
        char name[4096];
        snprintf(name, sizeof(name), "%.*s%s", n_folder, weights, beside[i]);
        found |= ucb_file_same(path, name);
    }
    return found;
}

uint64_t ucb_checkpoint_file_bytes(const struct ucb_checkpoint *c, size_t index)
{
    return c->files[index].map.n_bytes;
}

uint64_t ucb_checkpoint_vocabulary_bytes(const struct ucb_checkpoint *c)
{
    return c->vocabulary_bytes;
}

bool ucb_checkpoint_is_gguf(const struct ucb_checkpoint *c)
{
    return c->is_gguf;
}
