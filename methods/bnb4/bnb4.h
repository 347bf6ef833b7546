/*
 * bnb4.h - what nf4 and fp4 share: blocks of absmax-scaled 4-bit codes, and absmax itself
 * quantized (bitsandbytes).
 */
#ifndef UCB_METHODS_BNB4_H
#define UCB_METHODS_BNB4_H

#include "method/method.h"

/* A 4-bit data type: the value of each code, and the codes in the order of their values. */
struct bnb4_type {
    const float *value;   /* [16], by code */
    const uint8_t *order; /* [16], codes by rising value; of two zeros the one first here
                             wins at exact 0 */
};

extern const struct ucb_knob bnb4_knobs[];
enum ucb_dtype bnb4_decoded_dtype(const struct ucb_job *job, enum ucb_dtype source);
double bnb4_nominal_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix);
size_t bnb4_state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix);
ucb_status bnb4_encode(struct ucb_job *job, const struct bnb4_type *type,
                       const struct ucb_source *src, struct ucb_writer *out,
                       struct ucb_err *err);
ucb_status bnb4_open(struct ucb_job *job, const struct bnb4_type *type,
                     const struct ucb_matrix *matrix, struct ucb_reader *in, void *state,
                     struct ucb_err *err);
void bnb4_decode(const void *state, uint32_t row, uint32_t n, float *acc);
ucb_status bnb4_inspect(struct ucb_job *job, const void *state, ucb_inspect_emit *emit,
                        void *context, struct ucb_err *err);

/* Which rule picks a code of the 8-bit map: the GPU kernel's, or the table look-up of the
 * CPU library. */
enum bnb4_rule { BNB4_RULE_GPU, BNB4_RULE_CPU };
enum { BNB4_MAP_SIZE = 256 };

/* Entry `code` of the signed dynamic 8-bit map, which ascends. */
float bnb4_map_value(unsigned code);
/* The mean of absmax, added in double in index order and rounded once. */
float bnb4_offset(const float *absmax, size_t n);
/* Codes of (absmax - offset) in blocks of `nested`; absmax2 gets the peak of each block. */
void bnb4_nested_encode(const float *absmax, size_t n, float offset, size_t nested,
                        enum bnb4_rule rule, uint8_t *codes, float *absmax2);
/* The absmax that a decoder uses. */
void bnb4_nested_decode(const uint8_t *codes, size_t n, float offset, size_t nested,
                        const float *absmax2, float *absmax);

#endif
