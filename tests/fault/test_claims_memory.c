/* Memory that runs out anywhere in the claims: a status, never a shorter list. */
#include "test.h"

#include "core/arena.h"
#include "report/claims.h"

/* Loads and checks with the n-th piece refused; true when that many were not needed. */
static bool survives(long n)
{
    struct ucb_arena arena;
    struct ucb_claims claims = {0};
    struct ucb_err err;
    ucb_arena_init(&arena);
    ucb_mem_fail_after(n);
    ucb_status status = ucb_claims_load(&arena, &claims, &err);
    if (status == UCB_OK) status = ucb_claims_check(&claims, &err);
    ucb_mem_fail_after(0);
    CHECK(status == UCB_OK || status == UCB_NOMEM);
    if (status == UCB_OK) CHECK_EQ(claims.n, 340);
    ucb_claims_close(&claims);
    ucb_arena_free(&arena);
    return status == UCB_OK;
}

TEST(claims_without_memory_are_an_error)
{
    /* the first pieces one by one, then ever larger steps: a load takes thousands */
    for (long n = 1; n < 20000; n += 1 + n / 3)
        if (survives(n)) return;
    ucb_test_fail(__FILE__, __LINE__, "never enough memory");
}
