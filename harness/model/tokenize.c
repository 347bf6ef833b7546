/*
 * tokenize.c - takes one text through a tokenizer.
 *
 *     text -> added tokens | rest -> normalizer -> added tokens | rest -> pretokenizer
 *          -> pieces -> merges -> ids
 *
 * A natural text repeats its pieces, so a call remembers those it has seen: where a piece
 * lay in the text, and where its ids lie in the output. The result is the same without it.
 */
#include <assert.h>
#include <string.h>
#include <utf8proc.h>

#include "model/tokenizer_internal.h"

/* A piece that was seen: its text, and which ids of the output it became. */
struct seen {
    const char *text;
    uint32_t n_bytes; /* 0: free */
    uint32_t start, first_id, n_ids;
};
enum { MAX_SEEN = 1 << 14, SEEN_BYTES = 64 /* longer pieces hardly repeat */ };

struct run {
    const struct ucb_tokenizer *t;
    struct ucb_arena *scratch;
    pcre2_match_data *match;
    struct ucb_ids out; /* grows in scratch */
    size_t capacity;
    struct ucb_merger merger;
    struct seen *seen;
    size_t n_seen;        /* a power of two */
    const char *segment;  /* the stretch between added tokens that is being cut */
    size_t segment_start; /* where it, or what comes next, begins in the normalized text */
};

static ucb_status too_long(struct ucb_err *err)
{
    return UCB_FAIL(err, UCB_USAGE,
                    "a text of more than %u bytes; starts are 32 bits wide, so cut it",
                    UINT32_MAX);
}

static ucb_status room_for(struct run *r, size_t more, struct ucb_err *err)
{
    if (more <= r->capacity - r->out.n) return UCB_OK;
    size_t capacity = (r->out.n + more) * 2 + 64;
    uint32_t *ids = UCB_NEW(r->scratch, uint32_t, capacity);
    uint32_t *start = UCB_NEW(r->scratch, uint32_t, capacity);
    if (ids == NULL || start == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu ids", capacity);
    if (r->out.n > 0) {
        memcpy(ids, r->out.ids, r->out.n * sizeof(*ids));
        memcpy(start, r->out.start, r->out.n * sizeof(*start));
    }
    r->out.ids = ids;
    r->out.start = start;
    r->capacity = capacity;
    return UCB_OK;
}

static void push(struct run *r, uint32_t id, size_t start)
{
    assert(r->out.n < r->capacity);
    r->out.ids[r->out.n] = id;
    r->out.start[r->out.n++] = (uint32_t)start;
}

/*
 * The symbols that merging starts from. A byte without a token is left out: its neighbours
 * then stand side by side.
 */
static void put_symbols(struct run *r, const char *piece, size_t n_bytes)
{
    const struct ucb_tokenizer *t = r->t;
    for (size_t at = 0; at < n_bytes;) {
        size_t n = 1;
        uint32_t id = UCB_NO_ID;
        if (t->by_char) {
            n = (size_t)utf8proc_utf8class[(unsigned char)piece[at]];
            id = ucb_vocab_find(&t->vocab, piece + at, n);
        } else {
            id = t->byte_ids[(unsigned char)piece[at]];
        }
        if (t->by_char || id != UCB_NO_ID) ucb_merger_put(&r->merger, id, at, n);
        at += n;
    }
}

/* A symbol is its id, or, where its text is no token, the tokens of its bytes. */
static void push_symbol(struct run *r, const struct ucb_symbol *s, const char *piece,
                        size_t start)
{
    if (s->id != UCB_NO_ID) {
        push(r, s->id, start + s->start);
        return;
    }
    for (size_t i = s->start; i < (size_t)s->start + s->n_bytes; i++)
        push(r, r->t->byte_ids[(unsigned char)piece[i]], start + i);
}

static ucb_status merge_piece(struct run *r, const char *piece, size_t n_bytes,
                              size_t start, struct ucb_err *err)
{
    uint32_t whole = r->t->whole_pieces ? ucb_vocab_find(&r->t->vocab, piece, n_bytes)
                                        : UCB_NO_ID;
    if (whole != UCB_NO_ID) {
        push(r, whole, start);
        return UCB_OK;
    }
    UCB_TRY(ucb_merger_reserve(&r->merger, n_bytes, r->scratch, err));
    put_symbols(r, piece, n_bytes);
    if (r->merger.n_symbols == 0) return UCB_OK;
    ucb_merger_run(&r->merger, r->t, piece, r->t->rule);
    for (uint32_t i = 0; i != UCB_NO_ID; i = r->merger.symbols[i].next)
        push_symbol(r, &r->merger.symbols[i], piece, start);
    return UCB_OK;
}

static void repeat(struct run *r, const struct seen *seen, size_t start)
{
    for (uint32_t i = seen->first_id; i < seen->first_id + seen->n_ids; i++)
        push(r, r->out.ids[i], start + (r->out.start[i] - seen->start));
}

static ucb_status take_piece(void *context, const char *piece, size_t n_bytes,
                             struct ucb_err *err)
{
    struct run *r = context;
    size_t start = r->segment_start + (size_t)(piece - r->segment);
    UCB_TRY(room_for(r, n_bytes, err)); /* no token stands for less than a byte */
    if (n_bytes > SEEN_BYTES) return merge_piece(r, piece, n_bytes, start, err);
    struct seen *seen = &r->seen[ucb_text_hash(piece, n_bytes) & (r->n_seen - 1)];
    if (seen->n_bytes == n_bytes && memcmp(seen->text, piece, n_bytes) == 0) {
        repeat(r, seen, start);
        return UCB_OK;
    }
    size_t first_id = r->out.n;
    UCB_TRY(merge_piece(r, piece, n_bytes, start, err));
    *seen = (struct seen){piece, (uint32_t)n_bytes, (uint32_t)start, (uint32_t)first_id,
                          (uint32_t)(r->out.n - first_id)};
    return UCB_OK;
}

/* What lies between added tokens; `begins`: it is not what follows one. */
typedef ucb_status rest_taker(struct run *r, const char *text, size_t n_bytes, bool begins,
                              struct ucb_err *err);

static ucb_status cut_segment(struct run *r, const char *text, size_t n_bytes, bool begins,
                              struct ucb_err *err)
{
    size_t n;
    UCB_TRY(ucb_metaspace(&r->t->normalizer, text, n_bytes, begins, r->scratch, &r->segment,
                          &n, err));
    if (r->segment_start + n > UINT32_MAX) return too_long(err);
    UCB_TRY(ucb_pretok_split(&r->t->pretok, r->match, r->segment, n, take_piece, r, err));
    r->segment_start += n;
    return UCB_OK;
}

/* A token in white space that the token before it took begins there, as Hugging Face has
 * it: that part of the text is read twice. */
static ucb_status cut_at_added(struct run *r, const struct ucb_added *added,
                               const char *text, size_t n_bytes, bool begins,
                               rest_taker *rest, struct ucb_err *err)
{
    struct ucb_added_match m = {0};
    size_t at = 0;
    while (ucb_added_next(added, text, n_bytes, &m)) {
        size_t again = at > m.begin ? at - m.begin : 0;
        if (again == 0) UCB_TRY(rest(r, text + at, m.begin - at, begins && at == 0, err));
        UCB_TRY(room_for(r, 1, err));
        push(r, m.id, r->segment_start - again);
        r->segment_start = r->segment_start - again + (m.end - m.begin);
        at = m.end;
    }
    return rest(r, text + at, n_bytes - at, begins && at == 0, err);
}

/*
 * A stretch between added tokens of the raw text: normalized, then cut at those of the
 * normalized text.
 */
static ucb_status take_segment(struct run *r, const char *text, size_t n_bytes, bool begins,
                               struct ucb_err *err)
{
    const char *normal;
    size_t n;
    UCB_TRY(ucb_normalize(&r->t->normalizer, text, n_bytes, r->scratch, &normal, &n, err));
    return cut_at_added(r, &r->t->added_normalized, normal, n, begins, cut_segment, err);
}

static ucb_status check_utf8(const char *text, size_t n_bytes, struct ucb_err *err)
{
    for (size_t at = 0; at < n_bytes;) {
        utf8proc_int32_t c;
        if ((unsigned char)text[at] < 0x80) {
            at++;
            continue;
        }
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                              (utf8proc_ssize_t)(n_bytes - at), &c);
        if (n <= 0)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "byte 0x%02x at offset %zu of the text is not UTF-8; convert "
                            "the text first",
                            (unsigned char)text[at], at);
        at += (size_t)n;
    }
    return UCB_OK;
}

static ucb_status run_open(struct run *r, const struct ucb_tokenizer *t, size_t n_bytes,
                           struct ucb_arena *scratch, struct ucb_err *err)
{
    *r = (struct run){.t = t, .scratch = scratch, .n_seen = 16};
    while (r->n_seen < MAX_SEEN && r->n_seen < n_bytes / 4) r->n_seen *= 2;
    r->seen = UCB_NEW(scratch, struct seen, r->n_seen);
    r->match = ucb_pretok_match_data();
    if (r->seen == NULL || r->match == NULL) {
        pcre2_match_data_free(r->match);
        return UCB_FAIL(err, UCB_NOMEM, "no memory to tokenize a text of %zu bytes",
                        n_bytes);
    }
    return UCB_OK;
}

static ucb_status copy_ids(const struct ucb_ids *from, struct ucb_arena *arena,
                           struct ucb_ids *out, struct ucb_err *err)
{
    struct ucb_ids copy = {UCB_NEW(arena, uint32_t, from->n),
                           UCB_NEW(arena, uint32_t, from->n), from->n};
    if (copy.ids == NULL || copy.start == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for %zu ids", from->n);
    if (from->n > 0) {
        memcpy(copy.ids, from->ids, from->n * sizeof(*copy.ids));
        memcpy(copy.start, from->start, from->n * sizeof(*copy.start));
    }
    *out = copy;
    return UCB_OK;
}

ucb_status ucb_tokenize(const struct ucb_tokenizer *t, const char *text, size_t n_bytes,
                        struct ucb_arena *arena, struct ucb_ids *out, struct ucb_err *err)
{
    assert(t != NULL);
    assert(text != NULL || n_bytes == 0);
    ucb_status status;
    struct run r;
    struct ucb_arena scratch;
    if (n_bytes > UINT32_MAX) return too_long(err);
    if (n_bytes == 0) text = ""; /* so that NULL + 0 is never computed */
    UCB_TRY(check_utf8(text, n_bytes, err));
    ucb_arena_init(&scratch);
    status = run_open(&r, t, n_bytes, &scratch, err);
    if (status == UCB_OK) {
        status = cut_at_added(&r, &t->added_raw, text, n_bytes, true, take_segment, err);
        if (status == UCB_OK) status = copy_ids(&r.out, arena, out, err);
        pcre2_match_data_free(r.match);
    }
    ucb_arena_free(&scratch);
    return status;
}
