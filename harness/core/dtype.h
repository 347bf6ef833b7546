/*
 * dtype.h - the element types that model files hold: one list, name, elements and bytes of
 * a block.
 */
#ifndef UCB_CORE_DTYPE_H
#define UCB_CORE_DTYPE_H

#include <stddef.h>
#include <stdint.h>

/* X(code, name, elements per block, bytes per block). Block types are ggml's, laid out
 * along a row. */
#define UCB_DTYPE_LIST(X)           \
    X(UCB_F32, "F32", 1, 4)         \
    X(UCB_F16, "F16", 1, 2)         \
    X(UCB_BF16, "BF16", 1, 2)       \
    X(UCB_F64, "F64", 1, 8)         \
    X(UCB_F8_E4M3, "F8_E4M3", 1, 1) \
    X(UCB_F8_E5M2, "F8_E5M2", 1, 1) \
    X(UCB_I8, "I8", 1, 1)           \
    X(UCB_U8, "U8", 1, 1)           \
    X(UCB_I16, "I16", 1, 2)         \
    X(UCB_U16, "U16", 1, 2)         \
    X(UCB_I32, "I32", 1, 4)         \
    X(UCB_U32, "U32", 1, 4)         \
    X(UCB_I64, "I64", 1, 8)         \
    X(UCB_U64, "U64", 1, 8)         \
    X(UCB_BOOL, "BOOL", 1, 1)       \
    X(UCB_Q4_0, "Q4_0", 32, 18)     \
    X(UCB_Q4_1, "Q4_1", 32, 20)     \
    X(UCB_Q5_0, "Q5_0", 32, 22)     \
    X(UCB_Q5_1, "Q5_1", 32, 24)     \
    X(UCB_Q8_0, "Q8_0", 32, 34)     \
    X(UCB_Q2_K, "Q2_K", 256, 84)    \
    X(UCB_Q3_K, "Q3_K", 256, 110)   \
    X(UCB_Q4_K, "Q4_K", 256, 144)   \
    X(UCB_Q5_K, "Q5_K", 256, 176)   \
    X(UCB_Q6_K, "Q6_K", 256, 210)   \
    X(UCB_IQ4_NL, "IQ4_NL", 32, 18) \
    X(UCB_IQ4_XS, "IQ4_XS", 256, 136)

enum ucb_dtype {
#define UCB_DTYPE_ENUM(code, name, elements, bytes) code,
    UCB_DTYPE_LIST(UCB_DTYPE_ENUM)
#undef UCB_DTYPE_ENUM
        UCB_N_DTYPES
};

const char *ucb_dtype_name(enum ucb_dtype dtype);
uint32_t ucb_dtype_block_elements(enum ucb_dtype dtype);
uint32_t ucb_dtype_block_bytes(enum ucb_dtype dtype);
/* The dtype of that name, or UCB_N_DTYPES. */
enum ucb_dtype ucb_dtype_find(const char *name, size_t n_chars);

#endif
