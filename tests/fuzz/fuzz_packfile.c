/*
 * Hostile bytes into the readers of packs and of the two older containers. Byte 0 says
 * which, and whether a pack's header and manifest digests are put right first, so that what
 * lies behind them is reached.
 */
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "pack/packfile.h"
#include "pack/seed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

enum { MOST_UNPACKED = 1 << 20 };

static ucb_status packfile_fuzz_ignore(void *context, uint64_t at, const uint8_t *bytes,
                                       size_t n, struct ucb_err *err)
{
    (void)context, (void)at, (void)bytes, (void)n, (void)err;
    return UCB_OK;
}

static void packfile_fuzz_seal(uint8_t *pack, size_t n)
{
    uint8_t digest[UCB_SHA256_BYTES];
    uint64_t size = n;
    if (n < UCB_PACKFILE_HEADER) return;
    uint64_t offset = ucb_load_u64(pack + 24);
    if (offset > n) return;
    uint64_t length = n - offset;
    memcpy(pack + 16, &size, 8);
    memcpy(pack + 32, &length, 8);
    ucb_sha256(pack + offset, length, digest);
    memcpy(pack + 48, digest, sizeof(digest));
    ucb_sha256(pack, UCB_PACKFILE_CHECKED, digest);
    memcpy(pack + UCB_PACKFILE_CHECKED, digest, sizeof(digest));
}

static void packfile_fuzz_pack(const uint8_t *bytes, size_t n)
{
    struct ucb_packfile *pack;
    struct ucb_pack_decoder *decoder = NULL;
    struct ucb_err err;
    if (ucb_packfile_open_bytes("pack", bytes, n, MOST_UNPACKED, &pack, &err) != UCB_OK)
        return;
    if (ucb_pack_decoder_open(pack, NULL, &decoder, &err) == UCB_OK)
        for (uint32_t i = 0; i < pack->n_pieces; i++)
            ucb_pack_decode_piece(decoder, i, packfile_fuzz_ignore, NULL, &err);
    ucb_pack_decoder_close(decoder);
    ucb_packfile_close(pack);
}

static void packfile_fuzz_seeds(bool v17, const uint8_t *bytes, size_t n)
{
    struct ucb_arena arena;
    struct ucb_uc_layer layer;
    struct ucb_v17 v;
    struct ucb_err err;
    ucb_arena_init(&arena);
    if (v17)
        ucb_v17_parse("v17", bytes, n, &arena, &v, &err);
    else
        ucb_uc_parse("uc", bytes, n, &arena, &layer, &err);
    ucb_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    if (n_bytes < 2) return 0;
    uint8_t *own = malloc(n_bytes);
    memcpy(own, data + 1, n_bytes - 1);
    if (data[0] % 4 == 3) packfile_fuzz_seal(own, n_bytes - 1);
    if (data[0] % 4 >= 2)
        packfile_fuzz_pack(own, n_bytes - 1);
    else
        packfile_fuzz_seeds(data[0] % 4 == 1, own, n_bytes - 1);
    free(own);
    return 0;
}
