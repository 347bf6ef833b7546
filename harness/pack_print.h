/*
 * pack_print.h - what is in a pack, for people and as JSON, for `pack` and `info`.
 */
#ifndef UCB_PACK_PRINT_H
#define UCB_PACK_PRINT_H

#include <stdbool.h>

#include "pack/packfile.h"

/* On stdout. NOMEM, as JSON only. */
ucb_status ucb_pack_print(const struct ucb_packfile *pack, bool as_json,
                          struct ucb_err *err);

#endif
