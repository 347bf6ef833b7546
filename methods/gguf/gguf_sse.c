/* gguf_sse.c - the encoders for any machine: 4 lanes. */
#define GGUF_PATH gguf_path_sse
#define GGUF_PATH_NAME "sse"
#include "gguf_encode_template.h"
