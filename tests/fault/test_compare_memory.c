/* Comparing cells while memory runs out: every allocation refused once, always NOMEM, and
 * then the same answer as ever. */
#include "test.h"

#include <stdio.h>

#include "made_up.h"
#include "report/pair.h"

static ucb_status compare(const char *db, char *json, size_t size, struct ucb_err *err)
{
    struct ucb_arena arena;
    struct ucb_store *store = NULL;
    struct ucb_stored_cell *cells = NULL;
    const struct ucb_stored_cell *before = NULL, *after = NULL;
    struct ucb_pair pair;
    struct ucb_text text = {0};
    size_t n = 0;
    ucb_status status = ucb_store_open(db, UCB_STORE_READ, &store, err);
    ucb_arena_init(&arena);
    if (status == UCB_OK) status = ucb_store_cells(store, &arena, &cells, &n, err);
    if (status == UCB_OK)
        status = ucb_store_find_cell(cells, n, "smollm2-135m/none/lambada", &arena, &before,
                                     err);
    if (status == UCB_OK)
        status = ucb_store_find_cell(cells, n, "smollm2-135m/fp4/lambada", &arena, &after,
                                     err);
    if (status == UCB_OK)
        status = ucb_pair_compare(store, cells, n, before, after, &ucb_bands_default, 99,
                                  &arena, &pair, err);
    if (status == UCB_OK) status = ucb_pair_json(&pair, &text, err);
    if (status == UCB_OK) snprintf(json, size, "%s", ucb_text_get(&text));
    ucb_text_free(&text);
    ucb_arena_free(&arena);
    ucb_store_close(store);
    return status;
}

TEST(a_comparison_without_memory_says_so_and_loses_nothing)
{
    static char whole[1 << 14], again[1 << 14];
    struct ucb_err err;
    const char *db = ucb_test_path("%s/r.db", ucb_test_folder());
    long n = 1;
    made_up_database(db, "b1", false);
    CHECK_OK(compare(db, whole, sizeof(whole), &err), err);
    for (;; n++) {
        ucb_mem_fail_after(n);
        ucb_status status = compare(db, again, sizeof(again), &err);
        ucb_mem_fail_after(0);
        if (status == UCB_OK) break;
        CHECK_EQ(status, UCB_NOMEM);
    }
    CHECK(n > 20);
    CHECK_TEXT(again, whole);
}
