/* pack_source.c - see pack_source.h. */
#include "pack/pack_source.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "pack/packfile_internal.h"

/* What a checkpoint's folder may hold beside the weights; nothing else of it is packed. */
static const struct {
    const char *name;
    bool is_identity;
} beside[] = {
    {"config.json", true},
    {"tokenizer.json", true},
    {"tokenizer_config.json", true},
    {"vocabulary.gguf", true},
    {"generation_config.json", false},
    {"special_tokens_map.json", false},
    {"added_tokens.json", false},
    {"vocab.json", false},
    {"merges.txt", false},
    {"tokenizer.model", false},
    {"chat_template.jinja", false},
    {"LICENSE", false},
};
enum { N_BESIDE = sizeof(beside) / sizeof(beside[0]) };

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ucb_source_file *)a)->name,
                  ((const struct ucb_source_file *)b)->name);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static ucb_status add(struct ucb_source_files *out, struct ucb_source_file file,
                      struct ucb_err *err)
{
    struct stat info;
    file.name = base_name(file.path);
    if (!ucb_pack_name_is_plain(file.name))
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: a pack takes no file of such a name; rename it", file.path);
    if (stat(file.path, &info) == 0) file.n_bytes = (uint64_t)info.st_size;
    UCB_TRY(ucb_sha256_file(file.path, file.sha256, err));
    out->list[out->n++] = file;
    return UCB_OK;
}

static void add_line(struct ucb_sha256 *all, const struct ucb_source_file *f)
{
    ucb_sha256_update(all, f->sha256, UCB_SHA256_HEX - 1);
    ucb_sha256_update(all, "  ", 2);
    ucb_sha256_update(all, f->name, strlen(f->name));
    ucb_sha256_update(all, "\n", 1);
}

static ucb_status add_beside(const char *weights, struct ucb_arena *arena,
                             struct ucb_source_files *out, struct ucb_err *err)
{
    int n_folder = (int)(base_name(weights) - weights);
    for (size_t i = 0; i < N_BESIDE; i++) {
        const char *path = ucb_arena_printf(arena, "%.*s%s", n_folder, weights,
                                            beside[i].name);
        if (path == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a path");
        if (access(path, R_OK) == 0)
            UCB_TRY(add(out,
                        (struct ucb_source_file){.path = path,
                                                 .in_checkpoint = SIZE_MAX,
                                                 .is_identity = beside[i].is_identity},
                        err));
    }
    return UCB_OK;
}

ucb_status ucb_source_files_list(const struct ucb_checkpoint *c, struct ucb_arena *arena,
                                 struct ucb_source_files *out, struct ucb_err *err)
{
    size_t n = ucb_checkpoint_n_files(c);
    struct ucb_sha256 all;
    *out = (struct ucb_source_files){
        .list = UCB_NEW(arena, struct ucb_source_file, n + N_BESIDE)};
    if (out->list == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu files", n);
    for (size_t i = 0; i < n; i++)
        UCB_TRY(add(out,
                    (struct ucb_source_file){.path = ucb_checkpoint_file(c, i),
                                             .in_checkpoint = i,
                                             .is_identity = true},
                    err));
    if (ucb_checkpoint_is_gguf(c)) {
        memcpy(out->model_sha256, out->list[0].sha256, UCB_SHA256_HEX);
        return UCB_OK;
    }
    UCB_TRY(add_beside(ucb_checkpoint_file(c, 0), arena, out, err));
    qsort(out->list, out->n, sizeof(*out->list), by_name);
    ucb_sha256_init(&all);
    for (size_t i = 0; i < out->n; i++)
        if (out->list[i].is_identity) add_line(&all, &out->list[i]);
    ucb_sha256_final_hex(&all, out->model_sha256);
    return UCB_OK;
}
