/*
 * verify_distance.c - how far every tensor of a pack is from the source's: whether its bits
 * are equal, and the largest and the relative difference of the values. For people; no
 * check rests on it.
 */
#include <math.h>
#include <string.h>

#include "core/progress.h"
#include "model/checkpoint.h"
#include "pack/verify.h"
#include "stats/sum.h"

enum { STRETCH = 1 << 14 };

struct measuring {
    const struct ucb_pack_piece *piece;
    const struct ucb_tensor *source;
    bool same_dtype, equal, comparable;
    double max_abs;
    struct ucb_sum error, energy;
};

/* Elements [first, first + n) of both, widened exactly. */
static ucb_status measure(struct measuring *m, const struct ucb_tensor *own, uint64_t first,
                          struct ucb_err *err)
{
    float a[STRETCH], b[STRETCH];
    for (uint64_t done = 0, n; done < own->n_elements; done += n) {
        n = own->n_elements - done < STRETCH ? own->n_elements - done : STRETCH;
        UCB_TRY(ucb_tensor_widen(own, done, n, a, err));
        UCB_TRY(ucb_tensor_widen(m->source, first + done, n, b, err));
        for (uint64_t i = 0; i < n; i++) {
            double off = (double)a[i] - (double)b[i];
            if (!(fabs(off) <= m->max_abs)) m->max_abs = fabs(off); /* NaN stays */
            ucb_sum_add(&m->error, off * off);
            ucb_sum_add(&m->energy, (double)b[i] * (double)b[i]);
        }
    }
    return UCB_OK;
}

static ucb_status take(void *context, uint64_t at, const uint8_t *bytes, size_t n,
                       struct ucb_err *err)
{
    struct measuring *m = context;
    const struct ucb_pack_piece *p = m->piece;
    size_t block = ucb_dtype_block_bytes(p->dtype),
           width = ucb_dtype_block_elements(p->dtype),
           source_width = ucb_dtype_block_elements(m->source->dtype);
    if (m->same_dtype && memcmp(m->source->data + at, bytes, n) != 0) m->equal = false;
    struct ucb_tensor own = {.name = p->tensor,
                             .dtype = p->dtype,
                             .n_dims = 1,
                             .shape = {n / block * width},
                             .n_elements = n / block * width,
                             .data = bytes,
                             .n_bytes = n};
    uint64_t first = at / block * width;
    /* A stretch that ends within a block, of this type or the source's, has no values. */
    m->comparable &= at % block == 0 && n % block == 0 && first % source_width == 0 &&
                     own.n_elements % source_width == 0 && STRETCH % source_width == 0;
    struct ucb_err why = {0};
    if (!m->comparable) return UCB_OK;
    ucb_status status = measure(m, &own, first, &why);
    if (status == UCB_UNSUPPORTED) m->comparable = false; /* integers, say */
    if (status == UCB_OK || status == UCB_UNSUPPORTED) return UCB_OK;
    return UCB_FAIL(err, status, "%s", why.text);
}

static void finish(const struct measuring *m, struct ucb_tensor_distance *out)
{
    double error = ucb_sum_value(&m->error), energy = ucb_sum_value(&m->energy);
    out->bit_equal = m->same_dtype && m->equal;
    out->max_abs = out->bit_equal ? 0 : m->comparable ? m->max_abs : NAN;
    out->rel_l2 = out->bit_equal || error == 0 ? 0 : sqrt(error / energy);
    if (!out->bit_equal && !m->comparable) out->rel_l2 = NAN;
}

/* All bits of all tensors have been compared already. */
static bool is_proven(const struct ucb_verify_result *r)
{
    for (uint32_t i = 0; i < r->n_checks; i++)
        if (strcmp(r->checks[i].name, "source_bits_equal") == 0)
            return r->checks[i].verdict == UCB_CHECK_PASS;
    return false;
}

static ucb_status compare_piece(struct ucb_pack_decoder *decoder,
                                const struct ucb_packfile *pack, uint32_t index,
                                const struct ucb_tensor *source,
                                struct ucb_verify_result *r, struct ucb_err *err)
{
    const struct ucb_pack_piece *p = &pack->pieces[index];
    struct measuring m = {.piece = p, .source = source, .equal = true, .comparable = true};
    struct ucb_err why = {0};
    uint64_t n = 1;
    for (uint32_t i = 0; i < p->n_dims; i++) n *= p->shape[i];
    if (n != source->n_elements) return UCB_OK; /* another tensor: a check says so */
    m.same_dtype = p->dtype == source->dtype;
    ucb_status status = is_proven(r)
                            ? UCB_OK
                            : ucb_pack_decode_piece(decoder, index, take, &m, &why);
    if (status == UCB_CORRUPT) return UCB_OK; /* so does a check of this */
    if (status != UCB_OK) return UCB_FAIL(err, status, "%s", why.text);
    r->distances[r->n_distances].name = p->tensor;
    finish(&m, &r->distances[r->n_distances++]);
    return UCB_OK;
}

static ucb_status compare_all(const struct ucb_packfile *pack,
                              const struct ucb_checkpoint *source,
                              struct ucb_pack_decoder *decoder, struct ucb_verify_result *r,
                              struct ucb_err *err)
{
    struct ucb_progress progress;
    ucb_status status = UCB_OK;
    ucb_progress_start(&progress, "distance from the source", (double)pack->unpacked_bytes);
    for (uint32_t i = 0; i < pack->n_pieces && status == UCB_OK; i++) {
        const char *name = pack->pieces[i].tensor;
        const struct ucb_tensor *t = name == NULL ? NULL
                                                  : ucb_checkpoint_find(source, name);
        if (t != NULL) status = compare_piece(decoder, pack, i, t, r, err);
        ucb_progress_add(&progress, (double)pack->pieces[i].n_bytes, name);
    }
    ucb_progress_end(&progress);
    return status;
}

ucb_status ucb_verify_distances(const struct ucb_verify_options *o,
                                struct ucb_packfile *pack, struct ucb_verify_result *r,
                                struct ucb_err *err)
{
    struct ucb_checkpoint *source = NULL;
    struct ucb_pack_decoder *decoder = NULL;
    struct ucb_err why = {0};
    if (o->source == NULL) return UCB_OK;
    r->distances = UCB_NEW(&pack->arena, struct ucb_tensor_distance, pack->n_pieces);
    if (r->distances == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory for %u tensors", pack->path,
                        pack->n_pieces);
    UCB_TRY(ucb_checkpoint_open(o->source, &source, err));
    ucb_status status = ucb_pack_decoder_open(pack, o->pool, &decoder, &why);
    if (status == UCB_OK)
        status = compare_all(pack, source, decoder, r, err);
    else
        status = status == UCB_CORRUPT ? UCB_OK : UCB_FAIL(err, status, "%s", why.text);
    ucb_pack_decoder_close(decoder);
    ucb_checkpoint_close(source);
    return status;
}
