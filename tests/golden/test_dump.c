/* `ucbench dump` against the reference logits, hidden states and log-likelihoods of the
 * architecture vectors. */
#include "test.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "core/bytes.h"
#include "core/err.h"
#include "core/json.h"
#include "model/checkpoint.h"
#include "tiny.h"

static char out[1 << 14];

static json_t *load_index(void)
{
    json_t *index;
    struct ucb_err err;
    CHECK_OK(
        ucb_json_load(ucb_test_path("%s/tests/golden/arch/index.json", ucb_test_root()),
                      &index, &err),
        err);
    return index;
}

static double worst_difference(const struct ucb_tensor *a, const struct ucb_tensor *b)
{
    double worst = 0;
    CHECK(a != NULL && b != NULL && a->n_bytes == b->n_bytes && a->dtype == b->dtype);
    for (uint64_t i = 0; i < a->n_elements; i++) {
        double x, y;
        if (a->dtype == UCB_F32) {
            x = (double)ucb_load_f32(a->data + 4 * i);
            y = (double)ucb_load_f32(b->data + 4 * i);
        } else {
            memcpy(&x, a->data + 8 * i, 8);
            memcpy(&y, b->data + 8 * i, 8);
        }
        worst = fmax(worst, isnan(x - y) ? INFINITY : fabs(x - y));
    }
    return worst;
}

/* Name in the dump of a reference tensor: hidden states of the reference belong to
 * sequence 1. */
static const char *dumped_name(const char *reference)
{
    if (strncmp(reference, "hidden.", 7) == 0)
        return ucb_test_path("hidden.1.%s", reference + 7);
    return reference;
}

static void compare(const char *name, const char *dump_path, const char *reference_path,
                    json_t *tolerance)
{
    struct ucb_checkpoint *dump, *reference;
    struct ucb_err err;
    CHECK_OK(ucb_checkpoint_open(dump_path, &dump, &err), err);
    CHECK_OK(ucb_checkpoint_open(reference_path, &reference, &err), err);
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(reference); i++) {
        const struct ucb_tensor *t = ucb_checkpoint_tensor(reference, i);
        const char *key = strncmp(t->name, "logits.", 7) == 0   ? "logits_max_abs"
                          : strncmp(t->name, "hidden.", 7) == 0 ? "hidden_max_abs"
                          : strcmp(t->name, "loglik") == 0      ? "loglik_abs"
                                                                : NULL;
        if (key == NULL) continue;
        double off = worst_difference(ucb_checkpoint_find(dump, dumped_name(t->name)), t);
        double allowed = json_number_value(json_object_get(tolerance, key));
        if (!(off <= allowed))
            ucb_test_fail(__FILE__, __LINE__, "%s: %s is off by %g, allowed %g", name,
                          t->name, off, allowed);
    }
    ucb_checkpoint_close(reference);
    ucb_checkpoint_close(dump);
}

static void dump_and_compare(const char *name, const char *model_file, json_t *tolerance,
                             const char *options)
{
    const char *folder = ucb_test_path("%s/tests/golden/arch/%s", ucb_test_root(), name);
    const char *reference = ucb_test_path("%s/reference.safetensors", folder);
    const char *dump = ucb_test_path("%s/dump.safetensors", ucb_test_folder());
    int code = ucb_run_program(out, sizeof(out),
                               "dump --model %s%s --ids %s --out %s --hidden %s", folder,
                               model_file, reference, dump, options);
    if (code != 0)
        ucb_test_fail(__FILE__, __LINE__, "%s%s: exit %d: %s", name, model_file, code, out);
    compare(ucb_test_path("%s%s %s", name, model_file, options), dump, reference,
            tolerance);
}

TEST(dumped_logits_hidden_states_and_likelihoods_equal_the_reference)
{
    size_t i;
    json_t *index = load_index(), *one;
    CHECK(json_array_size(json_object_get(index, "cases")) >= 5);
    json_array_foreach(json_object_get(index, "cases"), i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name")), *file;
        json_t *tolerance = json_object_get(one, "tolerance"), *entry;
        for (unsigned k = UCB_KERNEL_SCALAR; k < UCB_N_KERNELS; k++)
            if (ucb_kernel_available((enum ucb_kernel)k, UCB_ARITH_FP32, NULL))
                dump_and_compare(name, "", tolerance,
                                 ucb_test_path("--kernel %s --batch 7",
                                               ucb_kernel_name((enum ucb_kernel)k)));
        json_object_foreach(json_object_get(one, "files"), file, entry)
        {
            if (strstr(file, ".gguf") != NULL)
                dump_and_compare(name, ucb_test_path("/%s", file), tolerance, "");
        }
    }
    json_decref(index);
}

TEST(every_malformed_model_is_refused_with_exit_3_and_no_output)
{
    size_t i;
    json_t *index = load_index(), *one;
    CHECK(json_array_size(json_object_get(index, "malformed")) >= 10);
    json_array_foreach(json_object_get(index, "malformed"), i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        const char *folder = ucb_test_path("%s/tests/golden/arch", ucb_test_root());
        const char *dump = ucb_test_path("%s/%s.safetensors", ucb_test_folder(), name);
        int code = ucb_run_program(
            out, sizeof(out),
            "dump --model %s/%s --ids %s/llama-tied-gqa/reference.safetensors --out %s",
            folder, name, folder, dump);
        if (code != 3)
            ucb_test_fail(__FILE__, __LINE__, "%s: exit %d: %s", name, code, out);
        FILE *file = fopen(dump, "rb");
        CHECK(file == NULL);
    }
    json_decref(index);
}
