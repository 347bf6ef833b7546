/* gguf_avx512.c - the encoders for AVX-512: 16 lanes. */
#define GGUF_PATH gguf_path_avx512
#define GGUF_PATH_NAME "avx512"
#include "gguf_encode_template.h"
