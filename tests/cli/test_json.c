/* --json: every verb answers with one JSON document on standard output (tokenize with one a
 * line) and nothing else there; what went wrong stands on standard error. */
#include "test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "cmd.h"
#include "core/file.h"
#include "pack/packfile.h"
#include "tiny.h"

struct line {
    const char *verb, *arguments;
    int code;
};

/* In this order: later ones read what earlier ones wrote. */
static const struct line answers[] = {
    {"sweep", "--model tiny --method nf4 --task lambada:n=4 --db r.db", 0},
    {"sweep", "--model tiny --method nf4 --task lambada:n=4 --db r.db --dry-run", 0},
    {"sweep", "--model tiny --method hqq:bits=4,group=100 --task lambada:n=4 --db r.db", 1},
    {"report", "table --db r.db --out out", 0},
    {"report", "claims --db r.db --out out", 0},
    {"report", "history --db r.db --out out", 0},
    {"compare", "--db r.db tiny/none/lambada:n=4 tiny/nf4/lambada:n=4", 0},
    {"gate", "--db r.db --baseline 1 --candidate 1", 0},
    {"gate", "--db r.db --baseline 1 --candidate latest", 1}, /* without nf4 */
    {"digest", "--db r.db", 0},
    {"export", "--db r.db", 0},
    {"export", "--db r.db --table checks", 0},
    {"list", "models", 0},
    {"list", "methods", 0},
    {"list", "tasks", 0},
    {"list", "datasets", 0},
    {"list", "reports", 0},
    {"list", "kernels", 0},
    {"list", "runs --db r.db", 0},
    {"info", "tiny", 0},
    {"doctor", "--cache cache", 4}, /* without the default model */
    {"tokenize", "--model tiny --in text.jsonl", 0},
    {"dump", "--model tiny --ids ids.safetensors --out d.safetensors", 0},
    {"quantize",
     "--method nf4 --in tiny/model.safetensors --tensor "
     "model.layers.0.mlp.up_proj.weight --out q.safetensors",
     0},
    {"pack", "--model tiny --method nf4 --out p.ucb", 0},
    {"pack", "--model tiny --method none --format gguf --out p.gguf", 0},
    {"info", "p.ucb", 0},
    {"verify", "p.ucb --source tiny --inputs 1 --receipt receipt.json", 0},
    {"verify", "p.ucb --receipt receipt.json", 0},
    {"verify", "cut.ucb", 1},
    {"unpack", "p.ucb --out unpacked", 0},
};

/* One a verb; the exit code says whose fault it is. */
static const struct line refusals[] = {
    {"sweep", "--model absent --db new.db", 2},
    {"report", "table --db absent.db --out out", 3},
    {"compare", "--db r.db tiny/none/lambada:n=4 tiny/nf5/lambada:n=4", 2},
    {"gate", "--db r.db --baseline 77", 2},
    {"digest", "--db absent.db", 3},
    {"export", "--db absent.db", 3},
    {"list", "nothing", 2},
    {"info", "text.jsonl", 3},
    {"doctor", "further", 2},
    {"tokenize", "--model tiny --in absent", 3},
    {"dump", "--model tiny --ids absent --out d.safetensors", 3},
    {"quantize", "--method nf4 --in tiny/model.safetensors --tensor absent --out q", 3},
    {"pack", "--model tiny --method nf5 --out new.ucb", 2},
    {"unpack", "text.jsonl --out new", 3},
    {"verify", "text.jsonl", 3},
};

static const char *const verbs[] = {
#define NAME(name) #name,
    UCB_COMMAND_LIST(NAME)
#undef NAME
};

/* The exit code. Names are of the test's folder; its files stdout and stderr get the
 * streams. */
static int run_line(const struct line *line)
{
    int state = system(ucb_test_path("cd %s && %s %s %s --json >stdout 2>stderr",
                                     ucb_test_folder(), ucb_test_program(), line->verb,
                                     line->arguments));
    return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}

static void expect_code(const struct line *line)
{
    int code = run_line(line);
    if (code != line->code)
        ucb_test_fail(__FILE__, __LINE__, "%s %s: exit code %d, expected %d; it said: %s",
                      line->verb, line->arguments, code, line->code,
                      ucb_test_content("stderr"));
}

/* The whole of `text` is documents of JSON; returns how many. */
static size_t n_documents(const struct line *line, const char *text)
{
    size_t n = 0;
    for (size_t at = 0; text[at + strspn(text + at, " \n")] != '\0'; n++) {
        json_error_t error;
        json_t *root = json_loads(text + at, JSON_DISABLE_EOF_CHECK, &error);
        if (root == NULL)
            ucb_test_fail(__FILE__, __LINE__, "%s %s: %s in %s", line->verb,
                          line->arguments, error.text, text + at);
        json_decref(root);
        at += (size_t)error.position;
    }
    return n;
}

static bool has_line(const struct line *lines, size_t n, const char *verb)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(lines[i].verb, verb) == 0) return true;
    return false;
}

static void make_inputs(void)
{
    static const int32_t ids[] = {1, 100, 7, 64};
    static const char text[] = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
    struct ucb_err err;
    ucb_tiny_model(ucb_test_path("%s/tiny", ucb_test_folder()));
    ucb_write_ids(ucb_test_path("%s/ids.safetensors", ucb_test_folder()), ids, 4);
    CHECK_OK(ucb_file_write(ucb_test_path("%s/text.jsonl", ucb_test_folder()), text,
                            sizeof(text) - 1, &err),
             err);
    CHECK_OK(ucb_file_write(ucb_test_path("%s/cut.ucb", ucb_test_folder()),
                            ucb_packfile_magic, sizeof(ucb_packfile_magic), &err),
             err);
}

TEST(every_verb_has_json_in_its_help)
{
    static char out[1 << 16];
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        RUN(0, "%s --help", verbs[i]);
        CHECK_HAS(out, "--json");
    }
}

TEST(every_verb_answers_with_json_and_nothing_else_on_standard_output)
{
    enum { N = sizeof(answers) / sizeof(answers[0]) };
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (!has_line(answers, N, verbs[i]))
            ucb_test_fail(__FILE__, __LINE__, "%s has no line in this test", verbs[i]);
    make_inputs();
    for (size_t i = 0; i < N; i++) {
        expect_code(&answers[i]);
        size_t n = n_documents(&answers[i], ucb_test_content("stdout"));
        if (n != (strcmp(answers[i].verb, "tokenize") == 0 ? 2 : 1))
            ucb_test_fail(__FILE__, __LINE__, "%s %s: %zu documents", answers[i].verb,
                          answers[i].arguments, n);
    }
}

TEST(every_verb_asked_for_json_refuses_on_standard_error_alone)
{
    enum { N = sizeof(refusals) / sizeof(refusals[0]) };
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (!has_line(refusals, N, verbs[i]))
            ucb_test_fail(__FILE__, __LINE__, "%s has no line in this test", verbs[i]);
    make_inputs();
    expect_code(&answers[0]); /* r.db */
    for (size_t i = 0; i < N; i++) {
        expect_code(&refusals[i]);
        CHECK_TEXT(ucb_test_content("stdout"), "");
        CHECK(strncmp(ucb_test_content("stderr"), "ucbench: ", 9) == 0);
    }
}
