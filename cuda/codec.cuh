/*
 * codec.cuh - streams of harness/codec on the device, from the plan of codec_plan.h: a warp
 * a chunk, a lane a rANS state, so that 32 elements come at a time, in the order in which
 * the scalar coder (codec_rans.c) takes their words.
 *
 * Words and escapes are counted before they are read: a stream that ends too soon, goes on
 * too long or does not have its checksum sets `bad` and reads nothing outside.
 */
#ifndef UCB_CUDA_CODEC_CUH
#define UCB_CUDA_CODEC_CUH

#include "../harness/codec/codec_plan.h"
#include "decode.cuh"

constexpr unsigned CODEC_WARP = 0xffffffffu;

__device__ static inline unsigned lanes_below(unsigned mask, unsigned lane)
{
    return (unsigned)__popc(mask & ((1u << lane) - 1));
}

struct codec_shared {
    uint32_t slot[CODEC_PLAN_SLOTS];
    uint8_t carried[2 * CODEC_PLAN_LANES]; /* the end states' lower halves */
};

/* What a warp has read of a chunk; the same in all lanes but for `state`. */
struct codec_reader {
    uint32_t state, n_words, n_escapes; /* the last two: taken so far */
};

/* The raw bits of element i; without those of the last plane from element n_whole on. */
__device__ static inline uint32_t codec_raw(const uint8_t *plane, unsigned bits, size_t n,
                                            size_t i, size_t n_whole)
{
    unsigned n_bytes = bits / 8;
    uint32_t raw = 0;
    if (bits % 8 != 0 && i < n_whole)
        raw = load_code(plane + n_bytes * n, i, bits % 8) << 8 * n_bytes;
    for (unsigned k = 0; k < n_bytes; k++) raw |= (uint32_t)plane[k * n + i] << 8 * k;
    return raw;
}

/* The next symbol of each lane that is active; false, in all lanes, past the words' end. */
__device__ static inline bool codec_step(const struct codec_plan_chunk &c,
                                         const uint8_t *bytes, const uint32_t *slots,
                                         unsigned lane, bool active, struct codec_reader *r,
                                         unsigned *symbol)
{
    uint32_t slot = slots[r->state % CODEC_PLAN_SLOTS], x = r->state;
    *symbol = slot >> 24;
    if (active) x = ((slot & 0xfffu) + 1) * (x / CODEC_PLAN_SLOTS) + (slot >> 12 & 0xfffu);
    unsigned takes = __ballot_sync(CODEC_WARP, active && x < CODEC_PLAN_START);
    uint32_t n = (uint32_t)__popc(takes);
    if (n > c.n_words - r->n_words) return false;
    if (takes >> lane & 1u)
        x = x << 16 |
            load_u16(bytes + c.words + 2 * (size_t)(r->n_words + lanes_below(takes, lane)));
    r->n_words += n;
    r->state = x;
    return true;
}

/* The exponent of each active lane's rank; false, in all lanes, past the escapes' end. */
__device__ static inline bool codec_exponent(const struct codec_plan_chunk &c,
                                             const uint8_t *bytes, unsigned lane,
                                             bool active, unsigned rank,
                                             struct codec_reader *r, unsigned *exponent)
{
    unsigned last = c.coder == CODEC_PLAN_FAST ? CODEC_PLAN_FAST_ESCAPE : CODEC_PLAN_ESCAPE;
    unsigned takes = __ballot_sync(CODEC_WARP, active && rank == last);
    uint32_t n = (uint32_t)__popc(takes);
    if (n > c.n_escapes - r->n_escapes) return false;
    *exponent = c.exponent[rank];
    if (takes >> lane & 1u)
        *exponent = bytes[c.escapes + r->n_escapes + lanes_below(takes, lane)];
    r->n_escapes += n;
    return true;
}

/* An element turned back by one bit. */
__device__ static inline uint32_t codec_turned_back(unsigned width, uint32_t turned)
{
    return width == 4   ? turned >> 1 | turned << 31
           : width == 2 ? (turned >> 1 | turned << 15) & 0xffffu
                        : turned;
}

__device__ static inline void codec_store(unsigned width, uint32_t turned, size_t i,
                                          uint8_t *out)
{
    uint32_t x = codec_turned_back(width, turned);
    for (unsigned k = 0; k < width; k++) out[i * width + k] = (uint8_t)(x >> 8 * k);
}

/* Whether a lane ended where it started; what it carried goes to `carried`. */
__device__ static inline bool codec_is_back(const struct codec_plan_chunk &c, unsigned lane,
                                            uint32_t state, uint8_t *carried)
{
    bool back = state >> 16 == CODEC_PLAN_START >> 16;
    for (unsigned k = 0; k < 2; k++) {
        uint8_t byte = (uint8_t)(state >> 8 * k);
        carried[2 * lane + k] = byte;
        back = back && (byte == 0 || 2 * lane + k < c.n_carried);
    }
    return back;
}

/* The last plane's bits of elements from n_whole on,
 * of n_stored bytes and those carried. */
__device__ static inline void codec_add_carried(const struct codec_plan_chunk &c,
                                                const uint8_t *plane, unsigned raw,
                                                size_t n_whole, size_t n_stored,
                                                const uint8_t *carried, unsigned lane,
                                                uint8_t *out)
{
    unsigned bits = raw % 8;
    for (size_t i = n_whole + lane; i < c.n; i += CODEC_PLAN_LANES) {
        uint64_t eight = 0; /* elements */
        for (unsigned k = 0; k < bits; k++) {
            size_t at = i / 8 * bits + k;
            uint8_t byte = at < n_stored ? plane[raw / 8 * (size_t)c.n + at]
                                         : carried[at - n_stored];
            eight |= (uint64_t)byte << 8 * k;
        }
        uint32_t own = (uint32_t)(eight >> i % 8 * bits) & ((1u << bits) - 1),
                 x = codec_turned_back(c.width, own << raw / 8 * 8);
        for (unsigned k = 0; k < c.width; k++)
            out[i * c.width + k] |= (uint8_t)(x >> 8 * k);
    }
}

/* Fast and entropy. */
__device__ static inline bool codec_elements(const struct codec_plan_chunk &c,
                                             const uint8_t *bytes,
                                             struct codec_shared *shared, unsigned lane,
                                             uint8_t *out)
{
    bool fast = c.coder == CODEC_PLAN_FAST;
    unsigned rest = 8u * c.width - c.exponent_bits, raw = fast ? rest : rest - 2;
    size_t n_stored = (c.n + (size_t)7) / 8 * (raw % 8) - c.n_carried, n_whole = c.n;
    struct codec_reader r = {0, 0, 0};
    if (c.n_carried > 0) n_whole = n_stored / (raw % 8) * 8;
    if (!fast) r.state = load_u32(bytes + c.symbols + 4 * lane);
    for (size_t at = 0; at < c.n; at += CODEC_PLAN_LANES) {
        size_t i = at + lane;
        bool active = i < c.n;
        unsigned symbol = 0, exponent = 0;
        if (fast && active) symbol = load_code(bytes + c.symbols, i, CODEC_PLAN_FAST_BITS);
        if (!fast && !codec_step(c, bytes, shared->slot, lane, active, &r, &symbol))
            return false;
        if (c.exponent_bits == 0) {
            if (active) out[i] = (uint8_t)symbol;
            continue;
        }
        if (!codec_exponent(c, bytes, lane, active, fast ? symbol : symbol >> 2, &r,
                            &exponent))
            return false;
        if (!active) continue;
        uint32_t top = fast ? exponent : exponent << 2 | (symbol & 3u);
        codec_store(c.width, codec_raw(bytes + c.plane, raw, c.n, i, n_whole) | top << raw,
                    i, out);
    }
    bool is_back = fast || codec_is_back(c, lane, r.state, shared->carried);
    unsigned back = __ballot_sync(CODEC_WARP, is_back);
    __syncthreads(); /* what other lanes stored and carried */
    codec_add_carried(c, bytes + c.plane, raw, n_whole, n_stored, shared->carried, lane,
                      out);
    return back == CODEC_WARP && r.n_words == c.n_words && r.n_escapes == c.n_escapes;
}

__global__ void codec_kernel(const uint8_t *bytes, const uint8_t *plan, uint8_t *out,
                             uint32_t *bad)
{
    UCB_SHARED(struct codec_shared, shared);
    const struct codec_plan_head *head = (const struct codec_plan_head *)plan;
    const struct codec_plan_chunk *chunks = (const struct codec_plan_chunk *)(head + 1);
    const struct codec_plan_chunk c = chunks[blockIdx.x];
    const struct codec_plan_table *table =
        (const struct codec_plan_table *)(chunks + head->n_chunks) + c.table;
    unsigned lane = threadIdx.x;
    const uint8_t *elements = (c.in_plan ? plan : bytes) + c.symbols;
    uint8_t *to = out + c.out;
    if (c.coder == CODEC_PLAN_STORED || c.coder == CODEC_PLAN_CONSTANT) {
        for (size_t i = lane; i < (size_t)c.n * c.width; i += CODEC_PLAN_LANES)
            to[i] = elements[c.coder == CODEC_PLAN_STORED ? i : i % c.width];
        return;
    }
    if (c.coder == CODEC_PLAN_ENTROPY)
        for (unsigned i = lane; i < CODEC_PLAN_SLOTS; i += CODEC_PLAN_LANES)
            shared.slot[i] = table->slot[i];
    __syncthreads();
    if (!codec_elements(c, bytes, &shared, lane, to) && lane == 0 && bad != NULL) *bad = 1;
}

/* Word i of n_bytes, zeros behind them. */
__device__ static inline uint64_t load_u64_some(const uint8_t *data, size_t i,
                                                size_t n_bytes)
{
    uint64_t word = 0;
    for (unsigned k = 0; k < 8 && 8 * i + k < n_bytes; k++)
        word |= (uint64_t)data[8 * i + k] << 8 * k;
    return word;
}

/* mix64 of harness/codec/codec_digest.c: a lane a lane. */
__global__ void codec_sum_kernel(const uint8_t *plan, const uint8_t *out, uint32_t *bad)
{
    const uint64_t factor = 0x9e3779b97f4a7c15u;
    const struct codec_plan_head *head = (const struct codec_plan_head *)plan;
    const struct codec_plan_chunk c = ((const struct codec_plan_chunk *)(head +
                                                                         1))[blockIdx.x];
    unsigned lane = threadIdx.x;
    size_t n_bytes = (size_t)c.n * c.width;
    uint64_t own = factor * (lane + 1), sum = n_bytes * factor;
    for (size_t at = 0; at < n_bytes; at += 8 * CODEC_PLAN_LANES) {
        own = (own ^ load_u64_some(out + c.out + at, lane, n_bytes - at)) * factor;
        own ^= own >> 32;
    }
    for (int i = 0; i < CODEC_PLAN_LANES; i++) {
        sum = (sum ^ __shfl_sync(CODEC_WARP, own, i, CODEC_PLAN_LANES)) * factor;
        sum ^= sum >> 29;
    }
    if (lane == 0 && sum != c.decoded_sum) *bad = 1;
}

/* Decodes all streams of the plan that begins at plan + at, each to its place in out. With
 * `bad` checksums are verified; without, open() has done so. */
static const char *run_codec(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                             const struct ucb_cuda_payload *payload, size_t at, bool verify,
                             uint8_t *out)
{
    struct codec_plan_head head;
    memcpy(&head, payload->host_plan + at, sizeof(head));
    if (head.n_chunks == 0) return NULL;
    UCB_LAUNCH(codec_kernel, (unsigned)head.n_chunks, CODEC_PLAN_LANES,
               device->stream[stream], payload->bytes, payload->plan + at, out,
               payload->bad);
    if (verify)
        UCB_LAUNCH(codec_sum_kernel, (unsigned)head.n_chunks, CODEC_PLAN_LANES,
                   device->stream[stream], payload->plan + at, (const uint8_t *)out,
                   payload->bad);
    return launched(device, "codec");
}

#endif
