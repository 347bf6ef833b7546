/*
 * packfile.c - opening a pack:
 *
 *     0   magic "UCBPACK" 0x1a    8  u32 version    12  u32 required features (0)
 *     16  u64 bytes of the pack   24 u64 offset, 32 u64 bytes of the manifest
 *     40  u64 bytes unpacked      48 SHA-256 of the manifest    80 zeros
 *     96  SHA-256 of bytes 0..95  128 blobs, each at a multiple of 64, then the manifest
 *
 * Every byte belongs to one of them or is a zero between two.
 */
#include "pack/packfile.h"

#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/text.h"
#include "method/payload.h"
#include "pack/packfile_internal.h"

const char ucb_packfile_magic[8] = {'U', 'C', 'B', 'P', 'A', 'C', 'K', 0x1a};
enum { BOMB_RATIO = 64 };

bool ucb_packfile_is(const char *path)
{
    char found[sizeof(ucb_packfile_magic)];
    FILE *file = fopen(path, "rb");
    if (file == NULL) return false;
    bool is = fread(found, 1, sizeof(found), file) == sizeof(found) &&
              memcmp(found, ucb_packfile_magic, sizeof(found)) == 0;
    fclose(file);
    return is;
}

/* ---- header ---- */

static ucb_status check_version(const struct ucb_packfile *p, struct ucb_err *err)
{
    const uint8_t *h = p->map.data;
    uint8_t digest[UCB_SHA256_BYTES];
    if (p->map.n_bytes < sizeof(ucb_packfile_magic) ||
        memcmp(h, ucb_packfile_magic, sizeof(ucb_packfile_magic)) != 0)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: not a pack: %zu bytes that do not begin with %.7s; `ucbench "
                        "pack` makes one, `ucbench info` says what other files are",
                        p->path, p->map.n_bytes, ucb_packfile_magic);
    if (p->map.n_bytes < UCB_PACKFILE_HEADER)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: %zu bytes, the header of a pack alone has %d: it was cut; "
                        "fetch or make it again",
                        p->path, p->map.n_bytes, UCB_PACKFILE_HEADER);
    if (ucb_load_u32(h + 8) != UCB_PACKFILE_VERSION || ucb_load_u32(h + 12) != 0)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: a pack of version %u with required features %x; this program "
                        "reads version %d without any: try a newer one",
                        p->path, ucb_load_u32(h + 8), ucb_load_u32(h + 12),
                        UCB_PACKFILE_VERSION);
    ucb_sha256(h, UCB_PACKFILE_CHECKED, digest);
    if (memcmp(digest, h + UCB_PACKFILE_CHECKED, sizeof(digest)) != 0)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: its header does not have the SHA-256 that stands behind it: "
                        "damaged; fetch or make it again",
                        p->path);
    if (ucb_load_u64(h + 16) == p->map.n_bytes) return UCB_OK;
    return UCB_FAIL(
        err, UCB_CORRUPT, "%s: %zu bytes, its header says %llu: %s; fetch or make it again",
        p->path, p->map.n_bytes, (unsigned long long)ucb_load_u64(h + 16),
        p->map.n_bytes < ucb_load_u64(h + 16) ? "it was cut" : "something was appended");
}

static ucb_status check_limit(const struct ucb_packfile *p, uint64_t limit,
                              struct ucb_err *err)
{
    uint64_t most = limit != 0 ? limit : BOMB_RATIO * (uint64_t)p->map.n_bytes;
    if (p->unpacked_bytes <= most) return UCB_OK;
    return UCB_FAIL(err, UCB_UNSUPPORTED,
                    "%s: %zu bytes that unpack to %llu, past the limit of %llu; if you "
                    "trust it, allow more with --limit BYTES",
                    p->path, p->map.n_bytes, (unsigned long long)p->unpacked_bytes,
                    (unsigned long long)most);
}

static ucb_status read_manifest(struct ucb_packfile *p, uint64_t offset,
                                struct ucb_err *err)
{
    const uint8_t *h = p->map.data;
    uint8_t digest[UCB_SHA256_BYTES];
    json_t *root;
    ucb_sha256(h + offset, p->manifest_bytes, digest);
    if (memcmp(digest, h + 48, sizeof(digest)) != 0)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: its manifest does not have the digest in its header", p->path);
    UCB_TRY(
        ucb_json_parse(p->path, (const char *)h + offset, p->manifest_bytes, &root, err));
    ucb_status status = ucb_packfile_read_manifest(p, root, err);
    json_decref(root);
    return status;
}

static ucb_status open_mapped(struct ucb_packfile *p, uint64_t limit, struct ucb_err *err)
{
    UCB_TRY(check_version(p, err));
    const uint8_t *h = p->map.data;
    uint64_t offset = ucb_load_u64(h + 24);
    p->manifest_bytes = ucb_load_u64(h + 32);
    p->unpacked_bytes = ucb_load_u64(h + 40);
    if (offset < UCB_PACKFILE_HEADER || offset > p->map.n_bytes ||
        p->manifest_bytes != p->map.n_bytes - offset)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: its header puts the manifest outside it",
                        p->path);
    for (int i = 80; i < UCB_PACKFILE_CHECKED; i++)
        if (h[i] != 0)
            return UCB_FAIL(err, UCB_CORRUPT, "%s: an unused byte of its header is set",
                            p->path);
    UCB_TRY(check_limit(p, limit, err));
    UCB_TRY(read_manifest(p, offset, err));
    return ucb_packfile_check_structure(p, offset, err);
}

static struct ucb_packfile *new_pack(const char *path)
{
    struct ucb_packfile *p = ucb_mem_alloc(sizeof(*p));
    if (p == NULL) return NULL;
    ucb_arena_init(&p->arena);
    p->path = ucb_arena_strdup(&p->arena, path);
    if (p->path != NULL) return p;
    ucb_mem_free(p);
    return NULL;
}

ucb_status ucb_packfile_open_bytes(const char *path, const uint8_t *bytes, size_t n_bytes,
                                   uint64_t limit_bytes, struct ucb_packfile **out,
                                   struct ucb_err *err)
{
    struct ucb_packfile *p = new_pack(path);
    if (p == NULL) return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to open it", path);
    p->map = (struct ucb_file){.data = bytes, .n_bytes = n_bytes};
    ucb_status status = open_mapped(p, limit_bytes, err);
    if (status == UCB_OK) {
        *out = p;
        return UCB_OK;
    }
    ucb_arena_free(&p->arena);
    ucb_mem_free(p);
    return status;
}

ucb_status ucb_packfile_open(const char *path, uint64_t limit_bytes,
                             struct ucb_packfile **out, struct ucb_err *err)
{
    struct ucb_file map;
    UCB_TRY(ucb_file_map(path, &map, err));
    ucb_status status = ucb_packfile_open_bytes(path, map.data, map.n_bytes, limit_bytes,
                                                out, err);
    if (status == UCB_OK)
        (*out)->is_mapped = true;
    else
        ucb_file_unmap(&map);
    return status;
}

void ucb_packfile_close(struct ucb_packfile *p)
{
    if (p == NULL) return;
    if (p->is_mapped) ucb_file_unmap(&p->map);
    ucb_arena_free(&p->arena);
    ucb_mem_free(p);
}

ucb_status ucb_packfile_check_blob(const struct ucb_packfile *p, uint32_t blob,
                                   struct ucb_err *err)
{
    const struct ucb_blob *b = &p->blobs[blob];
    const uint8_t *data = ucb_packfile_blob(p, blob);
    uint8_t digest[UCB_SHA256_BYTES];
    struct ucb_sha256 h;
    ucb_sha256_init(&h);
    for (uint64_t at = 0, n; at < b->n_bytes; at += n) {
        n = b->n_bytes - at < (8 << 20) ? b->n_bytes - at : (8 << 20);
        ucb_sha256_update(&h, data + at, n);
        if (p->is_mapped) ucb_file_forget_behind(data, at, n);
    }
    ucb_sha256_final(&h, digest);
    if (memcmp(digest, b->sha256, sizeof(digest)) == 0) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "%s: the %llu bytes at %llu do not have their digest: the pack was "
                    "damaged or changed",
                    p->path, (unsigned long long)b->n_bytes, (unsigned long long)b->offset);
}

void ucb_pack_tensor_digest_begin(struct ucb_sha256 *h, enum ucb_dtype dtype,
                                  uint32_t n_dims, const uint64_t *shape)
{
    char text[256];
    int n = snprintf(text, sizeof(text), "%s [", ucb_dtype_name(dtype));
    for (uint32_t i = 0; i < n_dims; i++)
        n += snprintf(text + n, sizeof(text) - (size_t)n, i == 0 ? "%llu" : ", %llu",
                      (unsigned long long)shape[i]);
    n += snprintf(text + n, sizeof(text) - (size_t)n, "]\n");
    ucb_sha256_init(h);
    ucb_sha256_update(h, text, (size_t)n);
}
