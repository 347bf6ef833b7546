/* vectors.c - see vectors.h. A safetensors file is a length (u64), a JSON header, and
 * bytes. */
#include "vectors.h"

#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/json.h"
#include "core/sha256.h"
#include "test.h"

static struct opened {
    const char *name;
    struct ucb_file file;
    json_t *header;
} files[8];

static const json_t *index_root(void)
{
    static json_t *root;
    struct ucb_err err;
    if (root == NULL)
        CHECK_OK(
            ucb_json_load(ucb_test_path("%s/tests/golden/golden.json", ucb_test_root()),
                          &root, &err),
            err);
    return root;
}

static const struct opened *open_file(const char *name)
{
    struct ucb_err err;
    struct opened *f = files;
    for (; f->name != NULL; f++)
        if (strcmp(f->name, name) == 0) return f;
    CHECK_OK(ucb_file_map(ucb_test_path("%s/tests/golden/%s", ucb_test_root(), name),
                          &f->file, &err),
             err);
    size_t n_header = ucb_load_u64(f->file.data);
    CHECK(n_header < f->file.n_bytes);
    CHECK_OK(
        ucb_json_parse(name, (const char *)f->file.data + 8, n_header, &f->header, &err),
        err);
    f->name = name;
    return f;
}

static struct vector load(const json_t *entry)
{
    struct vector v = {.sha256 = json_string_value(json_object_get(entry, "sha256")),
                       .n = 1};
    const json_t *shape = json_object_get(entry, "shape"),
                 *file = json_object_get(entry, "file");
    v.n_dims = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < v.n_dims; i++) {
        v.shape[i] = (uint64_t)json_integer_value(json_array_get(shape, i));
        v.n *= v.shape[i];
    }
    if (file == NULL) return v;
    const struct opened *f = open_file(json_string_value(file));
    const char *name = json_string_value(json_object_get(entry, "name"));
    const json_t *stored = json_object_get(f->header, name),
                 *span = json_object_get(stored, "data_offsets");
    size_t from = (size_t)json_integer_value(json_array_get(span, 0));
    size_t to = (size_t)json_integer_value(json_array_get(span, 1));
    v.dtype = json_string_value(json_object_get(stored, "dtype"));
    v.data = f->file.data + 8 + ucb_load_u64(f->file.data) + from;
    v.n_bytes = to - from;
    CHECK((const uint8_t *)v.data + v.n_bytes <= f->file.data + f->file.n_bytes);
    return v;
}

size_t vectors_each(const char *file, void (*run)(const json_t *test_case))
{
    const json_t *cases = json_object_get(index_root(), "cases");
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i);
        if (strcmp(json_string_value(json_object_get(one, "file")), file) != 0) continue;
        run(one);
        n++;
    }
    return n;
}

bool vectors_has(const json_t *test_case, const char *role)
{
    return json_object_get(json_object_get(test_case, "tensors"), role) != NULL;
}

struct vector vectors_role(const json_t *test_case, const char *role)
{
    const json_t *entry = json_object_get(json_object_get(test_case, "tensors"), role);
    if (entry == NULL)
        ucb_test_fail(__FILE__, __LINE__, "%s has no tensor %s", vectors_id(test_case),
                      role);
    return load(entry);
}

struct vector vectors_input_at(const json_t *test_case, size_t index)
{
    const json_t *name = json_object_get(test_case, "input");
    if (json_is_array(name)) name = json_array_get(name, index);
    return load(
        json_object_get(json_object_get(index_root(), "inputs"), json_string_value(name)));
}

struct vector vectors_input(const json_t *test_case)
{
    return vectors_input_at(test_case, 0);
}

const char *vectors_id(const json_t *test_case)
{
    return json_string_value(json_object_get(test_case, "id"));
}

const char *vectors_text(const json_t *test_case, const char *setting)
{
    const char *text = json_string_value(
        json_object_get(json_object_get(test_case, "settings"), setting));
    return text == NULL ? "" : text;
}

int vectors_number(const json_t *test_case, const char *setting)
{
    const json_t *value = json_object_get(json_object_get(test_case, "settings"), setting);
    if (json_is_boolean(value)) return json_is_true(value);
    return (int)json_number_value(value);
}

void vectors_same(const json_t *test_case, const char *role, const void *data,
                  size_t n_bytes)
{
    char hex[UCB_SHA256_HEX];
    struct vector v = vectors_role(test_case, role);
    ucb_sha256_hex(data, n_bytes, hex);
    if (strcmp(hex, v.sha256) != 0)
        ucb_test_fail(__FILE__, __LINE__, "%s/%s: %zu bytes differ from the golden ones",
                      vectors_id(test_case), role, n_bytes);
}
