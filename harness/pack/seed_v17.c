/*
 * seed_v17.c - UCV17: magic "UCV17" 1, u32 length, JSON; codebooks of each role in fp16; of
 * each weight s, rs in fp16 and codes. A group's code is b1 bits of i1, then b2 bits of i2,
 * most significant first, from bit 7 of byte 0 on; padded to 8 bytes.
 */
#include <string.h>

#include "core/bytes.h"
#include "core/half.h"
#include "core/json.h"
#include "pack/seed.h"

static const uint8_t v17_magic[6] = {'U', 'C', 'V', '1', '7', 1};

struct reading {
    const char *path;
    struct ucb_reader in;
    struct ucb_arena *arena;
    struct ucb_v17 *out;
    struct ucb_err *err;
};

static uint32_t bits_for(uint32_t k)
{
    uint32_t bits = 0;
    while (((uint64_t)1 << bits) < k) bits++;
    return bits;
}

static uint64_t code_bytes(uint64_t n_groups, uint32_t bits)
{
    return (n_groups * bits + 63) / 64 * 8;
}

uint64_t ucb_v17_codebook_bytes(uint32_t dim, uint32_t k1, uint32_t k2)
{
    return 2 * (uint64_t)dim * ((uint64_t)k1 + k2);
}

uint64_t ucb_v17_weight_bytes(uint32_t dim, uint32_t k1, uint32_t k2, uint32_t n_out,
                              uint32_t n_in)
{
    uint64_t n_groups = (uint64_t)n_out * n_in / dim;
    return 2 * ((uint64_t)n_in + n_out) + code_bytes(n_groups, bits_for(k1) + bits_for(k2));
}

static ucb_status bad(const struct reading *r, const char *key, const char *what)
{
    return UCB_FAIL(r->err, UCB_CORRUPT, "%s: `%s` of its header %s", r->path, key, what);
}

static ucb_status get(const struct reading *r, const json_t *o, const char *key,
                      uint64_t least, uint64_t most, uint64_t *out)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v) || json_integer_value(v) < (json_int_t)least ||
        (uint64_t)json_integer_value(v) > most)
        return bad(r, key, "is no number in its range");
    *out = (uint64_t)json_integer_value(v);
    return UCB_OK;
}

static ucb_status take(struct reading *r, uint64_t n, const char *what,
                       const uint8_t **data)
{
    if (n <= SIZE_MAX && ucb_get_bytes(&r->in, (size_t)n, data)) return UCB_OK;
    return UCB_FAIL(r->err, UCB_CORRUPT, "%s: ends before its %s", r->path, what);
}

static ucb_status copy_text(const struct reading *r, const json_t *v, const char *key,
                            const char **out)
{
    if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
        return bad(r, key, "is no text");
    *out = ucb_arena_strdup(r->arena, json_string_value(v));
    return *out == NULL ? UCB_FAIL(r->err, UCB_NOMEM, "%s: no memory", r->path) : UCB_OK;
}

static ucb_status read_role(struct reading *r, const json_t *root, const json_t *name,
                            struct ucb_v17_role *out)
{
    UCB_TRY(copy_text(r, name, "roles", &out->name));
    const json_t *pair = json_object_get(json_object_get(root, "role_K"), out->name);
    json_int_t k1 = json_integer_value(json_array_get(pair, 0)),
               k2 = json_integer_value(json_array_get(pair, 1));
    if (json_array_size(pair) != 2 || k1 < 1 || k2 < 1 || k1 > 1 << 24 || k2 > 1 << 24)
        return bad(r, "role_K", "has no two sizes for a role");
    out->k1 = (uint32_t)k1;
    out->k2 = (uint32_t)k2;
    return UCB_OK;
}

static ucb_status find_role(struct reading *r, const json_t *o, uint32_t *out)
{
    const char *name = json_string_value(json_object_get(o, "role"));
    for (*out = 0; name != NULL && *out < r->out->n_roles; ++*out)
        if (strcmp(r->out->roles[*out].name, name) == 0) return UCB_OK;
    return bad(r, "role", "is not among the roles");
}

static ucb_status read_weight(struct reading *r, const json_t *o, struct ucb_v17_weight *w)
{
    uint64_t out, in, b1, b2, s_bytes, rs_bytes;
    UCB_TRY(copy_text(r, json_object_get(o, "key"), "key", &w->key));
    UCB_TRY(find_role(r, o, &w->role));
    UCB_TRY(get(r, o, "O", 1, INT32_MAX, &out));
    UCB_TRY(get(r, o, "I", 1, INT32_MAX, &in));
    UCB_TRY(get(r, o, "b1", 0, 24, &b1));
    UCB_TRY(get(r, o, "b2", 0, 24, &b2));
    UCB_TRY(get(r, o, "n_groups", 1, INT64_MAX, &w->n_groups));
    UCB_TRY(get(r, o, "s_bytes", 1, INT64_MAX, &s_bytes));
    UCB_TRY(get(r, o, "rs_bytes", 1, INT64_MAX, &rs_bytes));
    UCB_TRY(get(r, o, "codes_bytes", 0, INT64_MAX, &w->codes_bytes));
    const struct ucb_v17_role *role = &r->out->roles[w->role];
    w->n_out = (uint32_t)out;
    w->n_in = (uint32_t)in;
    w->b1 = (uint32_t)b1;
    w->b2 = (uint32_t)b2;
    if (in % r->out->dim != 0 || w->n_groups != out * in / r->out->dim ||
        s_bytes != 2 * in || rs_bytes != 2 * out || b1 != bits_for(role->k1) ||
        b2 != bits_for(role->k2) ||
        w->codes_bytes != code_bytes(w->n_groups, w->b1 + w->b2))
        return bad(r, w->key, "has sizes that contradict its shape");
    return UCB_OK;
}

static ucb_status read_header(struct reading *r, const json_t *root)
{
    struct ucb_v17 *v = r->out;
    uint64_t version, dim;
    json_t *roles = json_object_get(root, "roles"),
           *weights = json_object_get(root, "weights");
    UCB_TRY(get(r, root, "version", 1, 1, &version));
    UCB_TRY(get(r, root, "D", 1, 1024, &dim));
    v->dim = (uint32_t)dim;
    v->a_attn = json_number_value(json_object_get(root, "a_attn"));
    v->a_mlp = json_number_value(json_object_get(root, "a_mlp"));
    if (!json_is_array(roles) || !json_is_array(weights) || json_array_size(roles) > 4096)
        return bad(r, "roles or weights", "is no list");
    v->roles = UCB_NEW(r->arena, struct ucb_v17_role, json_array_size(roles));
    v->weights = UCB_NEW(r->arena, struct ucb_v17_weight, json_array_size(weights));
    if (v->roles == NULL || v->weights == NULL)
        return UCB_FAIL(r->err, UCB_NOMEM, "%s: no memory for its lists", r->path);
    for (; v->n_roles < json_array_size(roles); v->n_roles++)
        UCB_TRY(
            read_role(r, root, json_array_get(roles, v->n_roles), &v->roles[v->n_roles]));
    for (; v->n_weights < json_array_size(weights); v->n_weights++)
        UCB_TRY(read_weight(r, json_array_get(weights, v->n_weights),
                            &v->weights[v->n_weights]));
    for (uint32_t i = 1; i < v->n_weights; i++)
        if (strcmp(v->weights[i - 1].key, v->weights[i].key) >= 0)
            return bad(r, v->weights[i].key, "is out of order: keys are sorted");
    return UCB_OK;
}

static uint32_t read_bits(const uint8_t *p, uint64_t bit, uint32_t n)
{
    uint32_t value = 0;
    for (uint32_t i = 0; i < n; i++, bit++)
        value = value << 1 | (p[bit / 8] >> (7 - bit % 8) & 1);
    return value;
}

void ucb_v17_indices(const struct ucb_v17 *v, const struct ucb_v17_weight *w,
                     uint64_t group, uint32_t *i1, uint32_t *i2)
{
    (void)v;
    uint64_t bit = group * (w->b1 + w->b2);
    *i1 = read_bits(w->codes, bit, w->b1);
    *i2 = read_bits(w->codes, bit + w->b1, w->b2);
}

static ucb_status check_codes(const struct reading *r, const struct ucb_v17_weight *w)
{
    const struct ucb_v17_role *role = &r->out->roles[w->role];
    /* Codebooks of one row take no bits: nothing bounds the groups, and all are 0. */
    for (uint64_t group = 0; w->b1 + w->b2 > 0 && group < w->n_groups; group++) {
        uint32_t i1, i2;
        ucb_v17_indices(r->out, w, group, &i1, &i2);
        if (i1 >= role->k1 || i2 >= role->k2)
            return UCB_FAIL(
                r->err, UCB_CORRUPT,
                "%s: %s: group %llu has indices %u, %u; its codebooks have %u, %u", r->path,
                w->key, (unsigned long long)group, i1, i2, role->k1, role->k2);
    }
    for (uint64_t bit = w->n_groups * (w->b1 + w->b2); bit < 8 * w->codes_bytes; bit++)
        if ((w->codes[bit / 8] >> (7 - bit % 8) & 1) != 0)
            return UCB_FAIL(r->err, UCB_CORRUPT, "%s: %s: its padding is not zero", r->path,
                            w->key);
    return UCB_OK;
}

static ucb_status read_data(struct reading *r)
{
    struct ucb_v17 *v = r->out;
    for (uint32_t i = 0; i < v->n_roles; i++) {
        struct ucb_v17_role *role = &v->roles[i];
        UCB_TRY(take(r, 2 * (uint64_t)v->dim * role->k1, "codebooks", &role->cb1));
        UCB_TRY(take(r, 2 * (uint64_t)v->dim * role->k2, "codebooks", &role->cb2));
    }
    for (uint32_t i = 0; i < v->n_weights; i++) {
        struct ucb_v17_weight *w = &v->weights[i];
        UCB_TRY(take(r, 2 * (uint64_t)w->n_in, w->key, &w->s));
        UCB_TRY(take(r, 2 * (uint64_t)w->n_out, w->key, &w->rs));
        UCB_TRY(take(r, w->codes_bytes, w->key, &w->codes));
        UCB_TRY(check_codes(r, w));
    }
    if (ucb_reader_left(&r->in) == 0) return UCB_OK;
    return UCB_FAIL(r->err, UCB_CORRUPT, "%s: %zu bytes behind its last weight", r->path,
                    ucb_reader_left(&r->in));
}

ucb_status ucb_v17_parse(const char *path, const uint8_t *bytes, size_t n_bytes,
                         struct ucb_arena *arena, struct ucb_v17 *out, struct ucb_err *err)
{
    struct reading r = {path, {bytes, n_bytes, sizeof(v17_magic)}, arena, out, err};
    uint32_t length;
    const uint8_t *text;
    json_t *root;
    *out = (struct ucb_v17){0};
    if (n_bytes < 10 || memcmp(bytes, v17_magic, sizeof(v17_magic)) != 0)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: does not begin as a UCV17 file", path);
    if (!ucb_get_u32(&r.in, &length) || !ucb_get_bytes(&r.in, length, &text))
        return UCB_FAIL(err, UCB_CORRUPT, "%s: ends inside its header", path);
    UCB_TRY(ucb_json_parse(path, (const char *)text, length, &root, err));
    ucb_status status = read_header(&r, root);
    json_decref(root);
    return status == UCB_OK ? read_data(&r) : status;
}

void ucb_v17_decode(const struct ucb_v17 *v, const struct ucb_v17_weight *w, float *g)
{
    const struct ucb_v17_role *role = &v->roles[w->role];
    for (uint64_t group = 0; group < w->n_groups; group++) {
        uint32_t i1, i2;
        ucb_v17_indices(v, w, group, &i1, &i2);
        uint64_t first = group * v->dim;
        float rs = ucb_f16_widen(ucb_load_u16(w->rs + 2 * (first / w->n_in)));
        for (uint32_t k = 0; k < v->dim; k++) {
            const uint8_t *a = role->cb1 + 2 * ((uint64_t)i1 * v->dim + k),
                          *b = role->cb2 + 2 * ((uint64_t)i2 * v->dim + k);
            g[first + k] = (ucb_f16_widen(ucb_load_u16(a)) +
                            ucb_f16_widen(ucb_load_u16(b))) *
                           rs;
        }
    }
}
