/*
 * gguf_recipe.h - which type each matrix of a model gets under the name of a llama.cpp file
 * type ("Q4_K_M"): its default type, raised for some roles and layers, and lowered where a
 * row is no whole number of blocks.
 *
 * The rules are those of llama_model_quantize in the llama.cpp of llama-cpp-python 0.3.36
 * (ggml 0.25.3, 0c1e570), without its overrides; they change between versions.
 * docs/gguf-recipes.md tabulates them.
 */
#ifndef UCB_METHODS_GGUF_RECIPE_H
#define UCB_METHODS_GGUF_RECIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dtype.h"
#include "model/model.h"

/* Names for a knob's choices, ended by NULL; entry 0 is "none", the others are recipes. */
extern const char *const ucb_gguf_recipe_names[];

/* What the rules look at. */
struct ucb_gguf_facts {
    uint32_t n_layers, n_heads, n_kv_heads;
    uint32_t n_experts; /* 0: no experts */
    bool tied_head;
    bool is_70b;     /* llama.cpp's class of 80 layers with grouped heads */
    bool importance; /* an importance matrix is at hand */
};
struct ucb_gguf_facts ucb_gguf_facts_of(const struct ucb_arch *arch, bool importance);

/*
 * The type of a matrix with n_in columns under a recipe (1 and up). F16 where even blocks
 * of 32 do not fit. `layer` is ignored for EMBED and HEAD.
 */
enum ucb_dtype ucb_gguf_recipe_type(size_t recipe, const struct ucb_gguf_facts *facts,
                                    enum ucb_role role, uint32_t layer, uint32_t n_in);
/* general.file_type of files made by it. */
uint32_t ucb_gguf_recipe_file_type(size_t recipe);
/* llama.cpp makes such a file only with an importance matrix. */
bool ucb_gguf_recipe_needs_importance(size_t recipe);

#endif
