/* One model under many names: folder or file, absolute or relative, with spaces and letters
 * of other scripts, from any working directory. Digest, logits and cells are the same. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "model/checkpoint.h"
#include "tiny.h"

#define ODD_NAME "m\xc3\xb6\x64\x65l \xe6\xa8\xa1\xe5\x9e\x8b 'q' $x"
#define ODD "with spaces/" ODD_NAME
#define GGUF "/tests/golden/arch/llama-tied-gqa/model-f16.gguf"

static struct ucb_err err;
static char out[1 << 16];

static const char *in(const char *path)
{
    return ucb_test_path("%s/%s", ucb_test_folder(), path);
}

/* Runs the program in `folder` with the given arguments (no shell: names are taken as they
 * are); stdout goes to `out`. Returns the exit code. */
static int run_in(const char *folder, const char *const *args)
{
    const char *argv[24] = {ucb_test_program()};
    int ends[2];
    size_t n = 0;
    for (size_t i = 0; args[i] != NULL; i++) argv[i + 1] = args[i];
    CHECK_EQ(pipe(ends), 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (chdir(folder) != 0 || dup2(ends[1], 1) < 0 || dup2(ends[1], 2) < 0) _exit(99);
        close(ends[0]);
        close(ends[1]);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(99);
    }
    close(ends[1]);
    for (ssize_t got = 1; got > 0 && n < sizeof(out) - 1; n += (size_t)(got > 0 ? got : 0))
        got = read(ends[0], out + n, sizeof(out) - 1 - n);
    out[n] = '\0';
    close(ends[0]);
    int state;
    CHECK_EQ(waitpid(child, &state, 0), child);
    CHECK(WIFEXITED(state));
    return WEXITSTATUS(state);
}
#define RUN_IN(folder, ...)                                                            \
    do {                                                                               \
        int code_ = run_in(folder, (const char *const[]){__VA_ARGS__, NULL});          \
        if (code_ != 0)                                                                \
            ucb_test_fail(__FILE__, __LINE__, "exit code %d, expected 0; it said: %s", \
                          code_, out);                                                 \
    } while (0)

/* The 64 digits behind "sha256". */
static const char *sha256_said(void)
{
    const char *at = strstr(out, "sha256");
    CHECK(at != NULL);
    at += strcspn(at, ":") + 1;
    return ucb_test_path("%.64s", at + strspn(at, " \""));
}

static bool same_files(const char *a, const char *b)
{
    struct ucb_file x, y;
    CHECK_OK(ucb_file_map(a, &x, &err), err);
    CHECK_OK(ucb_file_map(b, &y, &err), err);
    bool same = x.n_bytes == y.n_bytes && memcmp(x.data, y.data, x.n_bytes) == 0;
    ucb_file_unmap(&x);
    ucb_file_unmap(&y);
    return same;
}

static void write_ids(void)
{
    static const int32_t ids[] = {256, 72, 101, 108, 108, 111};
    const struct ucb_tensor t = {.name = "input_ids.0",
                                 .dtype = UCB_I32,
                                 .n_dims = 1,
                                 .shape = {6},
                                 .n_elements = 6,
                                 .data = (const uint8_t *)ids,
                                 .n_bytes = sizeof(ids)};
    CHECK_OK(ucb_safetensors_write(in("ids.safetensors"), &t, 1, &err), err);
}

/* A way to name the model: from where, and how. */
struct way {
    const char *folder, *model;
};

static void check_ways(const struct way *ways, size_t n)
{
    char digest[65] = "", cells[65] = "";
    write_ids();
    for (size_t i = 0; i < n; i++) {
        const char *dump = in(ucb_test_path("dump%zu", i)),
                   *db = in(ucb_test_path("%zu.db", i)), *from = ways[i].folder,
                   *model = ways[i].model;
        RUN_IN(from, "info", model, "--json");
        if (i == 0) snprintf(digest, sizeof(digest), "%s", sha256_said());
        CHECK_TEXT(sha256_said(), digest);
        RUN_IN(from, "dump", "--model", model, "--ids", in("ids.safetensors"), "--out",
               dump);
        CHECK(same_files(dump, in("dump0")));
        RUN_IN(from, "sweep", "--model", model, "--method", "nf4", "--task", "lambada:n=2",
               "--db", db, "--dry-run");
        CHECK_HAS(out, "3 cells, 0 finished, 3 to do");
        RUN_IN(from, "sweep", "--model", model, "--method", "nf4", "--task", "lambada:n=2",
               "--db", db, "--quiet");
        RUN_IN(from, "digest", "--db", db);
        if (i == 0) snprintf(cells, sizeof(cells), "%.64s", out);
        CHECK_TEXT(ucb_test_path("%.64s", out), cells);
    }
}

TEST(a_safetensors_model_is_the_same_by_folder_file_and_relative_name)
{
    ucb_tiny_model(in(ODD "/org/model"));
    CHECK_EQ(symlink(in(ODD "/org"), in("link")), 0);
    const struct way ways[] = {
        {"/", in(ODD "/org/model")},
        {"/", in(ODD "/org/model/model.safetensors")},
        {in(ODD), "org/model"},
        {in(ODD), "./org/model/"},
        {in(ODD), "org/model/model.safetensors"},
        {in(ODD "/org/model"), "."},
        {in(ODD "/org/model"), "model.safetensors"},
        {in(ODD "/org"), "model"},
        {in("link"), "../org/model"},
        {"/", in("link/model")},
    };
    check_ways(ways, sizeof(ways) / sizeof(ways[0]));
}

TEST(weights_of_any_name_are_found_by_their_folder_when_they_are_the_only_ones)
{
    ucb_tiny_model(in(ODD));
    CHECK_EQ(rename(in(ODD "/model.safetensors"), in(ODD "/my weights.safetensors")), 0);
    const struct way ways[] = {{"/", in(ODD)},
                               {in(ODD), "my weights.safetensors"},
                               {in("with spaces"), "./" ODD_NAME "/"}};
    check_ways(ways, sizeof(ways) / sizeof(ways[0]));
    CHECK_OK(ucb_file_write(in(ODD "/other.gguf"), "GGUF", 4, &err), err);
    CHECK_EQ(run_in("/", (const char *const[]){"info", in(ODD), NULL}), 3);
    CHECK_HAS(out, "holds 1 .gguf files and 1 .safetensors files");
    CHECK_HAS(out, "give the path of one file");
}

TEST(a_gguf_is_the_same_by_folder_file_and_relative_name)
{
    const char *folder = in(ODD), *file = in(ODD "/a model.gguf");
    struct ucb_file gguf;
    CHECK_OK(ucb_folder_make(folder, &err), err);
    CHECK_OK(ucb_file_map(ucb_test_path("%s" GGUF, ucb_test_root()), &gguf, &err), err);
    CHECK_OK(ucb_file_write(file, gguf.data, gguf.n_bytes, &err), err);
    ucb_file_unmap(&gguf);
    RUN_IN("/", "info", file, "--json");
    const char *digest = sha256_said();
    const struct way ways[] = {{"/", folder},
                               {folder, "."},
                               {folder, "a model.gguf"},
                               {in("with spaces"), ODD_NAME}};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        RUN_IN(ways[i].folder, "info", ways[i].model, "--json");
        CHECK_TEXT(sha256_said(), digest);
    }
}

TEST(a_name_of_the_catalogue_comes_before_a_path_and_a_path_before_a_repository)
{
    const char *cache = in("cache"), *here = in("here");
    ucb_tiny_model(in("here/Qwen/Qwen3-0.6B"));
    ucb_tiny_model(in("here/qwen3-0.6b"));
    ucb_tiny_model_scaled(in("cache/models/qwen3-0.6b"), 2.0f);
    RUN_IN("/", "info", in("cache/models/qwen3-0.6b"), "--json");
    const char *cached = sha256_said();
    RUN_IN(here, "info", "qwen3-0.6b", "--cache", cache, "--json");
    CHECK_TEXT(sha256_said(), cached);
    RUN_IN("/", "info", "Qwen/Qwen3-0.6B", "--cache", cache, "--json");
    CHECK_TEXT(sha256_said(), cached);
    RUN_IN(here, "info", "Qwen/Qwen3-0.6B", "--cache", cache, "--json");
    CHECK(strcmp(sha256_said(), cached) != 0);
    RUN_IN(here, "info", "./qwen3-0.6b", "--cache", cache, "--json");
    CHECK(strcmp(sha256_said(), cached) != 0);
}

TEST(the_list_of_models_says_what_is_in_the_cache)
{
    ucb_tiny_model(in("cache/models/qwen3-0.6b"));
    RUN_IN("/", "list", "models", "--cache", in("cache"));
    const char *line = strstr(out, "qwen3-0.6b ");
    CHECK(line != NULL);
    CHECK_HAS(ucb_test_path("%.60s", line), " yes ");
    line = strstr(out, "llama-3.1-8b ");
    CHECK(line != NULL);
    CHECK_HAS(ucb_test_path("%.60s", line), " no ");
    CHECK_HAS(ucb_test_path("%.140s", line), "gated");
    CHECK_HAS(ucb_test_path("%.140s", line), "meta-llama/Llama-3.1-8B");
}

TEST(a_sweep_of_a_model_that_is_not_here_says_which_files_to_put_where)
{
    const char *const args[] = {"sweep",    "--model", "llama-3.1-8b", "--db",
                                in("r.db"), "--cache", in("a cache"),  NULL};
    CHECK_EQ(run_in("/", args), 3);
    CHECK_HAS(out, "scripts/fetch.sh model llama-3.1-8b --cache '");
    CHECK_HAS(out, "(gated: HF_TOKEN must hold an access token)");
    CHECK_HAS(out,
              "put these files of https://huggingface.co/meta-llama/Llama-3.1-8B into");
    CHECK_HAS(out, "/a cache/models/llama-3.1-8b: config.json, tokenizer.json");
}
