/* The amx path compiled against the model of the tile unit: see amx_tile.h. */
#define UCB_AMX_MODELLED
#include "backend/backend_internal.h"
extern const struct ucb_kernel_table ucb_kernel_table_amx_modelled;
#include "../../harness/backend/kernel_amx.c"
