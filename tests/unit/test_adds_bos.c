/* Whether a tokenizer.json's tokenizer adds BOS: what its post-processor says, and the
 * configuration beside it. */
#include "test.h"

#include <string.h>

#include "core/file.h"
#include "core/text.h"
#include "model/tokenizer.h"
#include "tiny_tokenizer.h"

#define ADDED \
    "\"added_tokens\":[{\"id\":256,\"content\":\"<s>\"},{\"id\":257,\"content\":\"</s>\"}]"
#define TEMPLATE(first)                                                               \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"" first \
    "\",\"type_id\":0}},"                                                             \
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[]}"
#define TEXT_ONLY \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]}"
#define SEQUENCE(one) \
    "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"}," one "]}"

static struct ucb_err err;

static void write_beside(const char *name, const char *text)
{
    CHECK_OK(ucb_file_write(ucb_test_path("%s/%s", ucb_test_folder(), name), text,
                            strlen(text), &err),
             err);
}

/* Opens a folder with this post-processor and tokenizer_config.json. */
static ucb_status open_with(const char *processor, const char *config,
                            struct ucb_tokenizer **t)
{
    struct ucb_text json = {0};
    tiny_byte_level(&json, ucb_test_path(ADDED ",\"post_processor\":%s", processor), NULL,
                    0);
    write_beside("tokenizer.json", ucb_text_get(&json));
    write_beside("tokenizer_config.json", config);
    ucb_text_free(&json);
    return ucb_tokenizer_open(ucb_test_folder(), t, &err);
}

static bool adds_bos(const char *processor, const char *config)
{
    struct ucb_tokenizer *t;
    CHECK_OK(open_with(processor, config, &t), err);
    bool adds = ucb_tokenizer_adds_bos(t);
    ucb_tokenizer_close(t);
    return adds;
}

TEST(a_template_that_begins_with_bos_adds_it)
{
    static const char config[] = "{\"bos_token\":\"<s>\"}";
    CHECK(adds_bos(TEMPLATE("<s>"), config));
    CHECK(adds_bos(SEQUENCE(TEMPLATE("<s>")), config));
    CHECK(!adds_bos(TEMPLATE("</s>"), config)); /* another token */
    CHECK(!adds_bos(TEMPLATE("<unheard>"), config));
    CHECK(!adds_bos(TEXT_ONLY, config));
    CHECK(!adds_bos("null", config));
}

TEST(the_configuration_overrules_the_template)
{
    CHECK(!adds_bos(TEMPLATE("<s>"), "{\"bos_token\":\"<s>\",\"add_bos_token\":false}"));
    CHECK(adds_bos(TEMPLATE("<s>"), "{\"bos_token\":\"<s>\",\"add_bos_token\":null}"));
    CHECK(adds_bos("null", "{\"bos_token\":\"<s>\",\"add_bos_token\":true}"));
}

TEST(without_a_bos_token_none_is_added)
{
    CHECK(!adds_bos(TEMPLATE("<s>"), "{}"));
    CHECK(!adds_bos(TEMPLATE("<unheard>"), "{}"));
    CHECK(!adds_bos("null", "{\"add_bos_token\":true}"));
    write_beside("config.json", "{\"bos_token_id\":256}");
    CHECK(adds_bos(TEMPLATE("<s>"), "{}"));
}

TEST(an_add_bos_token_that_is_no_boolean_is_corrupt)
{
    struct ucb_tokenizer *t;
    CHECK_STATUS(open_with("null", "{\"bos_token\":\"<s>\",\"add_bos_token\":\"yes\"}", &t),
                 UCB_CORRUPT, err);
    CHECK_HAS(err.text, "tokenizer_config.json beside ");
    CHECK_HAS(err.text, "add_bos_token is a string, must be true or false");
}
