/* Every method in the registry, every choice of every knob: decoded on the emulated device
 * to the bits of the CPU, and damaged payloads refused alike. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../golden/vectors.h"
#include "codec_seal.h"
#include "core/half.h"
#include "cuda_fixture.h"
#include "decode_check.h"
#include "method/chain_cuda.h"

enum { MAX_WEIGHTS = 300 * 257 };

/* Why a method has no decoder; NULL: it has to have one. */
static const char *reason_for_none(const struct ucb_method *method)
{
    if (method->kind == UCB_TUNE) return "it writes no bytes";
    return NULL;
}

/* A stage that cannot come first stands behind a plain grid. */
static const char *whole_spec(const struct ucb_method *method, const char *spec)
{
    bool first = method->kind != UCB_ADD && !method->needs_before;
    return first ? spec : ucb_test_path("rtn:group=-1+%s", spec);
}

TEST(every_method_has_a_decoder_on_the_device_or_a_stated_reason_for_none)
{
    use_emulated_cuda("forward");
    for (const struct ucb_method *const *m = ucb_methods(); *m != NULL; m++) {
        struct method_fixture f;
        const char *missing = "";
        if (reason_for_none(*m) != NULL) continue;
        fixture_open(&f, whole_spec(*m, (*m)->name), 8, 64, UCB_BF16, 1);
        if (!ucb_chain_decodes_on_cuda(f.chain, &missing))
            ucb_test_fail(__FILE__, __LINE__, "%s has no decoder in cuda/", missing);
        fixture_close(&f);
    }
}

/* Gaussian weights with a block of zeros, a large one and both zeros, rounded to dtype. */
static void make_weights(float *w, size_t n, enum ucb_dtype dtype, const char *name)
{
    fill_gaussian(w, n, 0.05, name);
    for (size_t i = n / 3; i < n / 3 + 80 && i < n; i++) w[i] = 0;
    w[n / 2] = -0.0f;
    w[n - 1] = 3;
    for (size_t i = 0; i < n; i++)
        w[i] = dtype == UCB_F16    ? ucb_f16_round(w[i])
               : dtype == UCB_BF16 ? ucb_bf16_round(w[i])
                                   : w[i];
}

static const enum ucb_dtype dtypes[] = {UCB_F32, UCB_F16, UCB_BF16};

/* The fit of large codebooks takes long, and what is decoded does not depend on it. */
static const char *quick(const struct ucb_method *method, const char *spec)
{
    if (strcmp(method->name, "row_overlay") != 0) return spec;
    return ucb_test_path("%s%sk1=64,k2=16,iters=1", spec,
                         strchr(spec, ':') == NULL ? ":" : ",");
}

static int try_shapes(const struct ucb_method *method, const char *knobs,
                      const uint32_t (*shapes)[2], size_t n_shapes, int damage)
{
    static float w[MAX_WEIGHTS];
    static unsigned turn;
    int n = 0;
    for (size_t i = 0; i < n_shapes; i++) {
        const char *spec = whole_spec(method, quick(method, knobs));
        enum ucb_dtype dtype = dtypes[turn++ % 3];
        make_weights(w, (size_t)shapes[i][0] * shapes[i][1], dtype, spec);
        n += check_spec(spec, dtype, shapes[i][0], shapes[i][1], w, damage);
    }
    return n;
}

/* Choices that --list offers, and the ends of whole numbers' ranges that lay bytes out. */
static void try_knobs(const struct ucb_method *method, const uint32_t (*shapes)[2],
                      size_t n_shapes, int damage)
{
    try_shapes(method, method->name, shapes, n_shapes, damage);
    for (const struct ucb_knob *k = method->knobs; k != NULL && k->name != NULL; k++) {
        for (const char *const *c = k->choices; c != NULL && *c != NULL; c++) {
            struct ucb_arena arena = {0};
            struct ucb_chain *chain;
            const char *spec = ucb_test_path("%s:%s=%s", method->name, k->name, *c);
            if (ucb_chain_parse(whole_spec(method, quick(method, spec)), &arena, &chain,
                                NULL) == UCB_OK)
                try_shapes(method, spec, shapes, n_shapes, damage);
            ucb_arena_free(&arena);
        }
        if (k->type == UCB_KNOB_INT && strcmp(k->name, "bits") == 0)
            for (int bits = (int)k->low; bits <= (int)k->high; bits++)
                try_shapes(method, ucb_test_path("%s:bits=%d", method->name, bits), shapes,
                           n_shapes, damage);
    }
}

static void try_all(const char *order, const uint32_t (*shapes)[2], size_t n_shapes,
                    int damage)
{
    use_emulated_cuda(order);
    for (const struct ucb_method *const *m = ucb_methods(); *m != NULL; m++)
        if (reason_for_none(*m) == NULL) try_knobs(*m, shapes, n_shapes, damage);
}

TEST(every_choice_of_every_knob_decodes_on_the_device_to_the_same_bits_forward)
{
    static const uint32_t shapes[][2] = {{16, 256}, {3, 37}};
    try_all("forward", shapes, 2, 0);
}

TEST(every_choice_of_every_knob_decodes_on_the_device_to_the_same_bits_in_reverse)
{
    static const uint32_t shapes[][2] = {{33, 128}, {1, 320}};
    try_all("reverse", shapes, 2, 0);
}

TEST(every_choice_of_every_knob_decodes_on_the_device_to_the_same_bits_in_random_order)
{
    static const uint32_t shapes[][2] = {{12, 512}, {41, 1}, {40, 24}};
    try_all("random:7", shapes, 3, 0);
}

TEST(damaged_payloads_are_refused_on_the_device_as_on_the_cpu)
{
    static const uint32_t shapes[][2] = {{8, 128}};
    try_all("random:8", shapes, 1, 6);
}

/* Groups that --list does not offer, and knobs that only act together. */
TEST(layouts_of_several_knobs_decode_on_the_device_to_the_same_bits)
{
    static const char *const specs[] = {"rtn:bits=3,group=-1,sym=1",
                                        "rtn:bits=5,group=37",
                                        "rtn:bits=7,group=12,sym=1",
                                        "hqq:bits=3,group=12",
                                        "hqq:bits=3,axis=0",
                                        "hqq:bits=2,group=12,axis=0",
                                        "hqq:bits=8,meta=fp32,axis=0",
                                        "gptq:bits=3,group=16,act_order=1",
                                        "gptq:bits=3,group=-1,sym=1",
                                        "gptq:bits=2,group=50,act_order=1,static_groups=1",
                                        "awq:bits=3,group=12",
                                        "awq:bits=8,group=37,clip=0",
                                        "gsq:bits=3,block=12,scale=fp32",
                                        "gsq:bits=6,block=100,scale=fp16",
                                        "gguf:type=Q4_K,imatrix=1",
                                        "gguf:type=IQ4_XS,imatrix=1",
                                        "nf4:double_quant=1,block=32,nested=32",
                                        "fp4:double_quant=1,block=128,nested=64",
                                        "int8:threshold=6"};
    static const uint32_t shapes[][2] = {{8, 96}, {5, 37}, {3, 128}, {2, 256}};
    static float w[8 * 96];
    use_emulated_cuda("random:9");
    for (size_t s = 0; s < sizeof(specs) / sizeof(*specs); s++) {
        int n = 0;
        for (size_t i = 0; i < 4; i++) {
            enum ucb_dtype dtype = dtypes[(s + i) % 3];
            make_weights(w, (size_t)shapes[i][0] * shapes[i][1], dtype, specs[s]);
            n += check_spec(specs[s], dtype, shapes[i][0], shapes[i][1], w, 0);
        }
        if (n == 0) ucb_test_fail(__FILE__, __LINE__, "%s: no shape fits", specs[s]);
    }
}

TEST(chains_are_summed_and_rounded_once_on_the_device)
{
    static const char *const specs[] = {
        "gsq:bits=3+lowrank:rank=3", "hqq:bits=4,group=32+lowrank:rank=5,store=int8",
        "awq:group=32+lowrank:rank=2,store=packed+lowrank:rank=1",
        "nf4+lowrank:rank=40,store=fp16", "gguf:type=Q4_0+lowrank:rank=64"};
    static float w[24 * 96];
    use_emulated_cuda("random:10");
    for (size_t s = 0; s < sizeof(specs) / sizeof(*specs); s++)
        for (size_t d = 0; d < 3; d++) {
            make_weights(w, 24 * 96, dtypes[d], specs[s]);
            CHECK(check_spec(specs[s], dtypes[d], 24, 96, w, 3));
        }
}

/* A recipe chooses the type by the matrix's place in a model, which only the plan tells. */
TEST(every_recipe_of_gguf_decodes_on_the_device_to_the_same_bits)
{
    static struct ucb_layer_arch layers[4];
    static const struct ucb_arch arch = {.model_type = "llama",
                                         .n_layers = 4,
                                         .hidden = 256,
                                         .n_heads = 4,
                                         .n_kv_heads = 2,
                                         .vocabulary = 100,
                                         .layers = layers};
    static const enum ucb_role roles[] = {UCB_ROLE_V, UCB_ROLE_DOWN, UCB_ROLE_GATE};
    static float w[4 * 256];
    const struct ucb_knob *recipe = ucb_method_find("gguf")->knobs;
    use_emulated_cuda("reverse");
    while (strcmp(recipe->name, "recipe") != 0) recipe++;
    make_weights(w, 4 * 256, UCB_BF16, "recipe");
    for (const char *const *name = recipe->choices; *name != NULL; name++)
        for (size_t i = 0; i < sizeof(roles) / sizeof(*roles); i++) {
            struct method_fixture f;
            struct ucb_cuda *cuda;
            struct ucb_err err;
            fixture_open(&f, ucb_test_path("gguf:recipe=%s,imatrix=1", *name), 4, 256,
                         UCB_BF16, 1);
            f.matrix.arch = &arch;
            f.matrix.role = roles[i];
            CHECK_OK(fixture_try_encode(&f, w, &err), err);
            CHECK_OK(ucb_cuda_open(UCB_ARITH_FP32, &cuda, &err), err);
            CHECK_OK(check_decode(&f, cuda, f.out.data, f.out.n_bytes), err);
            ucb_cuda_close(cuda);
            fixture_close(&f);
        }
}

/* ---- streams of the codec ---- */

/* Several chunks, the last of them no whole warps; several segments. */
TEST(exact_methods_restore_large_matrices_on_the_device)
{
    static const char *const specs[] = {"lossless:mode=fast",
                                        "lossless",
                                        "lossless:mode=max",
                                        "nf4+residual",
                                        "int5+residual:context=none",
                                        "rtn:bits=3,group=-1+lowrank:rank=2+residual",
                                        "int5"};
    static float w[MAX_WEIGHTS];
    use_emulated_cuda("random:12");
    for (size_t s = 0; s < sizeof(specs) / sizeof(*specs); s++) {
        make_weights(w, MAX_WEIGHTS, dtypes[s % 3], specs[s]);
        for (size_t i = 0; i < MAX_WEIGHTS; i += 999) /* exponents outside tables */
            w[i] = ucb_bf16_round(ldexpf(1, (int)(i % 24) - 14));
        CHECK(check_spec(specs[s], dtypes[s % 3], 300, 257, w, 2));
    }
}

enum { ROWS = 16, COLUMNS = 256, BASE_AT = 8, SCALES_AT = BASE_AT + ROWS * COLUMNS };

/* Whole numbers, each row with both ends of 8 bits: the base holds them exactly, and no
 * symbol of the residual has raw bits. Or Gaussian, where all have. */
static void open_residual(struct method_fixture *f, bool whole)
{
    static float w[ROWS * COLUMNS];
    struct ucb_err err;
    make_weights(w, ROWS * COLUMNS, UCB_BF16, "base");
    for (size_t i = 0; whole && i < ROWS * COLUMNS; i++)
        w[i] = (float)((int)(i * 77 % COLUMNS) - 128);
    fixture_open(f, "rtn:bits=8,group=-1+residual", ROWS, COLUMNS, UCB_BF16, 1);
    CHECK_OK(fixture_try_encode(f, w, &err), err);
}

/* A base of other scales predicts other classes: then the residual's streams run out, which
 * nothing sees but their decoding. */
TEST(a_residual_behind_a_changed_base_is_refused_on_the_device_as_on_the_cpu)
{
    use_emulated_cuda("random:13");
    for (int whole = 0; whole < 2; whole++) {
        struct method_fixture f;
        struct ucb_cuda *cuda;
        struct ucb_err err;
        int n_refused = 0, n_taken = 0;
        open_residual(&f, whole);
        CHECK_OK(ucb_cuda_open(UCB_ARITH_FP32, &cuda, &err), err);
        for (size_t i = 0; i < 64; i++) {
            f.out.data[SCALES_AT + i % 32] ^= (uint8_t)(1u << i % 7);
            ucb_status status = check_decode(&f, cuda, f.out.data, f.out.n_bytes);
            n_refused += status == UCB_CORRUPT;
            n_taken += status == UCB_OK;
            f.out.data[SCALES_AT + i % 32] ^= (uint8_t)(1u << i % 7);
        }
        CHECK(n_refused > 0);
        CHECK(whole || n_taken > 0);
        ucb_cuda_close(cuda);
        fixture_close(&f);
    }
}

TEST(raw_bits_too_few_too_many_or_set_behind_the_last_are_refused_on_the_device)
{
    struct method_fixture f;
    struct ucb_cuda *cuda;
    struct ucb_err err;
    use_emulated_cuda("random:15");
    open_residual(&f, false);
    CHECK_OK(ucb_cuda_open(UCB_ARITH_FP32, &cuda, &err), err);
    size_t n = f.out.n_bytes, heads = BASE_AT + (size_t)ucb_load_u64(f.out.data);
    uint8_t *bytes = calloc(n + 1, 1);
    memcpy(bytes, f.out.data, n);
    CHECK(ucb_load_u32(bytes + heads) > 0);
    bytes[heads]++; /* of the raw bytes' number: the lowest byte */
    CHECK(bytes[heads] != 0);
    CHECK_EQ(check_decode(&f, cuda, bytes, n + 1), UCB_CORRUPT);
    bytes[heads] = (uint8_t)(bytes[heads] - 2);
    CHECK(bytes[heads] != 0xff);
    CHECK_EQ(check_decode(&f, cuda, bytes, n - 1), UCB_CORRUPT);
    bytes[heads]++;
    CHECK_EQ(check_decode(&f, cuda, bytes, n), UCB_OK);
    CHECK(bytes[n - 1] < 0x80);
    bytes[n - 1] |= 0x80;
    CHECK_EQ(check_decode(&f, cuda, bytes, n), UCB_CORRUPT);
    free(bytes);
    ucb_cuda_close(cuda);
    fixture_close(&f);
}

TEST(streams_damaged_under_right_checksums_are_refused_on_the_device_as_on_the_cpu)
{
    static float w[24 * 100];
    static const char *const specs[] = {"lossless:mode=fast", "lossless",
                                        "lossless:mode=max"};
    struct ucb_pcg r;
    use_emulated_cuda("random:14");
    ucb_pcg_named(&r, 1, "sealed");
    for (size_t s = 0; s < 9; s++) {
        struct method_fixture f;
        struct ucb_cuda *cuda;
        struct ucb_err err;
        make_weights(w, 24 * 100, dtypes[s / 3], specs[s % 3]);
        w[77] = 1e-4f;
        fixture_open(&f, specs[s % 3], 24, 100, dtypes[s / 3], 1);
        CHECK_OK(fixture_try_encode(&f, w, &err), err);
        CHECK_OK(ucb_cuda_open(UCB_ARITH_FP32, &cuda, &err), err);
        uint8_t *bytes = malloc(f.out.n_bytes);
        for (int i = 0; i < (s % 3 == 2 ? 10 : 120); i++) {
            size_t first = CODEC_HEADER_BYTES + (i % 2 ? CODEC_ENTRY_BYTES : 0),
                   span = i % 3 == 0 ? 220 : f.out.n_bytes - first;
            memcpy(bytes, f.out.data, f.out.n_bytes);
            bytes[first + ucb_pcg_below(&r, (uint32_t)span)] ^=
                (uint8_t)(1u << ucb_pcg_below(&r, 8));
            codec_seal(bytes, f.out.n_bytes);
            (void)check_decode(&f, cuda, bytes, f.out.n_bytes);
        }
        free(bytes);
        ucb_cuda_close(cuda);
        fixture_close(&f);
    }
}

/* Blocks of a GGUF file, kept without loss: the bits are blocks again, and widened. */
TEST(lossless_blocks_of_every_type_are_widened_on_the_device)
{
    static float w[8 * 512];
    use_emulated_cuda("reverse");
    make_weights(w, 8 * 512, UCB_F32, "blocks");
    for (enum ucb_dtype type = UCB_Q4_0; type < UCB_N_DTYPES; type++) {
        struct method_fixture blocks, f;
        struct ucb_cuda *cuda;
        struct ucb_err err;
        struct ucb_writer *out = &f.out;
        fixture_open(&blocks, ucb_test_path("gguf:type=%s", ucb_dtype_name(type)), 8, 512,
                     UCB_F32, 1);
        CHECK_OK(fixture_try_encode(&blocks, w, &err), err);
        fixture_open(&f, "lossless", 8, 512, type, 1);
        struct ucb_source src = {.matrix = &f.matrix, .w = w, .bits = blocks.out.data};
        CHECK_OK(ucb_chain_encode(f.chain, &f.context, &src, 1, &out, &err), err);
        CHECK_OK(ucb_cuda_open(UCB_ARITH_FP32, &cuda, &err), err);
        CHECK_OK(check_decode(&f, cuda, f.out.data, f.out.n_bytes), err);
        ucb_cuda_close(cuda);
        fixture_close(&f);
        fixture_close(&blocks);
    }
}

/* Random shapes and specs; the seed names them. */
TEST(random_shapes_decode_on_the_device_to_the_same_bits)
{
    static const char *const specs[] = {"rtn:bits=%u,group=-1",
                                        "gsq:bits=%u",
                                        "gptq:bits=4,group=%u",
                                        "hqq:group=%u",
                                        "awq:bits=%u,group=2",
                                        "gguf:type=Q5_1",
                                        "int8",
                                        "nf4:double_quant=1",
                                        "fp4",
                                        "none"};
    static float w[64 * 200];
    struct ucb_pcg r;
    use_emulated_cuda("random:11");
    ucb_pcg_named(&r, 1, "random shapes");
    for (int i = 0; i < 60; i++) {
        uint32_t n_out = 1 + ucb_pcg_below(&r, 64), n_in = 1 + ucb_pcg_below(&r, 200);
        char spec[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(spec, sizeof(spec), specs[ucb_pcg_below(&r, 10)],
                 2 + ucb_pcg_below(&r, 5));
#pragma GCC diagnostic pop
        make_weights(w, (size_t)n_out * n_in, UCB_BF16, spec);
        (void)check_spec(spec, UCB_BF16, n_out, n_in, w, 1);
    }
}

/* ---- golden matrices ---- */

static void same_golden(const json_t *c, const char *spec)
{
    struct vector in = vectors_input(c);
    CHECK(check_spec(spec, UCB_F32, (uint32_t)in.shape[0], (uint32_t)in.shape[1], in.data,
                     0));
}

static void same_golden_4bit(const json_t *c)
{
    if (strcmp(vectors_id(c), "maps") != 0 &&
        strcmp(vectors_id(c), "blockwise8.absmax_sweep") != 0)
        same_golden(c, ucb_test_path("%s:double_quant=%d", vectors_text(c, "quant_type"),
                                     vectors_number(c, "double_quant") != 0));
}

static void same_golden_int8(const json_t *c)
{
    if (vectors_has(c, "codes") && strstr(vectors_id(c), ".weight") != NULL)
        same_golden(c, "int8");
}

static void same_golden_hqq(const json_t *c)
{
    if (vectors_number(c, "nbits") != 0)
        same_golden(
            c, ucb_test_path("hqq:bits=%d,group=%d,axis=%d", vectors_number(c, "nbits"),
                             vectors_number(c, "group_size"), vectors_number(c, "axis")));
}

static void same_golden_gptq(const json_t *c)
{
    same_golden(c,
                ucb_test_path("gptq:bits=%d,group=%d,sym=%d,act_order=%d,static_groups=%d",
                              vectors_number(c, "bits"), vectors_number(c, "group_size"),
                              vectors_number(c, "sym"), vectors_number(c, "act_order"),
                              vectors_number(c, "static_groups")));
}

/* Made-up statistics: the searches differ from the library's then, the layout does not. */
static void same_golden_awq(const json_t *c)
{
    same_golden(c,
                ucb_test_path("awq:bits=%d,group=%d,clip=0,grid=2",
                              vectors_number(c, "bits"), vectors_number(c, "group_size")));
}

/* The bytes themselves, which llama.cpp wrote; an id ends in its type, or in .imatrix. */
static void same_golden_gguf(const json_t *c)
{
    struct method_fixture f;
    struct ucb_cuda *cuda;
    struct ucb_err err;
    char id[128];
    struct vector in = vectors_input(c), packed = vectors_role(c, "packed");
    if (packed.data == NULL) return;
    snprintf(id, sizeof(id), "%s", vectors_id(c));
    if (vectors_number(c, "imatrix")) *strrchr(id, '.') = '\0';
    fixture_open(&f, ucb_test_path("gguf:type=%s", strrchr(id, '.') + 1),
                 (uint32_t)in.shape[0], (uint32_t)in.shape[1], UCB_F32, 1);
    CHECK_OK(ucb_cuda_open(UCB_ARITH_FP32, &cuda, &err), err);
    CHECK_EQ(check_decode(&f, cuda, packed.data, packed.n_bytes), UCB_OK);
    ucb_cuda_close(cuda);
    fixture_close(&f);
}

TEST(the_golden_matrices_decode_on_the_device_to_the_same_bits)
{
    use_emulated_cuda("reverse");
    vectors_each("bnb_4bit.safetensors", same_golden_4bit);
    vectors_each("bnb_int8.safetensors", same_golden_int8);
    vectors_each("hqq.safetensors", same_golden_hqq);
    vectors_each("gptq.safetensors", same_golden_gptq);
    vectors_each("awq.safetensors", same_golden_awq);
    vectors_each("gguf.safetensors", same_golden_gguf);
}
