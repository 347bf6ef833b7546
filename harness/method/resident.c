/*
 * resident.c - see resident.h.
 *
 * Rows of a chain that ends in an exact stage: the spans they lie in are restored from the
 * sum of the stages before, which is made for the rows that the spans touch; the bits of
 * the rows are copied out of the spans and widened. Up to four spans are decoded at a time,
 * because a coded stream interleaves the look-ups of so many.
 */
#include "method/resident.h"

#include <assert.h>
#include <string.h>

#include "method/chain_internal.h"
#include "method/payload.h"
#include "model/widen.h"

enum {
    MOST_SPANS = 4,
    MOST_SPAN_BYTES = 512 << 10 /* decoded at a time; a longer span is one alone */
};

struct room {
    const struct ucb_resident *of; /* whose spans these are; NULL: nothing is there */
    size_t first, end;             /* bytes of the matrix that `spans` holds */
    uint8_t *spans, *bits;         /* bits: of the rows asked for */
    float *before;                 /* of the rows that the spans touch */
};

struct ucb_rooms {
    unsigned n_workers;
    size_t span_bytes, bit_bytes, before_floats; /* of each */
    struct room *room;
};

struct ucb_resident {
    struct ucb_opened opened;
    struct ucb_rooms *rooms;
    bool is_exact;
    size_t n_bytes, row_bytes, span; /* of an exact chain: of the matrix's bits */
    uint32_t n_spans;                /* decoded at a time */
};

enum { MOST_ROWS = 32 }; /* asked for at a time */

/* ---- rooms ---- */

ucb_status ucb_rooms_open(unsigned n_workers, struct ucb_rooms **out, struct ucb_err *err)
{
    struct ucb_rooms *r = ucb_mem_alloc(sizeof(*r));
    if (r != NULL) r->room = ucb_mem_alloc(n_workers * sizeof(*r->room));
    if (r == NULL || r->room == NULL) {
        ucb_mem_free(r);
        return UCB_FAIL(err, UCB_NOMEM, "no memory to decode in");
    }
    r->n_workers = n_workers;
    *out = r;
    return UCB_OK;
}

static void empty_rooms(struct ucb_rooms *r)
{
    for (unsigned i = 0; i < r->n_workers; i++) {
        ucb_mem_free(r->room[i].spans);
        ucb_mem_free(r->room[i].bits);
        ucb_mem_free(r->room[i].before);
        r->room[i] = (struct room){.of = NULL};
    }
    r->span_bytes = r->bit_bytes = r->before_floats = 0;
}

void ucb_rooms_close(struct ucb_rooms *r)
{
    if (r == NULL) return;
    empty_rooms(r);
    ucb_mem_free(r->room);
    ucb_mem_free(r);
}

static size_t max_u(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Makes every room hold that much; what they held is gone. */
static ucb_status grow(struct ucb_rooms *r, size_t span_bytes, size_t bit_bytes,
                       size_t before_floats, const char *name, struct ucb_err *err)
{
    for (unsigned i = 0; i < r->n_workers; i++) r->room[i].of = NULL;
    if (span_bytes <= r->span_bytes && bit_bytes <= r->bit_bytes &&
        before_floats <= r->before_floats)
        return UCB_OK;
    span_bytes = max_u(span_bytes, r->span_bytes);
    bit_bytes = max_u(bit_bytes, r->bit_bytes);
    before_floats = max_u(before_floats, r->before_floats);
    empty_rooms(r);
    for (unsigned i = 0; i < r->n_workers; i++) {
        struct room *room = &r->room[i];
        room->spans = ucb_mem_alloc(span_bytes);
        room->bits = ucb_mem_alloc(bit_bytes);
        room->before = ucb_mem_alloc(before_floats * sizeof(float));
        if (room->spans != NULL && room->bits != NULL && room->before != NULL) continue;
        empty_rooms(r);
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to decode its rows", name);
    }
    r->span_bytes = span_bytes;
    r->bit_bytes = bit_bytes;
    r->before_floats = before_floats;
    return UCB_OK;
}

/* ---- one matrix ---- */

bool ucb_resident_serves(const struct ucb_chain *chain)
{
    const struct ucb_method *last = chain->stages[chain->n_coded - 1].method;
    if (ucb_chain_is_none(chain) || ucb_chain_has_product(chain)) return false;
    return !ucb_chain_is_exact(chain) || last->decode_span != NULL;
}

/* The sizes of an exact chain's spans, and rooms for them. */
static ucb_status plan_spans(struct ucb_resident *r, struct ucb_err *err)
{
    const struct ucb_opened *o = &r->opened;
    const struct ucb_matrix *m = o->matrix;
    uint32_t last = o->n_stages;
    r->n_bytes = ucb_matrix_bits_bytes(m);
    r->row_bytes = r->n_bytes / m->n_out;
    r->span = o->method[last]->span(o->state[last]);
    r->n_spans = MOST_SPANS;
    while (r->n_spans > 1 && r->n_spans * r->span > MOST_SPAN_BYTES) r->n_spans--;
    size_t span_bytes = r->n_spans * r->span;
    if (span_bytes > r->n_bytes) span_bytes = r->n_bytes;
    size_t before_rows = o->n_stages == 0 ? 0 : span_bytes / r->row_bytes + 2;
    return grow(r->rooms, span_bytes, MOST_ROWS * r->row_bytes, before_rows * m->n_in,
                m->name, err);
}

ucb_status ucb_resident_open(const struct ucb_chain *chain,
                             const struct ucb_chain_context *context,
                             const struct ucb_matrix *matrix, const uint8_t *payload,
                             size_t n_bytes, struct ucb_rooms *rooms,
                             struct ucb_resident **out, struct ucb_err *err)
{
    assert(ucb_resident_serves(chain));
    struct ucb_resident *r = UCB_NEW(context->arena, struct ucb_resident, 1);
    if (r == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "%s: no memory to keep it encoded", matrix->name);
    r->rooms = rooms;
    r->is_exact = ucb_chain_is_exact(chain);
    UCB_TRY(ucb_opened_open(chain, context, matrix, payload, n_bytes, &r->opened, err));
    if (r->is_exact) UCB_TRY(plan_spans(r, err));
    *out = r;
    return UCB_OK;
}

uint32_t ucb_resident_share_rows(const struct ucb_resident *r)
{
    size_t rows = r->is_exact ? r->n_spans * r->span / r->row_bytes : 0;
    return rows > r->opened.matrix->n_out ? r->opened.matrix->n_out : (uint32_t)rows;
}

/* The spans from the one that holds byte `at` on, as far as the room goes and rows up to
 * `end` need. */
static ucb_status fill_room(const struct ucb_resident *r, struct room *room, size_t at,
                            uint32_t end, struct ucb_err *err)
{
    const struct ucb_opened *o = &r->opened;
    uint32_t last = o->n_stages, row;
    const float *before = NULL;
    size_t first = at / r->span * r->span, stop = first + r->n_spans * r->span,
           needed = (end * r->row_bytes + r->span - 1) / r->span * r->span;
    if (stop > needed) stop = needed;
    if (stop > r->n_bytes) stop = r->n_bytes;
    room->of = NULL;
    if (o->n_stages > 0) { /* elements, no blocks: residual restores nothing else */
        size_t element = r->row_bytes / o->matrix->n_in;
        row = (uint32_t)(first / r->row_bytes);
        ucb_opened_sum(o, row, (uint32_t)((stop + r->row_bytes - 1) / r->row_bytes) - row,
                       room->before);
        before = room->before + (first - row * r->row_bytes) / element;
    }
    UCB_TRY(o->method[last]->decode_span(o->state[last], first, stop - first, before,
                                         room->spans, err));
    room->of = r;
    room->first = first;
    room->end = stop;
    return UCB_OK;
}

static ucb_status exact_rows(const struct ucb_resident *r, struct room *room, uint32_t row,
                             uint32_t n_rows, uint32_t end, float *w, struct ucb_err *err)
{
    const struct ucb_matrix *m = r->opened.matrix;
    size_t start = row * r->row_bytes, stop = start + n_rows * r->row_bytes;
    for (size_t at = start, n; at < stop; at += n) {
        if (room->of != r || at < room->first || at >= room->end)
            UCB_TRY(fill_room(r, room, at, end, err));
        n = (stop < room->end ? stop : room->end) - at;
        memcpy(room->bits + (at - start), room->spans + (at - room->first), n);
    }
    ucb_widen(m->dtype, room->bits, (size_t)n_rows * m->n_in, w);
    return UCB_OK;
}

ucb_status ucb_resident_rows(struct ucb_resident *r, unsigned worker, uint32_t row,
                             uint32_t n_rows, uint32_t end, float *w, struct ucb_err *err)
{
    assert(worker < r->rooms->n_workers);
    assert(n_rows <= MOST_ROWS);
    assert(row + n_rows <= end && end <= r->opened.matrix->n_out);
    if (r->is_exact)
        return exact_rows(r, &r->rooms->room[worker], row, n_rows, end, w, err);
    ucb_opened_rows(&r->opened, row, n_rows, NULL, w);
    return UCB_OK;
}
