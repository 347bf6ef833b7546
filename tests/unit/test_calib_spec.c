/* Calibration specs: what is understood, what is refused, and where the windows lie. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/pcg.h"
#include "core/resource.h"
#include "eval/calib_spec.h"
#include "task/manifest.h"
#include "task/task.h"
#include "byte_tokenizer.h"
#include "tiny_tokenizer.h"

static struct ucb_err err;

static const char *canonical(const char *text)
{
    static struct ucb_calib_spec spec;
    CHECK_OK(ucb_calib_parse(text, &spec, &err), err);
    return spec.spec;
}

static const char *refused(const char *text)
{
    struct ucb_calib_spec spec;
    CHECK_STATUS(ucb_calib_parse(text, &spec, &err), UCB_USAGE, err);
    CHECK_HAS(err.text, text);
    return err.text;
}

TEST(a_canonical_calibration_names_its_text_n_ctx_and_seed_and_no_usual_mode)
{
    CHECK_TEXT(canonical("wikitext-valid"), "wikitext-valid:n=128,ctx=512,seed=0");
    CHECK_TEXT(canonical("calib-mini"), "calib-mini:n=32,ctx=256,seed=0");
    CHECK_TEXT(canonical("wikitext-valid:seed=7,n=16"),
               "wikitext-valid:n=16,ctx=512,seed=7");
    CHECK_TEXT(canonical("calib-mini:mode=auto,ctx=64"), "calib-mini:n=32,ctx=64,seed=0");
    CHECK_TEXT(canonical("calib-mini:mode=sequential"),
               "calib-mini:n=32,ctx=256,seed=0,mode=sequential");
    CHECK_TEXT(
        canonical(
            "wikitext-valid:mode=parallel,seed=9223372036854775807,ctx=1048576,n=1048576"),
        "wikitext-valid:n=1048576,ctx=1048576,seed=9223372036854775807,mode=parallel");
}

TEST(a_calibration_has_the_values_of_its_spec)
{
    struct ucb_calib_spec spec;
    CHECK_OK(ucb_calib_parse("calib-mini:n=3,ctx=9,seed=5,mode=parallel", &spec, &err),
             err);
    CHECK_TEXT(spec.dataset, "calib-mini");
    CHECK_EQ(spec.n, 3);
    CHECK_EQ(spec.ctx, 9);
    CHECK_EQ(spec.seed, 5);
    CHECK_EQ(spec.mode, UCB_CALIB_PARALLEL);
    CHECK_OK(ucb_calib_parse(spec.spec, &spec, &err), err); /* canonical parses to itself */
    CHECK_TEXT(spec.spec, "calib-mini:n=3,ctx=9,seed=5,mode=parallel");
}

TEST(the_default_calibration_is_canonical_and_follows_the_data)
{
    CHECK_TEXT(ucb_calib_default("mini"), canonical("calib-mini"));
    CHECK_TEXT(ucb_calib_default("/some/folder"), canonical("wikitext-valid"));
    setenv("UCBENCH_DATA", "/some/folder", 1);
    CHECK_TEXT(ucb_calib_default(NULL), canonical("wikitext-valid"));
    unsetenv("UCBENCH_DATA");
    CHECK_TEXT(ucb_calib_default(NULL), canonical("calib-mini"));
}

TEST(a_text_that_tasks_are_scored_on_is_refused_by_every_name)
{
    static const char *const scored[] = {"wikitext",
                                         "wikitext-test:n=128",
                                         "wikitext2",
                                         "wikitext-2",
                                         "wikitext-2-raw-test",
                                         "wikitext-2-raw.test.txt",
                                         "WikiText-2",
                                         "wiki_mini",
                                         "wiki-mini:n=4",
                                         "wiki_mini.txt",
                                         "lambada",
                                         "lambada_mini",
                                         "lambada-mini",
                                         "lambada_test.jsonl",
                                         "lambada-windows",
                                         "wikitext-words",
                                         "wikitext_words:ctx=512"};
    for (size_t i = 0; i < sizeof(scored) / sizeof(scored[0]); i++) {
        const char *why = refused(scored[i]);
        CHECK_HAS(why, "calibration must never see the test text");
        CHECK_HAS(why, "use wikitext-valid");
        CHECK_HAS(why, "calib-mini");
    }
}

TEST(what_is_no_calibration_is_refused_with_the_near_ones)
{
    CHECK_HAS(refused("wikitext-vald"), "did you mean `wikitext-valid`");
    CHECK_HAS(refused("calib_mini"), "did you mean `calib-mini`");
    CHECK_HAS(refused("c4"), "known: wikitext-valid, calib-mini");
    CHECK_HAS(refused(""), "known: wikitext-valid, calib-mini");
    CHECK_HAS(refused("calib-mini:ctxx=3"), "did you mean `ctx`");
    CHECK_HAS(refused("calib-mini:mode=sequental"), "did you mean `sequential`");
    CHECK_HAS(refused("calib-mini:n"), "expected key=value");
    CHECK_HAS(refused("calib-mini:"), "expected key=value");
    CHECK_HAS(refused("calib-mini:n=4,n=4"), "given twice");
    CHECK_HAS(refused("calib-mini:n=0"), "from 1 to");
    CHECK_HAS(refused("calib-mini:ctx=7"), "from 8 to");
    CHECK_HAS(refused("calib-mini:seed=-1"), "from 0 to");
    CHECK_HAS(refused("calib-mini:n=1e3"), "whole number");
    CHECK_HAS(refused("calib-mini:n=1048577"), "1048576");
    CHECK_HAS(refused("calib-mini n=4"), "no calibration text");
    struct ucb_calib_spec spec;
    char longer[300];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    CHECK_STATUS(ucb_calib_parse(longer, &spec, &err), UCB_USAGE, err);
    CHECK_HAS(err.text, "299 characters");
}

TEST(calibration_texts_are_data_sets_that_no_task_reads)
{
    const struct ucb_manifest *all;
    size_t n, n_texts = 0;
    CHECK_OK(ucb_manifests(&all, &n, &err), err);
    for (size_t i = 0; i < n; i++) {
        if (!ucb_calib_is_text(all[i].name)) {
            CHECK_TEXT(all[i].split, "test");
            continue;
        }
        n_texts++;
        CHECK(strcmp(all[i].split, "test") != 0);
        for (const struct ucb_task *const *t = ucb_tasks(); *t != NULL; t++) {
            const struct ucb_manifest *found;
            const struct ucb_manifest_file *file;
            CHECK_OK(ucb_manifest_find((*t)->full_file, &found, &file, &err), err);
            CHECK(found != &all[i]);
            CHECK_OK(ucb_manifest_find((*t)->mini_file, &found, &file, &err), err);
            CHECK(found != &all[i]);
        }
    }
    CHECK_EQ(n_texts, 2);
}

/* ---- windows ---- */

enum { N_IDS = 1000 };
static struct ucb_arena arena;

/* Cuts 0, 1, 2, ... into the windows of a spec. */
static void cut(const char *spec, uint32_t bos, struct ucb_calib_text *out)
{
    static uint32_t ids[N_IDS];
    struct ucb_calib_spec parsed;
    for (uint32_t i = 0; i < N_IDS; i++) ids[i] = i;
    CHECK_OK(ucb_calib_parse(spec, &parsed, &err), err);
    CHECK_OK(ucb_calib_cut(&parsed, ids, N_IDS, bos, &arena, out, &err), err);
    CHECK_EQ(out->n_windows, parsed.n);
}

TEST(windows_are_consecutive_ids_at_starts_of_the_named_stream)
{
    struct ucb_calib_text text;
    struct ucb_pcg random;
    uint32_t lowest = N_IDS, highest = 0;
    cut("calib-mini:n=5000,ctx=900,seed=3", UINT32_MAX, &text);
    ucb_pcg_named(&random, 3, "calib/calib-mini");
    for (size_t w = 0; w < text.n_windows; w++) {
        uint32_t start = ucb_pcg_below(&random, N_IDS - 900 + 1);
        for (uint32_t i = 0; i < 900; i++) CHECK_EQ(text.ids[w * 900 + i], start + i);
        if (start < lowest) lowest = start;
        if (start > highest) highest = start;
    }
    /* 5,000 draws among 101 starts: each end is missed with probability e^-49. */
    CHECK_EQ(lowest, 0);
    CHECK_EQ(highest, N_IDS - 900);
    ucb_arena_free(&arena);
}

TEST(windows_repeat_for_a_seed_and_differ_for_another_seed_or_text)
{
    struct ucb_calib_text a, b, other_seed, other_text;
    size_t n_bytes = 20 * 16 * sizeof(uint32_t);
    cut("calib-mini:n=20,ctx=16,seed=3", UINT32_MAX, &a);
    cut("calib-mini:n=20,ctx=16,seed=3,mode=parallel", UINT32_MAX, &b);
    cut("calib-mini:n=20,ctx=16,seed=4", UINT32_MAX, &other_seed);
    cut("wikitext-valid:n=20,ctx=16,seed=3", UINT32_MAX, &other_text);
    CHECK(memcmp(a.ids, b.ids, n_bytes) == 0);
    CHECK(memcmp(a.ids, other_seed.ids, n_bytes) != 0);
    CHECK(memcmp(a.ids, other_text.ids, n_bytes) != 0);
    /* More windows are the same ones, and then others. */
    cut("calib-mini:n=40,ctx=16,seed=3", UINT32_MAX, &b);
    CHECK(memcmp(a.ids, b.ids, n_bytes) == 0);
    ucb_arena_free(&arena);
}

TEST(a_text_of_one_window_gives_that_window_and_a_shorter_one_is_refused)
{
    struct ucb_calib_spec spec;
    struct ucb_calib_text text;
    uint32_t ids[9] = {9, 8, 7, 6, 5, 4, 3, 2, 1};
    CHECK_OK(ucb_calib_parse("calib-mini:n=2,ctx=9", &spec, &err), err);
    CHECK_OK(ucb_calib_cut(&spec, ids, 9, UINT32_MAX, &arena, &text, &err), err);
    CHECK(memcmp(text.ids, ids, sizeof(ids)) == 0);
    CHECK(memcmp(text.ids + 9, ids, sizeof(ids)) == 0);
    CHECK_STATUS(ucb_calib_cut(&spec, ids, 8, UINT32_MAX, &arena, &text, &err), UCB_USAGE,
                 err);
    CHECK_HAS(err.text, "8 tokens in all, fewer than one window of ctx=9");
    ucb_arena_free(&arena);
}

TEST(bos_takes_the_place_of_each_windows_first_id)
{
    struct ucb_calib_text plain, with_bos;
    cut("calib-mini:n=20,ctx=16", UINT32_MAX, &plain);
    cut("calib-mini:n=20,ctx=16", 5000, &with_bos);
    for (size_t i = 0; i < 20 * 16; i++)
        CHECK_EQ(with_bos.ids[i], i % 16 == 0 ? 5000 : plain.ids[i]);
    ucb_arena_free(&arena);
}

/* ---- loading ---- */

TEST(the_mini_text_is_loaded_by_a_tokenizer_from_any_data_folder)
{
    const struct ucb_resource *r = ucb_resource_find("datasets/calib_mini/calib_mini.txt");
    struct ucb_tokenizer *tokenizer;
    struct ucb_calib_spec spec;
    struct ucb_calib_text text;
    struct ucb_pcg random;
    char hex[UCB_SHA256_HEX], identity[UCB_CALIB_IDENTITY];
    CHECK_OK(tiny_tokenizer_open(ucb_test_folder(), 1, &tokenizer, &err), err);
    CHECK_OK(ucb_calib_parse("calib-mini", &spec, &err), err);
    CHECK_OK(ucb_calib_load(&spec, "/no/such/folder", tokenizer, &arena, &text, &err), err);
    ucb_sha256_hex(r->data, r->n_bytes, hex);
    CHECK_TEXT(text.digest, hex);
    CHECK_TEXT(text.spec.spec, spec.spec);
    CHECK_EQ(text.n_windows, 32);
    ucb_pcg_named(&random, 0, "calib/calib-mini"); /* an id is a byte */
    uint32_t start = ucb_pcg_below(&random, (uint32_t)r->n_bytes - 256 + 1);
    for (size_t i = 0; i < 256; i++) CHECK_EQ(text.ids[i], (uint8_t)r->data[start + i]);
    ucb_calib_identity(&spec, text.digest, identity);
    CHECK_TEXT(identity, ucb_test_path("calib-mini:n=32,ctx=256,seed=0 %.12s", hex));
    ucb_tokenizer_close(tokenizer);
    ucb_arena_free(&arena);
}

TEST(a_tokenizer_that_adds_bos_puts_it_into_every_window)
{
    static const char processor[] =
        "\"added_tokens\":[{\"id\":256,\"content\":\"<s>\"}],\"post_processor\":{\"type\":"
        "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
        "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[]}";
    struct ucb_text json = {0};
    struct ucb_tokenizer *tokenizer;
    struct ucb_calib_spec spec;
    struct ucb_calib_text text;
    const char *path = ucb_test_path("%s/tokenizer.json", ucb_test_folder());
    tiny_byte_level(&json, processor, NULL, 0);
    CHECK_OK(ucb_file_write(path, ucb_text_get(&json), json.n_chars, &err), err);
    CHECK_OK(ucb_file_write(ucb_test_path("%s/tokenizer_config.json", ucb_test_folder()),
                            "{\"bos_token\":\"<s>\"}", 19, &err),
             err);
    CHECK_OK(ucb_tokenizer_open(path, &tokenizer, &err), err);
    CHECK(ucb_tokenizer_adds_bos(tokenizer));
    CHECK_OK(ucb_calib_parse("calib-mini:n=5,ctx=32", &spec, &err), err);
    CHECK_OK(ucb_calib_load(&spec, "mini", tokenizer, &arena, &text, &err), err);
    for (size_t i = 0; i < 5 * 32; i++) CHECK((text.ids[i] == 256) == (i % 32 == 0));
    ucb_tokenizer_close(tokenizer);
    ucb_text_free(&json);
    ucb_arena_free(&arena);
}

TEST(a_text_that_is_not_there_or_another_one_is_answered_with_what_to_do)
{
    struct ucb_tokenizer *tokenizer;
    struct ucb_calib_spec spec;
    struct ucb_calib_text text;
    const char *folder = ucb_test_folder();
    CHECK_OK(tiny_tokenizer_open(folder, 1, &tokenizer, &err), err);
    CHECK_OK(ucb_calib_parse("wikitext-valid", &spec, &err), err);
    CHECK_STATUS(ucb_calib_load(&spec, "mini", tokenizer, &arena, &text, &err), UCB_MISSING,
                 err);
    CHECK_HAS(err.text, "--calib calib-mini");
    CHECK_STATUS(ucb_calib_load(&spec, folder, tokenizer, &arena, &text, &err), UCB_MISSING,
                 err);
    CHECK_HAS(err.text, "wikitext-2-raw.valid.txt: not there");
    CHECK_HAS(err.text, "scripts/fetch.sh data");
    CHECK_OK(
        ucb_file_write(ucb_test_path("%s/wikitext-2-raw.valid.txt", folder), "a", 1, &err),
        err);
    CHECK_STATUS(ucb_calib_load(&spec, folder, tokenizer, &arena, &text, &err), UCB_CORRUPT,
                 err);
    CHECK_HAS(err.text, "4cd0f6876d07");
    ucb_tokenizer_close(tokenizer);
    ucb_arena_free(&arena);
}

TEST(every_refused_allocation_of_loading_is_reported)
{
    struct ucb_tokenizer *tokenizer;
    struct ucb_calib_spec spec;
    struct ucb_calib_text text;
    ucb_status status = UCB_NOMEM;
    CHECK_OK(tiny_tokenizer_open(ucb_test_folder(), 1, &tokenizer, &err), err);
    CHECK_OK(ucb_calib_parse("calib-mini", &spec, &err), err);
    for (long n = 1; status != UCB_OK; n++) {
        ucb_mem_fail_after(n);
        status = ucb_calib_load(&spec, "mini", tokenizer, &arena, &text, &err);
        ucb_mem_fail_after(0);
        if (status != UCB_OK) CHECK_EQ(status, UCB_NOMEM);
        ucb_arena_free(&arena);
        CHECK(n < 1000);
    }
    ucb_tokenizer_close(tokenizer);
}

TEST(the_test_text_is_a_calibration_only_for_compat_and_then_counts_as_contaminated)
{
    struct ucb_calib_spec spec;
    CHECK_HAS(refused("wikitext-test"), "--compat");
    CHECK_OK(ucb_calib_parse_compat("wikitext-test", &spec, &err), err);
    CHECK_TEXT(spec.spec, "wikitext-test:n=32,ctx=512,seed=123");
    CHECK(ucb_calib_is_contaminated(spec.spec));
    CHECK_OK(ucb_calib_parse_compat("calib-mini", &spec, &err), err);
    CHECK(!ucb_calib_is_contaminated(spec.spec));
    CHECK(!ucb_calib_is_contaminated("wikitext-valid:n=128,ctx=512,seed=0 0123"));
    CHECK(!ucb_calib_is_contaminated("") && !ucb_calib_is_text("wikitext-test"));
    CHECK_STATUS(ucb_calib_parse_compat("lambada", &spec, &err), UCB_USAGE, err);
}

TEST(windows_of_the_test_text_start_where_mt19937_says_and_keep_their_first_id)
{
    /* seed 42 draws 1608637542, then 3421126067; N - L - 1 = 1000 - 8 - 1 */
    struct ucb_arena own = {0};
    struct ucb_calib_spec spec;
    struct ucb_calib_text text;
    uint32_t ids[1000];
    for (uint32_t i = 0; i < 1000; i++) ids[i] = i;
    CHECK_OK(ucb_calib_parse_compat("wikitext-test:n=2,ctx=8,seed=42", &spec, &err), err);
    CHECK_OK(ucb_calib_cut(&spec, ids, 1000, 7, &own, &text, &err), err);
    CHECK_EQ(text.ids[0], 1608637542u % 991);
    CHECK_EQ(text.ids[8], 3421126067u % 991);
    CHECK_EQ(text.ids[15], 3421126067u % 991 + 7);
    CHECK_STATUS(ucb_calib_cut(&spec, ids, 9, 7, &own, &text, &err), UCB_USAGE, err);
    CHECK_OK(ucb_calib_cut(&spec, ids, 10, 7, &own, &text, &err), err);
    ucb_arena_free(&own);
}
