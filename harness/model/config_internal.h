/*
 * config_internal.h - what the readers of config.json share: fields with their checks, and
 * the steps from fields to struct ucb_arch.
 */
#ifndef UCB_MODEL_CONFIG_INTERNAL_H
#define UCB_MODEL_CONFIG_INTERNAL_H

#include <jansson.h>

#include "model/model_internal.h"

struct ucb_config {
    const char *name; /* of the file */
    const json_t *root;
    const struct ucb_family *family;
    struct ucb_err *err;
};

/* CORRUPT: "config.json: hidden_size is "40", expected a positive whole number" */
ucb_status ucb_config_wrong(const struct ucb_config *c, const char *field,
                            const json_t *value, const char *expected);
/* UNSUPPORTED: the field and its value, and why. */
ucb_status ucb_config_reject(const struct ucb_config *c, const char *field,
                             const char *value, const char *why);
/* NULL for a field that is absent or null: config files use both for "not set". */
const json_t *ucb_config_get(const json_t *object, const char *field);
/* A positive whole number; `fallback` 0: the field must be there. */
ucb_status ucb_config_get_size(const struct ucb_config *c, const char *field,
                               uint32_t fallback, uint32_t *out);
/* A whole number from 0 on, `fallback` where it is not given. */
ucb_status ucb_config_get_count(const struct ucb_config *c, const char *field,
                                uint32_t fallback, uint32_t *out);
/* A finite number from 0 on, 0 where it is not given. */
ucb_status ucb_config_get_optional(const struct ucb_config *c, const json_t *object,
                                   const char *field, double *out);
/* A finite number above 0, from `object`; `fallback` 0: the field must be there. */
ucb_status ucb_config_get_number(const struct ucb_config *c, const json_t *object,
                                 const char *field, double fallback, double *out);
ucb_status ucb_config_get_flag(const struct ucb_config *c, const char *field, bool fallback,
                               bool *out);
/* `fallback` NULL: the field must be there. */
ucb_status ucb_config_get_activation(const struct ucb_config *c, const char *field,
                                     const char *fallback, enum ucb_activation *out);

/* Widths, depths and counts that every family has, under the family's own field names. */
ucb_status ucb_config_read_sizes(const struct ucb_config *c, struct ucb_arch *arch);
/* Everything else but rope: what the family's layers are. arch->layers is allocated. */
ucb_status ucb_config_read_family(const struct ucb_config *c, struct ucb_arch *arch);
/* The size of what turns, not yet checked. */
ucb_status ucb_config_read_rotary_dim(const struct ucb_config *c, struct ucb_arch *arch);
/* The frequencies, for a rotary_dim that has been checked. */
ucb_status ucb_config_read_rope(const struct ucb_config *c, struct ucb_arena *arena,
                                struct ucb_arch *arch);

#endif
