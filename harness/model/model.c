/*
 * model.c - opens a model, and hands out its rows and vectors in the order and names of the
 * Hugging Face checkpoint whatever the file has.
 */
#include "model/model.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/sha256.h"
#include "model/model_internal.h"

enum {
    POOL_FROM_BYTES = 64 << 20, /* a smaller model is scanned before threads have started */
    ELEMENTS_PER_TASK = 1 << 16, /* of a read: 256 KB of fp32, about a second-level cache */
    READ_ELEMENTS = 1 << 23,     /* before pages are released: 16 MB of bf16 */
    RELEASE_BYTES = 1 << 20,
    GATHERED_ROWS = 1024 /* whose pages stay mapped: 64 KB a row at most */
};

/* ---- open ---- */

static ucb_status no_memory(const char *path, struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for the model's description", path);
}

/* config.json lies beside the weights. */
static ucb_status load_config(struct ucb_model *m, struct ucb_err *err)
{
    struct ucb_file file;
    const char *weights = ucb_checkpoint_file(m->checkpoint, 0),
               *slash = strrchr(weights, '/');
    int n_folder = slash == NULL ? 0 : (int)(slash + 1 - weights);
    m->config_path = ucb_arena_printf(&m->arena, "%.*sconfig.json", n_folder, weights);
    if (m->config_path == NULL) return no_memory(m->path, err);
    ucb_status status = ucb_file_map(m->config_path, &file, err);
    if (status == UCB_MISSING)
        return UCB_FAIL(
            err, UCB_MISSING,
            "%s: no such file; a safetensors model needs its config.json beside it",
            m->config_path);
    UCB_TRY(status);
    m->config_bytes = file.n_bytes;
    status = ucb_config_parse(m->config_path,
                              file.data == NULL ? "" : (const char *)file.data,
                              file.n_bytes, &m->arena, &m->arch, err);
    ucb_file_unmap(&file);
    return status;
}

static ucb_status scan(const struct ucb_model *m, struct ucb_err *err)
{
    struct ucb_pool *pool = NULL;
    if (ucb_model_file_bytes(m) >= POOL_FROM_BYTES &&
        ucb_pool_open(0, &pool, NULL) != UCB_OK)
        pool = NULL; /* one thread does the same, later */
    ucb_status status = ucb_model_scan(m, pool, err);
    ucb_pool_close(pool);
    return status;
}

static ucb_status open_parts(struct ucb_model *m, const char *path, struct ucb_err *err)
{
    m->path = ucb_arena_strdup(&m->arena, path);
    if (m->path == NULL) return no_memory(path, err);
    UCB_TRY(ucb_checkpoint_open(path, &m->checkpoint, err));
    bool gguf = ucb_checkpoint_is_gguf(m->checkpoint);
    UCB_TRY(gguf ? ucb_arch_from_gguf(m->checkpoint, &m->arena, &m->arch, err)
                 : load_config(m, err));
    return ucb_model_bind(m, err);
}

ucb_status ucb_model_look(const struct ucb_model *model, struct ucb_err *err)
{
    UCB_TRY(scan(model, err));
    return ucb_checkpoint_intact(model->checkpoint, err);
}

ucb_status ucb_model_open(const char *path, struct ucb_model **out, struct ucb_err *err)
{
    struct ucb_model *m;
    UCB_TRY(ucb_model_open_unread(path, &m, err));
    ucb_status status = ucb_model_look(m, err);
    if (status == UCB_OK)
        *out = m;
    else
        ucb_model_close(m);
    return status;
}

ucb_status ucb_model_open_unread(const char *path, struct ucb_model **out,
                                 struct ucb_err *err)
{
    struct ucb_model *m = ucb_mem_alloc(sizeof(*m));
    if (m == NULL) return no_memory(path, err);
    ucb_arena_init(&m->arena);
    ucb_status status = open_parts(m, path, err);
    if (status == UCB_OK)
        *out = m;
    else
        ucb_model_close(m);
    return status;
}

void ucb_model_close(struct ucb_model *model)
{
    if (model == NULL) return;
    ucb_checkpoint_close(model->checkpoint);
    ucb_arena_free(&model->arena);
    ucb_mem_free(model);
}

/* ---- facts ---- */

const struct ucb_arch *ucb_model_arch(const struct ucb_model *model)
{
    return &model->arch;
}

const struct ucb_checkpoint *ucb_model_checkpoint(const struct ucb_model *model)
{
    return model->checkpoint;
}

const char *ucb_model_path(const struct ucb_model *model)
{
    return model->path;
}

const char *ucb_model_warning(const struct ucb_model *model)
{
    return model->warning;
}

uint64_t ucb_model_n_parameters(const struct ucb_model *model)
{
    return model->n_parameters;
}

uint64_t ucb_model_file_bytes(const struct ucb_model *model)
{
    uint64_t n = model->config_bytes;
    for (size_t i = 0; i < ucb_checkpoint_n_files(model->checkpoint); i++)
        n += ucb_checkpoint_file_bytes(model->checkpoint, i);
    return n - ucb_checkpoint_vocabulary_bytes(model->checkpoint);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static int by_base_name(const void *a, const void *b)
{
    return strcmp(base_name(*(const char *const *)a), base_name(*(const char *const *)b));
}

/* What `sha256sum FILES | sha256sum` prints with the files in name order. */
static ucb_status digest_files(const char **paths, size_t n, char hex[UCB_SHA256_HEX],
                               struct ucb_err *err)
{
    struct ucb_sha256 all;
    ucb_status status = UCB_OK;
    qsort(paths, n, sizeof(*paths), by_base_name);
    ucb_sha256_init(&all);
    for (size_t i = 0; i < n && status == UCB_OK; i++) {
        char one[UCB_SHA256_HEX];
        const char *name = base_name(paths[i]);
        status = ucb_sha256_file(paths[i], one, err);
        if (status != UCB_OK) break;
        ucb_sha256_update(&all, one, UCB_SHA256_HEX - 1);
        ucb_sha256_update(&all, "  ", 2);
        ucb_sha256_update(&all, name, strlen(name));
        ucb_sha256_update(&all, "\n", 1);
    }
    char joined[UCB_SHA256_HEX];
    ucb_sha256_final_hex(&all, joined);
    if (status == UCB_OK) memcpy(hex, joined, sizeof(joined));
    return status;
}

/* Another tokenizer gives other ids and so other results: the files it is read from belong
   to the model's identity. A GGUF holds its vocabulary itself. */
enum { N_TOKENIZER_FILES = 3 };
static ucb_status add_tokenizer_files(struct ucb_model *model, const char **paths,
                                      size_t *n, struct ucb_err *err)
{
    static const char *const names[N_TOKENIZER_FILES] = {
        "tokenizer.json", "tokenizer_config.json", "vocabulary.gguf"};
    int folder = (int)(base_name(model->config_path) - model->config_path);
    for (int i = 0; i < N_TOKENIZER_FILES; i++) {
        char *path = ucb_arena_printf(&model->arena, "%.*s%s", folder, model->config_path,
                                      names[i]);
        if (path == NULL) return no_memory(model->path, err);
        if (access(path, R_OK) == 0) paths[(*n)++] = path;
    }
    return UCB_OK;
}

ucb_status ucb_model_digest(struct ucb_model *model, const char **hex, struct ucb_err *err)
{
    size_t n = 0, n_files = ucb_checkpoint_n_files(model->checkpoint);
    if (model->digest[0] == '\0' && model->config_path == NULL) {
        UCB_TRY(
            ucb_sha256_file(ucb_checkpoint_file(model->checkpoint, 0), model->digest, err));
    } else if (model->digest[0] == '\0') {
        const char **paths = UCB_NEW(&model->arena, const char *,
                                     n_files + 1 + N_TOKENIZER_FILES);
        if (paths == NULL) return no_memory(model->path, err);
        for (; n < n_files; n++) paths[n] = ucb_checkpoint_file(model->checkpoint, n);
        paths[n++] = model->config_path;
        UCB_TRY(add_tokenizer_files(model, paths, &n, err));
        UCB_TRY(digest_files(paths, n, model->digest, err));
    }
    *hex = model->digest;
    return UCB_OK;
}

/* ---- matrices ---- */

const struct ucb_matrix *ucb_model_matrix(const struct ucb_model *model, uint32_t layer,
                                          enum ucb_role role)
{
    if (role == UCB_ROLE_EMBED || (role == UCB_ROLE_HEAD && model->arch.tied_head))
        return &model->embed.matrix;
    if (role == UCB_ROLE_HEAD) return &model->head.matrix;
    assert(layer < model->arch.n_layers);
    const struct ucb_bound_layer *l = &model->layers[layer];
    return l->first[role] == UINT32_MAX ? NULL : l->list[l->first[role]];
}

const uint32_t *ucb_model_layer_slots(const struct ucb_model *model, uint32_t layer)
{
    assert(layer < model->arch.n_layers);
    return model->layers[layer].first;
}

const struct ucb_matrix *const *ucb_model_layer_matrices(const struct ucb_model *model,
                                                         uint32_t layer, size_t *n)
{
    assert(layer < model->arch.n_layers);
    *n = model->layers[layer].n_matrices;
    return model->layers[layer].list;
}

struct row_read {
    const struct ucb_view *view;
    enum ucb_dtype dtype;
    uint32_t n_in;
    const uint32_t *ids; /* NULL: rows from `first` on */
    uint32_t first, head_dim;
    size_t n_rows, rows_per_task;
    float *out;
};

static const uint8_t *element_bytes(const struct ucb_view *view, enum ucb_dtype dtype,
                                    uint64_t index)
{
    return view->tensor->data +
           index / ucb_dtype_block_elements(dtype) * ucb_dtype_block_bytes(dtype);
}

/* The row (or column) of the file that holds row `row` of the model. */
static uint32_t place_of(const struct ucb_view *view, uint32_t row, uint32_t head_dim)
{
    if (view->interleaved) row = ucb_file_row(row, head_dim);
    return view->base + row / view->block * view->stride + row % view->block;
}

/* Rows [begin, end) of a matrix stored [in][out]: a stretch of each file row, turned. */
static void read_columns(const struct row_read *r, size_t begin, size_t end)
{
    float stretch[256];
    for (size_t from = begin; from < end; from += 256) {
        size_t n = end - from < 256 ? end - from : 256;
        uint32_t place = place_of(r->view, r->first + (uint32_t)from, r->head_dim);
        for (size_t column = 0; column < r->n_in; column++) {
            uint64_t at = (uint64_t)column * r->view->columns + place;
            ucb_widen(r->dtype, element_bytes(r->view, r->dtype, at), n, stretch);
            for (size_t i = 0; i < n; i++)
                r->out[(from + i) * r->n_in + column] = stretch[i];
        }
    }
}

static void read_task(void *context, size_t task)
{
    const struct row_read *r = context;
    const struct ucb_view *view = r->view;
    size_t begin = task * r->rows_per_task, end = begin + r->rows_per_task;
    if (end > r->n_rows) end = r->n_rows;
    if (view->transposed) {
        read_columns(r, begin, end);
        return;
    }
    if (r->ids == NULL && !view->interleaved && view->block == view->stride) {
        uint64_t at = (uint64_t)(view->base + r->first + begin) * view->columns;
        ucb_widen(r->dtype, element_bytes(view, r->dtype, at), (end - begin) * r->n_in,
                  r->out + begin * r->n_in);
        return;
    }
    for (size_t i = begin; i < end; i++) {
        uint32_t row = r->ids == NULL ? r->first + (uint32_t)i : r->ids[i];
        uint64_t at = (uint64_t)place_of(view, row, r->head_dim) * view->columns;
        ucb_widen(r->dtype, element_bytes(view, r->dtype, at), r->n_in,
                  r->out + i * r->n_in);
    }
}

static void read_rows(struct row_read *r, struct ucb_pool *pool)
{
    size_t per_task = ELEMENTS_PER_TASK / r->n_in;
    r->rows_per_task = per_task == 0 ? 1 : per_task;
    ucb_parallel_for(pool, (r->n_rows + r->rows_per_task - 1) / r->rows_per_task, read_task,
                     r);
}

/* Rows that stand in the file as they are read. */
static bool is_straight(const struct ucb_view *view)
{
    return !view->transposed && !view->interleaved && view->block == view->stride;
}

/* Pages are released behind what was read, a megabyte of the tensor at a time: reading a
 * few rows need not cost a system call. Rows that lie scattered, with the last of them. */
static void release(const struct row_read *r, uint32_t n_all)
{
    const struct ucb_view *view = r->view;
    const struct ucb_tensor *t = view->tensor;
    if (is_straight(view)) {
        uint64_t first = (uint64_t)(view->base + r->first) * view->columns,
                 end = first + r->n_rows * view->columns;
        size_t from = (size_t)(element_bytes(view, r->dtype, first) - t->data),
               to = (size_t)(element_bytes(view, r->dtype, end) - t->data);
        from = from / RELEASE_BYTES * RELEASE_BYTES;
        if (to < t->n_bytes) to = to / RELEASE_BYTES * RELEASE_BYTES;
        if (to > from) ucb_file_forget_behind(t->data, from, to - from);
    } else if (r->first + r->n_rows == n_all) {
        ucb_file_forget(t->data, t->n_bytes);
    }
}

ucb_status ucb_model_read_rows(const struct ucb_model *model,
                               const struct ucb_matrix *matrix, uint32_t row,
                               uint32_t n_rows, struct ucb_pool *pool, float *out,
                               struct ucb_err *err)
{
    if (row > matrix->n_out || n_rows > matrix->n_out - row)
        return UCB_FAIL(err, UCB_USAGE, "%s: rows %u to %llu asked for, it has %u",
                        matrix->name, row, (unsigned long long)row + n_rows, matrix->n_out);
    struct row_read r = {.view = &((const struct ucb_bound_matrix *)matrix)->view,
                         .dtype = matrix->dtype,
                         .n_in = matrix->n_in,
                         .head_dim = model->arch.head_dim};
    size_t step = READ_ELEMENTS / matrix->n_in;
    if (step == 0) step = 1;
    if (!is_straight(r.view)) step = n_rows;
    for (size_t at = 0; at < n_rows; at += step) {
        r.first = row + (uint32_t)at;
        r.n_rows = n_rows - at < step ? n_rows - at : step;
        r.out = out + at * matrix->n_in;
        read_rows(&r, pool);
        release(&r, matrix->n_out);
    }
    return ucb_checkpoint_intact(model->checkpoint, err);
}

ucb_status ucb_model_read_bits(const struct ucb_model *model,
                               const struct ucb_matrix *matrix, uint32_t row,
                               uint32_t n_rows, void *out, struct ucb_err *err)
{
    const struct ucb_view *view = &((const struct ucb_bound_matrix *)matrix)->view;
    size_t element = ucb_dtype_block_bytes(matrix->dtype),
           per_row = matrix->n_in / ucb_dtype_block_elements(matrix->dtype);
    uint8_t *to = out;
    if (row > matrix->n_out || n_rows > matrix->n_out - row)
        return UCB_FAIL(err, UCB_USAGE, "%s: rows %u to %llu asked for, it has %u",
                        matrix->name, row, (unsigned long long)row + n_rows, matrix->n_out);
    if (view->transposed && ucb_dtype_block_elements(matrix->dtype) > 1)
        return UCB_FAIL(
            err, UCB_UNSUPPORTED,
            "%s: stored turned, in blocks of %s: its rows have no bits of their "
            "own",
            matrix->name, ucb_dtype_name(matrix->dtype));
    for (uint32_t i = 0; i < n_rows; i++, to += per_row * element) {
        uint64_t place = place_of(view, row + i, model->arch.head_dim);
        if (!view->transposed) {
            memcpy(to, element_bytes(view, matrix->dtype, place * view->columns),
                   per_row * element);
            continue;
        }
        for (size_t column = 0; column < matrix->n_in; column++)
            memcpy(to + column * element,
                   element_bytes(view, matrix->dtype, column * view->columns + place),
                   element);
    }
    return ucb_checkpoint_intact(model->checkpoint, err);
}

ucb_status ucb_model_gather(const struct ucb_model *model, const struct ucb_matrix *matrix,
                            const uint32_t *ids, size_t n, struct ucb_pool *pool,
                            float *out, struct ucb_err *err)
{
    const struct ucb_bound_matrix *bound = (const struct ucb_bound_matrix *)matrix;
    assert(!bound->view.transposed);
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= matrix->n_out)
            return UCB_FAIL(err, UCB_USAGE,
                            "%s: id %u at position %zu, it has rows 0 to %u", matrix->name,
                            ids[i], i, matrix->n_out - 1);
    for (size_t i = 0; i < n; i += GATHERED_ROWS) {
        struct row_read r = {.view = &bound->view,
                             .dtype = matrix->dtype,
                             .n_in = matrix->n_in,
                             .ids = ids + i,
                             .head_dim = model->arch.head_dim,
                             .n_rows = n - i < GATHERED_ROWS ? n - i : GATHERED_ROWS,
                             .out = out + i * matrix->n_in};
        read_rows(&r, pool);
        ucb_file_forget(bound->view.tensor->data, bound->view.tensor->n_bytes);
    }
    return ucb_checkpoint_intact(model->checkpoint, err);
}

void ucb_model_place(const struct ucb_model *model, const struct ucb_matrix *matrix,
                     struct ucb_place *out)
{
    const struct ucb_view *v = &((const struct ucb_bound_matrix *)matrix)->view;
    *out = (struct ucb_place){.tensor = v->tensor,
                              .base = v->base,
                              .block = v->block,
                              .stride = v->stride,
                              .head_dim = v->interleaved ? model->arch.head_dim : 0,
                              .columns = v->columns,
                              .turned = v->transposed};
}

/* ---- vectors ---- */

static const struct ucb_bound_vector *vector_of(const struct ucb_model *model,
                                                uint32_t layer, enum ucb_vector which)
{
    if (which >= UCB_VECTOR_FINAL_NORM && which < UCB_VECTOR_BIAS)
        return &model->top.vectors[which];
    assert(layer < model->arch.n_layers);
    return &model->layers[layer].vectors[which];
}

uint32_t ucb_model_vector_size(const struct ucb_model *model, uint32_t layer,
                               enum ucb_vector which)
{
    return vector_of(model, layer, which)->n;
}

const struct ucb_tensor *ucb_model_vector_tensor(const struct ucb_model *model,
                                                 uint32_t layer, enum ucb_vector which,
                                                 bool *plus_one)
{
    const struct ucb_bound_vector *v = vector_of(model, layer, which);
    *plus_one = v->plus_one;
    return v->view.tensor;
}

uint64_t ucb_model_vector_bytes(const struct ucb_model *model, uint32_t layer,
                                enum ucb_vector which)
{
    const struct ucb_bound_vector *v = vector_of(model, layer, which);
    if (v->view.tensor == NULL) return 0;
    enum ucb_dtype dtype = v->view.tensor->dtype;
    return (uint64_t)v->n * ucb_dtype_block_bytes(dtype) / ucb_dtype_block_elements(dtype);
}

ucb_status ucb_model_read_vector(const struct ucb_model *model, uint32_t layer,
                                 enum ucb_vector which, float *out, struct ucb_err *err)
{
    const struct ucb_bound_vector *v = vector_of(model, layer, which);
    if (v->view.tensor == NULL) {
        const struct ucb_vector_row *row = ucb_vector_row_of(model->family, which);
        return UCB_FAIL(err, UCB_USAGE, "%s: layer %u has no %s", model->path, layer,
                        row == NULL ? "such vector" : row->hf);
    }
    struct row_read r = {.view = &v->view,
                         .dtype = v->view.tensor->dtype,
                         .n_in = 1,
                         .head_dim = model->arch.head_dim,
                         .n_rows = v->n,
                         .out = out};
    read_rows(&r, NULL);
    for (uint32_t i = 0; v->plus_one && i < v->n; i++) out[i] += 1.0f;
    return ucb_checkpoint_intact(model->checkpoint, err);
}
