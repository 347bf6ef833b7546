/* survey.c - see survey.h. */
#include "model/survey.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/half.h"
#include "model/blocks.h"
#include "model/model_internal.h"

enum { WEIGHTS_PER_TASK = 1 << 18 };

struct worker {
    struct ucb_census census;
    struct ucb_census_memory memory;
    float *values; /* of block types: a task's weights, and their bf16 copy */
    uint16_t *copies;
};

/* One tensor's rows on their way through the workers. */
struct pass {
    const struct ucb_tensor *tensor;
    uint64_t n_rows, n_columns, rows_per_task;
    size_t row_bytes; /* in the file */
    bool is_blocks;
    struct worker *workers;
    uint64_t *row_hash;
};

struct surveying {
    struct worker *workers;
    unsigned n_workers;
    struct ucb_pool *pool;
    struct ucb_progress *progress;
    struct ucb_arena *arena; /* of the caller: what is kept */
    struct ucb_arena scratch;
    struct ucb_census *tensor;               /* of the current tensor */
    struct ucb_census *pooled[UCB_N_DTYPES]; /* by stored dtype; NULL: none met */
    uint64_t *hash;                          /* [n_tensors] */
    struct ucb_survey *out;
};

static ucb_status no_memory(struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_NOMEM, "no memory to survey the weights");
}

/* ---- one tensor ---- */

static void survey_rows(void *context, size_t task, unsigned worker_index)
{
    const struct pass *p = context;
    struct worker *w = &p->workers[worker_index];
    uint64_t row = task * p->rows_per_task, n = p->n_rows - row;
    if (n > p->rows_per_task) n = p->rows_per_task;
    const uint8_t *rows = p->tensor->data + row * p->row_bytes;
    if (p->is_blocks) {
        size_t n_weights = (size_t)(n * p->n_columns);
        ucb_widen(p->tensor->dtype, rows, n_weights, w->values);
        for (size_t i = 0; i < n_weights; i++)
            w->copies[i] = ucb_bf16_from_f32(w->values[i]);
        rows = (const uint8_t *)w->copies;
    }
    ucb_census_rows(&w->census, &w->memory, rows, (size_t)n, p->row_hash + row);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sorts the hashes. */
static uint64_t count_again(uint64_t *row_hash, uint64_t n)
{
    uint64_t again = 0;
    qsort(row_hash, (size_t)n, sizeof(*row_hash), by_value);
    for (uint64_t i = 1; i < n; i++) again += row_hash[i] == row_hash[i - 1];
    return again;
}

static uint64_t fold(const uint64_t *row_hash, uint64_t n)
{
    uint64_t h = n;
    for (uint64_t i = 0; i < n; i++) h = (h ^ row_hash[i]) * 0xd6e8feb86659fd93u + 1;
    return h;
}

static void conclude(const struct ucb_census *c, struct ucb_survey_tensor *out)
{
    for (unsigned i = 0; i < UCB_CENSUS_WIDTHS; i++) {
        const struct ucb_census_width *w = &c->width[i];
        if (w->n_blocks > 0) out->distinct[i] = (double)w->distinct / (double)w->n_blocks;
        out->distinct_max[i] = w->distinct_max;
    }
    out->n_zeros = c->n_zeros;
    out->facts = ucb_census_facts(c);
    out->n_nonfinite = out->facts.n_nonfinite;
    out->entropy = ucb_census_entropy(c);
    out->detected = ucb_grid_of_census(c);
    bool is_blocks = ucb_dtype_is_blocks(out->tensor->dtype);
    out->grid = is_blocks ? ucb_grid_of_type(out->tensor->dtype) : out->detected;
    out->floor = out->entropy.total;
    if (is_blocks || (ucb_grid_found(&out->grid) && out->grid.bits_per_weight < out->floor))
        out->floor = out->grid.bits_per_weight;
}

static ucb_status run_pass(struct surveying *s, struct pass *p,
                           struct ucb_survey_tensor *out)
{
    uint64_t n_tasks = (p->n_rows + p->rows_per_task - 1) / p->rows_per_task;
    size_t n_buffer = p->is_blocks ? (size_t)(p->rows_per_task * p->n_columns) : 0;
    p->row_hash = UCB_NEW(&s->scratch, uint64_t, p->n_rows);
    if (p->row_hash == NULL) return UCB_NOMEM;
    for (unsigned i = 0; i < s->n_workers; i++) {
        struct worker *w = &s->workers[i];
        ucb_census_start(&w->census, out->counted_as, p->n_columns);
        w->values = UCB_NEW(&s->scratch, float, n_buffer);
        w->copies = UCB_NEW(&s->scratch, uint16_t, n_buffer);
        if (w->values == NULL || w->copies == NULL) return UCB_NOMEM;
        /* Places of a tensor of other patterns mean nothing here. */
        memset(&w->memory, 0, sizeof(w->memory));
    }
    ucb_parallel_workers(s->pool, (size_t)n_tasks, survey_rows, p);
    ucb_census_start(s->tensor, out->counted_as, p->n_columns);
    for (unsigned i = 0; i < s->n_workers; i++)
        ucb_census_add(s->tensor, &s->workers[i].census);
    return UCB_OK;
}

static struct ucb_census *pool_of(struct surveying *s, enum ucb_dtype dtype,
                                  enum ucb_dtype counted_as)
{
    if (s->pooled[dtype] == NULL) {
        s->pooled[dtype] = UCB_NEW(s->arena, struct ucb_census, 1);
        if (s->pooled[dtype] != NULL) ucb_census_start(s->pooled[dtype], counted_as, 0);
    }
    return s->pooled[dtype];
}

static ucb_status survey_tensor(struct surveying *s, const struct ucb_tensor *t,
                                struct ucb_survey_tensor *out, uint64_t *hash)
{
    struct pass p = {.tensor = t, .workers = s->workers};
    bool is_blocks = ucb_dtype_is_blocks(t->dtype);
    *out = (struct ucb_survey_tensor){.tensor = t, .counted_as = UCB_N_DTYPES};
    if (!is_blocks && !ucb_census_counts(t->dtype)) return UCB_OK;
    out->counted_as = is_blocks ? UCB_BF16 : t->dtype;
    p.n_columns = t->n_dims == 0 ? 1 : t->shape[t->n_dims - 1];
    p.n_rows = t->n_elements == 0 ? 0 : t->n_elements / p.n_columns;
    p.is_blocks = is_blocks;
    out->n_rows = p.n_rows;
    out->n_columns = p.n_columns;
    if (t->n_elements == 0) return UCB_OK;
    p.row_bytes = (size_t)(t->n_bytes / p.n_rows);
    p.rows_per_task = p.n_columns >= WEIGHTS_PER_TASK ? 1 : WEIGHTS_PER_TASK / p.n_columns;
    struct ucb_census *pooled = pool_of(s, t->dtype, out->counted_as);
    ucb_status status = pooled == NULL ? UCB_NOMEM : run_pass(s, &p, out);
    if (status == UCB_OK) {
        conclude(s->tensor, out);
        ucb_census_add(pooled, s->tensor);
        *hash = fold(p.row_hash, p.n_rows);
        out->n_rows_again = count_again(p.row_hash, p.n_rows);
        /* or a model larger than memory would stay mapped whole */
        ucb_file_forget(t->data, t->n_bytes);
    }
    ucb_arena_reset(&s->scratch);
    return status;
}

/* ---- tensors that are there twice ---- */

struct named_hash {
    uint64_t hash;
    size_t index;
};

static int by_hash(const void *a, const void *b)
{
    const struct named_hash *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static bool same_bytes(const struct ucb_tensor *a, const struct ucb_tensor *b)
{
    return a->dtype == b->dtype && a->n_bytes == b->n_bytes && a->n_bytes > 0 &&
           memcmp(a->data, b->data, a->n_bytes) == 0;
}

/* Only the first of those with an equal hash is looked at: tensors of the same hash and
 * other bytes are then missed, which is as rare as it is harmless. */
static ucb_status find_twins(struct surveying *s, struct ucb_err *err)
{
    size_t n = s->out->n_tensors;
    struct ucb_survey_tensor *tensors = s->out->tensors;
    struct named_hash *list = UCB_NEW(&s->scratch, struct named_hash, n);
    if (list == NULL) return no_memory(err);
    for (size_t i = 0; i < n; i++) list[i] = (struct named_hash){s->hash[i], i};
    qsort(list, n, sizeof(*list), by_hash);
    for (size_t i = 1, first = 0; i < n; i++) {
        if (list[i].hash != list[first].hash) first = i;
        if (i == first || list[i].hash == 0) continue;
        const struct ucb_tensor *a = tensors[list[first].index].tensor;
        if (same_bytes(a, tensors[list[i].index].tensor))
            tensors[list[i].index].same_as = a;
    }
    return UCB_OK;
}

/* ---- the model ---- */

static void add_weighted(struct ucb_survey_total *total, uint64_t n,
                         const struct ucb_entropy *e, double floor)
{
    double w = (double)n;
    total->n_weights += n;
    total->entropy.sign += w * e->sign;
    total->entropy.exponent += w * e->exponent;
    total->entropy.mantissa += w * e->mantissa;
    total->floor += w * floor;
}

static void divide(struct ucb_survey_total *total)
{
    double n = total->n_weights > 0 ? (double)total->n_weights : 1;
    struct ucb_entropy *e = &total->entropy;
    e->sign /= n;
    e->exponent /= n;
    e->mantissa /= n;
    e->total = e->sign + e->exponent + e->mantissa;
    total->floor /= n;
}

/* The mantissa's table is shared, so its bits are known only for all tensors together; a
 * tensor on a grid keeps its own floor. */
static struct ucb_survey_total total_of(const struct surveying *s, enum ucb_dtype dtype)
{
    const struct ucb_survey *out = s->out;
    struct ucb_survey_total total = {.dtype = dtype, .counted_as = s->pooled[dtype]->dtype};
    double mantissa = ucb_census_entropy(s->pooled[dtype]).mantissa;
    for (size_t i = 0; i < out->n_tensors; i++) {
        const struct ucb_survey_tensor *t = &out->tensors[i];
        struct ucb_entropy e = t->entropy;
        if (t->tensor->dtype != dtype) continue;
        total.n_tensors++;
        e.mantissa = mantissa;
        e.total = e.sign + e.exponent + e.mantissa;
        add_weighted(&total, t->tensor->n_elements, &e,
                     t->floor < t->entropy.total ? t->floor : e.total);
    }
    divide(&total);
    return total;
}

static void add_up(struct surveying *s)
{
    struct ucb_survey *out = s->out;
    out->all = (struct ucb_survey_total){.dtype = UCB_N_DTYPES, .counted_as = UCB_N_DTYPES};
    for (unsigned d = 0; d < UCB_N_DTYPES; d++) {
        if (s->pooled[d] == NULL) continue;
        struct ucb_survey_total *total = &out->totals[out->n_totals++];
        *total = total_of(s, (enum ucb_dtype)d);
        out->all.n_tensors += total->n_tensors;
        add_weighted(&out->all, total->n_weights, &total->entropy, total->floor);
    }
    divide(&out->all);
}

static bool same_grid(const struct ucb_grid *a, const struct ucb_grid *b)
{
    return a->kind == b->kind && a->width == b->width && a->bits == b->bits &&
           a->type == b->type;
}

/* The grid that most weights lie on; the first in file order of equals. */
static struct ucb_grid usual_grid(const struct ucb_survey *s)
{
    struct ucb_grid best = {.kind = UCB_GRID_DENSE};
    uint64_t most = 0;
    for (size_t i = 0; i < s->n_tensors; i++) {
        struct ucb_grid grid = s->tensors[i].grid;
        uint64_t n = 0;
        if (!ucb_grid_found(&grid) || same_grid(&grid, &best)) continue;
        for (size_t k = 0; k < s->n_tensors; k++) {
            const struct ucb_survey_tensor *t = &s->tensors[k];
            if (t->n_rows < 2 || !same_grid(&t->grid, &grid)) continue;
            n += t->tensor->n_elements;
            if (t->grid.levels > grid.levels) grid.levels = t->grid.levels;
        }
        if (n <= most) continue;
        most = n;
        best = grid;
    }
    return best;
}

static void judge(struct ucb_survey *s)
{
    struct ucb_lattice *l = &s->lattice;
    *l = (struct ucb_lattice){0};
    for (size_t i = 0; i < s->n_tensors; i++) {
        const struct ucb_survey_tensor *t = &s->tensors[i];
        if (t->n_rows < 2 || t->grid.kind == UCB_GRID_UNKNOWN) continue;
        l->n_judged += t->tensor->n_elements;
        if (ucb_grid_found(&t->grid)) l->n_on_grid += t->tensor->n_elements;
    }
    l->share = l->n_judged == 0 ? 0 : (double)l->n_on_grid / (double)l->n_judged;
    l->is_source = l->share > 0.5;
    l->grid = usual_grid(s);
}

const char *ucb_lattice_text(const struct ucb_lattice *lattice, char out[UCB_GRID_TEXT])
{
    out[0] = '\0';
    return lattice->is_source ? ucb_grid_text(&lattice->grid, out) : out;
}

static ucb_status survey_all(struct surveying *s, const struct ucb_checkpoint *c,
                             struct ucb_err *err)
{
    for (size_t i = 0; i < s->out->n_tensors; i++) {
        const struct ucb_tensor *t = ucb_checkpoint_tensor(c, i);
        if (survey_tensor(s, t, &s->out->tensors[i], &s->hash[i]) != UCB_OK)
            return no_memory(err);
        if (s->progress != NULL) ucb_progress_add(s->progress, (double)t->n_bytes, t->name);
    }
    UCB_TRY(find_twins(s, err));
    add_up(s);
    judge(s->out);
    return ucb_checkpoint_intact(c, err);
}

ucb_status ucb_survey_checkpoint(const struct ucb_checkpoint *c, struct ucb_pool *pool,
                                 struct ucb_progress *progress, struct ucb_arena *arena,
                                 struct ucb_survey *out, struct ucb_err *err)
{
    size_t n = ucb_checkpoint_n_tensors(c);
    struct surveying s = {.pool = pool, .progress = progress, .arena = arena, .out = out};
    *out = (struct ucb_survey){.n_tensors = n};
    s.n_workers = pool == NULL ? 1 : ucb_pool_threads(pool);
    ucb_arena_init(&s.scratch);
    s.workers = ucb_mem_alloc(s.n_workers * sizeof(*s.workers));
    s.tensor = ucb_mem_alloc(sizeof(*s.tensor));
    s.hash = UCB_NEW(arena, uint64_t, n);
    out->tensors = UCB_NEW(arena, struct ucb_survey_tensor, n);
    ucb_status status = s.workers == NULL || s.tensor == NULL || s.hash == NULL ||
                                out->tensors == NULL
                            ? no_memory(err)
                            : survey_all(&s, c, err);
    ucb_arena_free(&s.scratch);
    ucb_mem_free(s.tensor);
    ucb_mem_free(s.workers);
    return status;
}
