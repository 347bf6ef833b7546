/* `--resident encoded` decodes inside the products: the digest of a run that decodes first,
 * for every method, thread count and batch. */
#include "test.h"

#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "tiny.h"

static const char task[] = "--task lambada:n=6 --task wikitext:ctx=64,n=3";
static const char methods[] =
    "--method nf4 --method hqq:bits=4,group=16 --method rtn:bits=4 --method lossless "
    "--method int5+residual --method gsq:bits=5+lowrank:rank=2 --method int8 "
    "--method int8:threshold=6.0";

TEST(an_encoded_layer_gives_the_digest_of_a_decoded_one)
{
    static const char *const variants[] = {
        "--threads 1 --batch 1",   "--threads 2 --batch 7", "--threads 3 --batch 32",
        "--threads 3 --batch 512", "--kernel scalar",       "--scope all --method nf4"};
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    char base[65], found[65];
    ucb_tiny_model(model);
    for (unsigned a = 0; a < UCB_N_STRICT_ARITHS; a++) {
        const char *arithmetic = ucb_arithmetic_name((enum ucb_arithmetic)a);
        ucb_sweep_digest(model, ucb_test_path("base-%s", arithmetic),
                         ucb_test_path("%s %s --arithmetic %s", task, methods, arithmetic),
                         base);
        for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
            bool all = strstr(variants[i], "--scope") != NULL;
            char all_base[65];
            if (all)
                ucb_sweep_digest(
                    model, ucb_test_path("all-%s", arithmetic),
                    ucb_test_path("%s %s --arithmetic %s", task, variants[i], arithmetic),
                    all_base);
            ucb_sweep_digest(model, ucb_test_path("%s-%zu", arithmetic, i),
                             ucb_test_path("%s %s %s --arithmetic %s --resident encoded",
                                           task, all ? "" : methods, variants[i],
                                           arithmetic),
                             found);
            if (strcmp(found, all ? all_base : base) != 0)
                ucb_test_fail(__FILE__, __LINE__, "%s %s: digest %.12s, expected %.12s",
                              arithmetic, variants[i], found, all ? all_base : base);
        }
    }
}

/* Layers that a calibration walks through, too, and one that was tuned. */
TEST(an_encoded_layer_gives_the_digest_of_a_decoded_one_where_a_text_is_calibrated_on)
{
    static const char options[] =
        "--task wikitext:ctx=64,n=3 --calib calib-mini:n=4,ctx=32 --method gptq:bits=4,group=16 "
        "--method awq:bits=4,group=16";
    const char *model = ucb_test_path("%s/tiny", ucb_test_folder());
    char base[65], found[65];
    ucb_tiny_model(model);
    ucb_sweep_digest(model, "base",
                     ucb_test_path("%s --cache %s/a", options, ucb_test_folder()), base);
    ucb_sweep_digest(model, "encoded",
                     ucb_test_path("%s --cache %s/b --resident encoded --threads 3",
                                   options, ucb_test_folder()),
                     found);
    CHECK_TEXT(found, base);
}
