/* Manifests of data sets: what is read, what is refused, and those inside the program. */
#include "test.h"

#include <string.h>

#include "core/resource.h"
#include "task/manifest.h"

#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define DATASET "[dataset]\nname = birds\nkind = wikitext\nsplit = test\nlicence = CC0\n"
#define FILE_SECTION "[file]\npath = birds.txt\nsha256 = " DIGEST "\n"

static struct ucb_manifest m;
static struct ucb_err err;

static ucb_status parse(const char *text)
{
    return ucb_manifest_parse("datasets/birds", "birds.ini", text, strlen(text), &m, &err);
}

static void check_refused(const char *text, const char *part)
{
    CHECK_STATUS(parse(text), UCB_CORRUPT, err);
    CHECK_HAS(err.text, part);
    CHECK_HAS(err.text, "birds.ini: ");
}

TEST(a_manifest_is_read_with_its_files)
{
    CHECK_OK(parse("; about birds\n\n" DATASET "revision=3\n" FILE_SECTION
                   "bytes = 12\n[file]\npath=b.txt\nsha256=" DIGEST),
             err);
    CHECK_TEXT(m.folder, "datasets/birds");
    CHECK_TEXT(m.name, "birds");
    CHECK_TEXT(m.licence, "CC0");
    CHECK_EQ(m.revision, 3);
    CHECK_EQ(m.n_files, 2);
    CHECK_TEXT(m.files[0].path, "birds.txt");
    CHECK_TEXT(m.files[0].sha256, DIGEST);
    CHECK_EQ(m.files[0].bytes, 12);
    CHECK_TEXT(m.files[1].path, "b.txt");
}

TEST(a_broken_manifest_is_refused_with_its_line)
{
    check_refused("name = birds\n", "line 1: a key stands before");
    check_refused("[dataset]\nnames = birds\n",
                  "line 2: [dataset] has no key `names`; did you mean `name`?");
    check_refused("[dataset]\nname\n", "line 2: `name` is no `key = value`");
    check_refused("[bird]\n", "expected [dataset] or [file]");
    check_refused(DATASET "name = again\n", "twice");
    check_refused(DATASET "revision = one\n", "whole number");
    check_refused(DATASET, "no [file]");
    check_refused(FILE_SECTION, "[dataset] lacks `name");
    check_refused(DATASET "[file]\npath = x\n", "[file] lacks `sha256");
    check_refused(DATASET "[file]\npath = x\nsha256 = 123\n", "64 lower-case");
    check_refused(DATASET FILE_SECTION FILE_SECTION FILE_SECTION FILE_SECTION FILE_SECTION,
                  "more than 4");
}

TEST(every_manifest_inside_the_program_is_valid_and_describes_its_resources)
{
    const struct ucb_manifest *all;
    size_t n;
    CHECK_OK(ucb_manifests(&all, &n, &err), err);
    CHECK(n >= 3);
    for (size_t i = 0; i < n; i++) {
        CHECK(strcmp(all[i].kind, "lambada") == 0 || strcmp(all[i].kind, "wikitext") == 0);
        for (size_t k = 0; k < all[i].n_files; k++) {
            const struct ucb_manifest_file *f = &all[i].files[k];
            const struct ucb_resource *r = ucb_resource_find(
                ucb_test_path("%s/%s", all[i].folder, f->path));
            char hex[UCB_SHA256_HEX];
            if (r == NULL) continue; /* a full set: the file lies elsewhere */
            ucb_sha256_hex(r->data, r->n_bytes, hex);
            CHECK_TEXT(hex, f->sha256);
            CHECK_EQ(r->n_bytes, f->bytes);
        }
    }
}

TEST(a_manifest_is_found_by_a_full_file_or_by_a_resource)
{
    const struct ucb_manifest *found;
    const struct ucb_manifest_file *file;
    CHECK_OK(ucb_manifest_find("wikitext-2-raw.test.txt", &found, &file, &err), err);
    CHECK_TEXT(found->name, "wikitext-2-raw-test");
    CHECK_OK(ucb_manifest_find("datasets/wiki_mini/wiki_mini.txt", &found, &file, &err),
             err);
    CHECK_TEXT(found->name, "wiki_mini");
    CHECK_STATUS(ucb_manifest_find("nothing.txt", &found, &file, &err), UCB_MISSING, err);
}
