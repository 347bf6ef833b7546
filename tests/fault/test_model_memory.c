/* The 1st, 2nd, 3rd ... allocation of opening a model fails: the status says so, and
 * nothing is left behind. */
#include "test.h"

#include "core/arena.h"
#include "model/model.h"

static void check_every_allocation(const char *name)
{
    const char *path = ucb_test_path("%s/tests/golden/arch/%s", ucb_test_root(), name);
    for (long n = 1;; n++) {
        struct ucb_model *m = NULL;
        struct ucb_err err = {0};
        ucb_mem_fail_after(n);
        ucb_status status = ucb_model_open(path, &m, &err);
        ucb_mem_fail_after(0);
        if (status == UCB_OK) {
            CHECK(n > 20); /* the loop has been through the parsers and the binding */
            ucb_model_close(m);
            return;
        }
        CHECK_EQ(status, UCB_NOMEM);
        CHECK_HAS(err.text, "no memory");
        CHECK(m == NULL);
    }
}

TEST(every_refused_allocation_of_opening_a_model_is_reported)
{
    check_every_allocation("llama-tied-gqa");
    check_every_allocation("llama-sharded");
    check_every_allocation("llama-tied-gqa/model-f16.gguf");
}
