/*
 * config.c - config.json as struct ucb_arch. A field that changes results is honoured or
 * refused by name; a field that does not is ignored; a field of the wrong kind is an error
 * even where it would have had a default.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "model/model_internal.h"

struct config {
    const char *name;
    const json_t *root;
    const struct ucb_family *family;
    struct ucb_err *err;
};

/* "config.json: hidden_size is "40", expected a positive whole number" */
static ucb_status wrong(const struct config *c, const char *field, const json_t *value,
                        const char *expected)
{
    if (value == NULL)
        return UCB_FAIL(c->err, UCB_CORRUPT, "%s: %s is missing, expected %s", c->name,
                        field, expected);
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    ucb_status status = UCB_FAIL(c->err, UCB_CORRUPT, "%s: %s is %.80s, expected %s",
                                 c->name, field, text == NULL ? "?" : text, expected);
    free(text);
    return status;
}

/* NULL for a field that is absent or null: config files use both for "not set". */
static const json_t *get(const json_t *object, const char *field)
{
    const json_t *value = json_object_get(object, field);
    return json_is_null(value) ? NULL : value;
}

/* A positive whole number; `fallback` 0: the field must be there. */
static ucb_status get_size(const struct config *c, const char *field, uint32_t fallback,
                           uint32_t *out)
{
    const json_t *value = get(c->root, field);
    json_int_t n = json_integer_value(value);
    if (value == NULL && fallback != 0) {
        *out = fallback;
        return UCB_OK;
    }
    if (!json_is_integer(value) || n < 1 || n > UCB_SIZE_MAX)
        return wrong(c, field, value, "a positive whole number below 2^31");
    *out = (uint32_t)n;
    return UCB_OK;
}

/* A finite number above 0, from `object`; `fallback` 0: the field must be there. */
static ucb_status get_number(const struct config *c, const json_t *object,
                             const char *field, double fallback, double *out)
{
    const json_t *value = get(object, field);
    double x = json_number_value(value);
    if (value == NULL && fallback != 0) {
        *out = fallback;
        return UCB_OK;
    }
    if (!json_is_number(value) || !(x > 0) || isinf(x))
        return wrong(c, field, value, "a number above 0");
    *out = x;
    return UCB_OK;
}

static ucb_status get_flag(const struct config *c, const char *field, bool fallback,
                           bool *out)
{
    const json_t *value = get(c->root, field);
    if (value != NULL && !json_is_boolean(value))
        return wrong(c, field, value, "true or false");
    *out = value == NULL ? fallback : json_is_true(value);
    return UCB_OK;
}

static ucb_status get_family(struct config *c, struct ucb_arch *arch)
{
    char known[256], wanted[320];
    const json_t *type = get(c->root, "model_type");
    const char *text = json_string_value(type);
    ucb_families_text(known, sizeof(known));
    if (text == NULL) {
        snprintf(wanted, sizeof(wanted), "the name of a supported architecture (%s)",
                 known);
        return wrong(c, "model_type", type, wanted);
    }
    c->family = ucb_family_find(text);
    if (c->family == NULL)
        return UCB_FAIL(c->err, UCB_UNSUPPORTED,
                        "%s: model_type %.80s is not supported; supported: %s", c->name,
                        text, known);
    snprintf(arch->model_type, sizeof(arch->model_type), "%s", text);
    return UCB_OK;
}

static ucb_status reject_quantized(const struct config *c)
{
    const json_t *value = get(c->root, "quantization_config");
    if (value == NULL) return UCB_OK;
    const char *method = json_string_value(get(value, "quant_method"));
    return UCB_FAIL(
        c->err, UCB_UNSUPPORTED,
        "%s: quantization_config with quant_method %.80s is not supported: the weights are not plain "
        "floating "
        "point; give the model it was made from",
        c->name, method == NULL ? "(none)" : method);
}

/* What we compute in one way only: any other value would silently be another model. */
static ucb_status reject_switches(const struct config *c)
{
    const json_t *act = get(c->root, "hidden_act"),
                 *parallel = get(c->root, "pretraining_tp");
    const char *name = json_string_value(act);
    if (act != NULL && name == NULL)
        return wrong(c, "hidden_act", act, "the name of an activation");
    if (name != NULL && strcmp(name, "silu") != 0)
        return UCB_FAIL(c->err, UCB_UNSUPPORTED,
                        "%s: hidden_act %.80s is not supported for %s; supported: silu",
                        c->name, name, c->family->model_type);
    if (parallel != NULL && json_integer_value(parallel) != 1)
        return UCB_FAIL(c->err, UCB_UNSUPPORTED,
                        "%s: pretraining_tp is %lld, expected 1: slicing changes the sums",
                        c->name, (long long)json_integer_value(parallel));
    return UCB_OK;
}

static ucb_status read_sizes(const struct config *c, struct ucb_arch *arch)
{
    const json_t *positions = get(c->root, "max_position_embeddings");
    UCB_TRY(get_size(c, "hidden_size", 0, &arch->hidden));
    UCB_TRY(get_size(c, "intermediate_size", 0, &arch->ffn));
    UCB_TRY(get_size(c, "num_hidden_layers", 0, &arch->n_layers));
    UCB_TRY(get_size(c, "vocab_size", 0, &arch->vocabulary));
    UCB_TRY(get_size(c, "num_attention_heads", 0, &arch->n_heads));
    UCB_TRY(get_size(c, "num_key_value_heads",
                     c->family->kv_heads_required ? 0 : arch->n_heads, &arch->n_kv_heads));
    if (positions != NULL)
        UCB_TRY(get_size(c, "max_position_embeddings", 0, &arch->max_positions));
    if (get(c->root, "head_dim") != NULL)
        return get_size(c, "head_dim", 0, &arch->head_dim);
    if (arch->hidden % arch->n_heads != 0)
        return UCB_FAIL(
            c->err, UCB_CORRUPT,
            "%s: hidden_size is %u, expected a multiple of num_attention_heads (%u) because head_dim is "
            "not given",
            c->name, arch->hidden, arch->n_heads);
    arch->head_dim = arch->hidden / arch->n_heads;
    return UCB_OK;
}

/* ---- rope ---- */

/* Where the scaling stands: released configs say rope_scaling, newer ones rope_parameters.
 */
struct scaling {
    const char *field;
    const json_t *object; /* NULL: none */
    const char *type;
};

static ucb_status find_scaling(const struct config *c, struct scaling *out)
{
    const json_t *old = get(c->root, "rope_scaling"),
                 *new = get(c->root, "rope_parameters");
    if (old != NULL && !json_is_object(old))
        return wrong(c, "rope_scaling", old, "an object or null");
    if (new != NULL && !json_is_object(new))
        return wrong(c, "rope_parameters", new, "an object or null");
    if (old != NULL && new != NULL && !json_equal(old, new))
        return UCB_FAIL(
            c->err, UCB_CORRUPT,
            "%s: rope_scaling and rope_parameters are both given and differ; keep one",
            c->name);
    *out = (struct scaling){new != NULL ? "rope_parameters" : "rope_scaling",
                            new != NULL ? new : old, "default"};
    const json_t *type = get(out->object, "rope_type");
    if (type == NULL) type = get(out->object, "type");
    if (type != NULL && !json_is_string(type))
        return wrong(c, "rope_type", type, "the name of a scaling");
    if (type != NULL) out->type = json_string_value(type);
    /* A rope_parameters object may hold the base alone; a scaling without a type would be
     * dropped silently. */
    if (type == NULL && old != NULL && json_object_size(old) > 0)
        return wrong(c, "rope_scaling", old, "it to have a rope_type");
    return UCB_OK;
}

/* L0: the top level of the config, else the scaling object, else the largest position. */
static ucb_status get_original(const struct config *c, const struct scaling *s,
                               const struct ucb_arch *arch, double *out)
{
    static const char field[] = "original_max_position_embeddings";
    const json_t *at = get(c->root, field) != NULL ? c->root : s->object;
    return get_number(c, at, field, (double)arch->max_positions, out);
}

static ucb_status read_llama3(const struct config *c, const struct scaling *s,
                              const struct ucb_arch *arch, struct ucb_rope *rope)
{
    rope->kind = UCB_ROPE_LLAMA3;
    UCB_TRY(get_number(c, s->object, "factor", 0, &rope->factor));
    UCB_TRY(get_number(c, s->object, "low_freq_factor", 0, &rope->low));
    UCB_TRY(get_number(c, s->object, "high_freq_factor", 0, &rope->high));
    UCB_TRY(get_original(c, s, arch, &rope->original));
    if (rope->low < rope->high) return UCB_OK;
    return UCB_FAIL(
        c->err, UCB_CORRUPT,
        "%s: %s: high_freq_factor is %g, expected more than low_freq_factor (%g)", c->name,
        s->field, rope->high, rope->low);
}

static ucb_status read_scaling(const struct config *c, const struct scaling *s,
                               const struct ucb_arch *arch, struct ucb_rope *rope)
{
    if (strcmp(s->type, "default") == 0) return UCB_OK;
    if (strcmp(s->type, "llama3") == 0) return read_llama3(c, s, arch, rope);
    if (strcmp(s->type, "linear") == 0) {
        rope->kind = UCB_ROPE_LINEAR;
        return get_number(c, s->object, "factor", 0, &rope->factor);
    }
    return UCB_FAIL(
        c->err, UCB_UNSUPPORTED,
        "%s: %s type %.80s is not supported; supported: default, linear, llama3", c->name,
        s->field, s->type);
}

static ucb_status read_rope(const struct config *c, struct ucb_arch *arch,
                            struct ucb_rope *rope)
{
    struct scaling s = {0};
    double partial = 1.0;
    UCB_TRY(find_scaling(c, &s));
    UCB_TRY(read_scaling(c, &s, arch, rope));
    /* Both may also stand in the newer object, which then wins. */
    UCB_TRY(get_number(c, c->root, "rope_theta", c->family->theta_default, &rope->theta));
    UCB_TRY(get_number(c, s.object, "rope_theta", rope->theta, &rope->theta));
    UCB_TRY(get_number(c, c->root, "partial_rotary_factor", partial, &partial));
    UCB_TRY(get_number(c, s.object, "partial_rotary_factor", partial, &partial));
    if (partial > 1.0)
        return wrong(c, "partial_rotary_factor", get(c->root, "partial_rotary_factor"),
                     "at most 1");
    arch->rotary_dim = (uint32_t)((double)arch->head_dim * partial);
    return UCB_OK;
}

static ucb_status read_config(struct config *c, struct ucb_arena *arena,
                              struct ucb_arch *out)
{
    struct ucb_arch arch = {.rope_magnitude = 1.0f};
    struct ucb_rope rope = {0};
    double eps = 0;
    if (!json_is_object(c->root))
        return UCB_FAIL(c->err, UCB_CORRUPT, "%s: expected a JSON object", c->name);
    UCB_TRY(get_family(c, &arch));
    UCB_TRY(reject_quantized(c));
    UCB_TRY(reject_switches(c));
    UCB_TRY(read_sizes(c, &arch));
    UCB_TRY(get_number(c, c->root, "rms_norm_eps", c->family->eps_default, &eps));
    UCB_TRY(get_flag(c, "attention_bias", false, &arch.attention_bias));
    UCB_TRY(get_flag(c, "mlp_bias", false, &arch.mlp_bias));
    UCB_TRY(get_flag(c, "tie_word_embeddings", c->family->tied_default, &arch.tied_head));
    UCB_TRY(read_rope(c, &arch, &rope));
    UCB_TRY(ucb_arch_check(&arch,
                           &(struct ucb_size_names){c->name, "num_attention_heads",
                                                    "num_key_value_heads", "head_dim",
                                                    "partial_rotary_factor of head_dim"},
                           c->err));
    arch.norm_eps = (float)eps;
    arch.attention_scale = (float)(1.0 / sqrt((double)arch.head_dim));
    UCB_TRY(ucb_rope_table(c->name, &rope, arena, &arch, c->err));
    *out = arch;
    return UCB_OK;
}

ucb_status ucb_config_parse(const char *name, const char *text, size_t n_bytes,
                            struct ucb_arena *arena, struct ucb_arch *out,
                            struct ucb_err *err)
{
    json_t *root = NULL;
    UCB_TRY(ucb_json_parse(name, text, n_bytes, &root, err));
    struct config c = {name, root, NULL, err};
    ucb_status status = read_config(&c, arena, out);
    json_decref(root);
    return status;
}
