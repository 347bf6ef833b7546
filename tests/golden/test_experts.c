/* Matrices that share a tensor, and experts on their way through methods, calibration and
 * products of a method's own: on the architecture vectors. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "calib_fixture.h"
#include "core/sha256.h"
#include "model/model_internal.h"
#include "tiny.h"

static const char *arch_path(const char *name)
{
    return ucb_test_path("%s/tests/golden/arch/%s", ucb_test_root(), name);
}

static struct ucb_model *open_model(const char *name)
{
    struct ucb_model *m;
    struct ucb_err err;
    CHECK_OK(ucb_model_open(arch_path(name), &m, &err), err);
    return m;
}

/* ---- matrices that share a tensor ---- */

/* Row `row`, column `column` of a matrix stands at this element of its tensor. */
typedef uint64_t place(const struct ucb_arch *a, const struct ucb_matrix *m, uint32_t row,
                       uint32_t column);

static uint32_t part_of(enum ucb_role role)
{
    return role == UCB_ROLE_K || role == UCB_ROLE_UP ? 1 : role == UCB_ROLE_V ? 2 : 0;
}

/* Phi-3: q rows, k rows, v rows; gate rows, up rows. */
static uint64_t stacked(const struct ucb_arch *a, const struct ucb_matrix *m, uint32_t row,
                        uint32_t column)
{
    uint32_t q = a->n_heads * a->head_dim, kv = a->n_kv_heads * a->head_dim;
    uint32_t before = m->role == UCB_ROLE_K   ? q
                      : m->role == UCB_ROLE_V ? q + kv
                                              : part_of(m->role) * a->ffn;
    return (uint64_t)(before + row) * m->n_in + column;
}

/* GPT-2: [in][3 out] for q, k, v, [in][out] elsewhere. */
static uint64_t columns(const struct ucb_arch *a, const struct ucb_matrix *m, uint32_t row,
                        uint32_t column)
{
    bool fused = m->role <= UCB_ROLE_V;
    uint32_t width = fused ? 3 * a->hidden : m->n_out;
    return (uint64_t)column * width + (fused ? part_of(m->role) * a->hidden : 0) + row;
}

/* GPT-NeoX: of each head its q rows, its k rows, its v rows. */
static uint64_t by_head(const struct ucb_arch *a, const struct ucb_matrix *m, uint32_t row,
                        uint32_t column)
{
    uint32_t d = a->head_dim;
    if (m->role > UCB_ROLE_V) return (uint64_t)row * m->n_in + column;
    return (uint64_t)(row / d * 3 * d + part_of(m->role) * d + row % d) * m->n_in + column;
}

/* Mixtral in a GGUF: expert after expert. */
static uint64_t by_expert(const struct ucb_arch *a, const struct ucb_matrix *m,
                          uint32_t row, uint32_t column)
{
    (void)a;
    return ((uint64_t)m->expert * m->n_out + row) * m->n_in + column;
}

/* Reads the rows from `from` on, with other threads, and compares. */
static void check_rows(const struct ucb_model *model, const struct ucb_matrix *m,
                       const float *tensor, uint32_t from, place *where)
{
    struct ucb_pool *pool;
    struct ucb_err err;
    uint32_t n = m->n_out - from;
    float *rows = malloc((size_t)n * m->n_in * sizeof(*rows));
    CHECK(rows != NULL);
    CHECK_OK(ucb_pool_open(3, &pool, &err), err);
    CHECK_OK(ucb_model_read_rows(model, m, from, n, pool, rows, &err), err);
    for (uint32_t row = 0; row < n; row++)
        for (uint32_t column = 0; column < m->n_in; column++)
            CHECK(rows[row * m->n_in + column] ==
                  tensor[where(ucb_model_arch(model), m, from + row, column)]);
    ucb_pool_close(pool);
    free(rows);
}

static void check_matrix(const struct ucb_model *model, const struct ucb_matrix *m,
                         place *where)
{
    const struct ucb_tensor *t = ((const struct ucb_bound_matrix *)m)->view.tensor;
    struct ucb_err err;
    float *whole = malloc(t->n_elements * sizeof(*whole));
    CHECK(whole != NULL);
    CHECK_OK(ucb_tensor_widen(t, 0, t->n_elements, whole, &err), err);
    for (uint32_t from = 0; from < m->n_out; from += 1 + m->n_out / 3)
        check_rows(model, m, whole, from, where);
    free(whole);
}

TEST(parts_of_a_tensor_are_read_as_rows_of_outputs)
{
    static const struct {
        const char *name;
        place *where;
        enum ucb_role last; /* roles from 0 to this one, in tensors of their kind */
    } cases[] = {
        {"phi3-fused-swa", stacked, UCB_ROLE_V},
        {"phi3-longrope", stacked, UCB_ROLE_V},
        {"gpt2-prefixed", columns, UCB_ROLE_DOWN},
        {"gpt2-bare-fp32", columns, UCB_ROLE_DOWN},
        {"gptneox-parallel", by_head, UCB_ROLE_DOWN},
        {"gptneox-sequential", by_head, UCB_ROLE_DOWN},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ucb_model *m = open_model(cases[i].name);
        for (uint32_t layer = 0; layer < ucb_model_arch(m)->n_layers; layer++)
            for (int role = 0; role <= (int)cases[i].last; role++) {
                const struct ucb_matrix *x = ucb_model_matrix(m, layer,
                                                              (enum ucb_role)role);
                if (x != NULL) check_matrix(m, x, cases[i].where);
            }
        ucb_model_close(m);
    }
    struct ucb_model *m = open_model("phi3-fused-swa");
    check_matrix(m, ucb_model_matrix(m, 0, UCB_ROLE_GATE), stacked);
    check_matrix(m, ucb_model_matrix(m, 0, UCB_ROLE_UP), stacked);
    ucb_model_close(m);
}

TEST(stacked_experts_are_read_one_by_one)
{
    struct ucb_model *m = open_model("mixtral-8x2/model-f16.gguf");
    size_t n;
    const struct ucb_matrix *const *list = ucb_model_layer_matrices(m, 1, &n);
    CHECK_EQ(n, 4 + 3 * 8);
    for (size_t i = 4; i < n; i++) check_matrix(m, list[i], by_expert);
    ucb_model_close(m);
}

/* Every byte of the layers' matrices is some matrix's, and no byte is two's. */
TEST(shares_of_a_tensor_add_up_to_its_bytes)
{
    static const char *const names[] = {"phi3-fused-swa",   "gpt2-prefixed",
                                        "gptneox-parallel", "mixtral-8x2",
                                        "deepseek-v2-lite", "mixtral-8x2/model-f16.gguf"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct ucb_model *m = open_model(names[i]);
        uint64_t shares = 0, tensors = 0;
        for (uint32_t layer = 0; layer < ucb_model_arch(m)->n_layers; layer++) {
            size_t n;
            const struct ucb_matrix *const *list = ucb_model_layer_matrices(m, layer, &n);
            for (size_t k = 0; k < n; k++) {
                const struct ucb_bound_matrix *b = (const struct ucb_bound_matrix *)list[k];
                shares += list[k]->stored_bytes;
                if (b->first_of_tensor) tensors += b->view.tensor->n_bytes;
            }
        }
        CHECK_EQ(shares, tensors);
        ucb_model_close(m);
    }
}

/* ---- methods ---- */

/* Encodes and decodes a matrix alone; the digest gets its values, the answer is the
 * payload's size. */
static uint64_t decode_alone(const struct calib_fixture *f, const struct ucb_chain *chain,
                             const struct ucb_matrix *m, struct ucb_sha256 *digest)
{
    struct ucb_arena arena = {0}, scratch = {0};
    struct ucb_chain_context context = {
        .arena = &arena, .scratch = &scratch, .seed = 1, .model_digest = f->digest};
    size_t n = (size_t)m->n_out * m->n_in;
    float *w = malloc(n * sizeof(*w));
    struct ucb_writer payload = {0}, *out = &payload;
    struct ucb_err err;
    CHECK(w != NULL);
    CHECK_OK(ucb_model_read_rows(f->model, m, 0, m->n_out, NULL, w, &err), err);
    const struct ucb_source source = {.matrix = m, .w = w};
    CHECK_OK(ucb_chain_encode(chain, &context, &source, 1, &out, &err), err);
    CHECK_OK(
        ucb_chain_decode(chain, &context, m, payload.data, payload.n_bytes, w, NULL, &err),
        err);
    ucb_sha256_update(digest, w, n * sizeof(*w));
    uint64_t n_bytes = payload.n_bytes;
    ucb_writer_free(&payload);
    ucb_arena_free(&arena);
    ucb_arena_free(&scratch);
    free(w);
    return n_bytes;
}

TEST(every_expert_is_a_matrix_of_its_own_to_a_method)
{
    struct calib_fixture f;
    struct ucb_chain *chain;
    struct ucb_loader *loader;
    struct ucb_layer layer;
    struct ucb_tally tally;
    struct ucb_sha256 alone;
    struct ucb_err err;
    char found[UCB_SHA256_HEX], expected[UCB_SHA256_HEX];
    uint64_t n_bytes = 0, written = 0;
    calib_fixture_open_model(&f, arch_path("mixtral-8x2"), 2, 16);
    CHECK_OK(ucb_chain_parse("nf4", &f.arena, &chain, &err), err);
    CHECK_OK(ucb_loader_open(f.model, f.backend, f.pool, UCB_SCOPE_BODY, 1, f.digest,
                             &loader, &err),
             err);
    ucb_tally_begin(&tally);
    ucb_sha256_init(&alone);
    for (uint32_t i = 0; i < ucb_model_arch(f.model)->n_layers; i++) {
        size_t n;
        const struct ucb_matrix *const *list = ucb_model_layer_matrices(f.model, i, &n);
        CHECK_OK(ucb_loader_layer(loader, chain, i, &tally, NULL, &layer, &err), err);
        CHECK_EQ(layer.n_matrices, 4 + 3 * 8);
        for (size_t k = 0; k < n; k++) n_bytes += decode_alone(&f, chain, list[k], &alone);
    }
    for (int part = 0; part < UCB_N_PARTS; part++) written += tally.part_bytes[part];
    CHECK_EQ(written, n_bytes);
    CHECK_EQ(tally.n_decodes_differing, 0);
    ucb_sha256_final_hex(&tally.digest, found);
    ucb_sha256_final_hex(&alone, expected);
    CHECK_TEXT(found, expected);
    ucb_loader_close(loader);
    calib_fixture_close(&f);
}

/* ---- calibration ---- */

enum { ROWS = FIXTURE_WINDOWS * FIXTURE_CTX, MOST_EXPERTS = 8, MOST_IN = 64, USED = 2 };

/* What a layer showed of each expert's inputs, and where its router sent the rows. */
struct routed {
    uint32_t experts[ROWS][USED];
    size_t n_routed, n_seen[2][MOST_EXPERTS];
    uint32_t n_in[2];
    float x[2][MOST_EXPERTS][ROWS][MOST_IN]; /* [gate and up, down] */
};

static ucb_status see(void *context, enum ucb_input input, uint32_t expert, const float *x,
                      size_t n_rows, uint32_t n_in, struct ucb_err *err)
{
    struct routed *r = context;
    (void)err;
    if (input != UCB_INPUT_GATE_UP && input != UCB_INPUT_DOWN) return UCB_OK;
    int which = input == UCB_INPUT_DOWN;
    CHECK(expert < MOST_EXPERTS && n_in <= MOST_IN);
    CHECK(r->n_seen[which][expert] + n_rows <= ROWS);
    r->n_in[which] = n_in;
    for (size_t i = 0; i < n_rows; i++)
        memcpy(r->x[which][expert][r->n_seen[which][expert]++], x + i * n_in,
               n_in * sizeof(*x));
    return UCB_OK;
}

static ucb_status keep_route(void *context, const uint32_t *experts, const float *weights,
                             size_t n_rows, struct ucb_err *err)
{
    struct routed *r = context;
    (void)err;
    CHECK(r->n_routed + n_rows <= ROWS);
    memcpy(r->experts[r->n_routed], experts, n_rows * USED * sizeof(*experts));
    for (size_t i = 0; i < n_rows * USED; i++) CHECK(weights[i] >= 0 && weights[i] <= 1);
    r->n_routed += n_rows;
    return UCB_OK;
}

/* The rows an expert saw are those that were sent to it, in their order: what two experts
 * saw of one row is the same. */
static void check_routes(const struct routed *r, size_t n_in)
{
    size_t next[MOST_EXPERTS] = {0};
    CHECK_EQ(r->n_routed, ROWS);
    for (size_t row = 0; row < ROWS; row++) {
        uint32_t a = r->experts[row][0], b = r->experts[row][1];
        CHECK(a != b);
        CHECK(memcmp(r->x[0][a][next[a]++], r->x[0][b][next[b]++], n_in * sizeof(float)) ==
              0);
    }
    for (int e = 0; e < MOST_EXPERTS; e++)
        CHECK(r->n_seen[0][e] == next[e] && r->n_seen[1][e] == next[e]);
}

/* Statistics of a slot are plain sums over the rows sent; of none, zeros. */
static void check_statistics(const struct ucb_calib *c, const struct routed *r, int which,
                             uint32_t expert)
{
    size_t n = r->n_seen[which][expert], n_in = r->n_in[which];
    CHECK_EQ(c->n_tokens, n);
    for (size_t i = 0; i < n_in; i++) {
        double square = 0, size = 0;
        for (size_t row = 0; row < n; row++) {
            double x = r->x[which][expert][row][i];
            square += x * x;
            size += fabs(x);
        }
        CHECK(c->sq_mean[i] == (n == 0 ? 0 : square / (double)n));
        CHECK(c->abs_mean[i] == (n == 0 ? 0 : size / (double)n));
        for (size_t k = 0; k < n_in; k++) {
            double product = 0;
            for (size_t row = 0; row < n; row++)
                product += (double)r->x[which][expert][row][i] *
                           r->x[which][expert][row][k];
            CHECK(c->second_moment[i * n_in + k] == (n == 0 ? 0 : product / (double)n));
        }
    }
}

static void check_layer(struct calib_fixture *f, struct ucb_calibrator *calibrator,
                        const struct ucb_layer *weights, struct routed *r)
{
    size_t n;
    struct ucb_calib calib;
    struct ucb_err err;
    const struct ucb_matrix *const *list = ucb_model_layer_matrices(f->model,
                                                                    weights->index, &n);
    check_routes(r, r->n_in[0]);
    for (size_t slot = 0; slot < n; slot++) {
        enum ucb_role role = list[slot]->role;
        if (role != UCB_ROLE_GATE && role != UCB_ROLE_DOWN) continue;
        CHECK_OK(
            ucb_calibrator_input(calibrator, weights->index, slot, weights, &calib, &err),
            err);
        check_statistics(&calib, r, role == UCB_ROLE_DOWN, list[slot]->expert);
    }
    CHECK_OK(ucb_calibrator_layer_done(calibrator, weights->index, weights, &err), err);
}

/* Runs the model by hand beside its calibrator. `memory_bytes` decides how many experts are
 * collected in one run. Answers how many experts got no row in some layer. */
static int check_calibration(bool is_sequential, bool one_id, uint64_t memory_bytes)
{
    struct calib_fixture f;
    struct ucb_chain chain = fixture_chain(
        UCB_NEEDS_DIAG | UCB_NEEDS_ABS | UCB_NEEDS_H | UCB_NEEDS_SAMPLE, is_sequential);
    struct ucb_calibrator *calibrator;
    struct ucb_loader *loader;
    struct ucb_forward *forward;
    struct ucb_layer layer;
    struct ucb_tally tally;
    struct ucb_err err;
    uint8_t unused[UCB_SHA256_BYTES];
    struct routed *r = malloc(sizeof(*r));
    float x[ROWS * MOST_IN];
    int n_idle = 0;
    CHECK(r != NULL);
    calib_fixture_open_model(&f, arch_path("mixtral-8x2"), 2, 16);
    for (size_t i = 0; one_id && i < ROWS; i++) f.text.ids[i] = 5;
    f.options.memory_bytes = memory_bytes;
    ucb_tally_begin(&tally);
    CHECK_OK(ucb_calibrator_open(&f.options, &chain, NULL, &calibrator, &err), err);
    CHECK_OK(ucb_loader_open(f.model, f.backend, f.pool, UCB_SCOPE_BODY, 1, f.digest,
                             &loader, &err),
             err);
    CHECK_OK(ucb_forward_open(f.backend, ucb_model_arch(f.model), 7, FIXTURE_CTX, &forward,
                              &err),
             err);
    CHECK_OK(ucb_loader_embed(loader, f.none, &tally, f.text.ids, FIXTURE_WINDOWS, f.start,
                              x, &err),
             err);
    for (uint32_t i = 0; i < ucb_model_arch(f.model)->n_layers; i++) {
        struct ucb_tap tap = {see, keep_route, r};
        memset(r, 0, sizeof(*r));
        CHECK_OK(ucb_loader_layer(loader, f.none, i, &tally, NULL, &layer, &err), err);
        CHECK_OK(ucb_forward_layer_tapped(forward, &layer, FIXTURE_WINDOWS, f.start, x,
                                          &tap, &err),
                 err);
        check_layer(&f, calibrator, &layer, r);
        for (int e = 0; e < MOST_EXPERTS; e++) n_idle += r->n_seen[0][e] == 0;
    }
    ucb_sha256_final(&tally.digest, unused);
    ucb_forward_close(forward);
    ucb_loader_close(loader);
    ucb_calibrator_close(calibrator);
    calib_fixture_close(&f);
    free(r);
    return n_idle;
}

TEST(experts_are_calibrated_by_the_rows_their_router_sent)
{
    const uint64_t enough = (uint64_t)1 << 30;
    for (int sequential = 0; sequential < 2; sequential++) {
        check_calibration(sequential, false, enough);
        check_calibration(sequential, false, 1); /* one expert at a time */
        CHECK(check_calibration(sequential, true, enough) > 0);
    }
}

/* GPTQ too, where experts without a row are rounded. */
TEST(a_method_that_needs_calibration_takes_experts_that_no_row_was_sent_to)
{
    struct calib_fixture f;
    struct ucb_chain *chain;
    struct ucb_calibrator *calibrator;
    struct ucb_loader *loader;
    struct ucb_layer layer;
    struct ucb_tally tally;
    struct ucb_err err;
    uint8_t unused[UCB_SHA256_BYTES];
    calib_fixture_open_model(&f, arch_path("mixtral-8x2"), 2, 16);
    for (size_t i = 0; i < ROWS; i++) f.text.ids[i] = 5;
    CHECK_OK(ucb_chain_parse("gptq:group=8,damp=0.1", &f.arena, &chain, &err), err);
    CHECK_OK(ucb_calibrator_open(&f.options, chain, NULL, &calibrator, &err), err);
    CHECK_OK(ucb_loader_open(f.model, f.backend, f.pool, UCB_SCOPE_BODY, 1, f.digest,
                             &loader, &err),
             err);
    ucb_tally_begin(&tally);
    for (uint32_t i = 0; i < ucb_model_arch(f.model)->n_layers; i++)
        CHECK_OK(ucb_loader_layer(loader, chain, i, &tally, calibrator, &layer, &err), err);
    CHECK_EQ(tally.n_decodes_differing, 0);
    ucb_sha256_final(&tally.digest, unused);
    ucb_loader_close(loader);
    ucb_calibrator_close(calibrator);
    calib_fixture_close(&f);
}

/* ---- products of a method's own ---- */

static char out[1 << 14];

static void dump_int8(const char *name, int batch, char hex[UCB_SHA256_HEX])
{
    struct ucb_err err;
    const char *dump = ucb_test_path("%s/dump.safetensors", ucb_test_folder());
    int code = ucb_run_program(
        out, sizeof(out),
        "dump --model %s --ids %s/reference.safetensors --out %s --hidden "
        "--method int8:threshold=6.0 --batch %d",
        arch_path(name), arch_path(name), dump, batch);
    if (code != 0) ucb_test_fail(__FILE__, __LINE__, "%s: exit %d: %s", name, code, out);
    CHECK_OK(ucb_sha256_file(dump, hex, &err), err);
}

TEST(products_of_a_methods_own_see_one_window_of_an_experts_rows_at_a_time)
{
    static const char *const names[] = {"mixtral-8x2",      "qwen3moe-mixed", "phimoe",
                                        "deepseek-v2-lite", "gpt2-prefixed",  "mamba",
                                        "phi3-fused-swa"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char one[UCB_SHA256_HEX], many[UCB_SHA256_HEX];
        dump_int8(names[i], 1, one);
        dump_int8(names[i], 512, many);
        if (strcmp(one, many) != 0)
            ucb_test_fail(__FILE__, __LINE__, "%s: other bits with another batch",
                          names[i]);
    }
}
