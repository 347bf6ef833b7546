/* Damaged packs: every bit flipped, every truncation, what is appended. A reader says no or
 * gives the exact bytes; nothing else. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "pack/packfile.h"
#include "tiny.h"

static struct ucb_err err;
static char said[1 << 14];

static ucb_status hash(void *context, uint64_t at, const uint8_t *bytes, size_t n,
                       struct ucb_err *e)
{
    (void)at, (void)e;
    ucb_sha256_update(context, bytes, n);
    return UCB_OK;
}

/* SHA-256 over all files of a pack in memory; false where it is refused. */
static bool digest_of(const uint8_t *bytes, size_t n, char hex[UCB_SHA256_HEX])
{
    struct ucb_packfile *pack;
    struct ucb_pack_decoder *decoder = NULL;
    struct ucb_sha256 h;
    struct ucb_err why;
    if (ucb_packfile_open_bytes("pack", bytes, n, 0, &pack, &why) != UCB_OK) return false;
    ucb_status status = ucb_pack_decoder_open(pack, NULL, &decoder, &why);
    ucb_sha256_init(&h);
    for (uint32_t i = 0; i < pack->n_pieces && status == UCB_OK; i++)
        status = ucb_pack_decode_piece(decoder, i, hash, &h, &why);
    ucb_sha256_final_hex(&h, hex);
    ucb_pack_decoder_close(decoder);
    ucb_packfile_close(pack);
    return status == UCB_OK;
}

static uint8_t *make_pack(const char *method, size_t *n)
{
    const char *path = ucb_test_path("%s/p.ucb", ucb_test_folder());
    struct ucb_file map;
    int code = ucb_run_program(
        said, sizeof(said),
        "pack --quiet --model %s/tests/golden/arch/llama-tied-gqa --method %s --out %s",
        ucb_test_root(), method, path);
    if (code != 0) ucb_test_fail(__FILE__, __LINE__, "%s", said);
    CHECK_OK(ucb_file_map(path, &map, &err), err);
    uint8_t *copy = malloc(map.n_bytes + 64);
    memcpy(copy, map.data, map.n_bytes);
    *n = map.n_bytes;
    ucb_file_unmap(&map);
    return copy;
}

/* Every bit of the header; three bits of every 61st byte behind it. */
static void check_flips(const char *method)
{
    size_t n, n_same = 0;
    char right[UCB_SHA256_HEX], found[UCB_SHA256_HEX];
    uint8_t *bytes = make_pack(method, &n);
    CHECK(digest_of(bytes, n, right));
    for (size_t at = 0; at < n; at += at < 128 ? 1 : 61)
        for (int bit = 0; bit < 8; bit += at < 128 ? 1 : 3) {
            bytes[at] ^= (uint8_t)(1 << bit);
            if (digest_of(bytes, n, found)) {
                n_same++;
                if (strcmp(found, right) != 0)
                    ucb_test_fail(__FILE__, __LINE__, "%s: bit %d of byte %zu went unseen",
                                  method, bit, at);
            }
            bytes[at] ^= (uint8_t)(1 << bit);
        }
    CHECK(n_same < n / 100);
    free(bytes);
}

TEST(a_flipped_bit_of_a_pack_is_refused_or_changes_nothing)
{
    check_flips("lossless");
    check_flips("nf4");
}

TEST(a_pack_cut_or_appended_to_is_refused)
{
    size_t n;
    char found[UCB_SHA256_HEX];
    uint8_t *bytes = make_pack("nf4", &n);
    for (size_t length = 0; length < n; length += length < 256 ? 1 : 97)
        CHECK(!digest_of(bytes, length, found));
    bytes[n] = 0;
    CHECK(!digest_of(bytes, n + 1, found));
    free(bytes);
}

TEST(a_pack_that_unpacks_to_too_much_is_refused_before_anything_is_allocated)
{
    size_t n;
    uint8_t *bytes = make_pack("nf4", &n);
    struct ucb_packfile *pack;
    CHECK_STATUS(ucb_packfile_open_bytes("pack", bytes, n, 1000, &pack, &err),
                 UCB_UNSUPPORTED, err);
    CHECK_HAS(err.text, "--limit");
    free(bytes);
}

/* The limit on file sizes stands in for a full disk. */
TEST(a_pack_that_cannot_be_finished_leaves_the_old_one_whole)
{
    const char *folder = ucb_test_path("%s/out", ucb_test_folder()),
               *path = ucb_test_path("%s/p.ucb", folder);
    struct ucb_file file;
    CHECK_OK(ucb_folder_make(folder, &err), err);
    CHECK_OK(ucb_file_write(path, "old", 3, &err), err);
    FILE *pipe = popen(
        ucb_test_path("sh -c 'ulimit -f 16; %s pack --method lossless --model "
                      "%s/tests/golden/arch/llama-sharded --out %s 2>&1; "
                      "echo exit $?; ls %s'",
                      ucb_test_program(), ucb_test_root(), path, folder),
        "r");
    CHECK(pipe != NULL);
    said[fread(said, 1, sizeof(said) - 1, pipe)] = '\0';
    pclose(pipe);
    CHECK_HAS(said, "exit 4\np.ucb\n");
    CHECK_OK(ucb_file_map(path, &file, &err), err);
    CHECK_EQ(file.n_bytes, 3);
    ucb_file_unmap(&file);
}

TEST(a_damaged_pack_leaves_no_file_behind)
{
    size_t n;
    uint8_t *bytes = make_pack("lossless", &n);
    const char *path = ucb_test_path("%s/bad.ucb", ucb_test_folder());
    bytes[ucb_load_u64(bytes + 24) / 2] ^= 1; /* among the blobs, before the manifest */
    CHECK_OK(ucb_file_write(path, bytes, n, &err), err);
    free(bytes);
    CHECK_EQ(ucb_run_program(said, sizeof(said), "unpack %s --out %s/o; ls %s/o", path,
                             ucb_test_folder(), ucb_test_folder()),
             0);
    CHECK(strstr(said, "safetensors\n") == NULL);
    CHECK_EQ(ucb_run_program(said, sizeof(said), "verify %s", path), 1);
    CHECK_HAS(said, "FAIL     pack_digest");
}
