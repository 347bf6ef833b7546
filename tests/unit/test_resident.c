/* Rows of a matrix that stays encoded: the bits that decoding all of it gives, in any order
 * and from any worker. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/half.h"
#include "method/payload.h"
#include "method/resident.h"
#include "method_fixture.h"
#include "model/widen.h"

enum { WORKERS = 3 };

static void open_resident(struct method_fixture *f, struct ucb_arena *arena,
                          struct ucb_rooms *rooms, struct ucb_resident **out)
{
    struct ucb_chain_context context = f->context;
    struct ucb_err err;
    context.arena = arena;
    CHECK(ucb_resident_serves(f->chain));
    CHECK_OK(ucb_resident_open(f->chain, &context, &f->matrix, f->out.data, f->out.n_bytes,
                               rooms, out, &err),
             err);
}

static void check_rows(const struct method_fixture *f, struct ucb_resident *r,
                       unsigned worker, uint32_t row, uint32_t n, uint32_t end)
{
    struct ucb_err err;
    size_t n_in = f->matrix.n_in;
    float *rows = malloc(n * n_in * sizeof(*rows));
    CHECK(rows != NULL);
    CHECK_OK(ucb_resident_rows(r, worker, row, n, end, rows, &err), err);
    if (memcmp(rows, f->decoded + row * n_in, n * n_in * sizeof(*rows)) != 0)
        ucb_test_fail(__FILE__, __LINE__, "%s: rows %u to %u are not what decoding gives",
                      ucb_chain_spec(f->chain), row, row + n);
    free(rows);
}

/* In order, in shares, backwards, and from workers that take turns. */
static void check_spec(const char *spec, uint32_t n_out, uint32_t n_in,
                       enum ucb_dtype dtype)
{
    struct method_fixture f;
    struct ucb_arena arena;
    struct ucb_rooms *rooms;
    struct ucb_resident *r;
    struct ucb_err err;
    float *w = malloc((size_t)n_out * n_in * sizeof(*w));
    CHECK(w != NULL);
    fixture_open(&f, spec, n_out, n_in, dtype, 1);
    fill_gaussian(w, (size_t)n_out * n_in, 0.05, "resident");
    for (size_t i = 0; i < (size_t)n_out * n_in; i++) /* what the dtype can hold */
        w[i] = dtype == UCB_BF16 ? ucb_bf16_widen(ucb_bf16_from_f32(w[i])) : w[i];
    fixture_run(&f, w);
    ucb_arena_init(&arena);
    CHECK_OK(ucb_rooms_open(WORKERS, &rooms, &err), err);
    open_resident(&f, &arena, rooms, &r);
    for (uint32_t row = 0; row < n_out; row += 32)
        check_rows(&f, r, 0, row, n_out - row < 32 ? n_out - row : 32, n_out);
    for (uint32_t row = n_out; row-- > 0;) check_rows(&f, r, 1, row, 1, row + 1);
    for (uint32_t row = 0; row < n_out; row += 5)
        check_rows(&f, r, row % WORKERS, row, n_out - row < 5 ? n_out - row : 5, n_out);
    CHECK(ucb_resident_share_rows(r) <= n_out);
    ucb_rooms_close(rooms);
    ucb_arena_free(&arena);
    fixture_close(&f);
    free(w);
}

TEST(rows_of_an_encoded_matrix_are_those_of_the_decoded_one)
{
    static const char *const specs[] = {"nf4",
                                        "nf4:double_quant=1",
                                        "fp4",
                                        "int8",
                                        "hqq:bits=4,group=64",
                                        "hqq:bits=2,group=16",
                                        "gguf:type=Q4_K",
                                        "gguf:type=Q8_0",
                                        "gsq:bits=5+lowrank:rank=4",
                                        "int5",
                                        "rtn:bits=3",
                                        "awq:bits=4",
                                        "gptq:bits=4"};
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        struct ucb_chain *chain;
        struct ucb_arena arena;
        struct ucb_err err;
        ucb_arena_init(&arena);
        CHECK_OK(ucb_chain_parse(specs[i], &arena, &chain, &err), err);
        bool serves = ucb_resident_serves(chain);
        ucb_arena_free(&arena);
        if (serves) check_spec(specs[i], 77, 256, UCB_F32);
        if (serves) check_spec(specs[i], 64, 512, UCB_BF16);
    }
}

/* Spans end inside rows; rows are shorter and longer than a span. */
TEST(rows_of_a_matrix_that_is_restored_exactly_come_from_the_spans_they_lie_in)
{
    static const char *const specs[] = {"lossless:mode=fast", "lossless",
                                        "lossless:mode=max", "int5+residual",
                                        "nf4+residual"};
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        check_spec(specs[i], 700, 576, UCB_BF16);
        check_spec(specs[i], 150, 704, UCB_F32);
        check_spec(specs[i], 3, 70400, UCB_BF16);
        check_spec(specs[i], 9, 64, UCB_BF16);
    }
}

/* A room knows whose span it holds, even where a new matrix lies at the old one's place. */
TEST(a_span_of_one_matrix_is_never_taken_for_another_one)
{
    enum { OUT = 40, IN = 64 };
    struct method_fixture f[2];
    struct ucb_arena arena;
    struct ucb_rooms *rooms;
    struct ucb_resident *r;
    struct ucb_err err;
    float w[OUT * IN];
    CHECK_OK(ucb_rooms_open(WORKERS, &rooms, &err), err);
    ucb_arena_init(&arena);
    for (int i = 0; i < 2; i++) {
        fixture_open(&f[i], "lossless", OUT, IN, UCB_F32, 1);
        fill_gaussian(w, OUT * IN, 1, i == 0 ? "one" : "other");
        fixture_run(&f[i], w);
        ucb_arena_reset(&arena);
        open_resident(&f[i], &arena, rooms, &r);
        check_rows(&f[i], r, 0, 0, 32, OUT);
        check_rows(&f[i], r, 0, 32, 8, OUT);
    }
    for (int i = 0; i < 2; i++) fixture_close(&f[i]);
    ucb_rooms_close(rooms);
    ucb_arena_free(&arena);
}

/* A payload is checked where it is decoded, too. */
TEST(a_span_that_was_damaged_after_it_was_opened_is_found)
{
    struct method_fixture f;
    struct ucb_arena arena;
    struct ucb_rooms *rooms;
    struct ucb_resident *r;
    struct ucb_err err;
    static float w[200 * 64], rows[32 * 64];
    fixture_open(&f, "lossless", 200, 64, UCB_F32, 1);
    fill_gaussian(w, 200 * 64, 1, "damaged");
    fixture_run(&f, w);
    ucb_arena_init(&arena);
    CHECK_OK(ucb_rooms_open(1, &rooms, &err), err);
    open_resident(&f, &arena, rooms, &r);
    f.out.data[f.out.n_bytes - 5] ^= 4;
    CHECK_STATUS(ucb_resident_rows(r, 0, 0, 32, 200, rows, &err), UCB_CORRUPT, err);
    CHECK_STATUS(ucb_resident_rows(r, 0, 0, 32, 200, rows, &err), UCB_CORRUPT, err);
    f.out.data[f.out.n_bytes - 5] ^= 4;
    check_rows(&f, r, 0, 0, 32, 200);
    fixture_close(&f);
    ucb_rooms_close(rooms);
    ucb_arena_free(&arena);
}

TEST(a_method_with_its_own_product_and_the_original_are_not_kept_encoded)
{
    static const struct {
        const char *spec;
        bool serves;
    } cases[] = {{"none", false},
                 {"int8:threshold=6.0", false},
                 {"nf4", true},
                 {"lossless", true},
                 {"int5+residual", true}};
    struct ucb_arena arena;
    ucb_arena_init(&arena);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ucb_chain *chain;
        struct ucb_err err;
        CHECK_OK(ucb_chain_parse(cases[i].spec, &arena, &chain, &err), err);
        CHECK_EQ(ucb_resident_serves(chain), cases[i].serves);
    }
    ucb_arena_free(&arena);
}
