/* Memory that runs out while a matrix is opened to stay encoded, or multiplied. */
#include "test.h"

#include <string.h>

#include "backend/backend.h"
#include "method/resident.h"
#include "method_fixture.h"

enum { OUT = 70, IN = 128, WORKERS = 2 };

static ucb_status decode(void *context, unsigned worker, uint32_t row, uint32_t n_rows,
                         uint32_t end, float *w, struct ucb_err *err)
{
    return ucb_resident_rows(context, worker, row, n_rows, end, w, err);
}

/* Everything between a payload and a product. */
static ucb_status run(const struct method_fixture *f, struct ucb_backend *backend,
                      struct ucb_arena *arena, float *y, struct ucb_err *err)
{
    static const float x[3 * IN] = {1, 2, -3};
    struct ucb_chain_context context = f->context;
    struct ucb_rooms *rooms = NULL;
    struct ucb_resident *r;
    context.arena = arena;
    ucb_status status = ucb_rooms_open(WORKERS, &rooms, err);
    if (status == UCB_OK)
        status = ucb_resident_open(f->chain, &context, &f->matrix, f->out.data,
                                   f->out.n_bytes, rooms, &r, err);
    if (status == UCB_OK) {
        struct ucb_tiles t = {.decode = decode, .context = r, .n_out = OUT, .n_in = IN};
        status = ucb_linear_tiles(backend, &t, NULL, x, 3, y, err);
    }
    ucb_rooms_close(rooms);
    return status;
}

TEST(running_out_of_memory_for_an_encoded_matrix_is_an_error_and_no_more)
{
    static float w[OUT * IN], y[3 * OUT], expected[3 * OUT];
    struct method_fixture f;
    struct ucb_err err;
    fixture_open(&f, "int5+residual", OUT, IN, UCB_F32, 1);
    fill_gaussian(w, OUT * IN, 1, "memory");
    fixture_run(&f, w);
    for (long n = 0; n < 200; n++) {
        struct ucb_backend *backend;
        struct ucb_arena arena;
        ucb_arena_init(&arena);
        CHECK_OK(ucb_backend_open(UCB_ARITH_FP32, UCB_KERNEL_AUTO, NULL, &backend, &err),
                 err);
        ucb_mem_fail_after(n);
        ucb_status status = run(&f, backend, &arena, n == 0 ? expected : y, &err);
        ucb_mem_fail_after(0);
        ucb_backend_close(backend);
        ucb_arena_free(&arena);
        if (n == 0) CHECK_OK(status, err);
        if (status == UCB_OK && n > 0) {
            CHECK(n > 5);
            CHECK(memcmp(y, expected, sizeof(y)) == 0);
            break;
        }
        if (n > 0) CHECK_EQ(status, UCB_NOMEM);
        CHECK(n < 199);
    }
    fixture_close(&f);
}
