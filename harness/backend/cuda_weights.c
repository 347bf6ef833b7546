/*
 * cuda_weights.c - packed weights on the device.
 *
 * The host keeps what ucb_pack() made; the device has a copy, named by its address, which
 * is brought along when it is packed, on the stream LOAD, while products run. Where device
 * memory runs out activations give way, then the copies that were not used for longest, and
 * come back when they are multiplied with; what was decoded there is saved to the host
 * first. So the program never asks how much a device holds.
 */
#include "backend/cuda_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"

static struct ucb_cuda_weight *find(struct ucb_cuda *c, const void *host)
{
    for (size_t i = 0; i < c->n_weights; i++)
        if (c->weights[i].host == host) return &c->weights[i];
    return NULL;
}

static void drop(struct ucb_cuda *c, struct ucb_cuda_weight *w)
{
    if (w->p != NULL) c->table->free(c->device, w->p);
    c->table->event_free(c->device, w->loaded);
    ucb_mem_free(w->saved);
    *w = c->weights[--c->n_weights];
}

void ucb_cuda_drop_weights(struct ucb_cuda *c)
{
    while (c->n_weights > 0) drop(c, &c->weights[c->n_weights - 1]);
    ucb_mem_free(c->weights);
    c->weights = NULL;
    c->weight_capacity = 0;
}

/* To the host, when it is ready, and off the device. */
static bool save(struct ucb_cuda *c, struct ucb_cuda_weight *w)
{
    void *saved = ucb_mem_alloc(w->n_bytes);
    if (saved == NULL) return false;
    const char *failed = c->table->download(c->device, UCB_CUDA_LOAD, saved, w->p,
                                            w->n_bytes);
    if (failed == NULL) failed = c->table->finish(c->device, UCB_CUDA_LOAD);
    if (failed != NULL) {
        ucb_mem_free(saved);
        return false;
    }
    c->table->free(c->device, w->p);
    w->p = NULL;
    w->saved = saved;
    w->current = false;
    return true;
}

/* Activations first: a weight is read by every group of windows, a mirror by one. */
bool ucb_cuda_evict(struct ucb_cuda *c)
{
    struct ucb_cuda_weight *oldest = NULL;
    if (ucb_cuda_mirror_evict(c)) return true;
    for (size_t i = 0; i < c->n_weights; i++)
        if (c->weights[i].p != NULL && c->weights[i].used_at < c->locked_from &&
            (oldest == NULL || c->weights[i].used_at < oldest->used_at))
            oldest = &c->weights[i];
    if (oldest == NULL) return false;
    if (oldest->only_here) return save(c, oldest);
    drop(c, oldest);
    return true;
}

size_t ucb_cuda_evictable_bytes(const struct ucb_cuda *c)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < c->mirrors.n; i++)
        if (c->mirrors.list[i].used_at < c->locked_from)
            n_bytes += c->mirrors.list[i].n_bytes;
    for (size_t i = 0; i < c->n_weights; i++)
        if (c->weights[i].p != NULL && c->weights[i].used_at < c->locked_from)
            n_bytes += c->weights[i].n_bytes;
    return n_bytes;
}

const char *ucb_cuda_alloc(struct ucb_cuda *c, size_t n_bytes, void **out)
{
    const char *failed;
    do {
        failed = c->table->alloc(c->device, n_bytes, out);
    } while (failed != NULL && ucb_cuda_evict(c));
    return failed;
}

static bool reserve_entry(struct ucb_cuda *c)
{
    if (c->n_weights < c->weight_capacity) return true;
    size_t capacity = c->weight_capacity == 0 ? 64 : 2 * c->weight_capacity;
    struct ucb_cuda_weight *list = ucb_mem_alloc(capacity * sizeof(*list));
    if (list == NULL) return false;
    if (c->n_weights > 0) memcpy(list, c->weights, c->n_weights * sizeof(*list));
    ucb_mem_free(c->weights);
    c->weights = list;
    c->weight_capacity = capacity;
    return true;
}

/* An entry without contents; NULL and *why where there is no room even alone. */
static struct ucb_cuda_weight *create(struct ucb_cuda *c, const void *host, size_t n_bytes,
                                      const char **why)
{
    struct ucb_cuda_weight w = {.host = host, .n_bytes = n_bytes};
    *why = "no memory for the list of weights";
    if (!reserve_entry(c)) return NULL;
    *why = ucb_cuda_alloc(c, n_bytes, &w.p);
    if (*why != NULL) return NULL;
    *why = c->table->event_new(c->device, &w.loaded);
    if (*why != NULL) {
        c->table->free(c->device, w.p);
        return NULL;
    }
    c->weights[c->n_weights] = w;
    return &c->weights[c->n_weights++];
}

static const char *load(struct ucb_cuda *c, struct ucb_cuda_weight *w, size_t first,
                        size_t n)
{
    const unsigned char *from = w->only_here ? w->saved : w->host;
    const char *failed = ucb_cuda_load_after_products(c);
    if (failed == NULL)
        failed = c->table->upload(c->device, UCB_CUDA_LOAD, (unsigned char *)w->p + first,
                                  from + first, n);
    if (failed == NULL) failed = c->table->record(c->device, UCB_CUDA_LOAD, w->loaded);
    w->current = failed == NULL;
    return failed;
}

/* A weight that was saved is on the device again. Room for it may move the list. */
static const char *bring_back(struct ucb_cuda *c, const void *host)
{
    void *p = NULL;
    const char *failed = ucb_cuda_alloc(c, find(c, host)->n_bytes, &p);
    if (failed != NULL) return failed;
    struct ucb_cuda_weight *w = find(c, host);
    w->p = p;
    failed = load(c, w, 0, w->n_bytes);
    if (failed != NULL) return failed;
    ucb_mem_free(w->saved);
    w->saved = NULL;
    return NULL;
}

/* What fails here is tried again, and said, when the weight is multiplied with. */
void ucb_cuda_packed(struct ucb_cuda *c, const struct ucb_packed *weight, size_t n_bytes,
                     size_t first, size_t n)
{
    const char *why;
    struct ucb_cuda_weight *w = find(c, weight->data);
    if (w != NULL && (w->n_bytes != n_bytes || w->only_here)) {
        drop(c, w);
        w = NULL;
    }
    if (w != NULL && !w->current) return; /* all of it is loaded when it is used */
    if (w == NULL) {
        w = create(c, weight->data, n_bytes, &why);
        n += first; /* what was packed before this copy was made */
        first = 0;
    }
    if (w == NULL) return;
    w->used_at = ++c->clock;
    load(c, w, first, n);
}

ucb_status ucb_cuda_put_decoded(struct ucb_cuda *c, const struct ucb_packed *weight,
                                const float *decoded, struct ucb_err *err)
{
    const char *failed = NULL;
    size_t n_bytes = ucb_n_units(weight->n_out, UCB_PANEL) *
                     ucb_panel_bytes(c->arithmetic, weight->n_in);
    struct ucb_cuda_weight *w = find(c, weight->data);
    if (w != NULL && (w->n_bytes != n_bytes || w->p == NULL)) {
        drop(c, w);
        w = NULL;
    }
    if (w == NULL) w = create(c, weight->data, n_bytes, &failed);
    if (w == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%zu bytes of device memory for a weight: %s",
                        n_bytes, failed);
    w->only_here = true;
    w->used_at = ++c->clock;
    failed = ucb_cuda_load_after_products(c); /* they may read what it held */
    if (failed == NULL)
        failed = c->table->pack(c->device, UCB_CUDA_LOAD, c->arithmetic, decoded,
                                weight->n_out, weight->n_in, w->p);
    if (failed == NULL) failed = c->table->record(c->device, UCB_CUDA_LOAD, w->loaded);
    w->current = failed == NULL;
    if (failed == NULL) return UCB_OK;
    ucb_cuda_forget(c, weight);
    return UCB_FAIL(err, UCB_ENVIRONMENT, "the GPU failed at packing: %s", failed);
}

void ucb_cuda_forget(struct ucb_cuda *c, const struct ucb_packed *weight)
{
    struct ucb_cuda_weight *w = find(c, weight->data);
    if (w != NULL) drop(c, w);
}

const void *ucb_cuda_weight(struct ucb_cuda *c, const struct ucb_packed *weight,
                            size_t n_bytes)
{
    const char *failed = NULL;
    if (c->failed != UCB_OK) return NULL;
    struct ucb_cuda_weight *w = find(c, weight->data);
    assert(w == NULL || w->n_bytes == n_bytes);
    if (w == NULL) w = create(c, weight->data, n_bytes, &failed);
    if (failed == NULL && w->p == NULL) {
        failed = bring_back(c, weight->data);
        w = find(c, weight->data);
    }
    if (failed == NULL && !w->current) failed = load(c, w, 0, n_bytes);
    if (failed == NULL) failed = c->table->wait(c->device, UCB_CUDA_COMPUTE, w->loaded);
    ucb_cuda_note(c, "a weight", failed);
    if (failed != NULL) return NULL;
    w->used_at = ++c->clock;
    return w->p;
}
