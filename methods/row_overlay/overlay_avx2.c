/* overlay_avx2.c - the search by AVX2 with FMA, 8 lanes. */
#define OVERLAY_PATH overlay_path_avx2
#define OVERLAY_PATH_NAME "avx2"
#include "overlay_search_template.h"
