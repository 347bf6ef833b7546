/* The 1st, 2nd, 3rd ... allocation for a receipt's JSON fails: there is no receipt, never
 * one without some of its checks. */
#include "test.h"

#include <string.h>
#include <unistd.h>

#include "core/json.h"
#include "pack/receipt.h"

static void make_result(struct ucb_verify_result *r)
{
    *r = (struct ucb_verify_result){.pack_bytes = 7};
    memset(r->pack_sha256, 'a', sizeof(r->pack_sha256) - 1);
    ucb_check_add(r, "pack_whole", UCB_CHECK_PASS, "7 bytes");
    ucb_check_add(r, "decode_deterministic", UCB_CHECK_PASS, "twice the same");
    ucb_check_add(r, "logits_bit_exact", UCB_CHECK_SKIPPED, "no source");
}

TEST(a_receipt_for_which_memory_runs_out_is_not_written)
{
    const char *path = ucb_test_path("%s/receipt.json", ucb_test_folder());
    struct ucb_verify_result result;
    struct ucb_arena arena = {0};
    struct ucb_err err = {0};
    ucb_json_watch_memory();
    make_result(&result);
    for (long n = 1;; n++) {
        ucb_json_fail_after(n);
        ucb_status status = ucb_receipt_write(path, &result, "a.ucb", NULL, 0, &err);
        ucb_json_fail_after(0);
        if (status == UCB_OK) {
            CHECK(n > 40); /* the loop has been through every check */
            break;
        }
        CHECK_EQ(status, UCB_NOMEM);
        CHECK_HAS(err.text, "no memory for a receipt");
        CHECK(access(path, F_OK) != 0);
    }
    struct ucb_receipt receipt;
    CHECK_OK(ucb_receipt_read(path, &arena, &receipt, &err), err);
    CHECK_EQ(receipt.n_passed, 2);
    CHECK_EQ(receipt.n_skipped, 1);
    ucb_arena_free(&arena);
}
