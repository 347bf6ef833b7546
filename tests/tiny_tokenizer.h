/*
 * tiny_tokenizer.h - vocabularies small enough to calculate by hand, written as
 * tokenizer.json.
 *
 * Header-only: the fuzz targets are single files.
 */
#ifndef UCB_TESTS_TINY_TOKENIZER_H
#define UCB_TESTS_TINY_TOKENIZER_H

#include <stdbool.h>
#include <string.h>

#include "core/text.h"

#define TINY_BYTE_LEVEL                                                                   \
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":" \
    "true}"
#define TINY_SPACES                                                                 \
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\"," \
    "\"prepend\":\"\\u2581\"},"                                                     \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\\u2581\"}]}"

/*
 * Ids 256 and up: the token that merge i, "left right", makes; duplicates are the caller's
 * mistake.
 */
static inline void tiny_put_merges(struct ucb_text *out, const char *const *merges,
                                   size_t n_merges)
{
    for (size_t i = 0; i < n_merges; i++) {
        const char *space = strchr(merges[i], ' ');
        ucb_text_add(out, ",\"%.*s%s\":%zu", (int)(space - merges[i]), merges[i], space + 1,
                     256 + i);
    }
    ucb_text_add(out, "},\"merges\":[");
    for (size_t i = 0; i < n_merges; i++)
        ucb_text_add(out, "%s\"%s\"", i == 0 ? "" : ",", merges[i]);
    ucb_text_add(out, "]}}");
}

/*
 * Ids 0 to 255 are the bytes, in the byte-level alphabet. `head`: the fields before the
 * model, or NULL.
 */
static inline void tiny_byte_level(struct ucb_text *out, const char *head,
                                   const char *const *merges, size_t n_merges)
{
    int shifted = 0x100;
    ucb_text_add(out, "{%s%s%s,\"model\":{\"type\":\"BPE\",\"vocab\":{",
                 head == NULL ? "" : head, head == NULL ? "" : ",", TINY_BYTE_LEVEL);
    for (int b = 0; b < 256; b++) {
        bool itself = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
        ucb_text_add(out, "%s\"\\u%04x\":%d", b == 0 ? "" : ",", itself ? b : shifted++, b);
    }
    tiny_put_merges(out, merges, n_merges);
}

/* SentencePiece with byte fallback: ids 0 to 255 are <0x00> to <0xFF>. */
static inline void tiny_spaces(struct ucb_text *out, const char *letters,
                               const char *const *merges, size_t n_merges)
{
    ucb_text_add(out, "{%s,\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{",
                 TINY_SPACES);
    for (int b = 0; b < 256; b++)
        ucb_text_add(out, "%s\"<0x%02X>\":%d", b == 0 ? "" : ",", b, b);
    ucb_text_add(out, ",\"\\u2581\":%zu", 256 + n_merges);
    for (size_t i = 0; letters[i] != '\0'; i++)
        ucb_text_add(out, ",\"%c\":%zu", letters[i], 257 + n_merges + i);
    tiny_put_merges(out, merges, n_merges);
}

#endif
