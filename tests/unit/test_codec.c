/* Bits in, bits out: every pattern, shape, coder and instruction set; and damage of every
 * kind is refused. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec_internal.h"
#include "core/half.h"
#include "core/pcg.h"
#include "codec_seal.h"
#include "method_fixture.h"

enum { N_PATTERNS = 1 << 16, MOST = 3 * CODEC_CHUNK_WEIGHTS };

static const enum ucb_dtype dtypes[] = {UCB_BF16, UCB_F16, UCB_F32, UCB_F8_E4M3, UCB_U8};
enum { N_TESTED = sizeof(dtypes) / sizeof(*dtypes) };

static void encode(enum ucb_dtype dtype, const void *data, size_t n_bytes, uint32_t columns,
                   enum ucb_codec_mode mode, struct ucb_pool *pool, struct ucb_writer *out)
{
    struct ucb_arena scratch = {0};
    struct ucb_err err;
    struct ucb_codec_source source = {dtype, data, n_bytes, columns};
    CHECK_OK(ucb_codec_encode(&source, mode, pool, &scratch, out, &err), err);
    ucb_arena_free(&scratch);
}

/* In memory exactly as long as they are, so that a sanitizer sees what
 * passes their ends. */
static ucb_status decode_as(enum ucb_dtype dtype, const uint8_t *bytes, size_t n_bytes,
                            enum ucb_codec_path path, size_t n_decoded, uint8_t *out)
{
    struct ucb_codec codec;
    struct ucb_err err;
    uint8_t *tight = malloc(n_bytes == 0 ? 1 : n_bytes);
    memcpy(tight, bytes, n_bytes);
    ucb_status status = ucb_codec_open(dtype, n_decoded, tight, n_bytes, &codec, &err);
    if (status == UCB_OK) {
        codec.path = path;
        status = ucb_codec_decode(&codec, 0, n_decoded, NULL, out, &err);
    }
    free(tight);
    return status;
}

static void check_split(enum ucb_dtype dtype, const struct ucb_writer *out,
                        size_t n_decoded)
{
    struct ucb_codec codec;
    struct ucb_codec_split s;
    CHECK_EQ(ucb_codec_open(dtype, n_decoded, out->data, out->n_bytes, &codec, NULL),
             UCB_OK);
    ucb_codec_split(&codec, &s);
    CHECK_EQ(s.header + s.index + s.checksums + s.tables + s.coded + s.raw + s.escapes +
                 s.stored,
             out->n_bytes);
}

/* Through all modes and paths; the input is left as it was; never grows past its head. */
static void check_round_trip(enum ucb_dtype dtype, const void *data, size_t n_bytes,
                             uint32_t columns)
{
    uint8_t *out = malloc(n_bytes + 1);
    uint64_t sum = ucb_mix64(data, n_bytes);
    for (enum ucb_codec_mode mode = UCB_CODEC_FAST; mode <= UCB_CODEC_MAX; mode++) {
        struct ucb_writer coded = {0};
        encode(dtype, data, n_bytes, columns, mode, NULL, &coded);
        CHECK_EQ(ucb_mix64(data, n_bytes), sum);
        for (enum ucb_codec_path path = UCB_CODEC_SCALAR; path <= ucb_codec_path_best();
             path++) {
            memset(out, 0x5a, n_bytes + 1);
            CHECK_EQ(decode_as(dtype, coded.data, coded.n_bytes, path, n_bytes, out),
                     UCB_OK);
            CHECK(memcmp(out, data, n_bytes) == 0);
            CHECK_EQ(out[n_bytes], 0x5a);
        }
        size_t chunks = n_bytes / CODEC_CHUNK_WEIGHTS + 1;
        CHECK(coded.n_bytes <= n_bytes + CODEC_HEADER_BYTES + chunks * CODEC_ENTRY_BYTES +
                                   (chunks > 1 ? 512 : 0));
        check_split(dtype, &coded, n_bytes);
        ucb_writer_free(&coded);
    }
    free(out);
}

static uint16_t patterns[MOST];

TEST(every_pattern_of_sixteen_bits_comes_back_in_order_shuffled_and_among_others)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 1, "shuffle");
    for (size_t i = 0; i < N_PATTERNS; i++) patterns[i] = (uint16_t)i;
    check_round_trip(UCB_BF16, patterns, 2 * N_PATTERNS, 256);
    check_round_trip(UCB_F16, patterns, 2 * N_PATTERNS, 256);
    for (size_t i = N_PATTERNS - 1; i > 0; i--) {
        size_t j = ucb_pcg_below(&r, (uint32_t)i + 1);
        uint16_t x = patterns[i];
        patterns[i] = patterns[j];
        patterns[j] = x;
    }
    check_round_trip(UCB_BF16, patterns, 2 * N_PATTERNS, 100);
    check_round_trip(UCB_F16, patterns, 2 * N_PATTERNS, 100);
    /* one at a time among ordinary weights, so that each is an escape once */
    for (size_t i = 0; i < MOST; i++) {
        patterns[i] = ucb_bf16_from_f32((float)(ucb_pcg_unit(&r) - 0.5) * 0.1f);
        if (i % 3 == 0) patterns[i] = (uint16_t)(i / 3);
    }
    check_round_trip(UCB_BF16, patterns, 2 * MOST, 192);
    check_round_trip(UCB_F16, patterns, 2 * MOST, 192);
}

TEST(each_pattern_repeated_is_a_constant_that_comes_back)
{
    uint16_t repeated[67];
    uint8_t out[sizeof(repeated)];
    for (uint32_t pattern = 0; pattern < N_PATTERNS; pattern++) {
        struct ucb_writer coded = {0};
        enum ucb_dtype dtype = pattern * 2654435761u >> 31 ? UCB_BF16 : UCB_F16;
        for (int i = 0; i < 67; i++) repeated[i] = (uint16_t)pattern;
        encode(dtype, repeated, sizeof(repeated), 0, UCB_CODEC_FAST, NULL, &coded);
        CHECK_EQ(decode_as(dtype, coded.data, coded.n_bytes, ucb_codec_path_best(),
                           sizeof(repeated), out),
                 UCB_OK);
        CHECK(memcmp(out, repeated, sizeof(repeated)) == 0);
        ucb_writer_free(&coded);
    }
}

/* Kinds of values; n of them in `dtype`, by integer operations and rounding. */
static void fill(enum ucb_dtype dtype, unsigned kind, size_t n, uint8_t *out)
{
    struct ucb_pcg r;
    unsigned width = ucb_dtype_block_bytes(dtype);
    ucb_pcg_named(&r, kind, "codec values");
    for (size_t i = 0; i < n; i++) {
        float x = (float)(ucb_pcg_unit(&r) + ucb_pcg_unit(&r) + ucb_pcg_unit(&r) - 1.5) *
                  0.1f;
        uint32_t u = dtype == UCB_F32    ? ucb_f32_bits(x)
                     : dtype == UCB_F16  ? ucb_f16_from_f32(x)
                     : dtype == UCB_BF16 ? ucb_bf16_from_f32(x)
                                         : (uint32_t)(128 + (int)(x * 400));
        uint32_t any = (uint32_t)ucb_pcg_next(&r), sign = 1u << (8 * width - 1);
        switch (kind) {
        case 0: break;                             /* bell-shaped */
        case 1: u = any; break;                    /* incompressible */
        case 2: u = i % 2 ? sign : 0; break;       /* both zeros */
        case 3: u = any & 3 ? u : u & sign; break; /* many zeros of both signs */
        case 4:
            u |= (sign - 1) & ~((sign >> 4) - 1);
            break; /* top exponents: NaN, infinity */
        case 5: u = u & (sign | ((sign >> 9) - 1)); break; /* subnormal, mostly */
        case 6: u = i == n / 2 ? any : 0x1234; break;      /* one outlier */
        case 7: u = any % 4096 == 0 ? 7 : 9; break;        /* 4095 : 1 */
        case 8: u = 0x11111111u * (any % 16); break;       /* a grid */
        default: u = (uint32_t)i; break;
        }
        memcpy(out + i * width, &u, width);
    }
}
enum { N_KINDS = 10 };

TEST(values_and_shapes_of_every_kind_come_back)
{
    static const size_t sizes[] = {
        0,   1,   2,    3,    7,    31,   32,    33,    63,    64,        65,
        127, 997, 4095, 4096, 4097, 4160, 65535, 65536, 65537, 65536 * 2, 65536 * 4 + 33};
    uint8_t *data = malloc(4 * (65536 * 4 + 33) + 1);
    for (size_t d = 0; d < N_TESTED; d++)
        for (unsigned kind = 0; kind < N_KINDS; kind++)
            for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
                size_t n = sizes[s];
                if (n > 5000 && (kind + s + d) % 7 != 0)
                    continue;                       /* a seventh of the large */
                fill(dtypes[d], kind, n, data + 1); /* odd addresses */
                check_round_trip(dtypes[d], data + 1, n * ucb_dtype_block_bytes(dtypes[d]),
                                 kind % 3 == 0 ? 0 : (uint32_t)(kind * 37));
            }
    free(data);
}

TEST(any_range_of_bytes_decodes_alone)
{
    enum { N = 5 * CODEC_CHUNK_WEIGHTS + 777 };
    uint8_t *data = malloc(2 * N), *out = malloc(2 * N);
    struct ucb_pcg r;
    ucb_pcg_named(&r, 3, "ranges");
    fill(UCB_BF16, 0, N, data);
    for (enum ucb_codec_mode mode = UCB_CODEC_FAST; mode <= UCB_CODEC_MAX; mode++) {
        struct ucb_writer coded = {0};
        struct ucb_codec codec;
        struct ucb_err err;
        encode(UCB_BF16, data, 2 * N, 512, mode, NULL, &coded);
        CHECK_OK(ucb_codec_open(UCB_BF16, 2 * N, coded.data, coded.n_bytes, &codec, &err),
                 err);
        for (int i = 0; i < (mode == UCB_CODEC_MAX ? 4 : 60); i++) {
            size_t first = ucb_pcg_below(&r, 2 * N), n = ucb_pcg_below(&r, 2 * N);
            if (n > 2 * N - first) n = 2 * N - first;
            if (i % 3 == 0 && n > 1000) n = 1000;
            codec.path = i % 2 ? UCB_CODEC_SCALAR : ucb_codec_path_best();
            CHECK_OK(ucb_codec_decode(&codec, first, n, NULL, out, &err), err);
            CHECK(memcmp(out, data + first, n) == 0);
        }
        CHECK_STATUS(ucb_codec_decode(&codec, 2 * N, 1, NULL, out, &err), UCB_USAGE, err);
        ucb_writer_free(&coded);
    }
    free(data);
    free(out);
}

TEST(threads_change_neither_the_stream_nor_the_bytes)
{
    enum { N = 9 * CODEC_CHUNK_WEIGHTS + 5 };
    uint8_t *data = malloc(2 * N), *out = malloc(2 * N);
    fill(UCB_F16, 3, N, data);
    for (enum ucb_codec_mode mode = UCB_CODEC_FAST; mode <= UCB_CODEC_MAX; mode++) {
        struct ucb_writer one = {0}, more = {0};
        struct ucb_pool *pool;
        struct ucb_codec codec;
        struct ucb_err err;
        encode(UCB_F16, data, 2 * N, 300, mode, NULL, &one);
        CHECK_OK(ucb_pool_open(7, &pool, &err), err);
        encode(UCB_F16, data, 2 * N, 300, mode, pool, &more);
        CHECK_EQ(one.n_bytes, more.n_bytes);
        CHECK(memcmp(one.data, more.data, one.n_bytes) == 0);
        CHECK_OK(ucb_codec_open(UCB_F16, 2 * N, one.data, one.n_bytes, &codec, &err), err);
        CHECK_OK(ucb_codec_decode(&codec, 0, 2 * N, pool, out, &err), err);
        CHECK(memcmp(out, data, 2 * N) == 0);
        ucb_pool_close(pool);
        ucb_writer_free(&one);
        ucb_writer_free(&more);
    }
    free(data);
    free(out);
}

/* A stream of 20 kB and more of each coder that the modes make. */
static void make_stream_of(enum ucb_dtype dtype, enum ucb_codec_mode mode,
                           size_t *n_decoded, struct ucb_writer *coded)
{
    enum { N = 16000, MOST_WIDTH = 4 };
    static uint8_t data[MOST_WIDTH * N];
    *n_decoded = (size_t)N * ucb_dtype_block_bytes(dtype);
    fill(dtype, 0, N, data);
    data[77] = 0x7f; /* an escape */
    encode(dtype, data, *n_decoded, 125, mode, NULL, coded);
}

static void make_stream(enum ucb_codec_mode mode, size_t *n_decoded,
                        struct ucb_writer *coded)
{
    make_stream_of(UCB_BF16, mode, n_decoded, coded);
    CHECK(coded->n_bytes >= 20000);
}

/* Three chunks, each of a value of its own and few others: each with its own table. */
static void make_stream_of_tables(size_t *n_decoded, struct ucb_writer *coded)
{
    enum { N = 3 * CODEC_CHUNK_WEIGHTS };
    struct ucb_codec codec;
    struct ucb_pcg r;
    uint8_t *data = malloc(N);
    ucb_pcg_named(&r, 6, "tables");
    for (size_t i = 0; i < N; i++)
        data[i] = (uint8_t)(40 * (i / CODEC_CHUNK_WEIGHTS) +
                            (ucb_pcg_below(&r, 600) == 0 ? ucb_pcg_below(&r, 3) : 0));
    *n_decoded = N;
    encode(UCB_U8, data, N, 0, UCB_CODEC_DEFAULT, NULL, coded);
    CHECK_EQ(ucb_codec_open(UCB_U8, N, coded->data, coded->n_bytes, &codec, NULL), UCB_OK);
    CHECK(codec.n_tables >= 3);
    free(data);
}

static void check_flips(enum ucb_codec_mode mode, unsigned step)
{
    static uint8_t out[1 << 16];
    struct ucb_writer coded = {0};
    size_t n_decoded;
    make_stream(mode, &n_decoded, &coded);
    for (size_t bit = 0; bit < 8 * coded.n_bytes; bit += step) {
        coded.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ucb_status status = decode_as(UCB_BF16, coded.data, coded.n_bytes,
                                      bit % 2 ? UCB_CODEC_SCALAR : ucb_codec_path_best(),
                                      n_decoded, out);
        CHECK(status == UCB_CORRUPT || (bit / 8 < 8 && status == UCB_UNSUPPORTED));
        coded.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    ucb_writer_free(&coded);
}

TEST(every_single_bit_flip_of_a_stream_is_refused)
{
    check_flips(UCB_CODEC_FAST, 1);
    check_flips(UCB_CODEC_DEFAULT, 1);
    check_flips(UCB_CODEC_MAX, 1);
}

TEST(every_single_bit_flip_of_a_stream_of_several_tables_is_refused)
{
    struct ucb_writer coded = {0};
    size_t n_decoded;
    make_stream_of_tables(&n_decoded, &coded);
    uint8_t *out = malloc(n_decoded);
    for (size_t bit = 8 * 8; bit < 8 * coded.n_bytes; bit++) {
        coded.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK_EQ(
            decode_as(UCB_U8, coded.data, coded.n_bytes, UCB_CODEC_SCALAR, n_decoded, out),
            UCB_CORRUPT);
        coded.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(out);
    ucb_writer_free(&coded);
}

TEST(every_truncation_of_a_stream_and_anything_behind_it_is_refused)
{
    static uint8_t out[1 << 16];
    for (enum ucb_codec_mode mode = UCB_CODEC_FAST; mode <= UCB_CODEC_MAX; mode++) {
        struct ucb_writer coded = {0};
        size_t n_decoded;
        make_stream(mode, &n_decoded, &coded);
        for (size_t n = 0; n < coded.n_bytes; n++)
            CHECK_EQ(
                decode_as(UCB_BF16, coded.data, n, ucb_codec_path_best(), n_decoded, out),
                UCB_CORRUPT);
        size_t n_bytes = coded.n_bytes;
        ucb_put_u8(&coded, 0);
        CHECK_EQ(
            decode_as(UCB_BF16, coded.data, n_bytes + 1, UCB_CODEC_SCALAR, n_decoded, out),
            UCB_CORRUPT);
        ucb_writer_free(&coded);
    }
}

/* Damage of `n` kinds that all paths refuse, or that changes nothing. */
static void check_sealed(enum ucb_dtype dtype, const struct ucb_writer *coded,
                         size_t n_decoded, int n, struct ucb_pcg *r)
{
    uint8_t *bytes = malloc(coded->n_bytes), *out = malloc(n_decoded),
            *right = malloc(n_decoded);
    CHECK_EQ(
        decode_as(dtype, coded->data, coded->n_bytes, UCB_CODEC_SCALAR, n_decoded, right),
        UCB_OK);
    for (int i = 0; i < n; i++) {
        /* heads and tables as often as all the rest */
        size_t span = i % 2 ? coded->n_bytes : i % 4 ? 400 : 120, first = 8;
        if (span > coded->n_bytes) span = coded->n_bytes;
        if (i % 8 == 0) first = coded->n_bytes - span; /* tables */
        memcpy(bytes, coded->data, coded->n_bytes);
        for (unsigned k = 0; k <= (unsigned)i % 3; k++)
            bytes[first + ucb_pcg_below(r, (uint32_t)(span - 8))] ^=
                (uint8_t)(1u << ucb_pcg_below(r, 8));
        codec_seal(bytes, coded->n_bytes);
        ucb_status scalar = decode_as(dtype, bytes, coded->n_bytes, UCB_CODEC_SCALAR,
                                      n_decoded, out);
        CHECK_EQ(
            decode_as(dtype, bytes, coded->n_bytes, ucb_codec_path_best(), n_decoded, out),
            scalar);
        CHECK(scalar == UCB_CORRUPT || memcmp(out, right, n_decoded) == 0);
    }
    free(bytes);
    free(out);
    free(right);
}

TEST(changed_bytes_under_right_checksums_are_refused_alike_by_every_path)
{
    struct ucb_writer coded = {0};
    struct ucb_pcg r;
    size_t n_decoded;
    ucb_pcg_named(&r, 5, "sealed");
    for (enum ucb_codec_mode mode = UCB_CODEC_FAST; mode <= UCB_CODEC_MAX; mode++) {
        make_stream(mode, &n_decoded, &coded);
        check_sealed(UCB_BF16, &coded, n_decoded, mode == UCB_CODEC_MAX ? 300 : 4000, &r);
        ucb_writer_reset(&coded);
    }
    for (size_t d = 1; d < N_TESTED; d++) {
        make_stream_of(dtypes[d], UCB_CODEC_DEFAULT, &n_decoded, &coded);
        check_sealed(dtypes[d], &coded, n_decoded, 2000, &r);
        ucb_writer_reset(&coded);
    }
    make_stream_of_tables(&n_decoded, &coded);
    check_sealed(UCB_U8, &coded, n_decoded, 500, &r);
    ucb_writer_free(&coded);
}

/* A state is 2^16 at its end, with what it carries below; of the lanes that carry nothing,
 * with zeros. */
TEST(end_states_with_anything_else_than_what_they_carry_are_refused)
{
    enum { N = 40 }; /* 40 elements of F16 have 5 bytes in the plane of bits */
    uint32_t states[RANS_LANES];
    struct rans_reader r;
    for (unsigned lane = 0; lane < RANS_LANES; lane++) states[lane] = RANS_START;
    CHECK_EQ(codec_carried((struct codec_planes){1, 1}, N), 5);
    CHECK_EQ(codec_carried((struct codec_planes){0, 6}, CODEC_CHUNK_WEIGHTS),
             2 * RANS_LANES);
    CHECK_EQ(codec_carried((struct codec_planes){0, 6}, CODEC_PIECE + 1), 6);
    CHECK_EQ(codec_carried((struct codec_planes){0, 0}, CODEC_PIECE), 0);
    for (unsigned bit = 0; bit < 32 * RANS_LANES; bit++) {
        unsigned lane = bit / 32, at = bit % 32;
        states[lane] ^= 1u << at;
        bool carried = at < 16 && 2 * lane + at / 8 < 5;
        bool begun = rans_reader_begin(&r, (const uint8_t *)states, NULL, 0);
        CHECK_EQ(begun && rans_reader_ended(&r, 5), carried);
        states[lane] ^= 1u << at;
    }
}

TEST(chunks_of_a_stream_that_change_places_are_refused)
{
    enum { N = 3 * CODEC_CHUNK_WEIGHTS };
    uint8_t *data = malloc(2 * N), *out = malloc(2 * N), saved[CODEC_ENTRY_BYTES];
    struct ucb_writer coded = {0};
    fill(UCB_BF16, 1, N, data);
    encode(UCB_BF16, data, 2 * N, 0, UCB_CODEC_FAST, NULL,
           &coded); /* stored, all one size */
    uint8_t *first = coded.data + CODEC_HEADER_BYTES, *second = first + CODEC_ENTRY_BYTES;
    memcpy(saved, first, sizeof(saved));
    memcpy(first, second, sizeof(saved));
    memcpy(second, saved, sizeof(saved));
    codec_seal(coded.data, coded.n_bytes);
    CHECK_EQ(decode_as(UCB_BF16, coded.data, coded.n_bytes, UCB_CODEC_SCALAR, 2 * N, out),
             UCB_CORRUPT);
    ucb_writer_free(&coded);
    free(data);
    free(out);
}

TEST(sizes_that_no_file_has_are_refused_before_anything_is_allocated)
{
    struct ucb_writer coded = {0};
    struct ucb_codec codec;
    struct ucb_err err;
    size_t n_decoded;
    make_stream(UCB_CODEC_DEFAULT, &n_decoded, &coded);
    static const struct {
        size_t at, n;
        uint64_t value;
    } fields[] = {{16, 8, UINT64_MAX}, {16, 8, (uint64_t)1 << 63},
                  {16, 8, 1ull << 40}, {24, 4, UINT32_MAX},
                  {9, 1, 0},           {9, 1, 17},
                  {9, 1, 255},         {10, 2, UINT16_MAX},
                  {0, 4, 0},           {8, 1, 3},
                  {8, 1, 99}};
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
        uint8_t head[CODEC_HEADER_BYTES];
        memcpy(head, coded.data, sizeof(head));
        memcpy(coded.data + fields[i].at, &fields[i].value, fields[i].n);
        CHECK_STATUS(
            ucb_codec_open(UCB_BF16, n_decoded, coded.data, coded.n_bytes, &codec, &err),
            UCB_CORRUPT, err);
        CHECK_STATUS(ucb_codec_open(UCB_BF16, fields[i].value, coded.data, coded.n_bytes,
                                    &codec, &err),
                     UCB_CORRUPT, err);
        memcpy(coded.data, head, sizeof(head));
    }
    coded.data[4] = 1; /* the version before: refused by name */
    CHECK_STATUS(
        ucb_codec_open(UCB_BF16, n_decoded, coded.data, coded.n_bytes, &codec, &err),
        UCB_UNSUPPORTED, err);
    CHECK(strstr(err.text, "version 1") != NULL);
    coded.data[4] = CODEC_VERSION;
    coded.data[6] = 1; /* a feature that nobody knows */
    CHECK_STATUS(
        ucb_codec_open(UCB_BF16, n_decoded, coded.data, coded.n_bytes, &codec, &err),
        UCB_UNSUPPORTED, err);
    ucb_writer_free(&coded);
}

TEST(an_odd_number_of_bytes_is_not_an_array_of_halves)
{
    struct ucb_arena scratch = {0};
    struct ucb_writer out = {0};
    struct ucb_err err;
    struct ucb_codec_source source = {UCB_BF16, "abc", 3, 0};
    CHECK_STATUS(ucb_codec_encode(&source, UCB_CODEC_FAST, NULL, &scratch, &out, &err),
                 UCB_USAGE, err);
    ucb_arena_free(&scratch);
}

TEST(mix64_sees_every_changed_bit_and_every_length)
{
    uint8_t data[600];
    for (size_t i = 0; i < sizeof(data); i++) data[i] = (uint8_t)(i * 7);
    uint64_t whole = ucb_mix64(data, sizeof(data));
    for (size_t bit = 0; bit < 8 * sizeof(data); bit++) {
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(ucb_mix64(data, sizeof(data)) != whole);
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    memset(data, 0, sizeof(data));
    for (size_t n = 0; n < sizeof(data); n++)
        CHECK(ucb_mix64(data, n) != ucb_mix64(data, n + 1));
    /* By a plain loop over the definition. */
    uint64_t lanes[32], k = 0x9e3779b97f4a7c15u, sum = 3 * k;
    for (unsigned i = 0; i < 32; i++) lanes[i] = k * (i + 1);
    lanes[0] ^= 0x636261;
    for (unsigned i = 0; i < 32; i++) {
        lanes[i] *= k;
        sum = (sum ^ lanes[i] ^ lanes[i] >> 32) * k;
        sum ^= sum >> 29;
    }
    CHECK_EQ(ucb_mix64("abc", 3), sum);
}

/* Weights that are no numbers, through chains. */
static void check_chain(const char *spec, enum ucb_dtype dtype, const void *bits,
                        uint32_t n_out, uint32_t n_in)
{
    struct method_fixture f;
    struct ucb_err err;
    size_t n = (size_t)n_out * n_in, width = ucb_dtype_block_bytes(dtype);
    fixture_open(&f, spec, n_out, n_in, dtype, 2);
    float *w = UCB_NEW(&f.kept, float, n);
    uint8_t *out = ucb_arena_alloc(&f.kept, n * width);
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, (const uint8_t *)bits + i * width, sizeof(h));
        if (dtype == UCB_F32)
            memcpy(&w[i], (const uint8_t *)bits + 4 * i, 4);
        else
            w[i] = dtype == UCB_F16 ? ucb_f16_widen(h) : ucb_bf16_widen(h);
    }
    struct ucb_source src = {.matrix = &f.matrix, .w = w, .bits = bits};
    struct ucb_writer *writer = &f.out;
    CHECK_OK(ucb_chain_encode(f.chain, &f.context, &src, 1, &writer, &err), err);
    ucb_arena_free(&f.arena);
    CHECK_OK(ucb_chain_decode_bits(f.chain, &f.context, &f.matrix, f.out.data,
                                   f.out.n_bytes, out, &err),
             err);
    CHECK(memcmp(out, bits, n * width) == 0);
    fixture_close(&f);
}

TEST(chains_that_are_exact_restore_what_is_no_number)
{
    static const char *const specs[] = {"lossless", "lossless:mode=fast", "int5+residual",
                                        "int5:block=8,scale=pow2+residual:context=none",
                                        "nf4+residual"};
    static uint32_t singles[4096];
    for (size_t i = 0; i < N_PATTERNS; i++) patterns[i] = (uint16_t)(i * 40503u);
    fill(UCB_F32, 3, 4096, (uint8_t *)singles);
    for (size_t i = 0; i < 4096; i += 5) singles[i] = (uint32_t)(i * 2654435761u);
    for (size_t i = 0; i < sizeof(specs) / sizeof(*specs); i++) {
        check_chain(specs[i], UCB_BF16, patterns, 512, 128);
        check_chain(specs[i], UCB_F16, patterns, 511, 128);
        check_chain(specs[i], UCB_F32, singles, 63, 65);
    }
}
