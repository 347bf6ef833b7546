/* A GGUF model whose matrices are of every block type opens, is looked through, and gives
 * the rows that its blocks decode to. */
#include "test.h"

#include <string.h>

#include "core/file.h"
#include "gguf_build.h"
#include "method_fixture.h"
#include "model/checkpoint.h"
#include "model/model.h"
#include "model/widen.h"

enum { SIDE = 256 };

/* ggml's numbers of the types. */
static const struct {
    enum ucb_dtype dtype;
    uint32_t number;
} types[] = {{UCB_Q4_0, 2},  {UCB_Q4_1, 3},  {UCB_Q5_0, 6},    {UCB_Q5_1, 7},
             {UCB_Q8_0, 8},  {UCB_Q2_K, 10}, {UCB_Q3_K, 11},   {UCB_Q4_K, 12},
             {UCB_Q5_K, 13}, {UCB_Q6_K, 14}, {UCB_IQ4_NL, 20}, {UCB_IQ4_XS, 23}};
enum { N_TYPES = sizeof(types) / sizeof(*types) };

static void put_matrix(struct gguf_build *b, const char *name, size_t type)
{
    static float w[SIDE * SIDE];
    struct method_fixture f;
    struct ucb_err err;
    fill_gaussian(w, SIDE * SIDE, 0.1, name);
    fixture_open(&f, ucb_test_path("gguf:type=%s", ucb_dtype_name(types[type].dtype)), SIDE,
                 SIDE, UCB_F32, 1);
    CHECK_OK(fixture_try_encode(&f, w, &err), err);
    gguf_tensor(b, name, SIDE, SIDE, types[type].number, f.out.data, f.out.n_bytes);
    fixture_close(&f);
}

/* One layer of llama, all sides 256; matrices take the types in turn from `type` on. */
static void put_model(struct gguf_build *b, size_t type)
{
    static const char *const names[] = {
        "token_embd",        "blk.0.attn_q", "blk.0.attn_k",   "blk.0.attn_v",
        "blk.0.attn_output", "blk.0.ffn_up", "blk.0.ffn_gate", "blk.0.ffn_down"};
    static const char *const norms[] = {"blk.0.attn_norm.weight", "blk.0.ffn_norm.weight",
                                        "output_norm.weight"};
    float ones[SIDE];
    for (int i = 0; i < SIDE; i++) ones[i] = 1;
    gguf_text(b, "general.architecture", "llama");
    gguf_u32(b, "llama.block_count", 1);
    gguf_u32(b, "llama.context_length", 64);
    gguf_u32(b, "llama.embedding_length", SIDE);
    gguf_u32(b, "llama.feed_forward_length", SIDE);
    gguf_u32(b, "llama.attention.head_count", 4);
    gguf_u32(b, "llama.attention.head_count_kv", 4);
    gguf_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        put_matrix(b, ucb_test_path("%s.weight", names[i]), (type + i) % N_TYPES);
    for (size_t i = 0; i < 3; i++) gguf_tensor(b, norms[i], 0, SIDE, 0, ones, sizeof(ones));
}

static struct ucb_model *open_built(struct gguf_build *b)
{
    const char *path = ucb_test_path("%s/model.gguf", ucb_test_folder());
    struct ucb_model *m;
    struct ucb_err err;
    gguf_finish(b);
    CHECK_OK(ucb_file_write(path, b->file.data, b->file.n_bytes, &err), err);
    gguf_free(b);
    CHECK_OK(ucb_model_open(path, &m, &err), err);
    return m;
}

/* Down and gate lie in the file as the model sees them. */
static void check_matrix(const struct ucb_model *m, enum ucb_role role, const char *name)
{
    static float rows[SIDE * SIDE], expected[SIDE * SIDE];
    struct ucb_err err;
    const struct ucb_tensor *t = ucb_checkpoint_find(ucb_model_checkpoint(m), name);
    CHECK_OK(
        ucb_model_read_rows(m, ucb_model_matrix(m, 0, role), 0, SIDE, NULL, rows, &err),
        err);
    ucb_widen(t->dtype, t->data, SIDE * SIDE, expected);
    CHECK(memcmp(rows, expected, sizeof(rows)) == 0);
}

TEST(a_gguf_model_may_hold_every_block_type)
{
    for (size_t type = 0; type < N_TYPES; type++) {
        struct gguf_build b = {0};
        put_model(&b, type);
        struct ucb_model *m = open_built(&b);
        CHECK_EQ(ucb_model_matrix(m, 0, UCB_ROLE_DOWN)->dtype,
                 types[(type + 7) % N_TYPES].dtype);
        check_matrix(m, UCB_ROLE_DOWN, "blk.0.ffn_down.weight");
        check_matrix(m, UCB_ROLE_GATE, "blk.0.ffn_gate.weight");
        ucb_model_close(m);
    }
}

TEST(a_scale_in_the_middle_of_a_block_that_is_not_finite_is_found_in_a_model)
{ /* Q6_K keeps its scale at the end of 210 bytes */
    struct gguf_build b = {0};
    struct ucb_model *m;
    struct ucb_err err;
    put_model(&b, 2); /* the last matrix, ffn_down, is number 7: Q6_K */
    size_t down = b.data.n_bytes - 3 * SIDE * sizeof(float) - (size_t)SIDE * 210;
    b.data.data[down + 5 * 210 + 209] = 0x7c;
    b.data.data[down + 5 * 210 + 208] = 0;
    const char *path = ucb_test_path("%s/bad.gguf", ucb_test_folder());
    gguf_finish(&b);
    CHECK_OK(ucb_file_write(path, b.file.data, b.file.n_bytes, &err), err);
    gguf_free(&b);
    CHECK_STATUS(ucb_model_open(path, &m, &err), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "row 5, column 0");
}
