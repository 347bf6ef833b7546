/*
 * arch.c - what every architecture shares: names of roles and inputs, sizes by meaning, and
 * the checks that hold for sizes from a config.json and from a GGUF alike.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "model/model_internal.h"

static const char *const role_names[UCB_N_ROLES] = {
    [UCB_ROLE_Q] = "q_proj",
    [UCB_ROLE_K] = "k_proj",
    [UCB_ROLE_V] = "v_proj",
    [UCB_ROLE_O] = "o_proj",
    [UCB_ROLE_GATE] = "gate_proj",
    [UCB_ROLE_UP] = "up_proj",
    [UCB_ROLE_DOWN] = "down_proj",
    [UCB_ROLE_SHARED_GATE] = "shared_gate_proj",
    [UCB_ROLE_SHARED_UP] = "shared_up_proj",
    [UCB_ROLE_SHARED_DOWN] = "shared_down_proj",
    [UCB_ROLE_Q_A] = "q_a_proj",
    [UCB_ROLE_KV_A] = "kv_a_proj",
    [UCB_ROLE_Q_B] = "q_b_proj",
    [UCB_ROLE_KV_B] = "kv_b_proj",
    [UCB_ROLE_SSM_IN] = "in_proj",
    [UCB_ROLE_SSM_X] = "x_proj",
    [UCB_ROLE_SSM_DT] = "dt_proj",
    [UCB_ROLE_SSM_OUT] = "out_proj",
    [UCB_ROLE_EMBED] = "embed_tokens",
    [UCB_ROLE_HEAD] = "lm_head",
};

const char *ucb_role_name(enum ucb_role role)
{
    return (unsigned)role < UCB_N_ROLES ? role_names[role] : "?";
}

enum ucb_input ucb_role_input(enum ucb_role role)
{
    static const enum ucb_input inputs[UCB_N_LAYER_ROLES] = {
        [UCB_ROLE_Q] = UCB_INPUT_QKV,
        [UCB_ROLE_K] = UCB_INPUT_QKV,
        [UCB_ROLE_V] = UCB_INPUT_QKV,
        [UCB_ROLE_Q_A] = UCB_INPUT_QKV,
        [UCB_ROLE_KV_A] = UCB_INPUT_QKV,
        [UCB_ROLE_Q_B] = UCB_INPUT_LATENT_Q,
        [UCB_ROLE_KV_B] = UCB_INPUT_LATENT_KV,
        [UCB_ROLE_O] = UCB_INPUT_O,
        [UCB_ROLE_GATE] = UCB_INPUT_GATE_UP,
        [UCB_ROLE_UP] = UCB_INPUT_GATE_UP,
        [UCB_ROLE_SHARED_GATE] = UCB_INPUT_SHARED_GATE_UP,
        [UCB_ROLE_SHARED_UP] = UCB_INPUT_SHARED_GATE_UP,
        [UCB_ROLE_DOWN] = UCB_INPUT_DOWN,
        [UCB_ROLE_SHARED_DOWN] = UCB_INPUT_SHARED_DOWN,
        [UCB_ROLE_SSM_IN] = UCB_INPUT_SSM_IN,
        [UCB_ROLE_SSM_X] = UCB_INPUT_SSM_X,
        [UCB_ROLE_SSM_DT] = UCB_INPUT_SSM_DT,
        [UCB_ROLE_SSM_OUT] = UCB_INPUT_SSM_OUT,
    };
    assert(role < UCB_N_LAYER_ROLES);
    return inputs[role];
}

const char *ucb_input_name(enum ucb_input input)
{
    static const char *const names[UCB_N_INPUTS] = {
        "qkv",  "latent_q",    "latent_kv", "o",     "shared_gate_up", "gate_up",
        "down", "shared_down", "ssm_in",    "ssm_x", "ssm_dt",         "ssm_out"};
    assert(input < UCB_N_INPUTS);
    return names[input];
}

/* ---- families ---- */

const struct ucb_family *ucb_family_find(const char *model_type)
{
    for (const struct ucb_family *f = ucb_families; f->model_type != NULL; f++)
        if (strcmp(f->model_type, model_type) == 0) return f;
    return NULL;
}

const struct ucb_family *ucb_family_find_gguf(const char *arch, size_t n_chars)
{
    for (const struct ucb_family *f = ucb_families; f->model_type != NULL; f++)
        if (f->gguf_arch != NULL && strlen(f->gguf_arch) == n_chars &&
            memcmp(f->gguf_arch, arch, n_chars) == 0)
            return f;
    return NULL;
}

const char *ucb_families_text(bool of_gguf, char *out, size_t out_size)
{
    size_t n = 0;
    out[0] = '\0';
    for (const struct ucb_family *f = ucb_families; f->model_type != NULL && n < out_size;
         f++) {
        const char *name = of_gguf ? f->gguf_arch : f->model_type;
        bool again = of_gguf && name != NULL &&
                     ucb_family_find_gguf(name, strlen(name)) != f;
        if (name != NULL && !again)
            n += (size_t)snprintf(out + n, out_size - n, n == 0 ? "%s" : ", %s", name);
    }
    return out;
}

const struct ucb_matrix_row *ucb_matrix_row_of(const struct ucb_family *family,
                                               enum ucb_role role)
{
    for (const struct ucb_matrix_row *const *table = family->matrices; *table != NULL;
         table++)
        for (const struct ucb_matrix_row *row = *table; row->hf != NULL; row++)
            if (row->role == role) return row;
    return NULL;
}

const struct ucb_vector_row *ucb_vector_row_of(const struct ucb_family *family,
                                               enum ucb_vector which)
{
    for (const struct ucb_vector_row *const *table = family->vectors; *table != NULL;
         table++)
        for (const struct ucb_vector_row *row = *table; row->hf != NULL; row++)
            if (row->which == which) return row;
    return NULL;
}

/* Puts `value` in the place of the letter in ".X.", once. */
static void put_number(char name[UCB_NAME_TEXT], const char *mark, uint32_t value)
{
    char rest[UCB_NAME_TEXT];
    char *at = strstr(name, mark);
    if (at == NULL) return;
    snprintf(rest, sizeof(rest), "%s", at + 3);
    snprintf(at, UCB_NAME_TEXT - (size_t)(at - name), ".%u.%s", value, rest);
}

const char *ucb_name_of(const char *pattern, uint32_t layer, uint32_t expert,
                        char out[UCB_NAME_TEXT])
{
    snprintf(out, UCB_NAME_TEXT, "%s", pattern);
    if (strncmp(out, "h.N.", 4) == 0) /* GPT-2: the letter stands second */
        snprintf(out, UCB_NAME_TEXT, "h.%u.%s", layer, pattern + 4);
    put_number(out, ".N.", layer);
    put_number(out, ".E.", expert);
    return out;
}

/* ---- sizes ---- */

uint32_t ucb_extent_size(const struct ucb_arch *a, enum ucb_extent extent)
{
    switch (extent) {
    case UCB_EXTENT_ONE: return 1;
    case UCB_EXTENT_HIDDEN: return a->hidden;
    case UCB_EXTENT_VOCABULARY: return a->vocabulary;
    case UCB_EXTENT_POSITIONS: return a->max_positions;
    case UCB_EXTENT_HEAD_DIM: return a->head_dim;
    case UCB_EXTENT_Q: return a->n_heads * a->head_dim;
    case UCB_EXTENT_KV: return a->n_kv_heads * a->head_dim;
    case UCB_EXTENT_FFN: return a->ffn;
    case UCB_EXTENT_N_EXPERTS: return a->experts.n;
    case UCB_EXTENT_EXPERT_FFN: return a->experts.width;
    case UCB_EXTENT_SHARED_FFN: return a->experts.shared_width;
    case UCB_EXTENT_Q_RANK: return a->latent.q_rank;
    case UCB_EXTENT_LATENT_Q: return a->n_heads * (a->latent.nope + a->latent.rope);
    case UCB_EXTENT_KV_A: return a->latent.kv_rank + a->latent.rope;
    case UCB_EXTENT_KV_RANK: return a->latent.kv_rank;
    case UCB_EXTENT_KV_B: return a->n_heads * (a->latent.nope + a->latent.value);
    case UCB_EXTENT_VALUES: return a->n_heads * a->latent.value;
    case UCB_EXTENT_SSM_IN: return 2 * a->ssm.width;
    case UCB_EXTENT_SSM_WIDTH: return a->ssm.width;
    case UCB_EXTENT_SSM_X: return a->ssm.rank + 2 * a->ssm.state;
    case UCB_EXTENT_SSM_RANK: return a->ssm.rank;
    case UCB_EXTENT_SSM_STATE: return a->ssm.state;
    case UCB_EXTENT_SSM_KERNEL: return a->ssm.kernel;
    }
    return 0;
}

/* What stands beside each other in one tensor, or is asked for as one row. */
static ucb_status check_products(const struct ucb_arch *a, const char *file,
                                 struct ucb_err *err)
{
    const struct ucb_latent *l = &a->latent;
    const struct {
        const char *what;
        uint64_t size;
    } products[] = {
        {"heads times head size, of q, k and v",
         ((uint64_t)a->n_heads + 2 * (uint64_t)a->n_kv_heads) * a->head_dim},
        {"gate and up", 2 * (uint64_t)a->ffn},
        {"heads times the parts of a latent head",
         (uint64_t)a->n_heads * ((uint64_t)l->nope + l->rope + l->value)},
        {"the latent and the rotary key", (uint64_t)l->kv_rank + l->rope},
        {"experts times the hidden size", (uint64_t)a->experts.n * a->hidden},
        {"both halves of the state space's input", 2 * (uint64_t)a->ssm.width},
        {"rank and states", (uint64_t)a->ssm.rank + 2 * (uint64_t)a->ssm.state},
        {"taps times width", (uint64_t)a->ssm.kernel * a->ssm.width},
        {"states times width", (uint64_t)a->ssm.state * a->ssm.width},
        {"learned positions times the hidden size",
         a->positions == UCB_POSITIONS_LEARNED ? (uint64_t)a->max_positions * a->hidden
                                               : 0},
    };
    for (size_t i = 0; i < sizeof(products) / sizeof(products[0]); i++)
        if (products[i].size > UCB_SIZE_MAX)
            return UCB_FAIL(
                err, UCB_UNSUPPORTED, "%s: %s: %llu in all, expected at most %d", file,
                products[i].what, (unsigned long long)products[i].size, UCB_SIZE_MAX);
    return UCB_OK;
}

static ucb_status check_heads(const struct ucb_arch *arch,
                              const struct ucb_size_names *names, struct ucb_err *err)
{
    if (arch->n_heads % arch->n_kv_heads != 0)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: %s is %u, expected a multiple of %s (%u)",
                        names->file, names->heads, arch->n_heads, names->kv_heads,
                        arch->n_kv_heads);
    if (arch->head_dim > UCB_HEAD_DIM_MAX)
        return UCB_FAIL(err, UCB_UNSUPPORTED, "%s: %s is %u, expected at most %d",
                        names->file, names->head_dim, arch->head_dim, UCB_HEAD_DIM_MAX);
    bool turns = arch->positions == UCB_POSITIONS_HALVES ||
                 arch->positions == UCB_POSITIONS_PAIRS;
    if (turns && (arch->rotary_dim == 0 || arch->rotary_dim % 2 != 0 ||
                  arch->rotary_dim > arch->head_dim))
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "%s: the rotary size (%s) is %u, expected an even number from 2 to %s (%u)",
            names->file, names->rotary, arch->rotary_dim, names->head_dim, arch->head_dim);
    return UCB_OK;
}

ucb_status ucb_arch_check(const struct ucb_arch *arch, const struct ucb_size_names *names,
                          struct ucb_err *err)
{
    if (arch->mixer != UCB_MIXER_SSM) UCB_TRY(check_heads(arch, names, err));
    return check_products(arch, names->file, err);
}
