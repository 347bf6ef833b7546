/* sha256.c - see sha256.h. EVP calls on a fresh context fail only when memory runs out:
 * that ends the program. */
#include "core/sha256.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/evp.h>

#include "core/file.h"

enum { SLAB_BYTES = 8 << 20 }; /* of a file that is read; pages are released behind */

static void must(int ok)
{
    if (ok == 1) return;
    fputs("ucbench: SHA-256 is not available from the OpenSSL library in use\n", stderr);
    abort();
}

void ucb_sha256_init(struct ucb_sha256 *h)
{
    h->context = EVP_MD_CTX_new();
    must(h->context != NULL);
    must(EVP_DigestInit_ex(h->context, EVP_sha256(), NULL));
}

void ucb_sha256_update(struct ucb_sha256 *h, const void *data, size_t n_bytes)
{
    if (n_bytes > 0) must(EVP_DigestUpdate(h->context, data, n_bytes));
}

void ucb_sha256_final(struct ucb_sha256 *h, uint8_t digest[UCB_SHA256_BYTES])
{
    unsigned n = UCB_SHA256_BYTES;
    must(EVP_DigestFinal_ex(h->context, digest, &n));
    EVP_MD_CTX_free(h->context);
    h->context = NULL;
}

static void to_hex(const uint8_t digest[UCB_SHA256_BYTES], char hex[UCB_SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < UCB_SHA256_BYTES; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[2 * UCB_SHA256_BYTES] = '\0';
}

void ucb_sha256_final_hex(struct ucb_sha256 *h, char hex[UCB_SHA256_HEX])
{
    uint8_t digest[UCB_SHA256_BYTES];
    ucb_sha256_final(h, digest);
    to_hex(digest, hex);
}

void ucb_sha256(const void *data, size_t n_bytes, uint8_t digest[UCB_SHA256_BYTES])
{
    struct ucb_sha256 h;
    ucb_sha256_init(&h);
    ucb_sha256_update(&h, data, n_bytes);
    ucb_sha256_final(&h, digest);
}

void ucb_sha256_hex(const void *data, size_t n_bytes, char hex[UCB_SHA256_HEX])
{
    uint8_t digest[UCB_SHA256_BYTES];
    ucb_sha256(data, n_bytes, digest);
    to_hex(digest, hex);
}

ucb_status ucb_sha256_file(const char *path, char hex[UCB_SHA256_HEX], struct ucb_err *err)
{
    struct ucb_file file;
    struct ucb_sha256 h;
    UCB_TRY(ucb_file_map(path, &file, err));
    ucb_sha256_init(&h);
    for (size_t at = 0; at < file.n_bytes; at += SLAB_BYTES) {
        size_t n = file.n_bytes - at < SLAB_BYTES ? file.n_bytes - at : SLAB_BYTES;
        ucb_sha256_update(&h, file.data + at, n);
        ucb_file_forget_behind(file.data, at, n);
    }
    ucb_sha256_final_hex(&h, hex);
    ucb_file_unmap(&file);
    return UCB_OK;
}
