/* What a tap sees of a layer, and what a peek at one input sees: the same rows, whatever
 * the batch. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "calib_fixture.h"

enum {
    ROWS = FIXTURE_WINDOWS * FIXTURE_CTX,
    MOST_IN = 128,
    HIDDEN = 64,
    MOST_MATRICES = 7
};

/* What a layer of this model multiplies. */
static const enum ucb_input inputs[] = {UCB_INPUT_QKV, UCB_INPUT_O, UCB_INPUT_GATE_UP,
                                        UCB_INPUT_DOWN};

/* Every row shown, by input. */
struct seen {
    float x[UCB_N_INPUTS][ROWS][MOST_IN];
    size_t n_rows[UCB_N_INPUTS];
    uint32_t n_in[UCB_N_INPUTS];
};

static ucb_status see(void *context, enum ucb_input input, uint32_t expert, const float *x,
                      size_t n_rows, uint32_t n_in, struct ucb_err *err)
{
    struct seen *seen = context;
    (void)err;
    CHECK_EQ(expert, 0);
    CHECK(seen->n_rows[input] + n_rows <= ROWS && n_in <= MOST_IN);
    for (size_t i = 0; i < n_rows; i++)
        memcpy(seen->x[input][seen->n_rows[input]++], x + i * n_in, n_in * sizeof(*x));
    seen->n_in[input] = n_in;
    return UCB_OK;
}

static ucb_status refuse(void *context, enum ucb_input input, uint32_t expert,
                         const float *x, size_t n_rows, uint32_t n_in, struct ucb_err *err)
{
    (void)context;
    (void)expert;
    (void)x;
    (void)n_rows;
    (void)n_in;
    return UCB_FAIL(err, UCB_IO, "refused %s", ucb_input_name(input));
}

/* The first layer's weights and the embedded text. */
struct bench_layer {
    struct calib_fixture f;
    struct ucb_loader *loader;
    struct ucb_forward *forward;
    struct ucb_layer layer;
    struct ucb_tally tally;
    float x[ROWS * HIDDEN];
};

static void open_layer(struct bench_layer *b, size_t batch)
{
    struct ucb_err err;
    calib_fixture_open(&b->f, 2, batch);
    ucb_tally_begin(&b->tally);
    CHECK_OK(ucb_loader_open(b->f.model, b->f.backend, b->f.pool, UCB_SCOPE_BODY, 1,
                             b->f.digest, &b->loader, &err),
             err);
    CHECK_OK(ucb_forward_open(b->f.backend, ucb_model_arch(b->f.model), batch, FIXTURE_CTX,
                              &b->forward, &err),
             err);
    CHECK_OK(ucb_loader_embed(b->loader, b->f.none, &b->tally, b->f.text.ids,
                              FIXTURE_WINDOWS, b->f.start, b->x, &err),
             err);
    CHECK_OK(ucb_loader_layer(b->loader, b->f.none, 0, &b->tally, NULL, &b->layer, &err),
             err);
}

static void close_layer(struct bench_layer *b)
{
    uint8_t unused[UCB_SHA256_BYTES];
    ucb_sha256_final(&b->tally.digest, unused);
    ucb_forward_close(b->forward);
    ucb_loader_close(b->loader);
    calib_fixture_close(&b->f);
}

/* The matrices that read `input` or a later one get no weights at all. */
static struct ucb_layer beginning(const struct bench_layer *b, enum ucb_input input,
                                  struct ucb_packed weight[])
{
    size_t n;
    struct ucb_layer part = b->layer;
    const struct ucb_matrix *const *list = ucb_model_layer_matrices(b->f.model, 0, &n);
    CHECK(n == part.n_matrices && n <= MOST_MATRICES);
    part.weight = weight;
    for (size_t i = 0; i < n; i++) {
        bool is_there = ucb_role_input(list[i]->role) < input;
        weight[i] = is_there ? b->layer.weight[i] : (struct ucb_packed){NULL, 0, 0};
        if (!is_there) part.vector[ucb_bias_of(list[i]->role)] = NULL;
    }
    return part;
}

static void check_batch(size_t batch)
{
    struct bench_layer b;
    struct ucb_err err;
    static float x[ROWS * HIDDEN], plain[ROWS * HIDDEN];
    struct seen *all = calloc(1, sizeof(*all)), *one = malloc(sizeof(*one));
    struct ucb_tap tap = {.see = see, .context = all}, peek = {.see = see, .context = one};
    CHECK(all != NULL && one != NULL);
    open_layer(&b, batch);
    memcpy(x, b.x, sizeof(x));
    memcpy(plain, b.x, sizeof(x));
    CHECK_OK(
        ucb_forward_layer(b.forward, &b.layer, FIXTURE_WINDOWS, b.f.start, plain, &err),
        err);
    CHECK_OK(ucb_forward_layer_tapped(b.forward, &b.layer, FIXTURE_WINDOWS, b.f.start, x,
                                      &tap, &err),
             err);
    CHECK(memcmp(x, plain, sizeof(x)) == 0);
    for (size_t k = 0; k < sizeof(inputs) / sizeof(inputs[0]); k++) {
        struct ucb_packed weight[MOST_MATRICES];
        enum ucb_input i = inputs[k];
        struct ucb_layer part = beginning(&b, i, weight);
        memset(one, 0, sizeof(*one));
        memcpy(x, b.x, sizeof(x));
        CHECK_OK(ucb_forward_peek(b.forward, &part, FIXTURE_WINDOWS, b.f.start, x, i, &peek,
                                  &err),
                 err);
        CHECK(memcmp(x, b.x, sizeof(x)) == 0);
        for (int other = 0; other < UCB_N_INPUTS; other++)
            CHECK_EQ(one->n_rows[other], other == (int)i ? ROWS : 0);
        CHECK_EQ(all->n_rows[i], ROWS);
        CHECK_EQ(all->n_in[i], i == UCB_INPUT_DOWN ? 128 : 64);
        CHECK(memcmp(one->x[i], all->x[i], sizeof(all->x[i])) == 0);
    }
    close_layer(&b);
    free(all);
    free(one);
}

TEST(a_peek_sees_what_the_whole_layer_multiplies)
{
    check_batch(1);
    check_batch(FIXTURE_CTX + 1);
    check_batch(ROWS);
}

TEST(a_tap_that_fails_ends_the_layer_with_its_error)
{
    struct bench_layer b;
    struct ucb_err err;
    struct ucb_tap tap = {.see = refuse};
    open_layer(&b, 16);
    CHECK_STATUS(ucb_forward_layer_tapped(b.forward, &b.layer, FIXTURE_WINDOWS, b.f.start,
                                          b.x, &tap, &err),
                 UCB_IO, err);
    CHECK_TEXT(err.text, "refused qkv");
    CHECK_STATUS(ucb_forward_peek(b.forward, &b.layer, FIXTURE_WINDOWS, b.f.start, b.x,
                                  UCB_INPUT_DOWN, &tap, &err),
                 UCB_IO, err);
    CHECK_TEXT(err.text, "refused down");
    close_layer(&b);
}
