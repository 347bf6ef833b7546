/*
 * fuzz_payload.c - damaged payloads of every method into open() and decode(): refused as
 * CORRUPT, or decoded; never more.
 *
 * Bytes 0 and 1 choose the spec (every registered method at its defaults, and with each
 * choice of each knob), byte 2 the shape and the way: what follows are the payload's bytes
 * themselves, or patches of four bytes (place, place, what, value) on the payload that the
 * method writes for made-up weights.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/half.h"
#include "method/chain.h"
#include "method/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

enum { MAX_SPECS = 1024, MAX_IN = 512, MAX_WEIGHTS = 8 * MAX_IN, MAX_RAW = 1 << 16 };
/* Recipes choose types by a model's layers. */
static struct ucb_layer_arch layers[4];
static const struct ucb_arch arch = {.model_type = "llama",
                                     .n_layers = 4,
                                     .hidden = 256,
                                     .n_heads = 4,
                                     .n_kv_heads = 2,
                                     .vocabulary = 100,
                                     .layers = layers};
static const struct ucb_matrix shapes[] = {
    {.name = "m", .n_out = 4, .n_in = 256, .dtype = UCB_BF16, .arch = &arch},
    {.name = "m", .n_out = 3, .n_in = 128, .dtype = UCB_F16, .arch = &arch},
    {.name = "m", .n_out = 5, .n_in = 96, .dtype = UCB_F32, .arch = &arch},
    {.name = "m", .n_out = 2, .n_in = 512, .dtype = UCB_BF16, .arch = &arch},
};
enum { N_SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static struct {
    struct ucb_chain *chain;
    struct ucb_writer shared[N_SHAPES];  /* side data, where the chain has some */
    struct ucb_writer payload[N_SHAPES]; /* empty: none was made, or the shape is refused */
    bool tried[N_SHAPES];
} specs[MAX_SPECS];
static size_t n_specs;
static struct ucb_arena kept, arena, scratch;

static void must(bool condition, const char *what, const char *spec)
{
    if (condition) return;
    fprintf(stderr, "broken promise: %s (%s)\n", what, spec);
    abort();
}

/* A stage that cannot come first stands behind a plain grid. */
static void add_spec(const char *spec)
{
    char longer[256];
    struct ucb_chain *chain;
    must(n_specs < MAX_SPECS, "the list of specs is long enough", spec);
    if (ucb_chain_parse(spec, &kept, &chain, NULL) != UCB_OK) {
        snprintf(longer, sizeof(longer), "rtn:group=32+%s", spec);
        if (ucb_chain_parse(longer, &kept, &chain, NULL) != UCB_OK) return;
    }
    specs[n_specs++].chain = chain;
}

static void list_specs(void)
{
    char spec[200];
    for (const struct ucb_method *const *m = ucb_methods(); *m != NULL; m++) {
        add_spec((*m)->name);
        for (const struct ucb_knob *k = (*m)->knobs; k != NULL && k->name != NULL; k++)
            for (const char *const *c = k->choices; c != NULL && *c != NULL; c++) {
                snprintf(spec, sizeof(spec), "%s:%s=%s", (*m)->name, k->name, *c);
                add_spec(spec);
            }
    }
}

/* Statistics that any method can start from: independent inputs of equal size. */
static const struct ucb_calib *calibration(uint32_t n_in)
{
    static double ones[MAX_IN], second[MAX_IN * MAX_IN];
    static float sample[2 * MAX_IN];
    static const struct ucb_calib calib = {.n_tokens = 64,
                                           .n_sequences = 1,
                                           .sq_mean = ones,
                                           .abs_mean = ones,
                                           .abs_max = ones,
                                           .second_moment = second,
                                           .sample = sample,
                                           .n_sample = 2};
    for (uint32_t i = 0; i < n_in; i++) {
        ones[i] = 1;
        for (uint32_t k = 0; k < n_in; k++) second[(size_t)i * n_in + k] = i == k;
    }
    for (uint32_t i = 0; i < 2 * n_in; i++) sample[i] = i % 3 == 0 ? 1 : -1;
    return &calib;
}

static ucb_status fit_shared(size_t spec, size_t shape, const struct ucb_source *src,
                             struct ucb_chain_context *context)
{
    struct ucb_writer *shared = &specs[spec].shared[shape];
    struct ucb_one_matrix one;
    if (!ucb_chain_has_shared(specs[spec].chain)) return UCB_OK;
    ucb_stream_of_one(&one, src);
    ucb_status status = ucb_chain_fit_shared(specs[spec].chain, context, &one.stream,
                                             shared, NULL);
    context->shared = shared->data;
    context->n_shared = shared->n_bytes;
    return status;
}

/* The payload of made-up weights; empty where the method refuses the shape. */
static const struct ucb_writer *payload_of(size_t spec, size_t shape)
{
    static float w[MAX_WEIGHTS];
    static uint16_t bits[2 * MAX_WEIGHTS];
    struct ucb_writer *out = &specs[spec].payload[shape];
    const struct ucb_matrix *m = &shapes[shape];
    if (specs[spec].tried[shape]) return out;
    specs[spec].tried[shape] = true;
    for (size_t i = 0; i < (size_t)m->n_out * m->n_in; i++) {
        uint32_t u = (uint32_t)(i * 2654435761u) >> 8;
        w[i] = ucb_bf16_round(((float)(u % 1999) - 999) / 3000);
        if (m->dtype == UCB_F32)
            memcpy(bits + 2 * i, &w[i], sizeof(w[i]));
        else
            bits[i] = m->dtype == UCB_F16 ? ucb_f16_from_f32(w[i])
                                          : ucb_bf16_from_f32(w[i]);
        if (m->dtype == UCB_F16) w[i] = ucb_f16_widen(bits[i]);
    }
    struct ucb_source src = {.matrix = m, .w = w, .bits = bits};
    if (ucb_chain_needs(specs[spec].chain) != UCB_NEEDS_NONE)
        src.calib = calibration(m->n_in);
    struct ucb_chain_context context = {
        .arena = &arena, .scratch = &scratch, .seed = 1, .model_digest = "fuzz"};
    if (fit_shared(spec, shape, &src, &context) != UCB_OK ||
        ucb_chain_encode(specs[spec].chain, &context, &src, 1, &out, NULL) != UCB_OK)
        out->n_bytes = 0;
    return out;
}

static size_t patch(uint8_t *payload, size_t n, const uint8_t *data, size_t n_data)
{
    for (size_t i = 0; i + 4 <= n_data && n > 0; i += 4) {
        size_t place = (data[i] | (size_t)data[i + 1] << 8) % n;
        switch (data[i + 2] % 4) {
        case 0: payload[place] ^= data[i + 3]; break;
        case 1: payload[place] = data[i + 3]; break;
        case 2: n = place; break;
        default:
            if (n < MAX_RAW) payload[n++] = data[i + 3];
        }
    }
    return n;
}

static ucb_status take_nothing(void *context, const char *role, enum ucb_dtype dtype,
                               uint32_t n_dims, const uint64_t *shape, const void *data,
                               struct ucb_err *err)
{
    (void)context, (void)role, (void)dtype, (void)n_dims, (void)shape, (void)data,
        (void)err;
    return UCB_OK;
}

/* Payload and side data lie in memory of exactly their size: reading past them is seen. */
static void decode(size_t spec, size_t shape, const uint8_t *payload, size_t n,
                   const uint8_t *side, size_t n_side)
{
    static float w[MAX_WEIGHTS], before[MAX_WEIGHTS];
    const struct ucb_chain *chain = specs[spec].chain;
    const struct ucb_matrix *m = &shapes[shape];
    uint8_t *shared = malloc(n_side + (n_side == 0));
    struct ucb_chain_context context = {
        .arena = &arena, .scratch = &scratch, .shared = shared, .n_shared = n_side};
    struct ucb_err err = {.text = ""};
    uint8_t *bytes = malloc(n + (n == 0));
    must(bytes != NULL && shared != NULL, "memory", "");
    memcpy(bytes, payload, n);
    if (n_side > 0) memcpy(shared, side, n_side);
    ucb_status status = ucb_chain_decode(chain, &context, m, bytes, n, w, before, &err);
    /* UNSUPPORTED: a value past the largest that the method deploys. */
    bool refused = status == UCB_CORRUPT || status == UCB_UNSUPPORTED ||
                   (status == UCB_USAGE && payload_of(spec, shape)->n_bytes == 0);
    must(status == UCB_OK || refused, "a payload decodes, is CORRUPT, or has no such shape",
         ucb_chain_spec(chain));
    must(status == UCB_OK || err.text[0] != '\0', "a refusal says why",
         ucb_chain_spec(chain));
    if (status == UCB_OK)
        must(ucb_chain_inspect(chain, &context, m, bytes, n, take_nothing, NULL, &err) ==
                 UCB_OK,
             "what decodes can be inspected", ucb_chain_spec(chain));
    free(bytes);
    free(shared);
}

/* A patch goes to the payload, or with the third byte past 127 to the side data. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static uint8_t buffer[MAX_RAW], side[MAX_RAW];
    if (n_specs == 0) list_specs();
    if (n_bytes < 3 || n_bytes > MAX_RAW) return 0;
    size_t spec = (data[0] | (size_t)data[1] << 8) % n_specs,
           shape = data[2] / 2 % N_SHAPES, n = n_bytes - 3;
    bool patches = data[2] % 2 == 0;
    const struct ucb_writer *valid = payload_of(spec, shape),
                            *shared = &specs[spec].shared[shape];
    size_t n_side = shared->n_bytes;
    if (valid->n_bytes > MAX_RAW || n_side > MAX_RAW) return 0;
    if (n_side > 0) memcpy(side, shared->data, n_side);
    memcpy(buffer, data + 3, n);
    if (patches) {
        if (valid->n_bytes > 0) memcpy(buffer, valid->data, valid->n_bytes);
        n = valid->n_bytes;
        if (data[2] > 127 && n_side > 0)
            n_side = patch(side, n_side, data + 3, n_bytes - 3);
        else
            n = patch(buffer, n, data + 3, n_bytes - 3);
    }
    decode(spec, shape, buffer, n, side, n_side);
    ucb_arena_reset(&arena);
    ucb_arena_reset(&scratch);
    return 0;
}
