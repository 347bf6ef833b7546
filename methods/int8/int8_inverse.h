/*
 * int8_inverse.h - 1 / 127 as LLM.int8 has it, for C and CUDA.
 */
#ifndef UCB_METHODS_INT8_INVERSE_H
#define UCB_METHODS_INT8_INVERSE_H

#define INT8_INVERSE_127 0.007874015718698502f

#endif
