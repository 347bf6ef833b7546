/*
 * seed_uc.c - a .uc layer: magic "UCL" 0, u16 version, layer, linears, extras, 4 zeros;
 * then linears sorted by name, then extras. Little-endian throughout.
 */
#include <math.h>
#include <string.h>

#include "core/bytes.h"
#include "core/half.h"
#include "pack/seed.h"

static const uint8_t uc_magic[4] = {'U', 'C', 'L', 0};
static const uint8_t extra_widths[3] = {2, 4, 2};

struct reading {
    const char *path;
    struct ucb_reader in;
    struct ucb_arena *arena;
    uint16_t version;
};

static ucb_status cut(const struct reading *r, const char *name, const char *what,
                      struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_CORRUPT, "%s: %s ends before its %s (byte %zu)", r->path, name,
                    what, r->in.n_bytes);
}

/* count x each bytes; false past the end. */
static bool take(struct reading *r, uint64_t count, uint64_t each, const uint8_t **data)
{
    uint64_t n;
    return !__builtin_mul_overflow(count, each, &n) && n <= SIZE_MAX &&
           ucb_get_bytes(&r->in, (size_t)n, data);
}

static ucb_status take_name(struct reading *r, const char **name, struct ucb_err *err)
{
    uint16_t n;
    const uint8_t *text;
    if (!ucb_get_u16(&r->in, &n) || !ucb_get_bytes(&r->in, n, &text))
        return cut(r, "a record", "name", err);
    if (n == 0 || n > 255 || memchr(text, 0, n) != NULL)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: a name of %u bytes, or one with a zero byte in it", r->path,
                        n);
    *name = ucb_arena_printf(r->arena, "%.*s", (int)n, (const char *)text);
    return *name == NULL ? UCB_FAIL(err, UCB_NOMEM, "%s: no memory", r->path) : UCB_OK;
}

static float load_bf16(const uint8_t *p)
{
    return ucb_bf16_widen(ucb_load_u16(p));
}

static uint32_t code_at(const struct ucb_uc_linear *l, uint64_t index)
{
    uint64_t bit = index * l->bits;
    uint32_t code = 0;
    for (uint32_t i = 0; i < l->bits; i++, bit++)
        code |= (uint32_t)(l->codes[bit / 8] >> bit % 8 & 1) << i;
    return code;
}

static bool take_codes(struct reading *r, struct ucb_uc_linear *l)
{
    uint64_t n = (uint64_t)l->n_out * l->n_in;
    return take(r, (n * l->bits + 7) / 8, 1, &l->codes);
}

/* Version 3 holds grid and absmax before the codes, in fp32; before, codes stand first and
 * scales are bf16. */
static bool take_base(struct reading *r, struct ucb_uc_linear *l)
{
    uint64_t n_scales = (uint64_t)l->n_out * l->n_blocks;
    if (r->version >= 3)
        return ucb_get_f32(&r->in, &l->alpha) && take(r, l->n_grid, 4, &l->grid) &&
               take(r, n_scales, 4, &l->scales) && take_codes(r, l);
    const uint8_t *alpha;
    if (!take(r, 1, 2, &alpha)) return false;
    l->alpha = load_bf16(alpha);
    return take_codes(r, l) && take(r, n_scales, 2, &l->scales);
}

static bool take_head(struct reading *r, struct ucb_uc_linear *l)
{
    uint8_t dtype = 1;
    if (!ucb_get_u32(&r->in, &l->n_out) || !ucb_get_u32(&r->in, &l->n_in) ||
        !ucb_get_u16(&r->in, &l->block) || !ucb_get_u8(&r->in, &l->bits) ||
        !ucb_get_u8(&r->in, &l->rank))
        return false;
    if (r->version == 2 && !ucb_get_u8(&r->in, &dtype)) return false;
    if (r->version == 3 && !ucb_get_u16(&r->in, &l->n_grid)) return false;
    l->half_factors = r->version == 1 || dtype == 0;
    return dtype <= 1;
}

static bool is_sane(const struct reading *r, const struct ucb_uc_linear *l)
{
    bool grid = r->version < 3 || (l->n_grid > 0 && l->n_grid <= 1u << (l->bits & 15));
    return l->n_out > 0 && l->n_out <= INT32_MAX && l->n_in > 0 && l->n_in <= INT32_MAX &&
           l->block > 0 && l->bits >= 1 && l->bits <= 15 && grid &&
           (r->version >= 3 || l->bits >= 2);
}

static ucb_status check_values(const struct reading *r, const struct ucb_uc_linear *l,
                               struct ucb_err *err)
{
    uint64_t n = (uint64_t)l->n_out * l->n_in, n_scales = (uint64_t)l->n_out * l->n_blocks;
    for (uint64_t i = 0; r->version >= 3 && i < n; i++)
        if (code_at(l, i) >= l->n_grid)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s: %s: code %u at [%llu][%llu], its grid has %u", r->path,
                            l->name, code_at(l, i), (unsigned long long)(i / l->n_in),
                            (unsigned long long)(i % l->n_in), l->n_grid);
    for (uint64_t i = 0; i < n_scales; i++) {
        float scale = r->version >= 3 ? ucb_load_f32(l->scales + 4 * i)
                                      : load_bf16(l->scales + 2 * i);
        if (!isfinite(scale))
            return UCB_FAIL(err, UCB_CORRUPT, "%s: %s: scale %llu is not finite", r->path,
                            l->name, (unsigned long long)i);
    }
    for (uint32_t i = 0; i < l->n_grid; i++)
        if (!isfinite(ucb_load_f32(l->grid + 4 * i)))
            return UCB_FAIL(err, UCB_CORRUPT, "%s: %s: entry %u of its grid is not finite",
                            r->path, l->name, i);
    return isfinite(l->alpha) ? UCB_OK
                              : UCB_FAIL(err, UCB_CORRUPT, "%s: %s: alpha is not finite",
                                         r->path, l->name);
}

static ucb_status read_linear(struct reading *r, struct ucb_uc_linear *l,
                              struct ucb_err *err)
{
    uint8_t has_bias;
    UCB_TRY(take_name(r, &l->name, err));
    if (!take_head(r, l)) return cut(r, l->name, "sizes", err);
    if (!is_sane(r, l))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: %s: %u x %u in blocks of %u, %u bits, a grid of %u: no such "
                        "matrix",
                        r->path, l->name, l->n_out, l->n_in, l->block, l->bits, l->n_grid);
    l->n_blocks = (l->n_in + l->block - 1) / l->block;
    if (!take_base(r, l)) return cut(r, l->name, "codes and scales", err);
    uint64_t width = l->half_factors ? 2 : 4;
    if (!take(r, (uint64_t)l->rank * l->n_in, width, &l->v) ||
        !take(r, (uint64_t)l->rank * l->n_out, width, &l->u))
        return cut(r, l->name, "factors", err);
    if (!ucb_get_u8(&r->in, &has_bias) || has_bias > 1 ||
        (has_bias == 1 && !take(r, l->n_out, 2, &l->bias)))
        return cut(r, l->name, "bias", err);
    return check_values(r, l, err);
}

static ucb_status read_extra(struct reading *r, struct ucb_uc_extra *x, struct ucb_err *err)
{
    uint64_t n = 1;
    UCB_TRY(take_name(r, &x->name, err));
    if (!ucb_get_u8(&r->in, &x->n_dims) || x->n_dims > 8)
        return cut(r, x->name, "dimensions", err);
    for (uint32_t i = 0; i < x->n_dims; i++)
        if (!ucb_get_u32(&r->in, &x->shape[i]) ||
            __builtin_mul_overflow(n, x->shape[i], &n))
            return cut(r, x->name, "dimensions", err);
    if (!ucb_get_u8(&r->in, &x->dtype) || x->dtype > 2 ||
        !take(r, n, extra_widths[x->dtype], &x->data))
        return cut(r, x->name, "data", err);
    x->n_bytes = n * extra_widths[x->dtype];
    return UCB_OK;
}

static ucb_status read_lists(struct reading *r, struct ucb_uc_layer *out,
                             struct ucb_err *err)
{
    out->linears = UCB_NEW(r->arena, struct ucb_uc_linear, out->n_linears);
    out->extras = UCB_NEW(r->arena, struct ucb_uc_extra, out->n_extras);
    if (out->linears == NULL || out->extras == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for its records", r->path);
    for (uint32_t i = 0; i < out->n_linears; i++) {
        UCB_TRY(read_linear(r, &out->linears[i], err));
        if (i > 0 && strcmp(out->linears[i - 1].name, out->linears[i].name) >= 0)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "%s: %s stands behind %s: records are sorted by name", r->path,
                            out->linears[i].name, out->linears[i - 1].name);
    }
    for (uint32_t i = 0; i < out->n_extras; i++)
        UCB_TRY(read_extra(r, &out->extras[i], err));
    if (ucb_reader_left(&r->in) == 0) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT, "%s: %zu bytes behind its last record", r->path,
                    ucb_reader_left(&r->in));
}

ucb_status ucb_uc_parse(const char *path, const uint8_t *bytes, size_t n_bytes,
                        struct ucb_arena *arena, struct ucb_uc_layer *out,
                        struct ucb_err *err)
{
    struct reading r = {path, {bytes, n_bytes, 16}, arena, 0};
    if (n_bytes < 16 || memcmp(bytes, uc_magic, sizeof(uc_magic)) != 0)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: does not begin as a .uc layer", path);
    *out = (struct ucb_uc_layer){.version = ucb_load_u16(bytes + 4),
                                 .index = ucb_load_u16(bytes + 6),
                                 .n_linears = ucb_load_u16(bytes + 8),
                                 .n_extras = ucb_load_u16(bytes + 10)};
    r.version = out->version;
    if (r.version < 1 || r.version > 3)
        return UCB_FAIL(err, UCB_UNSUPPORTED, "%s: .uc version %u; 1 to 3 are read", path,
                        r.version);
    if (ucb_load_u32(bytes + 12) != 0)
        return UCB_FAIL(err, UCB_CORRUPT, "%s: unused bytes of its header are set", path);
    return read_lists(&r, out, err);
}

static float factor(const struct ucb_uc_linear *l, const uint8_t *p, uint64_t i)
{
    return l->half_factors ? load_bf16(p + 2 * i) : ucb_load_f32(p + 4 * i);
}

void ucb_uc_decode(const struct ucb_uc_layer *layer, const struct ucb_uc_linear *l,
                   float *w)
{
    for (uint32_t row = 0; row < l->n_out; row++)
        for (uint32_t column = 0; column < l->n_in; column++) {
            uint64_t at = (uint64_t)row * l->n_in + column,
                     scale = (uint64_t)row * l->n_blocks + column / l->block;
            uint32_t code = code_at(l, at);
            if (layer->version >= 3)
                w[at] = ucb_bf16_round(ucb_load_f32(l->grid + 4 * (size_t)code) *
                                       ucb_load_f32(l->scales + 4 * scale));
            else
                w[at] = (float)((int32_t)code - (1 << (l->bits - 1))) *
                        load_bf16(l->scales + 2 * scale);
            float sum = 0.0f;
            for (uint32_t k = 0; k < l->rank; k++)
                sum += factor(l, l->u, (uint64_t)row * l->rank + k) *
                       factor(l, l->v, (uint64_t)k * l->n_in + column);
            if (l->rank > 0) w[at] += l->alpha * sum;
        }
}
