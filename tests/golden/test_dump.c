/* `ucbench dump` against the reference logits, hidden states, choices of routers and
 * log-likelihoods of the architecture vectors; and against itself: equal bytes on every
 * kernel path, for every batch and number of threads. */
#include "test.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "core/bytes.h"
#include "core/err.h"
#include "core/json.h"
#include "core/sha256.h"
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

/* Name in the dump of a reference tensor: hidden states and routers of the reference belong
 * to sequence 1. */
static const char *dumped_name(const char *reference)
{
    if (strncmp(reference, "hidden.", 7) == 0)
        return ucb_test_path("hidden.1.%s", reference + 7);
    if (strncmp(reference, "router.", 7) == 0)
        return ucb_test_path("router.1.%s", reference + 7);
    return reference;
}

/* The weight of an expert in a row of a router's choices; -1 where it was not chosen. */
static double weight_of(const struct ucb_tensor *experts, const struct ucb_tensor *weights,
                        uint64_t row, uint32_t expert)
{
    uint64_t used = experts->shape[1];
    for (uint64_t i = row * used; i < (row + 1) * used; i++)
        if (ucb_load_u32(experts->data + 4 * i) == expert)
            return (double)ucb_load_f32(weights->data + 4 * i);
    return -1;
}

/* Experts are a set: the order in a row means nothing. */
static void compare_router(const char *name, const struct ucb_checkpoint *dump,
                           const struct ucb_checkpoint *reference,
                           const struct ucb_tensor *experts, double allowed)
{
    char of[64];
    snprintf(of, sizeof(of), "%.*s.weights", (int)(strlen(experts->name) - 8),
             experts->name);
    const struct ucb_tensor *weights = ucb_checkpoint_find(reference, of),
                            *found = ucb_checkpoint_find(dump, dumped_name(experts->name)),
                            *found_weights = ucb_checkpoint_find(dump, dumped_name(of));
    CHECK(weights != NULL && found != NULL && found_weights != NULL);
    CHECK(experts->dtype == UCB_I32 && found->dtype == UCB_I32);
    CHECK(found->shape[0] == experts->shape[0] && found->shape[1] == experts->shape[1]);
    for (uint64_t i = 0; i < experts->n_elements; i++) {
        uint64_t row = i / experts->shape[1];
        uint32_t expert = ucb_load_u32(experts->data + 4 * i);
        double off = fabs(weight_of(found, found_weights, row, expert) -
                          weight_of(experts, weights, row, expert));
        if (!(off <= allowed))
            ucb_test_fail(__FILE__, __LINE__, "%s: %s, row %d, expert %u is off by %g",
                          name, experts->name, (int)row, expert, off);
    }
}

static void compare_tensor(const char *name, const struct ucb_checkpoint *dump,
                           const struct ucb_checkpoint *reference,
                           const struct ucb_tensor *t, json_t *tolerance)
{
    const char *key = strncmp(t->name, "logits.", 7) == 0   ? "logits_max_abs"
                      : strncmp(t->name, "hidden.", 7) == 0 ? "hidden_max_abs"
                      : strncmp(t->name, "router.", 7) == 0 ? "hidden_max_abs"
                      : strcmp(t->name, "loglik") == 0      ? "loglik_abs"
                                                            : NULL;
    double allowed = json_number_value(json_object_get(tolerance, key));
    if (key == NULL || strstr(t->name, ".weights") != NULL) return;
    if (strncmp(t->name, "router.", 7) == 0) {
        compare_router(name, dump, reference, t, allowed);
        return;
    }
    double off = worst_difference(ucb_checkpoint_find(dump, dumped_name(t->name)), t);
    if (!(off <= allowed))
        ucb_test_fail(__FILE__, __LINE__, "%s: %s is off by %g, allowed %g", name, t->name,
                      off, allowed);
}

static void compare(const char *name, const char *dump_path, const char *reference_path,
                    json_t *tolerance)
{
    struct ucb_checkpoint *dump, *reference;
    struct ucb_err err;
    CHECK_OK(ucb_checkpoint_open(dump_path, &dump, &err), err);
    CHECK_OK(ucb_checkpoint_open(reference_path, &reference, &err), err);
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(reference); i++)
        compare_tensor(name, dump, reference, ucb_checkpoint_tensor(reference, i),
                       tolerance);
    ucb_checkpoint_close(reference);
    ucb_checkpoint_close(dump);
}

/* Dumps a case (model_file "": its safetensors) and says where. */
static const char *dump_case(const char *name, const char *model_file, const char *options)
{
    const char *folder = ucb_test_path("%s/tests/golden/arch/%s", ucb_test_root(), name);
    const char *dump = ucb_test_path("%s/dump.safetensors", ucb_test_folder());
    int code = ucb_run_program(
        out, sizeof(out),
        "dump --model %s%s --ids %s/reference.safetensors --out %s --hidden %s", folder,
        model_file, folder, dump, options);
    if (code != 0)
        ucb_test_fail(__FILE__, __LINE__, "%s%s: exit %d: %s", name, model_file, code, out);
    return dump;
}

static void dump_and_compare(const char *name, const char *model_file, json_t *tolerance,
                             const char *options)
{
    compare(ucb_test_path("%s%s %s", name, model_file, options),
            dump_case(name, model_file, options),
            ucb_test_path("%s/tests/golden/arch/%s/reference.safetensors", ucb_test_root(),
                          name),
            tolerance);
}

/* The dump with these options has the digest of the first one; "" becomes it. */
static void dump_same(const char *name, const char *options, char hex[UCB_SHA256_HEX])
{
    char found[UCB_SHA256_HEX];
    struct ucb_err err;
    CHECK_OK(ucb_sha256_file(dump_case(name, "", options), found, &err), err);
    if (hex[0] == '\0') memcpy(hex, found, UCB_SHA256_HEX);
    if (strcmp(found, hex) != 0)
        ucb_test_fail(__FILE__, __LINE__, "%s %s: other bits", name, options);
}

TEST(dumped_logits_hidden_states_and_likelihoods_equal_the_reference)
{
    size_t i;
    json_t *index = load_index(), *one;
    CHECK_EQ(json_array_size(json_object_get(index, "cases")), 27);
    json_array_foreach(json_object_get(index, "cases"), i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name")), *file;
        json_t *tolerance = json_object_get(one, "tolerance"), *entry;
        dump_and_compare(name, "", tolerance, "");
        json_object_foreach(json_object_get(one, "files"), file, entry)
        {
            if (strstr(file, ".gguf") != NULL)
                dump_and_compare(name, ucb_test_path("/%s", file), tolerance, "");
        }
    }
    json_decref(index);
}

TEST(a_dump_has_the_same_bytes_on_every_path_with_every_batch_and_any_threads)
{
    static const int batches[] = {7, 32, 1, 512};
    size_t i;
    json_t *index = load_index(), *one;
    json_array_foreach(json_object_get(index, "cases"), i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        for (int a = 0; a < UCB_N_STRICT_ARITHS; a++) {
            char hex[UCB_SHA256_HEX] = "";
            for (int k = UCB_KERNEL_SCALAR; k < UCB_N_KERNELS; k++)
                if (ucb_kernel_available((enum ucb_kernel)k, (enum ucb_arithmetic)a, NULL))
                    dump_same(
                        name,
                        ucb_test_path("--arithmetic %s --kernel %s --batch %d --threads %d",
                                      ucb_arithmetic_name((enum ucb_arithmetic)a),
                                      ucb_kernel_name((enum ucb_kernel)k), batches[k % 4],
                                      k % 4 + 1),
                        hex);
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
