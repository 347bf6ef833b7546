/* The known answers of docs/arithmetic.md: on every path, and as the page prints them. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../same/kernel_cases.h"
#include "backend/backend_internal.h"
#include "core/arena.h"
#include "core/half.h"

static void known_product(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    enum { ROWS = 5, OUT = 33, IN = 300 };
    float *x = named_values("x", ROWS * IN, 1), *w = named_values("w", OUT * IN, 1),
          y[ROWS * OUT];
    struct ucb_packed packed = packed_for_test(backend, w, OUT, IN);
    struct ucb_err err;
    CHECK_OK(ucb_linear(backend, &packed, NULL, x, ROWS, y, &err), err);
    ucb_sha256_update(digest, y, sizeof(y));
    ucb_mem_free(packed.data);
    free(x);
    free(w);
}

static void known_norm(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    enum { ROWS = 3, N = 100 };
    float *x = named_values("x", ROWS * N, 3), *weight = named_values("weight", N, 1);
    ucb_rmsnorm(backend, x, ROWS, N, weight, 1e-5f, x);
    ucb_sha256_update(digest, x, ROWS * N * sizeof(*x));
    free(x);
    free(weight);
}

static void known_rope(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    enum { ROWS = 4, HEADS = 2, HEAD_DIM = 20, R = 12, POSITIONS = 3 };
    const uint32_t position[ROWS] = {0, 1, 2, 1};
    float *x = named_values("x", ROWS * HEADS * HEAD_DIM, 2),
          *table = named_values("table", POSITIONS * R, 1);
    ucb_rope(backend, x, ROWS, &(struct ucb_rotary){HEADS, HEAD_DIM, 0, R, false}, table,
             position);
    ucb_sha256_update(digest, x, ROWS * HEADS * HEAD_DIM * sizeof(*x));
    free(x);
    free(table);
}

static void known_layernorm(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    enum { ROWS = 3, N = 100 };
    float *x = named_values("x", ROWS * N, 3), *weight = named_values("weight", N, 1),
          *bias = named_values("bias", N, 2);
    ucb_layernorm(backend, x, ROWS, N, weight, bias, 1e-5f, x);
    ucb_sha256_update(digest, x, ROWS * N * sizeof(*x));
    free(x);
    free(weight);
    free(bias);
}

static void known_adjacent_rope(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    enum { ROWS = 4, POSITIONS = 3 };
    const struct ucb_rotary shape = {2, 20, 4, 12, true};
    const uint32_t position[ROWS] = {0, 1, 2, 1};
    float *x = named_values("x", ROWS * 40, 2),
          *table = named_values("table", POSITIONS * 12, 1);
    ucb_rope(backend, x, ROWS, &shape, table, position);
    ucb_sha256_update(digest, x, ROWS * 40 * sizeof(*x));
    free(x);
    free(table);
}

static void known_gelus(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    enum { N = 1000 };
    static const enum ucb_activation gelus[] = {UCB_ACT_GELU, UCB_ACT_GELU_TANH};
    float *gate = named_values("gate", N, 8), *up = named_values("up", N, 2), out[N];
    for (int i = 0; i < 2; i++) {
        ucb_activate(backend, gelus[i], gate, up, N, out);
        ucb_sha256_update(digest, out, sizeof(out));
    }
    free(gate);
    free(up);
}

static void known_softcap(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    enum { N = 1000 };
    float *x = named_values("x", N, 20);
    ucb_softcap(backend, x, N, 5);
    ucb_sha256_update(digest, x, N * sizeof(*x));
    free(x);
}

static void known_state_space(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    enum { T = 12, WIDTH = 20, STATES = 3, TAPS = 4 };
    float *in = named_values("in", T * WIDTH, 2),
          *conv = named_values("conv", TAPS * WIDTH, 1),
          *bias = named_values("bias", WIDTH, 1), *dt = named_values("dt", T * WIDTH, 1),
          *bc = named_values("bc", T * 2 * STATES, 1),
          *a = named_values("a", STATES * WIDTH, 2), *skip = named_values("skip", WIDTH, 1);
    float u[T * WIDTH], y[T * WIDTH];
    const struct ucb_scan scan = {T, WIDTH, STATES, TAPS,       in, WIDTH, conv, bias,
                                  u, dt,    bc,     2 * STATES, a,  skip,  y};
    ucb_convolve(backend, &scan);
    ucb_scan(backend, &scan);
    ucb_sha256_update(digest, u, sizeof(u));
    ucb_sha256_update(digest, y, sizeof(y));
    float *const all[] = {in, conv, bias, dt, bc, a, skip};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) free(all[i]);
}

static void known_silu(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    enum { N = 1000 };
    float *gate = named_values("gate", N, 100), *up = named_values("up", N, 2);
    ucb_activate(backend, UCB_ACT_SILU, gate, up, N, gate);
    ucb_sha256_update(digest, gate, N * sizeof(*gate));
    free(gate);
    free(up);
}

static void attention_of(struct ucb_backend *backend, struct ucb_sha256 *digest,
                         uint32_t sliding, float softcap)
{
    enum { T = 300, HEADS = 4, KV = 2, D = 20 };
    const struct ucb_attention shape = {HEADS, KV, D, sliding, 0.25f, softcap};
    const size_t start[2] = {0, T};
    float *q = named_values("q", T * HEADS * D, 2), *k = named_values("k", T * KV * D, 2);
    float *v = named_values("v", T * KV * D, 1),
          *out = malloc(T * HEADS * D * sizeof(*out));
    struct ucb_err err;
    CHECK_OK(ucb_attention(backend, &shape, q, k, v, 1, start, out, &err), err);
    ucb_sha256_update(digest, out, T * HEADS * D * sizeof(*out));
    free(q);
    free(k);
    free(v);
    free(out);
}

static void known_attention(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    attention_of(backend, digest, 0, 0);
}

static void known_sliding_attention(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    attention_of(backend, digest, 40, 0);
}

static void known_capped_attention(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    attention_of(backend, digest, 40, 2);
}

enum { IDS = 1500, HIDDEN = 40, ROWS = 4, MODELS = 2 };

static void score_known(struct ucb_backend *backend, struct ucb_position out[MODELS * ROWS])
{
    float *w = named_values("w", IDS * HIDDEN, 1),
          *noise = named_values("noise", IDS * HIDDEN, 0.125f);
    float *hidden = named_values("hidden", ROWS * HIDDEN, 1);
    for (int i = 0; i < IDS * HIDDEN; i++) noise[i] += w[i];
    struct ucb_packed packed[MODELS] = {packed_for_test(backend, w, IDS, HIDDEN),
                                        packed_for_test(backend, noise, IDS, HIDDEN)};
    struct ucb_head models[MODELS] = {{&packed[0], hidden, NULL, 0, NULL, NULL},
                                      {&packed[1], hidden, NULL, 0, NULL, NULL}};
    const uint32_t target[ROWS] = {0, 100, 200, 300};
    struct ucb_err err;
    CHECK_OK(ucb_head_score(backend, models, MODELS, target, ROWS, out, &err), err);
    ucb_mem_free(packed[0].data);
    ucb_mem_free(packed[1].data);
    free(w);
    free(noise);
    free(hidden);
}

static void known_head(struct ucb_backend *backend, struct ucb_sha256 *digest)
{
    struct ucb_position p[MODELS * ROWS];
    score_known(backend, p);
    for (int i = 0; i < MODELS * ROWS; i++) {
        const uint32_t counts[] = {p[i].argmax, p[i].rank, p[i].teacher_rank,
                                   p[i].overlap10};
        ucb_sha256_update(digest, &p[i].logp, sizeof(p[i].logp));
        ucb_sha256_update(digest, &p[i].kld, sizeof(p[i].kld));
        ucb_sha256_update(digest, &p[i].ear, sizeof(p[i].ear));
        ucb_sha256_update(digest, counts, sizeof(counts));
    }
}

struct known {
    const char *name;
    void (*run)(struct ucb_backend *, struct ucb_sha256 *);
    const char *hex[UCB_N_STRICT_ARITHS]; /* NULL: the same as fp32 */
};

static const struct known known[] = {
    {"product",
     known_product,
     {"c68958a16b50cfbc70721078f6937d870fb1a08462a063e25af16fdb3b0314d9",
      "d37eba0c6a546e1e0b8c2dd3c4b9f129a8fefdd4410e66d6805c6db204d1eff7",
      "a529bd7be6bb77291687d8ed971467c2efafbc9db65c9b25f19a8a411d6ba4bb"}},
    {"rmsnorm",
     known_norm,
     {"152aef890c212a6b04242d4c0adc70d69de4c66132310dc0c26c8fa2fd712fcc"}},
    {"rope",
     known_rope,
     {"23042b1ed2c96a4944f6619bd78bb2a8522fd1db3314ebb78230a2395089474a"}},
    {"layernorm",
     known_layernorm,
     {"b54a2fb3b5ff92ea8fbd348956c673ccbeb32bf2ac87400883136b63ca43cd0f"}},
    {"rope, adjacent",
     known_adjacent_rope,
     {"b2a7a35c49ffc4b83f93255b4b10dff54093b3983a873befb8b993dac55f0faf"}},
    {"gelus",
     known_gelus,
     {"25fb625892cff370572674ae0278cbf88b35eafe6b4875b183c38ca976a8c0b6"}},
    {"softcap",
     known_softcap,
     {"5e3ac1f2ec43c918b2eb40ad981e2356dd0ddd1e564b33ec5a42814767dd4a61"}},
    {"state space",
     known_state_space,
     {"5371439c1c03a90cddcdd268cf896e4e158ee13e89f01c7725127b69470877fe"}},
    {"silu_mul",
     known_silu,
     {"f527883e72cfb09e09f8407c00964a367b70767967877d030da16fea94baf1e6"}},
    {"attention",
     known_attention,
     {"dd478e1cbbf58de1183cda61507e237a2057028e9b83384b086ba61d8941bcb9",
      "1496d6ecde611190f3d43203474efb8c627c7fb043eeb400af0e73e89cb9e0cb",
      "44a33a77027fb455c4843ca5a8dbffbbe49ec479ea2507e062034807d35c358d"}},
    {"attention, sliding 40",
     known_sliding_attention,
     {"8742ab5d6a4f71309f9c5553b37f3bbf7b7c1e2ddc4b932554856fb5c8e6fd74",
      "55d8dd3aab8d9ddc3c2b5915ec2511a022ae6809aff61a38f3fd5cf4de729c29",
      "e480aec3561ff46d9d83583b10b47d9cfde6c7e5da1ef8fb360a0c426ecc1182"}},
    {"attention, sliding 40, softcap 2",
     known_capped_attention,
     {"320cdd2dcf87e5ca093fef4c6ef4eafcf7aff1cdac9baa32c3de9640b3eaab12",
      "e810e0584e53c7c8c984fc8b7d2ef7915496577b5000fa06bc9cce59cd859dcb",
      "c697c1e8633f28da9e27c4d87962e9696b7f0a5c121cbe06cd91551a0902b350"}},
    {"head",
     known_head,
     {"48904b4b8dfc661482e4daef23f027fac8d586b795eaec73e4a5b98d6e090bd5",
      "4e0e5ea49d6919f75b86fc3ac26295b0bbd47efd8eb1fb3ddcf8a42694fea6b0",
      "6353434fc717c2af6f8ec38a016728602947d6eb45b436b5cd5aa174e3408034"}},
};
enum { N_KNOWN = sizeof(known) / sizeof(known[0]) };

static const char *expected_hex(const struct known *one, int arithmetic)
{
    return one->hex[arithmetic] != NULL ? one->hex[arithmetic] : one->hex[UCB_ARITH_FP32];
}

static void check_backend(struct ucb_backend *backend)
{
    for (int i = 0; i < N_KNOWN; i++) {
        struct ucb_sha256 digest;
        char hex[UCB_SHA256_HEX];
        ucb_sha256_init(&digest);
        known[i].run(backend, &digest);
        ucb_sha256_final_hex(&digest, hex);
        if (strcmp(hex, expected_hex(&known[i], ucb_backend_arithmetic(backend))) != 0)
            ucb_test_fail(__FILE__, __LINE__, "%s, %s on %s: %s", known[i].name,
                          ucb_arithmetic_name(ucb_backend_arithmetic(backend)),
                          ucb_kernel_name(ucb_backend_kernel(backend)), hex);
    }
}

TEST(known_answers_come_out_on_every_path)
{
    for (int a = 0; a < UCB_N_STRICT_ARITHS; a++) {
        for (int k = UCB_KERNEL_SCALAR; k < UCB_N_KERNELS; k++) {
            if (!ucb_kernel_available((enum ucb_kernel)k, (enum ucb_arithmetic)a, NULL))
                continue;
            struct ucb_backend *backend = backend_for_test((enum ucb_arithmetic)a,
                                                           (enum ucb_kernel)k, NULL);
            check_backend(backend);
            ucb_backend_close(backend);
        }
    }
}

static char *read_page(void)
{
    enum { PAGE_BYTES = 1 << 16 };
    static char page[PAGE_BYTES];
    FILE *file = fopen(ucb_test_path("%s/docs/arithmetic.md", ucb_test_root()), "r");
    CHECK(file != NULL);
    size_t n = fread(page, 1, sizeof(page) - 1, file);
    CHECK(n < sizeof(page) - 1);
    page[n] = '\0';
    fclose(file);
    return page;
}

TEST(the_page_on_arithmetic_prints_the_known_answers)
{
    const char *page = read_page();
    for (int i = 0; i < N_KNOWN; i++)
        for (int a = 0; a < UCB_N_STRICT_ARITHS; a++)
            if (known[i].hex[a] != NULL && strstr(page, known[i].hex[a]) == NULL)
                ucb_test_fail(__FILE__, __LINE__, "docs/arithmetic.md lacks %s of %s",
                              known[i].hex[a], known[i].name);
}

/* x and the bits of exp(x), as the page prints them. */
static const struct {
    float x;
    uint32_t bits;
} known_exp[] = {
    {-0x1p-10f, 0x3f7fc008}, {-0.5f, 0x3f1b4598},  {-1.0f, 0x3ebc5ab2},
    {-2.5f, 0x3da81c2e},     {-10.0f, 0x383e6bce}, {-50.0f, 0x1b692beb},
    {-87.0f, 0x00b33687},    {-87.1f, 0x00000000}, {-INFINITY, 0},
    {0.0f, 0x3f800000},
};
enum { N_EXP = sizeof(known_exp) / sizeof(known_exp[0]) };

static void check_exp(const struct ucb_kernel_table *table)
{
    float x[N_EXP], e[N_EXP];
    for (int i = 0; i < N_EXP; i++) x[i] = known_exp[i].x;
    table->exp_sum(x, N_EXP, 0.0f, e);
    for (int i = 0; i < N_EXP; i++) CHECK_EQ(ucb_f32_bits(e[i]), known_exp[i].bits);
}

TEST(exp_has_the_known_bits_on_every_path)
{
    const char *page = read_page();
    check_exp(&ucb_kernel_table_scalar);
    if (ucb_kernel_available(UCB_KERNEL_AVX2, UCB_ARITH_FP32, NULL))
        check_exp(&ucb_kernel_table_avx2);
    if (ucb_kernel_available(UCB_KERNEL_AVX512, UCB_ARITH_FP32, NULL))
        check_exp(&ucb_kernel_table_avx512);
    for (int i = 0; i < N_EXP; i++)
        CHECK_HAS(page, ucb_test_path("%08x", known_exp[i].bits));
}

/* Every 64th float of the range; all of them were tried once:
 * 1.03 units in the last place. */
TEST(exp_of_the_kernels_is_within_1_03_units_in_the_last_place)
{
    enum { N = 1024, STEP = 64 };
    float x[N], e[N];
    double worst = 0;
    uint32_t bits = ucb_f32_bits(-0.0f), last = ucb_f32_bits(-87.0f);
    for (; bits + N * STEP <= last; bits += N * STEP) {
        for (uint32_t i = 0; i < N; i++) x[i] = ucb_f32_from_bits(bits + i * STEP);
        ucb_kernel_table_scalar.exp_sum(x, N, 0.0f, e);
        for (int i = 0; i < N; i++) {
            double exact = exp((double)x[i]);
            float rounded = (float)exact;
            double unit = (double)nextafterf(rounded, 0.0f) - (double)rounded;
            worst = fmax(worst, fabs(((double)e[i] - exact) / unit));
        }
    }
    CHECK(worst < 1.03);
}
