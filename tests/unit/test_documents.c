/* Byte ranges to pieces of windows. */
#include "test.h"

#include "task/documents.h"

/* Twelve ids, of one or two bytes each. */
static uint32_t ids12[12], start12[12] = {0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14};
static const struct ucb_ids ids = {ids12, start12, 12};
static struct ucb_arena arena;
static struct ucb_err err;

static void check_item(const struct ucb_item *item, uint32_t window, uint32_t document,
                       uint32_t from, uint32_t to)
{
    CHECK_EQ(item->window, window);
    CHECK_EQ(item->document, document);
    CHECK_EQ(item->from, from);
    CHECK_EQ(item->to, to);
}

TEST(a_window_is_cut_where_the_targets_document_changes)
{
    static const struct ucb_document_start starts[] = {{0, "a"}, {4, "b"}, {8, "c"}};
    const struct ucb_window windows[] = {{ids12, 12, 0}};
    struct ucb_items out = {.windows = windows, .n_windows = 1};
    CHECK_OK(ucb_documents_cut(&ids, starts, 3, &arena, &out, &err), err);
    CHECK_EQ(out.n_items, 3);
    CHECK_EQ(out.n_documents, 3);
    check_item(&out.items[0], 0, 0, 0, 2); /* targets 1 and 2 */
    check_item(&out.items[1], 0, 1, 2, 5); /* targets 3 to 5 begin at bytes 4, 5, 6 */
    check_item(&out.items[2], 0, 2, 5, 11);
}

TEST(a_token_that_begins_before_a_border_belongs_to_the_document_before_it)
{
    static const struct ucb_document_start starts[] = {
        {0, "a"}, {3, "b"}}; /* token 2 covers bytes 2 and 3 */
    const struct ucb_window windows[] = {{ids12, 5, 0}};
    struct ucb_items out = {.windows = windows, .n_windows = 1};
    CHECK_OK(ucb_documents_cut(&ids, starts, 2, &arena, &out, &err), err);
    check_item(&out.items[0], 0, 0, 0, 2);
    check_item(&out.items[1], 0, 1, 2, 4);
}

TEST(only_scored_positions_become_items_and_their_documents_are_numbered_in_text_order)
{
    static const struct ucb_document_start starts[] = {
        {0, "a"}, {4, "b"}, {8, "c"}, {14, "d"}};
    const struct ucb_window windows[] = {{ids12 + 6, 5, 2},
                                         {ids12, 5, 3}}; /* targets 9 and 10; target 4 */
    struct ucb_items out = {.windows = windows, .n_windows = 2};
    CHECK_OK(ucb_documents_cut(&ids, starts, 4, &arena, &out, &err), err);
    CHECK_EQ(out.n_items, 2);
    check_item(&out.items[0], 0, 1, 2, 4);
    check_item(&out.items[1], 1, 0, 3, 4);
    CHECK_EQ(out.n_documents, 2);
    CHECK_TEXT(out.documents[0].name, "b");
    CHECK_TEXT(out.documents[1].name, "c");
}

TEST(documents_that_begin_at_the_same_byte_leave_the_last_one_the_tokens)
{
    static const struct ucb_document_start starts[] = {{0, "a"}, {0, "b"}, {99, "c"}};
    const struct ucb_window windows[] = {{ids12, 12, 0}};
    struct ucb_items out = {.windows = windows, .n_windows = 1};
    CHECK_OK(ucb_documents_cut(&ids, starts, 3, &arena, &out, &err), err);
    CHECK_EQ(out.n_items, 1);
    CHECK_EQ(out.n_documents, 1);
    CHECK_TEXT(out.documents[0].name, "b");
}
