/*
 * cuda.c - finds the GPU plugin, refuses one that speaks another ABI, and opens a device.
 */
#include "backend/cuda.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/cuda_internal.h"
#include "core/arena.h"

#define PLUGIN_NAME "libucbench_cuda.so"

enum { OUTBOX_BYTES = 256 << 20 }; /* at most: the system cannot move such memory away */

/* What the one search of this process found. */
static struct {
    const struct ucb_cuda_backend *table;
    const struct ucb_cuda_method *methods;
    char why[PATH_MAX + 512];
    int n_devices;
    char device[256]; /* the first one's name, or why there is none */
} found;

/* Beside the program where a file stands there; else the name alone. */
static void plugin_path(char path[PATH_MAX])
{
    const char *named = getenv("UCBENCH_CUDA_PLUGIN");
    if (named != NULL && *named != '\0') {
        snprintf(path, PATH_MAX, "%s", named);
        return;
    }
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - sizeof(PLUGIN_NAME) - 1);
    path[n < 0 ? 0 : n] = '\0';
    char *slash = strrchr(path, '/');
    if (slash != NULL) strcpy(slash + 1, PLUGIN_NAME);
    if (slash == NULL || access(path, R_OK) != 0) strcpy(path, PLUGIN_NAME);
}

static void load_plugin(void)
{
    char path[PATH_MAX];
    plugin_path(path);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        snprintf(found.why, sizeof(found.why),
                 "no GPU plugin (%s); build it with `make cuda`, which needs nvcc",
                 dlerror());
        return;
    }
    const struct ucb_cuda_backend *table = dlsym(library, "ucb_cuda_backend");
    const struct ucb_cuda_method *methods = dlsym(library, "ucb_cuda_methods");
    if (table == NULL || methods == NULL || table->abi != UCB_CUDA_ABI ||
        table->bytes != UCB_CUDA_BYTES) {
        snprintf(found.why, sizeof(found.why),
                 "%s speaks version %u (%u bytes) of the plugin's interface, this program "
                 "%u (%u bytes); build both from one source",
                 path, table == NULL ? 0 : table->abi, table == NULL ? 0 : table->bytes,
                 (unsigned)UCB_CUDA_ABI, UCB_CUDA_BYTES);
        return;
    }
    found.n_devices = table->probe(found.device, sizeof(found.device));
    found.methods = methods;
    found.table = table;
}

static void load_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_plugin);
}

const struct ucb_cuda_backend *ucb_cuda_plugin(const struct ucb_cuda_method **methods,
                                               const char **why)
{
    load_once();
    *methods = found.methods;
    *why = found.table == NULL ? found.why : found.table->built;
    return found.table;
}

bool ucb_cuda_available(const char **why)
{
    load_once();
    *why = found.table == NULL ? found.why : found.device;
    return found.table != NULL && found.n_devices > 0;
}

ucb_status ucb_cuda_open(enum ucb_arithmetic arithmetic, struct ucb_cuda **out,
                         struct ucb_err *err)
{
    const char *why;
    if (!ucb_cuda_available(&why)) return UCB_FAIL(err, UCB_ENVIRONMENT, "%s", why);
    struct ucb_cuda *c = ucb_mem_alloc(sizeof(*c));
    if (c == NULL) return UCB_FAIL(err, UCB_NOMEM, "no memory for a device");
    c->table = found.table;
    c->arithmetic = arithmetic;
    c->locked_from = UINT64_MAX;
    const char *failed = c->table->open(0, &c->device);
    if (failed == NULL) failed = c->table->event_new(c->device, &c->computed);
    for (int i = 0; i < 2 && failed == NULL; i++) {
        failed = c->table->event_new(c->device, &c->filled[i]);
        if (failed == NULL) failed = c->table->event_new(c->device, &c->read[i]);
    }
    if (failed == NULL && arithmetic == UCB_ARITH_CUBLAS)
        failed = c->table->cublas(c->device);
    if (failed != NULL) {
        ucb_status status = UCB_FAIL(err, UCB_ENVIRONMENT, "%s: %s", found.device, failed);
        ucb_cuda_close(c);
        return status;
    }
    *out = c;
    return UCB_OK;
}

static void drop_piece(struct ucb_cuda *c, struct ucb_cuda_piece *piece)
{
    if (piece->p != NULL) c->table->free(c->device, piece->p);
    *piece = (struct ucb_cuda_piece){NULL, 0};
}

static void drop_host_piece(struct ucb_cuda *c, struct ucb_cuda_piece *piece)
{
    if (piece->p != NULL) c->table->free_host(c->device, piece->p);
    *piece = (struct ucb_cuda_piece){NULL, 0};
}

void ucb_cuda_drop_decoding(struct ucb_cuda *c)
{
    for (int i = 0; i <= UCB_CUDA_FOR_DECODED; i++)
        if (i != UCB_CUDA_FOR_VERDICT) drop_piece(c, &c->memory[i]);
    drop_host_piece(c, &c->outbox);
    c->sent_bytes = 0;
}

void ucb_cuda_close(struct ucb_cuda *c)
{
    if (c == NULL) return;
    ucb_cuda_drop_mirrors(c);
    ucb_cuda_drop_weights(c);
    if (c->computed != NULL) c->table->event_free(c->device, c->computed);
    for (int i = 0; i < 2; i++) {
        drop_host_piece(c, &c->staging[i]);
        if (c->filled[i] != NULL) c->table->event_free(c->device, c->filled[i]);
        if (c->read[i] != NULL) c->table->event_free(c->device, c->read[i]);
    }
    drop_host_piece(c, &c->outbox);
    for (int i = 0; i < UCB_CUDA_N_PURPOSES; i++) drop_piece(c, &c->memory[i]);
    if (c->device != NULL) c->table->close(c->device);
    ucb_mem_free(c);
}

ucb_status ucb_cuda_memory(struct ucb_cuda *c, enum ucb_cuda_purpose purpose,
                           size_t n_bytes, void **out, struct ucb_err *err)
{
    static const char *const names[UCB_CUDA_N_PURPOSES] = {
        "a payload",
        "side data",
        "a decoder's plan",
        "a decoder's scratch",
        "the bits of a matrix",
        "the verdict on what was decoded",
        "a decoded matrix",
        "the buffers of a call",
        "parts of a weight"};
    struct ucb_cuda_piece *piece = &c->memory[purpose];
    if (piece->n_bytes < n_bytes) {
        drop_piece(c, piece);
        const char *failed = ucb_cuda_alloc(c, n_bytes, &piece->p);
        if (failed != NULL)
            return UCB_FAIL(err, UCB_NOMEM, "%zu bytes of device memory for %s: %s",
                            n_bytes, names[purpose], failed);
        piece->n_bytes = n_bytes;
    }
    *out = piece->p;
    return UCB_OK;
}

const char *ucb_cuda_send(struct ucb_cuda *c, void *to, const void *host, size_t n_bytes)
{
    size_t at = c->sent_bytes;
    c->sent_bytes += ucb_cuda_room(n_bytes);
    if (c->sent_bytes <= c->outbox.n_bytes)
        host = memcpy((unsigned char *)c->outbox.p + at, host, n_bytes);
    return c->table->upload(c->device, UCB_CUDA_LOAD, to, host, n_bytes);
}

/* LOAD is done. What did not fit will the next time, if there is memory of the kind. */
static void empty_outbox(struct ucb_cuda *c)
{
    struct ucb_cuda_piece *box = &c->outbox;
    size_t wanted = c->sent_bytes < OUTBOX_BYTES ? c->sent_bytes : OUTBOX_BYTES;
    c->sent_bytes = 0;
    if (wanted <= box->n_bytes) return;
    drop_host_piece(c, box);
    if (c->table->alloc_host(c->device, wanted, &box->p) == NULL) box->n_bytes = wanted;
}

static ucb_status clear_verdict(struct ucb_cuda *c, void *verdict, struct ucb_err *err)
{
    static const struct ucb_cuda_verdict zeros;
    const char *failed = c->table->upload(c->device, UCB_CUDA_LOAD, verdict, &zeros,
                                          sizeof(zeros));
    if (failed == NULL) return UCB_OK;
    return UCB_FAIL(err, UCB_ENVIRONMENT, "verdict: %s", failed);
}

ucb_status ucb_cuda_verdict(struct ucb_cuda *c, struct ucb_cuda_verdict **out,
                            struct ucb_err *err)
{
    bool fresh = c->memory[UCB_CUDA_FOR_VERDICT].p == NULL;
    void *p = NULL;
    UCB_TRY(ucb_cuda_memory(c, UCB_CUDA_FOR_VERDICT, sizeof(**out), &p, err));
    if (fresh) UCB_TRY(clear_verdict(c, p, err));
    *out = p;
    return UCB_OK;
}

ucb_status ucb_cuda_take_verdict(struct ucb_cuda *c, struct ucb_cuda_verdict *out,
                                 struct ucb_err *err)
{
    struct ucb_cuda_verdict *there;
    UCB_TRY(ucb_cuda_verdict(c, &there, err));
    const char *failed = c->table->download(c->device, UCB_CUDA_LOAD, out, there,
                                            sizeof(*out));
    if (failed == NULL) failed = c->table->finish(c->device, UCB_CUDA_LOAD);
    if (failed != NULL) return UCB_FAIL(err, UCB_ENVIRONMENT, "decoding: %s", failed);
    empty_outbox(c);
    return clear_verdict(c, there, err);
}

void ucb_cuda_info(const struct ucb_cuda *c, struct ucb_cuda_info *out)
{
    c->table->info(c->device, out);
}

const struct ucb_cuda_backend *ucb_cuda_table(const struct ucb_cuda *c)
{
    return c->table;
}

struct ucb_cuda_device *ucb_cuda_device(const struct ucb_cuda *c)
{
    return c->device;
}
