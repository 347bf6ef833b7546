/*
 * entropy.c - see entropy.h for the formats.
 *
 * Huffman lengths come from package-merge (Larmore and Hirschberg, 1990), which is optimal
 * under the limit. rANS (Duda, 2013) keeps its state in [2^23, 2^31) and moves bytes; the
 * encoder goes through the symbols backwards, so that the decoder goes forwards, and ends
 * where the encoder began.
 */
#include "core/entropy.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

enum {
    SYMBOLS = 256,
    MAP_BYTES = SYMBOLS / 8,
    LONGEST = UCB_HUFFMAN_LONGEST,
    TOTAL = 1 << UCB_RANS_BITS,
    STATE_BYTES = 4,
    RAW = 0,
    HUFFMAN = 1,
    RANS = 2
};
static const uint32_t low_state = UINT32_C(1) << 23;

size_t ucb_entropy_bound(size_t n)
{
    /* A code is at most 15 bits; a symbol of frequency 1 costs rANS 12, and then a byte. */
    return 1 + MAP_BYTES + SYMBOLS * UCB_RANS_BITS / 8 + STATE_BYTES + 2 * n + 2;
}

/* ---- which symbols occur ---- */

struct alphabet {
    size_t n;                /* symbols that occur */
    uint8_t symbol[SYMBOLS]; /* rising */
    uint64_t count[SYMBOLS]; /* by place in `symbol` */
};

static void survey(const uint8_t *symbols, size_t n, struct alphabet *a)
{
    uint64_t count[SYMBOLS] = {0};
    for (size_t i = 0; i < n; i++) count[symbols[i]]++;
    a->n = 0;
    for (int s = 0; s < SYMBOLS; s++) {
        if (count[s] == 0) continue;
        a->symbol[a->n] = (uint8_t)s;
        a->count[a->n++] = count[s];
    }
}

static size_t put_map(const struct alphabet *a, uint8_t *out)
{
    memset(out, 0, MAP_BYTES);
    for (size_t i = 0; i < a->n; i++)
        out[a->symbol[i] / 8] |= (uint8_t)(1u << a->symbol[i] % 8);
    return MAP_BYTES;
}

/* Bytes of a stream that is being read; what is past the end is refused by who looks. */
struct input {
    const uint8_t *at, *end;
};

static ucb_status get_map(struct input *in, struct alphabet *a, struct ucb_err *err)
{
    if (in->end - in->at < MAP_BYTES)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "a coded stream of %zu bytes has no room for its "
                        "symbols, which take %d",
                        (size_t)(in->end - in->at), MAP_BYTES);
    a->n = 0;
    for (int s = 0; s < SYMBOLS; s++)
        if (in->at[s / 8] >> s % 8 & 1) a->symbol[a->n++] = (uint8_t)s;
    in->at += MAP_BYTES;
    if (a->n > 0) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT, "a coded stream has no symbols");
}

static ucb_status check_end(const struct input *in, struct ucb_err *err)
{
    if (in->at == in->end) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT, "%zu bytes follow a coded stream",
                    (size_t)(in->end - in->at));
}

/* ---- Huffman ---- */

/* One level of package-merge: leaves and pairs of the level before, by rising weight. */
struct level {
    size_t n;
    uint64_t weight[2 * SYMBOLS];
    bool is_leaf[2 * SYMBOLS];
};

/* Places in the alphabet by rising count; of equal counts the lower symbol first. */
static void sort_by_count(const struct alphabet *a, uint8_t *order)
{
    for (size_t i = 0; i < a->n; i++) {
        size_t at = i;
        for (; at > 0 && a->count[order[at - 1]] > a->count[i]; at--)
            order[at] = order[at - 1];
        order[at] = (uint8_t)i;
    }
}

static void merge_level(const struct alphabet *a, const uint8_t *order,
                        const struct level *before, struct level *out)
{
    size_t n_pairs = before == NULL ? 0 : before->n / 2, leaf = 0, pair = 0;
    for (out->n = 0; leaf < a->n || pair < n_pairs; out->n++) {
        uint64_t of_pair = pair < n_pairs
                               ? before->weight[2 * pair] + before->weight[2 * pair + 1]
                               : UINT64_MAX;
        bool is_leaf = leaf < a->n && a->count[order[leaf]] <= of_pair;
        out->is_leaf[out->n] = is_leaf;
        out->weight[out->n] = is_leaf ? a->count[order[leaf++]] : of_pair;
        pair += !is_leaf;
    }
}

/* The lengths of an optimal code, by place; two symbols at least. */
static void find_lengths(const struct alphabet *a, uint8_t *length)
{
    struct level levels[LONGEST];
    uint8_t order[SYMBOLS];
    sort_by_count(a, order);
    for (int i = 0; i < LONGEST; i++)
        merge_level(a, order, i == 0 ? NULL : &levels[i - 1], &levels[i]);
    memset(length, 0, a->n);
    size_t n_taken = 2 * a->n - 2;
    for (int i = LONGEST; i-- > 0;) { /* a leaf that is taken is one bit more */
        size_t n_leaves = 0;
        for (size_t k = 0; k < n_taken; k++) n_leaves += levels[i].is_leaf[k];
        for (size_t k = 0; k < n_leaves; k++) length[order[k]]++;
        n_taken = 2 * (n_taken - n_leaves);
    }
}

/* Canonical codes: by length, then by symbol. first[len] is the lowest code of a length,
 * and start[len] where its symbols begin in `place`. */
struct canon {
    uint32_t first[LONGEST + 2], count[LONGEST + 2], start[LONGEST + 2];
    uint8_t place[SYMBOLS];
};

/* False when the lengths are not those of a complete code. */
static bool make_canon(const uint8_t *length, size_t n, struct canon *c)
{
    uint32_t code = 0, at = 0;
    *c = (struct canon){0};
    for (size_t i = 0; i < n; i++) c->count[length[i]]++;
    for (int len = 1; len <= LONGEST; len++) {
        code <<= 1;
        c->first[len] = code;
        c->start[len] = at;
        code += c->count[len];
        for (size_t i = 0; i < n; i++)
            if (length[i] == len) c->place[at++] = (uint8_t)i;
        if (code > UINT32_C(1) << len) return false;
    }
    return code == UINT32_C(1) << LONGEST;
}

static size_t put_lengths(const uint8_t *length, size_t n, uint8_t *out)
{
    memset(out, 0, (n + 1) / 2);
    for (size_t i = 0; i < n; i++)
        out[i / 2] |= (uint8_t)((length[i] - 1) << (i % 2 == 0 ? 0 : 4));
    return (n + 1) / 2;
}

static size_t put_codes(const uint8_t *symbols, size_t n, const struct alphabet *a,
                        const uint8_t *length, uint8_t *out)
{
    struct canon c;
    uint32_t code[SYMBOLS], next[LONGEST + 2];
    uint8_t bits[SYMBOLS];
    uint64_t waiting = 0;
    unsigned n_waiting = 0;
    uint8_t *at = out;
    make_canon(length, a->n, &c);
    memcpy(next, c.first, sizeof(next));
    for (size_t i = 0; i < a->n; i++) {
        code[a->symbol[i]] = next[length[i]]++;
        bits[a->symbol[i]] = length[i];
    }
    for (size_t i = 0; i < n; i++) {
        waiting = waiting << bits[symbols[i]] | code[symbols[i]];
        n_waiting += bits[symbols[i]];
        for (; n_waiting >= 8; n_waiting -= 8)
            *at++ = (uint8_t)(waiting >> (n_waiting - 8));
    }
    if (n_waiting > 0) *at++ = (uint8_t)(waiting << (8 - n_waiting));
    return (size_t)(at - out);
}

size_t ucb_entropy_huffman(const uint8_t *symbols, size_t n, uint8_t *out, size_t *n_model)
{
    struct alphabet a;
    uint8_t length[SYMBOLS];
    *n_model = 0;
    if (n == 0) return 0;
    survey(symbols, n, &a);
    *n_model = put_map(&a, out);
    if (a.n == 1) return *n_model;
    find_lengths(&a, length);
    *n_model += put_lengths(length, a.n, out + *n_model);
    return *n_model + put_codes(symbols, n, &a, length, out + *n_model);
}

static ucb_status get_lengths(struct input *in, size_t n, uint8_t *length,
                              struct ucb_err *err)
{
    size_t n_bytes = (n + 1) / 2;
    if ((size_t)(in->end - in->at) < n_bytes)
        return UCB_FAIL(err, UCB_CORRUPT, "a Huffman table of %zu symbols is cut short", n);
    for (size_t i = 0; i < n; i++)
        length[i] = (uint8_t)((in->at[i / 2] >> (i % 2 == 0 ? 0 : 4) & 15) + 1);
    if (n % 2 != 0 && in->at[n_bytes - 1] >> 4 != 0)
        return UCB_FAIL(err, UCB_CORRUPT, "the padding of a Huffman table is not zero");
    in->at += n_bytes;
    return UCB_OK;
}

/* Bits from the highest down. */
struct bit_input {
    struct input *in;
    uint32_t window;
    unsigned n_bits;
};

/* The place of the next symbol, or -1 where the bytes end. Complete codes always end within
 * LONGEST bits. */
static int next_place(struct bit_input *bits, const struct canon *c)
{
    uint32_t code = 0;
    for (int len = 1;; len++) {
        if (bits->n_bits == 0) {
            if (bits->in->at == bits->in->end) return -1;
            bits->window = *bits->in->at++;
            bits->n_bits = 8;
        }
        code = code << 1 | (bits->window >> --bits->n_bits & 1);
        if (code - c->first[len] < c->count[len])
            return c->place[c->start[len] + code - c->first[len]];
    }
}

ucb_status ucb_entropy_huffman_decode(const uint8_t *data, size_t n_bytes, uint8_t *symbols,
                                      size_t n, struct ucb_err *err)
{
    struct input in = {data, data + n_bytes};
    struct bit_input bits = {&in, 0, 0};
    struct alphabet a;
    struct canon c;
    uint8_t length[SYMBOLS];
    if (n == 0) return check_end(&in, err);
    UCB_TRY(get_map(&in, &a, err));
    if (a.n == 1) {
        memset(symbols, a.symbol[0], n);
        return check_end(&in, err);
    }
    UCB_TRY(get_lengths(&in, a.n, length, err));
    if (!make_canon(length, a.n, &c))
        return UCB_FAIL(err, UCB_CORRUPT,
                        "the lengths of %zu Huffman codes are not those of a code", a.n);
    for (size_t i = 0; i < n; i++) {
        int place = next_place(&bits, &c);
        if (place < 0)
            return UCB_FAIL(err, UCB_CORRUPT,
                            "a Huffman stream ends after %zu of %zu symbols", i, n);
        symbols[i] = a.symbol[place];
    }
    if ((bits.window & ((1u << bits.n_bits) - 1)) != 0)
        return UCB_FAIL(err, UCB_CORRUPT, "the padding of a Huffman stream is not zero");
    return check_end(&in, err);
}

/* ---- rANS ---- */

/* Frequencies by place, each at least 1, that sum to TOTAL. */
static void find_frequencies(const struct alphabet *a, uint64_t n, uint32_t *frequency)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < a->n; i++) {
        uint64_t share = a->count[i] * TOTAL / n;
        frequency[i] = share == 0 ? 1 : (uint32_t)share;
        sum += frequency[i];
    }
    while (sum != TOTAL) { /* one more where it helps most, one less where it harms least */
        bool is_more = sum < TOTAL;
        size_t best = a->n;
        for (size_t i = 0; i < a->n; i++) {
            if (!is_more && frequency[i] == 1) continue;
            if (best == a->n) best = i;
            uint64_t mine = a->count[i] * (frequency[best] - !is_more),
                     other = a->count[best] * (frequency[i] - !is_more);
            if (is_more ? mine > other : mine < other) best = i;
        }
        frequency[best] += is_more ? 1 : UINT32_MAX;
        sum += is_more ? 1 : UINT32_MAX;
    }
}

static size_t put_frequencies(const uint32_t *frequency, size_t n, uint8_t *out)
{
    size_t n_bytes = ((n - 1) * UCB_RANS_BITS + 7) / 8;
    memset(out, 0, n_bytes);
    for (size_t i = 0; i + 1 < n; i++) {
        size_t at = i * UCB_RANS_BITS;
        uint32_t word = (frequency[i] - 1) << at % 8;
        out[at / 8] |= (uint8_t)word;
        out[at / 8 + 1] |= (uint8_t)(word >> 8);
    }
    return n_bytes;
}

/* Backwards from the end of the room; the stream is then moved to `out`. */
static size_t put_states(const uint8_t *symbols, size_t n, const struct alphabet *a,
                         const uint32_t *frequency, uint8_t *out, size_t n_room)
{
    uint32_t of[SYMBOLS], start[SYMBOLS], sum = 0, state = low_state;
    uint8_t *end = out + n_room, *at = end;
    for (size_t i = 0; i < a->n; i++) {
        of[a->symbol[i]] = frequency[i];
        start[a->symbol[i]] = sum;
        sum += frequency[i];
    }
    for (size_t i = n; i-- > 0;) {
        uint32_t f = of[symbols[i]], limit = (low_state >> UCB_RANS_BITS << 8) * f;
        for (; state >= limit; state >>= 8) *--at = (uint8_t)state;
        state = (state / f << UCB_RANS_BITS) + state % f + start[symbols[i]];
    }
    for (int i = STATE_BYTES; i-- > 0;) *--at = (uint8_t)(state >> 8 * i);
    assert(at >= out);
    memmove(out, at, (size_t)(end - at));
    return (size_t)(end - at);
}

size_t ucb_entropy_rans(const uint8_t *symbols, size_t n, uint8_t *out, size_t *n_model)
{
    struct alphabet a;
    uint32_t frequency[SYMBOLS];
    *n_model = 0;
    if (n == 0) return 0;
    survey(symbols, n, &a);
    *n_model = put_map(&a, out);
    if (a.n == 1) return *n_model;
    find_frequencies(&a, n, frequency);
    *n_model += put_frequencies(frequency, a.n, out + *n_model);
    return *n_model + put_states(symbols, n, &a, frequency, out + *n_model,
                                 ucb_entropy_bound(n) - 1 - *n_model);
}

static ucb_status get_frequencies(struct input *in, size_t n, uint32_t *frequency,
                                  struct ucb_err *err)
{
    size_t n_bits = (n - 1) * UCB_RANS_BITS, n_bytes = (n_bits + 7) / 8;
    uint32_t sum = 0;
    if ((size_t)(in->end - in->at) < n_bytes)
        return UCB_FAIL(err, UCB_CORRUPT, "a rANS table of %zu symbols is cut short", n);
    for (size_t i = 0; i + 1 < n; i++) {
        size_t at = i * UCB_RANS_BITS;
        uint32_t word = in->at[at / 8] | (uint32_t)in->at[at / 8 + 1] << 8;
        frequency[i] = (word >> at % 8 & (TOTAL - 1)) + 1;
        sum += frequency[i];
    }
    if (sum >= TOTAL)
        return UCB_FAIL(
            err, UCB_CORRUPT,
            "the frequencies of a rANS table sum to %u without its last symbol; "
            "with it they are %d",
            sum, TOTAL);
    if (n_bits % 8 != 0 && in->at[n_bytes - 1] >> n_bits % 8 != 0)
        return UCB_FAIL(err, UCB_CORRUPT, "the padding of a rANS table is not zero");
    frequency[n - 1] = TOTAL - sum;
    in->at += n_bytes;
    return UCB_OK;
}

static ucb_status get_states(struct input *in, const struct alphabet *a,
                             const uint32_t *frequency, uint8_t *symbols, size_t n,
                             struct ucb_err *err)
{
    uint8_t place[TOTAL];
    uint32_t start[SYMBOLS], sum = 0, state = 0;
    for (size_t i = 0; i < a->n; i++) {
        start[i] = sum;
        memset(place + sum, (int)i, frequency[i]);
        sum += frequency[i];
    }
    if (in->end - in->at < STATE_BYTES)
        return UCB_FAIL(err, UCB_CORRUPT, "a rANS stream ends inside its state");
    for (int i = 0; i < STATE_BYTES; i++) state |= (uint32_t)*in->at++ << 8 * i;
    if (state < low_state || state >= low_state << 8)
        return UCB_FAIL(err, UCB_CORRUPT, "a rANS stream begins with state %u", state);
    for (size_t i = 0; i < n; i++) {
        uint32_t slot = state & (TOTAL - 1), p = place[slot];
        symbols[i] = a->symbol[p];
        state = frequency[p] * (state >> UCB_RANS_BITS) + slot - start[p];
        for (; state < low_state; state = state << 8 | *in->at++)
            if (in->at == in->end)
                return UCB_FAIL(err, UCB_CORRUPT,
                                "a rANS stream ends after %zu of %zu symbols", i, n);
    }
    if (state == low_state) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT, "a rANS stream ends with state %u instead of %u",
                    state, low_state);
}

ucb_status ucb_entropy_rans_decode(const uint8_t *data, size_t n_bytes, uint8_t *symbols,
                                   size_t n, struct ucb_err *err)
{
    struct input in = {data, data + n_bytes};
    struct alphabet a;
    uint32_t frequency[SYMBOLS];
    if (n == 0) return check_end(&in, err);
    UCB_TRY(get_map(&in, &a, err));
    if (a.n == 1) {
        memset(symbols, a.symbol[0], n);
        return check_end(&in, err);
    }
    UCB_TRY(get_frequencies(&in, a.n, frequency, err));
    UCB_TRY(get_states(&in, &a, frequency, symbols, n, err));
    return check_end(&in, err);
}

/* ---- the smallest ---- */

size_t ucb_entropy_encode(const uint8_t *symbols, size_t n, uint8_t *out, size_t *n_model)
{
    size_t model, by_rans = ucb_entropy_rans(symbols, n, out + 1, &model);
    size_t by_huffman = ucb_entropy_huffman(symbols, n, out + 1, n_model);
    size_t n_bytes = by_huffman;
    out[0] = HUFFMAN;
    if (by_rans < by_huffman) {
        out[0] = RANS;
        n_bytes = ucb_entropy_rans(symbols, n, out + 1, n_model);
    }
    if (n <= n_bytes) {
        out[0] = RAW;
        *n_model = 0;
        n_bytes = n;
        memcpy(out + 1, symbols, n);
    }
    *n_model += 1;
    return 1 + n_bytes;
}

ucb_status ucb_entropy_decode(const uint8_t *data, size_t n_bytes, uint8_t *symbols,
                              size_t n, struct ucb_err *err)
{
    if (n_bytes == 0)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "a coded stream of no bytes does not say its coder");
    const uint8_t *body = data + 1;
    n_bytes--;
    switch (data[0]) {
    case RAW:
        if (n_bytes != n)
            return UCB_FAIL(err, UCB_CORRUPT, "%zu bytes stored plainly, expected %zu",
                            n_bytes, n);
        memcpy(symbols, body, n);
        return UCB_OK;
    case HUFFMAN: return ucb_entropy_huffman_decode(body, n_bytes, symbols, n, err);
    case RANS: return ucb_entropy_rans_decode(body, n_bytes, symbols, n, err);
    default:
        return UCB_FAIL(err, UCB_CORRUPT,
                        "coder %u of a stream is unknown; 0 to 2 are known", data[0]);
    }
}
