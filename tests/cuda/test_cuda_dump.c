/* `ucbench dump --kernel cuda` on the emulated device: every architecture of the
 * conformance checkpoints, both strict arithmetics, the bytes that the scalar path writes.
 */
#include "test.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "core/json.h"
#include "core/sha256.h"
#include "cuda_fixture.h"
#include "tiny.h"

static char out[1 << 14];

static void dump(const char *name, const char *options, char hex[UCB_SHA256_HEX])
{
    const char *folder = ucb_test_path("%s/tests/golden/arch/%s", ucb_test_root(), name),
               *file = ucb_test_path("%s/dump.safetensors", ucb_test_folder());
    struct ucb_err err;
    int code = ucb_run_program(
        out, sizeof(out),
        "dump --model %s --ids %s/reference.safetensors --out %s --hidden %s", folder,
        folder, file, options);
    if (code != 0)
        ucb_test_fail(__FILE__, __LINE__, "%s %s: exit %d: %s", name, options, code, out);
    CHECK_OK(ucb_sha256_file(file, hex, &err), err);
}

static void same_dumps(const char *arithmetic, const char *const orders[3])
{
    size_t i;
    struct ucb_err err;
    json_t *index, *one;
    CHECK_OK(
        ucb_json_load(ucb_test_path("%s/tests/golden/arch/index.json", ucb_test_root()),
                      &index, &err),
        err);
    CHECK(json_array_size(json_object_get(index, "cases")) >= 26);
    json_array_foreach(json_object_get(index, "cases"), i, one)
    {
        char expected[UCB_SHA256_HEX], found[UCB_SHA256_HEX];
        const char *name = json_string_value(json_object_get(one, "name"));
        use_emulated_cuda(orders[i % 3]);
        dump(name, ucb_test_path("--arithmetic %s --kernel scalar", arithmetic), expected);
        dump(name, ucb_test_path("--arithmetic %s --kernel cuda --batch 32", arithmetic),
             found);
        if (strcmp(found, expected) != 0)
            ucb_test_fail(__FILE__, __LINE__, "%s, %s, threads %s: other bits", name,
                          arithmetic, orders[i % 3]);
    }
    json_decref(index);
}

TEST(every_architecture_dumps_the_bytes_of_scalar_on_the_device_in_fp32)
{
    static const char *const orders[] = {"forward", "reverse", "random:1"};
    same_dumps("fp32", orders);
}

TEST(every_architecture_dumps_the_bytes_of_scalar_on_the_device_in_bf16)
{
    static const char *const orders[] = {"reverse", "random:2", "forward"};
    same_dumps("bf16", orders);
}

TEST(a_device_with_little_memory_gives_the_same_bytes)
{
    char expected[UCB_SHA256_HEX], found[UCB_SHA256_HEX];
    use_emulated_cuda("forward");
    dump("llama-tied-gqa", "--kernel scalar", expected);
    setenv("UCB_EMULATION_MEMORY", "700000", 1); /* some weights at a time */
    dump("llama-tied-gqa", "--kernel cuda --batch 8", found);
    CHECK_TEXT(found, expected);
}
