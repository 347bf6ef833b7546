/* --json where names hold bytes that are not UTF-8: still one document, with U+FFFD. */
#include "test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tiny.h"

/* "m\xff" is a model; in this order, later ones read what earlier ones wrote. */
static const struct line {
    const char *arguments, *name; /* a key whose value names the file */
    int code;
} lines[] = {
    {"sweep --model m\xff --method nf4 --task lambada:n=4 --db r\xff", NULL, 0},
    {"sweep --model m\xff --method hqq:bits=4,group=100 --task lambada:n=4 --dry-run", NULL,
     1},
    {"list runs --db r\xff", NULL, 0},
    {"report table --db r\xff --out o\xff", NULL, 0},
    {"compare --db r\xff m\xff/none/lambada:n=4 m\xff/nf4/lambada:n=4", NULL, 0},
    {"gate --db r\xff --baseline 1", NULL, 0},
    {"export --db r\xff", NULL, 0},
    {"info m\xff", "path", 0},
    {"doctor --cache c\xff", NULL, 4},
    {"pack --model m\xff --method nf4 --out p\xff", "path", 0},
    {"pack --model m\xff --method none --format gguf --out g\xff", "out", 0},
    {"info p\xff", "path", 0},
    {"verify p\xff --source m\xff --inputs 1 --receipt v\xff --cache c\xff", "pack", 0},
    {"verify p\xff --receipt v\xff", "receipt", 0},
    {"unpack p\xff --out u\xff", "pack", 0},
};

/* Entries of a list or of what stands in an object, none of them null. */
static bool is_whole(json_t *root)
{
    size_t i;
    json_t *entry;
    if (json_is_object(root)) return json_object_size(root) > 0;
    if (json_array_size(root) == 0) return false;
    json_array_foreach(root, i, entry) if (json_is_null(entry)) return false;
    return true;
}

static void check(const struct line *line)
{
    int state = system(ucb_test_path("cd %s && %s %s --json >stdout 2>stderr",
                                     ucb_test_folder(), ucb_test_program(),
                                     line->arguments));
    int code = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
    if (code != line->code)
        ucb_test_fail(__FILE__, __LINE__, "%s: exit code %d, expected %d; it said: %s",
                      line->arguments, code, line->code, ucb_test_content("stderr"));
    json_t *root = json_loads(ucb_test_content("stdout"), 0, NULL);
    if (!is_whole(root))
        ucb_test_fail(__FILE__, __LINE__, "%s: not JSON, or nothing in it: %s",
                      line->arguments, ucb_test_content("stdout"));
    if (line->name != NULL) {
        const char *name = json_string_value(json_object_get(root, line->name));
        CHECK(name != NULL);
        CHECK_HAS(name, "\xef\xbf\xbd");
    }
    json_decref(root);
}

TEST(names_that_are_not_utf8_leave_the_json_of_every_verb_whole)
{
    ucb_tiny_model(ucb_test_path("%s/m\xff", ucb_test_folder()));
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) check(&lines[i]);
}
