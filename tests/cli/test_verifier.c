/* The verifier must fail where it should: one bit, one name, one dtype; and say yes of
 * weights that sit on rounding boundaries. */
#include "test.h"

#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/half.h"
#include "model/checkpoint.h"
#include "tiny.h"

static char out[1 << 16];
static struct ucb_err err;

static const char *here(const char *name)
{
    return ucb_test_path("%s/%s", ucb_test_folder(), name);
}

/* Four tensors of 2 x 3 in BF16, a -0.0 and a NaN among them; the last two are equal. */
enum { N = 4, ELEMENTS = 6 };
static uint16_t bits[N][ELEMENTS];
static struct ucb_tensor tensors[N];

static void fill(void)
{
    static const char *const names[N] = {"a", "b", "c", "d"};
    for (int t = 0; t < N; t++) {
        for (int i = 0; i < ELEMENTS; i++)
            bits[t][i] = (uint16_t)(0x3F80 + 7 * t * (t < 3) + i);
        if (t == 3) memcpy(bits[3], bits[2], sizeof(bits[3]));
        tensors[t] = (struct ucb_tensor){.name = names[t],
                                         .dtype = UCB_BF16,
                                         .n_dims = 2,
                                         .shape = {2, 3},
                                         .n_elements = ELEMENTS,
                                         .data = (const uint8_t *)bits[t],
                                         .n_bytes = sizeof(bits[t])};
    }
    bits[0][1] = 0x8000;
    bits[1][4] = 0x7FC1;
}

static void write_model(const char *name, size_t n)
{
    CHECK_OK(ucb_safetensors_write(here(name), tensors, n, &err), err);
}

static void check_refused(const char *says)
{
    RUN(1, "verify %s --source %s", here("p.ucb"), here("model.safetensors"));
    CHECK_HAS(out, "FAIL     source_bits_equal");
    CHECK_HAS(out, says);
    fill();
}

TEST(the_verifier_fails_on_the_smallest_difference_and_names_it)
{
    fill();
    write_model("model.safetensors", N);
    RUN(0, "pack --quiet --model %s --method lossless --out %s", here("model.safetensors"),
        here("p.ucb"));
    RUN(0, "verify %s --source %s --inputs 0", here("p.ucb"), here("model.safetensors"));
    CHECK_HAS(out, "PASS     source_bits_equal");

    bits[0][1] = 0x0000; /* the sign of a zero */
    write_model("model.safetensors", N);
    check_refused("a differs from the source first at element 1 (row 0, column 1)");

    bits[1][4] = 0x7FC2; /* another NaN */
    write_model("model.safetensors", N);
    check_refused("b differs from the source first at element 4 (row 1, column 1)");

    tensors[0].name = "b"; /* swapped */
    tensors[1].name = "a";
    write_model("model.safetensors", N);
    check_refused("differs from the source first at element 0");

    write_model("model.safetensors", N - 1);
    check_refused("d: the source has no such tensor");

    tensors[1].dtype = UCB_F16; /* the same bytes */
    write_model("model.safetensors", N);
    check_refused("b: F16 [2, 3] in the source");

    struct ucb_tensor first = tensors[0]; /* another order in the file */
    tensors[0] = tensors[1];
    tensors[1] = first;
    write_model("model.safetensors", N);
    check_refused("all 4 tensors are equal to the source's, but the files are not");
}

TEST(the_verifier_fails_on_a_tensor_too_many)
{
    fill();
    write_model("model.safetensors", N - 1);
    RUN(0, "pack --quiet --model %s --method lossless --out %s", here("model.safetensors"),
        here("p.ucb"));
    write_model("model.safetensors", N);
    check_refused("d: the source has it, the pack does not");
}

TEST(equal_tensors_are_stored_once)
{
    fill();
    write_model("model.safetensors", N);
    RUN(0, "pack --quiet --model %s --method none --out %s", here("model.safetensors"),
        here("p.ucb"));
    RUN(0, "info %s --json", here("p.ucb"));
    CHECK_HAS(out, "\"stored_tensors\": 36"); /* three of 12 bytes */
    RUN(0, "unpack %s --out %s", here("p.ucb"), here("o"));
    RUN(0, "verify %s --source %s --inputs 0", here("p.ucb"), here("o/model.safetensors"));
}

/* Every weight of a matrix half way between two steps of a 4-bit grid, half way between two
 * bf16 or fp16 neighbours of it, or a zero of either sign. */
static void put_boundaries(const char *model)
{
    const char *path = ucb_test_path("%s/model.safetensors", model);
    static uint8_t copy[1 << 22];
    struct ucb_checkpoint *c;
    struct ucb_file map;
    CHECK_OK(ucb_checkpoint_open(path, &c, &err), err);
    CHECK_OK(ucb_file_map(path, &map, &err), err);
    CHECK(map.n_bytes <= sizeof(copy));
    size_t n_bytes = map.n_bytes;
    memcpy(copy, map.data, n_bytes);
    const struct ucb_tensor *t = ucb_checkpoint_find(c,
                                                     "model.layers.0.mlp.up_proj.weight");
    size_t at = (size_t)(t->data - ucb_checkpoint_file_data(c, 0));
    for (size_t i = 0; i < t->n_elements; i++) {
        float value = i % 3 == 0   ? ((float)(i % 31) - 15.0f) / 30.0f
                      : i % 3 == 1 ? ((float)(i % 16) + 0.5f) / 16.0f
                                   : (i % 2 == 0 ? 0.0f : -0.0f);
        uint16_t half = ucb_bf16_from_f32(value);
        memcpy(copy + at + 2 * i, &half, 2);
    }
    ucb_file_unmap(&map);
    ucb_checkpoint_close(c);
    CHECK_OK(ucb_file_write(path, copy, n_bytes, &err), err);
}

TEST(weights_on_rounding_boundaries_come_back_as_they_were_decoded)
{
    static const char *const methods[] = {"lossless",           "rtn:bits=4,group=32,sym=1",
                                          "nf4:double_quant=1", "hqq:bits=4,group=32",
                                          "gguf:type=Q4_0",     "int5+residual"};
    const char *model = here("tiny");
    ucb_tiny_model(model);
    put_boundaries(model);
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        RUN(0, "pack --quiet --model %s --method %s --out %s", model, methods[i],
            here("p.ucb"));
        RUN(0, "verify %s --source %s --inputs 12 --cache %s", here("p.ucb"), model,
            here("cache"));
        CHECK_HAS(out, "PASS     logits_bit_exact");
    }
}

/* ---- older containers ---- */

static void write_uc(const char *path, uint16_t index, bool spoil)
{
    struct ucb_writer w = {0};
    ucb_put_bytes(&w, "UCL", 4);
    ucb_put_u16(&w, 3);
    ucb_put_u16(&w, index);
    ucb_put_u16(&w, 1);
    ucb_put_u16(&w, 0);
    ucb_put_u32(&w, 0);
    ucb_put_u16(&w, 1);
    ucb_put_bytes(&w, "q", 1);
    ucb_put_u32(&w, 1);
    ucb_put_u32(&w, 4);
    ucb_put_u16(&w, 4);
    ucb_put_u8(&w, 2);
    ucb_put_u8(&w, 0);
    ucb_put_u16(&w, spoil ? 3 : 4); /* codes reach 3 */
    ucb_put_f32(&w, 1.0f);
    for (int i = 0; i < (spoil ? 3 : 4) + 1; i++) ucb_put_f32(&w, 1.0f);
    ucb_put_u8(&w, 0xE4);
    ucb_put_u8(&w, 0);
    CHECK_OK(ucb_file_write(path, w.data, w.n_bytes, &err), err);
    ucb_writer_free(&w);
}

TEST(a_folder_of_uc_layers_is_checked_and_what_it_leaves_unverified_is_said)
{
    static const char manifest[] =
        "{\"format\": \"uc\", \"uc_pack_version\": 3, \"n_layers\": 2}";
    CHECK_OK(ucb_folder_make(here("uc"), &err), err);
    CHECK_OK(ucb_file_write(here("uc/manifest.json"), manifest, sizeof(manifest) - 1, &err),
             err);
    write_uc(here("uc/layer_000.uc"), 0, false);
    RUN(1, "verify %s", here("uc"));
    CHECK_HAS(out, "layer_001.uc");
    write_uc(here("uc/layer_001.uc"), 1, false);
    RUN(0, "verify %s", here("uc"));
    CHECK_HAS(out, "PASS     structure");
    CHECK_HAS(out, "SKIPPED  pack_digest");
    CHECK_HAS(out, "no digest is stored");
    RUN(0, "info %s --json", here("uc/layer_001.uc"));
    CHECK_HAS(out, "\"layer\": 1");
    write_uc(here("uc/layer_001.uc"), 1, true);
    RUN(1, "verify %s", here("uc"));
    CHECK_HAS(out, "its grid has 3");
    RUN(3, "info %s", here("uc/layer_001.uc"));
}
