/*
 * cuda_abi.h - what the program and its GPU plugin agree on: libucbench_cuda.so exports
 * `ucb_cuda_backend`, a table of kernels, and `ucb_cuda_methods`, a table of decoders.
 *
 * C and C++ read it; everything crosses as plain C. A function answers NULL when its work
 * is done or queued, else a sentence that lives until the device's next call. Pointers are
 * to device memory unless their name begins with host_. Work is queued on a stream and done
 * in its order; the two streams run side by side. One thread at a time uses a device.
 */
#ifndef UCB_BACKEND_CUDA_ABI_H
#define UCB_BACKEND_CUDA_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "core/dtype.h"

/* Raise with every change of this file: a plugin of another number is refused. */
enum { UCB_CUDA_ABI = 4 };

/* Columns of a product that cuBLAS makes in one call: fixed, so that a weight given in
 * parts is multiplied by the same calls as a whole one. */
enum { UCB_CUDA_CUBLAS_COLUMNS = 4096 };

struct ucb_cuda_device; /* an opened device: its streams, its memory, what went wrong */
struct ucb_cuda_event;  /* a point in a stream */

/* Kernels run on COMPUTE; LOAD brings and decodes what they will read. */
enum ucb_cuda_stream { UCB_CUDA_COMPUTE, UCB_CUDA_LOAD, UCB_CUDA_N_STREAMS };

struct ucb_cuda_info {
    char name[256];                           /* of the device */
    char cublas[32];                          /* version; "" until a product asked for it */
    uint32_t major, minor;                    /* compute capability */
    uint32_t driver_version, runtime_version; /* 13000 is 13.0 */
    /* The last two: of this plugin, without what the driver and cuBLAS take themselves. */
    uint64_t memory_bytes, used_bytes, peak_bytes;
};

/* Statistics of a row of logits, before what the host does in double: head.c. */
struct ucb_cuda_score {
    double sum, divergence, distance; /* of exponentials; the last two beside a reference */
    float peak, target;               /* logits */
    uint32_t rank, teacher_rank;
    uint32_t id[10]; /* of the largest, largest first, equal ones by lower id; UINT32_MAX:
                        there is none */
};

struct ucb_cuda_backend {
    uint32_t abi, bytes; /* UCB_CUDA_ABI, UCB_CUDA_BYTES: looked at before the rest */
    const char *built;   /* toolkit and architectures, for people */
    bool emulated;

    /* How many devices there are; 0: host_text says why, else it names the first. */
    int (*probe)(char *host_text, size_t n_text);
    const char *(*open)(int index, struct ucb_cuda_device **out);
    void (*close)(struct ucb_cuda_device *device);
    void (*info)(const struct ucb_cuda_device *device, struct ucb_cuda_info *out);
    void (*restart_peak)(struct ucb_cuda_device *device); /* it is what is used now */

    const char *(*alloc)(struct ucb_cuda_device *device, size_t n_bytes, void **out);
    void (*free)(struct ucb_cuda_device *device, void *p); /* waits for both streams */
    /* Host memory that copies read and write directly. */
    const char *(*alloc_host)(struct ucb_cuda_device *device, size_t n_bytes, void **out);
    void (*free_host)(struct ucb_cuda_device *device, void *p);
    /* Host memory that is not from alloc_host() may change when these return; a download to
       it is complete. */
    const char *(*upload)(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                          void *to, const void *host_from, size_t n_bytes);
    const char *(*download)(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                            void *host_to, const void *from, size_t n_bytes);

    const char *(*event_new)(struct ucb_cuda_device *device, struct ucb_cuda_event **out);
    void (*event_free)(struct ucb_cuda_device *device, struct ucb_cuda_event *event);
    /* The event is what was queued on the stream so far. */
    const char *(*record)(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                          struct ucb_cuda_event *event);
    /* What is queued on the stream from here on begins after the event. */
    const char *(*wait)(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                        struct ucb_cuda_event *event);
    /* Returns when what was queued before the event is done. */
    const char *(*finish_event)(struct ucb_cuda_device *device,
                                struct ucb_cuda_event *event);
    /* Returns when the stream is done, with what went wrong on it. */
    const char *(*finish)(struct ucb_cuda_device *device, enum ucb_cuda_stream stream);

    /* A decoded weight w[n_out][n_in] as the products read it: what ucb_pack() makes. */
    const char *(*pack)(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                        enum ucb_arithmetic arithmetic, const float *w, uint32_t n_out,
                        uint32_t n_in, void *packed);

    /* w[n], each rounded to F16 or BF16 (enum ucb_dtype) and widened again. */
    const char *(*round)(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                         uint32_t dtype, float *w, size_t n);

    /* n elements (whole blocks) of that dtype to floats, as ucb_widen() does. */
    const char *(*widen)(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                         uint32_t dtype, const void *bits, size_t n, float *w);
    /* Sets *found where one of w[n] is NaN or infinite; leaves it otherwise. */
    const char *(*find_nonfinite)(struct ucb_cuda_device *device,
                                  enum ucb_cuda_stream stream, const float *w, size_t n,
                                  uint32_t *found);

    /* On COMPUTE, as backend.h says. y_stride: floats from one row of y to the next. */
    const char *(*linear)(struct ucb_cuda_device *device, enum ucb_arithmetic arithmetic,
                          const void *packed, uint32_t n_out, uint32_t n_in,
                          const float *bias, const float *x, size_t n_rows, float *y,
                          size_t y_stride);
    const char *(*rmsnorm)(struct ucb_cuda_device *device, const float *x, size_t n_rows,
                           uint32_t n, const float *weight, float eps, float *y);
    const char *(*layernorm)(struct ucb_cuda_device *device, const float *x, size_t n_rows,
                             uint32_t n, const float *weight, const float *bias, float eps,
                             float *y);
    const char *(*rope)(struct ucb_cuda_device *device, float *x, size_t n_rows,
                        const struct ucb_rotary *shape, const float *table,
                        const uint32_t *position);
    const char *(*activate)(struct ucb_cuda_device *device, enum ucb_activation activation,
                            const float *gate, const float *up, size_t n, float *out);
    const char *(*cap)(struct ucb_cuda_device *device, float *x, size_t n, float limit);
    const char *(*scale)(struct ucb_cuda_device *device, float *x, size_t n, float factor);
    const char *(*clamp)(struct ucb_cuda_device *device, float *x, size_t n, float limit);
    const char *(*add)(struct ucb_cuda_device *device, float *x, const float *y, size_t n);
    /* start[n_windows + 1] and its copy in host memory. */
    const char *(*attention)(struct ucb_cuda_device *device, enum ucb_arithmetic arithmetic,
                             const struct ucb_attention *shape, const float *q,
                             const float *k, const float *v, size_t n_windows,
                             const uint64_t *start, const uint64_t *host_start, float *out);
    /* All pointers of the scan are the device's; states: [state][width]. */
    const char *(*convolve)(struct ucb_cuda_device *device, const struct ucb_scan *scan);
    const char *(*scan)(struct ucb_cuda_device *device, const struct ucb_scan *scan,
                        float *states);
    /*
     * Statistics of logits z[n_rows][stride], the first n_ids of a row; z becomes their
     * exponentials. Of a model beside its reference z0, e0 and score0 are those of the
     * reference; of the reference itself all three are NULL, and e (which is not z) takes
     * the exponentials, so that z stays. partial: [n_rows][3][ceil(n_ids / 1024)] floats.
     */
    const char *(*score)(struct ucb_cuda_device *device, float *z, float *e,
                         const float *z0, const float *e0,
                         const struct ucb_cuda_score *score0, size_t n_rows, uint32_t n_ids,
                         size_t stride, const uint32_t *target, float *partial,
                         struct ucb_cuda_score *out);

    /* Loads cuBLAS and fills its version in; a sentence where there is none. `linear` with
       UCB_ARITH_CUBLAS needs it. */
    const char *(*cublas)(struct ucb_cuda_device *device);
};

/* A knob of the method's spec; of a choice the value is its index. */
struct ucb_cuda_knob {
    const char *name;
    double value;
};
/*
 * One stage's payload of one matrix, which the method's own open() has accepted: a decoder
 * finds the layout it describes and checks nothing again. Memory begins at 256 bytes.
 */
struct ucb_cuda_payload {
    const uint8_t *bytes, *host_bytes; /* the same, on the device and off it */
    size_t n_bytes;
    const uint8_t *shared, *host_shared; /* side data of the stage; NULL: none */
    size_t n_shared;
    /* What device_plan() of the method wrote; NULL: nothing. */
    const uint8_t *plan, *host_plan;
    size_t n_plan;
    const struct ucb_cuda_knob *knobs; /* all of the method's */
    uint32_t n_knobs;
    uint32_t n_out, n_in, dtype; /* of the matrix; enum ucb_dtype of its source */
    bool deployed; /* the stage is alone: what decode_deployed() writes, where there is one
                    */
    const float *before; /* [n_out][n_in], what the stages before sum to; NULL: first */
    /* Set by an EXACT stage where its stream does not fit: decode_bits() would answer
     * CORRUPT. */
    uint32_t *bad;
};
/*
 * A decoder: BASE writes out[n_out][n_in], ADD adds to it, EXACT writes the source's own
 * bits. Floats to the bit those of the method's decode(). Queued on the stream.
 */
struct ucb_cuda_method {
    const char *name;  /* NULL ends the table */
    uint32_t revision; /* of the method: another is not decoded here */
    /* Device memory beside out; NULL: none. */
    size_t (*scratch_bytes)(const struct ucb_cuda_payload *payload);
    const char *(*decode)(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                          const struct ucb_cuda_payload *payload, void *scratch, void *out);
};

/* Of all that crosses: finds a change that forgot to raise the version. */
#define UCB_CUDA_BYTES                                                           \
    ((uint32_t)(sizeof(struct ucb_cuda_backend) + sizeof(struct ucb_cuda_info) + \
                sizeof(struct ucb_cuda_score) + sizeof(struct ucb_cuda_method) + \
                sizeof(struct ucb_cuda_payload) + sizeof(struct ucb_attention) + \
                sizeof(struct ucb_rotary) + sizeof(struct ucb_scan)))

#endif
