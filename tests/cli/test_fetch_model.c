/* scripts/fetch.sh model: repositories of a hub that is a server of this machine, which
 * drops connections, serves wrong files or nothing. The model is the made-up one. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/sha256.h"
#include "http_fixture.h"
#include "tiny.h"

#define FILES "Qwen/Qwen3-0.6B/resolve/main"
#define GATED_FILES "meta-llama/Llama-3.2-1B/resolve/main"
#define CACHED "cache/models/qwen3-0.6b"
#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static struct ucb_err err;

static const char *in(const char *path)
{
    return ucb_test_path("%s/%s", ucb_test_folder(), path);
}

static const char *read_text(const char *path)
{
    static char text[16384];
    struct ucb_file file;
    CHECK_OK(ucb_file_map(path, &file, &err), err);
    snprintf(text, sizeof(text), "%.*s", (int)file.n_bytes,
             file.data == NULL ? "" : (const char *)file.data);
    ucb_file_unmap(&file);
    return text;
}

static const char *messages(void)
{
    return read_text(in("messages"));
}

static const char *requests(void)
{
    return read_text(in("requests"));
}

static void write_text(const char *path, const char *text)
{
    CHECK_OK(ucb_file_write(path, text, strlen(text), &err), err);
}

static bool there(const char *path)
{
    return access(in(path), F_OK) == 0;
}

static uint64_t size_of(const char *path)
{
    struct stat info;
    CHECK_EQ(stat(in(path), &info), 0);
    return (uint64_t)info.st_size;
}

static int shell(const char *command)
{
    int state = system(
        ucb_test_path("( %s ) > '%s' 2> '%s'", command, in("out"), in("messages")));
    CHECK(WIFEXITED(state));
    return WEXITSTATUS(state);
}

/* The hub of these tests, whose `files` folder is the made-up model. */
static void make_hub(const char *files)
{
    if (system("command -v curl > /dev/null 2>&1") != 0) SKIP("no curl on this machine");
    ucb_tiny_model(in(ucb_test_path("hub/%s", files)));
    write_text(in("requests"), "");
}

static int fetch(int port, const char *name, const char *before)
{
    return shell(
        ucb_test_path("%s UCBENCH_FETCH_TRIES=3 UCBENCH_FETCH_PAUSE=0 "
                      "no_proxy=127.0.0.1,localhost sh '%s/scripts/fetch.sh' model %s "
                      "--from http://127.0.0.1:%d --cache '%s'",
                      before, ucb_test_root(), name, port, in("cache")));
}

/* One run against a server with these rules. */
static int fetch_with(const struct ucb_http_rule *rules, size_t n_rules)
{
    int code = fetch(ucb_http_start(in("hub"), in("requests"), rules, n_rules),
                     "qwen3-0.6b", "");
    ucb_http_stop();
    return code;
}
#define FETCH(...)                                                   \
    fetch_with((const struct ucb_http_rule[]){__VA_ARGS__},          \
               sizeof((const struct ucb_http_rule[]){__VA_ARGS__}) / \
                   sizeof(struct ucb_http_rule))
static const struct ucb_http_rule as_it_is = {.path = "/nothing"};

static void check_complete(void)
{
    CHECK_EQ(shell(ucb_test_path("cmp '%s' '%s'", in("hub/" FILES "/model.safetensors"),
                                 in(CACHED "/model.safetensors"))),
             0);
    CHECK_EQ(shell(ucb_test_path("cd '%s' && sha256sum -c SHA256SUMS", in(CACHED))), 0);
    CHECK_EQ(shell(ucb_test_path("UCBENCH_CACHE='%s' %s info qwen3-0.6b", in("cache"),
                                 ucb_test_program())),
             0);
}

TEST(a_model_of_the_hub_is_fetched_once_and_then_found_by_its_name)
{
    make_hub(FILES);
    CHECK_EQ(FETCH(as_it_is), 0);
    CHECK_HAS(messages(), "qwen3-0.6b is complete in");
    CHECK_HAS(messages(), "has no tokenizer_config.json; that is fine");
    check_complete();
    write_text(in("requests"), "");
    CHECK_EQ(FETCH(as_it_is), 0);
    CHECK(strstr(requests(), "model.safetensors ") == NULL);
}

TEST(a_dropped_connection_is_resumed_within_the_run)
{
    make_hub(FILES);
    CHECK_EQ(FETCH({.path = "/model.safetensors", .times = 2, .cut = 5000}), 0);
    CHECK_HAS(messages(), "dropped before the file's end; trying again");
    CHECK_HAS(requests(), "model.safetensors range=5000");
    CHECK_HAS(requests(), "model.safetensors range=10000");
    check_complete();
}

TEST(a_download_that_is_given_up_goes_on_in_the_next_run)
{
    make_hub(FILES);
    CHECK_EQ(FETCH({.path = "/model.safetensors", .cut = 5000}), 4);
    CHECK_HAS(messages(), "3 times in a row; 15000 bytes are kept");
    CHECK(!there(CACHED "/model.safetensors"));
    CHECK_EQ(shell(ucb_test_path("%s info qwen3-0.6b --cache '%s'", ucb_test_program(),
                                 in("cache"))),
             3);
    CHECK_HAS(messages(), "the weights are missing");
    CHECK_EQ(FETCH(as_it_is), 0);
    CHECK_HAS(requests(), "model.safetensors range=15000");
    check_complete();
}

TEST(a_server_without_ranges_is_asked_from_the_start)
{
    make_hub(FILES);
    CHECK_EQ(FETCH({.path = "/model.safetensors", .times = 1, .cut = 5000},
                   {.path = "/model.safetensors", .without_range = true}),
             0);
    CHECK_HAS(messages(), "cannot go on in the middle");
    check_complete();
}

TEST(a_part_that_is_already_all_of_the_file_is_enough)
{
    make_hub(FILES);
    CHECK_OK(ucb_folder_make(in(CACHED), &err), err);
    CHECK_EQ(shell(ucb_test_path("cp '%s' '%s'", in("hub/" FILES "/model.safetensors"),
                                 in(CACHED "/model.safetensors.part"))),
             0);
    CHECK_EQ(FETCH(as_it_is), 0);
    check_complete();
    CHECK(!there(CACHED "/model.safetensors.part"));
}

TEST(a_file_other_than_the_server_announced_is_deleted_with_both_digests_named)
{
    char found[UCB_SHA256_HEX];
    make_hub(FILES);
    CHECK_OK(ucb_sha256_file(in("hub/" FILES "/model.safetensors"), found, &err), err);
    CHECK_EQ(FETCH({.path = "/model.safetensors",
                    .header = "X-Linked-Etag: \"00112233445566778899aabbccddeeff00112233"
                              "445566778899aabbccddeeff\""}),
             3);
    CHECK_HAS(messages(), found);
    CHECK_HAS(messages(), "expected 00112233445566778899aabbccddeeff0011223344556677889");
    CHECK_HAS(messages(), "it was deleted");
    CHECK(!there(CACHED "/model.safetensors"));
    CHECK(!there(CACHED "/model.safetensors.part"));
}

TEST(what_was_fetched_once_is_expected_ever_after)
{
    make_hub(FILES);
    CHECK_EQ(FETCH(as_it_is), 0);
    struct ucb_file file;
    CHECK_OK(ucb_file_map(in(CACHED "/model.safetensors"), &file, &err), err);
    size_t n = file.n_bytes;
    char *bytes = malloc(n);
    CHECK(bytes != NULL);
    memcpy(bytes, file.data, n);
    bytes[n - 100] ^= 1;
    ucb_file_unmap(&file);
    CHECK_OK(ucb_file_write(in("flipped"), bytes, n, &err), err);
    free(bytes);
    /* The cache's copy changes: the program refuses it, fetch.sh brings the right one. */
    CHECK_EQ(shell(ucb_test_path("cp '%s' '%s'", in("flipped"),
                                 in(CACHED "/model.safetensors"))),
             0);
    CHECK_EQ(shell(ucb_test_path("%s info qwen3-0.6b --cache '%s'", ucb_test_program(),
                                 in("cache"))),
             3);
    CHECK_HAS(messages(), "SHA-256 is");
    CHECK_HAS(messages(), "scripts/fetch.sh model qwen3-0.6b");
    CHECK_EQ(FETCH(as_it_is), 0);
    CHECK_HAS(messages(), "is broken: SHA-256");
    check_complete();
    /* The hub's copy changes: it is refused. */
    CHECK_EQ(unlink(in(CACHED "/model.safetensors")), 0);
    CHECK_EQ(shell(ucb_test_path("cp '%s' '%s'", in("flipped"),
                                 in("hub/" FILES "/model.safetensors"))),
             0);
    CHECK_EQ(FETCH(as_it_is), 3);
    CHECK_HAS(messages(), "what was recorded when it was first fetched");
    CHECK(!there(CACHED "/model.safetensors"));
}

TEST(a_page_in_place_of_a_file_is_refused_without_any_digest)
{
    make_hub(FILES);
    write_text(in("hub/" FILES "/model.safetensors"), "<html>Please log in</html>\n");
    CHECK_EQ(FETCH(as_it_is), 3);
    CHECK_HAS(messages(), "do not begin as a safetensors file");
    CHECK(!there(CACHED "/model.safetensors.part"));
    write_text(in("hub/" FILES "/config.json"), "<html>Please log in</html>\n");
    CHECK_EQ(shell(ucb_test_path("rm -r '%s'", in("cache"))), 0);
    CHECK_EQ(FETCH(as_it_is), 3);
    CHECK_HAS(messages(), "config.json: what came");
    CHECK_HAS(messages(), "no JSON object");
}

TEST(a_file_cut_short_by_the_server_is_refused_by_its_own_header)
{
    make_hub(FILES);
    const char *served = in("hub/" FILES "/model.safetensors");
    uint64_t size = size_of("hub/" FILES "/model.safetensors");
    CHECK_EQ(truncate(served, (off_t)size - 10), 0);
    CHECK_EQ(FETCH(as_it_is), 3);
    CHECK_HAS(messages(),
              ucb_test_path("%llu bytes, where its header says %llu",
                            (unsigned long long)size - 10, (unsigned long long)size));
    CHECK(!there(CACHED "/model.safetensors.part"));
}

TEST(a_length_that_is_wrong_is_a_dropped_connection_or_a_file_cut_short)
{
    make_hub(FILES);
    CHECK_EQ(FETCH({.path = "/model.safetensors", .length_more = 100}), 0);
    CHECK_HAS(messages(), "dropped before the file's end");
    check_complete();
    CHECK_EQ(shell(ucb_test_path("rm -r '%s'", in("cache"))), 0);
    CHECK_EQ(FETCH({.path = "/model.safetensors", .length_more = -100}), 3);
    CHECK_HAS(messages(), "bytes, where its header says");
    CHECK(!there(CACHED "/model.safetensors"));
}

TEST(a_server_that_says_nothing_or_is_not_there_is_named)
{
    make_hub(FILES);
    CHECK_EQ(FETCH({.path = "json", .silent = true}), 4);
    CHECK_HAS(messages(), "the server closed the connection, 3 times in a row");
    CHECK_HAS(messages(), "without a network: put config.json");
    CHECK_HAS(messages(), "/" CACHED " by hand");
    int port = ucb_http_start(in("hub"), in("requests"), NULL, 0);
    ucb_http_stop();
    CHECK_EQ(fetch(port, "qwen3-0.6b", ""), 4);
    CHECK_HAS(messages(), "no connection to http://127.0.0.1");
}

TEST(a_server_in_trouble_is_asked_again_and_a_missing_file_is_not)
{
    make_hub(FILES);
    CHECK_EQ(FETCH({.path = "/config.json", .times = 2, .status = 503}), 0);
    CHECK_HAS(messages(), "the server answered 503; trying again");
    CHECK_EQ(shell(ucb_test_path("rm -r '%s'", in("cache"))), 0);
    write_text(in("requests"), "");
    CHECK_EQ(FETCH({.path = "/tokenizer.json", .status = 404}), 3);
    CHECK_HAS(messages(), "has no tokenizer.json");
    CHECK_EQ(
        shell(ucb_test_path("test $(grep -c /tokenizer.json '%s') = 1", in("requests"))),
        0);
}

TEST(a_gated_model_needs_a_token_that_is_sent_and_never_shown)
{
    static const struct ucb_http_rule gated = {.path = "", .token = "hf_Secret1"};
    make_hub(GATED_FILES);
    int port = ucb_http_start(in("hub"), in("requests"), &gated, 1);
    CHECK_EQ(fetch(port, "llama-3.2-1b", "HF_TOKEN= UCBENCH_TOKEN="), 4);
    CHECK_HAS(messages(),
              "answered 401: the repository is gated or does not exist; accept");
    CHECK_HAS(messages(), "HF_TOKEN");
    CHECK_EQ(fetch(port, "llama-3.2-1b", "UCBENCH_TOKEN= HF_TOKEN=hf_Wrong"), 4);
    CHECK_HAS(messages(), "an access token was sent: is it valid");
    CHECK(strstr(messages(), "hf_Wrong") == NULL);
    CHECK_EQ(fetch(port, "llama-3.2-1b", "UCBENCH_TOKEN= HF_TOKEN=hf_Secret1"), 0);
    CHECK(strstr(messages(), "hf_Secret1") == NULL);
    CHECK_HAS(requests(), "token=hf_Secret1");
    CHECK_EQ(fetch(port, "llama-3.2-1b", "HF_TOKEN='a\"b'"), 2);
    ucb_http_stop();
}

TEST(a_redirect_carries_the_announced_digest_and_not_the_token)
{
    char digest[UCB_SHA256_HEX];
    make_hub(GATED_FILES);
    CHECK_OK(ucb_sha256_file(in("hub/" GATED_FILES "/model.safetensors"), digest, &err),
             err);
    CHECK_EQ(
        shell(ucb_test_path("cp '%s' '%s'", in("hub/" GATED_FILES "/model.safetensors"),
                            in("hub/blob"))),
        0);
    const struct ucb_http_rule rules[] = {
        {.path = "/model.safetensors",
         .redirect = "/blob",
         .header = ucb_test_path("X-Linked-Etag: \"%s\"", digest)},
        {.path = "/blob", .times = 1, .cut = 5000}};
    int port = ucb_http_start(in("hub"), in("requests"), rules, 2);
    CHECK_EQ(fetch(port, "llama-3.2-1b", "HF_TOKEN=hf_Secret1"), 0);
    ucb_http_stop();
    CHECK_HAS(messages(), "is there and good (as what the server announced has it)");
    CHECK_HAS(requests(), "/model.safetensors range=- token=hf_Secret1");
    CHECK_HAS(requests(), "/blob range=- token=-");
    CHECK_HAS(requests(), "/blob range=5000 token=-");
}

TEST(a_refusal_by_403_names_the_licence_and_an_open_model_gets_no_token)
{
    make_hub(FILES);
    static const struct ucb_http_rule refuse = {.path = "", .status = 403};
    int port = ucb_http_start(in("hub"), in("requests"), &refuse, 1);
    CHECK_EQ(fetch(port, "qwen3-0.6b", "HF_TOKEN=hf_Secret1"), 4);
    CHECK_HAS(messages(), "the server answered 403");
    CHECK(strstr(requests(), "hf_Secret1") == NULL);
    ucb_http_stop();
}

/* ---- shards ---- */

/* The made-up model as one shard, with an index whose weight_map is `map`. */
static void make_shards(const char *map)
{
    make_hub(FILES);
    CHECK_EQ(rename(in("hub/" FILES "/model.safetensors"),
                    in("hub/" FILES "/model-00001-of-00001.safetensors")),
             0);
    write_text(
        in("hub/" FILES "/model.safetensors.index.json"),
        ucb_test_path("{\"metadata\": {\"total_size\": 1},\n \"weight_map\": %s}\n", map));
}

/* The real map: every tensor of the shard. */
static const char *whole_map(void)
{
    static char map[8192];
    CHECK_EQ(
        shell(ucb_test_path(
            "tail -c +9 '%s' | grep -ao '\"[a-z_.0-9]*[.]weight\"' | sed "
            "'s/$/: \"model-00001-of-00001.safetensors\"/' | paste -sd, | sed 's/^/{/; "
            "s/$/}/'",
            in("hub/" FILES "/model.safetensors"))),
        0);
    snprintf(map, sizeof(map), "%s", read_text(in("out")));
    return map;
}

TEST(shards_are_taken_from_the_index_which_comes_last)
{
    make_hub(FILES);
    const char *map = whole_map();
    char index[9000];
    CHECK_EQ(rename(in("hub/" FILES "/model.safetensors"),
                    in("hub/" FILES "/model-00001-of-00001.safetensors")),
             0);
    snprintf(index, sizeof(index),
             "{\"metadata\": {\"total_size\": 1}, \"weight_map\": %s}", map);
    write_text(in("hub/" FILES "/model.safetensors.index.json"), index);
    CHECK_EQ(FETCH({.path = "-00001.safetensors", .cut = 100}), 4);
    CHECK(!there(CACHED "/model.safetensors.index.json"));
    CHECK_EQ(FETCH(as_it_is), 0);
    CHECK_EQ(shell(ucb_test_path("cd '%s' && sha256sum -c SHA256SUMS", in(CACHED))), 0);
    CHECK_EQ(shell(ucb_test_path("%s info qwen3-0.6b --cache '%s'", ucb_test_program(),
                                 in("cache"))),
             0);
    CHECK_EQ(unlink(in(CACHED "/model-00001-of-00001.safetensors")), 0);
    CHECK_EQ(shell(ucb_test_path("%s info qwen3-0.6b --cache '%s'", ucb_test_program(),
                                 in("cache"))),
             3);
    CHECK_HAS(messages(), "model-00001-of-00001.safetensors: no such file");
    CHECK_EQ(FETCH(as_it_is), 0);
    CHECK(there(CACHED "/model-00001-of-00001.safetensors"));
}

TEST(an_index_that_leads_out_of_the_folder_or_is_none_is_refused)
{
    static const char *const maps[] = {
        "{\"a\": \"../x.safetensors\"}",
        "{\"a\": \"/x.safetensors\"}",
        "{\"a\": \"x/../y.safetensors\"}",
        "{\"a\": \"-o.safetensors\"}",
        "{\"a\": \"x.sh\"}",
        "{\"a\": \"x\\u002e.safetensors\"}",
        "{\"a\": \"x y.safetensors\"}",
        "{\"a\": \".x.safetensors\"}",
        "{\"a\": {\"b\": \"x.safetensors\"}}",
        "{\"a\", \"x.safetensors\"}",
        "[\"x.safetensors\"]",
        "{\"a\": \"x$(id).safetensors\"}",
        "{\"a\": \"x.safetensors\", \"b\": \"..safetensors\"}",
    };
    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
        make_shards(maps[i]);
        if (FETCH(as_it_is) != 3)
            ucb_test_fail(__FILE__, __LINE__, "%s: %s", maps[i], messages());
        CHECK_HAS(messages(), "lie beside it; it was deleted");
        CHECK(strstr(requests(), "x.safetensors ") == NULL);
        CHECK(!there(CACHED "/model.safetensors.index.json"));
        CHECK(!there("cache/models/x.safetensors"));
    }
}

/* ---- commits, other repositories, names ---- */

TEST(all_files_come_from_the_commit_of_the_first_one)
{
    make_hub(FILES);
    CHECK_EQ(shell(ucb_test_path("cp -r '%s' '%s'", in("hub/" FILES),
                                 in("hub/Qwen/Qwen3-0.6B/resolve/" COMMIT))),
             0);
    CHECK_EQ(FETCH({.path = "/config.json", .header = "X-Repo-Commit: " COMMIT}), 0);
    CHECK_HAS(requests(), "resolve/main/config.json");
    CHECK_HAS(requests(), "resolve/" COMMIT "/model.safetensors");
    CHECK_HAS(read_text(in(CACHED "/SHA256SUMS")), "# Qwen/Qwen3-0.6B at " COMMIT "\n");
    CHECK_EQ(unlink(in(CACHED "/tokenizer.json")), 0);
    write_text(in("requests"), "");
    CHECK_EQ(FETCH(as_it_is), 0);
    CHECK_HAS(requests(), "resolve/" COMMIT "/tokenizer.json");
}

TEST(a_repository_without_an_entry_is_fetched_and_found_too)
{
    make_hub("someone/some-model/resolve/main");
    int port = ucb_http_start(in("hub"), in("requests"), NULL, 0);
    CHECK_EQ(fetch(port, "someone/some-model", ""), 0);
    CHECK_EQ(fetch(port, "Qwen/Qwen3-0.6B", ""), 3); /* an entry's: goes by its name */
    CHECK_HAS(messages(), "Qwen/Qwen3-0.6B: http://127.0.0.1");
    CHECK(there(CACHED));
    ucb_http_stop();
    CHECK_EQ(shell(ucb_test_path("%s info someone/some-model --cache '%s'",
                                 ucb_test_program(), in("cache"))),
             0);
    CHECK_EQ(shell(ucb_test_path("%s info someone/another --cache '%s'", ucb_test_program(),
                                 in("cache"))),
             3);
    CHECK_HAS(messages(), "run `scripts/fetch.sh model someone/another`");
}

TEST(a_folder_of_the_same_layout_serves_as_a_hub)
{
    make_hub(FILES);
    const char *command = ucb_test_path(
        "HF_ENDPOINT='file://%s' UCBENCH_CACHE='%s' sh '%s/scripts/fetch.sh' model qwen3-0.6b",
        in("hub"), in("cache"), ucb_test_root());
    CHECK_EQ(shell(command), 0);
    check_complete();
    CHECK_EQ(shell(ucb_test_path("rm -r '%s'", in("hub/Qwen"))), 0);
    CHECK_EQ(unlink(in(CACHED "/tokenizer.json")), 0);
    CHECK_EQ(shell(command), 3);
    CHECK_HAS(messages(), "has no tokenizer.json there (or no such repository)");
}

TEST(names_that_are_none_are_usage)
{
    static const char *const names[] = {"../x", "a/../b", "'a b/c'", "/etc",
                                        "gpt",  "a/b/c",  "''"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (fetch(1, names[i], "") != 2)
            ucb_test_fail(__FILE__, __LINE__, "%s: %s", names[i], messages());
        CHECK_HAS(messages(), "unknown model");
        CHECK_HAS(messages(), "qwen3-0.6b");
    }
    CHECK_EQ(shell(ucb_test_path("sh '%s/scripts/fetch.sh' model", ucb_test_root())), 2);
    CHECK_EQ(shell(ucb_test_path("sh '%s/scripts/fetch.sh' model qwen3-0.6b --form x",
                                 ucb_test_root())),
             2);
    CHECK_HAS(messages(), "unknown option --form");
}

TEST(a_cache_that_cannot_be_made_or_is_in_use_is_named)
{
    make_hub(FILES);
    CHECK_EQ(
        shell(ucb_test_path(
            "sh '%s/scripts/fetch.sh' model qwen3-0.6b --from file:/// --cache /dev/null",
            ucb_test_root())),
        4);
    CHECK_HAS(messages(), "/dev/null/models/qwen3-0.6b: cannot make the folder");
    CHECK_OK(ucb_folder_make(in(CACHED), &err), err);
    CHECK_EQ(shell(ucb_test_path("flock '%s' sh '%s/scripts/fetch.sh' model qwen3-0.6b "
                                 "--from file:/// --cache '%s'",
                                 in(CACHED "/.lock"), ucb_test_root(), in("cache"))),
             4);
    CHECK_HAS(messages(), "another fetch.sh is at work there");
}
