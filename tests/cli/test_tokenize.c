/* `ucbench tokenize`: exact output, exit codes, and messages that name file and line. */
#include "test.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"

static const char vocabulary[] =
    "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a "
    "b\"]}}";

static const char *write_file(const char *name, const char *text)
{
    struct ucb_err err;
    const char *path = ucb_test_path("%s/%s", ucb_test_folder(), name);
    CHECK_OK(ucb_file_write(path, text, strlen(text), &err), err);
    return path;
}

/* Runs a shell command with both outputs in one text; returns the exit code. */
static int run(const char *command, char *out, size_t size)
{
    if (access(ucb_test_program(), X_OK) != 0) SKIP("%s is not built", ucb_test_program());
    FILE *pipe = popen(ucb_test_path("%s 2>&1", command), "r");
    CHECK(pipe != NULL);
    size_t n = fread(out, 1, size - 1, pipe);
    out[n] = '\0';
    int state = pclose(pipe);
    CHECK(WIFEXITED(state));
    return WEXITSTATUS(state);
}

static int tokenize(const char *arguments, char *out, size_t size)
{
    const char *model = write_file("tokenizer.json", vocabulary);
    return run(
        ucb_test_path("%s tokenize --model %s %s", ucb_test_program(), model, arguments),
        out, size);
}

TEST(tokenize_prints_a_line_of_ids_for_each_line_of_text)
{
    static const char *const ways[] = {"--in %s", "< %s", "--in - < %s"};
    static const char lines[] = "{\"text\":\"ab ba\"}\n{\"text\":\"\"}\n{\"text\":\"a\"}";
    char out[1024], arguments[512];
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        snprintf(arguments, sizeof(arguments), ways[i], write_file("in.jsonl", lines));
        CHECK_EQ(tokenize(arguments, out, sizeof(out)), 0);
        CHECK_TEXT(out, "{\"ids\":[2,1,0]}\n{\"ids\":[]}\n{\"ids\":[0]}\n");
    }
}

TEST(tokenize_names_file_and_line_of_a_bad_line)
{
    static const char *const bad[] = {"nonsense", "{\"tex\":\"a\"}", "[]", "{\"text\":1}",
                                      ""};
    char out[1024];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *in = write_file("bad.jsonl",
                                    ucb_test_path("{\"text\":\"a\"}\n%s\n", bad[i]));
        CHECK_EQ(tokenize(ucb_test_path("--in %s", in), out, sizeof(out)), 3);
        CHECK_HAS(out, "{\"ids\":[0]}\n");
        CHECK_HAS(out, "bad.jsonl, line 2");
    }
}

TEST(tokenize_says_what_is_missing)
{
    char out[1024];
    CHECK_EQ(run(ucb_test_path("%s tokenize", ucb_test_program()), out, sizeof(out)), 2);
    CHECK_HAS(out, "--model");
    CHECK_EQ(tokenize("--in /nowhere/at/all.jsonl", out, sizeof(out)), 3);
    CHECK_HAS(out, "/nowhere/at/all.jsonl");
}
