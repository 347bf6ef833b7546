/*
 * Hostile bytes into the codec, and its own bytes back. Byte 0 says what: an array to be
 * encoded and decoded again by every path, or a stream whose checksums are put right first,
 * so that the readers of tables, words and planes see the damage.
 */
#include <stdlib.h>
#include <string.h>

#include "codec/codec_internal.h"
#include "codec_seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

enum { MOST_DECODED = 1 << 21 };

static const enum ucb_dtype codec_fuzz_dtypes[4] = {UCB_BF16, UCB_F16, UCB_F32, UCB_U8};

/* Decodes by both paths; they must agree on refusal and on bytes. */
static void decode_both(enum ucb_dtype dtype, const uint8_t *stream, size_t n_bytes,
                        uint64_t n_decoded, const uint8_t *expected)
{
    struct ucb_codec codec;
    struct ucb_err err;
    ucb_status status[2];
    uint8_t *out[2] = {malloc(n_decoded + 1), malloc(n_decoded + 1)};
    if (ucb_codec_open(dtype, n_decoded, stream, n_bytes, &codec, &err) == UCB_OK) {
        struct ucb_codec_split split;
        for (int path = 0; path < 2; path++) {
            codec.path = path == 0 ? UCB_CODEC_SCALAR : ucb_codec_path_best();
            status[path] = ucb_codec_decode(&codec, 0, n_decoded, NULL, out[path], &err);
        }
        ucb_codec_split(&codec, &split);
        if (status[0] != status[1]) abort();
        if (status[0] == UCB_OK && memcmp(out[0], out[1], n_decoded) != 0) abort();
        if (expected != NULL &&
            (status[0] != UCB_OK || memcmp(out[0], expected, n_decoded) != 0))
            abort();
    } else if (expected != NULL) {
        abort();
    }
    free(out[0]);
    free(out[1]);
}

static void there_and_back(unsigned what, const uint8_t *data, size_t n_bytes)
{
    enum ucb_dtype dtype = codec_fuzz_dtypes[what & 3];
    struct ucb_arena scratch = {0};
    struct ucb_writer out = {0};
    struct ucb_err err;
    unsigned width = ucb_dtype_block_bytes(dtype);
    struct ucb_codec_source source = {dtype, data, n_bytes / width * width, what >> 4};
    if (ucb_codec_encode(&source, (enum ucb_codec_mode)((what >> 2 & 3) % 3), NULL,
                         &scratch, &out, &err) != UCB_OK)
        abort();
    decode_both(dtype, out.data, out.n_bytes, source.n_bytes, data);
    ucb_writer_free(&out);
    ucb_arena_free(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    if (n_bytes == 0) return 0;
    if (data[0] < 128) {
        there_and_back(data[0], data + 1, n_bytes - 1);
        return 0;
    }
    uint8_t *stream = malloc(n_bytes);
    memcpy(stream, data + 1, n_bytes - 1);
    if (data[0] & 4) codec_seal(stream, n_bytes - 1);
    uint64_t n_decoded = n_bytes > 24 ? ucb_load_u64(stream + 16) : 0;
    if (n_decoded <= MOST_DECODED)
        decode_both(codec_fuzz_dtypes[data[0] & 3], stream, n_bytes - 1, n_decoded, NULL);
    free(stream);
    return 0;
}
