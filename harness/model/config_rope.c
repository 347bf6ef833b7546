/*
 * config_rope.c - positions of a config.json: the rotary base, size and scaling, in the
 * spelling of released files (rope_theta, rope_scaling) and in the newer one
 * (rope_parameters). Specification, section 2.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/fmath.h"
#include "model/config_internal.h"

#define get ucb_config_get
#define get_number ucb_config_get_number
#define get_optional ucb_config_get_optional
#define wrong ucb_config_wrong

static const char ORIGINAL[] = "original_max_position_embeddings";

static bool is(const struct ucb_config *c, const char *model_type)
{
    return strcmp(c->family->model_type, model_type) == 0;
}

/* Where the scaling stands. */
struct scaling {
    const char *field;
    const json_t *object; /* NULL: none */
    const char *type;
};

static ucb_status check_object(const struct ucb_config *c, const char *field,
                               const json_t *value)
{
    return value == NULL || json_is_object(value)
               ? UCB_OK
               : wrong(c, field, value, "an object or null");
}

/* The newer spelling may hold one object for each kind of layer; `kind` picks. */
static ucb_status find_scaling(const struct ucb_config *c, const char *kind,
                               struct scaling *out)
{
    const json_t *old = get(c->root, "rope_scaling"),
                 *new = get(c->root, "rope_parameters");
    UCB_TRY(check_object(c, "rope_scaling", old));
    UCB_TRY(check_object(c, "rope_parameters", new));
    if (old != NULL && new != NULL && !json_equal(old, new))
        return UCB_FAIL(
            c->err, UCB_CORRUPT,
            "%s: rope_scaling and rope_parameters are both given and differ; keep one",
            c->name);
    if (new != NULL && kind != NULL &&get(new, kind) != NULL) {
        new = get(new, kind);
        UCB_TRY(check_object(c, kind, new));
    }
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
static ucb_status get_original(const struct ucb_config *c, const struct scaling *s,
                               const struct ucb_arch *arch, double *out)
{
    const json_t *at = get(c->root, ORIGINAL) != NULL ? c->root : s->object;
    return get_number(c, at, ORIGINAL, is(c, "phi3") ? 4096 : (double)arch->max_positions,
                      out);
}

static ucb_status read_llama3(const struct ucb_config *c, const struct scaling *s,
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

static ucb_status read_yarn(const struct ucb_config *c, const struct scaling *s,
                            const struct ucb_arch *arch, struct ucb_rope *rope)
{
    double mscale, mscale_all, given;
    const json_t *truncate = get(s->object, "truncate");
    rope->kind = UCB_ROPE_YARN;
    if (truncate != NULL && !json_is_boolean(truncate))
        return wrong(c, "truncate", truncate, "true or false");
    rope->truncate = truncate == NULL || json_is_true(truncate);
    UCB_TRY(get_number(c, s->object, "factor", 0, &rope->factor));
    UCB_TRY(get_number(c, s->object, "beta_fast", 32, &rope->beta_fast));
    UCB_TRY(get_number(c, s->object, "beta_slow", 1, &rope->beta_slow));
    UCB_TRY(get_original(c, s, arch, &rope->original));
    UCB_TRY(get_optional(c, s->object, "attention_factor", &given));
    UCB_TRY(get_optional(c, s->object, "mscale", &mscale));
    UCB_TRY(get_optional(c, s->object, "mscale_all_dim", &mscale_all));
    rope->magnitude = given != 0 ? given
                      : mscale != 0 && mscale_all != 0
                          ? ucb_yarn_magnitude(rope->factor, mscale) /
                                ucb_yarn_magnitude(rope->factor, mscale_all)
                          : ucb_yarn_magnitude(rope->factor, 1);
    return UCB_OK;
}

static ucb_status read_factors(const struct ucb_config *c, const struct scaling *s,
                               const char *field, uint32_t n, struct ucb_arena *arena,
                               const double **out)
{
    const json_t *list = get(s->object, field);
    char expected[64];
    snprintf(expected, sizeof(expected), "a list of %u numbers above 0", n);
    if (!json_is_array(list) || json_array_size(list) != n)
        return wrong(c, field, list, expected);
    double *factors = UCB_NEW(arena, double, n);
    if (factors == NULL)
        return UCB_FAIL(c->err, UCB_NOMEM, "%s: no memory for %s", c->name, field);
    for (uint32_t i = 0; i < n; i++) {
        factors[i] = json_number_value(json_array_get(list, i));
        if (!(factors[i] > 0) || isinf(factors[i])) return wrong(c, field, list, expected);
    }
    *out = factors;
    return UCB_OK;
}

/* PhiMoE gives both magnitudes; elsewhere one follows from how far positions reach. */
static ucb_status read_long(const struct ucb_config *c, const struct scaling *s,
                            const struct ucb_arch *arch, struct ucb_arena *arena,
                            struct ucb_rope *rope)
{
    double given;
    rope->kind = UCB_ROPE_LONG;
    UCB_TRY(get_original(c, s, arch, &rope->original));
    UCB_TRY(read_factors(c, s, "short_factor", arch->rotary_dim / 2, arena,
                         &rope->short_factor));
    UCB_TRY(
        read_factors(c, s, "long_factor", arch->rotary_dim / 2, arena, &rope->long_factor));
    if (is(c, "phimoe") && get(s->object, "short_mscale") != NULL) {
        UCB_TRY(get_number(c, s->object, "short_mscale", 0, &rope->magnitude));
        return get_number(c, s->object, "long_mscale", 0, &rope->long_magnitude);
    }
    UCB_TRY(get_optional(c, s->object, "attention_factor", &given));
    double reach = (double)arch->max_positions / rope->original;
    rope->magnitude = given != 0   ? given
                      : reach <= 1 ? 1
                                   : sqrt(1 + ucb_log(reach) / ucb_log(rope->original));
    rope->long_magnitude = rope->magnitude;
    return UCB_OK;
}

static ucb_status read_scaling(const struct ucb_config *c, const struct scaling *s,
                               const struct ucb_arch *arch, struct ucb_arena *arena,
                               struct ucb_rope *rope)
{
    if (strcmp(s->type, "default") == 0) return UCB_OK;
    if (strcmp(s->type, "llama3") == 0) return read_llama3(c, s, arch, rope);
    if (strcmp(s->type, "yarn") == 0) return read_yarn(c, s, arch, rope);
    if (strcmp(s->type, "longrope") == 0 || strcmp(s->type, "su") == 0)
        return read_long(c, s, arch, arena, rope);
    if (strcmp(s->type, "linear") == 0) {
        rope->kind = UCB_ROPE_LINEAR;
        return get_number(c, s->object, "factor", 0, &rope->factor);
    }
    return UCB_FAIL(c->err, UCB_UNSUPPORTED,
                    "%s: %s type %.80s is not supported; supported: default, linear, "
                    "llama3, yarn, longrope",
                    c->name, s->field, s->type);
}

static const char *whole_model(const struct ucb_config *c)
{
    return is(c, "gemma3_text") ? "full_attention" : NULL;
}

ucb_status ucb_config_read_rotary_dim(const struct ucb_config *c, struct ucb_arch *arch)
{
    struct scaling s = {0};
    double partial = is(c, "gpt_neox") ? 0.25 : 1.0;
    UCB_TRY(find_scaling(c, whole_model(c), &s));
    if (is(c, "gpt_neox")) UCB_TRY(get_number(c, c->root, "rotary_pct", partial, &partial));
    /* Where the newer object has it, that wins. */
    UCB_TRY(get_number(c, c->root, "partial_rotary_factor", partial, &partial));
    UCB_TRY(get_number(c, s.object, "partial_rotary_factor", partial, &partial));
    if (partial > 1.0)
        return wrong(c, "partial_rotary_factor", get(c->root, "partial_rotary_factor"),
                     "at most 1");
    arch->rotary_dim = (uint32_t)((double)arch->head_dim * partial);
    if (arch->mixer == UCB_MIXER_LATENT) arch->rotary_dim = arch->latent.rope;
    return UCB_OK;
}

static ucb_status read_theta(const struct ucb_config *c, const struct scaling *s,
                             double *theta)
{
    *theta = c->family->theta_default;
    if (is(c, "gpt_neox"))
        UCB_TRY(get_number(c, c->root, "rotary_emb_base", *theta, theta));
    UCB_TRY(get_number(c, c->root, "rope_theta", *theta, theta));
    return get_number(c, s->object, "rope_theta", *theta, theta);
}

/* Gemma-3: windowed layers turn by a base of their own and without scaling. */
static ucb_status read_local(const struct ucb_config *c, struct ucb_arena *arena,
                             struct ucb_arch *arch)
{
    struct ucb_rope rope = {0};
    struct scaling s = {0};
    bool newer = get(get(c->root, "rope_parameters"), "sliding_attention") != NULL;
    UCB_TRY(get_number(c, c->root, "rope_local_base_freq", 1e4, &rope.theta));
    if (newer) {
        UCB_TRY(find_scaling(c, "sliding_attention", &s));
        UCB_TRY(get_number(c, s.object, "rope_theta", rope.theta, &rope.theta));
        UCB_TRY(read_scaling(c, &s, arch, arena, &rope));
    }
    return ucb_rope_fill(c->name, &rope, arch->rotary_dim, arena, &arch->rope[1], c->err);
}

/* DeepSeek-V2 sharpens its scores where YaRN's second magnitude is given. */
static ucb_status scale_scores(const struct ucb_config *c, const struct scaling *s,
                               const struct ucb_rope *rope, struct ucb_arch *arch)
{
    double all_dim;
    UCB_TRY(get_optional(c, s->object, "mscale_all_dim", &all_dim));
    if (all_dim == 0) return UCB_OK;
    double factor = rope->factor == 0 ? 1 : rope->factor,
           g = ucb_yarn_magnitude(factor, all_dim);
    arch->attention_scale = (float)((double)arch->attention_scale * g * g);
    return UCB_OK;
}

ucb_status ucb_config_read_rope(const struct ucb_config *c, struct ucb_arena *arena,
                                struct ucb_arch *arch)
{
    struct scaling s = {0};
    struct ucb_rope rope = {0};
    UCB_TRY(find_scaling(c, whole_model(c), &s));
    UCB_TRY(read_theta(c, &s, &rope.theta));
    UCB_TRY(read_scaling(c, &s, arch, arena, &rope));
    arch->rope_theta = rope.theta;
    if (arch->mixer == UCB_MIXER_LATENT) UCB_TRY(scale_scores(c, &s, &rope, arch));
    UCB_TRY(ucb_rope_fill(c->name, &rope, arch->rotary_dim, arena, &arch->rope[0], c->err));
    return is(c, "gemma3_text") ? read_local(c, arena, arch) : UCB_OK;
}
