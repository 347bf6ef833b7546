/*
 * gguf_recipe.c - llama.cpp's file types as a table. A recipe is a default type and rules
 * for roles; the first rule that holds wins. What all recipes share (the head, models of 8
 * experts, the 70B class, rows that do not fit) is code below the table.
 *
 * The layer positions are integer arithmetic, as there: of 30 layers the first eighth is
 * layers 0 to 2, and the last begins at 7 * 30 / 8 = 26.
 */
#include "gguf_recipe.h"

#include <assert.h>

/* When a rule holds. */
enum when {
    END_OF_RULES,
    ALWAYS,
    FIRST_2,              /* layers 0 and 1 */
    FIRST_4,              /* layers 0 to 3 */
    FIRST_16TH,           /* layer < n / 16 */
    FIRST_8TH,            /* layer < n / 8 */
    FIRST_8TH_PLAIN,      /* the same, and only without an importance matrix */
    FIRST_8TH_IMPORTANCE, /* the same, and only with one */
    MORE_BITS,            /* the first and the last eighth, and every third layer between */
    GROUPED_4,            /* 4 query heads or more share a key and value head */
    EIGHT_EXPERTS
};

struct rule {
    enum when when;
    enum ucb_role role;
    enum ucb_dtype type;
};

enum { MAX_RULES = 6 };

/* clang-format off */
#define V UCB_ROLE_V
#define O UCB_ROLE_O
#define DOWN UCB_ROLE_DOWN
/* X(name, general.file_type, default type, needs an importance matrix, rules) */
#define RECIPES(X) \
    X("Q4_0",   2,  UCB_Q4_0,   false, {FIRST_8TH_IMPORTANCE, DOWN, UCB_Q4_1}) \
    X("Q4_1",   3,  UCB_Q4_1,   false, {.when = END_OF_RULES}) \
    X("Q5_0",   8,  UCB_Q5_0,   false, {FIRST_8TH_IMPORTANCE, DOWN, UCB_Q5_1}) \
    X("Q5_1",   9,  UCB_Q5_1,   false, {.when = END_OF_RULES}) \
    X("Q8_0",   7,  UCB_Q8_0,   false, {.when = END_OF_RULES}) \
    X("Q2_K",   10, UCB_Q2_K,   false, {GROUPED_4, V, UCB_Q4_K}, {ALWAYS, V, UCB_Q3_K}, {ALWAYS, DOWN, UCB_Q3_K}, \
                                       {EIGHT_EXPERTS, O, UCB_Q5_K}, {ALWAYS, O, UCB_Q3_K}) \
    X("Q2_K_S", 21, UCB_Q2_K,   true,  {GROUPED_4, V, UCB_Q4_K}, {FIRST_8TH, DOWN, UCB_Q4_K}) \
    X("Q3_K_S", 11, UCB_Q3_K,   false, {EIGHT_EXPERTS, O, UCB_Q5_K}) \
    X("Q3_K_M", 12, UCB_Q3_K,   false, {FIRST_2, V, UCB_Q5_K}, {ALWAYS, V, UCB_Q4_K}, {FIRST_16TH, DOWN, UCB_Q5_K}, \
                                       {ALWAYS, DOWN, UCB_Q4_K}, {EIGHT_EXPERTS, O, UCB_Q5_K}, {ALWAYS, O, UCB_Q4_K}) \
    X("Q3_K_L", 13, UCB_Q3_K,   false, {ALWAYS, V, UCB_Q5_K}, {ALWAYS, DOWN, UCB_Q5_K}, {EIGHT_EXPERTS, O, UCB_Q3_K}, \
                                       {ALWAYS, O, UCB_Q5_K}) \
    X("Q4_K_S", 14, UCB_Q4_K,   false, {FIRST_4, V, UCB_Q5_K}, {FIRST_8TH, DOWN, UCB_Q5_K}, {EIGHT_EXPERTS, O, UCB_Q5_K}) \
    X("Q4_K_M", 15, UCB_Q4_K,   false, {MORE_BITS, V, UCB_Q6_K}, {MORE_BITS, DOWN, UCB_Q6_K}, {EIGHT_EXPERTS, O, UCB_Q5_K}) \
    X("Q5_K_S", 16, UCB_Q5_K,   false, {.when = END_OF_RULES}) \
    X("Q5_K_M", 17, UCB_Q5_K,   false, {MORE_BITS, V, UCB_Q6_K}, {MORE_BITS, DOWN, UCB_Q6_K}) \
    X("Q6_K",   18, UCB_Q6_K,   false, {.when = END_OF_RULES}) \
    X("IQ4_NL", 25, UCB_IQ4_NL, false, {GROUPED_4, V, UCB_Q5_K}, {FIRST_8TH_PLAIN, DOWN, UCB_Q5_K}, {EIGHT_EXPERTS, O, UCB_Q5_K}) \
    X("IQ4_XS", 30, UCB_IQ4_XS, false, {GROUPED_4, V, UCB_Q5_K}, {FIRST_8TH_PLAIN, DOWN, UCB_Q5_K}, {EIGHT_EXPERTS, O, UCB_Q5_K}) \
    X("F16",    1,  UCB_F16,    false, {.when = END_OF_RULES}) \
    X("BF16",   32, UCB_BF16,   false, {.when = END_OF_RULES})
/* clang-format on */

struct recipe {
    uint32_t file_type;
    enum ucb_dtype type;
    bool needs_importance;
    struct rule rules[MAX_RULES + 1]; /* ended by END_OF_RULES */
};
#define RECIPE_ENTRY(name, file_type, type, needs_importance, ...) \
    {file_type, type, needs_importance, {__VA_ARGS__}},
#define RECIPE_NAME(name, ...) name,

static const struct recipe recipes[] = {{0}, RECIPES(RECIPE_ENTRY)};
const char *const ucb_gguf_recipe_names[] = {"none", RECIPES(RECIPE_NAME) NULL};
enum { N_RECIPES = sizeof(recipes) / sizeof(recipes[0]) };

static const struct recipe *find(size_t recipe)
{
    assert(recipe > 0);
    assert(recipe < N_RECIPES);
    return &recipes[recipe];
}

struct ucb_gguf_facts ucb_gguf_facts_of(const struct ucb_arch *arch, bool importance)
{
    return (struct ucb_gguf_facts){.n_layers = arch->n_layers,
                                   .n_heads = arch->n_heads,
                                   .n_kv_heads = arch->n_kv_heads,
                                   .n_experts = arch->experts.n,
                                   .tied_head = arch->tied_head,
                                   .is_70b = arch->n_layers == 80 &&
                                             arch->n_heads != arch->n_kv_heads,
                                   .importance = importance};
}

static bool holds(enum when when, const struct ucb_gguf_facts *f, uint32_t layer)
{
    uint32_t eighth = f->n_layers / 8;
    bool first_8th = layer < eighth;
    switch (when) {
    case END_OF_RULES: return false;
    case ALWAYS: return true;
    case FIRST_2: return layer < 2;
    case FIRST_4: return layer < 4;
    case FIRST_16TH: return layer < f->n_layers / 16;
    case FIRST_8TH: return first_8th;
    case FIRST_8TH_PLAIN: return first_8th && !f->importance;
    case FIRST_8TH_IMPORTANCE: return first_8th && f->importance;
    case MORE_BITS:
        return first_8th || layer >= 7 * f->n_layers / 8 || (layer - eighth) % 3 == 2;
    case GROUPED_4: return f->n_heads / f->n_kv_heads >= 4;
    case EIGHT_EXPERTS: return f->n_experts == 8;
    }
    return false;
}

static bool is_quantized(enum ucb_dtype type)
{
    return ucb_dtype_block_elements(type) > 1;
}

static enum ucb_dtype head_type(enum ucb_dtype type, uint32_t n_in)
{
    if (type == UCB_Q8_0 || n_in % ucb_dtype_block_elements(type) != 0) return UCB_Q8_0;
    return UCB_Q6_K;
}

static enum ucb_dtype layer_type(const struct recipe *r, const struct ucb_gguf_facts *f,
                                 enum ucb_role role, uint32_t layer)
{
    enum ucb_dtype type = r->type;
    /* Of 8 experts' models the keys and values are so small a part that they
     * may be large. */
    if (f->n_experts == 8 && (role == UCB_ROLE_K || role == UCB_ROLE_V)) return UCB_Q8_0;
    for (const struct rule *rule = r->rules; rule->when != END_OF_RULES; rule++)
        if (rule->role == role && holds(rule->when, f, layer)) {
            type = rule->type;
            break;
        }
    if (f->is_70b && role == UCB_ROLE_V && (type == UCB_Q3_K || type == UCB_Q4_K))
        return UCB_Q5_K;
    return type;
}

/* What a type becomes where rows are no whole number of its blocks of 256. */
static enum ucb_dtype smaller_block(enum ucb_dtype type)
{
    switch (type) {
    case UCB_IQ4_XS: return UCB_IQ4_NL;
    case UCB_Q2_K:
    case UCB_Q3_K: return UCB_Q4_0;
    case UCB_Q4_K: return UCB_Q5_0;
    case UCB_Q5_K: return UCB_Q5_1;
    case UCB_Q6_K: return UCB_Q8_0;
    default: return type;
    }
}

static enum ucb_dtype fitting_type(enum ucb_dtype type, uint32_t n_in)
{
    if (n_in % ucb_dtype_block_elements(type) == 0) return type;
    type = smaller_block(type);
    return n_in % ucb_dtype_block_elements(type) == 0 ? type : UCB_F16;
}

enum ucb_dtype ucb_gguf_recipe_type(size_t recipe, const struct ucb_gguf_facts *facts,
                                    enum ucb_role role, uint32_t layer, uint32_t n_in)
{
    const struct recipe *r = find(recipe);
    bool is_head = role == UCB_ROLE_HEAD || (role == UCB_ROLE_EMBED && facts->tied_head);
    if (!is_quantized(r->type)) return r->type;
    enum ucb_dtype type = is_head                  ? head_type(r->type, n_in)
                          : role == UCB_ROLE_EMBED ? r->type
                                                   : layer_type(r, facts, role, layer);
    return fitting_type(type, n_in);
}

uint32_t ucb_gguf_recipe_file_type(size_t recipe)
{
    return find(recipe)->file_type;
}

bool ucb_gguf_recipe_needs_importance(size_t recipe)
{
    return find(recipe)->needs_importance;
}
