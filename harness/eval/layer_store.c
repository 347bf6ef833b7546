/*
 * layer_store.c - see layer_store.h. A file: SHA-256 of the rest, the magic, the number of
 * slots, four times and losses, the count of matrices without inputs, and n_slots + 1
 * writers (the last is the gains), each its bytes by part and its bytes.
 */
#include "eval/layer_store.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/resource.h"
#include "core/text.h"

enum { PATH = 4160 };
static const char magic[8] = "ucblayr2";

static void add_text(struct ucb_text *out, const struct ucb_calib_text *t)
{
    char ids[UCB_SHA256_HEX];
    if (t == NULL) return;
    ucb_sha256_hex(t->ids, t->n_windows * t->spec.ctx * sizeof(*t->ids), ids);
    ucb_text_add(out, "text %s %s\nids %zu %s\n", t->digest, t->spec.spec, t->n_windows,
                 ids);
}

/* The build stands for all code that no revision covers. */
static ucb_status make_key(const struct ucb_calibrator_options *o,
                           const struct ucb_chain *chain, char key[UCB_SHA256_HEX],
                           struct ucb_err *err)
{
    struct ucb_text text = {0};
    enum ucb_arithmetic arithmetic = ucb_backend_arithmetic(o->backend);
    ucb_text_add(&text, "layers, build %s\nmodel %s\nchain %s\nscope %s\nseed %llu\n",
                 ucb_build_id(), o->model_digest, ucb_chain_identity(chain), o->scope,
                 (unsigned long long)o->seed);
    ucb_text_add(&text, "arithmetic %s %u\n", ucb_backend_identity(o->backend),
                 ucb_arithmetic_revision(arithmetic));
    add_text(&text, o->text);
    bool failed = text.failed;
    if (!failed) ucb_sha256_hex(text.data, text.n_chars, key);
    ucb_text_free(&text);
    return failed ? UCB_FAIL(err, UCB_NOMEM, "no memory for the name of a layer store")
                  : UCB_OK;
}

ucb_status ucb_layer_store_open(const struct ucb_calibrator_options *options,
                                const struct ucb_chain *chain, struct ucb_layer_store *out,
                                struct ucb_err *err)
{
    char key[UCB_SHA256_HEX];
    out->folder[0] = '\0'; /* no cache: nothing is there, and nothing is kept */
    if (options->cache == NULL) return UCB_OK;
    UCB_TRY(make_key(options, chain, key, err));
    int n = snprintf(out->folder, sizeof(out->folder), "%s/layers/%s", options->cache, key);
    if (n < 0 || (size_t)n >= sizeof(out->folder))
        return UCB_FAIL(err, UCB_USAGE, "%s: too long a folder name", options->cache);
    return UCB_OK;
}

static void file_path(const struct ucb_layer_store *store, uint32_t layer, char out[PATH])
{
    snprintf(out, PATH, "%s/layer-%04u", store->folder, layer);
}

static void put_writer(struct ucb_writer *out, const struct ucb_writer *w)
{
    for (int part = 0; part < UCB_N_PARTS; part++) ucb_put_u64(out, w->part_bytes[part]);
    ucb_put_bytes(out, w->data, w->n_bytes);
}

static void put_double(struct ucb_writer *out, double value)
{
    ucb_put_bytes(out, &value, sizeof(value));
}

ucb_status ucb_layer_store_put(const struct ucb_layer_store *store, uint32_t layer,
                               const struct ucb_layer_bytes *bytes, struct ucb_err *err)
{
    char path[PATH];
    struct ucb_writer out = {0};
    uint8_t digest[UCB_SHA256_BYTES] = {0};
    struct ucb_sha256 hash;
    if (store->folder[0] == '\0')
        return UCB_FAIL(err, UCB_ENVIRONMENT,
                        "there is no cache folder: set --cache, UCBENCH_CACHE or HOME");
    UCB_TRY(ucb_folder_make(store->folder, err));
    ucb_put_bytes(&out, digest, sizeof(digest));
    ucb_put_bytes(&out, magic, sizeof(magic));
    ucb_put_u64(&out, bytes->n_slots);
    put_double(&out, bytes->loss_before);
    put_double(&out, bytes->loss_after);
    put_double(&out, bytes->tune_seconds);
    put_double(&out, bytes->encode_seconds);
    ucb_put_u64(&out, bytes->n_uncalibrated);
    for (size_t slot = 0; slot < bytes->n_slots; slot++)
        put_writer(&out, &bytes->payload[slot]);
    put_writer(&out, &bytes->gains);
    ucb_status status = ucb_writer_status(&out, err);
    if (status == UCB_OK) {
        ucb_sha256_init(&hash);
        ucb_sha256_update(&hash, out.data + sizeof(digest), out.n_bytes - sizeof(digest));
        ucb_sha256_final(&hash, digest);
        memcpy(out.data, digest, sizeof(digest));
        file_path(store, layer, path);
        status = ucb_file_write(path, out.data, out.n_bytes, err);
    }
    ucb_writer_free(&out);
    return status;
}

/* The parts say how many bytes follow. */
static bool get_writer(struct ucb_reader *in, struct ucb_writer *out)
{
    uint64_t part_bytes[UCB_N_PARTS];
    const uint8_t *data;
    size_t n_bytes = 0;
    for (int part = 0; part < UCB_N_PARTS; part++)
        if (!ucb_get_u64(in, &part_bytes[part]) ||
            !ucb_size_add(n_bytes, part_bytes[part], &n_bytes))
            return false;
    if (!ucb_get_bytes(in, n_bytes, &data)) return false;
    ucb_writer_reset(out);
    ucb_put_bytes(out, data, n_bytes);
    memcpy(out->part_bytes, part_bytes, sizeof(part_bytes));
    return !out->failed;
}

static bool get_double(struct ucb_reader *in, double *value)
{
    const uint8_t *data;
    if (!ucb_get_bytes(in, sizeof(*value), &data)) return false;
    memcpy(value, data, sizeof(*value));
    return true;
}

static bool get_all(struct ucb_reader *in, struct ucb_layer_bytes *out)
{
    const uint8_t *found;
    uint64_t n_slots;
    if (!ucb_get_bytes(in, sizeof(magic), &found) ||
        memcmp(found, magic, sizeof(magic)) != 0 || !ucb_get_u64(in, &n_slots) ||
        n_slots != out->n_slots || !get_double(in, &out->loss_before) ||
        !get_double(in, &out->loss_after) || !get_double(in, &out->tune_seconds) ||
        !get_double(in, &out->encode_seconds) || !ucb_get_u64(in, &out->n_uncalibrated))
        return false;
    for (size_t slot = 0; slot < out->n_slots; slot++)
        if (!get_writer(in, &out->payload[slot])) return false;
    return get_writer(in, &out->gains) && ucb_reader_left(in) == 0;
}

bool ucb_layer_store_get(const struct ucb_layer_store *store, uint32_t layer,
                         struct ucb_layer_bytes *out)
{
    char path[PATH];
    struct ucb_file file;
    struct ucb_sha256 hash;
    uint8_t digest[UCB_SHA256_BYTES];
    bool good = false;
    if (store->folder[0] == '\0') return false;
    file_path(store, layer, path);
    if (ucb_file_map(path, &file, NULL) != UCB_OK) return false;
    if (file.n_bytes > sizeof(digest)) {
        ucb_sha256_init(&hash);
        ucb_sha256_update(&hash, file.data + sizeof(digest), file.n_bytes - sizeof(digest));
        ucb_sha256_final(&hash, digest);
        struct ucb_reader in = {file.data, file.n_bytes, sizeof(digest)};
        good = memcmp(digest, file.data, sizeof(digest)) == 0 && get_all(&in, out);
    }
    ucb_file_unmap(&file);
    if (!good) fprintf(stderr, "%s: not whole; the layer is made again\n", path);
    return good;
}

uint64_t ucb_layer_store_bytes(const struct ucb_layer_store *store, uint32_t n_layers)
{
    uint64_t n_bytes = 0;
    if (store->folder[0] == '\0') return 0;
    for (uint32_t layer = 0; layer < n_layers; layer++) {
        char path[PATH];
        struct stat info;
        file_path(store, layer, path);
        if (stat(path, &info) == 0) n_bytes += (uint64_t)info.st_size;
    }
    return n_bytes;
}

void ucb_layer_store_remove(const struct ucb_layer_store *store, uint32_t n_layers)
{
    if (store->folder[0] == '\0') return;
    for (uint32_t layer = 0; layer < n_layers; layer++) {
        char path[PATH];
        file_path(store, layer, path);
        unlink(path);
    }
    rmdir(store->folder);
}
