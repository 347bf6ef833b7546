/*
 * tiny_mixers.h - made-up checkpoints of the mixers that are not plain attention, with what
 * the reference vectors of their kind leave out. Two layers, random weights, no tokenizer.
 * Never a source of results.
 */
#ifndef UCB_TESTS_TINY_MIXERS_H
#define UCB_TESTS_TINY_MIXERS_H

/* DeepSeek-V2's layers with a rank for queries, values wider than keys, biases, experts in
 * groups of which half compete, their weights times 2.5; the first layer is dense. */
void tiny_latent_model(const char *folder);
/* Mamba's layers with an odd width, number of states and of taps, biases on both
 * projections and none on the convolution. */
void tiny_ssm_model(const char *folder);

#endif
