/*
 * shared.c - see shared.h. The matrices of the layers come first, then the embedding and
 * the head where the chain takes them; a tied head that goes with its embedding comes once.
 */
#include "eval/shared.h"

#include <stdio.h>

#include "core/arena.h"
#include "eval/calib.h"

/* Where the stream stands: a layer and a slot of it, then the two of the model. */
struct walk {
    const struct ucb_shared_options *options;
    const struct ucb_chain *chain;
    struct ucb_calibrator *calibrator;
    uint32_t layer;
    size_t slot;
    struct ucb_source source;
    struct ucb_calib calib;
    float *w;
    size_t w_floats;
    unsigned pass; /* over all matrices, from 1 */
};

static bool takes(const struct walk *s, enum ucb_role role)
{
    return ucb_chain_takes(s->chain, role, ucb_scope_holds(s->options->scope, role));
}

/* Slots past the last layer: 0 the embedding, 1 the head. */
static const struct ucb_matrix *of_model(const struct walk *s)
{
    const struct ucb_model *model = s->options->model;
    bool is_tied = ucb_model_arch(model)->tied_head, embed = takes(s, UCB_ROLE_EMBED);
    if (s->slot == 0) return embed ? ucb_model_matrix(model, 0, UCB_ROLE_EMBED) : NULL;
    return takes(s, UCB_ROLE_HEAD) && !(is_tied && embed)
               ? ucb_model_matrix(model, 0, UCB_ROLE_HEAD)
               : NULL;
}

/* The matrix where the stream stands (NULL: not one that the chain takes), and on to the
 * next place; false behind the last one. *first: the slot whose statistics it shares. */
static bool step(struct walk *s, const struct ucb_matrix **out, size_t *first)
{
    uint32_t n_layers = ucb_model_arch(s->options->model)->n_layers;
    *out = NULL;
    if (s->layer == n_layers) {
        if (s->slot == 2) return false;
        *out = of_model(s);
        s->slot++;
        return true;
    }
    size_t n;
    const struct ucb_matrix *const *list = ucb_model_layer_matrices(s->options->model,
                                                                    s->layer, &n);
    if (s->slot == n) {
        s->layer++;
        s->slot = 0;
        return true;
    }
    *first = s->slot;
    while (*first > 0 && ucb_reads_same(list[*first - 1], list[s->slot])) --*first;
    if (takes(s, list[s->slot]->role)) *out = list[s->slot];
    s->slot++;
    return true;
}

static ucb_status read_weights(struct walk *s, const struct ucb_matrix *m,
                               struct ucb_err *err)
{
    size_t n = (size_t)m->n_out * m->n_in;
    if (n > s->w_floats) {
        ucb_mem_free(s->w);
        s->w = ucb_mem_alloc(n * sizeof(*s->w));
        s->w_floats = s->w == NULL ? 0 : n;
    }
    if (s->w == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %zu weights", m->name, n);
    return ucb_model_read_rows(s->options->model, m, 0, m->n_out, s->options->pool, s->w,
                               err);
}

static void show(const struct walk *s)
{
    char note[32];
    snprintf(note, sizeof(note), "side data, pass %u", s->pass);
    if (s->options->progress != NULL) ucb_progress_add(s->options->progress, 0, note);
}

static ucb_status next(void *context, const struct ucb_source **out, struct ucb_err *err)
{
    struct walk *s = context;
    const struct ucb_matrix *m = NULL;
    size_t first = 0;
    *out = NULL;
    while (m == NULL)
        if (!step(s, &m, &first)) return UCB_OK;
    UCB_TRY(read_weights(s, m, err));
    show(s);
    s->source = (struct ucb_source){.matrix = m, .w = s->w, .finite = true};
    if (s->calibrator != NULL && m->role < UCB_N_LAYER_ROLES) {
        UCB_TRY(ucb_calibrator_input(s->calibrator, m->layer, first, NULL, &s->calib, err));
        s->source.calib = &s->calib;
    }
    *out = &s->source;
    return UCB_OK;
}

static void rewind_walk(void *context)
{
    struct walk *s = context;
    s->layer = 0;
    s->slot = 0;
    s->pass++;
}

static ucb_status check_statistics(const struct ucb_chain *chain,
                                   const struct ucb_calibrator *calibrator,
                                   struct ucb_err *err)
{
    if (calibrator == NULL || ucb_calibrator_has_all(calibrator)) return UCB_OK;
    return UCB_FAIL(err, UCB_USAGE,
                    "%s fits side data to all layers before the first is compressed, and a "
                    "sequential calibration follows the compressed layers; try "
                    "mode=parallel",
                    ucb_chain_spec(chain));
}

ucb_status ucb_shared_fit(const struct ucb_shared_options *options,
                          const struct ucb_chain *chain, struct ucb_calibrator *calibrator,
                          struct ucb_tally *tally, struct ucb_writer *out,
                          struct ucb_err *err)
{
    struct walk s = {.options = options, .chain = chain, .calibrator = calibrator};
    struct ucb_stream stream = {.next = next, .rewind = rewind_walk, .context = &s};
    struct ucb_arena arena, scratch;
    const struct ucb_matrix *m;
    size_t first;
    ucb_writer_reset(out);
    if (!ucb_chain_has_shared(chain)) return UCB_OK;
    UCB_TRY(check_statistics(chain, calibrator, err));
    while (step(&s, &m, &first)) {
        stream.n_matrices += m != NULL;
        stream.n_weights += m == NULL ? 0 : (uint64_t)m->n_out * m->n_in;
    }
    rewind_walk(&s);
    ucb_arena_init(&arena);
    ucb_arena_init(&scratch);
    const struct ucb_chain_context context = {.pool = options->pool,
                                              .arena = &arena,
                                              .scratch = &scratch,
                                              .seed = options->seed,
                                              .model_digest = options->model_digest};
    uint64_t start = ucb_clock_ns();
    ucb_status status = ucb_chain_fit_shared(chain, &context, &stream, out, err);
    tally->encode_seconds += (double)(ucb_clock_ns() - start) * 1e-9;
    for (int part = 0; part < UCB_N_PARTS && status == UCB_OK; part++)
        tally->part_bytes[part] += out->part_bytes[part];
    ucb_mem_free(s.w);
    ucb_arena_free(&arena);
    ucb_arena_free(&scratch);
    return status;
}
