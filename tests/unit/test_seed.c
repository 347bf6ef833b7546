/* .uc layers and UCV17 files, written here by hand: read to the value, and refused when
 * cut, changed or appended to. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/half.h"
#include "pack/seed.h"

static struct ucb_err err;

static void put_name(struct ucb_writer *out, const char *name)
{
    ucb_put_u16(out, (uint16_t)strlen(name));
    ucb_put_bytes(out, name, strlen(name));
}

/* Codes of `bits` bits each, least significant first. */
static void put_codes(struct ucb_writer *out, const unsigned *codes, size_t n,
                      unsigned bits)
{
    unsigned held = 0, n_held = 0;
    for (size_t i = 0; i < n; i++)
        for (unsigned b = 0; b < bits; b++) {
            held |= (codes[i] >> b & 1) << n_held++;
            if (n_held == 8) {
                ucb_put_u8(out, (uint8_t)held);
                held = n_held = 0;
            }
        }
    if (n_held > 0) ucb_put_u8(out, (uint8_t)held);
}

static void put_head(struct ucb_writer *out, uint16_t version, uint16_t n_linears,
                     uint16_t n_extras)
{
    ucb_put_bytes(out, "UCL", 4);
    ucb_put_u16(out, version);
    ucb_put_u16(out, 7);
    ucb_put_u16(out, n_linears);
    ucb_put_u16(out, n_extras);
    ucb_put_u32(out, 0);
}

static const unsigned five_codes[6] = {0, 31, 7, 16, 1, 30};

/* 2 x 3 in blocks of 2 (so 2 blocks a row, the last one short), 5 bits, rank 1. */
static void put_v3(struct ucb_writer *out)
{
    static const float absmax[4] = {1.0f, 2.0f, 0.3f, 4.0f};
    put_head(out, 3, 1, 1);
    put_name(out, "mlp.down_proj");
    ucb_put_u32(out, 2);
    ucb_put_u32(out, 3);
    ucb_put_u16(out, 2);
    ucb_put_u8(out, 5);
    ucb_put_u8(out, 1);
    ucb_put_u16(out, 32);
    ucb_put_f32(out, 0.5f);
    for (int i = 0; i < 32; i++) ucb_put_f32(out, (float)(i - 16) / 16.0f);
    for (int i = 0; i < 4; i++) ucb_put_f32(out, absmax[i]);
    put_codes(out, five_codes, 6, 5);
    for (int i = 0; i < 3; i++) ucb_put_f32(out, (float)(i + 1));        /* V */
    for (int i = 0; i < 2; i++) ucb_put_f32(out, (float)(10 * (i + 1))); /* U */
    ucb_put_u8(out, 1);
    for (int i = 0; i < 2; i++) ucb_put_u16(out, ucb_bf16_from_f32((float)i));
    put_name(out, "input_layernorm");
    ucb_put_u8(out, 1);
    ucb_put_u32(out, 3);
    ucb_put_u8(out, 1);
    for (int i = 0; i < 3; i++) ucb_put_f32(out, 1.0f);
}

TEST(a_uc_layer_of_version_3_decodes_to_bf16_of_grid_times_absmax_and_the_correction)
{
    struct ucb_writer out = {0};
    struct ucb_arena arena;
    struct ucb_uc_layer layer;
    float w[6];
    ucb_arena_init(&arena);
    put_v3(&out);
    CHECK_OK(ucb_uc_parse("v3", out.data, out.n_bytes, &arena, &layer, &err), err);
    CHECK_EQ(layer.index, 7);
    CHECK_EQ(layer.n_linears, 1);
    CHECK_EQ(layer.extras[0].n_bytes, 12);
    CHECK(layer.linears[0].bias != NULL);
    ucb_uc_decode(&layer, &layer.linears[0], w);
    static const float absmax[6] = {1.0f, 1.0f, 2.0f, 0.3f, 0.3f, 4.0f};
    for (int i = 0; i < 6; i++) {
        float base = ucb_bf16_round((float)((int)five_codes[i] - 16) / 16.0f * absmax[i]);
        float correction = 0.5f * ((float)(10 * (i / 3 + 1)) * (float)(i % 3 + 1));
        CHECK(w[i] == base + correction);
    }
    ucb_arena_free(&arena);
    ucb_writer_free(&out);
}

TEST(a_uc_layer_of_version_2_has_codes_around_zero_and_bf16_scales)
{
    static const unsigned codes[4] = {0, 15, 8, 3};
    struct ucb_writer out = {0};
    struct ucb_arena arena;
    struct ucb_uc_layer layer;
    float w[4];
    ucb_arena_init(&arena);
    put_head(&out, 2, 1, 0);
    put_name(&out, "q");
    ucb_put_u32(&out, 1);
    ucb_put_u32(&out, 4);
    ucb_put_u16(&out, 4);
    ucb_put_u8(&out, 4);
    ucb_put_u8(&out, 0);
    ucb_put_u8(&out, 1);
    ucb_put_u16(&out, ucb_bf16_from_f32(1.0f));
    put_codes(&out, codes, 4, 4);
    ucb_put_u16(&out, ucb_bf16_from_f32(0.5f));
    ucb_put_u8(&out, 0);
    CHECK_OK(ucb_uc_parse("v2", out.data, out.n_bytes, &arena, &layer, &err), err);
    ucb_uc_decode(&layer, &layer.linears[0], w);
    for (int i = 0; i < 4; i++) CHECK(w[i] == 0.5f * (float)((int)codes[i] - 8));
    ucb_arena_free(&arena);
    ucb_writer_free(&out);
}

/* 1 x 8 in groups of 4; codebooks of 3 and 2 rows: 2 and 1 bits. */
static void put_v17(struct ucb_writer *out)
{
    char text[640];
    int n = snprintf(
        text, sizeof(text),
        "{\"magic\": \"UCV17\", \"version\": 1, \"D\": 4, \"a_attn\": 0.25, \"a_mlp\": 0.125, "
        "\"role_K\": {\"q_proj\": [3, 2]}, \"roles\": [\"q_proj\"], \"weights\": [{\"key\": \"a\", "
        "\"O\": 1, \"I\": 8, \"role\": \"q_proj\", \"b1\": 2, \"b2\": 1, \"n_groups\": 2, "
        "\"s_bytes\": 16, \"rs_bytes\": 2, \"codes_bytes\": 8}]}");
    ucb_put_bytes(out, "UCV17\1", 6);
    ucb_put_u32(out, (uint32_t)n);
    ucb_put_bytes(out, text, (size_t)n);
    for (int i = 0; i < 12 + 8; i++) ucb_put_u16(out, ucb_f16_from_f32((float)i));
    for (int i = 0; i < 8; i++) ucb_put_u16(out, ucb_f16_from_f32(1.0f));
    ucb_put_u16(out, ucb_f16_from_f32(2.0f));
    ucb_put_u8(out, 0xA4); /* 10 1, 00 1, zeros: (2, 1), (0, 1) */
    for (int i = 0; i < 7; i++) ucb_put_u8(out, 0);
}

TEST(ucv17_codes_are_read_from_bit_7_down)
{
    struct ucb_writer out = {0};
    struct ucb_arena arena;
    struct ucb_v17 v;
    float g[8];
    uint32_t i1, i2;
    ucb_arena_init(&arena);
    put_v17(&out);
    CHECK_OK(ucb_v17_parse("v17", out.data, out.n_bytes, &arena, &v, &err), err);
    ucb_v17_indices(&v, &v.weights[0], 0, &i1, &i2);
    CHECK_EQ(i1, 2);
    CHECK_EQ(i2, 1);
    ucb_v17_decode(&v, &v.weights[0], g);
    for (int k = 0; k < 4; k++) {
        CHECK(g[k] == 2.0f * (float)(8 + k + 16 + k));
        CHECK(g[4 + k] == 2.0f * (float)(k + 16 + k));
    }
    ucb_arena_free(&arena);
    ucb_writer_free(&out);
}

/* Cut anywhere, or a byte more: refused. */
static void check_lengths(bool v17)
{
    struct ucb_writer out = {0};
    (v17 ? put_v17 : put_v3)(&out);
    ucb_put_u8(&out, 0);
    for (size_t n = 0; n <= out.n_bytes; n++) {
        struct ucb_arena arena;
        struct ucb_uc_layer layer;
        struct ucb_v17 v;
        uint8_t *own = malloc(n + 1); /* so that a read past the end shows */
        memcpy(own, out.data, n);
        ucb_arena_init(&arena);
        ucb_status status = v17 ? ucb_v17_parse("f", own, n, &arena, &v, &err)
                                : ucb_uc_parse("f", own, n, &arena, &layer, &err);
        CHECK_EQ(status, n + 1 == out.n_bytes ? UCB_OK : UCB_CORRUPT);
        ucb_arena_free(&arena);
        free(own);
    }
    ucb_writer_free(&out);
}

TEST(a_uc_layer_or_ucv17_file_of_another_length_is_refused)
{
    check_lengths(false);
    check_lengths(true);
}

TEST(a_code_past_its_grid_is_refused)
{
    struct ucb_writer out = {0};
    struct ucb_arena arena;
    struct ucb_v17 v;
    ucb_arena_init(&arena);
    put_v17(&out);
    out.data[out.n_bytes - 8] = 0xE4; /* i1 = 3 of a codebook of 3 */
    CHECK_STATUS(ucb_v17_parse("f", out.data, out.n_bytes, &arena, &v, &err), UCB_CORRUPT,
                 err);
    CHECK_HAS(err.text, "indices");
    ucb_arena_free(&arena);
    ucb_writer_free(&out);
}

/* Qwen3-1.7B, base fit: 424,563,357 bytes for 1,409,286,144 weights. All but the JSON
 * follows from the shapes; what is left for it is 191 bytes a weight. */
TEST(the_size_of_a_ucv17_file_follows_from_the_shapes)
{
    static const uint32_t shapes[7][2] = {{2048, 2048}, {1024, 2048}, {1024, 2048},
                                          {2048, 2048}, {6144, 2048}, {6144, 2048},
                                          {2048, 6144}};
    uint64_t n_bytes = 0, n_weights = 0;
    for (int role = 0; role < 7; role++) {
        uint32_t k1 = role == 3 ? 4096 : 2048, k2 = role == 3 ? 512 : 256;
        n_bytes += ucb_v17_codebook_bytes(8, k1, k2);
        n_bytes += 28 * ucb_v17_weight_bytes(8, k1, k2, shapes[role][0], shapes[role][1]);
        n_weights += 28 * (uint64_t)shapes[role][0] * shapes[role][1];
    }
    CHECK_EQ(n_weights, 1409286144);
    CHECK_EQ(n_bytes, 424525824);
    uint64_t json = 424563357 - 10 - n_bytes;
    CHECK(json > 196 * 150 && json < 196 * 230);
    CHECK_NEAR(8.0 * 424563357 / (double)n_weights, 2.4101, 5e-5);
}
