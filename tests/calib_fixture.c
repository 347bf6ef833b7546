/* calib_fixture.c - see calib_fixture.h. */
#include "calib_fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/pcg.h"
#include "test.h"
#include "tiny.h"

struct fixture_method fixture_method;

/* ---- the method ---- */

static uint32_t needs(const struct ucb_job *job)
{
    (void)job;
    return fixture_method.needs;
}

static bool takes(const struct ucb_job *job, enum ucb_role role, bool in_scope)
{
    (void)in_scope;
    (void)job;
    return role < UCB_N_LAYER_ROLES || fixture_method.takes_embedding;
}

static enum ucb_dtype decoded_dtype(const struct ucb_job *job, enum ucb_dtype source)
{
    (void)job;
    (void)source;
    return UCB_F32;
}

static double nominal_bpw(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job;
    (void)matrix;
    return 32;
}

struct state {
    const uint8_t *values;
    uint32_t n_in;
};

static size_t state_bytes(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job;
    (void)matrix;
    return sizeof(struct state);
}

static void *copy_of(const void *data, size_t n_bytes)
{
    void *p = data == NULL ? NULL : malloc(n_bytes);
    CHECK(data == NULL || p != NULL);
    return p == NULL ? NULL : memcpy(p, data, n_bytes);
}

static void note(const struct ucb_source *src, uint32_t n_src)
{
    CHECK(fixture_method.n_noted <
          sizeof(fixture_method.noted) / sizeof(fixture_method.noted[0]));
    struct noted *n = &fixture_method.noted[fixture_method.n_noted++];
    size_t n_in = src->matrix->n_in, row = n_in * sizeof(double);
    *n = (struct noted){.name = src->matrix->name,
                        .has_calib = src->calib != NULL,
                        .n_in = src->matrix->n_in,
                        .n_src = n_src};
    if (src->calib == NULL) return;
    n->calib = *src->calib;
    n->calib.sq_mean = copy_of(src->calib->sq_mean, row);
    n->calib.abs_mean = copy_of(src->calib->abs_mean, row);
    n->calib.abs_max = copy_of(src->calib->abs_max, row);
    n->calib.second_moment = copy_of(src->calib->second_moment, row * n_in);
    n->calib.sample = copy_of(src->calib->sample,
                              src->calib->n_sample * n_in * sizeof(float));
}

static ucb_status encode(struct ucb_job *job, const struct ucb_source *src, uint32_t n_src,
                         struct ucb_writer *const *out, struct ucb_err *err)
{
    (void)job;
    (void)err;
    for (uint32_t i = 0; i < n_src; i++) {
        size_t n = (size_t)src[i].matrix->n_out * src[i].matrix->n_in;
        note(&src[i], n_src);
        ucb_part(out[i], UCB_PART_CODES);
        for (size_t k = 0; k < n; k++) ucb_put_f32(out[i], rintf(src[i].w[k] * 16) / 16);
    }
    return UCB_OK;
}

static ucb_status open_payload(struct ucb_job *job, const struct ucb_matrix *matrix,
                               struct ucb_reader *in, void *state, struct ucb_err *err)
{
    (void)job;
    (void)err;
    struct state *s = state;
    s->n_in = matrix->n_in;
    CHECK(ucb_get_bytes(in, (size_t)matrix->n_out * matrix->n_in * sizeof(float),
                        &s->values));
    return UCB_OK;
}

static void decode(const void *state, uint32_t row, uint32_t n, float *acc)
{
    const struct state *s = state;
    memcpy(acc, s->values + (size_t)row * s->n_in * sizeof(float),
           (size_t)n * s->n_in * sizeof(float));
}

static uint32_t group(const struct ucb_job *job, const struct ucb_matrix *matrix)
{
    (void)job;
    return (uint32_t)matrix->role < UCB_N_LAYER_ROLES ? ucb_role_input(matrix->role)
                                                      : UCB_N_INPUTS;
}

static struct ucb_method method = {.name = "fixture",
                                   .summary = "rounds to sixteenths",
                                   .source = "test",
                                   .revision = 1,
                                   .kind = UCB_BASE,
                                   .needs = needs,
                                   .decoded_dtype = decoded_dtype,
                                   .nominal_bpw = nominal_bpw,
                                   .state_bytes = state_bytes,
                                   .encode = encode,
                                   .open = open_payload,
                                   .decode = decode,
                                   .group = group};

struct ucb_chain fixture_chain(uint32_t wanted, bool is_sequential)
{
    fixture_method.needs = wanted;
    fixture_method.is_sequential = is_sequential;
    method.sequential = is_sequential;
    method.takes = fixture_method.takes_embedding ? takes : NULL;
    return (struct ucb_chain){.n_stages = 1,
                              .n_coded = 1,
                              .stages = {{.method = &method}},
                              .spec = "fixture",
                              .identity = "fixture#1"};
}

const struct noted *fixture_noted(const char *part_of_name)
{
    for (size_t i = 0; i < fixture_method.n_noted; i++)
        if (strstr(fixture_method.noted[i].name, part_of_name) != NULL)
            return &fixture_method.noted[i];
    ucb_test_fail(__FILE__, __LINE__, "nothing was noted of %s", part_of_name);
}

static void free_const(const void *p)
{
    free((void *)(uintptr_t)p);
}

void fixture_forget(void)
{
    for (size_t i = 0; i < fixture_method.n_noted; i++) {
        const struct ucb_calib *c = &fixture_method.noted[i].calib;
        free_const(c->sq_mean);
        free_const(c->abs_mean);
        free_const(c->abs_max);
        free_const(c->second_moment);
        free_const(c->sample);
    }
    fixture_method.n_noted = 0;
}

/* ---- the model and the text ---- */

static void make_text(struct calib_fixture *f)
{
    struct ucb_pcg r;
    const struct ucb_arch *arch = ucb_model_arch(f->model);
    ucb_pcg_named(&r, 3, "calibration ids");
    f->text = (struct ucb_calib_text){
        .spec = {.dataset = "made-up", .n = FIXTURE_WINDOWS, .ctx = FIXTURE_CTX},
        .digest = "0123",
        .n_windows = FIXTURE_WINDOWS};
    f->text.ids = UCB_NEW(&f->arena, uint32_t, FIXTURE_WINDOWS * FIXTURE_CTX);
    for (size_t i = 0; i < FIXTURE_WINDOWS * FIXTURE_CTX; i++)
        f->text.ids[i] = ucb_pcg_below(&r, arch->vocabulary < 256 ? arch->vocabulary : 256);
    for (size_t w = 0; w <= FIXTURE_WINDOWS; w++) f->start[w] = w * FIXTURE_CTX;
}

void calib_fixture_open(struct calib_fixture *f, unsigned n_threads, size_t batch)
{
    const char *folder = ucb_test_path("%s/tiny", ucb_test_folder());
    ucb_tiny_model(folder);
    calib_fixture_open_model(f, folder, n_threads, batch);
    CHECK_EQ(ucb_model_arch(f->model)->n_layers, FIXTURE_LAYERS);
}

void calib_fixture_open_model(struct calib_fixture *f, const char *path, unsigned n_threads,
                              size_t batch)
{
    static int n_opened;
    struct ucb_err err;
    *f = (struct calib_fixture){0};
    CHECK_OK(ucb_model_open(path, &f->model, &err), err);
    CHECK_OK(ucb_model_digest(f->model, &f->digest, &err), err);
    CHECK_OK(ucb_pool_open(n_threads, &f->pool, &err), err);
    CHECK_OK(ucb_backend_open(UCB_ARITH_FP32, UCB_KERNEL_AUTO, f->pool, &f->backend, &err),
             err);
    CHECK_OK(ucb_chain_parse("none", &f->arena, &f->none, &err), err);
    make_text(f);
    f->options = (struct ucb_calibrator_options){
        .model = f->model,
        .backend = f->backend,
        .pool = f->pool,
        .text = &f->text,
        .model_digest = f->digest,
        .scope = "body",
        .seed = 1,
        .batch = batch,
        .memory_bytes = (uint64_t)1 << 30,
        .cache = ucb_arena_printf(&f->arena, "%s/cache%d", ucb_test_folder(), n_opened++)};
}

void calib_fixture_close(struct calib_fixture *f)
{
    fixture_forget();
    fixture_method.takes_embedding = false;
    ucb_backend_close(f->backend);
    ucb_pool_close(f->pool);
    ucb_model_close(f->model);
    ucb_arena_free(&f->arena);
}

static bool same(const void *found, const void *expected, size_t n_bytes, bool wanted)
{
    if (!wanted) return found == NULL;
    return found != NULL && memcmp(found, expected, n_bytes) == 0;
}

bool calib_equals(const struct ucb_calib *found, const struct ucb_calib *expected,
                  uint32_t wanted, uint32_t n_in)
{
    size_t row = n_in * sizeof(double);
    return found->n_tokens == expected->n_tokens &&
           found->n_sequences == expected->n_sequences &&
           same(found->sq_mean, expected->sq_mean, row, wanted & UCB_NEEDS_DIAG) &&
           same(found->abs_mean, expected->abs_mean, row, wanted & UCB_NEEDS_ABS) &&
           same(found->abs_max, expected->abs_max, row, wanted & UCB_NEEDS_ABS) &&
           same(found->second_moment, expected->second_moment, row * n_in,
                wanted & UCB_NEEDS_H) &&
           (!(wanted & UCB_NEEDS_SAMPLE) || found->n_sample == expected->n_sample) &&
           same(found->sample, expected->sample, expected->n_sample * n_in * sizeof(float),
                wanted & UCB_NEEDS_SAMPLE);
}
