/* backward_memory.c - the arrays of a backward pass, as large as its rows and windows ask
 * for; those that the architecture has no use for stay NULL. */
#include "model/backward_internal.h"
#include "model/forward_internal.h"
#include "model/latent_heads.h"

static bool make_rope(struct ucb_backward *b)
{
    const struct ucb_arch *a = b->arch;
    size_t half = a->rotary_dim / 2, n = b->longest * half;
    for (int set = 0; set < UCB_MAX_ROPE_SETS; set++)
        for (int is_long = 0; is_long < 2; is_long++) {
            const struct ucb_rope_set *rope = &a->rope[set];
            const float *inv_freq = is_long ? rope->long_inv_freq : rope->inv_freq;
            if (inv_freq == NULL) continue;
            float *table = UCB_NEW(&b->arena, float, 2 * n),
                  *back = UCB_NEW(&b->arena, float, 2 * n);
            if (table == NULL || back == NULL) return false;
            ucb_forward_rope(inv_freq, is_long ? rope->long_magnitude : rope->magnitude,
                             half, b->longest, table);
            for (size_t i = 0; i < n; i++) back[2 * i] = table[2 * i];
            for (size_t i = 0; i < n; i++) back[2 * i + 1] = -table[2 * i + 1];
            b->rope[set][is_long][0] = table;
            b->rope[set][is_long][1] = back;
        }
    return true;
}

static void measure(struct ucb_backward *b)
{
    const struct ucb_arch *a = b->arch;
    struct ucb_backward_sizes *s = &b->size;
    s->hidden = b->max_rows * a->hidden;
    size_t head_dim = a->mixer == UCB_MIXER_LATENT ? ucb_latent_width(a) : a->head_dim;
    s->q = b->max_rows * a->n_heads * head_dim;
    s->kv = b->max_rows * a->n_kv_heads * head_dim;
    s->sent = a->experts.n == 0 ? 0 : b->max_rows * a->experts.used;
    s->mlp = s->sent * a->experts.width + b->max_rows * a->experts.shared_width;
    for (uint32_t i = 0; i < a->n_layers; i++)
        if (b->max_rows * a->layers[i].ffn > s->mlp)
            s->mlp = b->max_rows * a->layers[i].ffn;
}

/* Takes arrays until one cannot be had; those of size 0 stay NULL. */
struct taker {
    struct ucb_arena *arena;
    bool failed;
};

static float *take(struct taker *t, size_t n)
{
    float *p = n == 0 || t->failed ? NULL : UCB_NEW(t->arena, float, n);
    if (n != 0 && p == NULL) t->failed = true;
    return p;
}

static bool make_kept(struct ucb_backward *b)
{
    const struct ucb_arch *a = b->arch;
    const struct ucb_backward_sizes *s = &b->size;
    struct taker t = {&b->arena, false};
    size_t has_norm = a->qk_norm != UCB_QK_NORM_NONE, has_clip = a->clip_qkv != 0,
           has_mlp = a->mixer != UCB_MIXER_SSM, experts = a->experts.n;
    b->normed = take(&t, s->hidden);
    b->q_raw = take(&t, s->q * has_norm);
    b->k_raw = take(&t, s->kv * has_norm);
    b->q_still = take(&t, s->q * has_clip);
    b->k_still = take(&t, s->kv * has_clip);
    b->q = take(&t, s->q);
    b->k = take(&t, s->kv);
    b->v = take(&t, s->kv);
    b->mixed = take(&t, s->q);
    b->mixed_out = take(&t, s->hidden);
    b->middle = take(&t, s->hidden * has_mlp);
    b->normed_mlp = take(&t, s->hidden * has_mlp);
    b->gate = take(&t, a->gated ? s->mlp : 0);
    b->up = take(&t, s->mlp);
    b->active = take(&t, s->mlp);
    b->mlp_out = take(&t, s->hidden * has_mlp);
    b->scores = take(&t, b->max_rows * experts);
    b->expert_weight = take(&t, s->sent);
    b->sent = take(&t, s->sent * a->hidden);
    b->answer = take(&t, s->sent * a->hidden);
    b->expert = UCB_NEW(&b->arena, uint32_t, s->sent);
    b->place = UCB_NEW(&b->arena, size_t, s->sent);
    b->expert_start = UCB_NEW(&b->arena, size_t, experts + 1);
    b->position = UCB_NEW(&b->arena, uint32_t, b->max_rows);
    b->start = UCB_NEW(&b->arena, size_t, b->max_rows + 1);
    return !t.failed && b->expert != NULL && b->place != NULL && b->expert_start != NULL &&
           b->position != NULL && b->start != NULL;
}

static bool make_latent(struct ucb_backward *b)
{
    const struct ucb_latent *l = &b->arch->latent;
    struct taker t = {&b->arena, false};
    size_t rows = b->arch->mixer == UCB_MIXER_LATENT ? b->max_rows : 0;
    b->latent.q_raw = take(&t, rows * l->q_rank);
    b->latent.q = take(&t, rows * l->q_rank);
    b->latent.kv_raw = take(&t, rows * l->kv_rank);
    b->latent.kv = take(&t, rows * l->kv_rank);
    b->latent.key = take(&t, rows * l->rope);
    b->latent.heads = take(&t, rows * b->arch->n_heads * (l->nope + l->value));
    b->latent.both = take(&t, rows * (l->kv_rank + l->rope));
    b->latent.dlatent = take(&t, rows * (l->q_rank > l->kv_rank ? l->q_rank : l->kv_rank));
    return !t.failed;
}

static bool make_ssm(struct ucb_backward *b)
{
    const struct ucb_ssm *s = &b->arch->ssm;
    struct ucb_backward_ssm *m = &b->ssm;
    struct taker t = {&b->arena, false};
    size_t rows = b->max_rows, width = rows * s->width;
    if (b->arch->mixer != UCB_MIXER_SSM) return true;
    m->rows.in = take(&t, 2 * width);
    m->rows.u = take(&t, width);
    m->rows.x = take(&t, rows * ucb_ssm_x_width(s));
    m->rows.dt = take(&t, width);
    m->rows.y = take(&t, width);
    m->rows.weights = take(&t, (size_t)s->width * (s->kernel + s->state));
    m->delta = take(&t, rows * s->rank);
    m->z = take(&t, width);
    m->gated = take(&t, width);
    m->du = take(&t, width);
    m->ddt = take(&t, width);
    m->dpart = take(&t, width);
    m->dx = take(&t, rows * ucb_ssm_x_width(s));
    return !t.failed;
}

static bool make_gradients(struct ucb_backward *b)
{
    const struct ucb_backward_sizes *s = &b->size;
    struct taker t = {&b->arena, false};
    b->dstream = take(&t, s->hidden);
    b->dpart = take(&t, s->hidden);
    b->dnormed = take(&t, s->hidden);
    b->aside = take(&t, s->sent > b->max_rows ? s->sent * b->arch->hidden : s->hidden);
    b->dq = take(&t, s->q);
    b->dk = take(&t, s->kv);
    b->dv = take(&t, s->kv);
    b->dmixed = take(&t, s->q);
    b->dactive = take(&t, s->mlp);
    b->dsent = take(&t, s->sent * b->arch->hidden);
    b->dscores = take(&t, b->max_rows * b->arch->experts.n);
    b->dexpert_weight = take(&t, s->sent);
    return !t.failed;
}

/* The largest of n bytes so far. */
static void at_least(size_t *most, size_t n)
{
    if (n > *most) *most = n;
}

static void measure_matrix(const struct ucb_backward *b, uint32_t n_out, uint32_t n_in,
                           size_t *packed, size_t *input, size_t *turned)
{
    at_least(packed, ucb_pack_bytes(b->backend, n_out, n_in));
    at_least(packed, ucb_pack_bytes(b->backend, n_in, n_out));
    at_least(input, ucb_pack_bytes(b->backend, n_in, (uint32_t)b->max_rows));
    at_least(turned, n_out * b->max_rows);
}

static bool make_packed(struct ucb_backward *b)
{
    size_t packed = 0, input = 0, turned = 0, n;
    for (uint32_t layer = 0; layer < b->arch->n_layers; layer++) {
        const struct ucb_matrix *const *m = ucb_model_layer_matrices(b->model, layer, &n);
        for (size_t i = 0; i < n; i++)
            measure_matrix(b, m[i]->n_out, m[i]->n_in, &packed, &input, &turned);
    }
    if (b->arch->experts.n != 0)
        measure_matrix(b, b->arch->experts.n, b->arch->hidden, &packed, &input, &turned);
    b->packed = ucb_arena_alloc(&b->arena, packed);
    b->packed_input = ucb_arena_alloc(&b->arena, input);
    b->turned = UCB_NEW(&b->arena, float, turned);
    return b->packed != NULL && b->packed_input != NULL && b->turned != NULL;
}

bool ucb_backward_make(struct ucb_backward *b)
{
    measure(b);
    return make_rope(b) && make_kept(b) && make_latent(b) && make_ssm(b) &&
           make_gradients(b) && make_packed(b);
}
