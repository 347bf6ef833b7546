/*
 * gguf_layout.c - see gguf_layout.h. Entries of metadata:
 *
 *     text key | u32 type | value        text: u64 length, bytes
 */
#include "model/gguf_layout.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/model_internal.h"

/* The format's numbers of the types of values written here. */
enum { TYPE_U32 = 4, TYPE_F32 = 6, TYPE_BOOL = 7, TYPE_STRING = 8 };

/* ---- tensors ---- */

_Static_assert((int)UCB_GGUF_NAME_TEXT == (int)UCB_NAME_TEXT, "one size of name");

static const struct ucb_family *family_of(const struct ucb_arch *arch)
{
    const struct ucb_family *family = ucb_family_find(arch->model_type);
    assert(family != NULL);
    return family;
}

static bool is_stacked(const struct ucb_arch *arch, enum ucb_role role, uint32_t layer)
{
    bool mlp = role == UCB_ROLE_GATE || role == UCB_ROLE_UP || role == UCB_ROLE_DOWN;
    return mlp && arch->experts.n != 0 && arch->layers[layer].ffn == 0;
}

uint32_t ucb_gguf_n_parts(const struct ucb_arch *arch, enum ucb_role role, uint32_t layer)
{
    return is_stacked(arch, role, layer) ? arch->experts.n : 1;
}

/* ---- what a file would not say ---- */

static const char *fault_of_experts(const struct ucb_arch *arch)
{
    bool plain = family_of(arch)->gguf_plain_weights;
    for (uint32_t i = 0; i < arch->n_layers; i++)
        if (arch->layers[i].ffn != 0) return "some of its layers have no experts";
    if (arch->experts.normalise == plain)
        return plain ? "the weights of its experts are divided by their sum"
                     : "the weights of its experts are not divided by their sum";
    return arch->clip_qkv != 0 ? "its q, k and v are clamped" : NULL;
}

/* Frequencies of this base and nothing else. */
static bool is_plain(const struct ucb_rope_set *set, uint32_t rotary_dim, double theta)
{
    struct ucb_rope rope = {.kind = UCB_ROPE_PLAIN, .theta = (double)(float)theta};
    for (uint32_t i = 0; i < rotary_dim / 2; i++)
        if ((float)ucb_rope_frequency(&rope, rotary_dim, i, false) != set->inv_freq[i])
            return false;
    return true;
}

/* Gemma 3's file has one window for all layers but every sixth. */
static const char *fault_of_gemma3(const struct ucb_arch *arch)
{
    uint32_t window = arch->layers[0].window;
    for (uint32_t i = 0; i < arch->n_layers; i++)
        if (window == 0 || arch->layers[i].window != ((i + 1) % 6 == 0 ? 0 : window))
            return "not every sixth of its layers is the global one";
    if (!is_plain(&arch->rope[0], arch->rotary_dim, arch->rope_theta) ||
        !is_plain(&arch->rope[1], arch->rotary_dim, UCB_GGUF_LOCAL_THETA))
        return "its rope is scaled, or has a local base other than 10000";
    if (arch->attention_scale != (float)(1.0 / sqrt((double)arch->head_dim)))
        return "its query_pre_attn_scalar is not the size of a head";
    return arch->final_softcap != 0 ? "its logits are capped" : NULL;
}

static const char *fault_of_plain(const struct ucb_arch *arch)
{
    for (uint32_t i = 0; i < arch->n_layers; i++)
        if (arch->layers[i].window != 0)
            return "its windows are not among the metadata of such files";
    if (arch->norm_plus_one) return "its norms are not those of such files";
    return NULL;
}

static bool is_gemma3(const struct ucb_arch *arch)
{
    return strcmp(arch->model_type, "gemma3_text") == 0;
}

ucb_status ucb_gguf_check_arch(const struct ucb_arch *arch, bool is_gguf,
                               struct ucb_err *err)
{
    const char *what = NULL;
    if (family_of(arch)->gguf_arch == NULL) what = "GGUF has no names for it here";
    if (what == NULL && !is_gguf)
        what = is_gemma3(arch) ? fault_of_gemma3(arch) : fault_of_plain(arch);
    if (what == NULL && !is_gguf && arch->experts.n != 0) what = fault_of_experts(arch);
    if (what == NULL && !is_gguf &&
        (arch->rope[0].magnitude != 1.0f || arch->rope[0].long_inv_freq != NULL))
        what = "its rope scaling is more than a factor for each frequency";
    if (what == NULL) return UCB_OK;
    return UCB_FAIL(err, UCB_UNSUPPORTED, "%s cannot be written as a GGUF: %s",
                    arch->model_type, what);
}

/* ---- names and rows ---- */

/* Mixed families have two rows for a role: of the dense layers, and of the experts. */
static const struct ucb_matrix_row *matrix_row(const struct ucb_arch *arch,
                                               enum ucb_role role, uint32_t layer)
{
    const struct ucb_matrix_row *const *table = family_of(arch)->matrices;
    bool stacked = is_stacked(arch, role, layer);
    for (; *table != NULL; table++)
        for (const struct ucb_matrix_row *row = *table; row->hf != NULL; row++)
            if (row->role == role && row->expert == stacked) return row;
    assert(!"a role that the family does not have");
    return NULL;
}

const char *ucb_gguf_matrix_name(const struct ucb_arch *arch, enum ucb_role role,
                                 uint32_t layer, char out[UCB_GGUF_NAME_TEXT])
{
    return ucb_name_of(matrix_row(arch, role, layer)->gguf, layer, 0, out);
}

const char *ucb_gguf_vector_name(const struct ucb_arch *arch, enum ucb_vector which,
                                 uint32_t layer, char out[UCB_GGUF_NAME_TEXT])
{
    return ucb_name_of(ucb_vector_row_of(family_of(arch), which)->gguf, layer, 0, out);
}

static uint32_t row_of(const struct ucb_arch *arch, bool rotates, uint32_t file_row)
{
    return rotates && family_of(arch)->gguf_interleaves
               ? ucb_model_row(file_row, arch->head_dim)
               : file_row;
}

uint32_t ucb_gguf_matrix_row(const struct ucb_arch *arch, enum ucb_role role,
                             uint32_t file_row)
{
    return row_of(arch, ucb_matrix_row_of(family_of(arch), role)->rotates, file_row);
}

uint32_t ucb_gguf_vector_row(const struct ucb_arch *arch, enum ucb_vector which,
                             uint32_t file_row)
{
    return row_of(arch, ucb_vector_row_of(family_of(arch), which)->rotates, file_row);
}

/* The float nearest to plain / scaled that, divided by, gives `scaled` again; a reader
 * divides in double and rounds once. */
static float factor_of(double plain, float scaled)
{
    float nearest = (float)(plain / (double)scaled);
    for (int step = -2; step <= 2; step++) {
        float f = nearest;
        for (int i = 0; i < (step < 0 ? -step : step); i++)
            f = nextafterf(f, step < 0 ? 0.0f : INFINITY);
        if ((float)(plain / (double)f) == scaled) return f;
    }
    return nearest;
}

bool ucb_gguf_rope_factors(const struct ucb_arch *arch, float *out)
{
    /* The file holds theta as a float. */
    struct ucb_rope rope = {.kind = UCB_ROPE_PLAIN,
                            .theta = (double)(float)arch->rope_theta};
    bool scaled = false;
    for (uint32_t i = 0; i < arch->rotary_dim / 2; i++) {
        double plain = ucb_rope_frequency(&rope, arch->rotary_dim, i, false);
        bool same = (float)plain == arch->rope[0].inv_freq[i];
        out[i] = same ? 1.0f : factor_of(plain, arch->rope[0].inv_freq[i]);
        scaled |= !same;
    }
    return scaled;
}

/* ---- metadata ---- */

static void put_key(struct ucb_gguf_metadata *m, const char *key, uint32_t type)
{
    ucb_put_u64(&m->bytes, strlen(key));
    ucb_put_bytes(&m->bytes, key, strlen(key));
    ucb_put_u32(&m->bytes, type);
    m->n_entries++;
}

void ucb_gguf_put_u32(struct ucb_gguf_metadata *m, const char *key, uint32_t value)
{
    put_key(m, key, TYPE_U32);
    ucb_put_u32(&m->bytes, value);
}

void ucb_gguf_put_f32(struct ucb_gguf_metadata *m, const char *key, float value)
{
    put_key(m, key, TYPE_F32);
    ucb_put_f32(&m->bytes, value);
}

void ucb_gguf_put_bool(struct ucb_gguf_metadata *m, const char *key, bool value)
{
    put_key(m, key, TYPE_BOOL);
    ucb_put_u8(&m->bytes, value);
}

void ucb_gguf_put_text(struct ucb_gguf_metadata *m, const char *key, const char *text,
                       size_t n_chars)
{
    put_key(m, key, TYPE_STRING);
    ucb_put_u64(&m->bytes, n_chars);
    ucb_put_bytes(&m->bytes, text, n_chars);
}

/* llama.cpp refuses a file without a context length; a configuration that names none has
 * transformers' default. */
enum { DEFAULT_POSITIONS = 2048 };

void ucb_gguf_put_arch(struct ucb_gguf_metadata *m, const struct ucb_arch *arch,
                       const char *name)
{
    const char *prefix = ucb_family_find(arch->model_type)->gguf_arch;
    uint32_t positions = arch->max_positions == 0 ? DEFAULT_POSITIONS : arch->max_positions;
    const struct {
        const char *key;
        uint32_t value;
    } sizes[] = {
        {"block_count", arch->n_layers},
        {"context_length", positions},
        {"embedding_length", arch->hidden},
        {"feed_forward_length", arch->ffn},
        {"attention.head_count", arch->n_heads},
        {"attention.head_count_kv", arch->n_kv_heads},
        {"attention.key_length", arch->head_dim},
        {"attention.value_length", arch->head_dim},
        {"rope.dimension_count", arch->rotary_dim},
        {"vocab_size", arch->vocabulary},
        {"expert_count", arch->experts.n},
        {"expert_used_count", arch->experts.used},
        {"expert_feed_forward_length", arch->experts.width},
        {"attention.sliding_window", is_gemma3(arch) ? arch->layers[0].window : 0},
    };
    char key[UCB_NAME_TEXT];
    ucb_gguf_put_text(m, "general.architecture", prefix, strlen(prefix));
    ucb_gguf_put_text(m, "general.name", name, strlen(name));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (sizes[i].value == 0) continue; /* this architecture has none */
        snprintf(key, sizeof(key), "%s.%s", prefix, sizes[i].key);
        ucb_gguf_put_u32(m, key, sizes[i].value);
    }
    snprintf(key, sizeof(key), "%s.rope.freq_base_swa", prefix);
    if (is_gemma3(arch)) ucb_gguf_put_f32(m, key, (float)UCB_GGUF_LOCAL_THETA);
    snprintf(key, sizeof(key), "%s.rope.freq_base", prefix);
    ucb_gguf_put_f32(m, key, (float)arch->rope_theta);
    snprintf(key, sizeof(key), "%s.attention.layer_norm_rms_epsilon", prefix);
    ucb_gguf_put_f32(m, key, arch->norm_eps);
}
