/*
 * eval_layers.c - the layers of an evaluation: one after the other, each of every variant.
 *
 * A turn is one layer of one variant: it is loaded, then all windows run through it. Where
 * a device decodes, the layer of the next turn is loaded before this one runs: the host is
 * busy with a product until it is done, and what was queued on the stream LOAD before goes
 * on meanwhile. Nothing that a load reads is written by a run, so no result changes; an
 * error that a load met is told when its turn comes.
 */
#include "eval/eval_internal.h"

#include <stdio.h>

#include "core/peak.h"
#include "eval/layer_work.h"

/* A layer in memory, and whose turn it is for. */
struct shelf {
    struct ucb_loader *loader; /* NULL: there is no second one */
    struct ucb_layer layer;
    size_t turn; /* SIZE_MAX: none */
    ucb_status status;
};

/* All turns, those of a layer after those of the layer before. */
struct turns {
    struct ucb_eval *e;
    struct ucb_variant *variants;
    size_t n_variants, n;
    struct shelf here, ahead;
};

static struct ucb_variant *variant_of(const struct turns *t, size_t turn)
{
    return &t->variants[turn % t->n_variants];
}

static uint32_t layer_of(const struct turns *t, size_t turn)
{
    return (uint32_t)(turn / t->n_variants);
}

static void load(const struct turns *t, size_t turn, struct shelf *out)
{
    struct ucb_variant *v = variant_of(t, turn);
    struct ucb_eval_result *r = v->result;
    uint32_t layer = layer_of(t, turn);
    double before = r->tally.encode_seconds;
    ucb_loader_set_shared(out->loader, &v->shared);
    out->turn = turn;
    out->status = v->work != NULL
                      ? ucb_layer_work_run(v->work, out->loader, layer, &r->tally,
                                           v->calibrator, &out->layer, &r->layers[layer],
                                           &r->err)
                      : ucb_loader_layer(out->loader, v->chain, layer, &r->tally,
                                         v->calibrator, &out->layer, &r->err);
    r->layers[layer].seconds = r->tally.encode_seconds - before;
    if (t->e->ahead != NULL) ucb_loader_drop_tools(out->loader); /* for the other one */
}

/* Loads the next turn that there will be, where a device decodes it meanwhile. A layer that
 * is tuned wants the memory for itself. */
static void load_ahead(struct turns *t, size_t turn)
{
    size_t next = turn + 1;
    if (t->ahead.loader == NULL) return;
    while (next < t->n && variant_of(t, next)->result->status != UCB_OK) next++;
    const struct ucb_variant *v = next < t->n ? variant_of(t, next) : NULL;
    if (v != NULL && v->work == NULL &&
        ucb_loader_decodes_on_device(t->ahead.loader, v->chain))
        load(t, next, &t->ahead);
    else
        ucb_loader_rest(t->ahead.loader);
}

static void run(const struct turns *t, size_t turn, const struct ucb_layer *layer)
{
    struct ucb_eval *e = t->e;
    struct ucb_variant *v = variant_of(t, turn);
    struct ucb_eval_result *r = v->result;
    struct ucb_pass pass = ucb_variant_pass(e, v);
    ucb_status status = UCB_OK;
    char where[32];
    snprintf(where, sizeof(where), "layer %u", layer->index);
    if (e->options.keep_encoded && layer->index == 0)
        status = ucb_resident_cost_measure(e->options.backend, e->options.pool, layer,
                                           e->options.batch, &r->resident, &r->err);
    uint64_t start = ucb_clock_ns();
    if (status == UCB_OK) status = ucb_pass_layer(&pass, e->forward, layer, NULL, &r->err);
    if (status == UCB_OK) status = ucb_backend_finish(e->options.backend, &r->err);
    v->seconds += (double)(ucb_clock_ns() - start) * 1e-9;
    r->layers[layer->index].peak_rss_bytes = ucb_peak_rss();
    if (status != UCB_OK) ucb_variant_fail(v, status, where);
}

static void take_turn(struct turns *t, size_t turn)
{
    struct ucb_variant *v = variant_of(t, turn);
    char where[32];
    if (t->ahead.turn == turn) {
        struct shelf loaded = t->ahead;
        t->ahead = t->here;
        t->here = loaded;
    } else {
        load(t, turn, &t->here);
    }
    ucb_status status = t->here.status;
    if (status == UCB_OK) status = ucb_loader_settle(t->here.loader, &v->result->err);
    if (status == UCB_OK) {
        load_ahead(t, turn);
        run(t, turn, &t->here.layer);
        return;
    }
    snprintf(where, sizeof(where), "layer %u", layer_of(t, turn));
    ucb_variant_fail(v, status, where);
}

void ucb_eval_layers(struct ucb_eval *e, struct ucb_variant *variants, size_t n,
                     struct ucb_progress *progress, const char *label)
{
    struct turns t = {.e = e,
                      .variants = variants,
                      .n_variants = n,
                      .n = e->arch->n_layers * n,
                      .here = {.loader = e->loader, .turn = SIZE_MAX},
                      .ahead = {.loader = e->ahead, .turn = SIZE_MAX}};
    double work = (1 - e->head_share) * (double)e->n_rows / e->arch->n_layers;
    for (size_t turn = 0; turn < t.n; turn++) {
        const struct ucb_variant *v = variant_of(&t, turn);
        if (v->result->status == UCB_OK) take_turn(&t, turn);
        ucb_progress_add(progress, work, label == NULL ? ucb_chain_spec(v->chain) : label);
    }
    ucb_loader_rest(e->loader);
    if (e->ahead != NULL) ucb_loader_rest(e->ahead);
}
