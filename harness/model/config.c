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
#include "model/config_internal.h"

/* "config.json: hidden_size is "40", expected a positive whole number" */
ucb_status ucb_config_wrong(const struct ucb_config *c, const char *field,
                            const json_t *value, const char *expected)
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
const json_t *ucb_config_get(const json_t *object, const char *field)
{
    const json_t *value = json_object_get(object, field);
    return json_is_null(value) ? NULL : value;
}

/* A positive whole number; `fallback` 0: the field must be there. */
ucb_status ucb_config_get_size(const struct ucb_config *c, const char *field,
                               uint32_t fallback, uint32_t *out)
{
    const json_t *value = ucb_config_get(c->root, field);
    json_int_t n = json_integer_value(value);
    if (value == NULL && fallback != 0) {
        *out = fallback;
        return UCB_OK;
    }
    if (!json_is_integer(value) || n < 1 || n > UCB_SIZE_MAX)
        return ucb_config_wrong(c, field, value, "a positive whole number below 2^31");
    *out = (uint32_t)n;
    return UCB_OK;
}

ucb_status ucb_config_get_count(const struct ucb_config *c, const char *field,
                                uint32_t fallback, uint32_t *out)
{
    const json_t *value = ucb_config_get(c->root, field);
    json_int_t n = json_integer_value(value);
    if (value != NULL && (!json_is_integer(value) || n < 0 || n > UCB_SIZE_MAX))
        return ucb_config_wrong(c, field, value, "a whole number from 0 to 2^31 - 1");
    *out = value == NULL ? fallback : (uint32_t)n;
    return UCB_OK;
}

ucb_status ucb_config_get_optional(const struct ucb_config *c, const json_t *object,
                                   const char *field, double *out)
{
    const json_t *value = ucb_config_get(object, field);
    double x = json_number_value(value);
    if (value != NULL && (!json_is_number(value) || x < 0 || isinf(x)))
        return ucb_config_wrong(c, field, value, "a number from 0 on");
    *out = x;
    return UCB_OK;
}

/* A finite number above 0, from `object`; `fallback` 0: the field must be there. */
ucb_status ucb_config_get_number(const struct ucb_config *c, const json_t *object,
                                 const char *field, double fallback, double *out)
{
    const json_t *value = ucb_config_get(object, field);
    double x = json_number_value(value);
    if (value == NULL && fallback != 0) {
        *out = fallback;
        return UCB_OK;
    }
    if (!json_is_number(value) || !(x > 0) || isinf(x))
        return ucb_config_wrong(c, field, value, "a number above 0");
    *out = x;
    return UCB_OK;
}

ucb_status ucb_config_get_flag(const struct ucb_config *c, const char *field, bool fallback,
                               bool *out)
{
    const json_t *value = ucb_config_get(c->root, field);
    if (value != NULL && !json_is_boolean(value))
        return ucb_config_wrong(c, field, value, "true or false");
    *out = value == NULL ? fallback : json_is_true(value);
    return UCB_OK;
}

static ucb_status get_family(struct ucb_config *c, struct ucb_arch *arch)
{
    char known[UCB_FAMILIES_TEXT], wanted[UCB_FAMILIES_TEXT + 64];
    const json_t *type = ucb_config_get(c->root, "model_type");
    const char *text = json_string_value(type);
    ucb_families_text(false, known, sizeof(known));
    if (text == NULL) {
        snprintf(wanted, sizeof(wanted), "the name of a supported architecture (%s)",
                 known);
        return ucb_config_wrong(c, "model_type", type, wanted);
    }
    c->family = ucb_family_find(text);
    if (strcmp(text, "gemma3") == 0)
        return ucb_config_reject(c, "model_type", "gemma3",
                                 "it holds a vision part beside the text; give its text "
                                 "part as a model of its own (gemma3_text)");
    if (c->family == NULL)
        return UCB_FAIL(c->err, UCB_UNSUPPORTED,
                        "%s: model_type %.80s is not supported; supported: %s", c->name,
                        text, known);
    snprintf(arch->model_type, sizeof(arch->model_type), "%s", text);
    return UCB_OK;
}

static ucb_status reject_quantized(const struct ucb_config *c)
{
    const json_t *value = ucb_config_get(c->root, "quantization_config");
    if (value == NULL) return UCB_OK;
    const char *method = json_string_value(ucb_config_get(value, "quant_method"));
    return UCB_FAIL(
        c->err, UCB_UNSUPPORTED,
        "%s: quantization_config with quant_method %.80s is not supported: the weights are not plain "
        "floating "
        "point; give the model it was made from",
        c->name, method == NULL ? "(none)" : method);
}

/* Slicing the products, as this training switch asks for, would change the sums. */
static ucb_status reject_slicing(const struct ucb_config *c)
{
    const json_t *slices = ucb_config_get(c->root, "pretraining_tp");
    if (slices == NULL || json_integer_value(slices) == 1) return UCB_OK;
    return UCB_FAIL(c->err, UCB_UNSUPPORTED,
                    "%s: pretraining_tp is %lld, expected 1: slicing changes the sums",
                    c->name, (long long)json_integer_value(slices));
}

ucb_status ucb_config_get_activation(const struct ucb_config *c, const char *field,
                                     const char *fallback, enum ucb_activation *out)
{
    static const struct {
        const char *name;
        enum ucb_activation activation;
    } known[] = {{"silu", UCB_ACT_SILU},
                 {"swish", UCB_ACT_SILU},
                 {"gelu", UCB_ACT_GELU},
                 {"gelu_new", UCB_ACT_GELU_TANH},
                 {"gelu_fast", UCB_ACT_GELU_TANH}, /* GPT-NeoX-20B's name for it */
                 {"gelu_pytorch_tanh", UCB_ACT_GELU_TANH}};
    const json_t *value = ucb_config_get(c->root, field);
    const char *name = value == NULL ? fallback : json_string_value(value);
    if (name == NULL) return ucb_config_wrong(c, field, value, "the name of an activation");
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(known[i].name, name) == 0) {
            *out = known[i].activation;
            return UCB_OK;
        }
    return UCB_FAIL(c->err, UCB_UNSUPPORTED,
                    "%s: %s %.80s is not supported for %s; supported: silu, gelu, "
                    "gelu_new, gelu_pytorch_tanh",
                    c->name, field, name, c->family->model_type);
}

ucb_status ucb_config_reject(const struct ucb_config *c, const char *field,
                             const char *value, const char *why)
{
    return UCB_FAIL(c->err, UCB_UNSUPPORTED, "%s: %s %s is not supported: %s", c->name,
                    field, value, why);
}

static ucb_status alloc_layers(const struct ucb_config *c, struct ucb_arena *arena,
                               struct ucb_arch *arch)
{
    if (arch->n_layers > UCB_LAYERS_MAX)
        return UCB_FAIL(c->err, UCB_UNSUPPORTED, "%s: %u layers, expected at most %d",
                        c->name, arch->n_layers, UCB_LAYERS_MAX);
    arch->layers = UCB_NEW(arena, struct ucb_layer_arch, arch->n_layers);
    if (arch->layers == NULL)
        return UCB_FAIL(c->err, UCB_NOMEM, "%s: no memory for %u layers", c->name,
                        arch->n_layers);
    for (uint32_t i = 0; i < arch->n_layers; i++) arch->layers[i].ffn = arch->ffn;
    return UCB_OK;
}

static ucb_status read_config(struct ucb_config *c, struct ucb_arena *arena,
                              struct ucb_arch *out)
{
    struct ucb_arch arch = {.embed_scale = 1.0f, .gated = true};
    if (!json_is_object(c->root))
        return UCB_FAIL(c->err, UCB_CORRUPT, "%s: expected a JSON object", c->name);
    UCB_TRY(get_family(c, &arch));
    UCB_TRY(reject_quantized(c));
    UCB_TRY(reject_slicing(c));
    UCB_TRY(ucb_config_read_sizes(c, &arch));
    UCB_TRY(alloc_layers(c, arena, &arch));
    UCB_TRY(ucb_config_get_flag(c, "tie_word_embeddings", c->family->tied_default,
                                &arch.tied_head));
    UCB_TRY(ucb_config_read_family(c, &arch));
    if (arch.attention_scale == 0 && arch.head_dim > 0)
        arch.attention_scale = (float)(1.0 / sqrt((double)arch.head_dim));
    bool turns = arch.positions == UCB_POSITIONS_HALVES ||
                 arch.positions == UCB_POSITIONS_PAIRS;
    if (turns) UCB_TRY(ucb_config_read_rotary_dim(c, &arch));
    UCB_TRY(ucb_arch_check(&arch,
                           &(struct ucb_size_names){c->name, "num_attention_heads",
                                                    "num_key_value_heads", "head_dim",
                                                    "partial_rotary_factor of head_dim"},
                           c->err));
    if (turns) UCB_TRY(ucb_config_read_rope(c, arena, &arch));
    *out = arch;
    return UCB_OK;
}

ucb_status ucb_config_parse(const char *name, const char *text, size_t n_bytes,
                            struct ucb_arena *arena, struct ucb_arch *out,
                            struct ucb_err *err)
{
    json_t *root = NULL;
    UCB_TRY(ucb_json_parse(name, text, n_bytes, &root, err));
    struct ucb_config c = {name, root, NULL, err};
    ucb_status status = read_config(&c, arena, out);
    json_decref(root);
    return status;
}
