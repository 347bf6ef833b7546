/*
 * iq4_values.h - the sixteen levels of ggml's IQ4 types, for C and CUDA.
 */
#ifndef UCB_MODEL_IQ4_VALUES_H
#define UCB_MODEL_IQ4_VALUES_H

#define UCB_IQ4_VALUES \
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113

#endif
