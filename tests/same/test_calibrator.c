/* The calibrator beside the loader: whose inputs are seen, what is kept, and what is never
 * believed. */
#include "test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "calib_fixture.h"
#include "core/file.h"
#include "eval/calib_store.h"

enum {
    ROWS = FIXTURE_WINDOWS * FIXTURE_CTX,
    ALL = UCB_NEEDS_DIAG | UCB_NEEDS_ABS | UCB_NEEDS_H | UCB_NEEDS_SAMPLE,
    HIDDEN = 64,
    SAMPLE = 512
};

/* One matrix of each input of this model: they share its statistics. */
static const struct {
    enum ucb_input input;
    const char *matrix;
} shared[] = {{UCB_INPUT_QKV, "self_attn.v_proj"},
              {UCB_INPUT_O, "self_attn.o_proj"},
              {UCB_INPUT_GATE_UP, "mlp.up_proj"},
              {UCB_INPUT_DOWN, "mlp.down_proj"}};
enum { N_SHARED = 4 };

/* ---- a model run by hand, layer after layer, and what it multiplies ---- */

struct run {
    struct ucb_forward *forward;
    struct ucb_collector *collector[UCB_N_INPUTS];
    struct ucb_calib found[UCB_N_INPUTS];
    float x[ROWS * HIDDEN];
};

static ucb_status see(void *context, enum ucb_input input, uint32_t expert, const float *x,
                      size_t n_rows, uint32_t n_in, struct ucb_err *err)
{
    struct run *run = context;
    CHECK_EQ(expert, 0);
    if (run->collector[input] == NULL)
        UCB_TRY(ucb_collector_open(ALL, n_in, ROWS, FIXTURE_WINDOWS, SAMPLE, NULL,
                                   &run->collector[input], err));
    ucb_collector_add(run->collector[input], x, n_rows);
    return UCB_OK;
}

static void run_layer(struct run *run, const struct calib_fixture *f,
                      const struct ucb_layer *layer)
{
    struct ucb_tap tap = {.see = see, .context = run};
    struct ucb_err err;
    for (int i = 0; i < UCB_N_INPUTS; i++) {
        ucb_collector_close(run->collector[i]);
        run->collector[i] = NULL;
    }
    CHECK_OK(ucb_forward_layer_tapped(run->forward, layer, FIXTURE_WINDOWS, f->start,
                                      run->x, &tap, &err),
             err);
    for (int i = 0; i < UCB_N_INPUTS; i++)
        if (run->collector[i] != NULL)
            ucb_collector_finish(run->collector[i], &run->found[i]);
}

static void close_run(struct run *run)
{
    ucb_forward_close(run->forward);
    for (int i = 0; i < UCB_N_INPUTS; i++) ucb_collector_close(run->collector[i]);
}

/* ---- a chain through all layers, with its calibrator ---- */

struct pass {
    struct ucb_loader *loader;
    struct ucb_calibrator *calibrator;
    struct ucb_tally tally;
    char digest[UCB_SHA256_HEX]; /* of the decoded weights */
};

static ucb_status begin_pass(struct pass *p, const struct calib_fixture *f,
                             const struct ucb_chain *chain, struct ucb_err *err)
{
    *p = (struct pass){0};
    ucb_tally_begin(&p->tally);
    fixture_forget();
    UCB_TRY(ucb_loader_open(f->model, f->backend, f->pool, UCB_SCOPE_BODY, 1, f->digest,
                            &p->loader, err));
    return ucb_calibrator_open(&f->options, chain, NULL, &p->calibrator, err);
}

static void end_pass(struct pass *p)
{
    ucb_sha256_final_hex(&p->tally.digest, p->digest);
    ucb_calibrator_close(p->calibrator);
    ucb_loader_close(p->loader);
}

/* The chain's layers, each compared with `shown`: the weights that a run by hand goes
 * through (the chain's own, or those of `none`). */
static void check_pass(struct calib_fixture *f, uint32_t needs, bool is_sequential)
{
    struct ucb_chain chain = fixture_chain(needs, is_sequential);
    struct run *run = calloc(1, sizeof(*run));
    struct ucb_loader *originals;
    struct ucb_layer layer, original;
    struct ucb_err err;
    struct pass p;
    CHECK(run != NULL);
    CHECK_OK(begin_pass(&p, f, &chain, &err), err);
    CHECK_OK(ucb_loader_open(f->model, f->backend, f->pool, UCB_SCOPE_BODY, 1, f->digest,
                             &originals, &err),
             err);
    CHECK_OK(ucb_forward_open(f->backend, ucb_model_arch(f->model), 7, FIXTURE_CTX,
                              &run->forward, &err),
             err);
    CHECK_OK(ucb_loader_embed(originals, f->none, &p.tally, f->text.ids, FIXTURE_WINDOWS,
                              f->start, run->x, &err),
             err);
    for (uint32_t i = 0; i < FIXTURE_LAYERS; i++) {
        CHECK_OK(
            ucb_loader_layer(p.loader, &chain, i, &p.tally, p.calibrator, &layer, &err),
            err);
        CHECK_OK(ucb_loader_layer(originals, f->none, i, &p.tally, NULL, &original, &err),
                 err);
        run_layer(run, f, is_sequential ? &layer : &original);
        for (int k = 0; k < N_SHARED; k++) {
            const struct noted *n = fixture_noted(
                ucb_test_path("layers.%u.%s", i, shared[k].matrix));
            CHECK(calib_equals(&n->calib, &run->found[shared[k].input], needs, n->n_in));
            CHECK_EQ(n->calib.n_tokens, ROWS);
            CHECK_EQ(n->calib.n_sequences, FIXTURE_WINDOWS);
        }
    }
    end_pass(&p);
    ucb_loader_close(originals);
    close_run(run);
    free(run);
}

TEST(parallel_statistics_are_those_of_the_original)
{
    struct calib_fixture f;
    calib_fixture_open(&f, 2, 16);
    check_pass(&f, ALL, false);
    calib_fixture_close(&f);
}

TEST(sequential_statistics_are_those_of_a_model_whose_weights_were_replaced)
{
    struct calib_fixture f;
    calib_fixture_open(&f, 2, 16);
    check_pass(&f, ALL, true);
    calib_fixture_close(&f);
}

TEST(the_mode_of_a_spec_overrules_that_of_the_method)
{
    struct calib_fixture f;
    struct ucb_chain chain;
    struct ucb_err err;
    struct pass p;
    struct ucb_layer layer;
    double sum[2][2]; /* [mode][sequential method] of one statistic of the second layer */
    for (int mode = 0; mode < 2; mode++)
        for (int sequential = 0; sequential < 2; sequential++) {
            calib_fixture_open(&f, 1, 16);
            f.text.spec.mode = mode ? UCB_CALIB_SEQUENTIAL : UCB_CALIB_PARALLEL;
            chain = fixture_chain(UCB_NEEDS_DIAG, sequential);
            CHECK_OK(begin_pass(&p, &f, &chain, &err), err);
            for (uint32_t i = 0; i < FIXTURE_LAYERS; i++)
                CHECK_OK(ucb_loader_layer(p.loader, &chain, i, &p.tally, p.calibrator,
                                          &layer, &err),
                         err);
            sum[mode][sequential] =
                fixture_noted("layers.1.mlp.down_proj")->calib.sq_mean[0];
            end_pass(&p);
            calib_fixture_close(&f);
        }
    CHECK(sum[0][0] == sum[0][1]);
    CHECK(sum[1][0] == sum[1][1]);
    CHECK(sum[0][0] != sum[1][0]);
}

TEST(matrices_that_a_method_groups_come_in_one_call_and_each_is_decoded)
{
    struct calib_fixture f;
    struct ucb_chain chain = fixture_chain(UCB_NEEDS_DIAG, false);
    struct ucb_err err;
    struct pass p;
    struct ucb_layer layer;
    calib_fixture_open(&f, 1, 16);
    CHECK_OK(begin_pass(&p, &f, &chain, &err), err);
    CHECK_OK(ucb_loader_layer(p.loader, &chain, 0, &p.tally, p.calibrator, &layer, &err),
             err);
    CHECK_EQ(fixture_method.n_noted, 7);
    CHECK_EQ(fixture_noted("q_proj")->n_src, 3);
    CHECK_EQ(fixture_noted("o_proj")->n_src, 1);
    CHECK_EQ(fixture_noted("gate_proj")->n_src, 2);
    CHECK_EQ(fixture_noted("down_proj")->n_src, 1);
    CHECK_EQ(p.tally.n_decoded_twice, 7);
    CHECK_EQ(p.tally.n_decodes_differing, 0);
    CHECK_EQ(p.tally.n_weights, 64 * (64 + 32 + 32 + 64) + 3 * 64 * 128);
    CHECK_EQ(p.tally.part_bytes[UCB_PART_CODES], 4 * p.tally.n_weights);
    CHECK_EQ(p.tally.extra_bytes, 0);
    end_pass(&p);
    calib_fixture_close(&f);
}

/* ---- what is kept ---- */

/* Runs a chain over all layers; what it noted stays until the next call. */
static void run_pass(struct calib_fixture *f, uint32_t needs, bool is_sequential,
                     char digest[UCB_SHA256_HEX])
{
    struct ucb_chain chain = fixture_chain(needs, is_sequential);
    struct ucb_layer layer;
    struct ucb_err err;
    struct pass p;
    CHECK_OK(begin_pass(&p, f, &chain, &err), err);
    for (uint32_t i = 0; i < FIXTURE_LAYERS; i++)
        CHECK_OK(
            ucb_loader_layer(p.loader, &chain, i, &p.tally, p.calibrator, &layer, &err),
            err);
    end_pass(&p);
    memcpy(digest, p.digest, UCB_SHA256_HEX);
}

/* How many sets there are; the folder of the last is written to out. */
static int count_sets(const struct calib_fixture *f, char *out, size_t size)
{
    int n = 0;
    DIR *folder = opendir(ucb_test_path("%s/calib", f->options.cache));
    if (folder == NULL) return 0;
    for (struct dirent *e; (e = readdir(folder)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        n++;
        snprintf(out, size, "%s/calib/%s", f->options.cache, e->d_name);
    }
    closedir(folder);
    return n;
}

/* When a file was written, so that a second writing shows. */
static long long stamp_of(const char *folder, const char *name)
{
    struct stat info;
    CHECK(stat(ucb_test_path("%s/%s", folder, name), &info) == 0);
    return (long long)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
}

/* Of q and down, the first and the last of seven matrices. */
static const char first_file[] = "layer-000-000.safetensors",
                  last_file[] = "layer-001-006.safetensors";

/* Out of what the next pass forgets; put it back to be freed. */
static struct noted take_noted(const char *name)
{
    struct noted *n = (struct noted *)(uintptr_t)fixture_noted(name), taken = *n;
    *n = (struct noted){.name = ""};
    return taken;
}

static void check_reuse(bool is_sequential)
{
    struct calib_fixture f;
    char folder[1024], digest[2][UCB_SHA256_HEX];
    calib_fixture_open(&f, 2, 16);
    run_pass(&f, ALL, is_sequential, digest[0]);
    CHECK_EQ(count_sets(&f, folder, sizeof(folder)), 1);
    struct noted first = take_noted("layers.1.mlp.down_proj");
    long long written = stamp_of(folder, first_file), last = stamp_of(folder, last_file),
              done = stamp_of(folder, "complete");
    run_pass(&f, ALL, is_sequential, digest[1]);
    const struct noted *second = fixture_noted("layers.1.mlp.down_proj");
    CHECK(calib_equals(&second->calib, &first.calib, ALL, 128));
    CHECK_TEXT(digest[1], digest[0]);
    CHECK(stamp_of(folder, first_file) == written);
    CHECK(stamp_of(folder, last_file) == last);
    CHECK(stamp_of(folder, "complete") == done);
    CHECK_EQ(count_sets(&f, folder, sizeof(folder)), 1);
    fixture_forget();
    fixture_method.noted[0] = first;
    fixture_method.n_noted = 1;
    calib_fixture_close(&f);
}

TEST(saved_statistics_are_reused_and_have_the_same_bits)
{
    check_reuse(false);
    check_reuse(true);
}

TEST(a_saved_set_serves_a_chain_that_needs_less_of_it)
{
    struct calib_fixture f;
    char folder[1024], digest[UCB_SHA256_HEX];
    calib_fixture_open(&f, 1, 16);
    run_pass(&f, UCB_NEEDS_DIAG | UCB_NEEDS_H, false, digest);
    long long written = stamp_of((count_sets(&f, folder, sizeof(folder)), folder),
                                 first_file);
    check_pass(&f, UCB_NEEDS_DIAG, false);
    check_pass(&f, UCB_NEEDS_H, false);
    CHECK_EQ(count_sets(&f, folder, sizeof(folder)), 1);
    CHECK(stamp_of(folder, first_file) == written);
    check_pass(&f, UCB_NEEDS_ABS, false);
    CHECK_EQ(count_sets(&f, folder, sizeof(folder)), 2);
    calib_fixture_close(&f);
}

TEST(a_set_is_named_by_all_that_its_bits_depend_on)
{
    struct calib_fixture f;
    char folder[1024], digest[UCB_SHA256_HEX];
    int n = 0;
    calib_fixture_open(&f, 1, 16);
    run_pass(&f, UCB_NEEDS_DIAG, false, digest);
    CHECK_EQ(count_sets(&f, folder, sizeof(folder)), ++n);
    f.options.seed = 2; /* nothing to the original's statistics */
    f.options.scope = "linear";
    f.options.batch = 5;
    f.text.spec.mode = UCB_CALIB_PARALLEL;
    run_pass(&f, UCB_NEEDS_DIAG, false, digest);
    CHECK_EQ(count_sets(&f, folder, sizeof(folder)), n);
    f.text.ids[5] ^= 1;
    run_pass(&f, UCB_NEEDS_DIAG, false, digest);
    CHECK_EQ(count_sets(&f, folder, sizeof(folder)), ++n);
    f.text.digest[0] = 'f';
    run_pass(&f, UCB_NEEDS_DIAG, false, digest);
    CHECK_EQ(count_sets(&f, folder, sizeof(folder)), ++n);
    f.options.model_digest = "another";
    run_pass(&f, UCB_NEEDS_DIAG, false, digest);
    CHECK_EQ(count_sets(&f, folder, sizeof(folder)), ++n);
    f.text.spec.mode = UCB_CALIB_SEQUENTIAL;
    run_pass(&f, UCB_NEEDS_DIAG, false, digest);
    CHECK_EQ(count_sets(&f, folder, sizeof(folder)), ++n);
    f.options.seed = 3; /* an encoder may draw from it */
    run_pass(&f, UCB_NEEDS_DIAG, false, digest);
    CHECK_EQ(count_sets(&f, folder, sizeof(folder)), ++n);
    calib_fixture_close(&f);
}

TEST(statistics_depend_on_no_thread_and_no_batch)
{
    struct calib_fixture f;
    struct ucb_file a, b;
    struct ucb_err err;
    char folder[2][1024], digest[2][UCB_SHA256_HEX];
    for (int i = 0; i < 2; i++) {
        calib_fixture_open(&f, i == 0 ? 1 : 7, i == 0 ? 1 : 64);
        run_pass(&f, ALL, true, digest[i]);
        CHECK_EQ(count_sets(&f, folder[i], sizeof(folder[i])), 1);
        calib_fixture_close(&f);
    }
    CHECK_TEXT(digest[0], digest[1]);
    CHECK_OK(ucb_file_map(ucb_test_path("%s/complete", folder[0]), &a, &err), err);
    CHECK_OK(ucb_file_map(ucb_test_path("%s/complete", folder[1]), &b, &err), err);
    CHECK(a.n_bytes == b.n_bytes && memcmp(a.data, b.data, a.n_bytes) == 0);
    ucb_file_unmap(&a);
    ucb_file_unmap(&b);
}

/* ---- what is never believed ---- */

static void cut(const char *path)
{
    struct stat info;
    CHECK(stat(path, &info) == 0 && truncate(path, info.st_size - 1) == 0);
}

static void flip(const char *path)
{
    FILE *file = fopen(path, "r+b");
    CHECK(file != NULL && fseek(file, -3, SEEK_END) == 0);
    int c = getc(file);
    CHECK(fseek(file, -3, SEEK_END) == 0 && putc(c ^ 4, file) != EOF && fclose(file) == 0);
}

static void lose(const char *path)
{
    CHECK(unlink(path) == 0);
}

static void replace(const char *path)
{
    struct ucb_err err;
    CHECK_OK(ucb_file_write(path, "foreign", 7, &err), err);
}

static void check_damage(void (*damage)(const char *), const char *name, bool is_sequential)
{
    struct calib_fixture f;
    char folder[1024], digest[2][UCB_SHA256_HEX], whole[2][UCB_SHA256_HEX];
    struct ucb_err err;
    calib_fixture_open(&f, 1, 16);
    run_pass(&f, ALL, is_sequential, digest[0]);
    CHECK_EQ(count_sets(&f, folder, sizeof(folder)), 1);
    const char *path = ucb_test_path("%s/%s", folder, name);
    CHECK_OK(ucb_sha256_file(path, whole[0], &err), err);
    damage(path);
    long long written = stamp_of(folder, "layer-000-003.safetensors");
    run_pass(&f, ALL, is_sequential, digest[1]);
    CHECK_TEXT(digest[1], digest[0]);
    CHECK_OK(ucb_sha256_file(path, whole[1], &err), err);
    CHECK_TEXT(whole[1], whole[0]);
    CHECK(stamp_of(folder, "layer-000-003.safetensors") > written);
    calib_fixture_close(&f);
}

TEST(a_damaged_set_is_computed_again)
{
    static void (*const damages[])(const char *) = {cut, flip, lose, replace};
    for (int sequential = 0; sequential < 2; sequential++)
        for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
            check_damage(damages[i], last_file, sequential);
            check_damage(damages[i], "complete", sequential);
        }
}

TEST(a_pass_that_ends_early_leaves_no_complete_set)
{
    struct calib_fixture f;
    struct ucb_chain chain = fixture_chain(ALL, true);
    struct ucb_layer layer;
    struct ucb_err err;
    struct pass p;
    char folder[1024];
    calib_fixture_open(&f, 1, 16);
    CHECK_OK(begin_pass(&p, &f, &chain, &err), err);
    CHECK_OK(ucb_loader_layer(p.loader, &chain, 0, &p.tally, p.calibrator, &layer, &err),
             err);
    end_pass(&p);
    CHECK_EQ(count_sets(&f, folder, sizeof(folder)), 1);
    CHECK(access(ucb_test_path("%s/%s", folder, first_file), F_OK) == 0);
    CHECK(access(ucb_test_path("%s/complete", folder), F_OK) != 0);
    check_pass(&f, ALL, true);
    CHECK(access(ucb_test_path("%s/complete", folder), F_OK) == 0);
    calib_fixture_close(&f);
}

TEST(a_file_that_changes_under_a_calibrator_is_an_error)
{
    struct calib_fixture f;
    struct ucb_chain chain = fixture_chain(ALL, false);
    struct ucb_layer layer;
    struct ucb_err err;
    struct pass p;
    char folder[1024];
    calib_fixture_open(&f, 1, 16);
    CHECK_OK(begin_pass(&p, &f, &chain, &err), err);
    CHECK_EQ(count_sets(&f, folder, sizeof(folder)), 1);
    flip(ucb_test_path("%s/%s", folder, first_file));
    CHECK_STATUS(
        ucb_loader_layer(p.loader, &chain, 0, &p.tally, p.calibrator, &layer, &err),
        UCB_CORRUPT, err);
    CHECK_HAS(err.text, "changed while it was in use");
    end_pass(&p);
    calib_fixture_close(&f);
}

TEST(a_cache_that_cannot_be_written_stops_parallel_calibration_only)
{
    struct calib_fixture f;
    struct ucb_chain chain = fixture_chain(UCB_NEEDS_DIAG, false);
    struct ucb_err err;
    struct pass p;
    calib_fixture_open(&f, 1, 16);
    const char *file = ucb_test_path("%s/file", ucb_test_folder());
    CHECK_OK(ucb_file_write(file, "x", 1, &err), err);
    f.options.cache = file;
    CHECK_STATUS(begin_pass(&p, &f, &chain, &err), UCB_IO, err);
    end_pass(&p);
    check_pass(&f, UCB_NEEDS_DIAG, true);
    calib_fixture_close(&f);
}

TEST(a_text_that_a_model_cannot_run_is_refused)
{
    struct calib_fixture f;
    struct ucb_chain chain = fixture_chain(UCB_NEEDS_DIAG, false);
    struct ucb_err err;
    struct pass p;
    const char *learned = ucb_test_path("%s/tests/golden/arch/gpt2-bare-fp32",
                                        ucb_test_root());
    calib_fixture_open_model(&f, learned, 1, 16);
    f.text.spec.ctx = 65; /* it has 64 */
    CHECK_STATUS(begin_pass(&p, &f, &chain, &err), UCB_USAGE, err);
    CHECK_HAS(err.text, "64 positions");
    end_pass(&p);
    calib_fixture_close(&f);
    calib_fixture_open(&f, 1, 16);
    f.text.n_windows = 0;
    CHECK_STATUS(begin_pass(&p, &f, &chain, &err), UCB_USAGE, err);
    end_pass(&p);
    f.text.n_windows = FIXTURE_WINDOWS;
    f.text.ids[3] = 258;
    CHECK_STATUS(begin_pass(&p, &f, &chain, &err), UCB_USAGE, err);
    CHECK_HAS(err.text, "258");
    end_pass(&p);
    calib_fixture_close(&f);
}

TEST(hidden_states_that_exceed_the_memory_go_to_a_file_and_change_nothing)
{
    struct calib_fixture f;
    calib_fixture_open(&f, 1, 16);
    f.options.memory_bytes = 100;
    check_pass(&f, ALL, true);
    calib_fixture_close(&f);
}

TEST(statistics_that_do_not_fit_are_collected_one_input_at_a_time_with_the_same_bits)
{
    struct calib_fixture f;
    struct ucb_chain chain = fixture_chain(ALL, false);
    struct ucb_err err;
    uint64_t peak[2];
    for (int i = 0; i < 2; i++) {
        struct ucb_calibrator *c;
        calib_fixture_open(&f, 1, 16);
        f.options.memory_bytes = i == 0 ? (uint64_t)1 << 30 : 100;
        uint64_t before = ucb_mem_bytes();
        ucb_mem_restart_peak();
        CHECK_OK(ucb_calibrator_open(&f.options, &chain, NULL, &c, &err), err);
        peak[i] = ucb_mem_peak_bytes() - before;
        ucb_calibrator_close(c);
        check_pass(&f, ALL, false);
        calib_fixture_close(&f);
    }
    /* A layer has four inputs; together, three of 64 values lie beside the one of 128. A
     * copy of the hidden states of a group of windows is what a run apart needs more. */
    uint64_t narrow = ucb_collector_bytes(ALL, 64, FIXTURE_WINDOWS * FIXTURE_CTX);
    CHECK(peak[1] + 2 * narrow < peak[0]);
}
