/* What paths open: files, folders, shards, an index; files cut short. */
#include "test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "gguf_build.h"
#include "model/model_internal.h"

static void write_text(const char *path, const char *text)
{
    struct ucb_err err;
    CHECK_OK(ucb_file_write(path, text, strlen(text), &err), err);
}

static void write_tensor(const char *path, const char *name)
{
    struct ucb_err err;
    struct ucb_tensor t = {.name = name,
                           .dtype = UCB_U8,
                           .n_dims = 1,
                           .shape = {4},
                           .data = (const uint8_t *)"abcd",
                           .n_bytes = 4};
    CHECK_OK(ucb_safetensors_write(path, &t, 1, &err), err);
}

TEST(a_vocabulary_without_tensors_opens_as_a_checkpoint)
{
    const char *path = ucb_test_path("%s/vocabulary.gguf", ucb_test_folder());
    struct gguf_build b = {0};
    struct ucb_checkpoint *c;
    struct ucb_err err;
    gguf_text(&b, "tokenizer.ggml.model", "gpt2");
    gguf_finish(&b);
    CHECK_OK(ucb_file_write(path, b.file.data, b.file.n_bytes, &err), err);
    CHECK_OK(ucb_checkpoint_open(path, &c, &err), err);
    CHECK(ucb_checkpoint_is_gguf(c));
    CHECK_EQ(ucb_checkpoint_n_tensors(c), 0);
    CHECK(ucb_checkpoint_find(c, "x") == NULL);
    ucb_checkpoint_close(c);
    gguf_free(&b);
}

TEST(what_a_folder_holds_decides_how_it_is_opened)
{
    const char *folder = ucb_test_folder();
    struct gguf_build b = {0};
    struct ucb_checkpoint *c;
    struct ucb_err err;
    CHECK_STATUS(ucb_checkpoint_open(folder, &c, &err), UCB_MISSING, err);
    CHECK_HAS(err.text, "no model.safetensors");
    gguf_finish(&b);
    CHECK_OK(ucb_file_write(ucb_test_path("%s/a.gguf", folder), b.file.data, b.file.n_bytes,
                            &err),
             err);
    CHECK_OK(ucb_checkpoint_open(folder, &c, &err), err);
    ucb_checkpoint_close(c);
    CHECK_OK(ucb_file_write(ucb_test_path("%s/b.gguf", folder), b.file.data, b.file.n_bytes,
                            &err),
             err);
    CHECK_STATUS(ucb_checkpoint_open(folder, &c, &err), UCB_MISSING, err);
    CHECK_HAS(err.text, "2 .gguf files");
    write_tensor(ucb_test_path("%s/model.safetensors", folder), "t");
    CHECK_OK(ucb_checkpoint_open(ucb_test_path("%s/", folder), &c, &err), err);
    CHECK(!ucb_checkpoint_is_gguf(c));
    ucb_checkpoint_close(c);
    CHECK_STATUS(ucb_checkpoint_open(ucb_test_path("%s/none", folder), &c, &err),
                 UCB_MISSING, err);
    write_text(ucb_test_path("%s/empty", folder), "");
    CHECK_STATUS(ucb_checkpoint_open(ucb_test_path("%s/empty", folder), &c, &err),
                 UCB_CORRUPT, err);
    CHECK_HAS(err.text, "empty");
    gguf_free(&b);
}

TEST(shards_are_joined_in_name_order)
{
    const char *folder = ucb_test_folder();
    struct ucb_checkpoint *c;
    struct ucb_err err;
    write_tensor(ucb_test_path("%s/model-00002-of-00002.safetensors", folder), "b");
    write_tensor(ucb_test_path("%s/model-00001-of-00002.safetensors", folder), "a");
    write_text(
        ucb_test_path("%s/model.safetensors.index.json", folder),
        "{\"weight_map\":{\"b\":\"model-00002-of-00002.safetensors\",\"a\":\"model-00001-of-00002.safetensors\"}}");
    CHECK_OK(ucb_checkpoint_open(folder, &c, &err), err);
    CHECK_EQ(ucb_checkpoint_n_files(c), 3);
    CHECK_HAS(ucb_checkpoint_file(c, 0), "/model-00001-of-00002.safetensors");
    CHECK_HAS(ucb_checkpoint_file(c, 2), "/model.safetensors.index.json");
    CHECK_HAS(ucb_checkpoint_find(c, "b")->file, "model-00002");
    CHECK_EQ(ucb_checkpoint_n_tensors(c), 2);
    ucb_checkpoint_close(c);
}

TEST(an_index_that_lies_is_refused)
{
    static const struct {
        const char *text;
        ucb_status status;
        const char *part;
    } cases[] = {
        {"{", UCB_CORRUPT, "line 1, column"},
        {"{}", UCB_CORRUPT, "weight_map"},
        {"{\"weight_map\":{}}", UCB_CORRUPT, "weight_map"},
        {"{\"weight_map\":{\"a\":7}}", UCB_CORRUPT, "`a`"},
        {"{\"weight_map\":{\"a\":\"../one.st\"}}", UCB_CORRUPT, "no / and no .."},
        {"{\"weight_map\":{\"a\":\"/one.st\"}}", UCB_CORRUPT, "no / and no .."},
        {"{\"weight_map\":{\"a\":\"..\"}}", UCB_CORRUPT, "no / and no .."},
        {"{\"weight_map\":{\"a\":\"\"}}", UCB_CORRUPT, "no / and no .."},
        {"{\"weight_map\":{\"a\":\"one.st\\u0000\"}}", UCB_CORRUPT, "no / and no .."},
        {"{\"weight_map\":{\"a\":\"three.st\"}}", UCB_MISSING,
         "the file three.st, named by model.safetensors.index.json, does not exist"},
        {"{\"weight_map\":{\"a\":\"two.st\",\"b\":\"one.st\"}}", UCB_CORRUPT,
         "should be in two.st, but is in one.st"},
        {"{\"weight_map\":{\"a\":\"one.st\",\"c\":\"one.st\"}}", UCB_CORRUPT,
         "`c` should be in one.st"},
        {"{\"weight_map\":{\"a\":\"one.st\",\"b\":\"also.st\"}}", UCB_CORRUPT,
         "there twice"},
    };
    const char *folder = ucb_test_folder();
    write_tensor(ucb_test_path("%s/one.st", folder), "a");
    write_tensor(ucb_test_path("%s/also.st", folder), "a");
    write_tensor(ucb_test_path("%s/two.st", folder), "b");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ucb_checkpoint *c;
        struct ucb_err err = {0};
        write_text(ucb_test_path("%s/model.safetensors.index.json", folder), cases[i].text);
        CHECK_STATUS(ucb_checkpoint_open(folder, &c, &err), cases[i].status, err);
        CHECK_HAS(err.text, cases[i].part);
    }
}

TEST(a_file_cut_short_while_open_is_an_error_and_not_the_end)
{
    struct ucb_model *m;
    struct ucb_err err;
    const char *folder = ucb_test_folder();
    static float out[144 * 40];
    for (const char *const *name =
             (const char *const[]){"config.json", "model.safetensors", NULL};
         *name != NULL; name++) {
        struct ucb_file file;
        const char *source = ucb_test_path("%s/tests/golden/arch/llama-headdim-fp16/%s",
                                           ucb_test_root(), *name);
        CHECK_OK(ucb_file_map(source, &file, &err), err);
        CHECK_OK(ucb_file_write(ucb_test_path("%s/%s", folder, *name), file.data,
                                file.n_bytes, &err),
                 err);
        ucb_file_unmap(&file);
    }
    CHECK_OK(ucb_model_open(folder, &m, &err), err);
    const struct ucb_matrix *embed = ucb_model_matrix(m, 0, UCB_ROLE_EMBED);
    CHECK_OK(ucb_model_read_rows(m, embed, 0, 144, NULL, out, &err), err);
    CHECK_EQ(truncate(ucb_test_path("%s/model.safetensors", folder), 100), 0);
    CHECK_STATUS(ucb_model_read_rows(m, embed, 0, 144, NULL, out, &err), UCB_IO, err);
    CHECK_HAS(err.text, "became shorter");
    ucb_model_close(m);
}
