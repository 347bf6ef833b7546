/*
 * packfile_internal.h - what the files of the pack reader share.
 */
#ifndef UCB_PACK_PACKFILE_INTERNAL_H
#define UCB_PACK_PACKFILE_INTERNAL_H

#include "core/json.h"
#include "pack/packfile.h"

/* Fills the pack from its manifest; sizes and references are checked one by one, not yet
 * against each other. CORRUPT names the member. */
ucb_status ucb_packfile_read_manifest(struct ucb_packfile *p, json_t *root,
                                      struct ucb_err *err);
/* What the manifest's members say together. */
ucb_status ucb_packfile_check_structure(struct ucb_packfile *p, uint64_t manifest_offset,
                                        struct ucb_err *err);
/* A name that a file may be given in a folder of the user's choice. */
bool ucb_pack_name_is_plain(const char *name);
/* False where it is not 64 small hex digits. */
bool ucb_hex_digest(const char *hex, size_t n_chars, uint8_t out[UCB_SHA256_BYTES]);

#endif
