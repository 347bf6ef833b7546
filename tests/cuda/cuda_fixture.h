/*
 * cuda_fixture.h - tests of the GPU's kernels, on one of the plugins beside the program.
 */
#ifndef UCB_TESTS_CUDA_FIXTURE_H
#define UCB_TESTS_CUDA_FIXTURE_H

/* Lets this test's process use the emulated plugin; skips where it was not built. Before
 * anything asks for a plugin. `order`: forward, reverse, random:SEED. */
void use_emulated_cuda(const char *order);
/* The plugin that nvcc made; skips where there is none. */
void use_real_plugin(void);
/* And where there is no device. */
void use_real_device(void);

#endif
