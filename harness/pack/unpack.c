/* unpack.c - see unpack.h. */
#include "pack/unpack.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/progress.h"
#include "model/catalog.h"

struct unpacking {
    const struct ucb_packfile *pack;
    struct ucb_pack_decoder *decoder;
    struct ucb_out_file *files; /* [n_files], stream NULL: not open */
    struct ucb_arena arena;
    struct ucb_sha256 digest; /* of the file at work */
    FILE *stream;
    struct ucb_progress progress;
};

static ucb_status write_bytes(void *context, uint64_t at, const uint8_t *bytes, size_t n,
                              struct ucb_err *err)
{
    struct unpacking *u = context;
    (void)at;
    ucb_sha256_update(&u->digest, bytes, n);
    ucb_progress_add(&u->progress, (double)n, NULL);
    if (fwrite(bytes, 1, n, u->stream) == n) return UCB_OK;
    return UCB_FAIL(err, UCB_IO, "%s: writing what it unpacks to failed: %s", u->pack->path,
                    strerror(errno));
}

static ucb_status write_file(struct unpacking *u, const struct ucb_pack_entry *f,
                             struct ucb_err *err)
{
    char hex[UCB_SHA256_HEX];
    ucb_status status = UCB_OK;
    ucb_sha256_init(&u->digest);
    for (uint32_t i = 0; i < f->n_pieces && status == UCB_OK; i++)
        status = ucb_pack_decode_piece(u->decoder, f->first_piece + i, write_bytes, u, err);
    ucb_sha256_final_hex(&u->digest, hex);
    if (status != UCB_OK || !f->is_source || strcmp(hex, f->sha256) == 0) return status;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "%s: %s comes out with another SHA-256 than the file it was made from",
                    u->pack->path, f->name);
}

static ucb_status open_files(struct unpacking *u, const char *folder, bool may_replace,
                             struct ucb_err *err)
{
    u->files = UCB_NEW(&u->arena, struct ucb_out_file, (size_t)u->pack->n_files + 1);
    if (u->files == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its files", u->pack->path);
    for (uint32_t i = 0; i < u->pack->n_files; i++) {
        const char *path = ucb_arena_printf(&u->arena, "%s/%s", folder,
                                            u->pack->files[i].name);
        if (path == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a path");
        if (!may_replace && access(path, F_OK) == 0)
            return UCB_FAIL(err, UCB_USAGE,
                            "%s is there already; name another folder, or replace it with "
                            "--force",
                            path);
    }
    return UCB_OK;
}

static ucb_status write_files(struct unpacking *u, const char *folder, struct ucb_err *err)
{
    for (uint32_t i = 0; i < u->pack->n_files; i++) {
        const struct ucb_pack_entry *f = &u->pack->files[i];
        const char *path = ucb_arena_printf(&u->arena, "%s/%s", folder, f->name);
        if (path == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a path");
        UCB_TRY(ucb_out_open(path, &u->files[i], err));
        u->stream = u->files[i].stream;
        UCB_TRY(write_file(u, f, err));
    }
    for (uint32_t i = 0; i < u->pack->n_files; i++)
        UCB_TRY(ucb_out_commit(&u->files[i], err));
    return UCB_OK;
}

ucb_status ucb_packfile_unpack(const struct ucb_packfile *pack, struct ucb_pool *pool,
                               const char *folder, bool may_replace, struct ucb_err *err)
{
    struct unpacking u = {.pack = pack};
    ucb_status status;
    ucb_arena_init(&u.arena);
    ucb_progress_start(&u.progress, "unpacking", (double)pack->unpacked_bytes);
    UCB_TRY_OUT(ucb_pack_decoder_open(pack, pool, &u.decoder, err));
    UCB_TRY_OUT(open_files(&u, folder, may_replace, err));
    UCB_TRY_OUT(ucb_folder_make(folder, err));
    status = write_files(&u, folder, err);
out:
    ucb_progress_end(&u.progress);
    for (uint32_t i = 0; u.files != NULL && i < pack->n_files; i++)
        ucb_out_discard(&u.files[i]);
    ucb_pack_decoder_close(u.decoder);
    ucb_arena_free(&u.arena);
    return status;
}

/* ---- a pack in the place of a model ---- */

static const char done_name[] = "unpacked";

/* The mark is written last: a folder without it was not finished. */
static ucb_status unpack_once(const char *pack_path, const char *folder,
                              uint64_t limit_bytes, struct ucb_err *err)
{
    char done[4200];
    struct ucb_packfile *pack;
    struct ucb_pool *pool;
    snprintf(done, sizeof(done), "%s/%s", folder, done_name);
    if (access(done, R_OK) == 0) return UCB_OK;
    fprintf(stderr, "unpacking %s into %s (once)\n", pack_path, folder);
    UCB_TRY(ucb_packfile_open(pack_path, limit_bytes, &pack, err));
    ucb_status status = ucb_pool_open(0, &pool, err);
    if (status == UCB_OK) {
        status = ucb_packfile_unpack(pack, pool, folder, true, err);
        ucb_pool_close(pool);
    }
    if (status == UCB_OK)
        status = ucb_file_write(done, pack->spec, strlen(pack->spec), err);
    ucb_packfile_close(pack);
    return status;
}

ucb_status ucb_pack_locate(const char *pack_path, const char *sha256, const char *cache,
                           uint64_t limit_bytes, char *path, size_t size,
                           struct ucb_err *err)
{
    char folder[3900];
    UCB_TRY(ucb_cache_folder(cache, folder, sizeof(folder), err));
    int n = snprintf(path, size, "%s/packs/%s", folder, sha256);
    if (n < 0 || (size_t)n >= size)
        return UCB_FAIL(err, UCB_USAGE, "the cache folder's name is too long");
    return unpack_once(pack_path, path, limit_bytes, err);
}

ucb_status ucb_pack_locate_model(const char *name_or_path, const char *cache, char *path,
                                 size_t size, struct ucb_err *err)
{
    char digest[UCB_SHA256_HEX];
    if (!ucb_packfile_is(name_or_path))
        return ucb_model_locate(name_or_path, cache, path, size, err);
    UCB_TRY(ucb_sha256_file(name_or_path, digest, err));
    return ucb_pack_locate(name_or_path, digest, cache, 0, path, size, err);
}
