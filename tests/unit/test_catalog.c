/*
 * The catalogue of models: what is read, what is refused, and what is inside the program.
 */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/resource.h"
#include "core/text.h"
#include "model/catalog.h"
#include "model/smooth.h"

#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define MODEL "[model]\nname = bird\nsummary = A bird\nmodel_type = llama\n"
#define HUB "repository = Nest/Bird\n"
#define ONE_FILE "[file]\npath = a.gguf\nsha256 = " DIGEST "\nbytes = 7\n"

static struct ucb_catalog_model m;
static struct ucb_err err;

static ucb_status parse(const char *text)
{
    return ucb_catalog_parse("bird.ini", text, strlen(text), &m, &err);
}

static void check_refused(const char *text, const char *part)
{
    CHECK_STATUS(parse(text), UCB_CORRUPT, err);
    CHECK_HAS(err.text, part);
    CHECK_HAS(err.text, "bird.ini: ");
}

TEST(an_entry_is_read_with_its_files)
{
    CHECK_OK(parse(MODEL HUB "gated = yes\nparameters = 12\n[file]\npath = config.json\n"
                             "sha256 = " DIGEST "\nbytes = 7\n[file]\npath = a.b\n"),
             err);
    CHECK_TEXT(m.repository, "Nest/Bird");
    CHECK_TEXT(m.gated, "yes");
    CHECK_TEXT(m.licence, "");
    CHECK_EQ(m.parameters, 12);
    CHECK_EQ(m.n_files, 2);
    CHECK_TEXT(m.files[0].sha256, DIGEST);
    CHECK_EQ(m.files[0].bytes, 7);
    CHECK_TEXT(m.files[1].path, "a.b");
}

TEST(a_broken_entry_is_refused_with_the_reason)
{
    check_refused(MODEL, "0 of repository, package and built_from are given");
    check_refused(MODEL HUB "package = bird\n", "2 of repository");
    check_refused(HUB, "line 1: a key stands before");
    check_refused("[model]\n" HUB, "[model] lacks `name");
    check_refused(MODEL "built_from = egg\n", "one [file] with its sha256");
    check_refused(MODEL HUB "gated = maybe\n", "gated = maybe, expected yes or no");
    check_refused(MODEL HUB "licenses = MIT\n", "did you mean `licence`");
    check_refused(MODEL HUB "[file]\npath = ../x\n", "expected the name of a file");
    check_refused(MODEL HUB "[file]\npath = a/x\n", "expected the name of a file");
    check_refused(MODEL HUB "[file]\npath = x\nsha256 = abc\n", "64 lower-case");
    check_refused(MODEL HUB "[files]\n", "expected [model] or [file]");
    check_refused(MODEL HUB "package_parts = 2\n" ONE_FILE, "package_parts = 2, expected");
    check_refused(MODEL "package = bird\npackage_parts = 100\n" ONE_FILE,
                  "expected 1 to 99");
}

TEST(a_package_may_be_cut_into_parts)
{
    CHECK_OK(
        parse(MODEL "package = bird\npackage_version = 1\npackage_parts = 4\n" ONE_FILE),
        err);
    CHECK_EQ(m.package_parts, 4);
}

TEST(gemma3_270m_is_pinned_and_names_its_licence_and_its_grid)
{
    const struct ucb_catalog_model *gemma = ucb_catalog_find("gemma3-270m");
    CHECK(gemma != NULL);
    CHECK_TEXT(gemma->licence, "Gemma Terms of Use");
    CHECK_EQ(gemma->package_parts, 4);
    CHECK_EQ(gemma->files[0].bytes, 253113024);
    CHECK_HAS(gemma->caveat, "Gemma Terms of Use");
    CHECK_HAS(gemma->caveat, "grids of Q4_K_M");
    CHECK(ucb_catalog_runs(gemma));
}

TEST(every_entry_inside_the_program_is_valid_and_named_as_its_file)
{
    const struct ucb_catalog_model *all;
    size_t n, n_files = 0;
    CHECK_OK(ucb_catalog(&all, &n, &err), err);
    CHECK(n >= 30);
    for (const struct ucb_resource *r = ucb_resources(); r->name != NULL; r++)
        n_files += strncmp(r->name, "models/", 7) == 0;
    CHECK_EQ(n, n_files);
    for (size_t i = 0; i < n; i++) {
        CHECK(ucb_resource_find(ucb_test_path("models/%s.ini", all[i].name)) != NULL);
        CHECK(ucb_catalog_find(all[i].name) == &all[i]);
        CHECK(all[i].repository[0] == '\0' ||
              ucb_catalog_find(all[i].repository) == &all[i]);
        CHECK(all[i].built_from[0] == '\0' || ucb_catalog_find(all[i].built_from) != NULL);
        CHECK(all[i].parameters > 0);
    }
    CHECK(ucb_catalog_find("bird") == NULL);
    CHECK(ucb_catalog_find("") == NULL);
}

TEST(the_catalogue_and_the_builder_of_the_smooth_model_name_the_same_digests)
{
    const struct ucb_catalog_model *source = ucb_catalog_find("smollm2-135m"),
                                   *smooth = ucb_catalog_find("smollm2-135m-smooth");
    CHECK(source != NULL && smooth != NULL);
    CHECK_TEXT(source->files[0].sha256, UCB_SMOOTH_SOURCE_SHA256);
    CHECK_TEXT(smooth->files[0].sha256, UCB_SMOOTH_WEIGHTS_SHA256);
    CHECK_TEXT(smooth->built_from, source->name);
    CHECK_HAS(source->caveat, "4-bit grid");
}

TEST(every_model_that_the_seed_names_has_an_entry)
{
    static const char *const repositories[] = {"Qwen/Qwen3-0.6B",
                                               "Qwen/Qwen3-1.7B",
                                               "Qwen/Qwen3-8B",
                                               "Qwen/Qwen3-14B",
                                               "Qwen/Qwen3-32B",
                                               "Qwen/Qwen2.5-72B",
                                               "mistralai/Mistral-7B-v0.3",
                                               "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
                                               "allenai/OLMo-2-0425-1B",
                                               "HuggingFaceTB/SmolLM2-1.7B",
                                               "meta-llama/Llama-2-7b-hf",
                                               "meta-llama/Llama-2-13b-hf",
                                               "meta-llama/Llama-2-70b-hf",
                                               "mistralai/Mixtral-8x7B-v0.1"};
    for (size_t i = 0; i < sizeof(repositories) / sizeof(repositories[0]); i++)
        if (ucb_catalog_find(repositories[i]) == NULL)
            ucb_test_fail(__FILE__, __LINE__, "%s has no entry", repositories[i]);
}

TEST(a_name_that_is_nearly_one_is_usage_and_an_absent_path_is_missing)
{
    char path[4096];
    CHECK_STATUS(ucb_model_known("qwen3-0.6", &err), UCB_USAGE, err);
    CHECK_HAS(err.text, "did you mean `qwen3-0.6b`");
    CHECK_OK(ucb_model_known("llama-3.1-8b", &err), err);
    CHECK_OK(ucb_model_known("no/such", &err), err);
    CHECK_STATUS(ucb_model_locate("x.gguf", "/nonexistent", path, sizeof(path), &err),
                 UCB_MISSING, err);
    CHECK_HAS(err.text, "x.gguf: no such file");
    CHECK_STATUS(ucb_model_locate("no/such", "/nonexistent", path, sizeof(path), &err),
                 UCB_MISSING, err);
    CHECK_HAS(err.text, "scripts/fetch.sh model no/such");
    CHECK_STATUS(ucb_model_locate("./no/such", "/nonexistent", path, sizeof(path), &err),
                 UCB_MISSING, err);
}

/* A complete folder in the cache, with that record. */
static ucb_status locate_with_record(const char *record)
{
    char path[4096];
    const char *folder = ucb_test_path("%s/cache/models/qwen3-0.6b", ucb_test_folder());
    static const char *const names[] = {"config.json", "model.safetensors"};
    CHECK_OK(ucb_folder_make(folder, &err), err);
    for (size_t i = 0; i < 2; i++)
        CHECK_OK(ucb_file_write(ucb_test_path("%s/%s", folder, names[i]), "abc", 3, &err),
                 err);
    CHECK_OK(ucb_file_write(ucb_test_path("%s/SHA256SUMS", folder), record, strlen(record),
                            &err),
             err);
    return ucb_model_locate("qwen3-0.6b", ucb_test_path("%s/cache", ucb_test_folder()),
                            path, sizeof(path), &err);
}

TEST(the_record_of_what_was_fetched_is_believed_only_where_it_is_one)
{
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    CHECK_OK(locate_with_record(""), err);
    CHECK_OK(locate_with_record("# x at y\n\n" ABC "  config.json\n"), err);
    CHECK_OK(locate_with_record(ABC "  model.safetensors"), err);
    CHECK_STATUS(locate_with_record(DIGEST "  config.json\n"), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "SHA-256 is " ABC ", expected " DIGEST);
    CHECK_STATUS(locate_with_record(ABC "  tokenizer.json\n"), UCB_MISSING, err);
    CHECK_STATUS(locate_with_record(ABC "  ../config.json\n"), UCB_CORRUPT, err);
    CHECK_STATUS(locate_with_record(ABC "  .\n"), UCB_CORRUPT, err);
    CHECK_STATUS(locate_with_record(ABC "  "), UCB_CORRUPT, err);
    CHECK_STATUS(locate_with_record(ABC "config.json"), UCB_CORRUPT, err);
    CHECK_STATUS(locate_with_record("<html>"), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "`<html>` is no `<SHA-256>  <file>`");
}
