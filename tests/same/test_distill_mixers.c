/* The chain of the ladder on layers that are not plain attention: sweeps end with every
 * cell, and threads and kernel path decide nothing. */
#include "test.h"

#include <stdio.h>

#include "tiny.h"
#include "tiny_mixers.h"

static const char work[] =
    "--task wikitext:ctx=64,n=2 --calib calib-mini:n=6,ctx=48 "
    "--method gsq:bits=5,block=64+lowrank:rank=32+distill:steps=2 "
    "--method gsq:bits=3+lowrank:rank=2+distill:steps=3,batch=4,train=all,online=1 "
    "--method gsq:bits=3+lowrank:rank=2+distill:steps=2,objective=kl";

static void sweep(const char *model, const char *name, const char *how, char hex[65])
{
    static char out[1 << 16];
    const char *folder = ucb_test_folder();
    RUN(0,
        "sweep --quiet --data mini --model %s --cache %s/cache-%s --db %s/%s.db %s --kernel "
        "%s",
        model, folder, name, folder, name, work, how);
    RUN(0, "digest --db %s/%s.db", folder, name);
    snprintf(hex, 65, "%.64s", out);
}

static void check_same(const char *model, const char *name)
{
    char one[65], more[65];
    sweep(model, ucb_test_path("%s-1", name), "scalar --threads 1", one);
    sweep(model, ucb_test_path("%s-3", name), "auto --threads 3 --batch 40", more);
    CHECK_TEXT(more, one);
}

TEST(the_chain_of_the_ladder_tunes_latent_attention_with_the_same_digest)
{
    const char *model = ucb_test_path("%s/latent", ucb_test_folder());
    ucb_tiny_model(model); /* its tokenizer stays */
    tiny_latent_model(model);
    check_same(model, "latent");
}

TEST(the_chain_of_the_ladder_tunes_a_state_space_with_the_same_digest)
{
    const char *model = ucb_test_path("%s/ssm", ucb_test_folder());
    ucb_tiny_model(model);
    tiny_ssm_model(model);
    check_same(model, "ssm");
}

/* Gains of latents are tuned too: the pack holds them, and what it unpacks to runs with
 * them. */
TEST(a_tuned_model_with_latent_attention_is_packed_and_verified)
{
    static char out[1 << 16];
    const char *folder = ucb_test_folder(), *model = ucb_test_path("%s/latent", folder);
    ucb_tiny_model(model);
    tiny_latent_model(model);
    RUN(0,
        "pack --quiet --data mini --calib calib-mini:n=6,ctx=48 --model %s --method "
        "gsq:bits=3+lowrank:rank=2+distill:steps=3,batch=4,train=all --out %s/tuned.ucb",
        model, folder);
    RUN(0, "verify --quiet %s/tuned.ucb --source %s", folder, model);
}
