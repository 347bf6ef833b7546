/*
 * sha256.h - digests, by OpenSSL's EVP interface.
 */
#ifndef UCB_CORE_SHA256_H
#define UCB_CORE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

enum { UCB_SHA256_BYTES = 32, UCB_SHA256_HEX = 65 };

/* A digest in progress. init .. update* .. final; final releases it, so call it exactly
 * once. */
struct ucb_sha256 {
    void *context;
};
void ucb_sha256_init(struct ucb_sha256 *h);
void ucb_sha256_update(struct ucb_sha256 *h, const void *data, size_t n_bytes);
void ucb_sha256_final(struct ucb_sha256 *h, uint8_t digest[UCB_SHA256_BYTES]);
void ucb_sha256_final_hex(struct ucb_sha256 *h, char hex[UCB_SHA256_HEX]);

void ucb_sha256(const void *data, size_t n_bytes, uint8_t digest[UCB_SHA256_BYTES]);
void ucb_sha256_hex(const void *data, size_t n_bytes, char hex[UCB_SHA256_HEX]);
/* Of a whole file. MISSING, IO. */
ucb_status ucb_sha256_file(const char *path, char hex[UCB_SHA256_HEX], struct ucb_err *err);

#endif
