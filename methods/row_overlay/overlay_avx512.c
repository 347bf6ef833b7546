/* overlay_avx512.c - the search by AVX-512, 16 lanes. */
#define OVERLAY_PATH overlay_path_avx512
#define OVERLAY_PATH_NAME "avx512"
#include "overlay_search_template.h"
