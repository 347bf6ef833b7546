/* gguf_avx2.c - the encoders for AVX2: 8 lanes. */
#define GGUF_PATH gguf_path_avx2
#define GGUF_PATH_NAME "avx2"
#include "gguf_encode_template.h"
