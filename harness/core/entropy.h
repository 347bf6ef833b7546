/*
 * entropy.h - order-0 coders of bytes for anything small: canonical Huffman (codes of 15
 * bits at most) and static rANS (frequencies of 12 bits, a state of 32).
 *
 * An encoder writes its model before its stream and answers the exact size of both. The
 * number of symbols is the caller's to keep. Decoders trust nothing: CORRUPT for a stream
 * that is too short or too long, a table no encoder writes, or an end state that is not the
 * start state; `out` is then spoiled.
 *
 *     model, both    32 bytes: bit s says that symbol s occurs; nothing for 0 symbols.
 *                    With one symbol this is all; there is no stream
 *       Huffman      length - 1 of the code of each symbol, 4 bits, low nibble first
 *       rANS         frequency - 1 of each symbol but the last (all sum to 4096), 12 bits,
 *                    lowest bits first, zero padded
 *     stream
 *       Huffman      codes from the highest bit down, zero padded to a byte
 *       rANS         the state (u32), then bytes as the decoder takes them
 */
#ifndef UCB_CORE_ENTROPY_H
#define UCB_CORE_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

enum { UCB_HUFFMAN_LONGEST = 15, UCB_RANS_BITS = 12 };

/* Room that any encoder below may need for n symbols. */
size_t ucb_entropy_bound(size_t n);

/* Write at most ucb_entropy_bound(n) bytes to out and answer how many; the first *n_model
 * of them are the model. */
size_t ucb_entropy_huffman(const uint8_t *symbols, size_t n, uint8_t *out, size_t *n_model);
size_t ucb_entropy_rans(const uint8_t *symbols, size_t n, uint8_t *out, size_t *n_model);
ucb_status ucb_entropy_huffman_decode(const uint8_t *data, size_t n_bytes, uint8_t *symbols,
                                      size_t n, struct ucb_err *err);
ucb_status ucb_entropy_rans_decode(const uint8_t *data, size_t n_bytes, uint8_t *symbols,
                                   size_t n, struct ucb_err *err);

/* The smallest of the bytes themselves (0), Huffman (1) and rANS (2), behind a byte that
 * says which; that byte counts to the model. */
size_t ucb_entropy_encode(const uint8_t *symbols, size_t n, uint8_t *out, size_t *n_model);
ucb_status ucb_entropy_decode(const uint8_t *data, size_t n_bytes, uint8_t *symbols,
                              size_t n, struct ucb_err *err);

#endif
