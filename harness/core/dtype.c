/* dtype.c - see dtype.h. */
#include "core/dtype.h"

#include <assert.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t elements, bytes;
} table[UCB_N_DTYPES] = {
#define UCB_DTYPE_ROW(code, name, elements, bytes) [code] = {name, elements, bytes},
    UCB_DTYPE_LIST(UCB_DTYPE_ROW)
#undef UCB_DTYPE_ROW
};

const char *ucb_dtype_name(enum ucb_dtype dtype)
{
    return (unsigned)dtype < UCB_N_DTYPES ? table[dtype].name : "?";
}

uint32_t ucb_dtype_block_elements(enum ucb_dtype dtype)
{
    assert((unsigned)dtype < UCB_N_DTYPES);
    return table[dtype].elements;
}

uint32_t ucb_dtype_block_bytes(enum ucb_dtype dtype)
{
    assert((unsigned)dtype < UCB_N_DTYPES);
    return table[dtype].bytes;
}

enum ucb_dtype ucb_dtype_find(const char *name, size_t n_chars)
{
    for (unsigned i = 0; i < UCB_N_DTYPES; i++)
        if (strlen(table[i].name) == n_chars && memcmp(table[i].name, name, n_chars) == 0)
            return (enum ucb_dtype)i;
    return UCB_N_DTYPES;
}
