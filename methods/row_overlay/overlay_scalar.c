/* overlay_scalar.c - the search by the C library's fused multiply-add: for machines without
 * one, slow. */
#define OVERLAY_PATH overlay_path_scalar
#define OVERLAY_PATH_NAME "scalar"
#include "overlay_search_template.h"
