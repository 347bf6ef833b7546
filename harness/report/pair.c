/* pair.c - see pair.h: which cells may be compared, and what their noise floor is. */
#include "report/pair.h"

#include <string.h>

static ucb_status refuse(const char *what, const char *before, const char *after,
                         struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_USAGE,
                    "the cells differ in their %s: %s and %s; only cells of one model, "
                    "task, data set and protocol are compared",
                    what, before, after);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static ucb_status check_comparable(const struct ucb_stored_cell *a,
                                   const struct ucb_stored_cell *b, struct ucb_err *err)
{
    if (strcmp(a->model_digest, b->model_digest) != 0) {
        if (strcmp(a->model, b->model) != 0)
            return refuse("model", a->model, b->model, err);
        return refuse("model digest", a->model_digest, b->model_digest, err);
    }
    if (strcmp(a->task, b->task) != 0) return refuse("task", a->task, b->task, err);
    if (strcmp(a->dataset_digest, b->dataset_digest) != 0)
        return refuse("data set digest", a->dataset_digest, b->dataset_digest, err);
    if (a->task_revision != b->task_revision)
        return UCB_FAIL(err, UCB_USAGE,
                        "the cells differ in their protocol: revision %lld and %lld of "
                        "%s; run the older one again",
                        (long long)a->task_revision, (long long)b->task_revision, a->task);
    if (!same_text(a->documents_digest, b->documents_digest))
        return refuse("documents",
                      a->documents_digest == NULL ? "none" : a->documents_digest,
                      b->documents_digest == NULL ? "none" : b->documents_digest, err);
    return UCB_OK;
}

static bool same_arithmetic(const struct ucb_stored_cell *a,
                            const struct ucb_stored_cell *b)
{
    return strcmp(a->arithmetic, b->arithmetic) == 0 &&
           a->arithmetic_revision == b->arithmetic_revision;
}

/* A compressed cell's divergences are those from the original in its arithmetic, a noise
 * floor's those from its reference; the original's are 0 by definition. */
static bool diverges_from(const struct ucb_stored_cell *c,
                          const struct ucb_stored_cell *original)
{
    if (!original->is_original || c->is_original) return false;
    return c->is_floor ? strcmp(c->reference, original->arithmetic) == 0
                       : same_arithmetic(c, original);
}

static enum ucb_divergence_of divergence_of(const struct ucb_stored_cell *a,
                                            const struct ucb_stored_cell *b)
{
    if (diverges_from(b, a)) return UCB_AFTER_FROM_BEFORE;
    return diverges_from(a, b) ? UCB_BEFORE_FROM_AFTER : UCB_DIVERGES_UNKNOWN;
}

static ucb_status compare_samples(struct ucb_pair *pair, size_t n_replicates,
                                  const struct ucb_samples samples[2],
                                  enum ucb_divergence_of divergence,
                                  struct ucb_arena *arena, struct ucb_comparison *out,
                                  struct ucb_err *err)
{
    struct ucb_task_run task;
    UCB_TRY(ucb_task_parse(pair->cell[0]->task, &task, err));
    struct ucb_compare_job job = {
        .task = task.task,
        .task_spec = pair->cell[0]->task,
        .before = &samples[0],
        .after = &samples[1],
        .divergence = divergence,
        .bands = pair->bands,
        .seed = pair->cell[0]->seed,
        .n_replicates = n_replicates,
        .arena = arena,
    };
    return ucb_compare(&job, out, err);
}

/* ---- the noise floor ---- */

/* The original's weights, whatever they are compared with. */
static bool has_original_weights(const struct ucb_stored_cell *c)
{
    return c->is_original || c->is_floor;
}

/* Those weights on the items of `cell`. */
static bool is_original_of(const struct ucb_stored_cell *o,
                           const struct ucb_stored_cell *cell)
{
    return has_original_weights(o) && !o->failed &&
           strcmp(o->model_digest, cell->model_digest) == 0 &&
           strcmp(o->task, cell->task) == 0 && o->task_revision == cell->task_revision &&
           strcmp(o->dataset_digest, cell->dataset_digest) == 0 &&
           same_text(o->documents_digest, cell->documents_digest) &&
           o->n_items == cell->n_items;
}

static const struct ucb_stored_cell *newer(const struct ucb_stored_cell *a,
                                           const struct ucb_stored_cell *b)
{
    return a == NULL || b->newest_run > a->newest_run ? b : a;
}

/*
 * The original in the arithmetic of `before`, and in that of `after` where it is another,
 * else in any other; best where it was scored against the first, which has divergences,
 * else by itself. The newest of each.
 */
static void find_floor(const struct ucb_stored_cell *cells, size_t n_cells,
                       struct ucb_pair *pair)
{
    const struct ucb_stored_cell *a = pair->cell[0], *b = pair->cell[1], *own = NULL,
                                 *other = NULL, *scored = NULL;
    for (size_t i = 0; i < n_cells; i++) {
        const struct ucb_stored_cell *o = &cells[i];
        if (!is_original_of(o, a)) continue;
        bool fits = same_arithmetic(a, b) || same_arithmetic(o, b);
        if (o->is_floor) {
            if (fits && strcmp(o->reference, a->arithmetic) == 0) scored = newer(scored, o);
        } else if (same_arithmetic(o, a)) {
            own = newer(own, o);
        } else if (fits) {
            other = newer(other, o);
        }
    }
    if (scored != NULL) other = scored;
    if (own == NULL || other == NULL) return;
    pair->floor_cell[0] = own;
    pair->floor_cell[1] = other;
}

static ucb_status compare_floor(struct ucb_store *store, struct ucb_pair *pair,
                                struct ucb_arena *arena, struct ucb_err *err)
{
    struct ucb_samples samples[2];
    for (int k = 0; k < 2; k++)
        UCB_TRY(
            ucb_store_read_samples(store, pair->floor_cell[k], arena, &samples[k], err));
    UCB_TRY(compare_samples(pair, 0, samples,
                            divergence_of(pair->floor_cell[0], pair->floor_cell[1]), arena,
                            &pair->floor, err));
    ucb_compare_apply_floor(&pair->result, &pair->floor);
    return UCB_OK;
}

ucb_status ucb_pair_compare(struct ucb_store *store, const struct ucb_stored_cell *cells,
                            size_t n_cells, const struct ucb_stored_cell *before,
                            const struct ucb_stored_cell *after,
                            const struct ucb_bands *bands, size_t n_replicates,
                            struct ucb_arena *arena, struct ucb_pair *out,
                            struct ucb_err *err)
{
    struct ucb_pair pair = {.cell = {before, after}, .bands = *bands};
    UCB_TRY(check_comparable(before, after, err));
    for (int k = 0; k < 2; k++)
        UCB_TRY(ucb_store_read_samples(store, pair.cell[k], arena, &pair.samples[k], err));
    UCB_TRY(compare_samples(&pair, n_replicates, pair.samples, divergence_of(before, after),
                            arena, &pair.result, err));
    pair.weights_equal = before->weights_digest[0] != '\0' &&
                         strcmp(before->weights_digest, after->weights_digest) == 0;
    pair.is_floor = has_original_weights(before) && has_original_weights(after) &&
                    !same_arithmetic(before, after);
    if (!pair.is_floor) find_floor(cells, n_cells, &pair);
    if (pair.floor_cell[0] != NULL) UCB_TRY(compare_floor(store, &pair, arena, err));
    *out = pair;
    return UCB_OK;
}
