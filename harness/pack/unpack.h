/*
 * unpack.h - a pack's files, written into a folder.
 */
#ifndef UCB_PACK_UNPACK_H
#define UCB_PACK_UNPACK_H

#include "pack/packfile.h"

/*
 * Writes every file of the pack into `folder` (made when absent), all of them or none: they
 * get their names once all were written and every digest was compared. `may_replace`:
 * files of these names may be there and are replaced; otherwise USAGE names the first.
 * CORRUPT, IO, NOMEM.
 */
ucb_status ucb_packfile_unpack(const struct ucb_packfile *pack, struct ucb_pool *pool,
                               const char *folder, bool may_replace, struct ucb_err *err);
/*
 * Where the checkpoint of a pack lies in the cache folder `cache` (NULL: the usual one):
 * unpacked there once, under the pack's SHA-256, and found again by it. `path` gets what
 * ucb_model_open() takes. `limit_bytes`: as ucb_packfile_open().
 */
ucb_status ucb_pack_locate(const char *pack_path, const char *sha256, const char *cache,
                           uint64_t limit_bytes, char *path, size_t size,
                           struct ucb_err *err);
/* The same of what --model names: a pack, or whatever ucb_model_locate() finds. */
ucb_status ucb_pack_locate_model(const char *name_or_path, const char *cache, char *path,
                                 size_t size, struct ucb_err *err);

#endif
