/*
 * byte_tokenizer.h - a real tokenizer of 257 ids, one for each byte and BOS: tests of tasks
 * count ids by counting bytes.
 *
 * Made as a tokenizer.json and its tokenizer_config.json in a folder of the test, and
 * opened like any other.
 */
#ifndef UCB_TESTS_BYTE_TOKENIZER_H
#define UCB_TESTS_BYTE_TOKENIZER_H

#include <stdio.h>
#include <unistd.h>

#include "model/tokenizer.h"

enum { TINY_BOS = 256 };

/* The character that stands for a byte in the file: itself where that prints, else the next
 * one from U+0100 on. */
static unsigned tiny_character(unsigned byte, unsigned *next)
{
    int prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) ||
                 byte >= 0xae;
    return prints ? byte : (*next)++;
}

/* `folder` exists; with_bos == 0 leaves the BOS token out. */
static ucb_status tiny_tokenizer_open(const char *folder, int with_bos,
                                      struct ucb_tokenizer **out, struct ucb_err *err)
{
    char path[1024];
    unsigned next = 0x100;
    snprintf(path, sizeof(path), "%s/tokenizer_config.json", folder);
    FILE *file = fopen(path, "w");
    if (file == NULL) return UCB_FAIL(err, UCB_IO, "%s: cannot write", path);
    fputs(with_bos ? "{\"bos_token\": \"<s>\"}\n" : "{}\n", file);
    fclose(file);
    snprintf(path, sizeof(path), "%s/tokenizer.json", folder);
    file = fopen(path, "w");
    if (file == NULL) return UCB_FAIL(err, UCB_IO, "%s: cannot write", path);
    fputs(
        "{\"added_tokens\": [{\"id\": 256, \"content\": \"<s>\", \"special\": true, \"single_word\": false, \"lstrip\": false,"
        " \"rstrip\": false, \"normalized\": false}], \"normalizer\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\","
        " \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}, \"post_processor\": null,"
        " \"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\", \"merges\": [], \"vocab\": {",
        file);
    for (unsigned byte = 0; byte < 256; byte++)
        fprintf(file, "%s\"\\u%04x\": %u", byte == 0 ? "" : ", ",
                tiny_character(byte, &next), byte);
    fputs("}}}\n", file);
    fclose(file);
    return ucb_tokenizer_open(path, out, err);
}

/* The two files and the folder; an open tokenizer does not need them. */
static inline void tiny_tokenizer_remove(const char *folder)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s/tokenizer_config.json", folder);
    unlink(path);
    snprintf(path, sizeof(path), "%s/tokenizer.json", folder);
    unlink(path);
    rmdir(folder);
}

#endif
