/* A document of JSON is written whole or not at all. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "environment.h"

/* What a verb's document is made of: a list of entries, texts, a key that comes later. */
static json_t *document(void)
{
    json_t *list = json_array();
    for (int i = 0; i < 3; i++)
        json_array_append_new(
            list, json_pack("{s:i, s:o}", "number", i, "name", ucb_json_text("a\xff")));
    json_t *root = json_pack("{s:o}", "entries", list);
    json_object_set_new(root, "total", json_integer(3));
    return root;
}

static const char whole[] =
    "{\n  \"entries\": [\n"
    "    {\n      \"number\": 0,\n      \"name\": \"a\xef\xbf\xbd\"\n    },\n"
    "    {\n      \"number\": 1,\n      \"name\": \"a\xef\xbf\xbd\"\n    },\n"
    "    {\n      \"number\": 2,\n      \"name\": \"a\xef\xbf\xbd\"\n    }\n"
    "  ],\n  \"total\": 3\n}\n";

TEST(a_document_without_memory_for_any_part_of_it_is_refused_and_nothing_is_written)
{
    struct ucb_err err = {0};
    ucb_json_watch_memory();
    for (long n = 1;; n++) {
        struct ucb_text out = {0};
        ucb_json_fail_after(n);
        ucb_status status = ucb_json_add(document(), "a test", &out, &err);
        ucb_json_fail_after(0);
        CHECK_TEXT(ucb_text_get(&out), status == UCB_OK ? whole : "");
        ucb_text_free(&out);
        if (status == UCB_OK) {
            CHECK(n > 20); /* the loop has been through every entry */
            break;
        }
        CHECK_EQ(status, UCB_NOMEM);
        CHECK_TEXT(err.text, "no memory for a test as JSON");
        /* What was lost is forgotten with its document. */
        CHECK_OK(ucb_json_add(document(), "a test", &out, &err), err);
        CHECK_TEXT(ucb_text_get(&out), whole);
        ucb_text_free(&out);
    }
}

TEST(no_document_is_no_empty_line)
{
    struct ucb_err err = {0};
    struct ucb_text out = {0};
    CHECK_EQ(ucb_json_add(NULL, "the night", &out, &err), UCB_NOMEM);
    CHECK_TEXT(ucb_text_get(&out), "");
    CHECK_EQ(ucb_json_print(NULL, "the night", &err), UCB_NOMEM);
    CHECK_TEXT(err.text, "no memory for the night as JSON");
    ucb_text_free(&out);
}

TEST(a_runs_environment_without_memory_is_an_error_and_never_an_empty_object)
{
    struct ucb_err err = {0};
    char *whole_text, *text;
    ucb_json_watch_memory();
    CHECK_OK(ucb_environment_text(ucb_environment(), &whole_text, &err), err);
    CHECK_HAS(whole_text, "\"ram_bytes\":");
    for (long n = 1;; n++) {
        ucb_json_fail_after(n);
        json_t *environment = ucb_environment();
        json_object_set_new(environment, "threads", json_integer(2));
        ucb_status status = ucb_environment_text(environment, &text, &err);
        ucb_json_fail_after(0);
        if (status == UCB_OK) {
            CHECK_HAS(text, "\"threads\":2");
            CHECK_EQ(strlen(text), strlen(whole_text) + strlen(",\"threads\":2"));
            free(text);
            CHECK(n > 20);
            break;
        }
        CHECK_EQ(status, UCB_NOMEM);
    }
    free(whole_text);
}
