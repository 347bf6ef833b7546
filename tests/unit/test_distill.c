/* Layers that a TUNE stage works on: what is gained, what is kept, and that nothing but the
 * bytes decides. */
#include "test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "calib_fixture.h"
#include "eval/gains.h"
#include "eval/layer_store.h"
#include "eval/layer_work.h"

enum { LAYERS = FIXTURE_LAYERS };

/* What a chain made of the tiny model. */
struct made {
    char weights[UCB_SHA256_HEX];
    struct ucb_tally tally;
    struct ucb_layer_record record[LAYERS];
};

static struct ucb_chain *parse(struct calib_fixture *f, const char *spec)
{
    struct ucb_chain *chain;
    struct ucb_err err;
    CHECK_OK(ucb_chain_parse(spec, &f->arena, &chain, &err), err);
    return chain;
}

/* The first n layers, as an evaluation takes them. */
static void make_layers(struct calib_fixture *f, const char *spec, uint32_t n,
                        struct made *out)
{
    struct ucb_chain *chain = parse(f, spec);
    struct ucb_layer_work *work;
    struct ucb_loader *loader;
    struct ucb_layer layer;
    struct ucb_err err;
    memset(out, 0, sizeof(*out));
    ucb_tally_begin(&out->tally);
    CHECK_OK(ucb_layer_work_open(&f->options, chain, &work, &err), err);
    CHECK(work != NULL);
    CHECK_OK(ucb_loader_open(f->model, f->backend, f->pool, UCB_SCOPE_BODY, f->options.seed,
                             f->digest, &loader, &err),
             err);
    for (uint32_t i = 0; i < n; i++)
        CHECK_OK(ucb_layer_work_run(work, loader, i, &out->tally, NULL, &layer,
                                    &out->record[i], &err),
                 err);
    ucb_sha256_final_hex(&out->tally.digest, out->weights);
    ucb_loader_close(loader);
    ucb_layer_work_close(work);
}

static void forget_layers(struct calib_fixture *f, const char *spec)
{
    struct ucb_layer_store store;
    struct ucb_err err;
    CHECK_OK(ucb_layer_store_open(&f->options, parse(f, spec), &store, &err), err);
    ucb_layer_store_remove(&store, LAYERS);
}

TEST(distillation_brings_every_layer_nearer_to_the_original)
{
    static const char *const specs[] = {
        "gsq:bits=3+lowrank:rank=4+distill:steps=30,batch=4",
        "gsq:bits=3+distill:steps=30,batch=4,train=all",
        "gsq:bits=3+lowrank:rank=4+distill:steps=30,batch=4,train=all,online=1",
        "nf4+lowrank:rank=4+distill:steps=30,batch=4",
        "gsq:bits=3+lowrank:rank=4+distill:steps=30,batch=4,objective=kl"};
    struct calib_fixture f;
    calib_fixture_open(&f, 2, 16);
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        struct made made;
        make_layers(&f, specs[i], LAYERS, &made);
        for (uint32_t layer = 0; layer < LAYERS; layer++) {
            CHECK(made.record[layer].is_tuned);
            CHECK(made.record[layer].loss_before > 0);
            CHECK(made.record[layer].loss_after < 0.97 * made.record[layer].loss_before);
        }
    }
    calib_fixture_close(&f);
}

static const char *arch_path(const char *name)
{
    return ucb_test_path("%s/tests/golden/arch/%s", ucb_test_root(), name);
}

/* Layers that are not plain attention; experts, some of which few rows visit. */
static const char *const other_mixers[] = {"deepseek-v2-lite", "mamba"};

TEST(distillation_brings_latent_attention_and_state_spaces_nearer_to_the_original)
{
    static const char *const specs[] = {
        "gsq:bits=3+lowrank:rank=4+distill:steps=30,batch=4",
        "gsq:bits=3+distill:steps=30,batch=4,train=all"};
    for (size_t m = 0; m < 2; m++) {
        struct calib_fixture f;
        calib_fixture_open_model(&f, arch_path(other_mixers[m]), 2, 16);
        for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
            struct made made;
            make_layers(&f, specs[i], LAYERS, &made);
            for (uint32_t layer = 0; layer < LAYERS; layer++) {
                CHECK(made.record[layer].loss_before > 0);
                CHECK(made.record[layer].loss_after <
                      0.97 * made.record[layer].loss_before);
            }
        }
        calib_fixture_close(&f);
    }
}

TEST(no_steps_leave_the_bytes_of_the_stages_before)
{
    struct calib_fixture f;
    struct made made;
    struct ucb_loader *loader;
    struct ucb_layer layer;
    struct ucb_tally plain;
    struct ucb_err err;
    char weights[UCB_SHA256_HEX];
    calib_fixture_open(&f, 2, 16);
    make_layers(&f, "nf4+lowrank:rank=4+distill:steps=0,batch=4", LAYERS, &made);
    CHECK_OK(ucb_loader_open(f.model, f.backend, f.pool, UCB_SCOPE_BODY, f.options.seed,
                             f.digest, &loader, &err),
             err);
    ucb_tally_begin(&plain);
    for (uint32_t i = 0; i < LAYERS; i++)
        CHECK_OK(ucb_loader_layer(loader, parse(&f, "nf4+lowrank:rank=4"), i, &plain, NULL,
                                  &layer, &err),
                 err);
    ucb_sha256_final_hex(&plain.digest, weights);
    CHECK(strcmp(made.weights, weights) == 0);
    for (int part = 0; part < UCB_N_PARTS; part++)
        CHECK_EQ(made.tally.part_bytes[part], plain.part_bytes[part]);
    CHECK(made.record[0].loss_after == made.record[0].loss_before);
    ucb_loader_close(loader);
    calib_fixture_close(&f);
}

static void check_threads(const char *path)
{
    static const char spec[] =
        "gsq:bits=3+lowrank:rank=4+distill:steps=5,batch=3,train=all";
    char first[UCB_SHA256_HEX] = "";
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
        struct calib_fixture f;
        struct made made;
        if (path == NULL)
            calib_fixture_open(&f, n_threads, 16);
        else
            calib_fixture_open_model(&f, path, n_threads, 16);
        forget_layers(&f, spec);
        make_layers(&f, spec, LAYERS, &made);
        if (n_threads == 1) memcpy(first, made.weights, sizeof(first));
        CHECK(strcmp(made.weights, first) == 0);
        calib_fixture_close(&f);
    }
}

TEST(tuned_weights_do_not_depend_on_threads)
{
    check_threads(NULL);
    for (size_t m = 0; m < 2; m++) check_threads(arch_path(other_mixers[m]));
}

TEST(a_run_that_was_killed_goes_on_at_its_layer)
{
    static const char *const specs[] = {
        "gsq:bits=3+lowrank:rank=4+distill:steps=5,batch=3",
        "gsq:bits=3+lowrank:rank=4+distill:steps=5,batch=3,train=all,online=1"};
    for (size_t i = 0; i < 2; i++) {
        struct calib_fixture f;
        struct made whole, half, resumed;
        calib_fixture_open(&f, 2, 16);
        make_layers(&f, specs[i], LAYERS, &whole);
        forget_layers(&f, specs[i]);
        make_layers(&f, specs[i], 1, &half);
        make_layers(&f, specs[i], LAYERS, &resumed);
        CHECK(strcmp(resumed.weights, whole.weights) == 0);
        CHECK(resumed.record[1].loss_after == whole.record[1].loss_after);
        CHECK(resumed.record[0].loss_after == half.record[0].loss_after);
        calib_fixture_close(&f);
    }
}

TEST(a_kept_layer_that_is_not_whole_is_made_again)
{
    static const char spec[] = "nf4+lowrank:rank=4+distill:steps=3,batch=3";
    struct calib_fixture f;
    struct made first, again;
    struct ucb_layer_store store;
    struct ucb_err err;
    char path[4200];
    struct stat info;
    calib_fixture_open(&f, 2, 16);
    make_layers(&f, spec, LAYERS, &first);
    CHECK_OK(ucb_layer_store_open(&f.options, parse(&f, spec), &store, &err), err);
    snprintf(path, sizeof(path), "%s/layer-0001", store.folder);
    CHECK_EQ(stat(path, &info), 0);
    CHECK_EQ(truncate(path, info.st_size / 2), 0);
    make_layers(&f, spec, LAYERS, &again);
    CHECK(strcmp(again.weights, first.weights) == 0);
    CHECK_EQ(stat(path, &info), 0);
    CHECK(ucb_layer_store_bytes(&store, LAYERS) > 0);
    calib_fixture_close(&f);
}

TEST(tuned_gains_are_counted_and_read_back)
{
    struct calib_fixture f;
    struct made made;
    struct ucb_writer gains = {0};
    struct ucb_err err;
    float *vector[UCB_N_VECTORS] = {NULL};
    calib_fixture_open(&f, 1, 16);
    make_layers(&f, "gsq:bits=4+distill:steps=3,batch=3,train=all", LAYERS, &made);
    CHECK(made.tally.extra_bytes > 0);
    CHECK_EQ(made.tally.extra_stored_bytes,
             ucb_gains_file_bytes(f.model, 0) + ucb_gains_file_bytes(f.model, 1));
    for (int v = 0; v < UCB_N_VECTORS; v++) {
        uint32_t n = ucb_vector_is_gain((enum ucb_vector)v)
                         ? ucb_model_vector_size(f.model, 0, (enum ucb_vector)v)
                         : 0;
        vector[v] = n == 0 ? NULL : UCB_NEW(&f.arena, float, n);
        for (uint32_t i = 0; i < n; i++) vector[v][i] = (float)i;
    }
    CHECK_OK(ucb_gains_write(f.model, 0, vector, &gains, &err), err);
    CHECK_OK(ucb_gains_apply(f.model, 0, gains.data, gains.n_bytes, vector, &err), err);
    CHECK(vector[UCB_VECTOR_MLP_NORM][3] == 3.0f);
    for (size_t n = 1; n < gains.n_bytes; n += 7)
        CHECK_EQ(ucb_gains_apply(f.model, 0, gains.data, n, vector, &err), UCB_CORRUPT);
    ucb_writer_free(&gains);
    calib_fixture_close(&f);
}

/* The gain of a latent's norm is a gain like others: it moves, and is stored. */
TEST(gains_of_latents_are_among_those_that_are_tuned)
{
    struct calib_fixture f;
    struct made made;
    calib_fixture_open_model(&f, arch_path("deepseek-v2-lite"), 1, 16);
    const struct ucb_arch *a = ucb_model_arch(f.model);
    make_layers(&f, "gsq:bits=4+distill:steps=3,batch=3,train=all", LAYERS, &made);
    CHECK_EQ(made.tally.extra_stored_bytes,
             LAYERS * (2 * a->hidden + a->latent.kv_rank) * sizeof(uint16_t));
    CHECK(ucb_vector_is_gain(UCB_VECTOR_Q_A_NORM));
    calib_fixture_close(&f);
}

TEST(a_chain_with_nothing_to_move_says_so)
{
    struct calib_fixture f;
    struct ucb_layer_work *work;
    struct ucb_loader *loader;
    struct ucb_layer layer;
    struct ucb_layer_record record;
    struct ucb_tally tally;
    struct ucb_err err;
    uint8_t unused[UCB_SHA256_BYTES];
    calib_fixture_open(&f, 1, 16);
    ucb_tally_begin(&tally);
    CHECK_OK(ucb_layer_work_open(&f.options, parse(&f, "nf4+distill"), &work, &err), err);
    CHECK_OK(ucb_loader_open(f.model, f.backend, f.pool, UCB_SCOPE_BODY, 1, f.digest,
                             &loader, &err),
             err);
    CHECK_EQ(ucb_layer_work_run(work, loader, 0, &tally, NULL, &layer, &record, &err),
             UCB_USAGE);
    CHECK(strstr(err.text, "lowrank") != NULL);
    ucb_sha256_final(&tally.digest, unused);
    ucb_loader_close(loader);
    ucb_layer_work_close(work);
    calib_fixture_close(&f);
}

TEST(a_tuning_stage_stands_last)
{
    struct calib_fixture f;
    struct ucb_chain *chain;
    struct ucb_err err;
    calib_fixture_open(&f, 1, 16);
    CHECK_EQ(ucb_chain_parse("distill", &f.arena, &chain, &err), UCB_USAGE);
    CHECK_EQ(ucb_chain_parse("nf4+distill+lowrank", &f.arena, &chain, &err), UCB_USAGE);
    CHECK(strstr(err.text, "last") != NULL);
    calib_fixture_close(&f);
}
